"""What a page fault after a fork costs, and which ways of ending a forked Python cause how many.

A fork shares its parent's memory until one of the two writes: then the page is copied, by way of the kernel. Each row
forks a fresh Python, which has imported a little, again and again, and waits for the child.
"""

import json
import subprocess
import sys
from statistics import mean, median

from harness import Result, machine, number, parser, publish, ratio, say, spread, table

_PROGRAM = """\
import json, gc, mmap, os, sys, time
import argparse, pathlib, subprocess
WAY, TIMES = sys.argv[1], int(sys.argv[2])
PAGES = 1000
memory = mmap.mmap(-1, PAGES * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory[:] = b"x" * len(memory)
gc.collect()
if WAY == "frozen":
    gc.freeze()
found = []
for _ in range(TIMES):
    begin = time.perf_counter_ns()
    pid = os.fork()
    if not pid:
        if WAY == "ending":
            sys.exit()
        if WAY in ("collect", "frozen"):
            gc.collect()
        elif WAY == "write":
            for page in range(PAGES):
                memory[page * mmap.PAGESIZE] = 1
        elif WAY == "read":
            for page in range(PAGES):
                memory[page * mmap.PAGESIZE]
        os._exit(0)
    usage = os.wait4(pid, 0)[2]
    found.append(((time.perf_counter_ns() - begin) / 1000, usage.ru_minflt))
print(json.dumps(found))
"""
PAGES = 1000
WAYS = {
    "nothing": "leaves at once",
    "read": f"reads {PAGES} pages of its parent's",
    "write": f"writes into {PAGES} pages of its parent's",
    "frozen": "collects garbage, all of the parent's being frozen (`gc.freeze`)",
    "collect": "collects garbage",
    "ending": "ends as Python ends: everything is taken apart",
}


def measure(rounds: int = 5, times: int = 100) -> Result:
    """Each way `times` times a round; the medians of the rounds."""
    walls: dict[str, list[float]] = {way: [] for way in WAYS}
    faults: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(rounds):
        for way in WAYS:
            command = [sys.executable, "-c", _PROGRAM, way, str(times)]
            found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            walls[way].append(median(us for us, _ in found))
            faults[way].append(mean(count for _, count in found))
        say(f"round {turn + 1} of {rounds}: {walls['nothing'][-1]:.0f} µs for a fork that leaves at once")
    extra = [(us - least) / PAGES for us, least in zip(walls["write"], walls["read"], strict=True)]
    return {
        "rounds": rounds,
        "times": times,
        "ways": {
            way: {"us": spread(walls[way]), "faults": median(faults[way]), "times": ratio(walls[way], walls["nothing"])}
            for way in WAYS
        },
        "us_per_copied_page": spread(extra),
    }


def markdown(result: Result) -> str:
    """The table."""
    rows = [
        [what, number(figures["us"]["median"], 0), number(figures["faults"], 0), number(figures["times"]["median"], 1)]
        for (way, what), figures in zip(WAYS.items(), result["ways"].values(), strict=True)
    ]
    return (
        f"A Python that has imported `argparse`, `pathlib` and `subprocess` is forked {result['times']} times in each "
        f"of {result['rounds']} rounds; until the child has been waited for, medians. A page that is written into "
        f"costs {number(result['us_per_copied_page']['median'])} µs.\n\n"
        + table(["what the child does", "µs", "page faults", "× leaving at once"], rows)
    )


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--times", type=int, default=100, help="forks a round, default 100")
    arguments = options.parse_args()
    facts = machine()
    result = measure(arguments.rounds, arguments.times)
    publish(arguments, facts, result, markdown(result))


if __name__ == "__main__":
    main()
