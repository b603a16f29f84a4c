"""From what the user named to the scripts in it.

Symbolic links to files are scripts like any other, wherever they lead; linked folders are not entered, so no loop can
trap the scan. What looks like a script and is none (a link that leads nowhere, a pipe), and a linked folder where
folders are entered, is passed over and named.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from buildrunner.config import Options
from buildrunner.errors import NothingToRun, UsageError
from buildrunner.interpreters import BY_SUFFIX, command_for, is_script
from buildrunner.job import Batch, JobSpec
from buildrunner.naming import display

_NOT_SCRIPTS = frozenset({"__init__.py", "__main__.py", "conftest.py"})
_NAMED = 10  # of what is passed over
_JOB_FILES = (".yaml", ".yml", ".toml")
LOOKED_FOR = (
    f"*.py (not {', '.join(sorted(_NOT_SCRIPTS))}), {' '.join('*' + s for s in BY_SUFFIX)}, "
    "and executables that begin with #! or are ELF programs"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script to run: its job's name, and its path as the user would type it."""

    name: str
    path: str


def scan(
    targets: Sequence[str],
    *,
    recursive: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    passed_over: list[str] | None = None,
) -> list[Script]:
    """The scripts of all targets (folders or single scripts), sorted by name within each target.

    Globs are matched against the job's name and its last part. What is passed over is put into the list of that name,
    fit to be shown. Raises UsageError for a target that is missing or
    cannot be read and for two jobs of one name, NothingToRun when there is none.
    """
    scripts: list[Script] = []
    for target in targets:
        if os.path.isdir(target):
            prefix = "" if len(targets) == 1 else target.rstrip("/") + "/"
            over: list[tuple[str, str]] = []
            found = (
                Script(name=prefix + name, path=os.path.join(target, name))
                for name in sorted(_walk(target, "", recursive, over))
            )
            scripts += (s for s in found if _wanted(s.name, include, exclude))
            if passed_over is not None:
                passed_over += (
                    f"{display(prefix + name)} ({why})"
                    for name, why in sorted(over)
                    if _wanted(prefix + name, include, exclude)
                )
        else:
            scripts.append(_single(target))
    if len(targets) > 1:
        _refuse_twins(scripts)
    if not scripts:
        where = ", ".join(display(t) for t in targets)
        below = "" if recursive else " (not in folders below it; -r/--recursive does)"
        chosen = "".join(
            f", {word} {' '.join(map(display, globs))}"
            for word, globs in (("matching", include), ("without", exclude))
            if globs
        )
        raise NothingToRun(f"no scripts in {where}: looked for {LOOKED_FOR}{chosen}{below}")
    return scripts


def _walk(folder: str, prefix: str, recursive: bool, over: list[tuple[str, str]]) -> list[str]:
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if recursive and entry.name != "__pycache__" and not _is_venv(entry.path):
                        names += _walk(entry.path, prefix + entry.name + "/", recursive, over)
                elif not _is_file(entry):
                    if why := _why_none(entry, recursive):
                        over.append((prefix + entry.name, why))
                elif entry.name not in _NOT_SCRIPTS and is_script(entry.path):
                    names.append(prefix + entry.name)
    except OSError as exc:
        raise UsageError(f"cannot read the folder {display(folder)}: {exc.strerror}") from exc
    return names


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself, or to where we may not go
        return False


def _why_none(entry: os.DirEntry[str], recursive: bool) -> str:
    """Why this, which is no file, is passed over; empty where nobody could have expected anything else."""
    if os.path.isdir(entry.path):
        return "a linked folder" if recursive else ""
    if entry.name in _NOT_SCRIPTS or os.path.splitext(entry.name)[1] not in (".py", *BY_SUFFIX):
        return ""
    return "a link that leads nowhere" if entry.is_symlink() else "not a file"


def _is_venv(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, "pyvenv.cfg"))


def _single(target: str) -> Script:
    shown = display(target)
    if not os.path.lexists(target):
        raise UsageError(f"no such file or folder: {shown}; name a folder or a script to run")
    if not os.path.isfile(target):
        raise UsageError(f"{shown} is neither a script nor a folder")
    if target.endswith(_JOB_FILES):
        raise UsageError(f"{shown}: job files cannot be run yet; name a folder or a script")
    if not os.access(target, os.R_OK) and not os.access(target, os.X_OK):
        raise UsageError(f"cannot read {shown}: permission denied")
    if not is_script(target):
        raise UsageError(f"{shown} is not a script: a script is one of {LOOKED_FOR}")
    return Script(name=target, path=target)


def _wanted(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    def matches(globs: Sequence[str]) -> bool:
        return any(fnmatchcase(name, g) or fnmatchcase(name.rsplit("/", 1)[-1], g) for g in globs)

    return (not include or matches(include)) and not matches(exclude)


def _refuse_twins(scripts: Sequence[Script]) -> None:
    seen = set()
    for script in scripts:
        if script.name in seen:
            raise UsageError(f"two jobs would be called {display(script.name)}: name each target once")
        seen.add(script.name)


def make_batch(options: Options, python: str) -> Batch:
    """The batch of all the targets' scripts, each with the program that runs it. Errors as `scan`."""
    over: list[str] = []
    scripts = scan(
        options.targets,
        recursive=options.recursive,
        include=options.include,
        exclude=options.exclude,
        passed_over=over,
    )
    jobs = tuple(
        JobSpec(
            name=script.name,
            command=command_for(script.path, python),
            script=script.path,
            args=options.args,
            cwd=options.cwd,
            timeout=options.timeout,
            retries=options.retries,
        )
        for script in scripts
    )
    return Batch(target=" ".join(options.targets), key=options.key, jobs=jobs, passed_over=_in_short(over))


def _in_short(over: Sequence[str]) -> str:
    """What was passed over as one sentence; empty when nothing was."""
    more = f" and {len(over) - _NAMED:,} more" if len(over) > _NAMED else ""
    return f"passed over: {', '.join(over[:_NAMED])}{more}" if over else ""
