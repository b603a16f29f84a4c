"""Ending what attempts left running, by the attempt's id in its environment. Linux only; elsewhere finds none.

Most of it ends with the script's process group, in the worker. What left that group (a daemon, a job-control
shell) becomes a child of this process when its parents are gone, because this process asked the kernel for that.
"""

import os
import signal
import time
from collections.abc import Collection, Iterable
from contextlib import suppress

from buildrunner.run.pidfd import open_pidfd

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_PR_GET_CHILD_SUBREAPER = 37
_DEATH_SECONDS = 1.0  # what a killed process may take to die before it is left to itself
_DEATH_TICK = 0.0005  # seconds
_EXEC_SECONDS = 0.1  # what a process may take to begin its program before it is passed over

_VARIABLE = b"BUILDRUNNER_ATTEMPT_ID="


def kill_attempts(attempts: Collection[str]) -> int:
    """KILL every process that carries one of these attempt ids, until none is left; returns how many there were."""
    if not attempts:
        return 0
    killed: set[int] = set()
    patience = time.monotonic() + _DEATH_SECONDS
    while found := set(carriers(attempts)):  # and again: one of them may just have forked
        for pid in found:
            _kill_carrier(pid, attempts)
            _reaped(pid)
        if not killed.issuperset(found):
            patience = time.monotonic() + _DEATH_SECONDS
        elif time.monotonic() > patience:
            break
        else:
            time.sleep(_DEATH_TICK)
        killed |= found
    return len(killed)


def carriers(attempts: Iterable[str]) -> list[int]:
    """The processes that carry one of these attempt ids."""
    marks = _marks(attempts)
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    return [pid for pid in pids if _carries(pid, marks)]


def _marks(attempts: Iterable[str]) -> set[bytes]:
    return {_VARIABLE + os.fsencode(a) for a in attempts}


def _carries(pid: int, marks: set[bytes]) -> bool:
    with suppress(OSError):
        return not marks.isdisjoint(_environment(pid))
    return False


def _environment(pid: int) -> list[bytes]:
    """What this process was started with, as NAME=VALUE; waits for one that is between two programs.

    For a moment in execve(2) the old memory is gone and the new has no environment yet: what is looked at then
    would seem to carry no id, and live on.
    """
    patience = time.monotonic() + _EXEC_SECONDS
    while not (found := _read(f"/proc/{pid}/environ")) and _is_in_exec(pid) and time.monotonic() < patience:
        time.sleep(_DEATH_TICK)
    return (found or _read(f"/proc/{pid}/environ")).split(b"\0")  # once more: it may have begun between the two looks


def _is_in_exec(pid: int) -> bool:
    """Whether it has memory, unlike a zombie or a thread of the kernel's, and no program's code in it yet.

    The kernel writes the address of the code down after the environment.
    """
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()  # from the third; a name may hold blanks, brackets
    size, code = fields[20], fields[23]  # the 23rd and the 26th of proc(5)
    return size != b"0" and code == b"0"


def _kill_carrier(pid: int, attempts: Iterable[str]) -> None:
    """KILL a process that was seen to carry one of these ids, and nobody who was given its number since.

    Its number is made fast first, and what it carries is read after that: who is killed is who was looked at. Where
    there is no pidfd, a moment is left between the two.
    """
    try:
        pidfd = open_pidfd(pid)
    except ProcessLookupError:
        return
    except OSError:  # no descriptor to be had
        pidfd = None
    try:
        if not _carries(pid, _marks(attempts)):
            return
        with suppress(ProcessLookupError, PermissionError):
            if pidfd is None:
                os.kill(pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        if pidfd is not None:
            os.close(pidfd)


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


class Orphans:
    """What escaped from scripts of this process's workers and became its own child."""

    def __init__(self, *, own_process: bool) -> None:
        """Ask the kernel for orphans. Processes that are children already are never touched.

        `own_process` says that every other child is an orphan of ours, to be reaped when it ends; else this process
        belongs to a program that may have started children of its own.
        """
        self._own_process = own_process
        self._others = set(_children())
        # This may itself be an attempt's process, and what it starts by itself carries that attempt's id.
        self._own = _VARIABLE + os.fsencode(os.environ.get("BUILDRUNNER_ATTEMPT_ID", ""))
        _become_subreaper(True)

    def expect(self, pid: int) -> None:
        """A child that is no orphan: a worker."""
        self._others.add(pid)

    def forget(self, pid: int) -> None:
        """That worker was reaped; its number may come back as anybody's."""
        self._others.discard(pid)

    def end(self, current: Collection[str]) -> None:
        """Kill the orphans of all attempts but the current ones, and theirs in turn."""
        spare = {_VARIABLE + os.fsencode(a) for a in current} | {self._own}
        while doomed := [pid for pid in self._candidates() if _finished(pid, spare)]:
            self._kill(doomed)

    def close(self) -> None:
        """The last worker is gone: end what is left and take no more orphans."""
        self.end(())
        if self._own_process:
            while doomed := self._candidates():  # also what hides its environment
                self._kill(doomed)
        _become_subreaper(False)

    def _kill(self, doomed: Collection[int]) -> None:
        for pid in doomed:
            # A child that was not reaped keeps its number, so this cannot hit a stranger.
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in doomed:
            if not _reaped(pid):
                self._others.add(pid)

    def _candidates(self) -> list[int]:
        found = [pid for pid in _children() if pid not in self._others]
        if not self._own_process:
            return found
        # What ended by itself must not stay a zombie: a long run would use up the process numbers.
        return [pid for pid in found if os.waitpid(pid, os.WNOHANG)[0] == 0]


def is_subreaper_possible() -> bool:
    """Whether the kernel would give this process its orphans; asks without changing anything."""
    try:
        import ctypes

        failed: int = ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(ctypes.c_int()), 0, 0, 0)
    except (OSError, AttributeError, ImportError):
        return False
    return failed == 0


def _become_subreaper(wanted: bool) -> None:
    with suppress(OSError, AttributeError, ImportError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


def _finished(pid: int, spare: Collection[bytes]) -> bool:
    """Whether this child carries the id of an attempt that has ended."""
    try:
        marks = [entry for entry in _environment(pid) if entry.startswith(_VARIABLE)]
    except OSError:
        return False
    return bool(marks) and marks[0] not in spare


def _reaped(pid: int) -> bool:
    deadline = time.monotonic() + _DEATH_SECONDS
    with suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                return False
            time.sleep(_DEATH_TICK)
    return True


def _children() -> list[int]:
    """Children of every thread of this process; none where the kernel does not list them."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", "rb", buffering=0) as file:
                found += map(int, file.read().split())
    return found
