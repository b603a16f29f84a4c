"""What one attempt may use: memory of all its processes together, and room for each of its two logs.

Both are looked at now and then while the script runs, only where a limit was asked for; memory is left to the kernel
where it offers a control group for that. A log that outgrows its limit
keeps its beginning and its end: the room between is given back to the disk at once, and taken out when the script has
ended, so that the script itself notices nothing.
"""

from __future__ import annotations

import os
import stat
import time

from buildrunner.run.group import MemoryGroup

TYPE_CHECKING = False  # as in typing, which is too big to import here
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PAGE = os.sysconf("SC_PAGE_SIZE")
_GROWTH = 4e9  # bytes a second; no tree of processes takes memory faster than this for long
_SOONEST, _LATEST = 0.005, 0.1  # seconds between two looks
_ROUNDS = 10  # looks at most for what forks faster than it is moved
_BLOCK = 4096  # bytes; what is given back to the disk begins and ends at a multiple
_LEAST_GIVEN_BACK = 1 << 16  # bytes; less than this is not worth the effort while the script runs
_LONGEST_LINE = 4096  # bytes; where lines are no longer than this they are kept whole
_CHUNK = 1 << 20
LEFT_OUT = b"[buildrunner: %d bytes were left out here, because of --max-output]\n"  # in the place of what was cut out
_PUNCH_HOLE = 0x02 | 0x01  # fallocate(2): FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


class Limits:
    """The limits of a run's attempts; `memory` and `output` in bytes, None for no limit.

    `group` is the path of a control group that holds its processes to `memory`, where there is one.
    """

    def __init__(self, memory: int | None, output: int | None, group: str | None = None) -> None:
        self.memory = memory
        self.output = output
        self.group = MemoryGroup(group, memory) if group and memory is not None else None

    def watch(self, pid: int, members: Callable[[], Iterator[int]], logs: dict[str, str]) -> Watch:
        """Minds these limits for one attempt."""
        return Watch(self, pid, members, logs)

    def family(self, pid: int) -> Iterator[int]:
        """A script's processes, as far as they are seen without a control group."""
        return family(pid)


class Watch:
    """Minds the limits of one running attempt.

    `pid` is its script, `members` lists all its processes, `logs` its logs by the name of their stream.
    """

    def __init__(self, limits: Limits, pid: int, members: Callable[[], Iterator[int]], logs: dict[str, str]) -> None:
        self.limits = limits
        self.members = members
        if limits.group:
            self._enter(limits.group, pid)
        self.logs = logs
        self.next = time.monotonic() + _SOONEST
        self.why: str | None = None

    def _enter(self, group: MemoryGroup, pid: int) -> None:
        """Move the script, and then what it has started in the meantime, which was born outside."""
        group.take(pid)
        for _ in range(_ROUNDS):
            found = list(self.members())
            for one in found:
                group.take(one)
            if not found:
                break

    @property
    def pause(self) -> float:
        """Seconds until the next look is due."""
        return max(0.0, self.next - time.monotonic())

    def over(self) -> bool:
        """Look, if it is time to, whether it uses too much memory; `why` then says how much."""
        now = time.monotonic()
        if now < self.next:
            return False
        wait = _LATEST
        if self.limits.output is not None:
            for path in self.logs.values():
                give_back(path, self.limits.output)
        if self.limits.memory is not None and not self.limits.group:
            used = sum(map(_resident, self.members()))
            if used > self.limits.memory:
                # What forked processes share is in each one's resident set; counted once it may be within the limit.
                used = sum(map(_proportional, self.members()))
                if used > self.limits.memory:
                    self.why = self.why or (
                        f"its processes used {_mib(used)} together, and --memory allows {_mib(self.limits.memory)}"
                    )
            else:
                wait = min(_LATEST, max(_SOONEST, (self.limits.memory - used) / _GROWTH))
        self.next = now + wait
        return self.why is not None

    def overran(self) -> bool:
        """After the end, in a group of its own: end what is left there, and tell whether the kernel has ended it."""
        group = self.limits.group
        if not group:
            return False
        group.end()
        killed, by_us = group.overran()
        if group.is_burdened():
            self.limits.group = group.renewed()
        if killed:
            allowed = _mib(self.limits.memory or 0)
            self.why = (
                f"its processes used more together than --memory allows ({allowed})"
                if by_us
                else f"the kernel ended it, because memory ran out before the {allowed} that --memory allows"
            )
        return self.why is not None

    def cut(self) -> tuple[tuple[str, int], ...]:
        """After the end: what was cut out of the logs, as pairs of stream and bytes."""
        if self.limits.output is None:
            return ()
        found = [(stream, cut(path, self.limits.output)) for stream, path in self.logs.items()]
        return tuple((stream, count) for stream, count in found if count)


def family(pid: int) -> Iterator[int]:
    """A process and all that descend from it, as long as those between are alive; where the kernel lists children."""
    found = [pid]
    for one in found:
        yield one
        try:
            for thread in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{thread}/children", "rb", buffering=0) as file:
                    found += map(int, file.read().split())
        except OSError:
            pass


def give_back(path: str, most: int) -> None:
    """Give the middle of a log that has grown too long back to the disk; offsets and the script's writing go on."""
    try:
        size = os.lstat(path).st_size
        if size < most + _LEAST_GIVEN_BACK:
            return
        fd = _open(path)
    except OSError:
        return
    try:
        begin = -(-(most - most // 2) // _BLOCK) * _BLOCK
        end = (size - most // 2) // _BLOCK * _BLOCK
        if end > begin:
            import ctypes  # only who meets such a script pays for it

            ctypes.CDLL(None).fallocate(fd, _PUNCH_HOLE, ctypes.c_longlong(begin), ctypes.c_longlong(end - begin))
    except (OSError, AttributeError, ImportError):
        pass  # a file system or a kernel that cannot: the log is cut when the script has ended
    finally:
        os.close(fd)


def cut(path: str, most: int) -> int:
    """Cut the middle out of a log of an ended script, with a line in its place; returns how many bytes are gone."""
    try:
        if os.lstat(path).st_size < most + _LONGEST_LINE:
            return 0
        fd = _open(path)
    except OSError:
        return 0
    left_out = 0
    try:
        size = os.fstat(fd).st_size
        head, tail = most - most // 2, size - most // 2
        head -= len(_after_last_newline(os.pread(fd, min(head, _LONGEST_LINE), max(0, head - _LONGEST_LINE))))
        tail += os.pread(fd, _LONGEST_LINE, tail).find(b"\n") + 1
        left_out = tail - head
        line = LEFT_OUT % left_out
        if head and os.pread(fd, 1, head - 1) != b"\n":
            line = b"\n" + line
        at = head + os.pwrite(fd, line, head)
        while part := os.pread(fd, _CHUNK, tail):  # more was left out than the line is long: nothing is overtaken
            tail += len(part)
            while part:
                written = os.pwrite(fd, part, at)
                at += written
                part = part[written:]
        os.ftruncate(fd, at)
    except OSError:
        pass  # a full disk, say: then zeros stand where the line should
    finally:
        os.close(fd)
    return left_out


def _open(path: str) -> int:
    """A log to change; a script may have put a link or a pipe in its place, and that is not ours to change."""
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(2, "not a regular file", path)
    return fd


def _after_last_newline(text: bytes) -> bytes:
    before, newline, after = text.rpartition(b"\n")
    del before
    return after if newline else b""


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb", buffering=0) as file:
            return int(file.read().partition(b"\nPss:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        return _resident(pid)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
