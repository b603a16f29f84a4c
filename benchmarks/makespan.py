"""How long 24 uneven scripts take together, beside the shortest that any order could reach.

The scripts sleep, so that the schedule is measured and not the processors, and write their own start and end to a
witness file: the makespan is seen from outside. By name the longest comes last, the worst place for it. buildrunner
runs twice on one record: the first time it knows nothing, the second time it remembers.
"""

import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness import (
    BUILDRUNNER,
    WIDTH,
    Result,
    machine,
    number,
    parser,
    publish,
    ratio,
    read_witness,
    say,
    spread,
    table,
    timed,
    witnessed,
    write_list,
    write_texts,
)

XARGS, FIRST, SECOND = "xargs, by name", "buildrunner, first run", "buildrunner, remembering"

_SCRIPTS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One run: the command's wall time, and by the scripts' own stamps the makespan and its lower bound."""

    wall: float
    makespan: float
    bound: float


def measure(rounds: int = 3, scale: float = 1.0) -> Result:
    """Run all three ways `rounds` times; `scale` shortens every script."""
    runs: dict[str, list[Span]] = {XARGS: [], FIRST: [], SECOND: []}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        witness = work / "witness"
        paths = write_list(work / "list", write_texts(work / "scripts", _texts(witness, scale)))
        program = shutil.which("xargs")
        xargs = [program or "", "-0", "-n1", f"-P{WIDTH}", sys.executable]
        for turn in range(rounds):
            here = work / f"round-{turn}"
            here.mkdir()
            options = f"-j{WIDTH} -q --no-zip --state state -o output --python {shlex.quote(sys.executable)}"
            build = [*BUILDRUNNER, "run", *shlex.split(options), str(work / "scripts")]
            for arm, argv in ((XARGS, xargs), (FIRST, build), (SECOND, build)):
                if not argv[0]:
                    continue
                runs[arm].append(span := _run(argv, here, paths, witness))
                say(f"round {turn + 1} of {rounds}: {arm}: {span.makespan:.2f} s, bound {span.bound:.2f} s")
    skipped = [] if program else [f"{XARGS}: there is no xargs here"]
    return {
        "scripts": _SCRIPTS,
        "rounds": rounds,
        "workers": WIDTH,
        "arms": {arm: _figures(spans) for arm, spans in runs.items() if spans},
        "skipped": skipped,
    }


def markdown(result: Result) -> str:
    """The table."""
    rows = [
        [
            name,
            number(arm["makespan_seconds"]["median"]),
            number(arm["times_bound"]["median"], 3),
            f"{number(arm['times_bound']['min'], 3)}–{number(arm['times_bound']['max'], 3)}",
            number(arm["wall_seconds"]["median"]),
        ]
        for name, arm in result["arms"].items()
    ]
    lines = [
        f"{result['scripts']} scripts of uneven length, {result['workers']} at a time, {result['rounds']} rounds, "
        "medians. Bound: the longer of the longest script and half of all; no order is faster.\n",
        table(["schedule", "makespan, s", "× bound", "min–max", "whole command, s"], rows),
    ]
    lines += [f"Not measured: {reason}.\n" for reason in result["skipped"]]
    return "\n".join(lines)


def _texts(witness: Path, scale: float) -> dict[str, str]:
    """0.1 to 3 seconds, each a sixth longer than the one before it, shuffled by name but for the longest."""
    last = _SCRIPTS - 1
    ranks = [*(7 * place % last for place in range(last)), last]
    lengths = [round(scale * 0.1 * 30 ** (rank / last), 6) for rank in ranks]
    return {
        f"{place:02}": witnessed(witness, f"import time; time.sleep({seconds!r})")
        for place, seconds in enumerate(lengths)
    }


def _run(argv: list[str], here: Path, paths: Path, witness: Path) -> Span:
    witness.write_text("")
    usage = timed(argv, cwd=here, stdin=paths)
    stamps = read_witness(witness, _SCRIPTS, " ".join(argv)[:200]).values()
    lengths = [end - start for start, end in stamps]
    return Span(
        wall=usage.wall,
        makespan=max(end for _, end in stamps) - min(start for start, _ in stamps),
        bound=max(*lengths, sum(lengths) / WIDTH),
    )


def _figures(spans: list[Span]) -> Result:
    makespans = [span.makespan for span in spans]
    return {
        "makespan_seconds": spread(makespans),
        "bound_seconds": spread(span.bound for span in spans),
        "times_bound": ratio(makespans, [span.bound for span in spans]),
        "wall_seconds": spread(span.wall for span in spans),
    }


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=3)
    options.add_argument("--scale", type=float, default=1.0, help="shorten every script (default 1)")
    arguments = options.parse_args()
    facts = machine()
    result = measure(arguments.rounds, arguments.scale)
    publish(arguments, facts, result, markdown(result))


if __name__ == "__main__":
    main()
