"""What lies between one script's end and the next one's start on the same worker, cold and warm.

Two clocks say it, and neither is asked of the program alone:

- The scripts stamp their first and last act on the system's monotonic clock into a file of their own making. Between
  one's last stamp and the next one's first lies everything that is not the script: it writes its stamps (two system
  calls), Python ends, its worker takes notice, puts its result on record, takes the next, starts it, and Python begins.
- The receipts say when each attempt began and how long it took, from its process's start until it was reaped. What lies
  between one's end and the next one's beginning is dispatch: the output folder is looked through, the journal and the
  server are told, the next assignment is taken and noted. No start or end of a process is in it.

Of each worker's scripts the first few are left out: until its first receipt is in, nobody knows how long scripts take.
"""

import shutil
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

from arms import modes
from harness import (
    BUILDRUNNER,
    WIDTH,
    Result,
    machine,
    number,
    parser,
    publish,
    read_witness,
    say,
    table,
    timed,
    witnessed,
    write_list,
    write_scripts,
)

from buildrunner.ledger import Reader

WORKLOADS = {"pass": (1000, ""), "sleep 60 ms": (100, "import time; time.sleep(0.06)")}
"""How many, and what they do. While attempts last under 50 ms a few lie ahead of each worker; then it asks for each."""

_LEFT_OUT = 5
_SHARES = {"p50": 50, "p95": 95, "p99": 99}
_XARGS = "xargs"


def measure(rounds: int = 5, scripts: int | None = None) -> Result:
    """Run each workload `rounds` times, each mode in turn, beside xargs."""
    found: Result = {}
    program = shutil.which("xargs")
    arms = [mode for mode in modes() if mode != "auto"] + [_XARGS] * bool(program)
    for name, (count, more) in WORKLOADS.items():
        samples: dict[str, list[tuple[list[float], list[float]]]] = {arm: [] for arm in arms}
        for turn in range(rounds):
            for arm in arms[:: -1 if turn % 2 else 1]:
                samples[arm].append(_run(arm, scripts or count, more))
                between, dispatch = samples[arm][-1]
                both = f"{1e6 * median(between):.0f} µs between" + (
                    f", {1e6 * median(dispatch):.0f} µs" if dispatch else ""
                )
                say(f"round {turn + 1} of {rounds}: {name}: {arm}: {both}")
        found[name] = {
            "scripts": scripts or count,
            "arms": {
                arm: {
                    "between_us": _shares([between for between, _ in runs]),
                    "dispatch_us": _shares([dispatch for _, dispatch in runs]) if arm != _XARGS else None,
                }
                for arm, runs in samples.items()
            },
        }
    skipped = [] if program else ["xargs: there is no xargs here"]
    return {"rounds": rounds, "workers": WIDTH, "workloads": found, "skipped": skipped}


def markdown(result: Result) -> str:
    """The table."""
    rows = []
    for name, workload in result["workloads"].items():
        for arm, figures in workload["arms"].items():
            label = f"{arm}, {name}" if arm == _XARGS else f"{arm} mode, {name}"
            between, dispatch = figures["between_us"], figures["dispatch_us"] or {}
            cells = [number(part.get(share), 0) for part in (dispatch, between) for share in _SHARES]
            rows.append([label, *cells])
    head = ["between two scripts, µs"] + [f"{what} {share}" for what in ("dispatch", "everything") for share in _SHARES]
    counts = " and ".join(str(workload["scripts"]) for workload in result["workloads"].values())
    lines = [
        f"{counts} scripts, {result['workers']} at a time, medians over {result['rounds']} rounds of each round's "
        "percentiles. Dispatch: from an attempt's end to the next one's beginning on the same worker, by the receipts. "
        "Everything: from a script's last act to the next one's first, by their own stamps; Python's end and start are "
        "in it. xargs keeps no record, so there the k-th start follows the end that made room for it.\n",
        table(head, rows),
    ]
    lines += [f"Not measured: {reason}.\n" for reason in result["skipped"]]
    return "\n".join(lines)


def _run(arm: str, count: int, more: str) -> tuple[list[float], list[float]]:
    """Seconds between two scripts by their stamps, and by the receipts where there are any."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        stamps = work / "stamps"
        stamps.touch()
        folder = work / "scripts"
        scripts = write_scripts(folder, count, witnessed(stamps, more))
        if arm == _XARGS:
            argv = [shutil.which("xargs") or "", "-0", "-n1", f"-P{WIDTH}", sys.executable]
        else:
            options = f"-j{WIDTH} -q --no-zip --state state -o output --mode {arm} --python".split()
            argv = [*BUILDRUNNER, "run", *options, sys.executable, str(folder)]
        timed(argv, cwd=work, stdin=write_list(work / "list", scripts))
        spans = read_witness(stamps, count, arm)
        if arm == _XARGS:
            starts, ends = (sorted(moments) for moments in zip(*spans.values(), strict=True))
            # The k-th start beyond the first ones has waited for the end of as many scripts.
            gaps = [start - end for start, end in zip(starts[WIDTH:], ends, strict=False)]
            return gaps[_LEFT_OUT * WIDTH :], []
        return _by_worker(work, arm, spans)


def _by_worker(work: Path, mode: str, spans: dict[str, tuple[float, float]]) -> tuple[list[float], list[float]]:
    queues: dict[int, list[tuple[float, float, str]]] = {}
    reader = Reader.open(work / "state")
    for result in reader.results(reader.run()):
        if result.mode != mode or result.worker is None or result.started is None or result.seconds is None:
            raise RuntimeError(f"{result.name} ran {result.mode}, not {mode}")
        queues.setdefault(result.worker, []).append((result.started, result.seconds, Path(result.name).name))
    reader.close()
    between, dispatch = [], []
    for attempts in queues.values():
        for (started, seconds, name), (then, _, following) in list(pairwise(sorted(attempts)))[_LEFT_OUT:]:
            between.append(spans[following][0] - spans[name][1])
            dispatch.append(then - (started + seconds))
    return between, dispatch


def _shares(rounds: list[list[float]]) -> dict[str, float]:
    """Of each round's samples these percentiles, and the medians of them over all rounds."""
    cuts = [quantiles([1e6 * sample for sample in samples], n=100, method="inclusive") for samples in rounds]
    return {name: median(cut[share - 1] for cut in cuts) for name, share in _SHARES.items()}


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--scripts", type=int, metavar="N", help="instead of each workload's own number")
    arguments = options.parse_args()
    facts = machine()
    result = measure(arguments.rounds, arguments.scripts)
    publish(arguments, facts, result, markdown(result))


if __name__ == "__main__":
    main()
