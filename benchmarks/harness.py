"""What the benchmarks share: running a command and seeing what it took, medians, tables, the machine in words."""

import argparse
import json
import os
import platform
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from buildrunner.run.pidfd import open_pidfd

Result = dict[str, Any]

_COMMAND = Path(sys.executable).with_name("buildrunner")  # what a user types, where it is installed
BUILDRUNNER = [str(_COMMAND)] if _COMMAND.exists() else [sys.executable, "-m", "buildrunner"]
WIDTH = 2  # scripts at once, in every arm

_SAMPLE_MS = 20

# What would steer one arm and not the others, or keep Python from caching its byte code, is left out.
_STEERING = ("BUILDRUNNER_", "MAKE", "MFLAGS", "PARALLEL", "PYTHON")
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name == "PYTHONPATH" or not name.startswith(_STEERING)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one command took: seconds of wall time, CPU seconds of its whole tree, its own peak memory in bytes."""

    wall: float
    cpu: float
    rss: int | None


def timed(
    argv: Sequence[str],
    *,
    cwd: Path,
    stdin: Path | None = None,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[int], None] | None = None,
) -> Usage:
    """Run a command to its end; RuntimeError with its last words when it does not exit with 0.

    The peak memory is read from outside while the command runs, because what `wait4` says is the largest of the whole
    tree. `watch` is called with the process id as often. `environment` is beside what there is.
    """
    words = cwd / ".words"
    everything = ENVIRONMENT | dict(environment or {})
    peak = 0
    with open(stdin or os.devnull, "rb") as source, open(words, "wb") as sink:
        begin = time.monotonic()
        process = subprocess.Popen(argv, cwd=cwd, env=everything, stdin=source, stdout=sink, stderr=sink)
        if (pidfd := open_pidfd(process.pid)) is not None:
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            while not poller.poll(_SAMPLE_MS):
                peak = max(peak, peak_rss(process.pid))
                if watch:
                    watch(process.pid)
            os.close(pidfd)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = words.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"exit code {process.returncode} from: {' '.join(argv)[:200]}\n{tail}")
    words.unlink()
    return Usage(wall=wall, cpu=usage.ru_utime + usage.ru_stime, rss=peak or None)


def peak_rss(pid: int | str = "self") -> int:
    """Peak resident memory of a process in bytes; 0 when it is gone or this system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return 0
    fields = status.partition(b"VmHWM:")[2].split()
    return int(fields[0]) * 1024 if fields else 0


def spread(values: Iterable[float]) -> Result:
    """Median, least and most, and the values themselves."""
    runs = list(values)
    return {"median": median(runs), "min": min(runs), "max": max(runs), "runs": runs}


def ratio(values: Sequence[float], reference: Sequence[float]) -> Result:
    """How many times the reference, round by round: what slowed a whole round slowed both."""
    return spread(value / other for value, other in zip(values, reference, strict=True))


def write_scripts(folder: Path, count: int, text: str = "pass\n") -> list[Path]:
    """`count` equal scripts in a new folder."""
    return write_texts(folder, {f"{number:06}": text for number in range(count)})


def write_texts(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Scripts of these names (without .py) and texts in a new folder, in this order."""
    folder.mkdir(parents=True)
    scripts = [folder / f"{name}.py" for name in texts]
    for script, text in zip(scripts, texts.values(), strict=True):
        script.write_text(text)
    return scripts


_WITNESSED = """\
from time import CLOCK_MONOTONIC, clock_gettime
first = clock_gettime(CLOCK_MONOTONIC)
import os{more}
last = clock_gettime(CLOCK_MONOTONIC)
os.write(os.open({file!r}, os.O_WRONLY | os.O_APPEND), f"{{__file__}} {{first!r}} {{last!r}}\\n".encode())
"""


def witnessed(witness: Path, work: str = "") -> str:
    """A script that does this work, and stamps its first and last act into a file, which must be there.

    The clock is the system's monotonic one, so that nobody has to be asked but the script.
    """
    return _WITNESSED.format(file=str(witness), more=work and f"; {work}")


def read_witness(witness: Path, count: int, arm: str) -> dict[str, tuple[float, float]]:
    """When each script began and ended, by its file's name; RuntimeError unless `count` ran in this arm, each once."""
    spans: dict[str, tuple[float, float]] = {}
    for line in witness.read_text().splitlines():
        path, first, last = line.rsplit(" ", 2)
        if Path(path).name in spans:
            raise RuntimeError(f"{arm}: {path} ran twice")
        spans[Path(path).name] = float(first), float(last)
    if len(spans) != count:
        raise RuntimeError(f"{arm}: {len(spans)} of {count} scripts left their stamps")
    return spans


def write_list(file: Path, paths: Iterable[Path]) -> Path:
    """The paths, each ended by a zero byte, as `xargs -0` reads them."""
    file.write_bytes(b"".join(os.fsencode(path) + b"\0" for path in paths))
    return file


def machine() -> Result:
    """What the figures depend on; nothing that would tell whose machine it is."""
    model = ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": model or platform.machine(),
        "cores": usable,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_before": round(os.getloadavg()[0], 2),
    }


def machine_line(facts: Result) -> str:
    """The machine in one sentence."""
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['kernel']}, {facts['python']}, {facts['date']}; "
        f"load average before the first command: {facts['load_before']}."
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left and the others to the right."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows)) + "\n"


def number(value: float | None, places: int = 2) -> str:
    """A figure for a table; a dash for what was not measured."""
    return "–" if value is None else f"{value:,.{places}f}"


def mib(value: float | None) -> str:
    """Bytes as MiB for a table."""
    return number(None if value is None else value / (1 << 20), 1)


def say(text: str) -> None:
    """Progress, beside the data."""
    print(text, file=sys.stderr, flush=True)


def parser(description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--rounds", type=int, default=rounds, help=f"default {rounds}")
    result.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    result.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here")
    return result


def publish(arguments: argparse.Namespace, facts: Result, result: Result, text: str) -> None:
    """Write what was asked for, and print the tables."""
    if arguments.json:
        write_json(arguments.json, {"machine": facts} | result)
    if arguments.markdown:
        arguments.markdown.write_text(text)
    print(machine_line(facts), text, sep="\n\n", end="")


def write_json(file: Path, document: Result) -> None:
    """One JSON document, readable."""
    file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
