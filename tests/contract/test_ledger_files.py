"""The ledger as a file: its schema, damage to it, the one process that writes it, disks that are full."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import buildrunner
from buildrunner.errors import BuildrunnerError, LedgerBusy, LedgerError, UsageError
from buildrunner.ledger import Ledger, Reader, RunRow, lock, store
from buildrunner.ledger.vacuum import vacuum
from tests.contract.ledgers import add_run, ran
from tests.disks import fill, mounted

# The file


def test_an_empty_folder_becomes_a_ledger(state: Path) -> None:
    with Ledger(state, purpose="a test") as ledger:
        assert ledger.db.execute("PRAGMA user_version").fetchone()[0] == len(store._migrations())
        assert ledger.db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert list(ledger.runs()) == []
    assert (state / ".gitignore").read_text() == "*\n"


def test_a_ledger_is_opened_again_as_it_was(state: Path) -> None:
    with Ledger(state, purpose="a test") as ledger:
        run = add_run(ledger, "a")
    with Ledger(state, purpose="a test") as ledger:
        # Whoever holds the lock knows that nobody runs it any more.
        assert ledger.run() == replace(run, state="interrupted")


def test_a_folder_whose_name_means_something_to_sqlite_or_is_not_utf8(tmp_path: Path) -> None:
    for name in ("a b?mode=memory#x%41", "file:x", ":memory:", "\udcff\n"):
        state = tmp_path / name
        with Ledger(state, purpose="a test") as ledger:
            run = add_run(ledger, "a")
            reader = Reader.open(state)
            assert reader.run() == run
            reader.close()
        assert (state / "ledger.db").exists()


def test_s56_a_newer_schema_is_refused_by_writer_and_reader(state: Path) -> None:
    Ledger(state, purpose="a test").close()
    db = sqlite3.connect(state / "ledger.db")
    db.execute("PRAGMA user_version = 1000")
    db.close()
    for open_it in (lambda: Ledger(state, purpose="a test"), lambda: Reader.open(state)):
        with pytest.raises(
            LedgerError, match=r"schema 1000, newer than .* use the newer buildrunner, or .*--state DIR"
        ):
            open_it()
    # Nothing was changed, and the lock was let go of.
    db = sqlite3.connect(state / "ledger.db")
    assert db.execute("PRAGMA user_version").fetchone()[0] == 1000
    db.close()
    assert not lock.held(state / store.LOCK)


def test_s56_an_older_schema_is_only_for_the_writer(state: Path) -> None:
    state.mkdir()
    store.new_database(str(state / "ledger.db"), version=1).close()
    with pytest.raises(LedgerError, match="the next `buildrunner run` or `resume` brings it up to date"):
        Reader.open(state)
    Ledger(state, purpose="a test").close()
    Reader.open(state).close()


def test_s06_a_step_of_the_schema_that_fails_changes_nothing(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A step that fails leaves the schema before it, whole.
    steps = [*store._migrations(), "CREATE TABLE extra (x); CREATE TABLE runs (y);"]
    Ledger(state, purpose="a test").close()
    with monkeypatch.context() as patched:
        patched.setattr(store, "_migrations", lambda: steps)
        with pytest.raises(LedgerError, match="table runs already exists"):
            Ledger(state, purpose="a test")
    with Ledger(state, purpose="a test") as ledger:
        tables = {name for (name,) in ledger.db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"runs", "jobs", "attempts", "receipts"} <= tables
        assert "extra" not in tables


def test_no_ledger_is_a_usage_error_that_makes_none(state: Path) -> None:
    with pytest.raises(UsageError, match="nothing was run here; name its folder with --state DIR"):
        Reader.open(state)
    assert not state.exists()


@pytest.mark.parametrize("content", [b"not a database, but long enough to be read as one" * 100, b"\0" * 8192])
def test_s54_a_file_that_is_no_database(state: Path, content: bytes) -> None:
    state.mkdir()
    (state / "ledger.db").write_bytes(content)
    with pytest.raises(LedgerError, match=r"ledger\.db"):
        Ledger(state, purpose="a test")
    with pytest.raises(LedgerError, match=r"ledger\.db"):
        Reader.open(state)
    assert not lock.held(state / store.LOCK)


QUESTIONS: dict[str, Callable[[Reader, RunRow], object]] = {
    "runs": lambda reader, _: list(reader.runs()),
    "run": lambda reader, _: reader.run(),
    "results": lambda reader, run: list(reader.results(run)),
    "result": lambda reader, run: reader.result(run, "a"),
    "counts": lambda reader, run: reader.counts(run),
    "script_seconds": lambda reader, run: reader.script_seconds(run),
    "slowest": lambda reader, run: reader.slowest(run, 3),
    "busy": lambda reader, run: reader.busy(run),
    "last_end": lambda reader, run: reader.last_end(run),
    "running": lambda reader, run: reader.running(run),
    "past_seconds": lambda reader, run: reader.past_seconds(run.key, run.args),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_s54_a_damaged_database_is_told_as_such(state: Path, question: str) -> None:
    with Ledger(state, purpose="a test") as ledger:
        run = add_run(ledger, "a")
        ran(ledger, run, "a", 1.0)
        ledger.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = state / "ledger.db"
    page = 4096
    data = bytearray(path.read_bytes())
    data[page:] = b"\xa5" * (len(data) - page)  # the schema can be read, the tables cannot
    path.write_bytes(bytes(data))
    with pytest.raises(LedgerError, match=r"the ledger .* is damaged .*`buildrunner ledger recover`"):
        Reader.open(state)
    reader = Reader(state, store.open_reader(state))  # damaged while it is read
    try:
        with pytest.raises(LedgerError, match=r"cannot read the ledger .*ledger\.db: .*`buildrunner ledger recover`"):
            QUESTIONS[question](reader, run)
    finally:
        reader.close()


# One writer

HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from buildrunner.errors import LedgerBusy
from buildrunner.ledger import Ledger
try:
    ledger = Ledger(Path(sys.argv[2]), purpose=sys.argv[3])
except LedgerBusy as exc:
    print(exc)
else:
    print("held", flush=True)
    sys.stdin.read()
    ledger.close()
"""


@pytest.fixture
def other(state: Path) -> Iterator[Callable[[], Any]]:
    """Starts another process that opens the ledger, and holds it until its input ends."""
    started = []

    def begin() -> Any:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(Path(buildrunner.__file__).parents[1]), str(state), "other purpose"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_another_process_is_refused_and_told_who_writes(ledger: Ledger, other: Callable[[], Any], state: Path) -> None:
    said, _ = other().communicate(timeout=300)
    assert f"the state folder {state} is in use by process {os.getpid()} on " in said
    assert "(a test)" in said
    assert "--state DIR" in said
    assert ledger.alive()


def test_it_is_told_as_a_mistake_of_use_with_the_other_ones_pid(other: Callable[[], Any], state: Path) -> None:
    holder = other()
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LedgerBusy, match=rf"process {holder.pid} .*\(other purpose\)") as caught:
        Ledger(state, purpose="a test")
    assert caught.value.exit_code == 2
    reader = Reader.open(state)
    assert reader.alive()
    holder.communicate(timeout=300)
    assert not reader.alive()
    reader.close()


def test_a_killed_process_holds_nothing(other: Callable[[], Any], state: Path) -> None:
    holder = other()
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGKILL)
    holder.wait(timeout=300)
    assert not lock.held(state / store.LOCK)
    Ledger(state, purpose="a test").close()


def test_asking_whether_it_is_held_takes_nothing_away(state: Path, other: Callable[[], Any]) -> None:
    with Ledger(state, purpose="a test"):
        assert all(lock.held(state / store.LOCK) for _ in range(3))
    assert not lock.held(state / store.LOCK)
    assert not lock.held(state / "no-such-file")
    assert other().stdout.readline() == "held\n"


def test_a_lock_file_that_says_nothing_sensible(ledger: Ledger, state: Path) -> None:
    for text in ("", "{", "[]", '{"pid": 1}', '{"pid": 1, "host": "h", "since": "x", "does": "y"}'):
        (state / store.LOCK).write_text(text)
        with pytest.raises(LedgerBusy, match="another process that has not yet said who it is"):
            Ledger(state, purpose="another")


# Disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    with mounted(tmp_path / "disk", "size=1m") as disk:
        yield disk


def test_a_full_disk_stops_with_a_remedy_and_loses_nothing(small_disk: Path) -> None:
    state = small_disk / "state"
    with Ledger(state, purpose="a test") as ledger:
        run = add_run(ledger, "a", "b")
        ran(ledger, run, "a", 1.0)
        before = list(ledger.results(run))
        filler = fill(small_disk)
        with pytest.raises(
            LedgerError, match=r"cannot be written: .*full.* make room, then `buildrunner resume --state "
        ):
            add_run(ledger, *(f"{number}-" + "x" * 200 for number in range(2000)), name="too-much")
        filler.unlink()
        assert list(ledger.results(run)) == before
    with Ledger(state, purpose="a test") as ledger:
        assert [r.name for r in ledger.runs()] == ["run-1"]
        assert list(ledger.results(run)) == before


def test_a_disk_that_is_full_from_the_start(small_disk: Path) -> None:
    state = small_disk / "state"
    state.mkdir()
    fill(small_disk)
    for _ in range(2):  # also when the first try left something behind
        with pytest.raises(BuildrunnerError, match=f"{state}.*--state DIR"):
            Ledger(state, purpose="a test")
        assert not lock.held(state / store.LOCK)


def test_a_disk_that_may_only_be_read(small_disk: Path) -> None:
    with Ledger(small_disk / "state", purpose="a test") as ledger:
        add_run(ledger, "a")
    if subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted read-only here")
    for folder in ("state", "new"):
        with pytest.raises(UsageError, match=f"{folder}.*Read-only file system.*--state DIR"):
            Ledger(small_disk / folder, purpose="a test")


# Vacuum


def with_holes(state: Path, jobs: int = 1500) -> list[RunRow]:
    """A ledger in which most of what was recorded has been deleted again; returns its runs."""
    with Ledger(state, purpose="a test") as ledger:
        gone = add_run(ledger, *(f"{number}-" + "x" * 200 for number in range(jobs)), name="gone")
        run = add_run(ledger, "a")
        ran(ledger, run, "a", 1.0)
        with ledger.transaction():
            ledger.db.execute("DELETE FROM jobs WHERE run = ?", (gone.id,))
            ledger.db.execute("DELETE FROM runs WHERE id = ?", (gone.id,))
        ledger.set_run(run, state="finished")
        return list(ledger.runs())


def test_vacuum_gives_room_back_and_loses_nothing(state: Path) -> None:
    runs = with_holes(state)
    before, after = vacuum(state)
    assert after == (state / "ledger.db").stat().st_size
    assert after < before / 5
    assert not (state / "ledger.db-wal").exists()
    reader = Reader.open(state)
    assert list(reader.runs()) == runs
    assert [row.name for row in reader.results(runs[0])] == ["a"]
    reader.close()


def test_vacuum_beside_a_reader(state: Path) -> None:
    runs = with_holes(state)
    reader = Reader.open(state)
    try:
        before, after = vacuum(state)
        assert after < before
        assert list(reader.runs()) == runs
    finally:
        reader.close()


def test_vacuum_while_another_process_writes_names_it(state: Path, other: Callable[[], Any]) -> None:
    with_holes(state)
    holder = other()
    assert holder.stdout.readline() == "held\n"
    size = (state / "ledger.db").stat().st_size
    with pytest.raises(LedgerBusy, match=rf"process {holder.pid} .*\(other purpose\)"):
        vacuum(state)
    assert (state / "ledger.db").stat().st_size == size


def test_vacuum_makes_no_ledger(state: Path) -> None:
    with pytest.raises(UsageError, match="--state DIR"):
        vacuum(state)
    assert not state.exists()


def test_vacuum_on_a_full_disk_leaves_the_ledger_as_it_was(small_disk: Path) -> None:
    state = small_disk / "state"
    runs = with_holes(state, jobs=200)
    filler = fill(small_disk)
    data = (state / "ledger.db").read_bytes()
    with pytest.raises(BuildrunnerError, match=str(state)):  # not even SQLite's index of the log can be made
        vacuum(state)
    assert (state / "ledger.db").read_bytes() == data
    with open(filler, "r+b") as file:
        file.truncate(filler.stat().st_size - 49152)
    with pytest.raises(LedgerError, match=r"cannot be rewritten: .*full; it is as it was.*needs up to twice its size"):
        vacuum(state)
    assert (state / "ledger.db").read_bytes()[100:] == data[100:]  # the head counts how often it was written
    filler.unlink()
    reader = Reader.open(state)
    assert list(reader.runs()) == runs
    reader.close()
    before, after = vacuum(state)
    assert after < before


def test_s54_vacuum_leaves_a_damaged_ledger_alone(state: Path) -> None:
    with_holes(state)
    path = state / "ledger.db"
    data = path.read_bytes()
    db = sqlite3.connect(path)
    start = 4096 * (db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'receipts_by_job'").fetchone()[0] - 1)
    db.close()
    damaged = data[:start] + bytes(4096) + data[start + 4096 :]
    path.write_bytes(damaged)
    with pytest.raises(LedgerError, match=r"is damaged .*`buildrunner ledger check` .*`buildrunner ledger recover`"):
        vacuum(state)
    assert path.read_bytes() == damaged
