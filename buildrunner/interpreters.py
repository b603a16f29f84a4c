"""Which program runs a script: the run's Python for .py, else its `#!` line, else its suffix."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from buildrunner.errors import UsageError
from buildrunner.job import Cwd, JobSpec

BY_SUFFIX: Mapping[str, str] = {
    ".sh": "sh",
    ".bash": "bash",
    ".R": "Rscript",
    ".jl": "julia",
    ".rb": "ruby",
    ".pl": "perl",
    ".js": "node",
}


def choose_python(option: str | None, environ: Mapping[str, str]) -> tuple[str, str]:
    """The Python that runs .py scripts, as an absolute path, and why this one.

    Raises UsageError when the one asked for cannot be executed.
    """
    if option:
        found = shutil.which(option, path=environ.get("PATH"))
        if not found:
            raise UsageError(f"--python {option}: no such program, or it cannot be executed")
        return os.path.abspath(found), "--python"
    if venv := environ.get("VIRTUAL_ENV"):
        found = os.path.join(venv, "bin", "python")
        if os.access(found, os.X_OK):
            return os.path.abspath(found), "the active virtual environment"
    if not _isolated_tool(Path(sys.prefix)):
        return sys.executable, "the one buildrunner is installed in"
    if found := shutil.which("python3", path=environ.get("PATH")):
        return os.path.abspath(found), "python3 on PATH"
    raise UsageError("no python3 on PATH to run the scripts with; name one with --python PATH")


def _isolated_tool(prefix: Path) -> bool:
    """Whether this environment was made for buildrunner alone: by pipx, `uv tool` or our GitHub action."""
    return any((prefix / name).exists() for name in ("pipx_metadata.json", "uv-receipt.toml", "buildrunner-alone"))


def is_script(path: str) -> bool:
    """Whether a regular file can be run: by its suffix, or an executable that begins with `#!` or ELF."""
    suffix = os.path.splitext(path)[1]
    if suffix == ".py" or suffix in BY_SUFFIX:
        return True
    return os.access(path, os.X_OK) and _head(path)[:2] in (b"#!", b"\x7fE")


def command_for(path: str, python: str) -> tuple[str, ...]:
    """The program and options that run the script; empty when it runs by itself.

    A program that is not installed is returned by its bare name: starting it is that job's error.
    """
    return _one(_command_for(path, python))


@cache
def _one(command: tuple[str, ...]) -> tuple[str, ...]:
    """The same, and one object for all of very many scripts."""
    return command


def _command_for(path: str, python: str) -> tuple[str, ...]:
    suffix = os.path.splitext(path)[1]
    if suffix == ".py":
        return (python,)
    line = _head(path).split(b"\n", 1)[0]
    if line.startswith(b"#!"):
        parts = os.fsdecode(line[2:]).strip(" \t\r").replace("\t", " ").split(" ", 1)
        if parts[0]:
            return _from_shebang(parts[0], parts[1].strip(" ") if len(parts) > 1 else "")
    if suffix in BY_SUFFIX:
        return (_which(BY_SUFFIX[suffix]),)
    return ()


def call(spec: JobSpec, directory: str, output_dir: str) -> tuple[tuple[str, ...], str | None]:
    """What a user would type to run a job by itself, and where (None: in `directory`)."""
    cwd, script = None, spec.script
    if spec.cwd is Cwd.SCRATCH:
        cwd = output_dir
    if script is None:
        return (*spec.command, *spec.args), cwd
    if spec.cwd is Cwd.SCRIPT:
        where, script = os.path.split(script)
        cwd = os.path.join(directory, where)
    elif spec.cwd is Cwd.SCRATCH:
        script = os.path.join(directory, script)
    if script.startswith("-") or (not spec.command and "/" not in script):
        script = "./" + script  # neither an option nor a name to look up
    return (*spec.command, script, *spec.args), cwd


def _from_shebang(program: str, argument: str) -> tuple[str, ...]:
    if os.path.basename(program) == "env" and argument:
        words = [argument]
        if argument.startswith(("-S", "--split-string=")):
            rest = argument.removeprefix("--split-string=").removeprefix("-S")
            try:
                words = shlex.split(rest)
            except ValueError:
                words = rest.split()
        # Resolved here, so that a missing program is named instead of env's own complaint.
        if words and not words[0].startswith("-") and "=" not in words[0]:
            return (_which(words[0]), *words[1:])
    return (program, argument) if argument else (program,)


@cache
def _which(program: str) -> str:
    found = shutil.which(program)
    return os.path.abspath(found) if found else program


def _head(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(512)
    except OSError:
        return b""
