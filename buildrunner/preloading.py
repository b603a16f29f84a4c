"""Which modules are imported for all warm scripts before they begin: what is asked for, what pays, what became of it.

How a worker does it, and finds out what a fork would not survive, is in run/preload.py. What it found out is kept in
the ledger, and `auto` goes by it: by what an import cost the same Python the last time, and what was wrong with it.
"""

import ast
import os
import re
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from buildrunner.config import Options
from buildrunner.job import Cwd, JobSpec
from buildrunner.ledger import Reader, RunRow
from buildrunner.run import preload, shadow, warm

AUTO = "auto"
_SAMPLE = 2000  # scripts that are read
_LONGEST = 1 << 16  # bytes; what a longer one imports is not asked
_READ = 2 << 20  # bytes of all together: to parse as many takes a second
_SCRIPTS_A_WORKER = 3  # that import a module, or its import does not pay
_CHEAP = 0.0003  # seconds; what is imported more quickly than this is left to the scripts
_FAILED = "it cannot be imported"
_TRIED_AGAIN = (_FAILED, f"its import {preload.WRITES}")  # what it wrote may be there the next time, as a cache is
_ENDED = ("its import ends its process", f"its import takes longer than {preload.LONGEST} s")
_BESIDE = "a file beside the scripts is called"
_AHEAD = "a file where scripts may let Python look first is called"

_BODIES = ("body", "handlers", "cases", "orelse", "finalbody")  # of statements
_AT_THE_END = ("append", "extend")  # of `sys.path`, where what is there already comes first
_PLACE = re.compile(r"[\w./~+-]{1,100}")  # what may be a folder's name
_ABOVE = 3  # folders above a script's own that such a name may start from


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
        self,
        modules: Sequence[str] = (),
        *,
        elsewhere: bool = False,
        left_out: Mapping[str, Found] | None = None,
        doubtful: Collection[str] = (),
    ) -> None:
        """`modules` in their order. `elsewhere`: scripts run in other folders than their workers.

        `left_out` is what would be among the modules, were it not known already why it cannot be. Each of the
        `doubtful` ones is tried by a single worker, and by the next ones when that has gone well.
        """
        self.modules = tuple(dict.fromkeys(modules))
        self.found = dict(left_out or {})
        self._doubtful = [name for name in self.modules if name in doubtful]
        self._untried = list(self._doubtful)
        self._files: dict[str, str | None] = {}
        self._where = warm.ELSEWHERE if elsewhere else ""

    def words(self) -> list[str]:
        """What follows on a warm worker's command line."""
        first = self._untried.pop(0) if self._untried else None  # so that nothing else comes between
        wanted = [name for name in self.modules if name == first]
        for name in self.modules:
            found = self.found.get(name)
            if found.why is None if found else name not in self._doubtful:
                wanted.append(name)
        return [self._where, *wanted] if wanted else []

    def note(
        self, name: str, seconds: float | None, why: str | None, brings: Iterable[str] = (), file: str | None = None
    ) -> None:
        """What a worker says of a module it has imported, or is about to."""
        if seconds is None and why is None:
            self._files[name] = file
            return
        if name in self.found and why is None:
            return  # the first worker's word is as good as the next one's
        self.found[name] = Found(seconds=seconds, why=why, brings=tuple(brings), file=file, written=_written(file))

    def died(self, name: str, status: int) -> None:
        """A worker's process ended while it imported this."""
        ends, takes_long = _ENDED
        why = f"{ends} with exit code {status}" if status >= 0 else f"{ends} by signal {-status}"
        if status == -signal.SIGALRM:
            why = takes_long
        self.note(name, None, why, file=self._files.get(name))

    def stop(self) -> None:
        """Import nothing more: the run ends."""
        self.modules = ()
        self._untried.clear()

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
    known, doubtful = past(reader, run.python)
    known = {name: found for name, found in known.items() if name not in asked}
    names = {top for found in known.values() for top in found.brings}
    counts, read, taken = _look(run.options["directory"], scripts[:: len(scripts) // _SAMPLE + 1], names)
    scale = len(scripts) / max(read, 1)
    left_out, wanted = {}, []
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        found = known.get(name)
        if count * scale < _SCRIPTS_A_WORKER * run.workers or name in asked:
            continue
        if found and found.why is None and found.seconds is not None and found.seconds < _CHEAP:
            continue
        if found and found.why and (elsewhere or preload.ELSEWHERE not in found.why):
            left_out[name] = found
        elif why := _shadowed(name, found, taken):
            left_out[name] = replace(found or Found(seconds=None), why=why)
        else:
            wanted.append(name)
    return Preloading([*asked, *wanted], elsewhere=elsewhere, left_out=left_out, doubtful=doubtful.difference(asked))


def _shadowed(name: str, found: Found | None, taken: Mapping[str, str]) -> str | None:
    """Why scripts would find another module by this name, or one that it needs, as far as that is known before.

    `taken`: names of files that may come first, and what is said of these files.
    """
    top = name.partition(":")[0].partition(".")[0]
    if top in taken:
        return f"{taken[top]} {top}"
    names = taken.keys() & (sys.stdlib_module_names if found is None else found.brings)
    if not names:
        return None
    first = min(names)
    return f"{taken[first]} {first}, which it {'may need' if found is None else 'needs'}"


def _look(directory: str, scripts: Sequence[str], names: Collection[str]) -> tuple[Counter[str], int, dict[str, str]]:
    """How many of the scripts import each module, how many were read, and which names files have that may come first.

    Of these names only those are looked for that scripts import, that are Python's own, or that are among `names`.
    """
    counts: Counter[str] = Counter()
    beside: dict[str, None] = {}
    ahead: dict[str, None] = {}
    size = read = 0
    for script in scripts:
        path = os.path.join(directory, script)
        folder = os.path.dirname(os.path.realpath(path) if os.path.islink(path) else path) or "."
        beside[folder] = None
        if size > _READ:
            continue
        try:
            with open(path, "rb", buffering=0) as file:
                text = file.read(_LONGEST + 1) or b""
        except OSError:
            continue
        size += len(text)
        read += 1
        if len(text) > _LONGEST or (tree := _parsed(text)) is None:
            continue
        counts.update(set(_imported(tree)))
        if (b"sys.path" in text or b"from sys" in text) and _changes_path(tree):
            ahead.update(dict.fromkeys(_places(tree, folder, directory)))
    wanted = {name.partition(":")[0].partition(".")[0] for name in counts}.union(names, sys.stdlib_module_names)
    taken = {}
    for folders, what in ((ahead, _AHEAD), (beside, _BESIDE)):
        for folder in folders:
            try:
                taken.update(dict.fromkeys((name for name, _ in shadow.standing(folder, wanted)), what))
            except OSError:
                continue
    return counts, read, taken


def imported_modules(text: bytes) -> Iterator[str]:
    r"""The modules a Python text imports, by their full names; `a:b` stands for `from a import b`.

    Nothing where the text is no Python that this one can read.

    >>> list(imported_modules(b"import os.path as p, json\nfrom a.b import (c as d,\n e)\nfrom . import near"))
    ['os.path', 'json', 'a.b', 'a.b:c', 'a.b:e']
    """
    tree = _parsed(text)
    return iter(()) if tree is None else _imported(tree)


def _parsed(text: bytes) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is to be said about it Python says when it runs
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _imported(tree: ast.Module) -> Iterator[str]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level and node.module != "__future__":
            yield node.module
            yield from (f"{node.module}:{alias.name}" for alias in node.names if alias.name != "*")
        bodies = ("orelse",) if isinstance(node, ast.If) and _is_for_types(node.test) else _BODIES
        waiting += [below for body in bodies for below in getattr(node, body, ())][::-1]


def _is_for_types(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING"


def _changes_path(tree: ast.Module) -> bool:
    """Whether a script may put a folder in front of others in `sys.path`."""
    harmless: set[int] = set()
    for node in ast.walk(tree):  # what is outside comes before what is in it
        if isinstance(node, ast.Compare):
            harmless.update(map(id, node.comparators))
        elif isinstance(node, ast.Attribute) and node.attr in _AT_THE_END:
            harmless.add(id(node.value))
        elif _is_path(node) and id(node) not in harmless:
            return True
    return False


def _is_path(node: ast.AST) -> bool:
    """Whether this is `sys.path`, or gives it another name."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "sys" and "path" in [alias.name for alias in node.names]
    return isinstance(node, ast.Attribute) and node.attr == "path" and getattr(node.value, "id", None) == "sys"


def _places(tree: ast.Module, folder: str, directory: str) -> Iterator[str]:
    """Folders that a script may put there: its own or one above, or what its strings name as seen from there."""
    starts = [directory, os.path.abspath(folder)]
    for _ in range(_ABOVE):
        starts.append(os.path.dirname(starts[-1]))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = [text for text in texts if _PLACE.fullmatch(text)]
    yield from starts
    for start in dict.fromkeys(starts):
        for name in names:
            if os.path.isdir(place := os.path.join(start, name)):
                yield place
                yield from (os.path.join(place, further) for further in names)


def past(reader: Reader, python: str) -> tuple[dict[str, Found], set[str]]:
    """What is known of modules of a Python from earlier runs: of each the newest, and nothing that may have changed.

    And the doubtful ones. By whatever a process was ended while it imported one, that is known when it has happened in
    two runs on end.
    """
    runs: dict[str, list[Found]] = {}
    for record in reader.preloads(python):
        for name, found in recorded(record).items():
            if found.why and found.why.startswith((_BESIDE, _AHEAD)):  # that was said of a folder
                found = replace(found, why=None)
            if found.why is None and found.seconds is None:
                continue
            runs.setdefault(name, []).append(found)
    known, doubtful = {}, set()
    for name, (found, *earlier) in runs.items():
        why = found.why or ""
        if _written(found.file) != found.written or why.startswith(_TRIED_AGAIN):
            continue
        if why.startswith(_ENDED) and not any(_is_same_end(found, other) for other in earlier[:1]):
            doubtful.add(name)
        else:
            known[name] = found
    return known, doubtful


def _is_same_end(found: Found, other: Found) -> bool:
    return (other.why or "").startswith(_ENDED) and (other.file, other.written) == (found.file, found.written)


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
