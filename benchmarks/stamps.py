"""Stamps that where.py puts into a copy of the package: when each step of an attempt began, and its page faults.

A record an attempt, in memory that a worker and the processes of its scripts share with a file; a script's process
writes into the record that its worker had open when it was forked.
"""

from __future__ import annotations

import mmap
import os
import resource
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

NAMES = (
    "note_start", "noted_start", "placed", "logs_open", "forked", "born", "loaded", "newborn", "begin", "done",
    "leave", "awake", "reaped", "taken", "noted_end", "told", "child_faults",
)  # fmt: skip
RECORD = f"<{2 * len(NAMES)}q"
"""Nanoseconds and page faults so far of each; zeros where that step was not."""

_MOST = 1 << 14  # attempts of one worker
_SIZE = struct.calcsize(RECORD)
_PAIR = struct.Struct("<2q")
_OFFSETS = {name: place * _PAIR.size for place, name in enumerate(NAMES)}

_memory: mmap.mmap | None = None
_record = -1


def open_file(path: str) -> None:
    """Where the stamps of this process and its children go."""
    global _memory, _record
    fd = os.open(f"{path}.{os.getpid()}", os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(fd, _MOST * _SIZE)
    _memory = mmap.mmap(fd, _MOST * _SIZE)
    os.close(fd)
    _record = 0


def stamp(name: str) -> None:
    """Now."""
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    _put(name, time.monotonic_ns(), faults)


def _put(name: str, value: int, faults: int) -> None:
    if _memory is not None and 0 <= _record < _MOST:
        _PAIR.pack_into(_memory, _record * _SIZE + _OFFSETS[name], value, faults)


class _Beside:
    """A module, some of whose functions are others."""

    def __init__(self, module: Any, **others: Any) -> None:
        self._module = module
        self.__dict__.update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _around(function: Callable[..., Any], before: str | None = None, after: str | None = None) -> Callable[..., Any]:
    def stamped(*args: Any, **named: Any) -> Any:
        if before:
            stamp(before)
        result = function(*args, **named)
        if after:
            stamp(after)
        return result

    return stamped


def put_in(path: str, program: dict[str, Any]) -> None:
    """Put the stamps into the parts of a warm worker, whose program's globals these are."""
    import gc

    from buildrunner.run import attempt, fork, wire, worker

    open_file(path)
    slot, base = fork.ForkSlot, worker.Worker
    note = base.note

    def noted(self: Any, *values: object) -> bool:
        global _record
        if values[0] == "start":
            _record += 1
            stamp("note_start")
        result = note(self, *values)
        stamp("noted_start" if values[0] == "start" else "noted_end")
        return result

    def said(fd: int, message: Any) -> None:
        wire.write_frame(fd, message)
        if message[0] == "receipt":
            stamp("told")

    reap = slot._reap

    def reaped(self: Any) -> tuple[int, Any]:
        stamp("awake")
        result = reap(self)
        stamp("reaped")
        _put("child_faults", result[1].ru_minflt, 0)
        return result

    base.note = noted  # type: ignore[method-assign]
    worker.wire = _Beside(wire, write_frame=said)  # type: ignore[assignment]
    slot._reap = reaped  # type: ignore[method-assign]
    slot._place_folder = _around(slot._place_folder, after="placed")  # type: ignore[method-assign]
    slot._spawn = _around(slot._spawn, after="forked")  # type: ignore[method-assign]
    slot._take_outputs = _around(slot._take_outputs, after="taken")  # type: ignore[method-assign]
    slot._become = _around(slot._become, before="born")  # type: ignore[method-assign]
    fork.gc = _Beside(gc, freeze=_around(gc.freeze, before="logs_open"))  # type: ignore[assignment]
    fork._load = _around(fork._load, after="loaded")
    newborn = attempt.Newborn.__init__
    attempt.Newborn.__init__ = _around(newborn, before="newborn")  # type: ignore[method-assign]
    # The program's own `exec` is a script's first and last moment; nothing that a script finds has this name.
    program["exec"] = _around(exec, "begin", "done")
    begun = program["_parts"][-1]
    begun.leave = _around(begun.leave, before="leave")
