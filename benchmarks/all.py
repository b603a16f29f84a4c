"""Every benchmark, one after the other; writes RESULTS.md and results.json beside this file."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aims
import dispatch
import faults
import makespan
import memory
import peers
import prediction
import scale
import startup
import throughput
import where
from harness import Result, machine, machine_line, say, write_json

_SCHEMA = "buildrunner.benchmarks/2"
_TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One benchmark: what heads its tables, how it is measured, how little shows that it works, how it is shown."""

    title: str
    measure: Callable[[argparse.Namespace], Result]
    quick: Callable[[argparse.Namespace], Result]
    markdown: Callable[[Result], str]


def _few(given: argparse.Namespace) -> int:
    """Rounds of what takes long or hardly scatters."""
    return min(given.rounds, 3)


PARTS = {
    "peers": Part(
        title="Scripts that do nothing, or only import: what running them costs",
        measure=lambda given: peers.measure(given.rounds, tools=given.tools),
        quick=lambda given: peers.measure(1, scripts=4, tools=given.tools),
        markdown=peers.markdown,
    ),
    "dispatch": Part(
        title="Between two scripts",
        measure=lambda given: dispatch.measure(given.rounds),
        quick=lambda _: dispatch.measure(1, 30),
        markdown=dispatch.markdown,
    ),
    "where": Part(
        title="Where a warm script's time goes",
        measure=lambda given: where.measure(rounds=_few(given)),
        quick=lambda _: where.measure(20, 1),
        markdown=where.markdown,
    ),
    "faults": Part(
        title="Page faults after a fork",
        measure=lambda given: faults.measure(given.rounds),
        quick=lambda _: faults.measure(1, 5),
        markdown=faults.markdown,
    ),
    "makespan": Part(
        title="Uneven scripts: the schedule",
        measure=lambda given: makespan.measure(_few(given)),
        quick=lambda _: makespan.measure(1, scale=0.05),
        markdown=makespan.markdown,
    ),
    "prediction": Part(
        title="What `plan` foretells",
        measure=lambda given: prediction.measure(_few(given)),
        quick=lambda _: prediction.measure(1, scale=0.05),
        markdown=prediction.markdown,
    ),
    "startup": Part(
        title="Start-up",
        measure=lambda _: startup.measure(),
        quick=lambda _: startup.measure(1),
        markdown=startup.markdown,
    ),
    "throughput": Part(
        title="No scripts at all: the machinery alone",
        measure=lambda given: throughput.measure(_few(given)),
        quick=lambda _: throughput.measure(1, (100, 1_000)),
        markdown=throughput.markdown,
    ),
    "memory": Part(
        title="Memory",
        measure=lambda given: memory.measure(_few(given)),
        quick=lambda _: memory.measure(1, 50),
        markdown=memory.markdown,
    ),
    "scale": Part(
        title="Very many scripts",
        measure=lambda given: scale.measure(scale.ALL_SIZES if given.large else scale.SIZES),
        quick=lambda _: scale.measure((20, 100)),
        markdown=scale.markdown,
    ),
}


def markdown(result: Result) -> str:
    """The whole page, of all parts that were measured, now or earlier."""
    sections = [
        "# Results\n",
        "Written by `make bench`; README.md beside this file says what each figure is. Absolute figures move with the "
        "machine: keep the ratios.\n",
        "## What is aimed at\n",
        aims.markdown(aims.measured(result)),
    ]
    said = ""
    for name, part in PARTS.items():
        if name not in result:
            continue
        sections.append(f"## {part.title}\n")
        line = machine_line(result["machines"][name])
        if line != said:
            sections.append(line + "\n")
            said = line
        sections.append(part.markdown(result[name]))
    return "\n".join(sections)


def _write(given: argparse.Namespace, result: Result) -> str:
    """Write down all that is known, and return the page."""
    text = markdown(result)
    given.output.mkdir(parents=True, exist_ok=True)
    given.output.joinpath("RESULTS.md").write_text(text)
    write_json(given.output / "results.json", {"schema": _SCHEMA} | result | {"aims": aims.measured(result)})
    for page in filter(None, (given.readme, given.performance)):
        page.write_text(replace_tables(page.read_text(), text))
    if given.svg and "where" in result:
        given.svg.write_text(where.svg(result["where"]))
    return text


def _known(output: Path) -> Result:
    """What an earlier run has left there, of these very parts."""
    try:
        known: Result = json.loads((output / "results.json").read_text())
    except (OSError, ValueError):
        known = {}
    if known.get("schema") != _SCHEMA:
        return {"machines": {}}
    return {name: known[name] for name in ("machines", *PARTS) if name in known}


def replace_tables(page: str, results: str) -> str:
    """The page with every table whose head also stands in the results replaced by the one there."""
    measured = {table.split("\n")[0]: table for table in _TABLE.findall(results)}
    return _TABLE.sub(lambda found: measured.get(found[0].split("\n")[0], found[0]), page)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, write, print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="tiny counts, to see that everything works")
    options.add_argument("--rounds", type=int, default=5, help="of the longest comparison, default 5; others 3 at most")
    options.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="DIR", help="default: here")
    options.add_argument("--tools", default=sys.executable, metavar="PYTHON", help="that has joblib and the like")
    for page in ("readme", "performance"):
        options.add_argument(
            f"--{page}", type=Path, metavar="FILE", help="a page whose tables to replace by the new ones"
        )
    options.add_argument("--svg", type=Path, metavar="FILE", help="draw here where a warm script's time goes")
    options.add_argument("--large", action="store_true", help="also a run of 100,000 real scripts; takes long")
    options.add_argument(
        "--only", action="append", choices=[*PARTS], help="measure this, and keep what is known of the others"
    )
    given = options.parse_args(words)
    result: Result = _known(given.output) if given.only else {"machines": {}}
    for name in given.only or PARTS:
        say(PARTS[name].title)
        result["machines"][name] = machine()
        result[name] = (PARTS[name].quick if given.quick else PARTS[name].measure)(given)
        text = _write(given, result)  # after each: whoever has to stop has what was measured until then
    print(text, end="")


if __name__ == "__main__":
    main()
