"""Where a script's milliseconds go in warm mode: every step from its assignment to its receipt, with its page faults.

A copy of the package gets stamps (stamps.py) and runs scripts that are `pass`, two at a time, with all that a run
records. Worker and script's process write the system's monotonic clock and their page faults at each step into memory
they share with a file. The stamps themselves take time: their number and what one costs stands with the result, as does
what the same run takes without them. For comparison: the same scripts cold.
"""

import compileall
import json
import os
import shutil
import struct
import sys
import tempfile
import time
from html import escape
from itertools import pairwise
from pathlib import Path
from statistics import mean, median

import stamps
from harness import (
    WIDTH,
    Result,
    machine,
    number,
    parser,
    publish,
    say,
    table,
    timed,
    write_scripts,
)

import buildrunner
from buildrunner.ledger import Reader

_PACKAGE = Path(buildrunner.__file__).parent
_SERVER = """\
import json, resource, sys, time
sys.path.insert(0, {place!r})
import buildrunner.__main__
try:
    buildrunner.__main__.main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open("server.json", "w") as file:
        json.dump({{"cpu": time.process_time(), "faults": used.ru_minflt}}, file)
"""
_PREPARED = "    return hidden.hidden(_live)\n"  # the line of warm.py before which stamps are put in
_SKIPPED = 20  # attempts of each worker: the first ones touch what later ones share

WORKER, SCRIPT = "worker", "script's process"
STEPS = (
    (WORKER, "note the start in the journal", "note_start", "noted_start"),
    (WORKER, "put the output folder in its place", "noted_start", "placed"),
    (WORKER, "open the logs", "placed", "logs_open"),
    (WORKER, "read and compile the script", "logs_open", "loaded"),
    (WORKER, "fork, as the worker sees it", "loaded", "forked"),
    (SCRIPT, "fork, until the child runs", "loaded", "born"),
    (SCRIPT, "session, streams, sys, modules", "born", "newborn"),
    (SCRIPT, "leave the worker's frames", "newborn", "begin"),
    (SCRIPT, "the script", "begin", "done"),
    (SCRIPT, "flush, atexit, look what is left", "done", "leave"),
    (SCRIPT, "exit, and the worker wakes", "leave", "awake"),
    (WORKER, "end its group, reap it", "awake", "reaped"),
    (WORKER, "look through the output folder", "reaped", "taken"),
    (WORKER, "make the receipt, note it", "taken", "noted_end"),
    (WORKER, "tell the server", "noted_end", "told"),
    (WORKER, "take the next", "told", "next"),
)
"""Who is at it, what it does, and the stamps it lies between. `next` is the following attempt's first."""


def measure(scripts: int = 1000, rounds: int = 3) -> Result:
    """The steps over all attempts of `rounds` runs, and how long runs without stamps take, warm and cold."""
    plain: dict[str, list[float]] = {"cold": [], "warm": []}
    seconds: dict[str, list[float]] = {"cold": [], "warm": []}
    stamped: list[float] = []
    attempts: list[dict[str, tuple[int, int]]] = []
    servers: list[Result] = []
    faults: list[float] = []
    for turn in range(rounds):
        for mode in plain:
            wall, took, _ = _run(scripts, mode, stamped=False)
            plain[mode].append(1e6 * wall / scripts)
            seconds[mode] += took
        wall, _, (found, server) = _run(scripts, "warm", stamped=True)
        stamped.append(1e6 * wall / scripts)
        attempts += found
        servers.append(server)
        faults.append(server["faults"] / scripts)
        say(f"round {turn + 1} of {rounds}: {stamped[-1]:.0f} µs a script with stamps, {plain['warm'][-1]:.0f} without")
    return {
        "scripts": scripts,
        "rounds": rounds,
        "workers": WIDTH,
        "steps": [_step(*row, attempts) for row in STEPS],
        "attempt_us": median(_span(attempts, "note_start", "next")),
        "server_us": median(1e6 * server["cpu"] / scripts for server in servers),
        "server_faults": median(faults),
        "wall_us": {mode: median(walls) for mode, walls in plain.items()} | {"stamped": median(stamped)},
        "script_us": {mode: 1e6 * median(took) for mode, took in seconds.items()},
        "stamp_us": _cost_of_a_stamp(),
        "stamps": len(stamps.NAMES),
    }


def markdown(result: Result) -> str:
    """The table."""
    rows = [[s["what"], s["who"], number(s["us"], 0), number(s["faults"], 1)] for s in result["steps"]]
    rows.append(
        ["the server, beside them (CPU)", "server", number(result["server_us"], 0), number(result["server_faults"], 1)]
    )
    figures = {name: number(us, 0) for name, us in result["wall_us"].items()}
    took = {name: number(us, 0) for name, us in result["script_us"].items()}
    return (
        f"{result['scripts']} scripts that are `pass`, {result['workers']} at a time, warm, {result['rounds']} rounds; "
        "medians of the time, means of the page faults. An attempt takes "
        f"{number(result['attempt_us'], 0)} µs from its assignment to the next one's; {result['stamps']} stamps at "
        f"{number(result['stamp_us'], 1)} µs are in it, and a page fault of theirs. The server's figure is its CPU "
        "time, its start-up shared out among all. By the receipts of runs without stamps a script takes "
        f"{took['warm']} µs, and cold {took['cold']} µs; whole runs take {figures['warm']} µs a script, "
        f"{figures['stamped']} µs with stamps, and cold {figures['cold']} µs.\n\n"
        + table(["step", "who", "µs", "page faults"], rows)
    )


def _step(who: str, what: str, begin: str, end: str, attempts: list[dict[str, tuple[int, int]]]) -> Result:
    """Its place is counted from the attempt's first stamp."""
    both = [a for a in attempts if begin in a and end in a]
    if not both:
        raise RuntimeError(f"no attempt has both {begin} and {end}: stamps.py puts them into functions that are gone")
    # A script's process is charged from its first moment on, and its exit with nothing that it could still tell.
    counted = [a[end][1] - a[begin][1] for a in both if end not in ("born", "awake")]
    if end == "born":
        counted = [a[end][1] for a in both]
    elif end == "awake":
        counted = [a["child_faults"][0] - a[begin][1] for a in both if "child_faults" in a]
    return {
        "who": who,
        "what": what,
        "from_us": median((a[begin][0] - a["note_start"][0]) / 1000 for a in both),
        "us": median((a[end][0] - a[begin][0]) / 1000 for a in both),
        "faults": mean(counted) if counted else None,
    }


def _span(attempts: list[dict[str, tuple[int, int]]], begin: str, end: str) -> list[float]:
    return [(a[end][0] - a[begin][0]) / 1000 for a in attempts if begin in a and end in a]


def _run(
    count: int, mode: str, *, stamped: bool
) -> tuple[float, list[float], tuple[list[dict[str, tuple[int, int]]], Result]]:
    """Wall seconds, those of each script, and with stamps what they say."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        place = work / "package"
        shutil.copytree(_PACKAGE, place / "buildrunner")
        if stamped:
            _put_stamps_in(place / "buildrunner", work / "stamps")
        # As installed: what a worker has compiled itself, its children need not set up for their own compiling.
        compileall.compile_dir(place / "buildrunner", quiet=1)
        write_scripts(work / "scripts", count)
        options = f"-j{WIDTH} -q --no-zip --state state -o output --mode {mode} --python".split()
        program = [sys.executable, "-c", _SERVER.format(place=str(place)), "run", *options, sys.executable, "scripts"]
        wall = timed(program, cwd=work).wall
        reader = Reader.open(work / "state")
        results = list(reader.results(reader.run()))
        reader.close()
        if any(result.mode != mode or result.exit_code for result in results) or len(results) != count:
            raise RuntimeError(f"not all of {count} scripts ran {mode} and passed")
        server = json.loads((work / "server.json").read_text())
        found = [a for file in work.glob("stamps.*") for a in _read(file)]
        if stamped and not found:
            raise RuntimeError("no attempt left its stamps")
        return wall, [result.seconds or 0.0 for result in results], (found, server)


def _put_stamps_in(package: Path, file: Path) -> None:
    shutil.copy(stamps.__file__, package / "run" / "stamps.py")
    program = package / "run" / "warm.py"
    text = program.read_text()
    if text.count(_PREPARED) != 1:
        raise RuntimeError(f"warm.py has changed: stamps are put in before {_PREPARED.strip()!r}")
    put = f"    from buildrunner.run import stamps\n\n    stamps.put_in({str(file)!r}, globals())\n"
    program.write_text(text.replace(_PREPARED, put + _PREPARED))


def _read(file: Path) -> list[dict[str, tuple[int, int]]]:
    """Each attempt's stamps by name: nanoseconds and page faults; those of the next one's first as `next`."""
    found = []
    for record in struct.iter_unpack(stamps.RECORD, file.read_bytes()):
        pairs = zip(record[::2], record[1::2], strict=True)
        found.append({name: pair for name, pair in zip(stamps.NAMES, pairs, strict=True) if pair[0]})
    found = [a for a in found if "note_start" in a]
    for attempt, following in pairwise(found):
        attempt["next"] = following["note_start"]
    return found[_SKIPPED if len(found) > 2 * _SKIPPED else 0 : -1]


def _cost_of_a_stamp() -> float:
    """Microseconds."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        stamps.open_file(os.path.join(name, "stamps"))
        many = 10_000
        begin = time.perf_counter()
        for _ in range(many):
            stamps.stamp("begin")
        return 1e6 * (time.perf_counter() - begin) / many


# the drawing

_WIDTH = 800
_LABELS, _AXIS = 232, 430  # pixels: where the bars begin, and how long all of them are
_COLOURS = {WORKER: "#0969da", SCRIPT: "#1a7f37", "server": "#8c959f"}
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"


def svg(result: Result) -> str:
    """A row a step, each bar from when it begins to when it ends, on a white card with a frame."""
    rows = [(s["who"], s["what"], s["from_us"], s["us"], s["faults"]) for s in result["steps"]]
    length = max(begin + us for _, _, begin, us, _ in rows)
    rows.append(("server", "the server, beside them (CPU)", 0.0, result["server_us"], result["server_faults"]))
    title = f"Where the {length / 1000:.2f} ms of a warm script go"
    told = (
        f"{result['scripts']:,} scripts that are “pass”, {result['workers']} at a time; medians. Cold, the script's "
        f"process alone takes {result['script_us']['cold'] / 1000:.1f} ms."
    )
    parts = [_text(24, 38, title, size=20, weight=600), _text(24, 60, told, size=12.5, fill="#59636e")]
    x = _LABELS
    for who, colour in _COLOURS.items():
        parts.append(
            f'<rect x="{x}" y="80" width="12" height="12" rx="2" fill="{colour}"/>'
            + _text(x + 18, 90.5, who, size=12.5)
        )
        x += 130
    parts.append(_text(_WIDTH - 24, 90.5, "µs, page faults", size=12.5, fill="#59636e", anchor="end"))
    y = 110
    scale = _AXIS / max(length, result["server_us"])
    for who, what, begin, us, faults in rows:
        left, width = _LABELS + begin * scale, max(1.0, us * scale)
        parts.append(f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="15" rx="2" fill="{_COLOURS[who]}"/>')
        parts.append(_text(_LABELS - 12, y + 12, what, size=12.5, anchor="end"))
        figures = f"{us:,.0f}" + ("" if faults is None else f", {faults:.0f}")
        parts.append(_text(_WIDTH - 24, y + 12, figures, size=12, anchor="end"))
        y += 21
    y += 14
    parts.append(
        _text(24, y, f"Each stamp takes {result['stamp_us']:.1f} µs, which is in the figures.", size=12, fill="#59636e")
    )
    height = y + 20
    described = "; ".join(f"{who}: {what}: {us:.0f} µs" for who, what, _, us, _ in rows)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
            f'viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="title desc" font-family="{_FONT}">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="desc">{escape(described)}</desc>',
            f'<rect x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8" fill="#fff" stroke="#d1d9e0"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _text(
    x: float, y: float, text: str, *, size: float, fill: str = "#1f2328", weight: int = 400, anchor: str = "start"
) -> str:
    more = (f' font-weight="{weight}"' if weight != 400 else "") + (
        f' text-anchor="{anchor}"' if anchor != "start" else ""
    )
    return f'<text x="{x:.4g}" y="{y:g}" font-size="{size:g}" fill="{fill}"{more}>{escape(text)}</text>'


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=3)
    options.add_argument("--scripts", type=int, default=1000, help="default 1000")
    options.add_argument("--svg", type=Path, metavar="FILE", help="draw it here")
    arguments = options.parse_args()
    facts = machine()
    result = measure(arguments.scripts, arguments.rounds)
    if arguments.svg:
        arguments.svg.write_text(svg(result))
    publish(arguments, facts, result, markdown(result))


if __name__ == "__main__":
    main()
