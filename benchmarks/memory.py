"""Peak memory of a real run with zip and report: the server's process and each worker's, sampled while they run."""

import sys
import tempfile
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
    peak_rss,
    publish,
    say,
    table,
    timed,
    write_scripts,
)

FEW = 10


def measure(rounds: int = 3, scripts: int = 1000) -> Result:
    """Run few scripts and many, `rounds` times; medians by number of scripts."""
    found: dict[int, list[Result]] = {FEW: [], scripts: []}
    for _ in range(rounds):
        for count, peaks in found.items():
            peaks.append(_run(count))
            say(f"{count} scripts: server {mib(peaks[-1]['server'])} MiB")
    sizes = {
        str(count): {
            "server_peak_rss_bytes": _median([run["server"] for run in runs]),
            "worker_peak_rss_bytes": _median([peak for run in runs for peak in run["workers"]]),
        }
        for count, runs in found.items()
    }
    return {"rounds": rounds, "workers": WIDTH, "sizes": sizes}


def markdown(result: Result) -> str:
    """The table."""
    sizes: dict[str, Result] = result["sizes"]
    rows = [
        [f"{int(count):,}", mib(peaks["server_peak_rss_bytes"]), mib(peaks["worker_peak_rss_bytes"])]
        for count, peaks in sizes.items()
    ]
    few, many = min(sizes, key=int), max(sizes, key=int)
    growth = None
    if few != many and sizes[few]["server_peak_rss_bytes"] and sizes[many]["server_peak_rss_bytes"]:
        more = sizes[many]["server_peak_rss_bytes"] - sizes[few]["server_peak_rss_bytes"]
        growth = more / 1024 / (int(many) - int(few))
    return (
        f"Real scripts, {result['workers']} workers, {result['rounds']} rounds, medians. The server grows by "
        f"{number(growth)} KiB a script.\n\n" + table(["scripts", "server's peak MiB", "each worker's"], rows)
    )


def _run(scripts: int) -> Result:
    workers: dict[int, int] = {}

    def watch(server: int) -> None:
        try:
            children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        except OSError:
            return
        for child in map(int, children):
            # The last reading, not the largest: before its exec a child still shows the server's memory.
            workers[child] = peak_rss(child) or workers.get(child, 0)

    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        write_scripts(work / "scripts", scripts)
        options = f"-j{WIDTH} --state state -o output --zip result.zip --python".split()
        usage = timed([*BUILDRUNNER, "run", *options, sys.executable, "scripts"], cwd=work, watch=watch)
    # What else the server starts is gone at once; its workers stay.
    return {"server": usage.rss, "workers": sorted(workers.values())[-WIDTH:]}


def _median(values: list[int | None]) -> float | None:
    known = [value for value in values if value]
    return median(known) if known else None


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=3)
    options.add_argument("--scripts", type=int, default=1000, help="default 1000")
    arguments = options.parse_args()
    facts = machine()
    result = measure(arguments.rounds, arguments.scripts)
    publish(arguments, facts, result, markdown(result))


if __name__ == "__main__":
    main()
