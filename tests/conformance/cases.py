"""What is compared: a case is one script and the folder it lies in, laid out afresh for every run."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from buildrunner.scan import scan

MOST_COPIED = 2_000_000
"""Bytes of a folder that is copied for each script of it; in a larger one all but the script is linked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The circumstances some cases are run in: what buildrunner is told, and its environment.

    `start` is a module that a .pth file imports as Python starts.
    """

    name: str = ""
    options: tuple[str, ...] = ("--cwd", "script")
    env: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    umask: int = 0o022
    start: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A script by its path below the place that `lay` fills. `name` tells it from all others."""

    name: str
    script: str
    lay: Callable[[Path], None]
    setting: Setting = field(default_factory=Setting)


def alone(path: Path, *, name: str = "", setting: Setting | None = None) -> Case:
    """A script that needs nothing beside it."""
    return Case(
        name=name or path.stem,
        script=path.name,
        lay=lambda place: _copy(path, place / path.name),
        setting=setting or Setting(),
    )


def in_folder(folder: Path, script: str, *, name: str = "", setting: Setting | None = None) -> Case:
    """A script and all that lies in its folder, and below."""
    big = _is_big(folder)

    def lay(place: Path) -> None:
        for entry in os.scandir(folder):
            target = place / entry.name
            if entry.name == "__pycache__":
                continue
            if big and entry.name != script:
                os.symlink(entry.path, target)
            elif entry.is_dir(follow_symlinks=False):
                shutil.copytree(entry.path, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                _copy(Path(entry.path), target)

    return Case(name=name or script, script=script, lay=lay, setting=setting or Setting())


def of_folder(folder: Path, only: str = "*") -> Iterator[Case]:
    """Every Python script below a folder, as `buildrunner run -r` finds them."""
    folder = folder.resolve()
    for script in scan([str(folder)], recursive=True):
        base = os.path.basename(script.path)
        if base.endswith(".py") and (fnmatch(script.name, only) or fnmatch(base, only)):
            yield in_folder(Path(script.path).parent, base, name=f"{folder.name}/{script.name}")


def by_setting(cases: Iterable[Case]) -> dict[str, list[Case]]:
    """Cases that can be run together."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.setting.name, []).append(case)
    return groups


def _copy(source: Path, target: Path) -> None:
    shutil.copy2(source, target, follow_symlinks=False)


def _is_big(folder: Path) -> bool:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            total += os.lstat(os.path.join(where, name)).st_size
            if total > MOST_COPIED:
                return True
    return False
