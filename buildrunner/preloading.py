"""Which modules are imported for all warm scripts before they begin: what is asked for, what pays, what became of it.

How a worker does it, and finds out what a fork would not survive, is in run/preload.py. What it found out is kept in
the ledger, and `auto` goes by it: by what an import cost the same Python the last time, and what was wrong with it.
"""

import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from buildrunner.config import Options
from buildrunner.job import Cwd, JobSpec
from buildrunner.ledger import Reader, RunRow
from buildrunner.run import preload, warm

AUTO = "auto"
_SAMPLE = 2000  # scripts that are read
_READ = 1 << 16  # bytes of each
_SCRIPTS_A_WORKER = 3  # that import a module, or its import does not pay
_CHEAP = 0.0003  # seconds; what is imported more quickly than this is left to the scripts
_FAILED = "it cannot be imported"
_TRIED_AGAIN = (_FAILED, f"its import {preload.WRITES}")  # what it wrote may be there the next time, as a cache is
_BESIDE = "a file beside the scripts is called"

_IMPORT = re.compile(
    rb"^[ \t]*+(?:from[ \t]++([\w.]++)[ \t]++import[ \t]*+(\([^)]*+\)|[^\r\n;#]++)|import[ \t]++([^\r\n;#]++))", re.M
)
_NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a worker found out about a module: the seconds of its import, and why it cannot be preloaded, if so.

    `brings` are the names of what came with it, by which a file beside a script stands in its place. `file` is where it
    lies, and `written` when that was last written, in nanoseconds.
    """

    seconds: float | None
    why: str | None = None
    brings: tuple[str, ...] = ()
    file: str | None = None
    written: int | None = None


class Preloading:
    """What the workers of a run import; what one of them finds out about a module the next ones go by."""

    def __init__(
        self, modules: Sequence[str] = (), *, elsewhere: bool = False, left_out: Mapping[str, Found] | None = None
    ) -> None:
        """`modules` in their order. `elsewhere`: scripts run in other folders than their workers.

        `left_out` is what would be among the modules, were it not known already why it cannot be.
        """
        self.modules = tuple(dict.fromkeys(modules))
        self.found = dict(left_out or {})
        self._where = warm.ELSEWHERE if elsewhere else ""

    def words(self) -> list[str]:
        """What follows on a warm worker's command line."""
        wanted = [name for name in self.modules if name not in self.found or self.found[name].why is None]
        return [self._where, *wanted] if wanted else []

    def note(
        self, name: str, seconds: float | None, why: str | None, brings: Iterable[str] = (), file: str | None = None
    ) -> None:
        """What a worker says of a module it has imported, or is about to."""
        if seconds is None and why is None:
            return
        if name in self.found and why is None:
            return  # the first worker's word is as good as the next one's
        self.found[name] = Found(seconds=seconds, why=why, brings=tuple(brings), file=file, written=_written(file))

    def died(self, name: str, status: int) -> None:
        """A worker's process ended while it imported this."""
        how = f"ends its process with exit code {status}" if status >= 0 else f"ends its process by signal {-status}"
        if status == -signal.SIGALRM:
            how = f"takes longer than {preload.LONGEST} s"
        self.note(name, None, f"its import {how}")

    def stop(self) -> None:
        """Import nothing more: the run ends."""
        self.modules = ()

    def to_record(self) -> dict[str, Any] | None:
        """Plain values for the ledger; None where there is nothing to tell."""
        return {name: astuple(found) for name, found in self.found.items()} or None

    def notices(self, asked: Iterable[str]) -> tuple[str, ...]:
        """What whoever asked for a module by its name wants to know."""
        return tuple(told({name: self.found[name] for name in asked if name in self.found})[1])


def of(options: Options, run: RunRow, specs: Sequence[JobSpec], reader: Reader) -> Preloading:
    """What the workers of a run are to import, by its options and what the ledger knows."""
    elsewhere = options.cwd is not Cwd.INVOCATION
    if AUTO not in options.preload:
        return Preloading(options.preload, elsewhere=elsewhere)
    asked = [name for name in options.preload if name != AUTO]
    scripts = [spec.script for spec in specs if spec.script is not None and spec.command == (run.python,)]
    counts, beside = _look(run.options["directory"], scripts[:: len(scripts) // _SAMPLE + 1])
    scale = len(scripts) // _SAMPLE + 1
    known = {name: found for name, found in past(reader, run.python).items() if name not in asked}
    left_out, wanted = {}, []
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        found = known.get(name)
        if count * scale < _SCRIPTS_A_WORKER * run.workers or name in asked:
            continue
        if found and found.why is None and found.seconds is not None and found.seconds < _CHEAP:
            continue
        if found and found.why and (elsewhere or preload.ELSEWHERE not in found.why):
            left_out[name] = found
        elif why := _shadowed(name, found, beside):
            left_out[name] = replace(found or Found(seconds=None), why=why)
        else:
            wanted.append(name)
    return Preloading([*asked, *wanted], elsewhere=elsewhere, left_out=left_out)


def _shadowed(name: str, found: Found | None, beside: set[str]) -> str | None:
    """Why scripts would find another module by this name, or one that it needs, as far as that is known before."""
    top = name.partition(":")[0].partition(".")[0]
    if top in beside:
        return f"{_BESIDE} {top}"
    if found is None:
        names = beside & sys.stdlib_module_names
        return f"{_BESIDE} {min(names)}, which it may need" if names else None
    names = beside.intersection(found.brings)
    return f"{_BESIDE} {min(names)}, which it needs" if names else None


def _look(directory: str, scripts: Sequence[str]) -> tuple[Counter[str], set[str]]:
    """How many of the scripts import each module, and the names that files beside them have."""
    counts: Counter[str] = Counter()
    folders = set()
    for script in scripts:
        path = os.path.join(directory, script)
        try:
            with open(path, "rb", buffering=0) as file:
                counts.update(set(imported_modules(file.read(_READ) or b"")))
        except OSError:
            continue
        folders.add(os.path.dirname(os.path.realpath(path) if os.path.islink(path) else path))
    beside: set[str] = set()
    for folder in folders:
        try:
            with os.scandir(folder or ".") as entries:
                beside |= {entry.name.partition(".")[0] for entry in entries if _may_shadow(entry)}
        except OSError:
            continue
    return counts, beside


def _may_shadow(entry: os.DirEntry[str]) -> bool:
    if entry.name.endswith((".py", ".pyc", ".so")):
        return True
    return "." not in entry.name and entry.is_dir() and os.path.exists(os.path.join(entry.path, "__init__.py"))


def imported_modules(text: bytes) -> Iterator[str]:
    r"""The modules a Python text imports, by their full names; `a:b` stands for `from a import b`.

    >>> list(imported_modules(b"import os.path as p, json\nfrom a.b import (c as d,\n e)\nfrom . import near"))
    ['os.path', 'json', 'a.b', 'a.b:c', 'a.b:e']
    """
    for origin, taken, listed in _IMPORT.findall(text):
        items = (taken or listed).decode("utf-8", "replace").strip("() \t\r\n").replace("\\", " ").split(",")
        names = [words[0] for item in items if (words := item.split()) and _NAME.fullmatch(words[0])]
        if not origin:
            yield from names
            continue
        module = origin.decode("utf-8", "replace")
        if _NAME.fullmatch(module) and module != "__future__":
            yield module
            yield from (f"{module}:{name}" for name in names if "." not in name)


def past(reader: Reader, python: str) -> dict[str, Found]:
    """What is known of modules of a Python from earlier runs: of each the newest, and nothing that may have changed."""
    known: dict[str, Found] = {}
    for record in reader.preloads(python):
        for name, found in recorded(record).items():
            if found.why and found.why.startswith(_BESIDE):  # that was said of a folder
                found = replace(found, why=None)
            if found.why is None and found.seconds is None:
                continue
            known.setdefault(name, found)
    return {
        name: found
        for name, found in known.items()
        if _written(found.file) == found.written and not (found.why or "").startswith(_TRIED_AGAIN)
    }


def recorded(record: Mapping[str, Any]) -> dict[str, Found]:
    """What one run found out."""
    found = {}
    for name, (seconds, why, brings, file, written) in record.items():
        found[name] = Found(seconds=seconds, why=why, brings=tuple(brings), file=file, written=written)
    return found


def told(found: Mapping[str, Found]) -> tuple[str, list[str]]:
    """What was preloaded, in words, and of the rest why it was not.

    >>> told({"json": Found(seconds=0.0042), "spam": Found(seconds=None, why="its import prints")})
    ('json (4.2 ms)', ['spam was not preloaded: its import prints'])
    """
    there = [f"{name.replace(':', '.')} ({f.seconds * 1000:.1f} ms)" for name, f in found.items()
             if f.why is None and f.seconds is not None]  # fmt: skip
    return ", ".join(there), [
        f"{name.replace(':', '.')} was not preloaded: {f.why}" for name, f in found.items() if f.why
    ]


def _written(file: str | None) -> int | None:
    try:
        return os.stat(file).st_mtime_ns if file else None
    except OSError:
        return None
