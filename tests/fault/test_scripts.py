"""Scripts that behave badly, longer ones than in test_workers: each shows what it does to itself, and what not to others."""

import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from buildrunner.errors import PackageError
from buildrunner.package import package

pytestmark = pytest.mark.fault

MIB = 1 << 20
BAD = Path(__file__).resolve().parents[1] / "scripts"
"""The badly behaved scripts that are longer than a few lines."""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root may do this to another process")


def put(workspace: Any, *names: str) -> None:
    for name in names:
        shutil.copy(BAD / name, workspace.source)


def started(workspace: Any, wait_until: Any, how_many: int = 1) -> dict[str, int]:
    """The processes of the scripts that noted their start, once there are so many."""
    wait_until(lambda: len(workspace.notes("start")) >= how_many)
    return {job: pid for job, _, pid in workspace.notes("start")}


def worker_of(workspace: Any, server: int, script: int) -> int:
    """The worker that started a script."""
    [worker] = [w for w in workspace.children(server) if script in workspace.children(w)]
    return worker


# How they end


def test_s03_a_script_killed_from_outside(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("never"), b="print('fine')")
    run = workspace.start("run", "src", "--json", "-j", "1", "--order", "name", "--retries", "0")
    os.kill(started(workspace, wait_until)["a.py"], signal.SIGKILL)
    done = workspace.finish(run, code=1)
    a = done.results["a.py"]
    assert (a["state"], a["outcome"], a["exit_code"], a["signal"]) == ("failed", "signalled", None, 9)
    assert (a["attempts"], a["lost"], done.results["b.py"]["state"]) == (1, 0, "passed")
    assert "signal 9 (SIGKILL)" in workspace.run("status").out


def test_s20_the_stack_of_the_machine_overflows(workspace: Any) -> None:
    """Not Python's own limit, which is an exception like any other: the process runs into the end of its stack."""
    workspace.scripts(c_stack="import faulthandler; faulthandler._stack_overflow()")
    workspace.script("shell.sh", "ulimit -c 0; ulimit -s 512; f() { f; }; f")
    workspace.scripts(z="print('fine')")
    done = workspace.json("-j", "1", "--order", "name", code=1)
    for name in ("c_stack.py", "shell.sh"):
        result = done.results[name]
        assert (result["outcome"], result["signal"], result["attempts"]) == ("signalled", signal.SIGSEGV, 1), name
    assert workspace.log("z.py") == b"fine\n"
    assert "SIGSEGV" in workspace.run("status").out


def test_s24_an_endless_thread_that_is_no_daemon(workspace: Any) -> None:
    """The main thread ends at once; Python waits for the other for ever, so only the time limit ends it."""
    workspace.scripts(
        a="import threading, time\n"
        "def stay():\n    while True: time.sleep(0.05)\n"
        "threading.Thread(target=stay).start()\nprint('the main thread ends', flush=True)",
        b="print('fine')",
    )
    done = workspace.json("-j", "1", "--order", "name", "--timeout", "2s", "--grace", "500ms", code=1)
    a = done.results["a.py"]
    assert (a["outcome"], a["signal"]) == ("timed_out", signal.SIGTERM)
    assert 2.0 <= a["seconds"] < 60
    assert workspace.log("a.py") == b"the main thread ends\n"
    assert done.results["b.py"]["state"] == "passed"


# What they print


@pytest.mark.parametrize(
    "size",
    [64, pytest.param(1024, marks=[pytest.mark.soak, pytest.mark.timeout(600)])],
    ids=lambda size: f"{size} MiB",
)
def test_s15_one_line_of_any_bytes(workspace: Any, size: int) -> None:
    """No end of line, NUL bytes, bad UTF-8 and escape codes: kept byte for byte, and shown as little and harmlessly.

    The script fails, so that its last words are shown.
    """
    block = bytes(byte for byte in range(256) if byte != 10) * (MIB // 255)
    whole = hashlib.sha256()
    for _ in range(size):
        whole.update(block)
    workspace.scripts(
        a=f"import os\nblock = bytes(b for b in range(256) if b != 10) * {MIB // 255}\n"
        f"for _ in range({size}):\n    left = memoryview(block)\n"
        "    while left: left = left[os.write(1, left):]\n"
        "os.write(2, b'\\xff\\xfe\\x00 \\xc3( \\xed\\xa0\\x80')\nos._exit(1)"
    )
    done = workspace.run("run", "src", code=1)
    log = workspace.path / "python_output" / "logs" / "a.py.out"
    assert log.stat().st_size == size * len(block)
    with log.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == whole.digest()
    with zipfile.ZipFile(workspace.path / "result.zip") as archive:
        with archive.open("logs/a.py.out") as file:
            assert hashlib.file_digest(file, "sha256").digest() == whole.digest()  # type: ignore[arg-type]
        assert archive.read("logs/a.py.err") == b"\xff\xfe\x00 \xc3( \xed\xa0\x80"
        described = json.loads(archive.read("manifest.json"))["files"]["logs/a.py.out"]
    assert described == {"size": size * len(block), "sha256": whole.hexdigest()}
    workspace.run("verify", "result.zip")
    for said in (done, workspace.run("status")):
        assert len(said.stdout) < 20_000
        assert not set(said.stdout) & ({*range(32)} - {10})


def test_s35_forged_result_lines_are_only_output(workspace: Any) -> None:
    """What it prints looks like our journal, our queue, our events and our document; all of it is its log, and no more."""
    put(workspace, "forger.py")
    workspace.scripts(z="raise SystemExit(4)")
    done = workspace.json("-j", "1", "--order", "name", "--events", "events.jsonl", code=1)
    assert {n: (r["state"], r["exit_code"], r["attempts"]) for n, r in done.results.items()} == {
        "forger.py": ("failed", 3, 1),
        "z.py": ("failed", 4, 1),
    }
    for suffix in ("out", "err"):
        assert b'"passed"' in workspace.log("forger.py", suffix)
        assert b"('end'" in workspace.log("forger.py", suffix)
    ended = [json.loads(line) for line in (workspace.path / "events.jsonl").read_text().splitlines()]
    assert "passed" not in {event.get("state") for event in ended}
    workspace.run("ledger", "check")
    workspace.run("verify", "result.zip")


@root_only
@pytest.mark.parametrize("how", ["journal", "truncate"])
@pytest.mark.parametrize("then", ["goes on", "kill"])
def test_s35_a_script_that_writes_into_its_workers_journal(workspace: Any, how: str, then: str) -> None:
    """It has the user's rights, so it can. Nobody else's result is touched, and its own is what it came to."""
    put(workspace, "intruder.py")
    workspace.script("a.sh", "echo a")
    workspace.script("z.sh", "echo z; exit 4")
    words = [how, "kill"] if then == "kill" else [how]
    done = workspace.json("-j", "1", "--order", "name", "--", *words, code=1)
    assert (done.results["a.sh"]["state"], done.results["a.sh"]["attempts"]) == ("passed", 1)
    assert (done.results["z.sh"]["exit_code"], done.results["z.sh"]["attempts"]) == (4, 1)
    intruder = done.results["intruder.py"]
    if then == "kill":
        assert (intruder["state"], intruder["outcome"], intruder["lost"]) == ("failed", "lost", 4)
    else:
        assert (intruder["state"], intruder["attempts"]) == ("passed", 1)
    workspace.run("ledger", "check")


@root_only
@pytest.mark.parametrize("forged", ["garbage", "shape", "number"])
def test_s35_a_script_that_writes_into_its_workers_queue(workspace: Any, forged: str) -> None:
    """A worker whose queue says what no worker says is ended like one that died; the others go on."""
    put(workspace, "intruder.py")
    workspace.script("a.sh", "echo a")
    workspace.script("z.sh", "echo z; exit 4")
    done = workspace.json("-j", "2", "--order", "name", "--", "queue", forged, code=1)
    intruder = done.results["intruder.py"]
    assert (intruder["state"], intruder["outcome"], intruder["lost"]) == ("failed", "lost", 4)
    assert (done.results["a.sh"]["state"], done.results["z.sh"]["exit_code"]) == ("passed", 4)
    workspace.run("ledger", "check")
