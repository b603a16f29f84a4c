"""What a command costs before and beside the scripts: `--version`, and three trivial scripts from folder to zip."""

import shlex
import shutil
import sys
import tempfile
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
    say,
    spread,
    table,
    timed,
    write_list,
    write_scripts,
)

PYTHON, VERSION = "python -c pass", "buildrunner --version"
XARGS, BUILD = "xargs, three scripts", "buildrunner run, three scripts, zip and report"
WARM = "buildrunner run --mode warm, three scripts, zip and report"


def measure(rounds: int = 10) -> Result:
    """The two short commands 2 × `rounds` times, the three scripts `rounds` times, in turn."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        paths = write_list(work / "list", write_scripts(work / "scripts", 3, "print('done')\n"))
        run = f"-j{WIDTH} --state state -o output --zip result.zip --python {shlex.quote(sys.executable)} --mode"
        commands = {
            PYTHON: [sys.executable, "-c", "pass"],
            VERSION: [*BUILDRUNNER, "--version"],
            XARGS: [shutil.which("xargs") or "", "-0", "-n1", f"-P{WIDTH}", sys.executable],
            BUILD: [*BUILDRUNNER, "run", *shlex.split(run), "cold", str(work / "scripts")],
            WARM: [*BUILDRUNNER, "run", *shlex.split(run), "warm", str(work / "scripts")],
        }
        walls: dict[str, list[float]] = {what: [] for what, argv in commands.items() if argv[0]}
        for turn in range(-1, 2 * rounds):  # the first is the warm-up
            for what in list(walls)[: 2 if turn >= rounds else None]:
                here = work / "here"
                here.mkdir()
                wall = timed(commands[what], cwd=here, stdin=paths).wall
                if what in (BUILD, WARM) and not (here / "result.zip").exists():
                    raise RuntimeError("there is no zip")
                shutil.rmtree(here)
                if turn >= 0:
                    walls[what].append(wall)
        say(f"{rounds} rounds of start-up")
    skipped = [] if XARGS in walls else [f"{XARGS}: there is no xargs here"]
    return {
        "rounds": rounds,
        "arms": {what: {"wall_seconds": spread(values)} for what, values in walls.items()},
        "warm_times_cold": ratio(walls[WARM], walls[BUILD]),
        "skipped": skipped,
    }


def markdown(result: Result) -> str:
    """The table."""
    rows = []
    for what, arm in result["arms"].items():
        ms = {key: 1000 * arm["wall_seconds"][key] for key in ("median", "min", "max")}
        span = f"{number(ms['min'], 1)}–{number(ms['max'], 1)}"
        rows.append([what, number(ms["median"], 1), span, str(len(arm["wall_seconds"]["runs"]))])
    lines = [table(["command", "wall, ms", "min–max", "rounds"], rows)]
    lines += [f"Three scripts, warm beside cold, round by round: {number(result['warm_times_cold']['median'])} ×.\n"]
    lines += [f"Not measured: {reason}.\n" for reason in result["skipped"]]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, rounds=10).parse_args()
    facts = machine()
    result = measure(arguments.rounds)
    publish(arguments, facts, result, markdown(result))


if __name__ == "__main__":
    main()
