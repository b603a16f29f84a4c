"""Finding what an attempt left running, by the attempt's id in its environment. Linux only; elsewhere finds none."""

import os
import signal
from collections.abc import Collection
from contextlib import suppress

_VARIABLE = b"BUILDRUNNER_ATTEMPT_ID="


def kill_attempts(attempts: Collection[str]) -> int:
    """KILL every process that carries one of these attempt ids; returns how many there were."""
    marks = {_VARIABLE + os.fsencode(a) for a in attempts}
    killed: set[int] = set()
    while found := {pid for pid in _carriers(marks) if pid not in killed}:
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= found  # look again: one of them may just have forked
    return len(killed)


def _carriers(marks: set[bytes]) -> list[int]:
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    found = []
    for pid in pids:
        with suppress(OSError), open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            if not marks.isdisjoint(file.read().split(b"\0")):
                found.append(pid)
    return found
