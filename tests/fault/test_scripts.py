"""Scripts that behave badly, at more length than in test_workers: what they do to themselves, not to others."""

import hashlib
import json
import os
import shutil
import signal
import zipfile
from pathlib import Path
from typing import Any

import pytest

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
    """What it prints looks like our journal, our queue, our events and our document; all of it is only its log."""
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


# What they do to what is around them


def test_s17_what_one_script_does_to_itself_no_other_feels(workspace: Any) -> None:
    """Everything that is inherited, of a script before the spoiler and of one after it on the same worker."""
    for name in ("a.py", "c.py"):
        shutil.copy(BAD / "standing.py", workspace.source / name)
    shutil.copy(BAD / "spoiler.py", workspace.source / "b.py")
    done = workspace.json("-j", "1", "--order", "name")
    assert {result["state"] for result in done.results.values()} == {"passed"}
    before, after = (json.loads(workspace.log(name)) for name in ("a.py", "c.py"))
    assert before == after
    assert (before["cwd"], before["stained"], before["input"]) == (str(workspace.path), None, "/dev/null")
    assert before["descriptors"] == ["0", "1", "2"]
    assert set(before["ignored"]) <= {signal.SIGPIPE, signal.SIGXFSZ}, "Python's own doing"
    assert {before["signals"][kind].strip("0") for kind in ("SigBlk", "SigPnd", "ShdPnd")} == {""}
    umask = os.umask(0o022)
    os.umask(umask)
    assert int(before["umask"], 8) == umask


@pytest.mark.parametrize("what", ["descriptors", "file-size", "processes", "memory", "cpus", "nice"])
def test_s17_what_a_script_does_to_its_worker_no_other_feels(workspace: Any, what: str) -> None:
    """It may take away the limits of its worker, which cannot get them back: a fresh worker takes its place."""
    if what == "cpus" and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two CPUs, to take one away")
    for name in ("a.py", "c.py", "d.py"):
        shutil.copy(BAD / "standing.py", workspace.source / name)
    shutil.copy(BAD / "crippler.py", workspace.source / "b.py")
    done = workspace.json("-j", "1", "--order", "name", "--", what, code=None)
    results = done.results
    assert {results[name]["attempts"] for name in ("a.py", "c.py", "d.py")} == {1}, done.err
    assert workspace.log("a.py") == workspace.log("c.py") == workspace.log("d.py")
    b = results["b.py"]
    if what == "file-size":  # its worker could not record how it ended
        assert (done.code, b["state"], b["outcome"], b["lost"]) == (1, "failed", "lost", 4)
    else:
        assert (done.code, b["state"], b["attempts"]) == (0, "passed", 1)
    assert "made way for a fresh one: a script had changed its limits, niceness or CPUs" in done.err
    assert "died" not in done.err


def test_s30_kill_0_reaches_only_its_own_group(workspace: Any, wait_until: Any, alive: Any) -> None:
    """Its own grandchild is hit; the script on the other worker, the workers and the server are not."""
    workspace.scripts(
        a="import os, signal, subprocess\nchild = subprocess.Popen(['sleep', '600'])\nprint(child.pid, flush=True)\n"
        + workspace.note("start")
        + workspace.until("kill")
        + "os.kill(0, signal.SIGKILL)\ntime.sleep(600)",
        b="import signal\nfor n in (1, 2, 10, 12, 15): signal.signal(n, lambda *_: print('hit', flush=True))\n"
        + workspace.note("start")
        + workspace.until("gate")
        + workspace.note("end"),
    )
    run = workspace.start("run", "src", "--json", "-j", "2")
    pids = started(workspace, wait_until, 2)
    workers = sorted(workspace.children(run.pid))
    assert len(workers) == 2
    grandchild = int(workspace.log("a.py"))
    workspace.open("kill")
    wait_until(lambda: not alive(pids["a.py"]) and not alive(grandchild), what="the end of the group")
    assert set(workers) <= set(workspace.children(run.pid)), "beside them the grandchild, until it is reaped"
    assert all(alive(pid) for pid in (run.pid, *workers, pids["b.py"]))
    workspace.open("gate")
    done = workspace.finish(run, code=1)
    assert (done.results["a.py"]["outcome"], done.results["a.py"]["signal"]) == ("signalled", 9)
    b = done.results["b.py"]
    assert (b["state"], b["attempts"], b["lost"], workspace.log("b.py")) == ("passed", 1, 0, b"")
    assert "replaced" not in done.err


def test_s34_a_script_that_edits_itself(workspace: Any) -> None:
    """The zip names what ran, and `why` says that it is not what lies there now."""
    script = workspace.script("a.py", "print('before')\nopen(__file__, 'a').write('print(2)\\n')\n")
    was = hashlib.sha256(script.read_bytes()).hexdigest()
    workspace.script("b.py", "pass")
    workspace.run("run", "src")
    assert hashlib.sha256(script.read_bytes()).hexdigest() != was
    with zipfile.ZipFile(workspace.path / "result.zip") as archive:
        rows = {row["name"]: row for row in json.loads(archive.read("manifest.json"))["results"]}
    assert rows["a.py"]["script_sha256"] == was
    assert "src/a.py, CHANGED since it ran" in workspace.run("why", "a.py").out
    assert "src/b.py, as it was when it ran" in workspace.run("why", "b.py").out


def test_s34_a_script_that_edits_anothers_output(workspace: Any) -> None:
    """The run says which file is not as its script left it; what was taken away is named, too, and others are not."""
    write = "import os; d = os.environ['BUILDRUNNER_OUTPUT_DIR']\nfor n in 'xyz': open(d + '/' + n, 'w').write('a')\n"
    workspace.scripts(
        a=write,
        b="import os; d = os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/../a.py/'\n"
        "open(d + 'x', 'w').write('b'); os.unlink(d + 'y')",
    )
    done = workspace.run("run", "src", "-j", "1", "--order", "name")
    folder = workspace.path / "python_output" / "files" / "a.py"
    told = " ".join(done.out.split())
    assert f"changed after its script ended, packaged as it is now: {folder}/x" in told
    assert f"gone since its script ended, so not packaged: {folder}/y" in told
    assert f"{folder}/z" not in told
    left = {o["path"]: o["sha256"] for o in _outputs(workspace, "a.py")}
    assert left["x"] == hashlib.sha256(b"a").hexdigest(), "the receipt still says what the script left"
    with zipfile.ZipFile(workspace.path / "result.zip") as archive:
        assert archive.read("files/a.py/x") == b"b"
        assert "files/a.py/y" not in archive.namelist()
    workspace.run("verify", "result.zip")


def _outputs(workspace: Any, job: str) -> list[dict[str, Any]]:
    """What a job's receipt says of its outputs."""
    import sqlite3

    with sqlite3.connect(workspace.path / ".buildrunner" / "ledger.db") as db:
        [(text,)] = db.execute(
            "SELECT outputs FROM receipts JOIN jobs ON jobs.attempt = receipts.attempt WHERE name = ?", [job]
        )
    return [dict(zip(("path", "size", "sha256"), output, strict=True)) for output in json.loads(text)]


def test_s37_an_output_that_grows_for_ever_ends(workspace: Any) -> None:
    """What a script left running makes a file longer, faster than it can be hashed: the attempt ends all the same."""
    put(workspace, "grower.py")
    grew = workspace.path / "grew"
    workspace.groups = False
    run = workspace.start("run", "src", "--json", "--no-zip", "--", grew)  # in one it would be ended
    done = workspace.finish(run, code=0)
    result = done.results["grower.py"]
    assert (result["state"], result["outputs"]) == ("passed", ["python_output/files/grower.py/grows"])
    assert grew.exists(), "it did grow while it was hashed"
    assert workspace.left() == []
