"""What a script is made of: its own bytes, and those of the modules beside it that it imports.

By that a recorded result is known to be of what lies there now, or of something that has changed since.

Seen are the script itself and, where Python runs it, the modules and packages in its own folder (what Python puts first
on `sys.path`) that it names in an `import`, and what these import from there in the same way. Not seen: what importlib,
exec or the like bring in, other folders (PYTHONPATH, a changed `sys.path`, installed packages), compiled modules, the
interpreter, data files; and of scripts in other languages all but the script. A name that stands after the word
`import` in a comment or a text counts too, which can only make a script look changed that is not.
"""

import hashlib
import os
import re
import stat
import time
from collections.abc import Mapping, Sequence

_CHUNK = 1 << 15
_LOOKED_THROUGH = 1 << 20  # bytes of a script in which imports are looked for
_MOST_MODULES = 500  # of one script, and files of one package: what is beyond is not seen
_MOST_ENTRIES = 5000  # looked at below a folder that is named like a module; it may hold data
_TRUSTED = 1.0  # seconds; what changes in a package within them makes a result look older than it is, never newer
_RESTED = 100_000_000  # ns; what was written more recently may be written again without looking different

# Possessive, so that no text makes it slow.
_IMPORT = re.compile(
    rb"\bfrom[\s\\]++([^\s.,;:#()\\'\"]++)[^\s;:#()\\'\"]*+[\s\\]++import\b"
    rb"|\bimport[ \t]++((?:[^\\\r\n;#]|\\\r?\n)++)"
)

Modules = Mapping[str, str]
"""Where a module lies, relative to its script's folder (a package with a slash at the end), and its SHA-256 in hex."""


class Sources:
    """Looks scripts up, each time as they are then; what many of them import is read once."""

    def __init__(self, directory: str) -> None:
        """Scripts' paths are relative to `directory`."""
        self._directory = directory
        self._files: dict[str, tuple[tuple[int, ...], str, tuple[str, ...]]] = {}
        self._packages: dict[str, tuple[float, tuple[str, Sequence[str]] | None]] = {}  # folder → when, and what
        self._absent: dict[str, tuple[int, set[str]]] = {}  # folder → when it was last written, names it does not have

    def of(self, script: str | None, command: Sequence[str] = ()) -> tuple[str | None, Modules]:
        """The SHA-256 of a script that `command` runs, None when it cannot be read; and its modules."""
        if script is None:
            return None, {}
        path = os.path.join(self._directory, script)
        is_python = script.endswith(".py") or _is_python(command)
        try:
            digest, text = _read(path, _LOOKED_THROUGH if is_python else 0)
        except OSError:
            return None, {}
        if b"import" not in text or not (names := imported(text)):
            return digest, {}
        if os.path.islink(path):
            path = os.path.realpath(path)  # as Python does
        return digest, self._modules(path, names)

    def _modules(self, script: str, names: Sequence[str]) -> Modules:
        folder = os.path.dirname(script)
        found: dict[str, str] = {}
        todo, seen, absent = list(names), set(names), self._absent_from(folder)
        while todo and len(found) < _MOST_MODULES:
            name = todo.pop()
            if name in absent:
                continue
            if (module := self._module(folder, name)) is None:
                if not os.path.lexists(os.path.join(folder, f"{name}.py")):  # one that is no file yet may become one
                    absent.add(name)
                continue
            place, digest, more = module
            if os.path.join(folder, place) == script:
                continue
            found[place] = digest
            todo += set(more) - seen
            seen.update(more)
        return dict(sorted(found.items()))

    def _module(self, folder: str, name: str) -> tuple[str, str, Sequence[str]] | None:
        """What `import name` finds in a folder: where, its digest, and the names it imports itself."""
        path = os.path.join(folder, name)
        try:
            if not os.path.isdir(path):
                return f"{name}.py", *self._file(f"{path}.py")
            if not os.path.exists(os.path.join(path, "__init__.py")) and os.path.exists(f"{path}.py"):
                return f"{name}.py", *self._file(f"{path}.py")
            if package := self._known_package(path):
                return f"{name}/", *package
        except (OSError, ValueError):
            pass
        return None

    def _absent_from(self, folder: str) -> set[str]:
        """Names that are known not to be in a folder, as long as nothing is put there."""
        try:
            written = os.stat(folder or ".").st_mtime_ns
        except OSError:
            return set()
        if time.time_ns() - written < _RESTED:
            return set()
        known = self._absent.get(folder)
        if known is None or known[0] != written:
            known = self._absent[folder] = (written, set())
        return known[1]

    def _known_package(self, path: str) -> tuple[str, Sequence[str]] | None:
        """The same as `_package`, or as it was a moment ago."""
        when, package = self._packages.get(path, (-_TRUSTED, None))
        if time.monotonic() - when >= _TRUSTED:
            package = self._package(path)
            self._packages[path] = time.monotonic(), package
        return package

    def _package(self, path: str) -> tuple[str, Sequence[str]] | None:
        """One digest of all .py files below a folder; None when there is none."""
        names: set[str] = set()
        digest, count, entries = hashlib.sha256(), 0, 0
        for place, folders, files in os.walk(path):
            entries += len(folders) + len(files)
            if entries > _MOST_ENTRIES:
                break
            folders[:] = sorted(f for f in folders if f != "__pycache__" and not f.startswith("."))
            for file in sorted(f for f in files if f.endswith(".py")):
                if count == _MOST_MODULES:
                    return digest.hexdigest(), sorted(names)
                whole = os.path.join(place, file)
                try:
                    content, imports = self._file(whole)
                except OSError:
                    content, imports = "unreadable", ()
                digest.update(os.fsencode(os.path.relpath(whole, path)) + b"\0" + content.encode() + b"\0")
                names.update(imports)
                count += 1
        return (digest.hexdigest(), sorted(names)) if count else None

    def _file(self, path: str) -> tuple[str, Sequence[str]]:
        """A module's digest and the names it imports; read only when it is another than the last time."""
        about = os.stat(path)
        mark = (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
        known = self._files.get(path)
        if known is None or known[0] != mark:
            digest, text = _read(path, _LOOKED_THROUGH)
            known = mark, digest, imported(text)
            if time.time_ns() - max(about.st_mtime_ns, about.st_ctime_ns) >= _RESTED:
                self._files[path] = known
        return known[1], known[2]


def imported(text: bytes) -> tuple[str, ...]:
    r"""The top-level names a Python text imports, sorted; possibly more, never fewer that stand there in full.

    >>> imported(b"import os, util as u\nfrom pkg.part import x; import a.b\nfrom . import near")
    ('a', 'near', 'os', 'pkg', 'util')
    """
    names: set[bytes] = set()
    for origin, listed in _IMPORT.findall(text):
        if origin:
            names.add(origin)
        for item in listed.replace(b"\\", b" ").split(b","):
            if words := item.split(None, 1):
                names.add(words[0].partition(b".")[0])
    decoded = (name.decode("utf-8", "replace") for name in names)
    return tuple(sorted(name for name in decoded if name.isidentifier()))


def changed_modules(then: Modules, now: Modules) -> str | None:
    """What became of a script's modules, in words; None when they are the same.

    >>> changed_modules({"a.py": "1", "b/": "2"}, {"a.py": "3", "c.py": "4"})
    'its module a.py changed, its package b is gone, its module c.py is new'
    """
    became = [(place, "is gone" if place not in now else "changed") for place in then if now.get(place) != then[place]]
    became += [(place, "is new") for place in now if place not in then]
    return ", ".join(f"its {_called(place)} {what}" for place, what in sorted(became)) or None


def _called(place: str) -> str:
    return f"package {place[:-1]}" if place.endswith("/") else f"module {place}"


def _is_python(command: Sequence[str]) -> bool:
    return bool(command) and os.path.basename(command[0]).startswith(("python", "pypy"))


def _read(path: str, wanted: int) -> tuple[str, bytes]:
    """The SHA-256 of a file's content, and its beginning as far as it is `wanted`, in whole chunks. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        digest, text, size = hashlib.sha256(), b"", 0
        while part := os.pread(fd, _CHUNK, size):  # what is no file is refused by it; but for devices
            if not size and len(part) == _CHUNK and not stat.S_ISREG(os.fstat(fd).st_mode):  # one may have no end
                raise FileNotFoundError(path)
            size += len(part)
            digest.update(part)
            if len(text) < wanted:
                text = text + part if text else part
        return digest.hexdigest(), text
    finally:
        os.close(fd)
