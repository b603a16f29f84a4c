"""Scripts that do nothing, import a little, or import numpy: run by buildrunner, and by what else one would use.

Every arm runs the same scripts with the same Python, two at a time, in a fresh folder each round; the rounds are
interleaved, every other one in reverse. The warm-up runs scripts that leave a mark instead, and fails unless each ran
exactly once in every arm.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median

from arms import AUTO, CAPTURED, COLD, FLOOR, LOGGED, WARM, XARGS, Arm, available
from harness import (
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

from buildrunner.machine import thread_variables

_MARK = (
    "import os\nos.write(os.open({file!r}, os.O_WRONLY | os.O_APPEND), os.path.basename(__file__).encode() + b'\\n')\n"
)
_REFERENCES = {"times_xargs": XARGS, "times_captured": CAPTURED, "times_parallel": LOGGED}
_NEAREST = (XARGS, CAPTURED, LOGGED, COLD, WARM, AUTO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Scripts, all equal: how many, what stands in them, what is set for every arm, and which arms are of interest."""

    title: str
    scripts: int
    text: str
    environment: Mapping[str, str] = field(default_factory=dict)
    arms: tuple[str, ...] = ("*",)
    needs: str = "sys"


WORKLOADS = {
    "pass": Workload(title="scripts that are `pass`", scripts=1000, text="pass\n"),
    "imports": Workload(
        title="scripts that import `json`, `argparse`, `pathlib` and `subprocess`",
        scripts=1000,
        text="import json, argparse, pathlib, subprocess\n",
        arms=_NEAREST,
    ),
    "numpy": Workload(
        title="scripts that import `numpy`, one thread each",
        scripts=200,
        text="import numpy\n",
        environment=thread_variables("1", parallel=WIDTH, environ={}),
        arms=_NEAREST,
        needs="numpy",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of an arm: what the command took, and the seconds of all scripts where the arm records them."""

    usage: Usage
    scripts: float | None


def measure(
    rounds: int = 5,
    *,
    scripts: int | None = None,
    workloads: Sequence[str] = tuple(WORKLOADS),
    only: Sequence[str] = ("*",),
    tools: str = sys.executable,
) -> Result:
    """Run every arm `rounds` times on every workload; figures by the workload's and the arm's name.

    `scripts` is instead of each workload's own number; `only` are patterns of arms' names; `tools` is the Python that
    has the tools which are libraries.
    """
    return {name: _measure(WORKLOADS[name], rounds, scripts, only, tools) for name in workloads}


def _measure(workload: Workload, rounds: int, count: int | None, only: Sequence[str], tools: str) -> Result:
    scripts = count or workload.scripts
    found: Result = {"title": workload.title, "scripts": scripts, "rounds": rounds, "workers": WIDTH, "arms": {}}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)

        def wanted(arm: str) -> bool:
            return all(any(fnmatchcase(arm, glob) for glob in globs) for globs in (workload.arms, only))

        try:
            timed([sys.executable, "-c", f"import {workload.needs}"], cwd=work)
        except RuntimeError:
            return found | {"skipped": [f"any of it: this Python has no {workload.needs}"]}
        arms, skipped = available(work, wanted, tools)
        for reason in skipped:
            say(f"skipped: {reason}")
        _warm_up(work, arms, workload, scripts)
        folder = work / "scripts"
        paths = write_list(work / "list", write_scripts(folder, scripts, workload.text))
        runs: dict[str, list[Run]] = {arm.name: [] for arm in arms}
        for turn in range(rounds):
            for arm in arms[:: -1 if turn % 2 else 1]:
                run = _run(work, arm, folder, paths, workload, scripts)
                runs[arm.name].append(run)
                say(f"round {turn + 1} of {rounds}: {arm.name}: {run.usage.wall:.2f} s")
    found["arms"] = {arm.name: {"leaves": arm.leaves} | _figures(arm.name, runs, scripts) for arm in arms}
    for arm in arms:
        if arm.detached:
            del found["arms"][arm.name]["cpu_seconds"]
    return found | {"skipped": skipped}


def markdown(result: Result) -> str:
    """A table a workload, cheapest first."""
    return "\n".join(_markdown(name, workload) for name, workload in result.items())


def _markdown(name: str, result: Result) -> str:
    arms: dict[str, Result] = result["arms"]
    rows = []
    for arm, figures in sorted(arms.items(), key=lambda item: item[1]["wall_seconds"]["median"]):
        wall, bold = figures["wall_seconds"], "**" if arm in (COLD, WARM, AUTO) else ""
        rows.append(
            [
                f"{bold}{arm}{bold}",
                figures["leaves"],
                number(wall["median"]),
                f"{number(wall['min'])}–{number(wall['max'])}",
                *(_middle(figures, times) for times in _REFERENCES),
                _middle(figures, "own_ms_per_script"),
                _middle(figures, "beyond_ms_per_script"),
                _middle(figures, "cpu_seconds"),
                mib(figures["main_peak_rss_bytes"]),
            ]
        )
    head = [f"tool, running `{name}`" if name == "pass" else f"tool, running {name}", "leaves", "wall, s", "min–max"]
    head += [
        "× xargs",
        "× captured",
        "× GNU parallel",
        "over the floor, ms",
        "beyond scripts, ms",
        "CPU, s",
        "peak MiB",
    ]
    lines = [
        f"{result['scripts']} {result['title']}, {result['workers']} at a time, {result['rounds']} interleaved "
        "rounds; medians of whole-process wall times, start-up included; ratios are taken round by round, to "
        f"“{XARGS}”, “{CAPTURED}” and “{LOGGED}”. Over the floor: (wall - floor) per script. Beyond scripts: (wall - "
        f"what the scripts took by the tool's own record ÷ {WIDTH}) per script. Peak MiB: the main process alone.\n",
        table(head, rows),
    ]
    lines += [f"Not measured: {reason}.\n" for reason in result["skipped"]]
    return "\n".join(lines)


def _middle(figures: Result, which: str) -> str:
    return number(figures.get(which, {}).get("median"))


def _figures(name: str, runs: dict[str, list[Run]], scripts: int) -> Result:
    walls = {arm: [run.usage.wall for run in its] for arm, its in runs.items()}
    figures: Result = {
        "wall_seconds": spread(walls[name]),
        "cpu_seconds": spread(run.usage.cpu for run in runs[name]),
        "main_peak_rss_bytes": median(peaks) if (peaks := [r.usage.rss for r in runs[name] if r.usage.rss]) else None,
    }
    for key, reference in _REFERENCES.items():
        if reference in walls:
            figures[key] = ratio(walls[name], walls[reference])
    if FLOOR in walls and name != FLOOR:
        own = [1000 * (wall - floor) / scripts for wall, floor in zip(walls[name], walls[FLOOR], strict=True)]
        figures["own_ms_per_script"] = spread(own)
    beyond = [1000 * (r.usage.wall - r.scripts / WIDTH) / scripts for r in runs[name] if r.scripts is not None]
    if beyond:
        figures["beyond_ms_per_script"] = spread(beyond)
    return figures


def _warm_up(work: Path, arms: list[Arm], workload: Workload, scripts: int) -> None:
    """Run everything once over scripts that leave a mark, and count the marks."""
    marks, folder = work / "marks", work / "marking"
    marks.touch()
    paths = write_scripts(folder, scripts, workload.text + _MARK.format(file=str(marks)))
    listed = write_list(work / "marking-list", paths)
    for arm in arms:
        say(f"warm-up: {arm.name}")
        run = _ready(work, arm, folder)
        marks.write_text("")  # now: to get ready an arm may have run them
        _finish(run, arm, folder, listed, workload, scripts)
        ran = sorted(marks.read_text().split())
        if ran != [path.name for path in paths]:
            raise RuntimeError(f"{arm.name}: {len(ran)} starts of {len(set(ran))} different scripts, not {scripts}")


def _run(work: Path, arm: Arm, folder: Path, paths: Path, workload: Workload, scripts: int) -> Run:
    return _finish(_ready(work, arm, folder), arm, folder, paths, workload, scripts)


def _ready(work: Path, arm: Arm, folder: Path) -> Path:
    here = Path(tempfile.mkdtemp(prefix="run-", dir=work))
    (here / "o").mkdir()
    if arm.ready:
        arm.ready(here, folder)
    return here


def _finish(here: Path, arm: Arm, folder: Path, paths: Path, workload: Workload, scripts: int) -> Run:
    argv = arm.argv(folder)  # outside the timing: it may write a file
    usage = timed(argv, cwd=here, stdin=paths, environment=workload.environment)
    if arm.ran is not None and (ran := arm.ran(here)) != scripts:
        raise RuntimeError(f"{arm.name}: {ran} of {scripts} scripts ran")
    # What it left stays until all is over: on ext4 new files cost more for minutes after many were removed.
    return Run(usage=usage, scripts=arm.took(here) if arm.took else None)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--scripts", type=int, metavar="N", help="instead of each workload's own number")
    options.add_argument("--workload", action="append", choices=[*WORKLOADS], help="default: all")
    options.add_argument("--arms", action="append", metavar="GLOB", help="only arms with such a name")
    options.add_argument("--tools", default=sys.executable, metavar="PYTHON", help="that has joblib and the like")
    given = options.parse_args()
    facts = machine()
    result = measure(
        given.rounds,
        scripts=given.scripts,
        workloads=given.workload or tuple(WORKLOADS),
        only=given.arms or ("*",),
        tools=given.tools,
    )
    publish(given, facts, result, markdown(result))


if __name__ == "__main__":
    main()
