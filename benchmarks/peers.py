"""A thousand scripts that do nothing, run by buildrunner and by what else one would use.

Every arm runs the same scripts with the same Python, two at a time, in a fresh folder each round; the rounds are
interleaved, every other one in reverse. The warm-up runs scripts that leave a mark instead, and fails unless each ran
exactly once in every arm.
"""

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from harness import (
    BUILDRUNNER,
    WIDTH,
    Result,
    Usage,
    machine,
    mib,
    number,
    parser,
    publish,
    ratio,
    say,
    spread,
    table,
    timed,
    write_list,
    write_scripts,
)

from buildrunner.job import JobState
from buildrunner.ledger import Reader

FLOOR = "C loop (the floor)"
XARGS = "xargs + sh, output captured"
PARALLEL = "GNU parallel --joblog --results"
BUILD = "buildrunner run"

_MARK = (
    "import os\nos.write(os.open({file!r}, os.O_WRONLY | os.O_APPEND), os.path.basename(__file__).encode() + b'\\n')\n"
)

_THREADS = f"""\
import os, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

def run(path):
    name = os.path.basename(path)
    with open("o/" + name + ".out", "wb") as out, open("o/" + name + ".err", "wb") as err:
        return subprocess.run([sys.executable, path], stdin=subprocess.DEVNULL, stdout=out, stderr=err).returncode

with ThreadPoolExecutor({WIDTH}) as pool:
    sys.exit(any(pool.map(run, sys.stdin.read().split("\\0")[:-1])))
"""


class Skipped(Exception):
    """This arm cannot be had here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way of running the scripts, whose list comes by standard input, in an empty folder that holds `o`.

    By what the arm left in that folder `ran` says how many scripts ran, and `took` how many seconds all of them
    together; None where nothing is left.
    """

    name: str
    leaves: str
    argv: Callable[[Path], list[str]]
    ran: Callable[[Path], int] | None = None
    took: Callable[[Path], float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of an arm: what the command took, and the seconds of all scripts where the arm records them."""

    usage: Usage
    scripts: float | None


def measure(scripts: int = 1000, rounds: int = 5) -> Result:
    """Run every arm `rounds` times; figures by the arm's name."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        arms, skipped = _arms(work)
        for reason in skipped:
            say(f"skipped: {reason}")
        _warm_up(work, arms, scripts)
        folder = work / "scripts"
        paths = write_list(work / "list", write_scripts(folder, scripts))
        runs: dict[str, list[Run]] = {arm.name: [] for arm in arms}
        for turn in range(rounds):
            for arm in arms[:: -1 if turn % 2 else 1]:
                run = _run(work, arm, folder, paths, scripts)
                runs[arm.name].append(run)
                say(f"round {turn + 1} of {rounds}: {arm.name}: {run.usage.wall:.2f} s")
    return {
        "scripts": scripts,
        "rounds": rounds,
        "workers": WIDTH,
        "arms": {arm.name: {"leaves": arm.leaves} | _figures(arm.name, runs, scripts) for arm in arms},
        "skipped": skipped,
    }


def markdown(result: Result) -> str:
    """The table, cheapest first."""
    arms: dict[str, Result] = result["arms"]
    rows = []
    for name, arm in sorted(arms.items(), key=lambda item: item[1]["wall_seconds"]["median"]):
        wall, bold = arm["wall_seconds"], "**" if name == BUILD else ""
        rows.append(
            [
                f"{bold}{name}{bold}",
                arm["leaves"],
                number(wall["median"]),
                f"{number(wall['min'])}–{number(wall['max'])}",
                _times(arm, "times_xargs"),
                _times(arm, "times_parallel"),
                number(arm.get("own_ms_per_script", {}).get("median")),
                number(arm.get("beyond_ms_per_script", {}).get("median")),
                number(arm["cpu_seconds"]["median"]),
                mib(arm["main_peak_rss_bytes"]),
            ]
        )
    head = ["tool", "leaves", "wall, s", "min–max", "× xargs", "× GNU parallel"]
    head += ["over the floor, ms", "beyond scripts, ms", "CPU, s", "peak MiB"]
    lines = [
        f"{result['scripts']} scripts that are `pass`, {result['workers']} at a time, {result['rounds']} interleaved "
        "rounds; medians of whole-process wall times, start-up included; ratios are taken round by round, to "
        f"“{XARGS}” and “{PARALLEL}”. Over the floor: (wall - floor) per script. Beyond scripts: (wall - what the "
        f"scripts took by the tool's own record ÷ {WIDTH}) per script. Peak MiB: the main process alone.\n",
        table(head, rows),
    ]
    lines += [f"Not measured: {reason}.\n" for reason in result["skipped"]]
    return "\n".join(lines)


def _times(arm: Result, which: str) -> str:
    return number(arm.get(which, {}).get("median"))


def _figures(name: str, runs: dict[str, list[Run]], scripts: int) -> Result:
    walls = {arm: [run.usage.wall for run in its] for arm, its in runs.items()}
    figures: Result = {
        "wall_seconds": spread(walls[name]),
        "cpu_seconds": spread(run.usage.cpu for run in runs[name]),
        "main_peak_rss_bytes": median(peaks) if (peaks := [r.usage.rss for r in runs[name] if r.usage.rss]) else None,
    }
    for key, reference in (("times_xargs", XARGS), ("times_parallel", PARALLEL)):
        if reference in walls:
            figures[key] = ratio(walls[name], walls[reference])
    if FLOOR in walls and name != FLOOR:
        own = [1000 * (wall - floor) / scripts for wall, floor in zip(walls[name], walls[FLOOR], strict=True)]
        figures["own_ms_per_script"] = spread(own)
    beyond = [1000 * (r.usage.wall - r.scripts / WIDTH) / scripts for r in runs[name] if r.scripts is not None]
    if beyond:
        figures["beyond_ms_per_script"] = spread(beyond)
    return figures


def _warm_up(work: Path, arms: list[Arm], scripts: int) -> None:
    """Run everything once over scripts that leave a mark, and count the marks."""
    marks, folder = work / "marks", work / "marking"
    paths = write_scripts(folder, scripts, _MARK.format(file=str(marks)))
    listed = write_list(work / "marking-list", paths)
    wanted = [path.name for path in paths]
    for arm in arms:
        say(f"warm-up: {arm.name}")
        marks.write_text("")
        _run(work, arm, folder, listed, scripts)
        ran = sorted(marks.read_text().split())
        if ran != wanted:
            raise RuntimeError(f"{arm.name}: {len(ran)} starts of {len(set(ran))} different scripts, not {scripts}")


def _run(work: Path, arm: Arm, folder: Path, paths: Path, scripts: int) -> Run:
    here = work / "run"
    (here / "o").mkdir(parents=True)
    argv = arm.argv(folder)  # outside the timing: it may write a file
    usage = timed(argv, cwd=here, stdin=paths)
    if arm.ran is not None and (ran := arm.ran(here)) != scripts:
        raise RuntimeError(f"{arm.name}: {ran} of {scripts} scripts ran")
    run = Run(usage=usage, scripts=arm.took(here) if arm.took else None)
    shutil.rmtree(here)
    return run


def _arms(work: Path) -> tuple[list[Arm], list[str]]:
    """The arms that can be had here, and why the others cannot."""
    arms, skipped = [], []
    # What is compared most closely is neighbours: a machine that is shared changes its speed from minute to minute.
    for make in (_xargs, _make, _threads, _floor, _buildrunner, _xargs_captured, _parallel):
        try:
            arms.append(make(work))
        except Skipped as reason:
            skipped.append(str(reason))
    return arms, skipped


def _floor(work: Path) -> Arm:
    program = str(work / "floor")
    compiler = _find("cc", FLOOR)
    source = str(Path(__file__).with_name("floor.c"))
    if subprocess.run([compiler, "-O2", "-o", program, source]).returncode:
        raise Skipped(f"{FLOOR}: {compiler} could not compile floor.c")
    argv = [program, str(WIDTH), "o", sys.executable]
    return Arm(name=FLOOR, leaves="output", argv=lambda _: argv, ran=_outputs)


def _xargs(_: Path) -> Arm:
    name = "xargs"
    argv = [_find("xargs", name), "-0", "-n1", f"-P{WIDTH}", sys.executable]
    return Arm(name=name, leaves="nothing", argv=lambda _: argv)


def _xargs_captured(_: Path) -> Arm:
    command = shlex.quote(sys.executable) + ' "$0" >"o/${0##*/}.out" 2>"o/${0##*/}.err"'
    argv = [_find("xargs", XARGS), "-0", "-n1", f"-P{WIDTH}", "sh", "-c", command]
    return Arm(name=XARGS, leaves="output", argv=lambda _: argv, ran=_outputs)


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


def _threads(work: Path) -> Arm:
    program = work / "threads.py"
    program.write_text(_THREADS)
    argv = [sys.executable, str(program)]
    return Arm(name="ThreadPoolExecutor + subprocess", leaves="output", argv=lambda _: argv, ran=_outputs)


def _parallel(_: Path) -> Arm:
    program = _find("parallel", PARALLEL)
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if not answer.stdout.startswith("GNU parallel"):
        raise Skipped(f"{PARALLEL}: the program called parallel is not GNU's")
    argv = [program, "-0", f"-j{WIDTH}", "--joblog", "joblog", "--results", "o/", sys.executable]

    def rows(here: Path) -> list[list[str]]:
        return [line.split("\t") for line in (here / "joblog").read_text().splitlines()[1:]]

    def ran(here: Path) -> int:
        passed = sum(row[6:8] == ["0", "0"] for row in rows(here))
        return min(passed, sum(1 for _ in (here / "o").rglob("stdout")))

    def took(here: Path) -> float:
        return sum(float(row[3]) for row in rows(here))

    return Arm(name=PARALLEL, leaves="output, job log", argv=lambda _: argv, ran=ran, took=took)


def _buildrunner(_: Path) -> Arm:
    def argv(folder: Path) -> list[str]:
        options = f"-j{WIDTH} -q --no-zip --state state -o output --python".split()
        return [*BUILDRUNNER, "run", *options, sys.executable, str(folder)]

    def ran(here: Path) -> int:
        reader = Reader.open(here / "state")
        passed = reader.counts(reader.run()).get(JobState.PASSED, 0)
        reader.close()
        logs = here / "output" / "logs"
        return min(passed, *(sum(1 for _ in logs.glob(f"*.{suffix}")) for suffix in ("out", "err")))

    def took(here: Path) -> float:
        reader = Reader.open(here / "state")
        seconds = sum(total for _, _, total in reader.totals_by_job(reader.run()))
        reader.close()
        return seconds

    return Arm(name=BUILD, leaves="output, receipts, history", argv=argv, ran=ran, took=took)


def _outputs(here: Path) -> int:
    return min(sum(1 for _ in (here / "o").glob(f"*.{suffix}")) for suffix in ("out", "err"))


def _find(program: str, arm: str) -> str:
    found = shutil.which(program)
    if not found:
        raise Skipped(f"{arm}: there is no {program} here")
    return found


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--scripts", type=int, default=1000, help="default 1000")
    arguments = options.parse_args()
    facts = machine()
    result = measure(arguments.scripts, arguments.rounds)
    publish(arguments, facts, result, markdown(result))


if __name__ == "__main__":
    main()
