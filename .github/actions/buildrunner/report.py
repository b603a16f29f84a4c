"""What the action's shell script leaves to Python: splitting words, and saying what came of a run.

    report.py words TEXT                                   its words, each ended by a NUL
    report.py outputs CODE EVENTS SINCE JUNITXML           lines for GITHUB_OUTPUT

It needs nothing but the standard library, because the Python of the job is not the one buildrunner is installed into.
"""

import json
import os
import secrets
import shlex
import sys

COUNTS = ("jobs", "passed", "failed", "skipped", "cancelled")


def words(text: str) -> None:
    """Print the words of a command line; quotes that do not match are the user's mistake."""
    try:
        found = shlex.split(text)
    except ValueError as exc:
        sys.exit(f"the arguments cannot be read: {exc}")
    sys.stdout.buffer.write(b"".join(os.fsencode(word) + b"\0" for word in found))


def outputs(code: str, events: str, since: str, junitxml: str) -> None:
    """Print every output; those of the run come from its own events, and of an older run's file nothing is believed."""
    began = os.stat(since).st_mtime_ns
    told = {}
    if _is_new(events, began):
        with open(events, "rb") as file:
            for line in file:
                event = _event(line)
                if event.get("event") == "run_started" and event.get("run") != told.get("run_started", {}).get("run"):
                    told = {}
                told[event.get("event")] = event
    packaged, ended = told.get("packaged", {}), told.get("run_ended", {})
    _put("exit-code", code)
    _put("run", told.get("run_started", {}).get("run", ""))
    _put("zip", os.path.abspath(packaged["path"]) if packaged else "")
    _put("zip-sha256", packaged.get("sha256", ""))
    _put("junitxml", os.path.abspath(junitxml) if junitxml and _is_new(junitxml, began) else "")
    for name in COUNTS:
        _put(name, str(ended.get("totals", {}).get(name, 0)))


def _is_new(path: str, began: int) -> bool:
    try:
        return os.stat(path).st_mtime_ns >= began
    except OSError:
        return False


def _event(line: bytes) -> dict:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _put(name: str, value: str) -> None:
    """One output; a random line ends it, so that no path can end it sooner and begin another."""
    end = secrets.token_hex(16)
    sys.stdout.buffer.write(os.fsencode(f"{name}<<{end}\n{value}\n{end}\n"))


if __name__ == "__main__":
    {"words": words, "outputs": outputs}[sys.argv[1]](*sys.argv[2:])
