"""The loop between a plan, a ledger and a pool that does as it is told: what becomes of jobs that are cancelled."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from buildrunner.control import Request
from buildrunner.events import JobEnded, Listeners
from buildrunner.job import Job, JobSpec, JobState, Outcome
from buildrunner.ledger import Ledger, Reader
from buildrunner.loop import Loop
from buildrunner.plan import Plan
from buildrunner.pool import Died, PoolEvent, Received, Returned
from tests.contract.ledgers import add_run, receipt

Step = Callable[["Stage"], Sequence[PoolEvent] | None]


class Stage:
    """A pool and another terminal, both played: each `wait` of the loop is one step of what happens."""

    def __init__(self, ledger: Ledger, specs: Sequence[JobSpec], *, size: int = 1) -> None:
        self.size = size
        self.attempts: dict[str, str] = {}  # job → its last attempt that was sent
        self.sent: list[str] = []
        self.ended: list[tuple[str, float]] = []  # job and grace
        self.answers: list[dict[str, Any]] = []
        self.states: list[dict[str, JobState]] = []  # when each answer was given
        self.stops: list[float] = []  # graces
        self._pending: list[Request] = []
        self._lying: list[str] = []
        self._ledger, self._run = ledger, add_run(ledger, *specs)
        ids = ledger.job_ids(self._run)
        self._loop = Loop(
            ledger=ledger,
            run=self._run,
            plan=Plan(specs),
            pool=self,  # type: ignore[arg-type]
            jobs=[(ids[spec.name], spec.name, Job(spec=spec)) for spec in specs],
            assign=lambda spec, file, attempt: SimpleNamespace(attempt=attempt.id, job=spec.name),  # type: ignore[arg-type, return-value]
            directory="/",
            grace=5.0,
            control=self,  # type: ignore[arg-type]
        )

    def play(self, *steps: Step) -> dict[str, JobState]:
        """Run the loop with these steps; every job's state afterwards."""
        self._steps = iter(steps)
        self._loop.run()
        assert next(self._steps, None) is None
        return self.now()

    def now(self) -> dict[str, JobState]:
        return {name: state for name, state, _ in self._ledger.states(self._run)}

    # what steps do

    def cancel(self, *globs: str) -> None:
        terminal: Any = SimpleNamespace(send=self._answered)
        self._pending.append(Request(terminal, "somebody", globs))

    def ask_stop(self) -> None:
        self._loop.ask_stop()

    def receipt(self, job: str, outcome: Outcome = Outcome.OK, seconds: float = 1.0) -> Received:
        attempt = self.attempts[job]
        self._lying.remove(attempt)
        return Received(worker=0, receipt=receipt(attempt, job, outcome, seconds=seconds))

    def returned(self, *jobs: str) -> Returned:
        for job in jobs:
            self._lying.remove(self.attempts[job])
        return Returned(worker=0, attempts=tuple(self.attempts[job] for job in jobs))

    def died(self, *, lost: Sequence[str] = (), returned: Sequence[str] = ()) -> Died:
        self._lying.clear()
        attempts = [tuple(self.attempts[job] for job in jobs) for jobs in (lost, returned)]
        return Died(worker=0, pid=1, lost=attempts[0], returned=attempts[1])

    # the pool and the other terminal, as the loop sees them

    def wait(self, timeout: float | None, *, pace: float | None = None) -> Sequence[PoolEvent]:
        return next(self._steps)(self) or []

    def outstanding(self, worker: int) -> int:
        return len(self._lying) if worker == 0 else 1

    def stalled(self, worker: int) -> bool:
        return False

    def recall_stalled(self, after: float) -> None:
        return None

    def send(self, worker: int, assignments: Sequence[Any]) -> None:
        for one in assignments:
            self.attempts[one.job] = one.attempt
            self.sent.append(one.job)
            self._lying.append(one.attempt)

    def end(self, attempt: str, grace: float) -> None:
        [job] = [job for job, found in self.attempts.items() if found == attempt]
        self.ended.append((job, grace))

    def wake(self) -> None:
        pass

    def stop(self, grace: float) -> None:
        self.stops.append(grace)
        if len(self.stops) == 1:
            self.ask_stop()  # a signal that comes while the first one is obeyed

    def requests(self, run: str) -> list[Request]:
        pending, self._pending = self._pending, []
        return pending

    def _answered(self, receiver: str, answer: dict[str, Any]) -> None:
        self.answers.append(answer)
        self.states.append(self.now())


def jobs(names: str, **settings: Any) -> list[JobSpec]:
    return [JobSpec(name=name, **settings) for name in names]


PASSED, FAILED, CANCELLED = JobState.PASSED, JobState.FAILED, JobState.CANCELLED


def test_one_that_runs_is_ended_and_the_next_one_runs(ledger: Ledger) -> None:
    stage = Stage(ledger, jobs("ab"))
    states = stage.play(
        lambda s: s.cancel("a"),
        lambda s: None,
        lambda s: [s.receipt("a", Outcome.CANCELLED)],
        lambda s: [s.receipt("b")],
    )
    assert states == {"a": CANCELLED, "b": PASSED}
    assert stage.ended == [("a", 5.0)]
    [answer] = stage.answers
    assert (list(answer["ended"].values()), answer["dropped"], answer["kept"]) == (["a"], [], {})
    assert stage.states == [{"a": CANCELLED, "b": JobState.RUNNING}]


def test_one_asked_for_again_is_killed(ledger: Ledger) -> None:
    stage = Stage(ledger, jobs("a"))
    stage.play(
        lambda s: s.cancel("a"), lambda s: s.cancel("a"), lambda s: [s.receipt("a", Outcome.CANCELLED)]
    )  # fmt: skip
    assert stage.ended == [("a", 5.0), ("a", 0.0)]
    assert len(stage.answers) == 2


def test_a_second_request_to_stop_is_not_lost_while_the_first_is_obeyed(ledger: Ledger) -> None:
    stage = Stage(ledger, jobs("a"))
    stage.play(lambda s: s.ask_stop(), lambda s: None, lambda s: [s.receipt("a", Outcome.CANCELLED)])
    assert stage.stops == [5.0, 0.0]


@pytest.mark.parametrize(
    ("outcome", "expected"), [(Outcome.OK, PASSED), (Outcome.EXITED, FAILED), (Outcome.TIMED_OUT, FAILED)]
)
def test_one_that_ends_by_itself_counts_as_what_it_was_and_is_not_tried_again(
    ledger: Ledger, outcome: Outcome, expected: JobState
) -> None:
    stage = Stage(ledger, jobs("a", retries=3))
    assert stage.play(lambda s: s.cancel("a"), lambda s: [s.receipt("a", outcome)]) == {"a": expected}
    assert stage.answers[0]["kept"] == {"a": expected}
    assert stage.sent == ["a"]


def test_one_whose_worker_dies_is_cancelled(ledger: Ledger) -> None:
    stage = Stage(ledger, jobs("a", retries=3))
    assert stage.play(lambda s: s.cancel("a"), lambda s: [s.died(lost=["a"])]) == {"a": CANCELLED}
    assert (stage.sent, stage.answers[0]["kept"]) == (["a"], {})


def test_one_that_never_started_because_its_worker_died_is_cancelled(ledger: Ledger) -> None:
    stage = Stage(ledger, jobs("a"))
    assert stage.play(lambda s: s.cancel("a"), lambda s: [s.died(returned=["a"])]) == {"a": CANCELLED}
    assert (stage.sent, stage.answers[0]["dropped"], stage.answers[0]["ended"]) == (["a"], ["a"], {})


def test_those_that_lie_ahead_come_back_and_are_not_handed_out_again(ledger: Ledger) -> None:
    names = "abcdefghijklmnop"
    stage = Stage(ledger, jobs(names))

    def end(s: Stage) -> list[PoolEvent]:
        ahead = [job for job in s.sent if job not in "ab"]
        assert len(ahead) > 2
        assert {job for job, _ in s.ended} == {"b", *ahead}
        assert s.answers == []
        return [s.returned(*ahead), s.receipt("b", Outcome.CANCELLED)]

    states = stage.play(lambda s: [s.receipt("a", seconds=0.001)], lambda s: s.cancel("*"), end)
    assert states == {"a": PASSED, **dict.fromkeys(names[1:], CANCELLED)}
    [answer] = stage.answers
    assert (answer["matched"], list(answer["ended"].values())) == (16, ["b"])
    assert sorted(answer["dropped"]) == list(names[2:])
    assert ledger.db.execute("SELECT count(*) FROM attempts").fetchone() == (2,)


def test_one_that_waits_for_its_next_attempt(ledger: Ledger) -> None:
    stage = Stage(ledger, [JobSpec(name="a", retries=3), JobSpec(name="b", priority=-1, retries=1)])
    states = stage.play(
        lambda s: [s.receipt("b", Outcome.EXITED)],
        lambda s: [s.receipt("b")],
        lambda s: [s.receipt("a", Outcome.EXITED)],
        lambda s: s.cancel("a"),
        lambda s: [s.receipt("a", Outcome.CANCELLED)],
    )
    assert states == {"a": CANCELLED, "b": PASSED}
    assert stage.sent == ["b", "b", "a", "a"]


def test_what_comes_after_it_is_skipped_unless_cancelled_itself(ledger: Ledger) -> None:
    specs = [
        *jobs("ax"),
        JobSpec(name="b", after=("a",)),
        JobSpec(name="c", after=("b",)),
        JobSpec(name="d", after=("c",)),
    ]
    stage = Stage(ledger, specs)
    states = stage.play(
        lambda s: s.cancel("a", "c"), lambda s: [s.receipt("a", Outcome.CANCELLED)], lambda s: [s.receipt("x")]
    )  # fmt: skip
    skipped = JobState.SKIPPED
    assert states == {"a": CANCELLED, "x": PASSED, "b": skipped, "c": CANCELLED, "d": skipped}


def test_nothing_matches(ledger: Ledger) -> None:
    stage = Stage(ledger, jobs("a"))
    assert stage.play(lambda s: s.cancel("z"), lambda s: [s.receipt("a")]) == {"a": PASSED}
    assert (stage.answers[0]["matched"], stage.ended) == (0, [])


def test_an_attempt_is_committed_before_it_is_handed_out(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """As somebody else sees the record at that moment: a worker may start it at once, and the server die."""
    stage = Stage(ledger, jobs("ab"))
    seen = []
    send = stage.send

    def look(worker: int, assignments: Sequence[Any]) -> None:
        reader = Reader.open(ledger.state)
        seen.append({one.attempt for one in assignments} <= set(reader.running(reader.run())))
        reader.close()
        send(worker, assignments)

    monkeypatch.setattr(stage, "send", look)
    stage.play(lambda s: [s.receipt("a")], lambda s: [s.receipt("b")])
    assert seen == [True, True]


def test_a_result_is_committed_before_anybody_hears_of_it(ledger: Ledger) -> None:
    stage = Stage(ledger, jobs("ab"))
    heard = []

    class Listener:
        def on_event(self, event: Any) -> None:
            if isinstance(event, JobEnded):
                reader = Reader.open(ledger.state)
                heard.append(reader.result(reader.run(), event.receipt.job).state)
                reader.close()

    stage._loop._listeners = Listeners((Listener(),))
    stage.play(lambda s: [s.receipt("a")], lambda s: [s.receipt("b", Outcome.EXITED)])
    assert heard == [PASSED, FAILED]
