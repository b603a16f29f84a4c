"""The ways of running a folder of scripts that peers.py compares: what each starts, leaves, and needs to be had."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from harness import BUILDRUNNER, WIDTH, timed

from buildrunner.job import JobState
from buildrunner.ledger import Reader

FLOOR = "C loop (the floor)"
XARGS = "xargs"
CAPTURED = "xargs + sh, output captured"
PARALLEL = "GNU parallel"
LOGGED = "GNU parallel --joblog --results"
COLD = "buildrunner run"
WARM = "buildrunner run --mode warm"
AUTO = "buildrunner run --mode warm --preload auto, remembering"


class Skipped(Exception):
    """This arm cannot be had here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way of running the scripts, whose list comes by standard input, in an empty folder that holds `o`.

    `ready` may put something into that folder before: it is given the folder and the one of the scripts. By what the
    arm left there `ran` says how many scripts ran, and `took` how many seconds all of them together; None where nothing
    is left.
    """

    name: str
    leaves: str
    argv: Callable[[Path], list[str]]
    ready: Callable[[Path, Path], None] | None = None
    ran: Callable[[Path], int] | None = None
    took: Callable[[Path], float] | None = None
    detached: bool = False
    """What runs the scripts is no child of the command, whose CPU time then says nothing."""


def available(work: Path, wanted: Callable[[str], bool], python: str) -> tuple[list[Arm], list[str]]:
    """The arms of these names that can be had here, and why others cannot. `python` is the one that has the tools."""
    arms, skipped = [], []
    tools = [partial(_tool, python=python, tool=tool, name=name, module=module) for name, tool, module in _TOOLS]
    # What is compared most closely is neighbours: a machine that is shared changes its speed from minute to minute.
    makers = (_make, _ninja, *tools, _spooler, _hyperqueue, _floor, _cold, _captured, _xargs, _warm, _auto)
    for make in (*makers, _logged, _parallel):
        try:
            arm = make(work)
        except Skipped as reason:
            if wanted(str(reason).partition(":")[0]):
                skipped.append(str(reason))
        else:
            if wanted(arm.name):
                arms.append(arm)
    return arms, skipped


# what has an option for it


def _floor(work: Path) -> Arm:
    program = str(work / "floor")
    compiler = _find("cc", FLOOR)
    source = str(Path(__file__).with_name("floor.c"))
    if subprocess.run([compiler, "-O2", "-o", program, source]).returncode:
        raise Skipped(f"{FLOOR}: {compiler} could not compile floor.c")
    argv = [program, str(WIDTH), "o", sys.executable]
    return Arm(name=FLOOR, leaves="output", argv=lambda _: argv, ran=_outputs)


def _xargs(_: Path) -> Arm:
    argv = [_find("xargs", XARGS), "-0", "-n1", f"-P{WIDTH}", sys.executable]
    return Arm(name=XARGS, leaves="nothing", argv=lambda _: argv)


def _captured(_: Path) -> Arm:
    command = shlex.quote(sys.executable) + ' "$0" >"o/${0##*/}.out" 2>"o/${0##*/}.err"'
    argv = [_find("xargs", CAPTURED), "-0", "-n1", f"-P{WIDTH}", "sh", "-c", command]
    return Arm(name=CAPTURED, leaves="output", argv=lambda _: argv, ran=_outputs)


def _make(work: Path) -> Arm:
    name = "make"
    program = _find("make", name)

    def argv(folder: Path) -> list[str]:
        scripts = sorted(folder.iterdir())
        rules = "".join(f"{script.stem}:\n\t@{shlex.quote(sys.executable)} {script}\n" for script in scripts)
        file = work / "Makefile"
        file.write_text(f"all: {' '.join(script.stem for script in scripts)}\n{rules}")
        return [program, "-s", f"-j{WIDTH}", "-f", str(file), "all"]

    return Arm(name=name, leaves="nothing", argv=argv)


def _ninja(work: Path) -> Arm:
    name = "ninja"
    program = _find("ninja", name)

    def argv(folder: Path) -> list[str]:
        rules = "".join(f"build {script.stem}: script {script}\n" for script in sorted(folder.iterdir()))
        file = work / "build.ninja"
        file.write_text(f"rule script\n  command = {shlex.quote(sys.executable)} $in\n{rules}")
        return [program, "--quiet", f"-j{WIDTH}", "-f", str(file)]

    return Arm(name=name, leaves="nothing", argv=argv)


def _spooler(_: Path) -> Arm:
    name = "task-spooler"
    program = shutil.which("tsp") or shutil.which("ts")
    if not program or "spool" not in _says(program, "-h"):
        raise Skipped(f"{name}: there is no tsp here")
    # Those that end last are among the last to start, which it starts in the order in which they came.
    command = f"""\
export TS_SOCKET=$PWD/socket TMPDIR=$PWD/o TS_MAXFINISHED=1000000 TS_MAXCONN=1000
ts={shlex.quote(program)}
$ts -S {WIDTH}
count=$(xargs -0 -n1 "$ts" {shlex.quote(sys.executable)} | wc -l)
first=$((count - {WIDTH}))
while [ "$first" -lt "$count" ]; do $ts -w "$first"; first=$((first + 1)); done
$ts -K
"""
    return Arm(name=name, leaves="output", argv=lambda _: ["sh", "-c", command], ran=_files, detached=True)


def _files(here: Path) -> int:
    return sum(1 for _ in (here / "o").iterdir())


def _hyperqueue(_: Path) -> Arm:
    name = "HyperQueue"
    hq = shlex.quote(_find("hq", name))
    output = "--stdout 'o/%{TASK_ID}.out' --stderr 'o/%{TASK_ID}.err'"
    command = f"""\
set -e
export HQ_SERVER_DIR=$PWD/server
tr '\\0' '\\n' >list
{hq} server start >server.log 2>&1 &
until {hq} server info >/dev/null 2>&1; do sleep 0.01; done
{hq} worker start --cpus={WIDTH} >worker.log 2>&1 &
{hq} submit --wait --each-line list {output} sh -c 'exec {shlex.quote(sys.executable)} "$HQ_ENTRY"' >/dev/null
{hq} server stop
wait
"""
    return Arm(name=name, leaves="output, journal", argv=lambda _: ["sh", "-c", command], ran=_outputs)


def _parallel(_: Path) -> Arm:
    argv = [_gnu_parallel(PARALLEL), "-0", f"-j{WIDTH}", sys.executable]
    return Arm(name=PARALLEL, leaves="nothing", argv=lambda _: argv)


def _logged(_: Path) -> Arm:
    program = _gnu_parallel(LOGGED)
    argv = [program, "-0", f"-j{WIDTH}", "--joblog", "joblog", "--results", "o/", sys.executable]

    def rows(here: Path) -> list[list[str]]:
        return [line.split("\t") for line in (here / "joblog").read_text().splitlines()[1:]]

    def ran(here: Path) -> int:
        passed = sum(row[6:8] == ["0", "0"] for row in rows(here))
        return min(passed, sum(1 for _ in (here / "o").rglob("stdout")))

    def took(here: Path) -> float:
        return sum(float(row[3]) for row in rows(here))

    return Arm(name=LOGGED, leaves="output, job log", argv=lambda _: argv, ran=ran, took=took)


def _gnu_parallel(arm: str) -> str:
    program = _find("parallel", arm)
    if not _says(program, "--version").startswith("GNU parallel"):
        raise Skipped(f"{arm}: the program called parallel is not GNU's")
    return program


# what is a library


_TOOLS = (
    ("pytest-xdist", "xdist", "xdist"),
    ("luigi", "luigi", "luigi"),
    ("doit", "doit", "doit"),
    ("dask.distributed", "distributed", "distributed"),
    ("joblib", "joblib", "joblib"),
    ("multiprocessing.Pool", "processes", "multiprocessing"),
    ("ThreadPoolExecutor + subprocess", "threads", "concurrent.futures"),
)
"""An arm's name, the function of tools.py, the module without which there is none."""


def _tool(_: Path, *, python: str, tool: str, name: str, module: str) -> Arm:
    if subprocess.run([python, "-c", f"import {module}"], stderr=subprocess.DEVNULL).returncode:
        raise Skipped(f"{name}: {module} is not installed")
    argv = [python, str(Path(__file__).with_name("tools.py")), tool, str(WIDTH), sys.executable]
    return Arm(name=name, leaves="output", argv=lambda _: argv, ran=_outputs)


# buildrunner


def _cold(_: Path) -> Arm:
    return _buildrunner(COLD, "cold")


def _warm(_: Path) -> Arm:
    return _buildrunner(WARM, "warm")


def _auto(work: Path) -> Arm:
    """As one would have it from the second run on: each round begins with the record of one earlier run."""
    if not has_option("--preload"):
        raise Skipped(f"{AUTO}: this buildrunner has no --preload")

    def ready(here: Path, folder: Path) -> None:
        known = work / "known" / folder.name
        if not known.exists():
            known.mkdir(parents=True)
            timed(arm.argv(folder), cwd=known)
        shutil.copytree(known / "state", here / "state")

    arm = _buildrunner(AUTO, "warm", "--preload", "auto", ready=ready)
    return arm


def _buildrunner(name: str, mode: str, *more: str, ready: Callable[[Path, Path], None] | None = None) -> Arm:
    if mode not in modes():
        raise Skipped(f"{name}: this buildrunner has no --mode {mode}")

    def argv(folder: Path) -> list[str]:
        options = f"-j{WIDTH} -q --no-zip --state state -o output --mode {mode} --python".split()
        return [*BUILDRUNNER, "run", *options, sys.executable, *more, str(folder)]

    def ran(here: Path) -> int:
        """Those that passed, recorded and with both logs there; RuntimeError when one ran in another mode."""
        reader = Reader.open(here / "state")
        passed = 0
        for result in reader.results(reader.run()):
            if result.mode != mode:
                raise RuntimeError(f"{name}: {result.name} ran {result.mode}; `buildrunner why` says why")
            passed += result.state is JobState.PASSED
        reader.close()
        logs = here / "output" / "logs"
        return min(passed, *(sum(1 for _ in logs.glob(f"*.{suffix}")) for suffix in ("out", "err")))

    def took(here: Path) -> float:
        reader = Reader.open(here / "state")
        seconds = sum(result.total_seconds for result in reader.results(reader.run()))
        reader.close()
        return seconds

    return Arm(name=name, leaves="output, receipts, history", argv=argv, ready=ready, ran=ran, took=took)


def modes() -> tuple[str, ...]:
    """In which modes this buildrunner can run scripts."""
    from buildrunner.config import MODES

    return tuple(MODES)


@cache
def has_option(option: str) -> bool:
    """Whether `buildrunner run` has it."""
    return option in _says(*BUILDRUNNER, "run", "--help").split()


def _outputs(here: Path) -> int:
    return min(sum(1 for _ in (here / "o").glob(f"*.{suffix}")) for suffix in ("out", "err"))


def _says(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def _find(program: str, arm: str) -> str:
    found = shutil.which(program)
    if not found:
        raise Skipped(f"{arm}: there is no {program} here")
    return found
