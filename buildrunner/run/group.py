"""Ending what is in a control group (version 2): whatever a process starts stays in its group, however far it runs.

A new session, a second fork and a cleared environment lead out of a process group and out of sight, not out of here.
"""

from __future__ import annotations

import os
import time

_KILL = 9
_DEATH_SECONDS = 1.0  # what killed processes may take to die before they are left to themselves
_READ = 1 << 16
_LITTLE = 64  # a burden of less than this part of what a script may use is none


class Group:
    """A group, by its folder. Raises OSError where there is none."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.list = os.open(path + "/cgroup.procs", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(self.folder)
            raise

    def members(self) -> list[int]:
        """The processes in it, without those in groups below."""
        found = [int(pid) for pid in os.pread(self.list, _READ, 0).split()]
        return [pid for pid in found if pid]  # 0 stands for one of a foreign pid namespace

    def end(self, spare: int = 0) -> int:
        """KILL everything in it and below but this one process, and wait until that is gone; groups below go too.

        Returns how many processes that were.
        """
        ended: set[int] = set()
        if os.fstat(self.folder).st_nlink > 2:  # a script made groups of its own
            for name in os.listdir(self.folder):
                if os.path.isdir(f"{self.path}/{name}"):
                    remove(f"{self.path}/{name}")
        deadline = time.monotonic() + _DEATH_SECONDS
        while others := [pid for pid in self.members() if pid != spare]:
            for pid in others:
                try:
                    os.kill(pid, _KILL)
                except (ProcessLookupError, PermissionError):
                    pass
            ended.update(others)
            if time.monotonic() > deadline:
                break
            time.sleep(0.0005)  # then look again: one of them may just have forked
        return len(ended)

    def close(self) -> None:
        """Hold it no longer."""
        os.close(self.list)
        os.close(self.folder)


class MemoryGroup(Group):
    """A group for one script after another, of whose processes the kernel ends all when they use too much memory."""

    def __init__(self, path: str, memory: int) -> None:
        super().__init__(path)
        self.memory = memory
        self.held: list[int] = []
        try:
            self.entrance = self._hold("/cgroup.procs", os.O_WRONLY)
            self.events = self._hold("/memory.events", os.O_RDONLY)
            self.current = self._hold("/memory.current", os.O_RDONLY)
            self.kills, self.limits = self._count()
        except OSError:
            self.close()
            raise

    def _hold(self, name: str, flags: int) -> int:
        self.held.append(os.open(self.path + name, flags | os.O_CLOEXEC))
        return self.held[-1]

    def take(self, pid: int) -> None:
        """Move a process there."""
        try:
            os.write(self.entrance, b"%d" % pid)
        except OSError:
            pass  # it has ended already

    def is_burdened(self) -> bool:
        """Whether files in memory that ended scripts left behind take a good part of what the next one may use."""
        much = self.memory // _LITTLE
        if int(os.pread(self.current, _READ, 0)) <= much:
            return False
        # What the kernel keeps of files on a disk counts too; but that gives way.
        with open(self.path + "/memory.stat", "rb", buffering=0) as file:
            return int(file.read().partition(b"\nshmem ")[2].split()[0]) > much

    def renewed(self) -> MemoryGroup | None:
        """A new group in the place of this empty one, whose burden stays with the old; None where none can be made."""
        self.close()
        try:
            os.rmdir(self.path)
            os.mkdir(self.path)
            limit(self.path, self.memory)
            return MemoryGroup(self.path, self.memory)
        except OSError:
            return None

    def close(self) -> None:
        """Hold it no longer."""
        super().close()
        for fd in self.held:
            os.close(fd)

    def overran(self) -> tuple[bool, bool]:
        """Whether the kernel has ended processes since this was asked last, and whether at this group's own limit."""
        (kills, limits), (self.kills, self.limits) = (self.kills, self.limits), self._count()
        return self.kills != kills, self.limits != limits

    def _count(self) -> tuple[bytes, bytes]:
        """Kills for want of memory in this group, wherever it was wanting, and how often at the group's own limit."""
        fields = os.pread(self.events, _READ, 0).split()
        found = dict(zip(fields[::2], fields[1::2], strict=True))
        return found.get(b"oom_kill", b""), found.get(b"oom", b"")


def limit(path: str, memory: int) -> None:
    """Have the kernel end all processes of a group when they use more than so many bytes; OSError where it will not."""
    _set(path + "/memory.max", b"%d" % memory)
    _set(path + "/memory.oom.group", b"1")
    try:
        _set(path + "/memory.swap.max", b"0")
    except OSError:
        pass  # not there where nothing is swapped


def _set(path: str, value: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(value)


def remove(path: str) -> int:
    """KILL everything in a group and below, and remove it; what is no group, or cannot be removed, is left.

    Returns how many processes were in it.
    """
    try:
        group = Group(path)
    except OSError:
        return 0
    ended = group.end()
    group.close()
    try:
        os.rmdir(path)
    except OSError:
        pass
    return ended
