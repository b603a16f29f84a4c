"""The record while somebody else holds, reads, removes or replaces its files, and on a disk that gives up."""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from buildrunner.errors import LedgerError
from buildrunner.ledger import Ledger, Reader, store, writing
from tests.contract.ledgers import add_run, ran

pytestmark = pytest.mark.fault

HOLDER = """\
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    db.execute(statement).fetchall()
print("held", flush=True)
sys.stdin.read()
"""
PATIENT_FOR = "from buildrunner.ledger import store; store.PATIENCE = {}; from buildrunner.cli import main; main()"


@pytest.fixture
def hold() -> Iterator[Callable[..., Any]]:
    """Another program that does something with a database, and stays in it until its input ends."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path, *statements: str) -> Any:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), *statements],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(60)
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()


def let_go(holder: Any) -> None:
    holder.stdin.close()
    holder.wait(60)


# Locks of others


def test_what_to_do_about_a_ledger_that_was_moved_names_its_folder(workspace: Any, wait_until: Any) -> None:
    workspace.script("a.py", workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "--state", "st")
    wait_until(lambda: workspace.notes("start"))
    (workspace.path / "st").rename(workspace.path / "away")
    workspace.open("gate")
    assert "put it back if it was moved, then `buildrunner resume --state st`" in workspace.finish(run, code=3).out
    (workspace.path / "away").rename(workspace.path / "st")
    workspace.run("resume", "--state", "st")


@pytest.mark.parametrize("seconds", [2.0, pytest.param(60.0, marks=[pytest.mark.soak, pytest.mark.timeout(300)])])
def test_s58_a_foreign_lock_is_waited_for(
    workspace: Any, hold: Callable[..., Any], wait_until: Any, seconds: float
) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"), b=workspace.note("start"))
    run = workspace.start("run", "src", "-j", "1", "--order", "name", "--no-zip", "--json")
    wait_until(lambda: workspace.notes("start"))
    holder = hold(workspace.path / ".buildrunner/ledger.db", "BEGIN EXCLUSIVE")
    workspace.open("gate")
    time.sleep(seconds)  # the scenario itself: the lock lasts this long
    assert run.poll() is None
    assert [job for job, _, _ in workspace.notes("start")] == ["a.py"], "nothing starts before it is recorded"
    let_go(holder)
    assert workspace.finish(run, code=0).document["totals"]["passed"] == 2


def test_s58_a_foreign_lock_that_stays_is_named(workspace: Any, hold: Callable[..., Any], wait_until: Any) -> None:
    workspace.scripts(
        a=workspace.note("start") + workspace.until("gate"), b=workspace.note("start") + workspace.until("end")
    )
    workspace.script("c.py", workspace.note("start"))
    run = workspace.start_python("-c", PATIENT_FOR.format(0.5), "run", "src", "-j", "2", "--order", "name", "--json")
    wait_until(lambda: len(workspace.notes("start")) == 2)
    holder = hold(workspace.path / ".buildrunner/ledger.db", "BEGIN IMMEDIATE")
    workspace.open("gate")
    done = workspace.finish(run, code=3)
    assert "cannot be written: " in done.err
    assert "holds a lock on it, and did so for 0.5 s" in done.err
    if Path("/proc/locks").exists() and holder_is_listed(holder.pid):
        assert f"process {holder.pid} (" in done.err
    assert done.document["state"] == "interrupted"
    assert workspace.left() == []
    refused = workspace.finish(workspace.start_python("-c", PATIENT_FOR.format(0.5), "resume"), code=3)
    assert "holds a lock on it" in refused.err
    let_go(holder)
    workspace.open("end")
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 3


def holder_is_listed(pid: int) -> bool:
    return any(line.split()[4:5] == [str(pid)] for line in Path("/proc/locks").read_text().splitlines())


# Files that are taken away


@pytest.mark.parametrize("how", ["removed", "moved", "file removed", "log removed", "replaced"])
def test_s60_a_record_that_is_taken_away_stops_the_run(
    workspace: Any, hold: Callable[..., Any], wait_until: Any, how: str
) -> None:
    workspace.scripts(
        a="print('hello')", b=workspace.note("start") + workspace.until("gate"), c=workspace.note("start")
    )
    state = workspace.path / ".buildrunner"
    run = workspace.start("run", "src", "-j", "1", "--order", "name", *(["--json"] if how == "removed" else []))
    wait_until(lambda: workspace.notes("start"))
    other = None
    match how:
        case "moved":
            state.rename(workspace.path / "moved")
        case "file removed":
            (state / "ledger.db").unlink()
        case "log removed":
            (state / "ledger.db-wal").unlink()
        case _:
            shutil.rmtree(state)
    if how == "replaced":
        workspace.script("other/o.py", workspace.note("other") + workspace.until("gate2"))
        other = workspace.start("run", "src/other", "-o", "out2", "--no-zip")
        wait_until(lambda: workspace.notes("other"))
    workspace.open("gate")
    done = workspace.finish(run, code=3)
    told = done.err if how == "removed" else done.out
    assert "the ledger .buildrunner/ledger.db was removed or replaced while it was written" in told
    assert "there is no ledger" not in told
    assert "carry on with" not in told
    if how == "removed":
        assert done.document["state"] == "interrupted"
        assert done.results["a.py"]["state"] == "passed"
        assert done.results["c.py"]["state"] == "waiting"
    else:
        assert "1 passed" in done.out
        assert "2 scripts left to run" in done.out
    assert len(workspace.notes("start")) == 1, "nothing starts that cannot be recorded"
    if how == "moved":
        (workspace.path / "moved").rename(state)
        assert workspace.run("resume", "--json").document["totals"]["passed"] == 3
    if other:
        assert (state / "ledger.db-wal").stat().st_size > 0, "the log of the one that took its place is there"
        workspace.open("gate2")
        workspace.finish(other, code=0)
        assert "ledger.db: sound" in workspace.run("ledger", "check").out
        assert "1 passed" in workspace.run("status").out


def test_s60_a_record_that_is_removed_at_the_end(workspace: Any) -> None:
    workspace.scripts(a="print('hello')")
    program = (
        "import shutil\nfrom buildrunner.server import BuildServer\nfrom buildrunner.cli import main\n"
        "run = BuildServer.run\n"
        "def then_remove(*args, **kwargs):\n"
        "    summary = run(*args, **kwargs)\n    shutil.rmtree('.buildrunner')\n    return summary\n"
        "BuildServer.run = then_remove\nmain()\n"
    )
    done = workspace.finish(workspace.start_python("-c", program, "run", "src"), code=3)
    assert "was removed after run" in done.err
    assert "nothing was run" not in done.err


# Readers


def test_s61_a_long_reader_costs_the_log_what_is_written_and_no_more(
    tmp_path: Path, hold: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, commit = 1 << 20, 400_000  # bytes: of the log, and about what one commit writes
    monkeypatch.setattr(writing, "_LOG_BYTES", limit)
    monkeypatch.setattr(writing, "_BETWEEN_LOOKS", 0.0)
    state = tmp_path / "state"
    log = state / "ledger.db-wal"

    def write(ledger: Ledger, name: str) -> int:
        """Record some 5 MiB; returns how large the log was at its largest."""
        largest = 0
        for number in range(20):
            add_run(ledger, *(f"{number}-{job}-" + "x" * 200 for job in range(400)), name=f"{name}-{number}")
            largest = max(largest, log.stat().st_size)
        return largest

    with Ledger(state, purpose="a test") as ledger:
        assert write(ledger, "alone") < limit + 2 * commit, "it does not grow with what is written"
        ledger.settle()
        before = (state / "ledger.db").stat().st_size
        holder = hold(state / "ledger.db", "BEGIN", "SELECT count(*) FROM runs")
        began = time.monotonic()
        beside = write(ledger, "beside")
        assert time.monotonic() - began < store.PATIENCE / 3, "nobody waits for the reader"
        assert beside > limit + 2 * commit, "the reader does keep it from being emptied"
        let_go(holder)
        ledger.settle()
        assert log.stat().st_size == 0
        written = (state / "ledger.db").stat().st_size - before
        assert written < beside < 3 * written, "what is written, and the pages that are written more than once"
        holder = hold(state / "ledger.db", "BEGIN", "SELECT count(*) FROM runs")
        add_run(ledger, "a", name="last")
    assert log.stat().st_size > 0, "left to its reader"
    let_go(holder)
    with Ledger(state, purpose="a test") as ledger:
        assert ledger.run("last").name == "last"
        assert len(list(ledger.runs())) == 41
    assert not log.exists()


def test_s61_a_run_beside_a_long_reader(workspace: Any, hold: Callable[..., Any]) -> None:
    for number in range(6):
        workspace.script(f"{number}.py", "")
    workspace.run("run", "src", "--no-zip")
    holder = hold(workspace.path / ".buildrunner/ledger.db", "BEGIN", "SELECT count(*) FROM receipts")
    assert workspace.json("--no-zip").document["totals"]["passed"] == 6
    log = workspace.path / ".buildrunner/ledger.db-wal"
    assert 0 < log.stat().st_size < 1 << 20
    assert workspace.run("status", "--json").document["totals"]["passed"] == 6
    let_go(holder)
    workspace.run("resume")
    assert not log.exists() or not log.stat().st_size


# A disk that gives up


@pytest.fixture(scope="session")
def strace() -> str:
    """strace, if it can make system calls fail here."""
    path = shutil.which("strace")
    command = [path or "strace", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"]
    if path is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs strace, and leave to trace")
    return path


def failing(workspace: Any, strace: str, call: str, when: str, *arguments: str, log: str = "/dev/null") -> Any:
    """The program, while one of the server's own system calls fails."""
    command = [strace, "-o", log, "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={when}", sys.executable]
    start = f"import os; os.execv({strace!r}, {[*command, '-m', 'buildrunner', *arguments]!r})"
    return workspace.finish(workspace.start_python("-c", start))


def test_s52_a_disk_that_does_not_confirm_is_never_believed(workspace: Any, strace: str) -> None:
    workspace.scripts(a=workspace.note("start") + "print(1)", b=workspace.note("start"))
    log = workspace.path / "trace"
    workspace.run("run", "src")
    old = (workspace.path / "result.zip").read_bytes()
    workspace.scripts(a=workspace.note("start") + "print(2)")
    # The first one: the log's first block, when the record is opened to be written.
    done = failing(workspace, strace, "fdatasync", "1", "run", "src", log=str(log))
    assert done.code == 3
    assert "ledger.db: disk I/O error" in done.err
    assert log.read_text().count("(INJECTED)") == 1, "it is not asked again"
    assert len(workspace.notes("start")) == 2
    # The next one is for the folder, which not every file system can do. Then the new run's own: nothing has begun yet.
    done = failing(workspace, strace, "fdatasync", "3", "run", "src", log=str(log))
    assert done.code == 3
    assert "ledger.db cannot be written: disk I/O error" in done.err
    assert log.read_text().count("(INJECTED)") == 1, "it is not asked again"
    assert len(workspace.notes("start")) == 2
    assert list((workspace.path / ".buildrunner/runs").iterdir()) == [], "its folder comes after that"
    workspace.run("status")
    # Then the checkpoint at the end of the run.
    done = failing(workspace, strace, "fdatasync", "4", "run", "src", log=str(log))
    assert done.code == 3
    assert "2 passed" in done.out
    assert "ledger.db cannot be made safe on the disk: disk I/O error" in done.out
    assert log.read_text().count("fdatasync(") == 4, "it is not asked again"
    assert (workspace.path / ".buildrunner/ledger.db-wal").stat().st_size > 0, "what was recorded is still in the log"
    assert workspace.run("status", "--json").document["totals"]["passed"] == 2
    made = (workspace.path / "result.zip").read_bytes()
    assert made != old
    workspace.scripts(a=workspace.note("start") + "print(3)")
    # And that of the zip.
    done = failing(workspace, strace, "fsync", "1", "run", "src", log=str(log))
    assert done.code == 3
    assert "cannot make the zip result.zip: Input/output error" in done.out
    assert (workspace.path / "result.zip").read_bytes() == made
    assert not list(workspace.path.glob(".buildrunner-*"))
    workspace.run("resume")
    done = failing(workspace, strace, "fdatasync", "1", "package", "--with-report", log=str(log))
    assert done.code == 3
    assert "the zip is made, but not entered in the record" in done.err
    workspace.run("verify", "result.zip")
    assert "ledger.db: sound" in workspace.run("ledger", "check").out


@pytest.mark.parametrize(
    "when", [5, 25, *(pytest.param(n, marks=[pytest.mark.soak, pytest.mark.timeout(600)]) for n in range(1, 64))]
)
def test_s52_a_write_that_fails_stops_the_run(workspace: Any, strace: str, when: int) -> None:
    workspace.scripts(**{f"a{number}": workspace.note("start") for number in range(4)})
    done = failing(workspace, strace, "pwrite64", str(when), "run", "src", "-j", "2", "--json", "--events", "events")
    assert done.code in (0, 2, 3)
    if done.code:
        assert "nput/output error" in done.err or "disk I/O error" in done.err
        assert any(name in done.err for name in (".buildrunner", "python_output"))
    if done.code == 2:
        assert workspace.notes("start") == []
    shown = set()
    if (events := workspace.path / "events").exists():
        told = map(json.loads, events.read_text().splitlines())
        shown = {event["job"] for event in told if event["event"] == "job_ended" and event["final"]}
    again = workspace.run("run", "src", "-j", "2", "--json", "--resume", "--events", "events")
    assert again.document["totals"]["passed"] == 4
    starts = [job for job, _, _ in workspace.notes("start")]
    assert all(starts.count(job) == 1 for job in shown), "what was shown as done is not run again"
    assert "ledger.db: sound" in workspace.run("ledger", "check").out


def test_s52_an_error_in_a_checkpoint_is_not_hidden(tmp_path: Path, strace: str) -> None:
    """In the midst of a run, where SQLite's own checkpoints say nothing and try again at the next commit."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom buildrunner.ledger import Ledger, writing\n"
        "from buildrunner.errors import LedgerError\nfrom tests.contract.ledgers import add_run\n"
        "writing._LOG_BYTES = 1 << 20; writing._BETWEEN_LOOKS = 0.0\n"
        "ledger, told = Ledger(Path(sys.argv[1]), purpose='a test'), []\n"
        "ledger._writing._checkpoint_at = 1 << 20\n"
        "for number in range(12):\n"
        "    try:\n        add_run(ledger, *('x' * 200 + str(n) for n in range(1000)), name=str(number))\n"
        "    except LedgerError as exc:\n        told.append(str(exc))\n"
        "ledger.close()\n"
        "print(12 - len(told), *set(told), sep='\\n')\n"
    )
    root = Path(__file__).resolve().parents[2]
    for call, when in (("fdatasync", 11), ("fdatasync", 12), ("pwrite64", 900)):
        state, log = tmp_path / f"{call}-{when}", tmp_path / "trace"
        command = [strace, "-o", str(log), "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={when}"]
        done = subprocess.run(
            [*command, sys.executable, "-c", program, str(state)],
            cwd=root, capture_output=True, text=True, timeout=100, check=True,
        )  # fmt: skip
        kept, *told = done.stdout.splitlines()
        assert len(told) == 1, "once, and the same for whatever is asked after that"
        assert "disk I/O error" in told[0]
        assert log.read_text().count("(INJECTED)") == 1
        assert "(INJECTED)" in log.read_text().splitlines()[-2], "nothing of that kind was asked for after it"
        assert "+++ exited" in log.read_text().splitlines()[-1]
        reader = Reader.open(state)
        assert len(list(reader.runs())) >= int(kept)
        reader.close()


def test_s52_a_ledger_that_cannot_be_made_safe_is_not_begun(workspace: Any, strace: str) -> None:
    workspace.scripts(a=workspace.note("start"))
    for when in ("1", "4", "5"):  # the file that is made; the same becoming one with a log; the log
        shutil.rmtree(workspace.path / ".buildrunner", ignore_errors=True)
        done = failing(workspace, strace, "fdatasync", when, "run", "src")
        assert done.code == 3
        assert ".buildrunner/ledger.db" in done.err
        assert "disk I/O error" in done.err
    assert workspace.notes("start") == []
    workspace.run("run", "src")


def test_after_a_fault_nothing_is_written_any_more(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "state", purpose="a test")
    run = add_run(ledger, "a")
    ran(ledger, run, "a", 1.0)
    log = (tmp_path / "state/ledger.db-wal").read_bytes()
    with pytest.raises(LedgerError, match="cannot be written"), ledger.transaction():
        raise sqlite3.OperationalError("disk I/O error")
    for write in (lambda: ledger.set_run(run, state="finished"), lambda: add_run(ledger, "b", name="2"), ledger.settle):
        with pytest.raises(LedgerError, match="cannot be written"):
            write()
    copy = ledger.copy()
    assert [row.seconds for row in copy.results(run)] == [1.0]
    copy.close()
    ledger.close()
    assert (tmp_path / "state/ledger.db-wal").read_bytes() == log, "nor is a checkpoint made"
    with Ledger(tmp_path / "state", purpose="a test") as ledger:
        assert [row.seconds for row in ledger.results(run)] == [1.0]
