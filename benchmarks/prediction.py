"""How well `buildrunner plan` foretells what a run takes, from its first script's start to its last one's end.

Scripts with stable times, most of which sleep, run once for the record; then the plan's makespan for as many workers is
compared with what the next run takes, by its receipts. A fresh ledger for each round and each number of workers.

Where the machine changed its speed between the two runs, that shows too. So the second run is also played through with
the seconds its own scripts took, and with what the first one taught about the pauses between them: what is off then is
the plan's own fault.
"""

import heapq
import json
import random
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness import BUILDRUNNER, ENVIRONMENT, Result, machine, number, parser, publish, say, spread, table, write_texts

_WORKERS = (1, 2, 4)
_SLEEP = "import time; time.sleep({seconds!r})\n"
_COMPUTE = "n = {number}\nwhile n:\n    n -= 1\n"


def _many(scale: float) -> dict[str, str]:
    """500 that sleep for 5 ms: their interpreter's start, and what lies between two of them, count for more."""
    return {f"many{n:03}": _SLEEP.format(seconds=0.005) for n in range(max(8, round(500 * scale)))}


def _few(scale: float) -> dict[str, str]:
    """Nine of half a second to two and a half, two of which compute."""
    long = {f"long{n}": _SLEEP.format(seconds=round(scale * (0.5 + 0.25 * n), 6)) for n in range(7)}
    return long | {f"busy{n}": _COMPUTE.format(number=round(scale * 6_000_000)) for n in range(2)}


def _mixed(scale: float) -> dict[str, str]:
    """150 between 1 ms and 100 ms, and six of up to a second and a half."""
    rng = random.Random(7)
    short = {
        f"short{n:03}": _SLEEP.format(seconds=10 ** rng.uniform(-3, -1)) for n in range(max(8, round(150 * scale)))
    }
    return short | {f"long{n}": _SLEEP.format(seconds=round(scale * (0.25 + 0.25 * n), 6)) for n in range(6)}


WORKLOADS = {"many short": _many, "few long": _few, "mixed": _mixed}


def measure(rounds: int = 3, scale: float = 1.0) -> Result:
    """Foretell and measure everything `rounds` times; `scale` makes scripts shorter and fewer."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for words, make in WORKLOADS.items():
            work = Path(name, words.replace(" ", "-"))
            texts = make(scale)
            write_texts(work / "scripts", texts)
            for workers in _WORKERS:
                pairs = []
                for turn in range(rounds):
                    pairs.append(one := _round(work, workers, f"state-{workers}-{turn}"))
                    say(f"{words} on {workers}, {turn + 1} of {rounds}: {one.foretold:.3f} s, then {one.taken:.3f} s")
                rows.append(_row(words, len(texts), workers, pairs))
    return {"rounds": rounds, "rows": rows}


def markdown(result: Result) -> str:
    """The table."""
    rows = [
        [
            f"{row['scripts']} {row['workload']}",
            str(row["workers"]),
            number(row["foretold_seconds"]["median"]),
            number(row["taken_seconds"]["median"]),
            f"{row['off_percent']['median']:+.1f} %",
            f"{row['off_percent']['min']:+.1f} % to {row['off_percent']['max']:+.1f} %",
            f"{row['scripts_off_percent']['median']:+.1f} %",
            f"{row['plan_off_percent']['median']:+.1f} %",
        ]
        for row in result["rows"]
    ]
    return (
        f"`plan`'s makespan after one run, beside the run that followed; {result['rounds']} rounds, medians. "
        "Its scripts: by how much longer they had taken in sum than they did then. The plan: by how much it is off "
        "when played through with the seconds they took then.\n\n"
        + table(
            ["scripts", "workers", "foretold, s", "taken, s", "too long by", "min–max", "its scripts", "the plan"], rows
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """Seconds foretold, taken, and played through; and by how many times the scripts' sum was over what it was then."""

    foretold: float
    taken: float
    played: float
    scripts: float


def _round(work: Path, workers: int, state: str) -> Foretold:
    options = f"-j{workers} --json --state {state}"
    run = [
        *BUILDRUNNER,
        "run",
        "scripts",
        *shlex.split(options),
        "-o",
        "output",
        "--no-zip",
        "--python",
        sys.executable,
    ]
    before = sum(result["seconds"] for result in _document(run, work)["results"])
    plan = _document([*BUILDRUNNER, "plan", "scripts", *shlex.split(options)], work)
    [span] = [span for span in plan["makespans"] if span["workers"] == workers]
    results = _document(run, work)["results"]
    begins = [datetime.fromisoformat(result["started"]).timestamp() for result in results]
    ends = [begin + result["seconds"] for begin, result in zip(begins, results, strict=True)]
    in_order = [result["seconds"] for _, result in sorted(zip(begins, results, strict=True), key=lambda pair: pair[0])]
    return Foretold(
        foretold=span["seconds"],
        taken=max(ends) - min(begins),
        played=_played(in_order, workers, span["between_seconds"], span["apart_seconds"]),
        scripts=before / sum(in_order),
    )


def _played(seconds: list[float], workers: int, between: float, apart: float) -> float:
    """When the last one ends, if they start in this order, so long after one another."""
    ends = [apart * worker - between for worker in range(workers)]
    for length in seconds:
        heapq.heappush(ends, heapq.heappop(ends) + between + length)
    return max(ends)


def _document(command: list[str], work: Path) -> Result:
    done = subprocess.run(command, cwd=work, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode} from: {' '.join(command)}\n{done.stderr.decode()[-2000:]}")
    found: Result = json.loads(done.stdout)
    return found


def _row(words: str, scripts: int, workers: int, rounds: list[Foretold]) -> Result:
    return {
        "workload": words,
        "scripts": scripts,
        "workers": workers,
        "foretold_seconds": spread(one.foretold for one in rounds),
        "taken_seconds": spread(one.taken for one in rounds),
        "off_percent": spread(100 * (one.foretold / one.taken - 1) for one in rounds),
        "scripts_off_percent": spread(100 * (one.scripts - 1) for one in rounds),
        "plan_off_percent": spread(100 * (one.played / one.taken - 1) for one in rounds),
    }


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=3)
    options.add_argument("--scale", type=float, default=1.0, help="make scripts shorter and fewer (default 1)")
    arguments = options.parse_args()
    facts = machine()
    result = measure(arguments.rounds, arguments.scale)
    publish(arguments, facts, result, markdown(result))


if __name__ == "__main__":
    main()
