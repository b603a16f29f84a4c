"""Very many real scripts: that time and memory grow with their number and no faster, and what the record then answers.

Each number of scripts has a run of its own with zip, report, JUnit report and events; then `status` and `history` are
asked, once to warm up and then three times, of a record with that run, which keeps its figures. The phases are told
from the run's own events: everything before the first script, the scripts, and everything after the last one.
"""

import json
import sys
import tempfile
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

from harness import (
    BUILDRUNNER,
    WIDTH,
    Result,
    machine,
    mib,
    number,
    parser,
    publish,
    say,
    table,
    timed,
    write_scripts,
)

SIZES = (1_000, 10_000)
ALL_SIZES = (*SIZES, 100_000)

_QUESTIONS = (("status",), ("history",))
_AGAIN = 3
_IN_A_FOLDER = 1000


def measure(sizes: tuple[int, ...] = SIZES, *, mode: str = "cold") -> Result:
    """Run so many scripts, once for each size."""
    found: Result = {}
    for size in sizes:
        found[str(size)] = run = _run(size, mode)
        say(f"{size} scripts: {run['seconds']:.1f} s, server {mib(run['server_peak_rss_bytes'])} MiB")
    return {"workers": WIDTH, "mode": mode, "sizes": found}


def markdown(result: Result) -> str:
    """The table."""
    sizes: dict[str, Result] = result["sizes"]
    rows = [
        [
            f"{int(size):,}",
            number(run["seconds"], 1),
            *(number(1000 * run["phases"][phase] / int(size), 3) for phase in ("before", "scripts", "after")),
            number(1000 * run["seconds"] / int(size), 3),
            mib(run["server_peak_rss_bytes"]),
            *(number(run[" ".join(question)]) for question in _QUESTIONS),
        ]
        for size, run in sizes.items()
    ]
    head = ["scripts", "wall, s", "before, ms/script", "running", "after", "all", "server's peak MiB"]
    head += [f"{' '.join(question)}, s" for question in _QUESTIONS]
    return (
        f"Real scripts that are `pass`, --mode {result['mode']}, {result['workers']} workers, zip, events and JUnit "
        f"report, one run of each size. {_growth(sizes)}\n\n" + table(head, rows)
    )


def _growth(sizes: dict[str, Result]) -> str:
    """How much longer a run of so many times more scripts takes."""
    counts = sorted(sizes, key=int)
    return " ".join(
        f"{int(more):,} scripts take {sizes[more]['seconds'] / sizes[fewer]['seconds']:.1f} times as long as "
        f"{int(fewer):,}."
        for fewer, more in pairwise(counts)
    )


def _run(scripts: int, mode: str) -> Result:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        (work / "scripts").mkdir()
        for first in range(0, scripts, _IN_A_FOLDER):
            write_scripts(work / "scripts" / f"part-{first // _IN_A_FOLDER:03}", min(_IN_A_FOLDER, scripts - first))
        options = f"-r -j{WIDTH} --mode {mode} --state state -o output --zip result.zip --events events.jsonl"
        options += " --junitxml junit.xml --python"
        before = time.time()
        usage = timed([*BUILDRUNNER, "run", *options.split(), sys.executable, "scripts"], cwd=work)
        phases = _phases(work / "events.jsonl", before, usage.wall)
        answers = {" ".join(question): _asked(work, question) for question in _QUESTIONS}
    return {
        "seconds": usage.wall,
        "cpu_seconds": usage.cpu,
        "server_peak_rss_bytes": usage.rss,
        "phases": phases,
        **answers,
    }


def _phases(events: Path, before: float, wall: float) -> Result:
    first = last = 0.0
    with events.open() as lines:
        for line in lines:
            event = json.loads(line)
            when = datetime.fromisoformat(event["time"]).timestamp()
            if event["event"] == "job_started":
                first = first or when
            elif event["event"] == "job_ended":
                last = when
    return {"before": first - before, "scripts": last - first, "after": before + wall - last}


def _asked(work: Path, question: tuple[str, ...]) -> float:
    """Seconds of the whole command, median."""
    argv = [*BUILDRUNNER, *question, "--state", "state"]
    timed(argv, cwd=work)
    return median(timed(argv, cwd=work).wall for _ in range(_AGAIN))


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--scripts", type=int, nargs="+", default=SIZES, help=f"sizes (default {SIZES})")
    options.add_argument("--all", action="store_true", help=f"the sizes {ALL_SIZES}; takes long")
    options.add_argument("--mode", default="cold", help="as `buildrunner run` knows it (default cold)")
    arguments = options.parse_args()
    facts = machine()
    result = measure(ALL_SIZES if arguments.all else tuple(arguments.scripts), mode=arguments.mode)
    publish(arguments, facts, result, markdown(result))


if __name__ == "__main__":
    main()
