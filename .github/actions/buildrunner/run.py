"""Run the scripts for the GitHub action, then say what came of it.

    INPUT_…         the action's inputs, and INPUT_COMMAND, the program to call
    GITHUB_OUTPUT   gets the action's outputs
    RUNNER_TEMP     has room for what is needed meanwhile

It needs nothing but the standard library, because the Python of the job is not the one buildrunner is installed into.
"""

import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from typing import NoReturn

COUNTS = ("jobs", "passed", "failed", "skipped", "cancelled")
INPUTS_INSTEAD = {"--": "script-arguments", "--events": "events", "--junitxml": "junitxml"}


def main() -> None:
    """Run, write the outputs, end with what buildrunner ended with."""
    sys.stdout.reconfigure(errors="backslashreplace")
    names = [name for name in os.environ if name.startswith("INPUT_")]
    inputs = {name.removeprefix("INPUT_"): os.environ.pop(name) for name in names}
    try:
        os.chdir(inputs.get("WORKING_DIRECTORY") or ".")
    except OSError as exc:
        refuse(f"working-directory cannot be entered: {exc.strerror}")
    with tempfile.TemporaryDirectory(dir=os.environ["RUNNER_TEMP"]) as folder:
        events = inputs.get("EVENTS") or os.path.join(folder, "events")
        command = command_line(inputs, events)
        began = time.time_ns()
        try:
            code = run(command)
        except OSError as exc:
            refuse(f"buildrunner cannot be started: {exc.strerror}")
        told = read_events(events) if is_new(events, began) else {}
    packaged, totals = told.get("packaged", {}), told.get("run_ended", {}).get("totals", {})
    report = inputs.get("JUNITXML")
    put("exit-code", str(code))
    put("run", told.get("run_started", {}).get("run", ""))
    put("zip", os.path.abspath(packaged["path"]) if packaged else "")
    put("zip-sha256", packaged.get("sha256", ""))
    put("junitxml", os.path.abspath(report) if report and is_new(report, began) else "")
    for name in COUNTS:
        put(name, str(totals.get(name, 0)))
    sys.exit(code)


def command_line(inputs: dict[str, str], events: str) -> list[str]:
    """The program and its words."""
    arguments = split("arguments", inputs.get("ARGUMENTS", ""))
    for word in arguments:
        if instead := INPUTS_INSTEAD.get(word.partition("=")[0]):
            refuse(f"arguments may hold no {word.partition('=')[0]}: that is the input {instead}")
    command = [inputs["COMMAND"], "run", *arguments, "--events", events]
    if jobs := inputs.get("JOBS"):
        command += ["--jobs", jobs]
    if package := inputs.get("ZIP"):
        command += ["--no-zip"] if package == "none" else ["--zip", package]
    if report := inputs.get("JUNITXML"):
        command += ["--junitxml", report]
    targets = filter(None, inputs.get("TARGET", "").split("\n"))
    command += ["./" + target if target.startswith("-") else target for target in targets]
    words = split("script-arguments", inputs.get("SCRIPT_ARGUMENTS", ""))
    return [*command, "--", *words] if words else command


def split(name: str, text: str) -> list[str]:
    """A text's words, as a shell reads quotes, but with nothing expanded or run."""
    try:
        return shlex.split(text)
    except ValueError as exc:
        refuse(f"{name} cannot be read: {exc}")


def run(command: list[str]) -> int:
    """Its exit code. A step that is to end gets INT or TERM: hand it on, and wait for the report and the zip."""
    process = None
    asked = []

    def hand_on(number: int, _: object) -> None:
        asked.append(number)
        if process:
            process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, hand_on)
    process = subprocess.Popen(command, start_new_session=True)  # or it might be told twice, which kills at once
    if asked:
        process.send_signal(asked[0])
    code = process.wait()
    return 128 - code if code < 0 else code


def read_events(path: str) -> dict[str, dict]:
    """What was told last of each kind; nothing where no event was written."""
    told = {}
    try:
        with open(path, "rb") as file:
            for line in file:
                event = json.loads(line)
                if event["event"] == "run_started":
                    told = {}
                told[event["event"]] = event
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return told


def is_new(path: str, began: int) -> bool:
    """Whether this run wrote it: of what an older one left nothing is believed."""
    try:
        return os.stat(path).st_mtime_ns >= began
    except OSError:
        return False


def put(name: str, value: str) -> None:
    """One output; a random line ends it, so that no path can end it sooner and begin another."""
    end = secrets.token_hex(16)
    with open(os.environ["GITHUB_OUTPUT"], "ab") as file:
        file.write(os.fsencode(f"{name}<<{end}\n{value}\n{end}\n"))


def refuse(why: str) -> NoReturn:
    """End the step with an annotation."""
    text = why.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    print(f"::error title=buildrunner::{text}", flush=True)
    put("exit-code", "2")
    sys.exit(2)


if __name__ == "__main__":
    main()
