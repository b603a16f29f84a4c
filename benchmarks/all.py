"""Every benchmark, one after the other; writes RESULTS.md and results.json beside this file."""

import argparse
import re
from pathlib import Path

import makespan
import memory
import peers
import startup
import throughput
from harness import Result, machine, machine_line, say, write_json

_TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)


def measure(*, quick: bool, rounds: int = 5) -> Result:
    """All figures. `quick` only shows that everything works; its figures mean nothing."""
    fewer = min(rounds, 3)
    say("peers")
    result: Result = {"peers": peers.measure(50, 1) if quick else peers.measure(rounds=rounds)}
    say("makespan")
    result["makespan"] = makespan.measure(1, scale=0.05) if quick else makespan.measure(fewer)
    say("start-up")
    result["startup"] = startup.measure(1) if quick else startup.measure()
    say("throughput")
    result["throughput"] = throughput.measure(1, (100, 1_000)) if quick else throughput.measure(fewer)
    say("memory")
    result["memory"] = memory.measure(1, 50) if quick else memory.measure(fewer)
    return result


def markdown(facts: Result, result: Result) -> str:
    """The whole page."""
    sections = [
        "# Results\n",
        "Written by `make bench`; README.md beside this file says what each figure is. Absolute figures move with the "
        "machine: keep the ratios.\n",
        machine_line(facts) + "\n",
        "## Scripts that do nothing: what running them costs\n",
        peers.markdown(result["peers"]),
        "## Uneven scripts: the schedule\n",
        makespan.markdown(result["makespan"]),
        "## Start-up\n",
        startup.markdown(result["startup"]),
        "## No scripts at all: the machinery alone\n",
        throughput.markdown(result["throughput"]),
        "## Memory\n",
        memory.markdown(result["memory"]),
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
    options.add_argument(
        "--readme", type=Path, metavar="FILE", help="also replace the tables of this page by the new ones"
    )
    arguments = options.parse_args()
    facts = machine()
    result = measure(quick=arguments.quick, rounds=arguments.rounds)
    text = markdown(facts, result)
    arguments.output.mkdir(parents=True, exist_ok=True)
    arguments.output.joinpath("RESULTS.md").write_text(text)
    write_json(arguments.output / "results.json", {"schema": "buildrunner.benchmarks/1", "machine": facts} | result)
    if arguments.readme:
        arguments.readme.write_text(replace_tables(arguments.readme.read_text(), text))
    print(text, end="")


if __name__ == "__main__":
    main()
