"""Clocks that are set, numbers that processes share, machines that sleep: times stay right, and nobody is mistaken."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.fault

YEAR = 365 * 86400
LONG_OR_NEGATIVE = re.compile(r"(^|[ (])-\d|\d (h|d|days|years)\b|\d{4,} s|\d+:\d+:\d+ (?!UTC)")
SANE = 120.0
"""Seconds: nothing in these tests takes as long, even on a busy machine; whatever a clock tells wrong is longer."""

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(
    COMPILER is None or sys.platform != "linux", reason="needs Linux and a C compiler, for a wall clock that can be set"
)


class WallClock:
    """The wall clock of everything started in the workspace from now on; the machine's own is left alone."""

    def __init__(self, workspace: Any, library: Path) -> None:
        self.path = workspace.path / "clock"
        self.set(0)
        workspace.env |= {"LD_PRELOAD": str(library), "WALL_CLOCK": str(self.path)}

    def set(self, seconds: int) -> None:
        """So far ahead of the machine's clock from now on."""
        with open(self.path, "r+b" if self.path.exists() else "wb", buffering=0) as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))


@pytest.fixture(scope="module")
def wallclock_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert COMPILER
    library = tmp_path_factory.mktemp("wallclock") / "wallclock.so"
    source = Path(__file__).with_name("wallclock.c")
    subprocess.run([COMPILER, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


@pytest.fixture
def clock(workspace: Any, wallclock_library: Path) -> WallClock:
    clock = WallClock(workspace, wallclock_library)
    clock.set(YEAR)
    ask = "import time; print(time.time(), time.monotonic())"
    wall, monotonic = map(float, workspace.finish(workspace.start_python("-c", ask), code=0).out.split())
    assert abs(wall - time.time() - YEAR) < SANE
    assert abs(monotonic - time.monotonic()) < SANE
    clock.set(0)
    return clock


def numbers(value: Any) -> Iterator[float]:
    """Every number in a document."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def assert_sane(document: dict[str, Any]) -> None:
    """No number of a document is negative, and none of its times is longer than it can be."""
    assert not [number for number in numbers(document) if number < 0]
    times = [document["wall_seconds"], document["script_seconds"], document["eta_seconds"] or 0.0]
    for worker in document["workers"]:
        times += [worker["busy_seconds"], worker["idle_seconds"] or 0.0]
    for result in document.get("results", ()):
        times += [result["seconds"] or 0.0, result["cpu_seconds"] or 0.0, result["total_seconds"]]
    assert max(times) < SANE


@needs_compiler
@pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=["a year ahead", "a year back"])
def test_s62_the_wall_clock_is_set_during_a_run(workspace: Any, wait_until: Any, clock: WallClock, jump: int) -> None:
    """Durations, what is left, what other terminals see, the order of scripts and of runs."""
    workspace.scripts(a=workspace.note("start") + "import time; time.sleep(0.5)", b="pass")
    first = workspace.json("-j", "2", "--order", "name").document["run"]
    workspace.scripts(
        a=workspace.note("start") + workspace.until("gate"),
        b="import time; time.sleep(0.3)",
        c=workspace.note("start") + "pass",
    )
    run = workspace.start(
        "run", "src", "--json", "-j", "1", "--timeout", "10m", "--events", "events.jsonl", "--junitxml", "junit.xml"
    )
    began = time.monotonic()
    wait_until(lambda: workspace.notes("start")[1:])
    clock.set(jump)
    now = workspace.run("status", "--json").document
    assert now["state"] == "running"
    assert_sane(now)
    assert 0 < now["wall_seconds"] <= time.monotonic() - began + 1.0
    for arguments in (("status",), ("why", "a.py"), ("history",)):
        said = workspace.run(*arguments).out
        assert not LONG_OR_NEGATIVE.search(said), said
    workspace.open("gate")
    done = workspace.finish(run, code=0)
    assert_sane(done.document)
    assert 0.3 <= done.results["b.py"]["seconds"] <= done.results["a.py"]["seconds"]
    assert done.document["wall_seconds"] <= time.monotonic() - began + 1.0
    for line in (workspace.path / "events.jsonl").read_text().splitlines():
        assert not [number for number in numbers(json.loads(line)) if number < 0]
    for case in ElementTree.parse(workspace.path / "junit.xml").iter():
        assert 0 <= float(case.get("time", 0)) < SANE
    history = json.loads(workspace.run("history", "--json").out)
    assert [row["run"] for row in history] == [done.document["run"], first], "the newest first, whatever its date"
    for row in history:
        assert_sane(row)
    order = [workspace.run("why", name).out.partition("as number ")[2][0] for name in ("a.py", "b.py", "c.py")]
    assert sorted(order) == ["1", "2", "3"]
    assert order[0] == "1", "it took longest in the run before, so it came first, whatever the clock said since"
    assert_sane(workspace.run("status", "--json").document)
    workspace.run("ledger", "check")


@needs_compiler
@pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=["a year ahead", "a year back"])
def test_s62_limits_and_a_resumption_go_by_the_time_that_passes(
    workspace: Any, wait_until: Any, clock: WallClock, jump: int
) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    began = time.monotonic()
    run = workspace.start("run", "src", "--json", "--timeout", "1s", "--grace", "200ms")
    wait_until(lambda: workspace.notes("start") or run.poll() is not None)
    clock.set(jump)
    done = workspace.finish(run, code=1)
    assert done.results["a.py"]["outcome"] == "timed_out"
    assert 1.0 <= done.results["a.py"]["seconds"] <= time.monotonic() - began
    assert_sane(done.document)
    clock.set(0)
    began = time.monotonic()
    run = workspace.start("run", "src", "--json", "--deadline", "2s", "--grace", "200ms")
    wait_until(lambda: len(workspace.notes("start")) == 2 or run.poll() is not None)
    clock.set(jump)
    document = workspace.finish(run, code=1).document
    assert document["state"] == "interrupted"
    assert 2.0 <= document["wall_seconds"] <= time.monotonic() - began + 1.0
    assert_sane(document)
    clock.set(-jump)
    workspace.open("gate")
    again = workspace.run("resume", "--json", "--deadline", "10m").document
    assert (again["run"], again["totals"]["passed"]) == (document["run"], 1)
    assert again["wall_seconds"] >= document["wall_seconds"]
    assert_sane(again)


# Numbers of processes that are given again


def in_a_namespace() -> list[str]:
    """The words before a command whose processes have numbers of their own, which it can choose; none if it cannot."""
    words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return []
    test = "open('/proc/sys/kernel/ns_last_pid', 'w').write('4000'); import os; pid = os.fork(); pid or os._exit(0); "
    tried = subprocess.run([*words, sys.executable, "-c", test + "os.wait(); exit(pid != 4001)"], capture_output=True)
    return words if tried.returncode == 0 else []


NAMESPACE = in_a_namespace()
needs_namespace = pytest.mark.skipif(
    not NAMESPACE, reason="needs root, unshare and a writable /proc/sys/kernel/ns_last_pid to have a number given again"
)

AS = """
import os, subprocess, time

def stranger_as(pid):
    "A process of somebody else's that has this number, which must be free."
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(pid - 1))
    stranger = subprocess.Popen(["sleep", "600"])
    assert stranger.pid == pid, (stranger.pid, pid)
    return stranger

def was_spared(stranger):
    "Whether it lived until now: who was killed has that for its end."
    stranger.terminate()
    return stranger.wait() == -15
"""

SEEN_AND_GONE = """
from buildrunner import processes

first = subprocess.Popen(["sleep", "600"], env={**os.environ, "BUILDRUNNER_ATTEMPT_ID": "x"})
look, strangers = processes.carriers, []

def carriers(attempts):
    found = look(attempts)
    if not strangers:
        assert found == [first.pid], found
        first.kill()
        first.wait()
        strangers.append(stranger_as(first.pid))
    return found

processes.carriers = carriers
processes.kill_attempts(["x"])
assert was_spared(strangers[0]), "a stranger was killed"
second = subprocess.Popen(["sleep", "600"], env={**os.environ, "BUILDRUNNER_ATTEMPT_ID": "x"})
assert processes.kill_attempts(["x"]) == 1
print("spared")
"""

SERVER_GONE = """
import json, sys

def lines():
    try:
        return [line.split() for line in open("witness")]
    except FileNotFoundError:
        return []

def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        try:
            os.waitpid(-1, os.WNOHANG)  # what has lost its parents is a child of this process
        except ChildProcessError:
            pass
        time.sleep(0.01)

def children(pid):
    return [int(p) for p in open(f"/proc/{pid}/task/{pid}/children").read().split()]

program = [sys.executable, "-m", "buildrunner"]
run = subprocess.Popen([*program, "run", "src", "-q"])
until(lambda: len(lines()) == 1)
workers = children(run.pid)
scripts = [script for worker in workers for script in children(worker)]
assert len(scripts) == 1, scripts
gone = [run.pid, *workers, *scripts]
run.kill()
run.wait()
until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in gone))
strangers = [stranger_as(pid) for pid in gone]
status = subprocess.run([*program, "status", "--json"], capture_output=True, check=True)
assert json.loads(status.stdout)["state"] == "interrupted", "the server's number is taken for the server"
open("gate", "w").close()
resumed = subprocess.run([*program, "resume", "--json"], capture_output=True)
assert resumed.returncode == 0, resumed.stderr
[result] = json.loads(resumed.stdout)["results"]
assert (result["state"], result["attempts"], result["lost"]) == ("passed", 2, 1), result
assert all([was_spared(stranger) for stranger in strangers]), "a stranger was killed"
print("spared", len(strangers))
"""


@needs_namespace
@pytest.mark.parametrize("driver", [SEEN_AND_GONE, SERVER_GONE], ids=["between look and kill", "before resume"])
def test_s63_who_has_a_dead_processes_number_is_spared(workspace: Any, driver: str) -> None:
    """The numbers really are given again, to processes that are none of ours."""
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    inside = subprocess.run(
        [*NAMESPACE, sys.executable, "-c", AS + driver],
        cwd=workspace.path, env=workspace.env, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert inside.returncode == 0, inside.stderr
    assert inside.stdout.startswith("spared")


# A machine that sleeps


class Freezer:
    """A control group whose processes can be stopped all at once, where they are, without a signal to be seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def command(self, *words: str) -> list[str]:
        """A command that moves into the group and becomes another."""
        return ["/bin/sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh", *words]

    def freeze(self, wait_until: Any) -> None:
        (self.path / "cgroup.freeze").write_text("1")
        wait_until(lambda: "frozen 1" in (self.path / "cgroup.events").read_text())

    def thaw(self) -> None:
        (self.path / "cgroup.freeze").write_text("0")

    def close(self, wait_until: Any) -> None:
        self.thaw()
        for pid in (self.path / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda: not (self.path / "cgroup.procs").read_text())
        self.path.rmdir()


def _cgroup2() -> Path | None:
    """Where groups of version 2 can be made, by this process."""
    with suppress(OSError), open("/proc/mounts") as mounts:
        for line in mounts:
            _, place, kind, *_ = line.split()
            if kind == "cgroup2" and os.access(place, os.W_OK):
                return Path(place)
    return None


@pytest.fixture
def freezer(wait_until: Any) -> Iterator[Freezer]:
    place = _cgroup2()
    if place is None:
        pytest.skip("needs root and a cgroup v2 hierarchy, to freeze processes as a machine that sleeps does")
    freezer = Freezer(place / f"buildrunner-test-{os.getpid()}")
    yield freezer
    freezer.close(wait_until)


def start_in(workspace: Any, freezer: Freezer, *arguments: str) -> Any:
    process = subprocess.Popen(
        freezer.command(sys.executable, "-m", "buildrunner", *arguments),
        cwd=workspace.path, env=workspace.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    workspace.started.append(process)
    return process


def sleep_for(wait_until: Any, seconds: float) -> None:
    """Until so much time has passed: here that is what is waited for."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end)


@needs_compiler
def test_s64_everything_stands_still_and_goes_on(
    workspace: Any, wait_until: Any, freezer: Freezer, clock: WallClock
) -> None:
    """Server, workers and scripts stop where they are; when they go on it is eight hours later by the wall clock.

    A frozen process' monotonic clock goes on, that of a sleeping machine does not: so the limits here leave room for
    the time that really passed, and only for that.
    """
    workspace.scripts(
        a=workspace.note("start") + workspace.until("gate"),
        b=workspace.note("start") + "import time; time.sleep(600)",
        c="print('c')",
    )
    began = time.monotonic()
    run = start_in(
        workspace, freezer, "run", "src", "--json", "-j", "2", "--order", "name", "--timeout", "8s", "--grace", "500ms"
    )
    wait_until(lambda: len(workspace.notes("start")) == 2)
    freezer.freeze(wait_until)
    workspace.open("gate")
    clock.set(8 * 3600)
    sleep_for(wait_until, 1.0)
    assert run.poll() is None
    now = workspace.run("status", "--json").document
    assert (now["state"], now["totals"]["running"]) == ("running", 2)
    assert_sane(now)
    freezer.thaw()
    done = workspace.finish(run, code=1)
    assert_sane(done.document)
    assert {n: (r["outcome"], r["attempts"], r["lost"]) for n, r in done.results.items()} == {
        "a.py": ("ok", 1, 0),
        "b.py": ("timed_out", 1, 0),
        "c.py": ("ok", 1, 0),
    }
    assert 1.0 <= done.results["a.py"]["seconds"] < 8.0
    assert 8.0 <= done.results["b.py"]["seconds"] <= time.monotonic() - began
    assert "replaced" not in done.err
    workspace.run("verify", "result.zip")


def test_s64_who_ended_while_his_watchers_stood_still_was_in_time(
    workspace: Any, wait_until: Any, alive: Any, freezer: Freezer
) -> None:
    """The script ends by itself; when its worker looks again the limit is over, but that is not how it ended."""
    workspace.scripts(a=workspace.note("start") + workspace.until("gate") + "raise SystemExit(4)")
    run = start_in(workspace, freezer, "run", "src", "--json", "--timeout", "3s")
    [(_, _, script)] = wait_until(lambda: workspace.notes("start"))
    began = time.monotonic()
    (freezer.path.parent / "cgroup.procs").write_text(str(script))
    freezer.freeze(wait_until)
    workspace.open("gate")
    wait_until(lambda: not alive(script))
    assert time.monotonic() - began < 3.0, "too slow a machine to show anything"
    sleep_for(wait_until, 3.2)
    freezer.thaw()
    result = workspace.finish(run, code=1).results["a.py"]
    assert (result["outcome"], result["exit_code"], result["signal"]) == ("exited", 4, None)
