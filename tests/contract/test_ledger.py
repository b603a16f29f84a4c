"""The ledger on a real SQLite file: what is recorded stays, what comes too late changes nothing, one process writes."""

import json
import os
import shutil
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
from buildrunner.job import Attempt, Cwd, JobSpec, JobState, Outcome
from buildrunner.ledger import Ledger, Reader, ResultRow, RunRow, lock, spec_from_json, store
from buildrunner.receipt import OutputFile, Receipt


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def ledger(state: Path) -> Iterator[Ledger]:
    with Ledger(state, purpose="a test") as ledger:
        yield ledger


def add_run(ledger: Ledger, *specs: JobSpec | str, name: str = "run-1", **change: Any) -> RunRow:
    values: dict[str, Any] = {
        "name": name, "target": "src", "key": "/src", "args": (), "options": {"workers": 2}, "jobs": 2,
        "python": "/usr/bin/python3", "started": 1_700_000_000.0,
    }  # fmt: skip
    wanted = [JobSpec(name=spec) if isinstance(spec, str) else spec for spec in specs]
    return ledger.add_run(
        **{**values, **change}, specs=((spec, f"file-{number}") for number, spec in enumerate(wanted))
    )


def start(ledger: Ledger, run: RunRow, job: str, attempt: str, number: int = 1, worker: int = 0) -> int:
    id_ = ledger.job_ids(run)[job]
    with ledger.transaction():
        ledger.start(id_, Attempt(id=attempt, job=job, number=number, worker=worker), "ab" * 32)
    return id_


def receipt(attempt: str, job: str = "a", outcome: Outcome = Outcome.OK, **change: Any) -> Receipt:
    values = {"number": 1, "worker": 0, "mode": "cold", "exit_code": 0, "started": 1.0, "seconds": 2.0}
    return Receipt(attempt=attempt, job=job, outcome=outcome, **{**values, **change})


def record(ledger: Ledger, id_: int, r: Receipt, state: JobState = JobState.PASSED, lost: int = 0) -> bool:
    with ledger.transaction():
        return ledger.record(id_, r, state, lost=lost)


def row(ledger: Reader, run: RunRow, job: str = "a") -> ResultRow:
    return ledger.result(run, job)


def ran(ledger: Ledger, run: RunRow, job: str, seconds: float, outcome: Outcome = Outcome.OK) -> None:
    attempt = f"{run.name}-{job!a}"
    id_ = start(ledger, run, job, attempt)
    record(ledger, id_, receipt(attempt, job, outcome, seconds=seconds))


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


def test_a_newer_schema_is_refused_by_writer_and_reader(state: Path) -> None:
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


def test_an_older_schema_is_only_for_the_writer(state: Path) -> None:
    state.mkdir()
    (state / "ledger.db").touch()
    with pytest.raises(LedgerError, match="the next `buildrunner run` or `resume` brings it up to date"):
        Reader.open(state)
    Ledger(state, purpose="a test").close()
    Reader.open(state).close()


def test_every_step_of_the_schema_stands_alone(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_file_that_is_no_database(state: Path, content: bytes) -> None:
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
    "totals_by_job": lambda reader, run: list(reader.totals_by_job(run)),
    "busy": lambda reader, run: reader.busy(run),
    "last_end": lambda reader, run: reader.last_end(run),
    "running": lambda reader, run: reader.running(run),
    "durations": lambda reader, run: reader.durations(run.key, run.args),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_damaged_database_is_told_as_such(state: Path, question: str) -> None:
    with Ledger(state, purpose="a test") as ledger:
        run = add_run(ledger, "a")
        ran(ledger, run, "a", 1.0)
        ledger.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = state / "ledger.db"
    page = 4096
    data = bytearray(path.read_bytes())
    data[page:] = b"\xa5" * (len(data) - page)  # the schema can be read, the tables cannot
    path.write_bytes(bytes(data))
    reader = Reader.open(state)
    try:
        with pytest.raises(LedgerError, match=r"cannot read the ledger .*ledger\.db"):
            QUESTIONS[question](reader, run)
    finally:
        reader.close()


# Runs and jobs


def test_a_run_comes_back_as_it_was_added(ledger: Ledger) -> None:
    run = add_run(ledger, "a", args=("-x", "\udcff"), options={"workers": 3, "output": "o\udcff"}, target="t\udcff")
    assert (run.name, run.state, run.target, run.key, run.args) == (
        "run-1",
        "running",
        "t\udcff",
        "/src",
        ("-x", "\udcff"),
    )
    assert (run.workers, run.options["output"], run.jobs) == (3, "o\udcff", 2)
    assert (run.finished, run.wall, run.exit_code, run.archive) == (None, None, None, None)
    assert ledger.run("run-1") == run


def test_a_run_changes_and_stays_changed(ledger: Ledger, state: Path) -> None:
    run = add_run(ledger, "a")
    archive = {"path": "r\udcff.zip", "sha256": "ab", "files": 3}
    changed = ledger.set_run(run, state="finished", wall=2.5, exit_code=1, finished=3.5, archive=archive)
    assert (changed.state, changed.wall, changed.exit_code, changed.finished) == ("finished", 2.5, 1, 3.5)
    assert changed.archive == archive
    reader = Reader.open(state)
    assert reader.run() == changed
    reader.close()


SPECS = [
    JobSpec(name="plain"),
    JobSpec(
        name="everything", command=("python", "-u"), script="s\udcff.py", args=("a", "\n"), env=(("K", "v"), ("L", "")),
        cwd=Cwd.SCRATCH, priority=-3, after=("plain",), timeout=1.5, retries=4,
    ),
]  # fmt: skip


def test_specs_come_back_as_they_were(ledger: Ledger) -> None:
    run = add_run(ledger, *SPECS)
    assert [spec_from_json(r.name, r.spec) for r in ledger.results(run)] == SPECS
    assert json.loads(row(ledger, run, "plain").spec) == {}  # what is as always is not written down


ODD = ["\udcff.py", "a\n.py", "é.py", "e\u0301.py", "' OR 1=1 --", "%", "_", "-", " ", "\udcc3", "x" * 255]


def test_names_of_any_bytes(ledger: Ledger) -> None:
    run = add_run(ledger, *ODD)
    assert [r.name for r in ledger.results(run)] == ODD
    assert set(ledger.job_ids(run)) == set(ODD)
    for number, name in enumerate(ODD):
        assert ledger.result(run, name).file == f"file-{number}"
        ran(ledger, run, name, number + 1.0)
    assert ledger.durations("/src", ()) == {name: n + 1.0 for n, name in enumerate(ODD)}
    assert {name for name, _, _ in ledger.totals_by_job(run)} == set(ODD)


def test_two_jobs_of_one_name_are_impossible(ledger: Ledger) -> None:
    with pytest.raises(LedgerError):
        add_run(ledger, "a", "a")
    assert list(ledger.runs()) == []


def test_a_job_is_found_by_an_unambiguous_end_of_its_name(ledger: Ledger) -> None:
    run = add_run(ledger, "sub/Prime.py", "sub/Matrix.py", "other/Matrix.py", "Fib.py")
    assert row(ledger, run, "Prime.py").name == "sub/Prime.py"
    assert row(ledger, run, "Prime").name == "sub/Prime.py"
    assert row(ledger, run, "Fib").name == "Fib.py"
    with pytest.raises(
        UsageError, match=r"no job 'Matrix.py'; did you mean '(sub|other)/Matrix.py' or '(sub|other)/Matrix.py'"
    ):
        ledger.result(run, "Matrix.py")
    with pytest.raises(UsageError, match=r"did you mean 'Fib.py'"):
        ledger.result(run, "Fub.py")
    with pytest.raises(UsageError, match=r"has no job 'zzz'$"):
        ledger.result(run, "zzz")


def test_a_run_is_found_by_the_beginning_of_its_name(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="no run is recorded"):
        ledger.run()
    for name in ("20260101-1", "20260101-10", "20260102-1"):
        add_run(ledger, "a", name=name)
    assert ledger.run().name == "20260102-1"
    assert ledger.run("20260102").name == "20260102-1"
    assert ledger.run("20260101-1").name == "20260101-1"  # a whole name is never ambiguous
    assert [run.name for run in ledger.runs()] == ["20260102-1", "20260101-10", "20260101-1"]
    for ambiguous in ("2026", "20260101"):
        with pytest.raises(UsageError, match=f"several runs begin with '{ambiguous}'; `buildrunner history`"):
            ledger.run(ambiguous)
    for unknown in ("2027", "20260101-1x", "%", "_", "", "\udcff"):
        with pytest.raises(UsageError, match="no run is called"):
            ledger.run(unknown)


def test_the_newest_run_of_a_target(ledger: Ledger) -> None:
    assert ledger.newest("/src") is None
    for name, key in (("r1", "/src"), ("r2", "/elsewhere"), ("r3", "/src"), ("r4", "/else\udcff")):
        add_run(ledger, "a", name=name, key=key)
    for key, name in (("/src", "r3"), ("/elsewhere", "r2"), ("/else\udcff", "r4")):
        newest = ledger.newest(key)
        assert newest
        assert newest.name == name
    assert ledger.newest("/nowhere") is None


# Attempts and receipts


def test_a_receipt_decides_its_job(ledger: Ledger) -> None:
    run = add_run(ledger, "a", "b")
    id_ = start(ledger, run, "a", "id-1", worker=1)
    assert row(ledger, run).state is JobState.RUNNING
    assert ledger.running(run) == {"id-1": "a"}
    assert ledger.running_jobs(run) == [("a", 1)]
    full = receipt(
        "id-1", outcome=Outcome.EXITED, exit_code=3, worker=1, cpu_seconds=1.5, max_rss_bytes=4096, error="e",
        outputs=(OutputFile(path="x\udcff", size=3, sha256="ab"),), skipped_outputs=("pipe\udcfe",),
    )  # fmt: skip
    assert record(ledger, id_, full, JobState.FAILED) is True
    got = row(ledger, run)
    assert (got.state, got.attempts, got.lost, got.worker) == (JobState.FAILED, 1, 0, 1)
    assert (got.outcome, got.exit_code, got.signal, got.error) == (Outcome.EXITED, 3, None, "e")
    assert (got.started, got.seconds, got.total_seconds, got.cpu_seconds) == (1.0, 2.0, 2.0, 1.5)
    assert (got.max_rss_bytes, got.mode, got.script_sha256) == (4096, "cold", "ab" * 32)
    assert (got.outputs, got.skipped_outputs) == (full.outputs, full.skipped_outputs)
    assert ledger.running(run) == {}
    assert ledger.counts(run) == {JobState.FAILED: 1, JobState.WAITING: 1}
    assert ledger.last_end(run) == 3.0
    assert ledger.busy(run) == [(0, 0.0), (1, 2.0)]
    assert ledger.db.execute("SELECT checksum FROM receipts").fetchall() == [(full.checksum(),)]


def test_a_receipt_of_an_attempt_that_is_not_current_changes_nothing(ledger: Ledger) -> None:
    run = add_run(ledger, "a")
    start(ledger, run, "a", "id-1")
    id_ = start(ledger, run, "a", "id-2", number=2)
    before = row(ledger, run)
    assert record(ledger, id_, receipt("id-1", seconds=50.0), JobState.PASSED) is False
    assert row(ledger, run) == before
    assert ledger.running(run) == {"id-2": "a"}
    kept = ledger.db.execute("SELECT attempt, superseded FROM receipts").fetchall()
    assert kept == [("id-1", 1)]
    assert record(ledger, id_, receipt("id-2", number=2), JobState.PASSED) is True
    after = row(ledger, run)
    assert (after.state, after.seconds, after.total_seconds) == (JobState.PASSED, 2.0, 2.0)
    assert ledger.busy(run)[0] == (0, 2.0)


def test_a_receipt_for_a_job_that_is_decided_changes_nothing(ledger: Ledger) -> None:
    run = add_run(ledger, "a")
    id_ = start(ledger, run, "a", "id-1")
    record(ledger, id_, receipt("id-1"), JobState.PASSED)
    before = row(ledger, run)
    assert record(ledger, id_, receipt("id-0", outcome=Outcome.EXITED, exit_code=1), JobState.FAILED) is False
    assert row(ledger, run) == before


def test_the_same_receipt_twice_is_the_same_as_once(ledger: Ledger) -> None:
    run = add_run(ledger, "a")
    id_ = start(ledger, run, "a", "id-1")
    assert record(ledger, id_, receipt("id-1", outcome=Outcome.LOST), JobState.READY, lost=1) is True
    before = (row(ledger, run), ledger.db.execute("SELECT * FROM receipts").fetchall())
    assert record(ledger, id_, receipt("id-1", outcome=Outcome.LOST), JobState.READY, lost=1) is False
    assert (row(ledger, run), ledger.db.execute("SELECT * FROM receipts").fetchall()) == before
    assert before[0].lost == 1


def test_a_receipt_whose_error_names_a_file_that_is_not_utf8(ledger: Ledger) -> None:
    run = add_run(ledger, "a")
    id_ = start(ledger, run, "a", "id-1")
    r = receipt("id-1", outcome=Outcome.SPAWN_ERROR, exit_code=None, error="cannot start ./\udcff: Exec format error")
    assert record(ledger, id_, r, JobState.FAILED) is True
    error = row(ledger, run).error
    assert error is not None
    assert error.startswith("cannot start ./")


def test_a_reason_to_skip_that_names_a_job_that_is_not_utf8(ledger: Ledger) -> None:
    run = add_run(ledger, "a", "\udcff")
    with ledger.transaction():
        ledger.set_states([ledger.job_ids(run)["a"]], JobState.SKIPPED, "not started: \udcff did not pass")
    assert row(ledger, run).state is JobState.SKIPPED


def test_an_attempt_given_back_counts_nowhere(ledger: Ledger) -> None:
    run = add_run(ledger, "a")
    before = row(ledger, run)
    id_ = start(ledger, run, "a", "id-1")
    with ledger.transaction():
        ledger.give_back(id_, "id-1")
    assert row(ledger, run) == replace(before, state=JobState.READY)
    assert ledger.db.execute("SELECT count(*) FROM attempts").fetchone() == (0,)


def test_giving_back_a_second_attempt_leaves_the_first_one_to_see(ledger: Ledger) -> None:
    run = add_run(ledger, "a")
    id_ = start(ledger, run, "a", "id-1")
    record(ledger, id_, receipt("id-1", outcome=Outcome.EXITED, exit_code=7), JobState.READY)
    before = row(ledger, run)
    assert (before.exit_code, before.attempts) == (7, 1)
    start(ledger, run, "a", "id-2", number=2)
    with ledger.transaction():
        ledger.give_back(id_, "id-2")
    assert row(ledger, run) == before


def test_giving_back_what_is_not_current_leaves_the_job_alone(ledger: Ledger) -> None:
    run = add_run(ledger, "a")
    id_ = start(ledger, run, "a", "id-1")
    record(ledger, id_, receipt("id-1"), JobState.PASSED)
    before = row(ledger, run)
    with ledger.transaction():
        ledger.give_back(id_, "id-0")
    assert row(ledger, run) == before


def test_seconds_of_all_attempts_are_added_up(ledger: Ledger) -> None:
    run = add_run(ledger, "a", "b")
    for number in (1, 2, 3):
        id_ = start(ledger, run, "a", f"id-{number}", number=number)
        state = JobState.PASSED if number == 3 else JobState.READY
        record(ledger, id_, receipt(f"id-{number}", seconds=float(number)), state)
    got = row(ledger, run)
    assert (got.seconds, got.total_seconds, got.attempts) == (3.0, 6.0, 3)
    assert {name: total for name, _, total in ledger.totals_by_job(run)} == {"a": 6.0, "b": 0.0}


def test_states_are_set_but_never_of_a_running_job(ledger: Ledger) -> None:
    run = add_run(ledger, "a", "b", "c")
    start(ledger, run, "a", "id-1")
    ids = ledger.job_ids(run)
    with ledger.transaction():
        ledger.set_states([ids["a"], ids["b"]], JobState.SKIPPED, "because")
    states = {r.name: (r.state, r.error) for r in ledger.results(run)}
    assert states == {
        "a": (JobState.RUNNING, None), "b": (JobState.SKIPPED, "because"), "c": (JobState.WAITING, None)
    }  # fmt: skip


def test_an_impossible_state_is_refused_by_the_database(ledger: Ledger) -> None:
    add_run(ledger, "a")
    with pytest.raises(LedgerError), ledger.transaction():
        ledger.db.execute("UPDATE jobs SET state = 'lost'")


# Durations


def test_durations_are_the_median_of_the_last_runs_of_the_same_thing(ledger: Ledger) -> None:
    for number, seconds in enumerate((1000.0, 9.0, 1.0, 2.0, 3.0, 100.0)):
        run = add_run(ledger, "a", "b", name=f"r{number}")
        ran(ledger, run, "a", seconds)
    other = add_run(ledger, "a", name="other-args", args=("-x",))
    ran(ledger, other, "a", 50.0)
    elsewhere = add_run(ledger, "a", name="elsewhere", key="/elsewhere")
    ran(ledger, elsewhere, "a", 70.0)
    assert ledger.durations("/src", ()) == {"a": 3.0}  # of 9, 1, 2, 3, 100: the first run is too long ago
    assert ledger.durations("/src", ("-x",)) == {"a": 50.0}
    assert ledger.durations("/elsewhere", ()) == {"a": 70.0}
    assert ledger.durations("/src", ("-y",)) == {}
    assert ledger.durations("/nowhere", ()) == {}


def test_only_attempts_that_ran_until_their_own_end_or_limit_tell_a_duration(ledger: Ledger) -> None:
    run = add_run(ledger, *(str(outcome) for outcome in Outcome))
    for outcome in Outcome:
        ran(ledger, run, str(outcome), 5.0, outcome)
    # One that times out will take its whole time again, so it must start early.
    assert set(ledger.durations("/src", ())) == {"ok", "exited", "signalled", "timed_out", "out_of_memory"}


# Transactions


def test_what_fails_in_the_middle_leaves_nothing(ledger: Ledger) -> None:
    run = add_run(ledger, "a", "b")
    before = list(ledger.results(run))
    ids = ledger.job_ids(run)
    with pytest.raises(ZeroDivisionError), ledger.transaction():
        ledger.start(ids["a"], Attempt(id="id-1", job="a", number=1, worker=0), None)
        1 / 0  # noqa: B018
    assert list(ledger.results(run)) == before
    assert not ledger.db.in_transaction
    with pytest.raises(LedgerError), ledger.transaction():
        ledger.start(ids["a"], Attempt(id="id-1", job="a", number=1, worker=0), None)
        ledger.start(ids["b"], Attempt(id="id-1", job="b", number=1, worker=0), None)
    assert list(ledger.results(run)) == before


def test_readers_see_the_state_before_an_open_transaction(ledger: Ledger, state: Path) -> None:
    run = add_run(ledger, "a")
    reader = Reader.open(state)
    try:
        before = row(reader, run)
        with ledger.transaction():
            ledger.start(ledger.job_ids(run)["a"], Attempt(id="id-1", job="a", number=1, worker=0), None)
            assert row(reader, run) == before
        assert row(reader, run).state is JobState.RUNNING
        with pytest.raises(sqlite3.OperationalError):
            reader.db.execute("DELETE FROM runs")
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
    said, _ = other().communicate(timeout=60)
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
    holder.communicate(timeout=60)
    assert not reader.alive()
    reader.close()


def test_a_killed_process_holds_nothing(other: Callable[[], Any], state: Path) -> None:
    holder = other()
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGKILL)
    holder.wait(timeout=60)
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
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root may mount a small disk")
    command = [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Use up every byte of a disk; returns the file that does."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return filler


def test_a_full_disk_stops_with_a_remedy_and_loses_nothing(small_disk: Path) -> None:
    state = small_disk / "state"
    with Ledger(state, purpose="a test") as ledger:
        run = add_run(ledger, "a", "b")
        ran(ledger, run, "a", 1.0)
        before = list(ledger.results(run))
        filler = fill(small_disk)
        with pytest.raises(LedgerError, match=r"cannot be written: .*full.* make room, then `buildrunner resume`"):
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
