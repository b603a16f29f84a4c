"""Run every Python script of a folder one after another, each in a process of its own, and time each.

This is the baseline that a parallel run is compared with: the same scripts, the same interpreter, the
same arguments, and nothing else. It uses the standard library alone.

    python individual_test.py [FOLDER] [-- ARGS...]
"""

import argparse
import signal
import subprocess
import sys
from pathlib import Path
from time import perf_counter

NOT_SCRIPTS = {"__init__.py", "__main__.py", "conftest.py"}
STDERR_LINES_SHOWN = 10


def find_scripts(folder: Path) -> list[Path]:
    """The *.py files directly in `folder`, by name, save hidden ones and those with a role of their own."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix == ".py" and path.name not in NOT_SCRIPTS and not path.name.startswith(".") and path.is_file()
    )


def run(script: Path, arguments: list[str]) -> tuple[float, int, str]:
    """Seconds, exit code (minus the signal's number when one ended it) and stderr of one script."""
    started = perf_counter()
    done = subprocess.run(
        [sys.executable, script, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    seconds = perf_counter() - started
    return seconds, done.returncode, done.stderr.decode(errors="backslashreplace")


def describe(exit_code: int) -> str:
    if exit_code >= 0:
        return str(exit_code)
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def main(argv: list[str]) -> int:
    """The exit code: 0 all passed, 1 some failed, 2 no such folder, 5 nothing to run."""
    arguments: list[str] = []
    if "--" in argv:
        at = argv.index("--")
        argv, arguments = argv[:at], argv[at + 1 :]
    parser = argparse.ArgumentParser(
        usage="%(prog)s [-h] [FOLDER] [-- ARGS...]", description="Run and time scripts one after another."
    )
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, default=Path("python_source"))
    folder: Path = parser.parse_args(argv).folder

    if not folder.is_dir():
        print(f"{folder}: no such folder", file=sys.stderr)
        return 2
    scripts = find_scripts(folder)
    if not scripts:
        print(f"{folder}: no Python scripts to run", file=sys.stderr)
        return 5

    width = max(len(script.name) for script in [*scripts, Path("script")])
    print(f"{'script':{width}}  {'seconds':>8}  exit code", flush=True)
    total = 0.0
    failures: list[tuple[str, str]] = []
    for script in scripts:
        seconds, exit_code, stderr = run(script, arguments)
        total += seconds
        if exit_code != 0:
            failures.append((script.name, stderr))
        print(f"{script.name:{width}}  {seconds:8.3f}  {describe(exit_code)}", flush=True)
    print(f"{'total':{width}}  {total:8.3f}")

    for name, stderr in failures:
        print(f"\n{name} failed" + ("; the end of its stderr:" if stderr else " without a word on stderr"))
        for line in stderr.splitlines()[-STDERR_LINES_SHOWN:]:
            print(f"    {line}")
    return 1 if failures else 0


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # any file name can be shown
    try:
        raise SystemExit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
