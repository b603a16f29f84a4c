"""What is compared when a run is carried on, and what follows for jobs that come after others."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from buildrunner.changes import compare, noted, revised
from buildrunner.config import IfChanged, Options
from buildrunner.job import Attempt, JobSpec, JobState, Outcome
from buildrunner.ledger import Ledger, Noted, RunRow, store
from buildrunner.ledger.check import check
from buildrunner.sources import Sources
from tests.contract.ledgers import add_run, receipt, record, row


class Recorded:
    """A run of scripts in a folder, each with an attempt and a receipt."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.folder, self.ledger = folder, ledger
        self.run: RunRow

    def begin(self, *specs: JobSpec) -> None:
        for spec in specs:
            (self.folder / spec.name).write_text("pass")
        self.run = add_run(self.ledger, *specs, options={"workers": 1, "directory": str(self.folder)})

    def end(self, job: str, outcome: Outcome = Outcome.OK, number: int = 1, lost: int = 0) -> None:
        attempt = f"{number}-{job}"
        id_ = self.ledger.job_ids(self.run)[job]
        with self.ledger.transaction():
            self.ledger.start(id_, Attempt(id=attempt, job=job, number=number, worker=0), *self.sources.of(job))
        state = JobState.PASSED if outcome is Outcome.OK else JobState.FAILED
        record(self.ledger, id_, receipt(attempt, job, outcome, number=number), state, lost=lost)

    def skip(self, *jobs: str) -> None:
        ids = self.ledger.job_ids(self.run)
        with self.ledger.transaction():
            self.ledger.set_states([ids[job] for job in jobs], JobState.SKIPPED, "not started")

    @property
    def sources(self) -> Sources:
        return Sources(str(self.folder))

    def compare(self, decision: IfChanged = IfChanged.RERUN, **options: Any) -> Any:
        return compare(self.ledger, self.run, Options(targets=("src",), if_changed=decision, **options))


@pytest.fixture
def recorded(tmp_path: Path, ledger: Ledger) -> Recorded:
    (tmp_path / "src").mkdir()
    return Recorded(tmp_path / "src", ledger)


def spec(name: str, *after: str) -> JobSpec:
    return JobSpec(name=name, script=name, after=after)


def test_what_comes_after_what_changed_is_run_with_it(recorded: Recorded) -> None:
    recorded.begin(spec("a"), spec("b", "a"), spec("c", "b"), spec("x"), spec("y", "x"), spec("open", "c"))
    for job in ("a", "b", "c", "x", "y"):
        recorded.end(job)
    (recorded.folder / "a").write_text("changed")
    changes = recorded.compare()
    assert changes.found == {"a": "it changed"}
    assert changes.again == {"a": "it changed", "b": "it comes after a", "c": "it comes after b"}
    assert changes.notices() == (
        "1 script has changed since it ran: a; it is run again",
        "run again because of that: b (it comes after a), c (it comes after b)",
    )  # fmt: skip
    assert recorded.compare(IfChanged.KEEP).again == {}


def test_what_was_skipped_for_its_sake_has_its_turn(recorded: Recorded) -> None:
    recorded.begin(spec("a"), spec("b", "a"), spec("c", "b"), spec("f"), spec("g", "f"))
    recorded.end("a", Outcome.EXITED)
    recorded.end("f", Outcome.EXITED)
    recorded.skip("b", "c", "g")
    (recorded.folder / "a").write_text("mended")
    assert set(recorded.compare().again) == {"a", "b", "c"}


def test_what_was_skipped_after_too_many_failures_has_its_turn(recorded: Recorded) -> None:
    recorded.begin(spec("a"), spec("b"), spec("c", "b"), spec("d"))
    recorded.end("a", Outcome.EXITED)
    recorded.end("b", Outcome.EXITED)
    recorded.skip("c", "d")
    (recorded.folder / "a").write_text("mended")
    assert set(recorded.compare(max_fail=2).again) == {"a", "d"}
    assert set(recorded.compare(max_fail=1).again) == {"a"}


def test_modules_nobody_looked_at_are_no_change(recorded: Recorded) -> None:
    recorded.begin(spec("s.py"))
    (recorded.folder / "s.py").write_text("import util")
    recorded.end("s.py")
    (recorded.folder / "util.py").write_text("")
    assert recorded.compare().found == {"s.py": "its module util.py is new"}
    recorded.ledger.db.execute("UPDATE attempts SET modules = 'null'")
    assert recorded.compare().found == {}


def test_what_could_not_be_read_then_can_be_now(recorded: Recorded) -> None:
    recorded.begin(spec("a"))
    (recorded.folder / "a").unlink()
    recorded.end("a", Outcome.EXITED)
    assert recorded.compare().found == {}
    assert recorded.compare().gone == []
    (recorded.folder / "a").write_text("")
    assert recorded.compare().found == {"a": "it could not be read before"}


def test_losses_and_failures_before_a_change_do_not_count(recorded: Recorded) -> None:
    recorded.begin(spec("a"))
    recorded.end("a", Outcome.LOST, lost=1)
    recorded.end("a", Outcome.EXITED, number=2)
    before = row(recorded.ledger, recorded.run)
    with recorded.ledger.transaction():
        recorded.ledger.take_up(recorded.run, [before.id])
    assert (recorded.ledger.losses(recorded.run), recorded.ledger.spent(recorded.run)) == ({"a": 1}, {"a": 1})
    with recorded.ledger.transaction():
        recorded.ledger.note(before.id, noted(before, "it changed", IfChanged.RERUN))
    assert (recorded.ledger.losses(recorded.run), recorded.ledger.spent(recorded.run)) == ({}, {})
    assert row(recorded.ledger, recorded.run).noted == (Noted("2-a", "rerun", "it changed"),)


def test_a_passed_job_may_wait_again_only_when_that_is_noted(recorded: Recorded) -> None:
    recorded.begin(spec("a"))
    recorded.end("a")
    before = row(recorded.ledger, recorded.run)
    with recorded.ledger.transaction():
        recorded.ledger.take_up(recorded.run, [before.id])

    def problems() -> list[str]:
        return [
            p.text for p in check(recorded.ledger.state).problems if "ended ok" in p.text or "tried again" in p.text
        ]

    assert problems() == ["it is 'waiting', but its current attempt ended ok"]
    with recorded.ledger.transaction():
        recorded.ledger.note(before.id, noted(before, "it changed", IfChanged.RERUN))
    assert problems() == []
    recorded.end("a", number=2)
    assert problems() == []
    recorded.ledger.db.execute("UPDATE jobs SET changed = NULL")
    assert problems() == ["it passed, and was tried again"]


def test_a_result_that_is_looked_at_once_more_is_noted_once(recorded: Recorded) -> None:
    recorded.begin(spec("a"))
    recorded.end("a")
    now = row(recorded.ledger, recorded.run)
    with recorded.ledger.transaction():
        recorded.ledger.note(now.id, noted(now, "it changed", IfChanged.KEEP))
    now = row(recorded.ledger, recorded.run)
    assert now.outdated == "it changed"
    assert noted(now, "more changed", IfChanged.KEEP) == (Noted("1-a", "keep", "more changed"),)
    assert noted(now, None, IfChanged.RERUN) == ()  # it is as it was, after all


def test_a_changed_first_line_names_another_program(recorded: Recorded) -> None:
    recorded.begin(JobSpec(name="a", script="a", command=("/bin/sh",)))
    (recorded.folder / "a").write_text("#!/bin/bash -e\n")
    before = JobSpec(name="a", script="a", command=("/bin/sh",))
    assert revised(before, recorded.run, ("x",), changed=True).command == ("/bin/bash", "-e")
    assert revised(before, recorded.run, ("x",), changed=False) == JobSpec(
        name="a", script="a", command=("/bin/sh",), args=("x",)
    )


def test_of_runs_that_go_on_the_migration_says_that_nobody_looked_at_modules(state: Path) -> None:
    state.mkdir()
    db = sqlite3.connect(state / "ledger.db")
    db.executescript("".join(store._migrations()[:2]) + "PRAGMA user_version = 2;")
    for run, last in ((1, "passed"), (2, "waiting")):
        db.execute(
            "INSERT INTO runs (id, name, state, target, key, args, options, jobs, python, started) "
            "VALUES (?, ?, 'interrupted', 'src', 'src', '[]', '{}', 1, 'python', 1.0)",
            (run, f"run-{run}"),
        )
        for job, job_state in ((f"a-{run}", "passed"), (f"b-{run}", last)):
            values = (run, job, job, job_state, job)
            db.execute("INSERT INTO jobs (run, name, file, spec, state, attempt) VALUES (?, ?, ?, '{}', ?, ?)", values)
            db.execute("INSERT INTO attempts VALUES (?, (SELECT max(id) FROM jobs), 1, 0, NULL)", (job,))
    db.commit()
    db.close()
    with Ledger(state, purpose="a test") as ledger:
        rows = {row.name: row.modules for name in ("run-1", "run-2") for row in ledger.results(ledger.run(name))}
    assert rows == {"a-1": {}, "b-1": {}, "a-2": None, "b-2": None}
