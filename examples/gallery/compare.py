"""The wall time of all examples, two at a time: with xargs and with buildrunner, in interleaved rounds.

Every arm runs the same scripts in the same environment, each in an empty folder of its own with its output in files,
and ends it after the same time. The arms must agree on which scripts failed and how many pictures there are; where
they do not, the result says so. xargs leaves its pictures in folders; buildrunner's are taken out of the zip.

Beside the whole, what the short scripts take is added up: those that passed in every turn, with xargs and one thread
each in less than two seconds. An arm's sum is of each script's own time, as xargs' shell stamps it (to a hundredth of a
second) and as buildrunner's receipts have it. compare.sh sets everything up and calls this.
"""

import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from statistics import median
from subprocess import DEVNULL, call
from urllib.parse import unquote
from zipfile import ZipFile

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "benchmarks"))

from arms import has_option  # noqa: E402
from harness import (  # noqa: E402
    BUILDRUNNER,
    WIDTH,
    Result,
    machine,
    number,
    parser,
    publish,
    ratio,
    say,
    spread,
    table,
    write_list,
)

from buildrunner.machine import THREAD_VARIABLES, thread_variables  # noqa: E402
from buildrunner.scan import scan  # noqa: E402

XARGS = "xargs -P2, threads as the libraries choose"
CALM_XARGS = "xargs -P2, 1 thread each"
FIRST = "buildrunner run"
AGAIN = "buildrunner run, remembering"
WARM = "buildrunner run --mode warm --preload auto"
WARM_AGAIN = "buildrunner run --mode warm --preload auto, remembering"
ARMS = (XARGS, CALM_XARGS, FIRST, AGAIN, WARM, WARM_AGAIN)
_OPTIONS = {
    FIRST: ("--mode=cold",),
    AGAIN: ("--mode=cold",),
    WARM: ("--mode=warm", "--preload=auto"),
    WARM_AGAIN: ("--mode=warm", "--preload=auto"),
}
_BEFORE = {AGAIN: FIRST, WARM_AGAIN: WARM}
"""Those that remember, and whose record they begin with."""

SHORT = 2.0  # seconds
_THREADS = {XARGS: {}, CALM_XARGS: thread_variables("auto", parallel=WIDTH, environ={})}

EXAMPLES = ".cache/examples"
PYTHON = str(HERE / ".venv" / "bin" / "python")
TIMEOUT = 600

# What one would write around a script to have its output and its failure on record.
_ONE = f"""\
place=$PWD out=$PWD/out/files/$1 log=$PWD/out/logs/$1
mkdir -p "$out" "${{log%/*}}"
cd "$out"
read -r begin _ </proc/uptime
BUILDRUNNER_OUTPUT_DIR=$out timeout {TIMEOUT} {shlex.quote(PYTHON)} {shlex.quote(str(HERE))}/{EXAMPLES}/"$1" \\
    >"$log.out" 2>"$log.err" </dev/null || echo "$1" >>"$place/failed"
read -r end _ </proc/uptime
echo "$begin $end $1" >>"$place/times"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One arm, once: seconds, the share of processor time that the host withheld meanwhile, and what came out.

    `pictures` has each picture's place and the hash of its bytes, `seconds` each script's own time by its name;
    `warm` is how many scripts were started warm.
    """

    wall: float
    stolen: float
    pictures: frozenset[tuple[str, str]]
    failed: frozenset[str]
    seconds: dict[str, float]
    warm: int = 0


def measure(rounds: int, *, include: Sequence[str] = (), arms: Sequence[str] = ARMS) -> Result:
    """Run every arm `rounds` times, every other round in reverse."""
    scripts = [script.name for script in scan([EXAMPLES], recursive=True, include=include)]
    turns: dict[str, list[Turn]] = {arm: [] for arm in arms}
    with tempfile.TemporaryDirectory(prefix="gallery-") as name:
        work = Path(name)
        listing = write_list(work / "list", map(Path, scripts))
        for turn in range(rounds):
            for arm in arms if turn % 2 == 0 else reversed(arms):
                place = work / "place"
                place.mkdir()
                took = _xargs(place, arm, listing) if arm in _THREADS else _buildrunner(place, arm, work, include)
                shutil.rmtree(place)
                turns[arm].append(took)
                say(
                    f"round {turn + 1} of {rounds}: {arm}: {took.wall:.1f} s, {took.stolen:.0%} withheld, "
                    f"{len(took.pictures)} pictures, {len(took.failed)} scripts did not pass"
                )
    every = [took for found in turns.values() for took in found]
    reference = turns[CALM_XARGS if CALM_XARGS in turns else arms[0]]
    passed = [name for name in reference[0].seconds if not any(name in took.failed for took in every)]
    short = [name for name in passed if median(took.seconds[name] for took in reference) < SHORT]
    sums = {arm: [sum(took.seconds[name] for name in short) for took in found] for arm, found in turns.items()}
    sometimes = frozenset().union(*(took.failed for took in every))
    always = sometimes.intersection(*(took.failed for took in every))
    return {
        "scripts": len(scripts),
        "rounds": rounds,
        "workers": WIDTH,
        "pictures": sorted({len(took.pictures) for took in every}),
        "pictures_always_equal": len(every[0].pictures.intersection(*(took.pictures for took in every))),
        "failed": sorted(always),
        "failed_sometimes": sorted(sometimes - always),
        "short": len(short),
        "arms": {
            arm: {
                "wall": spread(took.wall for took in found),
                "ratio": ratio([took.wall for took in found], [took.wall for took in turns[arms[0]]]),
                "faster": ratio([took.wall for took in reference], [took.wall for took in found]),
                "short": spread(sums[arm]),
                "short_faster": ratio([sum(t.seconds[name] for name in short) for t in reference], sums[arm])
                if short
                else None,
                "warm": spread(took.warm for took in found),
                "stolen": spread(took.stolen for took in found),
            }
            for arm, found in turns.items()
        },
    }


def markdown(result: Result) -> str:
    """The table, and what came out."""
    rows = [
        (
            f"`{arm}`",
            number(figures["wall"]["median"], 1),
            f"{figures['wall']['min']:.1f}–{figures['wall']['max']:.1f}",
            number(figures["ratio"]["median"]),
            number(figures["faster"]["median"]),
            number(figures["short"]["median"], 1),
            number((figures["short_faster"] or {}).get("median")),
            number(figures["warm"]["median"], 0),
            f"{figures['stolen']['min']:.0%}–{figures['stolen']['max']:.0%}",
        )
        for arm, figures in result["arms"].items()
    ]
    pictures = " or ".join(map(str, result["pictures"]))
    head = ("command", "wall, s", "min–max", "× the first", "calm xargs ÷ it", "short ones, s", "calm xargs ÷ it")
    text = table((*head, "started warm", "withheld by the host"), rows)
    text += f"\nShort are the {result['short']} scripts that passed in every turn, and took less than {SHORT:g} s with "
    text += "xargs and one thread each; their own times are added up.\n"
    text += f"\n{result['scripts']} scripts, {result['rounds']} rounds. In every turn {pictures} pictures came out, "
    text += f"{result['pictures_always_equal']} of them byte for byte the same each time, and the same "
    text += f"{len(result['failed'])} scripts did not pass.\n"
    if result["failed_sometimes"]:
        text += f"Passed in some turns only: {', '.join(result['failed_sometimes'])}.\n"
    return text


def _xargs(place: Path, arm: str, listing: Path) -> Turn:
    argv = ["xargs", "-0", f"-P{WIDTH}", "-n1", "-a", str(listing), "sh", "-c", _ONE, "sh"]
    wall, stolen = _time(argv, place, _THREADS[arm], place / "words")
    failed, root = place / "failed", place / "out" / "files"
    times = (place / "times").read_text().splitlines()
    found = ((str(path.relative_to(root)), path.read_bytes()) for path in root.rglob("figure-*.png"))
    return Turn(
        wall=wall,
        stolen=stolen,
        pictures=_pictures(found),
        failed=frozenset(failed.read_text().split() if failed.exists() else ()),
        seconds={script: float(end) - float(begin) for begin, end, script in (line.split(" ", 2) for line in times)},
    )


def _buildrunner(place: Path, arm: str, work: Path, include: Sequence[str]) -> Turn:
    """The record of the first run of a kind is kept in `work`, for those that remember."""
    state, known = place / "state", work / "known" / _OPTIONS[arm][0]
    if arm in _BEFORE:
        if not known.exists():
            raise SystemExit(f"“{arm}” needs “{_BEFORE[arm]}” before it")
        shutil.copytree(known, state)
    argv = [*BUILDRUNNER, "run", EXAMPLES, "--recursive", f"-j{WIDTH}", "--python", PYTHON, "--cwd", "scratch"]
    argv += [
        *_OPTIONS[arm],
        f"--timeout={TIMEOUT}",
        f"--state={state}",
        f"--output={place / 'out'}",
        f"--zip={place / 'result.zip'}",
    ]
    wall, stolen = _time([*argv, "--json", *(f"--include={glob}" for glob in include)], HERE, {}, place / "words")
    if not known.exists():
        shutil.copytree(state, known)
    results = json.loads((place / "words").read_bytes())["results"]
    with ZipFile(place / "result.zip") as package:
        names = [name for name in package.namelist() if fnmatchcase(name, "files/*/figure-*.png")]
        pictures = _pictures((unquote(name.removeprefix("files/")), package.read(name)) for name in names)
    return Turn(
        wall=wall,
        stolen=stolen,
        pictures=pictures,
        failed=frozenset(result["name"] for result in results if result["state"] != "passed"),
        seconds={result["name"]: result["seconds"] or 0.0 for result in results},
        warm=sum(result["mode"] == "warm" for result in results),
    )


def _time(argv: Sequence[str], cwd: Path, threads: dict[str, str], words: Path) -> tuple[float, float]:
    """Seconds, and the share of processor time that the host withheld. Some scripts fail, so any exit code is well."""
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    all_before, stolen_before = _processor_time()
    begin = time.monotonic()
    with words.open("wb") as sink:
        call(argv, cwd=cwd, env=environment | threads, stdin=DEVNULL, stdout=sink)
    wall = time.monotonic() - begin
    all_after, stolen_after = _processor_time()
    return wall, (stolen_after - stolen_before) / max(1, all_after - all_before)


def _pictures(found: Iterable[tuple[str, bytes]]) -> frozenset[tuple[str, str]]:
    return frozenset((name, sha256(picture).hexdigest()) for name, picture in found)


def _processor_time() -> tuple[int, int]:
    """All processors' time so far and what of it the host gave to others, in ticks: proc(5)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields), fields[7]


def main() -> None:
    """The command line."""
    command = parser(__doc__, rounds=2)
    command.add_argument("--include", action="append", default=[], metavar="GLOB", help="only scripts that match")
    command.add_argument(
        "--arms", default="123456", help=f"which, and in which order: {', '.join(ARMS)} (default: all)"
    )
    arguments = command.parse_args()
    facts = machine()
    arms = [ARMS[int(digit) - 1] for digit in arguments.arms]
    if not has_option("--preload"):
        arms = [arm for arm in arms if "--preload=auto" not in _OPTIONS.get(arm, ())]
        say("left out: --preload auto, which this buildrunner does not have")
    result = measure(arguments.rounds, include=arguments.include, arms=arms)
    publish(arguments, facts, result, markdown(result))


if __name__ == "__main__":
    main()
