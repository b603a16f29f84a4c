"""Every benchmark, one after the other; writes RESULTS.md and results.json beside this file."""

import argparse
import re
import sys
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

_TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)


def measure(*, quick: bool, rounds: int = 5, tools: str = sys.executable, large: bool = False) -> Result:
    """All figures. `quick` only shows that everything works; its figures mean nothing. `large`: 100,000 scripts too."""
    fewer = min(rounds, 3)
    say("peers")
    result: Result = {
        "peers": peers.measure(1, scripts=4, tools=tools) if quick else peers.measure(rounds, tools=tools)
    }
    say("dispatch")
    result["dispatch"] = dispatch.measure(1, 30) if quick else dispatch.measure(rounds)
    say("where the time goes")
    result["where"] = where.measure(20, 1) if quick else where.measure(rounds=fewer)
    say("page faults")
    result["faults"] = faults.measure(1, 5) if quick else faults.measure(rounds)
    say("makespan")
    result["makespan"] = makespan.measure(1, scale=0.05) if quick else makespan.measure(fewer)
    say("prediction")
    result["prediction"] = prediction.measure(1, scale=0.05) if quick else prediction.measure(fewer)
    say("start-up")
    result["startup"] = startup.measure(1) if quick else startup.measure()
    say("throughput")
    result["throughput"] = throughput.measure(1, (100, 1_000)) if quick else throughput.measure(fewer)
    say("memory")
    result["memory"] = memory.measure(1, 50) if quick else memory.measure(fewer)
    say("scale")
    result["scale"] = scale.measure((20, 100)) if quick else scale.measure(scale.ALL_SIZES if large else scale.SIZES)
    result["aims"] = aims.measured(result)
    return result


def markdown(facts: Result, result: Result) -> str:
    """The whole page."""
    sections = [
        "# Results\n",
        "Written by `make bench`; README.md beside this file says what each figure is. Absolute figures move with the "
        "machine: keep the ratios.\n",
        machine_line(facts) + "\n",
        "## What is aimed at\n",
        aims.markdown(result),
        "## Scripts that do nothing, or only import: what running them costs\n",
        peers.markdown(result["peers"]),
        "## Between two scripts\n",
        dispatch.markdown(result["dispatch"]),
        "## Where a warm script's time goes\n",
        where.markdown(result["where"]),
        "## Page faults after a fork\n",
        faults.markdown(result["faults"]),
        "## Uneven scripts: the schedule\n",
        makespan.markdown(result["makespan"]),
        "## What `plan` foretells\n",
        prediction.markdown(result["prediction"]),
        "## Start-up\n",
        startup.markdown(result["startup"]),
        "## No scripts at all: the machinery alone\n",
        throughput.markdown(result["throughput"]),
        "## Memory\n",
        memory.markdown(result["memory"]),
        "## Very many scripts\n",
        scale.markdown(result["scale"]),
    ]
    return "\n".join(sections)


def replace_tables(page: str, results: str) -> str:
    """The page with every table whose head also stands in the results replaced by the one there."""
    measured = {table.split("\n")[0]: table for table in _TABLE.findall(results)}
    return _TABLE.sub(lambda found: measured.get(found[0].split("\n")[0], found[0]), page)


def main() -> None:
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
    arguments = options.parse_args()
    facts = machine()
    result = measure(quick=arguments.quick, rounds=arguments.rounds, tools=arguments.tools, large=arguments.large)
    text = markdown(facts, result)
    arguments.output.mkdir(parents=True, exist_ok=True)
    arguments.output.joinpath("RESULTS.md").write_text(text)
    write_json(arguments.output / "results.json", {"schema": "buildrunner.benchmarks/1", "machine": facts} | result)
    for page in filter(None, (arguments.readme, arguments.performance)):
        page.write_text(replace_tables(page.read_text(), text))
    if arguments.svg:
        arguments.svg.write_text(where.svg(result["where"]))
    print(text, end="")


if __name__ == "__main__":
    main()
