"""Run cases through `buildrunner run`, each in a fresh copy of its folder, and take down what each one left.

BASE/place/0007/…     the seventh case, laid out anew for every arm at this very path
BASE/out, BASE/state  buildrunner's own
BASE/home, BASE/tmp   HOME and TMPDIR; what is left in TMPDIR counts too, for all scripts together
"""

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from buildrunner.removal import remove_tree
from tests.conformance.cases import Case
from tests.conformance.noise import without_noise

WORKERS = 2
PROGRAM = f"""\
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from buildrunner.__main__ import main
main()
"""
"""buildrunner as it lies beside these tests, which need not be the one that is installed, past a case's environment."""
ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",  # otherwise sets print in another order each time
}
_LARGEST = 1_000_000  # bytes of a file that is compared by its text


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way of running everything."""

    mode: str
    options: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


COLD, WARM = Arm(mode="cold"), Arm(mode="warm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a script in one arm came to: parts by their names, noise gone. Mode and reason are not compared."""

    parts: Mapping[str, bytes]
    mode: str
    why: str = ""
    timed_out: bool = False


class Broken(Exception):
    """buildrunner itself did not do what it was asked to."""


def observe(
    base: Path, cases: Sequence[Case], arm: Arm, *, python: str, timeout: float = 60.0, workers: int = WORKERS
) -> list[Observed]:
    """Run all cases, which share one setting, in one run; the last item is what they left in TMPDIR."""
    setting = cases[0].setting
    where = {name: base / name for name in ("place", "out", "state", "home", "tmp")}
    for path in where.values():
        remove_tree(str(path))
    for name in ("place", "home", "tmp"):
        where[name].mkdir(parents=True)
    if setting.start:
        python = _starting_with(setting.start, base / "venv", python)
    targets = []
    for number, case in enumerate(cases):
        place = where["place"] / f"{number:04}"
        place.mkdir()
        case.lay(place)
        targets.append(os.path.join(place.name, case.script))
    command = [
        sys.executable, "-I", "-c", PROGRAM, "run", *targets, *setting.options, "--mode", arm.mode, *arm.options,
        "--jobs", str(workers), "--json", "--no-zip", "--order", "name", "--timeout", f"{timeout:g}s", "--grace", "1s",
        "--python", python, "--output", str(where["out"]), "--state", str(where["state"]),
        *(("--", *setting.arguments) if setting.arguments else ()),
    ]  # fmt: skip
    env = {**ENVIRONMENT, "HOME": str(where["home"]), "TMPDIR": str(where["tmp"]), **setting.env, **arm.env}
    done = subprocess.run(
        command, cwd=where["place"], env=env, stdin=subprocess.DEVNULL, capture_output=True, umask=setting.umask
    )
    try:
        document = json.loads(done.stdout)
        if document["state"] != "finished":
            raise ValueError
    except ValueError:
        raise Broken(f"buildrunner exited {done.returncode}: {done.stderr.decode(errors='replace')}") from None
    rows = {row["name"]: row for row in document["results"]}
    found = [_observed(where["place"], rows[target], target) for target in targets]
    return [*found, Observed(parts=files(where["tmp"], "left in TMPDIR: "), mode=arm.mode)]


def _starting_with(module: Path, venv: Path, python: str) -> str:
    """The Python of a virtual environment, made if need be, that imports this module when it starts."""
    if not venv.exists():
        subprocess.run([python, "-I", "-m", "venv", "--without-pip", venv], check=True)
        [site] = venv.glob("lib/python*/site-packages")
        (site / "start.pth").write_text(f"{module.parent}\nimport {module.stem}\n")
    return str(venv / "bin" / "python")


def _observed(place: Path, row: Mapping[str, Any], target: str) -> Observed:
    ending = {key: row[key] for key in ("state", "outcome", "exit_code", "signal", "error", "outputs", "lost")}
    parts = {"ending": without_noise(json.dumps(ending, indent=1).encode())}
    for stream in ("stdout", "stderr"):
        try:
            parts[stream] = without_noise((place / row[stream]).read_bytes())
        except FileNotFoundError:
            parts[stream] = f"{row[stream]} is missing".encode()
    parts |= files(place / target.partition("/")[0], "")
    logs = Path(place / row["stdout"]).parent
    stem = os.path.basename(row["stdout"]).removesuffix(".out")
    parts |= files(logs.parent / "files" / stem, "output ")
    return Observed(
        parts=parts, mode=row["mode"] or "", why=row["why_cold"] or "", timed_out=row["outcome"] == "timed_out"
    )


def files(folder: Path, prefix: str) -> dict[str, bytes]:
    """All that lies in a folder, by name: kind, mode and content; of compiled modules the name counts."""
    parts: dict[str, bytes] = {}
    for where, folders, names in os.walk(os.fsencode(folder)):
        for name in (*folders, *names):
            path = os.path.join(where, name)
            relative = without_noise(os.path.relpath(path, os.fsencode(folder)))
            parts[prefix + "file " + os.fsdecode(relative)] = _file(path)
    return parts


def _file(path: bytes) -> bytes:
    status = os.lstat(path)
    head = f"{stat.filemode(status.st_mode)}\n".encode()
    if stat.S_ISLNK(status.st_mode):
        return head + os.readlink(path)
    if not stat.S_ISREG(status.st_mode) or path.endswith(b".pyc"):
        return head
    if status.st_size > _LARGEST:
        with open(path, "rb") as file:
            return head + hashlib.file_digest(file, "sha256").hexdigest().encode()
    with open(path, "rb") as file:
        return head + without_noise(file.read())
