"""Where a point strikes: at a moment, or at a call by which the program makes something last.

Calls are counted, and the process that makes the chosen one ended, by a small library that is preloaded (kill_at.c):
cheaper than a tracer, exact about before and after, and it leaves the scripts alone.
"""

import mmap
import random
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

TIMED = ("server", "worker", "script", "server+worker", "server+workers")
"""Killed from outside, at a moment drawn from the length of an unharmed run."""

_CALLS = ("commit", "checkpoint", "rename", "fsync", "unlink", "zip", "send", "journal", "spawn")  # as in kill_at.c
_COUNTERS = struct.Struct(f"{2 * len(_CALLS)}Q")
CALLED = (
    *(f"server:{call}" for call in _CALLS if call != "journal"),
    *(f"worker:{call}" for call in ("rename", "unlink", "send", "journal", "spawn")),
)
"""Killed by itself, before, in the middle of or after a call of this kind."""

_ONLY_WRITES_TEAR = ("commit", "checkpoint", "zip", "send", "journal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One kill: its kind, where between the first (0) and the last (1) moment or call, and when in the call."""

    kind: str
    share: float
    when: str

    @property
    def ends_server(self) -> bool:
        """Whether the server is what it strikes, alone or among others."""
        return self.kind.startswith("server")

    def __str__(self) -> str:
        return self.kind if self.kind in TIMED else f"{self.when} {self.kind}"


def draw_blow(draw: random.Random, kinds: tuple[str, ...]) -> Blow:
    """A blow of one of these kinds."""
    kind = draw.choice(kinds)
    moments = ["before", "after"] + ["torn"] * (kind.partition(":")[2] in _ONLY_WRITES_TEAR)
    return Blow(kind=kind, share=draw.random(), when=draw.choice(moments))


class Shim:
    """The library, and the counters of the session that goes on."""

    def __init__(self, library: Path, counters: Path) -> None:
        self._library = library
        self._counters = counters

    def environment(self, blow: Blow | None, number: int) -> dict[str, str]:
        """What a session needs to be counted, with all counters at nought, and struck at the blow's call."""
        self._counters.write_bytes(bytes(mmap.PAGESIZE))
        given = {"LD_PRELOAD": str(self._library), "KILL_COUNTS": str(self._counters)}
        if blow and blow.kind in CALLED:
            role, call = blow.kind.split(":")
            given["KILL_AT"] = f"{role} {call} {number} {blow.when}"
        return given

    def counts(self) -> dict[str, int]:
        """How many calls of each kind there were so far."""
        values = _COUNTERS.unpack_from(self._counters.read_bytes())
        names = [f"{role}:{call}" for role in ("server", "worker") for call in _CALLS]
        return dict(zip(names, values, strict=True))


def build_library(folder: Path) -> Path | None:
    """Compile the library into the folder; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "kill_at.so"
    source = Path(__file__).with_name("kill_at.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library
