"""What the ledger holds: what is recorded stays, what comes too late changes nothing."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from buildrunner.errors import LedgerError, UsageError
from buildrunner.job import Attempt, Cwd, JobSpec, JobState, Outcome
from buildrunner.ledger import Ledger, Reader, figures, spec_from_json
from buildrunner.plan import medians
from buildrunner.receipt import OutputFile
from tests.contract.ledgers import add_run, ran, receipt, record, row, start

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
    assert (run.finished, run.wall, run.session, run.exit_code) == (None, 0.0, run.started, None)
    assert run.archive is None
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
    assert medians(ledger.past_seconds("/src", ())) == {name: n + 1.0 for n, name in enumerate(ODD)}
    assert ledger.script_seconds(run) == (sum(range(1, len(ODD) + 1)), len(ODD))


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
    assert ledger.at_work(run) == {"a": 1}
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
    for attempt in ("id-0", "id-1"):
        late = receipt(attempt, outcome=Outcome.EXITED, exit_code=1)
        assert record(ledger, id_, late, JobState.FAILED, lost=1) is False
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


def test_giving_back_an_earlier_attempt_leaves_the_one_that_runs_alone(ledger: Ledger) -> None:
    run = add_run(ledger, "a")
    id_ = start(ledger, run, "a", "id-1")
    record(ledger, id_, receipt("id-1", outcome=Outcome.LOST), JobState.READY, lost=1)
    start(ledger, run, "a", "id-2", number=2)
    before = row(ledger, run)
    with ledger.transaction():
        ledger.give_back(id_, "id-1")
    assert row(ledger, run) == before
    assert ledger.running(run) == {"id-2": "a"}


def test_seconds_of_all_attempts_are_added_up(ledger: Ledger) -> None:
    run = add_run(ledger, "a", "b")
    for number in (1, 2, 3):
        id_ = start(ledger, run, "a", f"id-{number}", number=number)
        state = JobState.PASSED if number == 3 else JobState.READY
        record(ledger, id_, receipt(f"id-{number}", seconds=float(number)), state)
    got = row(ledger, run)
    assert (got.seconds, got.total_seconds, got.attempts) == (3.0, 6.0, 3)
    assert ledger.script_seconds(run) == (6.0, 6.0)


def test_what_a_run_comes_to_is_kept_until_it_goes_on(ledger: Ledger) -> None:
    run = add_run(ledger, "a", "b")
    ran(ledger, run, "a", 2.0)

    def told() -> object:
        return ledger.counts(run), ledger.script_seconds(run), ledger.busy(run)

    counted = told()
    ledger.sum_up(run)
    assert told() == counted
    ledger.db.execute("UPDATE receipts SET seconds = 5")  # as nothing of ours does: so what was kept shows
    ledger.db.execute("UPDATE jobs SET state = 'skipped'")
    assert told() == counted
    assert list(figures.wrong(ledger.db)) == [
        (run.name, "what is kept of what it came to is not what its jobs and receipts say")
    ]
    with ledger.transaction():
        ledger.take_up(run, [])
    assert ledger.counts(run) == {JobState.SKIPPED: 2}
    assert ledger.script_seconds(run) == (5.0, 5.0)


def test_of_a_forgotten_run_no_figures_stay(ledger: Ledger) -> None:
    for name in ("old", "new"):
        ledger.sum_up(add_run(ledger, "a", name=name))
    ledger.forget(1)
    assert ledger.db.execute("SELECT count(*) FROM figures").fetchone() == (1,)
    assert list(figures.wrong(ledger.db)) == []


def test_kept_figures_that_cannot_be_read_are_told(ledger: Ledger) -> None:
    run = add_run(ledger, "a")
    ledger.sum_up(run)
    for text in ("", "[]", '{"states": {"gone": 1}, "seconds": 1, "longest": 1, "busy": {}}'):
        ledger.db.execute("UPDATE figures SET figures = ?", (text,))
        with pytest.raises(LedgerError, match=r"figures .* damaged.*ledger check"):
            ledger.counts(run)
        assert list(figures.wrong(ledger.db)) == [(run.name, "what it came to cannot be read")]


def test_the_longest_chain_is_that_of_jobs_that_come_after_one_another(ledger: Ledger) -> None:
    specs = [JobSpec(name="a"), JobSpec(name="b", after=("a",)), JobSpec(name="c"), JobSpec(name="d")]
    run = ledger.add_run(
        name="chained", target="src", key="/src", args=(), options={"workers": 1}, jobs=1, python="python", started=1.0,
        specs=[(spec, spec.name) for spec in specs],
    )  # fmt: skip
    for name, seconds in (("a", 2.0), ("b", 3.0), ("c", 4.0)):
        ran(ledger, run, name, seconds)
    assert ledger.script_seconds(run) == (9.0, 5.0)


def test_the_slowest_are_found_failures_first(ledger: Ledger) -> None:
    run = add_run(ledger, *"abcdef")
    for name, seconds in (("a", 1.0), ("b", 3.0), ("c", 2.0), ("d", 3.0), ("e", 0.5)):
        ran(ledger, run, name, seconds)
    ledger.db.execute("UPDATE jobs SET state = 'failed' WHERE name = 'e'")
    found = [[row.name for row in ledger.slowest(run, number)] for number in (1, 2, 3, 6)]
    assert found == [["e"], ["b", "e"], ["b", "d", "e"], list("abcdef")]
    assert [row.name for row in ledger.failures(run)] == ["e"]


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


def test_only_what_the_script_did_itself_spends_retries(ledger: Ledger) -> None:
    run = add_run(ledger, "a", "b")
    for number, outcome in enumerate((Outcome.EXITED, Outcome.LOST, Outcome.CANCELLED, Outcome.TIMED_OUT), start=1):
        id_ = start(ledger, run, "a", f"id-{number}", number)
        record(ledger, id_, receipt(f"id-{number}", outcome=outcome, number=number), JobState.READY)
    late = start(ledger, run, "a", "id-5", 5)
    assert not record(ledger, late, receipt("id-0", outcome=Outcome.EXITED), JobState.FAILED)
    assert ledger.spent(run) == {"a": 2}


# Durations


def test_durations_are_the_median_of_the_last_runs_of_the_same_thing(ledger: Ledger) -> None:
    for number, seconds in enumerate((1000.0, 9.0, 1.0, 2.0, 3.0, 100.0)):
        run = add_run(ledger, "a", "b", name=f"r{number}")
        ran(ledger, run, "a", seconds)
    other = add_run(ledger, "a", name="other-args", args=("-x",))
    ran(ledger, other, "a", 50.0)
    elsewhere = add_run(ledger, "a", name="elsewhere", key="/elsewhere")
    ran(ledger, elsewhere, "a", 70.0)
    assert medians(ledger.past_seconds("/src", ())) == {"a": 3.0}  # of 9, 1, 2, 3, 100: the first run is too long ago
    assert medians(ledger.past_seconds("/src", ("-x",))) == {"a": 50.0}
    assert medians(ledger.past_seconds("/elsewhere", ())) == {"a": 70.0}
    assert medians(ledger.past_seconds("/src", ("-y",))) == {}
    assert medians(ledger.past_seconds("/nowhere", ())) == {}


def test_only_attempts_that_ran_until_their_own_end_or_limit_tell_a_duration(ledger: Ledger) -> None:
    run = add_run(ledger, *(str(outcome) for outcome in Outcome))
    for outcome in Outcome:
        ran(ledger, run, str(outcome), 5.0, outcome)
    # One that times out will take its whole time again, so it must start early.
    assert set(medians(ledger.past_seconds("/src", ()))) == {"ok", "exited", "signalled", "timed_out", "out_of_memory"}


def repeated(ledger: Ledger, times: int, *names: str) -> None:
    for number in range(times):
        run = add_run(ledger, *names, name=f"again-{number}-{names[0]}")
        for name in names:
            ran(ledger, run, name, 50.0)


@pytest.mark.parametrize("many", [False, True], ids=["looked up", "all read"])
def test_runs_of_a_few_jobs_do_not_make_the_others_forgotten(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    if many:
        monkeypatch.setattr("buildrunner.ledger.reader._LOOKED_UP", 0)
    names = ["a", "b", "\udcff"]
    for number in range(3):
        run = add_run(ledger, *names, "gone", name=f"whole-{number}")
        for name in (*names, "gone"):
            ran(ledger, run, name, float(number))
    repeated(ledger, 5, "a")
    known = {"a": [50.0] * 5, "b": [2.0, 1.0, 0.0], "\udcff": [2.0, 1.0, 0.0]}
    assert ledger.past_seconds("/src", (), names=names) == known
    assert ledger.past_seconds("/src", ()) == known | {"gone": [2.0, 1.0, 0.0]}
    assert ledger.past_seconds("/src", (), names=["b"], until=2) == {"b": [1.0, 0.0]}
    assert ledger.past_seconds("/src", (), names=[]) == {}


def test_no_more_runs_are_looked_through_than_needed(ledger: Ledger) -> None:
    repeated(ledger, 8, "a", "b")
    asked: list[str] = []
    ledger.db.set_trace_callback(asked.append)
    ledger.past_seconds("/src", (), names=["a", "b"])
    ledger.db.set_trace_callback(None)
    assert len([sql for sql in asked if "receipts" in sql]) == 5


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


def test_a_question_left_half_read_when_the_ledger_is_closed_complains_of_nothing(ledger: Ledger, state: Path) -> None:
    run = add_run(ledger, "a", "b")
    reader = Reader.open(state)
    rows = reader.results(run)
    assert next(rows).name == "a"
    reader.close()
    rows.close()  # type: ignore[attr-defined]  # as when nobody holds it any more
