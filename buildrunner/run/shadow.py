"""Which scripts lie beside a file that Python would import in place of a module that was imported for all of them."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # as in typing, which is too big to import here
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

RESTED = 2.0
"""Seconds; what was written so lately could be written again without looking different: some file systems note the
time of a change no finer."""

_SUFFIXES = (".py", ".pyc", ".so")


class Shadows:
    """Looks into scripts' folders, and again when something was put there."""

    def __init__(self, modules: Iterable[str]) -> None:
        """`modules` by their full names; what is built into Python is found before any file."""
        tops = {name.partition(".")[0] for name in modules}
        self.names = (
            frozenset() if getattr(sys.flags, "safe_path", False) else tops.difference(sys.builtin_module_names)
        )
        self.known: dict[str, tuple[tuple[int, int, int], str | None]] = {}

    def of(self, script: str) -> str | None:
        """Why a script cannot have the modules, where it cannot."""
        if not self.names:
            return None
        folder = os.path.dirname(os.path.realpath(script) if os.path.islink(script) else script) or "."
        try:
            about = os.stat(folder)
            mark = about.st_dev, about.st_ino, about.st_mtime_ns
            known = self.known.get(folder)
            if known is None or known[0] != mark or time.time() - about.st_mtime < RESTED:
                known = self.known[folder] = mark, self._look(folder)
        except OSError:
            return None  # Python itself will say what is wrong
        return known[1]

    def _look(self, folder: str) -> str | None:
        for name, path in standing(folder, self.names):
            return f"{path} lies beside it, and {name} was preloaded"
        return None


def standing(folder: str, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """What Python would import from a folder by one of these names, and where it lies. Raises OSError."""
    for entry in os.listdir(folder):
        name, dot, _ = entry.partition(".")
        if name in names:
            path = os.path.join(folder, entry)
            if entry.endswith(_SUFFIXES) if dot else _is_package(path):
                yield name, path


def _is_package(path: str) -> bool:
    try:
        return any(entry.startswith("__init__.") for entry in os.listdir(path))
    except OSError:
        return False
