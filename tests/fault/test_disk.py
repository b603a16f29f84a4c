"""Disks that are full, may only be read, or belong to another computer: for the record, the outputs, the zip."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.disks import fill, mounted
from tests.fault.test_delivery import WITHOUT_OVERRIDE

pytestmark = [pytest.mark.fault, pytest.mark.skipif(sys.platform != "linux", reason="mounts are Linux's here")]

READERS = (
    ["status"], ["status", "--json"], ["history"], ["logs", "a.py"], ["why", "a.py"], ["plan", "src"],
    ["ledger", "check"], ["ledger", "export"],
)  # fmt: skip


@pytest.fixture
def disk(workspace: Any) -> Iterator[Callable[..., Path]]:
    """A small disk of its own in the workspace; options are tmpfs's, as size=1m or nr_inodes=20."""
    with ExitStack() as disks:
        yield lambda name, options: disks.enter_context(mounted(workspace.path / name, options))


def recorded(workspace: Any, state: str) -> int:
    """How many receipts are in the record of a run that goes on."""
    db = sqlite3.connect(f"file:{workspace.path / state / 'ledger.db'}?mode=ro", uri=True, timeout=60.0)
    try:
        number: int = db.execute("SELECT count(*) FROM receipts").fetchone()[0]
        return number
    finally:
        db.close()


# Full


def test_s51_a_full_disk_stops_the_run_and_resume_goes_on(
    workspace: Any, disk: Callable[..., Path], wait_until: Any
) -> None:
    place = disk("small", "size=1m")
    for name in ("a", "b"):
        workspace.script(f"{name}.py", workspace.note("start") + "print('done')")
    workspace.script("c.py", workspace.note("start") + workspace.until("gate"))
    workspace.script("d.py", workspace.note("start") + workspace.until("end"))
    run = workspace.start("run", "src", "-j", "2", "--order", "name", "--state", "small/state")
    wait_until(lambda: len(workspace.notes("start")) == 4)
    wait_until(lambda: recorded(workspace, "small/state") == 2)
    filler = fill(place)
    workspace.open("gate")
    done = workspace.finish(run, code=3)
    assert "the ledger small/state/ledger.db cannot be written" in done.out
    assert "make room, then `buildrunner resume --state small/state`" in done.out
    assert "2 passed" in done.out
    assert workspace.left() == [], "what ran was ended"

    filler.unlink()
    workspace.open("end")
    again = workspace.run("resume", "--state", "small/state", "--json")
    assert again.document["totals"]["passed"] == 4
    starts = [job for job, _, _ in workspace.notes("start")]
    assert (starts.count("a.py"), starts.count("b.py")) == (1, 1), "what was recorded is not run again"
    assert starts.count("c.py") <= 2
    assert "ledger.db: sound" in workspace.run("ledger", "check", "--state", "small/state").out


def test_s51_a_full_disk_for_the_workers_journal(workspace: Any, disk: Callable[..., Path], wait_until: Any) -> None:
    place = disk(".buildrunner/runs", "size=64k")
    names = [f"{number:02}.py" for number in range(40)]
    for name in names:
        workspace.script(name, workspace.note("start") + ("" if name > "00.py" else workspace.until("gate")))
    run = workspace.start("run", "src", "-j", "1", "--order", "name", "--json")
    wait_until(lambda: workspace.notes("start"))
    filler = fill(place)  # the journal has its first page
    workspace.open("gate")
    done = workspace.finish(run, code=3)
    assert "the worker's journal cannot be written: " in done.err
    assert "make room, then `buildrunner resume`" in done.err
    assert done.document["state"] == "interrupted"
    passed = {name for name, result in done.results.items() if result["state"] == "passed"}
    assert 0 < len(passed) < len(names)
    assert done.document["totals"]["passed"] == len(passed)

    filler.unlink()
    assert workspace.run("resume", "--json").document["totals"]["passed"] == len(names)
    starts = [job for job, _, _ in workspace.notes("start")]
    assert all(starts.count(name) == 1 for name in passed), "what was recorded is not run again"


@pytest.mark.parametrize("schema", [0, 1])
def test_s51_a_full_disk_when_the_record_is_opened(workspace: Any, disk: Callable[..., Path], schema: int) -> None:
    place = disk("small", "size=1m")
    workspace.scripts(a=workspace.note("ran"))
    (place / "state").mkdir()
    if schema:
        steps = resources.files("buildrunner.ledger") / "migrations"
        with sqlite3.connect(place / "state" / "ledger.db") as db:
            db.executescript((steps / "0001_first.sql").read_text() + "PRAGMA user_version = 1;")
        db.close()
    filler = fill(place)
    before = (place / "state/ledger.db").read_bytes() if schema else b""
    done = workspace.run("run", "src", "--state", "small/state", code=None)
    assert done.code in (2, 3)
    assert "small/state" in done.err
    assert "name another" in done.err
    assert workspace.notes("ran") == []
    if schema:
        assert (place / "state/ledger.db").read_bytes() == before
    filler.unlink()
    workspace.run("run", "src", "--state", "small/state")
    assert len(workspace.notes("ran")) == 1


def test_s51_a_full_disk_for_outputs_is_those_jobs_own(workspace: Any, disk: Callable[..., Path]) -> None:
    place = disk("out", "size=1m")
    workspace.scripts(
        a="import os\nopen(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/x', 'wb').write(bytes(3_000_000))",
        b="print('x' * 3_000_000)",
        c=workspace.note("ran"),
    )
    done = workspace.json("-j", "1", "--order", "name", "-o", "out", code=1)
    assert {name: result["state"] for name, result in done.results.items()} == {
        "a.py": "failed", "b.py": "failed", "c.py": "passed",
    }  # fmt: skip
    assert len(workspace.notes("ran")) == 1
    manifest = json.loads(subprocess.check_output(["unzip", "-p", "result.zip", "manifest.json"], cwd=workspace.path))
    assert {row["name"]: row["outcome"] for row in manifest["results"]}["a.py"] == "exited"
    workspace.run("verify", "result.zip")
    for path in (place / "files", place / "logs"):
        shutil.rmtree(path)
    workspace.scripts(a="print(1)", b="print(2)")
    fill(place)
    full = workspace.run("run", "src", "-o", "out", code=None)
    assert full.code in (1, 2)
    (place / "filler").unlink()
    workspace.run("run", "src", "-o", "out")


def test_s51_no_room_for_another_file_is_told_with_its_place(
    workspace: Any, disk: Callable[..., Path], wait_until: Any
) -> None:
    place = disk("out", "size=1m")
    workspace.scripts(
        a=workspace.note("ran") + workspace.until("gate"), b=workspace.note("ran"), c=workspace.note("ran")
    )
    run = workspace.start("run", "src", "-j", "1", "--order", "name", "-o", "out", "--json")
    wait_until(lambda: workspace.notes("ran"))
    used = len(list(place.rglob("*"))) + 1
    subprocess.run(["mount", "-o", f"remount,nr_inodes={used}", str(place)], check=True)
    workspace.open("gate")
    done = workspace.finish(run, code=1)
    assert done.results["a.py"]["state"] == "passed"
    for name in ("b.py", "c.py"):
        assert done.results[name]["outcome"] == "spawn_error"
        assert "out/" in done.results[name]["error"]
        assert "No space left on device" in done.results[name]["error"]
        assert sys.executable not in done.results[name]["error"]
    assert len(workspace.notes("ran")) == 1


def test_s51_no_room_for_the_zip(workspace: Any, disk: Callable[..., Path]) -> None:
    place = disk("small", "size=1m")
    workspace.scripts(a="print(1)")
    workspace.run("run", "src", "--zip", "small/r.zip")
    old = (place / "r.zip").read_bytes()
    workspace.scripts(
        a="import os\nopen(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/x', 'wb').write(os.urandom(2_000_000))"
    )
    done = workspace.run("run", "src", "--zip", "small/r.zip", code=3)
    assert "cannot make the zip small/r.zip: No space left on device" in done.out
    assert "make room, then `buildrunner package" in done.out
    assert "--zip FILE` makes it in another place" in done.out
    assert (place / "r.zip").read_bytes() == old
    assert [path.name for path in place.iterdir()] == ["r.zip"]
    again = workspace.run("package", code=3).err
    assert again.count("No space left on device") == 1
    assert "make room, then `buildrunner package" in again
    workspace.run("package", "--zip", "elsewhere.zip")
    subprocess.run(["mount", "-o", "remount,size=8m", str(place)], check=True)
    workspace.run("package")
    workspace.run("verify", "small/r.zip")
    assert "nothing was run" in workspace.run("resume", code=0).out


def test_s51_no_room_for_events_and_a_test_report(workspace: Any, disk: Callable[..., Path], wait_until: Any) -> None:
    place = disk("small", "size=64k")
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"), b="print(1)")
    for number in range(30):
        workspace.script(f"c{number}.py", "")
    options = ("--events", "small/events", "--junitxml", "small/junit.xml")
    workspace.run("run", "src/b.py", *options)
    old = (place / "junit.xml").read_bytes()
    run = workspace.start("run", "src", "-j", "2", *options)
    wait_until(lambda: workspace.notes("start"))
    filler = fill(place)
    workspace.open("gate")
    done = workspace.finish(run, code=3)
    assert "the events in small/events are incomplete from number" in done.out
    assert "cannot write the JUnit report small/junit.xml: No space left on device" in done.out
    assert (place / "junit.xml").read_bytes() == old
    lines = (place / "events").read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1].endswith(b"\n")
    assert sorted(path.name for path in place.iterdir()) == ["events", "filler", "junit.xml"]
    assert "all as packaged" in workspace.run("verify", "result.zip").out
    filler.unlink()
    workspace.run("resume")
    assert (place / "junit.xml").read_bytes() != old


# Read-only


def without_log(state: Path) -> None:
    """A record as the last writer leaves it; who reads it makes these again, if that is possible."""
    for name in ("ledger.db-wal", "ledger.db-shm"):
        if (path := state / name).exists():
            assert name.endswith("shm") or not path.stat().st_size
            path.unlink()


def unprivileged(workspace: Any, *arguments: str, code: int) -> Any:
    """The program as one who may not write where the mode says so."""
    return workspace.finish(workspace.start_python("-c", WITHOUT_OVERRIDE, *arguments), code=code)


def require_modes(place: Path) -> None:
    """Skip where not even this makes root obey a file's mode."""
    probe = WITHOUT_OVERRIDE.replace(
        '"-m", "buildrunner"', '"-c", "import os, sys; sys.exit(os.access(sys.argv[1], 2))"'
    )
    if subprocess.run([sys.executable, "-c", probe, str(place)]).returncode:
        pytest.skip("root's override of file modes cannot be dropped here")


@pytest.mark.parametrize("what", ["folder", "none yet", "file"])
def test_s53_where_nothing_may_be_written_nothing_starts(workspace: Any, what: str) -> None:
    workspace.scripts(a=workspace.note("ran") + "print('hello')")
    state = workspace.path / "place" / "state"
    state.parent.mkdir()
    options = ("--state", "place/state")
    if what != "none yet":
        workspace.run("run", "src", *options)
        without_log(state)
    ran = len(workspace.notes("ran"))
    closed = {"folder": state, "none yet": state.parent, "file": state / "ledger.db"}[what]
    closed.chmod(0o555 if closed.is_dir() else 0o444)
    try:
        require_modes(closed)
        done = unprivileged(workspace, "run", "src", *options, code=3 if what == "file" else 2)
        assert ("place/state/ledger.db" if what == "file" else "place/state") in done.err
        assert "--state DIR" in done.err
        assert len(workspace.notes("ran")) == ran
        if what != "none yet":
            for verb in READERS if what == "folder" else READERS[:1]:
                unprivileged(workspace, *verb, *options, code=0)
            assert "hello" in unprivileged(workspace, "logs", "a.py", *options, code=0).out
        unprivileged(workspace, "doctor", *options, code=0 if what == "file" else 2)
    finally:
        closed.chmod(0o755)
    workspace.run("run", "src", *options)


@pytest.mark.parametrize("killed", [False, True])
def test_s53_a_disk_that_may_only_be_read(
    workspace: Any, disk: Callable[..., Path], wait_until: Any, killed: bool
) -> None:
    place = disk("small", "size=4m")
    options = ("--state", "small/state")
    workspace.scripts(a=workspace.note("ran") + "print('hello')", b=workspace.note("ran") + workspace.until("gate"))
    run = workspace.start("run", "src", "--order", "name", "-j", "1", *options)
    wait_until(lambda: len(workspace.notes("ran")) == 2)
    if killed:
        run.send_signal(signal.SIGKILL)
        run.wait()
        wait_until(lambda: len(workspace.left()) == 0)
    else:
        workspace.open("gate")
        workspace.finish(run, code=0)
        without_log(place / "state")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    for verb in (["run", "src"], ["resume"], ["ledger", "vacuum"]):
        done = workspace.run(*verb, *options, code=2)
        assert "small/state: Read-only file system" in done.err
        assert "--state DIR" in done.err
    assert len(workspace.notes("ran")) == 2
    for verb in READERS if killed else READERS[:1]:
        workspace.run(*verb, *options)
    document = workspace.run("status", "--json", *options).document
    assert document["totals"]["passed"] == (1 if killed else 2)
    workspace.run("doctor", *options, code=2)
    subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
    workspace.open("gate")
    workspace.run("resume", *options)


# Another computer's


@pytest.fixture
def network_folder(workspace: Any) -> Iterator[Path]:
    """A folder mounted by sshfs, its server a process of this machine at the other end of two pipes."""
    server = next((p for p in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server") if os.path.exists(p)), None)
    if not shutil.which("sshfs") or not server or os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root, /dev/fuse, sshfs and OpenSSH's sftp-server")
    there, here = workspace.path / "there", workspace.path / "here"
    there.mkdir()
    here.mkdir()
    to_server, to_client = os.pipe(), os.pipe()
    serving = subprocess.Popen([server], stdin=to_server[0], stdout=to_client[1], cwd="/")
    client = subprocess.Popen(
        ["sshfs", "-f", "-o", "passive", f"ignored:{there}", str(here)],
        stdin=to_client[0],
        stdout=to_server[1],
        cwd="/",
    )
    for fd in (*to_server, *to_client):
        os.close(fd)
    try:
        yield here
    finally:
        subprocess.run(["umount", "-l", str(here)], check=False)
        client.terminate()
        client.wait(60)
        serving.wait(60)


def test_s59_a_folder_of_another_computer(workspace: Any, network_folder: Path, wait_until: Any) -> None:
    wait_until(lambda: os.path.ismount(network_folder))
    workspace.scripts(a=workspace.note("ran") + "print('hello')")
    workspace.run("run", "src", "--state", "elsewhere", "-o", "here/out", "--zip", "here/r.zip")
    workspace.run("verify", "here/r.zip")
    shutil.copytree(workspace.path / "elsewhere", network_folder / "state")
    before = (network_folder / "state/ledger.db").read_bytes()
    for verb in (["run", "src"], ["resume"], ["ledger", "vacuum"]):
        for place in ("here/state", "here/new/state") if verb[0] == "run" else ("here/state",):
            done = workspace.run(*verb, "--state", place, code=2)
            assert f"the state folder {place} is on a network file system (fuse.sshfs)" in done.err
            assert "--state DIR" in done.err
    assert not (network_folder / "new").exists()
    assert (network_folder / "state/ledger.db").read_bytes() == before
    assert len(workspace.notes("ran")) == 1
    assert "fuse.sshfs" in workspace.run("doctor", "--state", "here/state", code=2).out
    assert "1 passed" in workspace.run("status", "--state", "here/state").out
    assert "hello" in workspace.run("logs", "a.py", "--state", "here/state").out
