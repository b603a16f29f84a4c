"""The ledger against a model of it in plain Python: any sequence of what a server does, with crashes in between.

After every step all that the ledger says, read beside the writer, is what the model says; at the end it is sound.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from buildrunner.errors import LedgerBusy
from buildrunner.job import FINAL_STATES, UNSPENT, Attempt, JobSpec, JobState, Outcome
from buildrunner.ledger import Ledger, Reader, RunRow, lock
from buildrunner.ledger.check import check
from buildrunner.naming import file_name
from buildrunner.receipt import OutputFile, Receipt

SEED = int(os.environ.get("MODEL_SEED", "20260101"))
SEQUENCES = int(os.environ.get("MODEL_SEQUENCES", "10000"))
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
NAMES = ("a.py", "\udcff.py", "sub/c d.py")
NOT_PASSED = tuple(outcome for outcome in Outcome if outcome is not Outcome.OK)


@dataclass
class Job:
    """What is known of a job: `tries` are its attempts' ids in order, `kept` all receipts and whether they count."""

    id: int
    name: str
    state: JobState = JobState.WAITING
    tries: list[str] = field(default_factory=list)
    kept: dict[str, tuple[Receipt, bool]] = field(default_factory=dict)
    taken_back: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def current(self) -> str | None:
        return self.tries[-1] if self.tries else None

    @property
    def counting(self) -> list[Receipt]:
        return [receipt for receipt, counts in self.kept.values() if counts]


@dataclass
class Run:
    row: RunRow
    jobs: list[Job]


def receipts(job: Job, attempt: str, number: int, outcome: Outcome) -> st.SearchStrategy[Receipt]:
    """Any receipt an attempt may have."""
    seconds = st.floats(min_value=0, max_value=1e6)
    code, size = st.none() | st.integers(0, 255), st.none() | st.integers(1, 1 << 60)
    outputs = st.lists(
        st.builds(OutputFile, path=st.sampled_from(("x", "y\udcfe", "d/z")), size=st.integers(0, 1 << 50),
                  sha256=st.just("ab" * 32)),
        max_size=2,
    )  # fmt: skip
    return st.builds(
        Receipt, attempt=st.just(attempt), job=st.just(job.name), number=st.just(number), worker=st.just(number % 3),
        mode=st.just("cold"), outcome=st.just(outcome), exit_code=code, signal=st.none(),
        started=st.none() | seconds, seconds=seconds, cpu_seconds=seconds, max_rss_bytes=size,
        outputs=outputs.map(tuple), skipped_outputs=st.sampled_from(((), ("pipe\udcff",))),
        error=st.sampled_from((None, "why", "why\udcff")),
    )  # fmt: skip


class LedgerMachine(RuleBasedStateMachine):
    """A server's dealings with its ledger."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="model-", dir=MEMORY))
        self.numbers = count(1)
        self.runs: list[Run] = []

    @initialize()
    def begin(self) -> None:
        self.state = self.folder / "state-0"
        self.ledger = Ledger(self.state, purpose="a test")
        self.reader = Reader.open(self.state)

    def teardown(self) -> None:
        try:
            if hasattr(self, "reader"):
                self.reader.close()
                self.ledger.close()
                assert check(self.state).problems == ()
        finally:
            shutil.rmtree(self.folder)

    def jobs(self, wanted: Callable[[Job], bool]) -> list[Job]:
        """The jobs of runs that go on."""
        return [job for run in self.runs if run.row.state == "running" for job in run.jobs if wanted(job)]

    def choose(self, data: st.DataObject, wanted: Callable[[Job], bool]) -> Job | None:
        found = self.jobs(wanted)
        return data.draw(st.sampled_from(found)) if found else None

    # what a server does

    @rule(number=st.integers(1, len(NAMES)))
    def add_run(self, number: int) -> None:
        name = f"run-{next(self.numbers)}"
        specs = [(JobSpec(name=n, retries=2), file_name(n)) for n in NAMES[:number]]
        row = self.ledger.add_run(
            name=name, target="t\udcff", key="/t", args=("-x",), options={"workers": 2}, jobs=2, python="p",
            started=float(number), specs=specs,
        )  # fmt: skip
        ids = self.ledger.job_ids(row)
        self.runs.append(Run(row, [Job(ids[spec.name], spec.name) for spec, _ in specs]))

    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        if job := self.choose(data, lambda j: j.state in (JobState.WAITING, JobState.READY)):
            attempt, number = f"attempt-{next(self.numbers):06}", len(job.tries) + 1
            with self.ledger.transaction():
                self.ledger.start(job.id, Attempt(id=attempt, job=job.name, number=number, worker=number % 3), None)
            job.tries.append(attempt)
            job.state = JobState.RUNNING

    @rule(data=st.data(), outcome=st.sampled_from((Outcome.OK, Outcome.OK, *NOT_PASSED)), again=st.booleans())
    def record(self, data: st.DataObject, outcome: Outcome, again: bool) -> None:
        if job := self.choose(data, lambda j: j.state is JobState.RUNNING):
            assert job.current
            receipt = data.draw(receipts(job, job.current, len(job.tries), outcome))
            state = JobState.PASSED if receipt.passed else JobState.READY if again else JobState.FAILED
            if outcome is Outcome.CANCELLED and not again:
                state = JobState.CANCELLED
            with self.ledger.transaction():
                assert self.ledger.record(job.id, receipt, state, lost=int(outcome is Outcome.LOST))
            job.kept[job.current] = receipt, True
            job.state = state

    @rule(data=st.data())
    def record_once_more(self, data: st.DataObject) -> None:
        """A receipt that is here already, or another of the same attempt, changes nothing."""
        if job := self.choose(data, lambda j: bool(j.kept)):
            attempt = data.draw(st.sampled_from(sorted(job.kept)))
            number = job.kept[attempt][0].number
            late = data.draw(receipts(job, attempt, number, Outcome.OK))
            if job.state is not JobState.RUNNING or job.current != attempt:
                with self.ledger.transaction():
                    assert not self.ledger.record(job.id, late, JobState.PASSED)

    @rule(data=st.data(), outcome=st.sampled_from(tuple(Outcome)))
    def record_late(self, data: st.DataObject, outcome: Outcome) -> None:
        """Of an attempt that was taken back: kept, and it changes nothing."""
        if job := self.choose(data, lambda j: bool(j.taken_back)):
            attempt = data.draw(st.sampled_from(job.taken_back))
            late = data.draw(receipts(job, attempt, 1, outcome))
            with self.ledger.transaction():
                assert not self.ledger.record(job.id, late, JobState.PASSED)
            job.kept.setdefault(attempt, (late, False))

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        if job := self.choose(data, lambda j: j.state is JobState.RUNNING):
            attempt = job.tries.pop()
            with self.ledger.transaction():
                self.ledger.give_back(job.id, attempt)
            job.taken_back.append(attempt)
            job.state = JobState.READY

    @rule(data=st.data(), state=st.sampled_from((JobState.SKIPPED, JobState.CANCELLED, JobState.WAITING)))
    def set_states(self, data: st.DataObject, state: JobState) -> None:
        """Also of one that runs, which stays as it is."""
        found = self.jobs(lambda j: j.state in (JobState.WAITING, JobState.READY, JobState.CANCELLED, JobState.RUNNING))
        chosen = data.draw(st.lists(st.sampled_from(found), max_size=3)) if found else []
        error = data.draw(st.sampled_from((None, "because\udcfe")))
        with self.ledger.transaction():
            self.ledger.set_states([job.id for job in chosen], state, error)
        for job in chosen:
            if job.state is not JobState.RUNNING:
                job.state, job.error = state, error

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        going = [run for run in self.runs if run.row.state == "running"]
        over = [run for run in going if all(job.state in FINAL_STATES for job in run.jobs)]
        if over:
            run = data.draw(st.sampled_from(over))
            code = int(any(job.state is not JobState.PASSED for job in run.jobs))
            archive = data.draw(st.sampled_from((None, {"path": "z.zip", "files": 3})))
            run.row = self.ledger.set_run(
                run.row, state="finished", finished=5.0, wall=2.5, session=None, exit_code=code, archive=archive
            )
            assert (run.row.state, run.row.archive, run.row.wall) == ("finished", archive, 2.5)

    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        if broken := [run for run in self.runs if run.row.state == "interrupted"]:
            run = data.draw(st.sampled_from(broken))
            run.row = self.ledger.set_run(run.row, state="running", finished=None, wall=1.5, session=3.0)

    @rule(keep=st.integers(1, 3), spare=st.booleans())
    def forget(self, keep: int, spare: bool) -> None:
        def spared(run: RunRow) -> bool:
            return run.state == "running" or (spare and run.state == "interrupted")

        self.ledger.forget(keep, spare=spared)
        newest = self.runs[-keep:]
        self.runs = [run for run in self.runs if run in newest or spared(run.row)]

    def fails(self) -> None:
        with self.ledger.transaction():
            if self.runs:
                self.ledger.set_states([job.id for job in self.runs[-1].jobs], JobState.CANCELLED, "not to be")
            raise ArithmeticError

    @rule()
    def roll_back(self) -> None:
        """What fails inside leaves nothing of it."""
        with pytest.raises(ArithmeticError):
            self.fails()

    # its ends

    def opened(self) -> None:
        """The server's end ends its runs."""
        self.ledger = Ledger(self.state, purpose="a test")
        self.reader = Reader.open(self.state)
        for run in self.runs:
            if run.row.state == "running":
                run.row = self.ledger.run(run.row.name)
                assert run.row.state == "interrupted"

    @rule()
    def reopen(self) -> None:
        self.reader.close()
        self.ledger.close()
        self.opened()

    @rule(with_index=st.booleans())
    def crash(self, with_index: bool) -> None:
        """As after a kill: the files as they are, with or without SQLite's index of the log."""
        place = self.folder / f"state-{next(self.numbers)}"
        shutil.copytree(self.state, place, ignore=None if with_index else shutil.ignore_patterns("*-shm"))
        self.reader.close()
        self.ledger.close()
        self.state = place
        self.opened()

    @rule()
    def a_second_writer(self) -> None:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(LedgerBusy):
            patch.setattr(lock, "_BETWEEN_TRIES", 0)
            Ledger(self.state, purpose="another")

    # what it says

    @invariant()
    def it_says_what_the_model_says(self) -> None:
        if not hasattr(self, "reader"):
            return
        assert [run.name for run in self.reader.runs()] == [run.row.name for run in reversed(self.runs)]
        for run in self.runs:
            self.compare(run)

    def compare(self, run: Run) -> None:
        reader = self.reader
        row = reader.run(run.row.name)
        assert row == run.row
        rows = {result.name: result for result in reader.results(row)}
        assert list(rows) == [job.name for job in run.jobs]
        for job in run.jobs:
            found, last = rows[job.name], job.kept.get(job.current or "", (None, False))[0]
            assert (found.state, found.attempts) == (job.state, len(job.tries))
            assert found.lost == sum(r.outcome is Outcome.LOST for r in job.counting)
            assert found.total_seconds == pytest.approx(sum(r.seconds for r in job.counting))
            assert found.error == ((last.error if last else None) or job.error)
            assert self.receipt(found) == (
                (last.outcome, last.exit_code, last.started, last.seconds, last.cpu_seconds, last.max_rss_bytes,
                 last.outputs, last.skipped_outputs) if last else (None, None, None, None, None, None, (), ())
            )  # fmt: skip
            endings = [(number, outcome, bool(late)) for number, outcome, *_, late in reader.endings(found)]
            assert sorted(endings) == sorted((r.number, r.outcome, not counts) for r, counts in job.kept.values())
        states = [job.state for job in run.jobs]
        assert reader.counts(row) == {state: states.count(state) for state in states}
        assert reader.running(row) == {j.current: j.name for j in run.jobs if j.state is JobState.RUNNING}
        spent = {j.name: sum(r.outcome not in UNSPENT for r in j.counting) for j in run.jobs
                 if j.state not in FINAL_STATES}  # fmt: skip
        assert reader.spent(row) == {name: number for name, number in spent.items() if number}
        tried = {attempt for job in run.jobs for attempt in (*job.tries, *job.kept)}
        assert {attempt.id for attempt in reader.attempts(row)} == tried

    @staticmethod
    def receipt(row: Any) -> tuple[Any, ...]:
        return (row.outcome, row.exit_code, row.started, row.seconds, row.cpu_seconds, row.max_rss_bytes, row.outputs,
                row.skipped_outputs)  # fmt: skip

    @precondition(lambda self: self.runs)
    @rule()
    def check_now(self) -> None:
        """Also in the middle of everything it is sound."""
        assert check(self.state).problems == ()


COMMON: dict[str, Any] = {
    "deadline": None, "database": None, "phases": [Phase.generate], "report_multiple_bugs": False,
    "suppress_health_check": list(HealthCheck),
}  # fmt: skip


def test_any_sequence_leaves_what_the_model_says() -> None:
    run_state_machine_as_test(
        LedgerMachine, settings=settings(max_examples=35, stateful_step_count=25, derandomize=True, **COMMON)
    )


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_any_of_ten_thousand_sequences_leaves_what_the_model_says() -> None:
    print(f"MODEL_SEED={SEED} MODEL_SEQUENCES={SEQUENCES}")
    run_state_machine_as_test(
        seed(SEED)(LedgerMachine), settings=settings(max_examples=SEQUENCES, stateful_step_count=20, **COMMON)
    )
