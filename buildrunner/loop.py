"""The loop: fill free slots from the plan, wait, commit receipts, tell listeners.

Each turn is one transaction: receipts that came are recorded, new attempts are recorded, and only when that is
committed do the attempts go to their workers and the listeners hear of the receipts.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from buildrunner.asked import Asked
from buildrunner.assignments import AttemptIds
from buildrunner.control import Control, Request
from buildrunner.events import (
    Event,
    JobDropped,
    JobEnded,
    JobReturned,
    JobStarted,
    Listeners,
    Stopping,
    Tick,
    WorkerLost,
)
from buildrunner.job import (
    FINAL_STATES,
    UNSPENT,
    Assignment,
    Attempt,
    Job,
    JobEvent,
    JobSpec,
    JobState,
    Outcome,
)
from buildrunner.journal import Journal
from buildrunner.ledger import Ledger, RunRow
from buildrunner.plan import Plan
from buildrunner.pool import Died, PoolEvent, Received, Returned, WorkerPool
from buildrunner.receipt import Receipt
from buildrunner.sources import Sources

LOST_ALLOWED = 3
"""How often a job's worker may die under it before the job counts as failed."""

_SHORT = 0.05  # seconds; only behind an attempt expected to be this short may another lie waiting
_STALLED = 0.1  # seconds; after this what lies behind an attempt is fetched back
_MOST_AHEAD = 8
_RECENT = 16  # attempts
_AHEAD_SECONDS = 0.16  # work that should lie with a worker, so that it need not wait for the server
_MOST_ASSIGNMENT_BYTES = 16384  # longer ones never lie ahead: a socket's buffer (208 KiB) must hold all of them

_LONGEST_WAIT = 86400.0  # seconds; the kernel counts them in milliseconds and 31 bits

_CANCELLED = "cancelled from another terminal"

MakeAssignment = Callable[[JobSpec, str, Attempt], Assignment]


class Loop:
    """Runs what the plan holds, to the end or until told to stop."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        run: RunRow,
        plan: Plan,
        pool: WorkerPool,
        jobs: Iterable[tuple[int, str, Job]],
        assign: MakeAssignment,
        directory: str,
        listeners: Listeners | None = None,
        max_fail: int | None = None,
        grace: float = 5.0,
        deadline: float | None = None,
        control: Control | None = None,
        fault: Callable[[JobSpec, Receipt], str | None] = lambda spec, receipt: None,
    ) -> None:
        """`jobs` gives every job of the run with its number in the ledger and its file name.

        `assign` makes the assignment of an attempt; it is called before the attempt is recorded. Scripts' paths are
        relative to `directory`. At `deadline` (monotonic) the run is stopped. `control` hands over what other
        terminals ask for. `fault` says of an attempt that failed what else than its script is to blame, if anything is:
        then the run ends, and the job is undecided.
        """
        self._ledger, self._run, self._plan, self._pool = ledger, run, plan, pool
        self._jobs: dict[str, Job] = {}
        self._ids: dict[str, int] = {}
        self._files: dict[str, str] = {}
        for id_, file, job in jobs:
            name = job.spec.name
            self._jobs[name], self._ids[name], self._files[name] = job, id_, file
        self._assign = assign
        self._directory = directory
        self._sources = Sources(directory)
        self._listeners = listeners or Listeners()
        self._max_fail = max_fail
        self._grace = grace
        self._deadline = deadline
        self._control = control
        self._find_fault = fault
        self._tick = self._listeners.tick
        self._ending: dict[str, int] = {}  # attempts that were cancelled by themselves → how often
        self._asked = Asked()
        self._done = sum(job.state in FINAL_STATES for job in self._jobs.values())
        self._failed = sum(job.state is JobState.FAILED for job in self._jobs.values())
        self._current: dict[str, str] = {}  # attempt → job, for all that lie with workers
        self._pace: float | None = None  # recent seconds an attempt, on average
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._ids_of_attempts = AttemptIds()
        self._news: list[Event] = []
        self._stop_asked = 0
        self._stop_told = 0
        self.draining: str | None = None
        self.stop_reason = ""
        self.fault: str | None = None  # of the place, for which the run ended
        self.cancelled = False
        self._cut_short = False
        self.last_end: float | None = None  # monotonic

    def ask_stop(self, reason: str = "asked to stop") -> None:
        """Stop: the first time with TERM and grace, from the second on with KILL. Callable from a signal handler."""
        self.stop_reason = self.stop_reason or reason
        self._stop_asked += 1
        self._pool.wake()

    @property
    def stopped(self) -> bool:
        """Whether the run was asked to stop."""
        return self._stop_asked > 0

    @property
    def state(self) -> str:
        """What the run has come to, once `run` is over."""
        if not self._cut_short:
            return "finished"
        return "cancelled" if self.cancelled else "interrupted"

    @property
    def done(self) -> int:
        """How many jobs are decided."""
        return self._done

    def undecided(self) -> list[str]:
        """The jobs that are still to be decided."""
        return [name for name, job in self._jobs.items() if job.state not in FINAL_STATES]

    def adopt(self, attempts: Mapping[str, str], journals: Sequence[Journal], again: Collection[str] = ()) -> None:
        """Take in what an earlier server left: `attempts` (id → job) were running when it ended.

        A receipt in a journal counts as if it had come by the queue, unless its job is to be run `again`; an attempt
        that only started is lost; one that did not start counts nowhere.
        """
        self._current.update(attempts)
        started = {a for journal in journals for a in journal.started}
        with self._ledger.transaction():
            for journal in journals:
                for receipt in journal.receipts:
                    if (name := self._current.get(receipt.attempt)) is None:
                        continue
                    if name in again:
                        self._repeat(name, receipt)
                    else:
                        self._take_receipt(receipt)
            self._take_back([a for a in self._current if a not in started])
            self._lose(list(self._current), None, "buildrunner ended before it did")
        if self._max_fail is not None and self._failed >= self._max_fail and not self.draining:
            self._drain()
        self._pace = None  # adopted times say nothing about what runs next
        self._recent.clear()
        self.last_end = None

    def run(self) -> None:
        """Go on until nothing is left to do."""
        events: list[PoolEvent] = []
        while True:
            self._turn(events)
            if not self._current and (self.stopped or self.draining or not self._plan.ready):
                break
            self._obey_stop()
            if self.draining:
                self._pool.recall_all()
                timeout = None
            else:
                timeout = self._pool.recall_stalled(_STALLED)
            events = self._pool.wait(self._sooner(timeout), pace=min(self._recent, default=None))
            if self._control:
                self._hear(self._control)
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._deadline = None
                if not self.stopped:  # asking again would kill what has its grace time
                    self.ask_stop("the deadline has passed")
            if self._tick and not events:
                self._news.append(Tick())
        self._cut_short = self.stopped and self._done < len(self._jobs)
        self._drop_rest()
        self._tell()

    def _sooner(self, timeout: float | None) -> float | None:
        """The time to wait, cut short by whatever else is due."""
        due = self._deadline and min(self._deadline - time.monotonic(), _LONGEST_WAIT)
        limits = [timeout, self._tick, due]
        return min((max(0.0, limit) for limit in limits if limit is not None), default=None)

    def _turn(self, events: Sequence[PoolEvent]) -> None:
        batches: dict[int, list[Assignment]] = {}
        with self._ledger.transaction():
            for event in events:
                match event:
                    case Received(receipt=receipt):
                        self._take_receipt(receipt)
                    case Returned(attempts=attempts):
                        self._take_back(attempts)
                    case Died():
                        self._mourn(event)
            if not self.stopped and not self.draining:
                self._fill(batches)
        for worker, assignments in batches.items():
            self._pool.send(worker, assignments)
        self._tell()
        self._asked.answer(self._current, self._jobs)

    def _fill(self, batches: dict[int, list[Assignment]]) -> None:
        """Give every idle worker a job, then put short ones ahead where that saves waiting for the server."""
        for worker in range(self._pool.size):
            if not self._pool.outstanding(worker):
                spec = self._plan.take()
                if spec is None:
                    return
                batches[worker] = [self._start(spec, worker)]
        depth = self._depth()
        if depth < 2:
            return
        for worker in range(self._pool.size):
            if self._pool.stalled(worker):
                continue
            room = depth - self._pool.outstanding(worker) - len(batches.get(worker, ()))
            while room > 0 and self._plan.ready > self._pool.size:
                spec = self._plan.take()
                assert spec is not None
                if not self._may_lie_ahead(spec):
                    self._plan.put_back(spec.name)
                    return
                batches.setdefault(worker, []).append(self._start(spec, worker))
                room -= 1

    def _may_lie_ahead(self, spec: JobSpec) -> bool:
        if self._jobs[spec.name].attempts:
            return False  # its last attempt's logs make way for it, and could not come back if it did
        return (self._plan.estimate(spec.name) or 0.0) <= _SHORT and self._wire_size(spec) <= _MOST_ASSIGNMENT_BYTES

    def _wire_size(self, spec: JobSpec) -> int:
        """The most bytes its assignment can have: four a character; name and folder stand in several paths."""
        own = sum(map(len, (*spec.command, *spec.args))) + sum(len(k) + len(v) for k, v in spec.env)
        return 4 * (own + len(spec.script or "") + 4 * (len(spec.name) + len(self._directory))) + 1024

    def _depth(self) -> int:
        # What lies ahead starts before the server hears of a failure, so nothing may when failures are counted.
        if self._pace is None or self._pace > _SHORT or self._max_fail is not None:
            return 1
        return min(_MOST_AHEAD, 2 + int(_AHEAD_SECONDS / max(self._pace, 1e-6)))

    def _start(self, spec: JobSpec, worker: int) -> Assignment:
        job = self._jobs[spec.name]
        if job.state is JobState.WAITING:
            job = job.advanced(JobEvent.RELEASE)
        attempt = Attempt(id=self._ids_of_attempts.new(), job=spec.name, number=job.attempts + 1, worker=worker)
        assignment = self._assign(spec, self._files[spec.name], attempt)
        self._ledger.start(self._ids[spec.name], attempt, *self._sources.of(spec.script, spec.command))
        self._jobs[spec.name] = job.advanced(JobEvent.START, attempts=1)
        self._current[attempt.id] = spec.name
        if self._listeners:
            usual = self._plan.remembered(spec.name)
            self._news.append(
                JobStarted(job=spec.name, attempt=attempt.id, number=attempt.number, worker=worker, usual=usual,
                           expected=self._plan.estimate(spec.name))
            )  # fmt: skip
        return assignment

    def _take_receipt(self, receipt: Receipt) -> None:
        name = self._current.pop(receipt.attempt, None)
        if name is None:
            if (id_ := self._ids.get(receipt.job)) is not None:
                self._ledger.record(id_, receipt, self._jobs[receipt.job].state)  # kept as superseded
            return
        job = self._jobs[name]
        if receipt.attempt not in self._ending and (why := self._find_fault(job.spec, receipt)):
            receipt = replace(receipt, outcome=Outcome.CANCELLED, error=why)
            if not self.stopped:
                self.fault = why
                self.ask_stop(why)
        lost = int(receipt.outcome is Outcome.LOST)
        event = self._verdict(job, receipt)
        job = job.advanced(event, lost=lost, spent=int(receipt.outcome not in UNSPENT))
        self._jobs[name] = job
        self._ledger.record(self._ids[name], receipt, job.state, lost=lost)
        self.last_end = time.monotonic()
        if not lost:
            self._pace = receipt.seconds if self._pace is None else 0.8 * self._pace + 0.2 * receipt.seconds
            self._recent.append(receipt.seconds)
            self._plan.observe(name, receipt.seconds)
        final = event is not JobEvent.RETRY
        alone = self._ending.pop(receipt.attempt, 0) > 0  # not a stop of the run, which leaves its jobs undecided
        dropped: list[tuple[str, str]] = []
        if event in (JobEvent.PASS, JobEvent.FAIL) or (event is JobEvent.CANCEL and alone):
            self._done += 1
            dropped = self._after(name, job)
        elif event is JobEvent.RETRY:
            self._plan.put_back(name)
        if event is JobEvent.CANCEL:
            why = _CANCELLED if alone else self.stop_reason
            self._ledger.set_states([self._ids[name]], JobState.CANCELLED, why)
        self._news.append(
            JobEnded(receipt=receipt, state=job.state, final=final, done=self._done, total=len(self._jobs))
        )
        for follower, why in dropped:
            self._drop([follower], JobState.SKIPPED, why)
        if event is JobEvent.FAIL:
            self._count_failure()

    def _repeat(self, name: str, receipt: Receipt) -> None:
        """Record a receipt that decides nothing, because its job's script has changed since: it is run again."""
        del self._current[receipt.attempt]
        job = self._jobs[name] = self._jobs[name].advanced(JobEvent.RETRY)
        self._ledger.record(self._ids[name], receipt, job.state)
        self._plan.put_back(name)
        self._news.append(
            JobEnded(receipt=receipt, state=job.state, final=False, done=self._done, total=len(self._jobs))
        )

    def _verdict(self, job: Job, receipt: Receipt) -> JobEvent:
        match receipt.outcome:
            case Outcome.OK:
                return JobEvent.PASS
            case Outcome.CANCELLED if self.stopped or receipt.attempt in self._ending:
                return JobEvent.CANCEL
            case Outcome.CANCELLED:
                return JobEvent.RETRY  # adopted: the server that ended it was itself cut off
            case Outcome.LOST:
                again = job.lost < LOST_ALLOWED
            case Outcome.SPAWN_ERROR:
                again = False  # trying again would meet the same missing program
            case _:
                again = job.spent < job.spec.retries
        if receipt.attempt in self._ending:
            return JobEvent.CANCEL if receipt.outcome is Outcome.LOST else JobEvent.FAIL
        # While the run drains nothing starts any more, so this attempt was the last.
        return JobEvent.RETRY if again and not self.draining else JobEvent.FAIL

    def _after(self, name: str, job: Job) -> list[tuple[str, str]]:
        """Let the jobs that come after go ahead; returns those that now cannot, each with the reason."""
        passed = job.state is JobState.PASSED
        how = "was cancelled" if job.state is JobState.CANCELLED else "did not pass"
        followers = self._plan.finished(name, passed=passed)
        return [(follower, f"not started: {name}, which it comes after, {how}") for follower in followers]

    def _count_failure(self) -> None:
        self._failed += 1
        if self._max_fail is not None and self._failed >= self._max_fail and not self.draining:
            self._drain()

    def _drain(self) -> None:
        """Start nothing new: enough has failed."""
        self.draining = "a script failed" if self._max_fail == 1 else f"{self._max_fail} scripts failed"
        self._news.append(Stopping(reason=self.draining))

    def _take_back(self, attempts: Sequence[str]) -> None:
        for attempt in attempts:
            name = self._current.pop(attempt, None)
            if name is None:
                continue
            self._ledger.give_back(self._ids[name], attempt)
            self._jobs[name] = self._jobs[name].advanced(JobEvent.RETURN, attempts=-1)
            self._news.append(JobReturned(job=name, attempt=attempt))
            if self._ending.pop(attempt, 0):
                self._asked.came_back(attempt)
                self._cancel_waiting(name)
            else:
                self._plan.put_back(name)

    def _mourn(self, death: Died) -> None:
        self._take_back(death.returned)
        why = "its script had crippled its worker" if death.made_way else "its worker process died"
        self._lose(death.lost, death.worker, why)
        self._news.append(WorkerLost(worker=death.worker, pid=death.pid, lost=len(death.lost), made_way=death.made_way))

    def _lose(self, attempts: Sequence[str], worker: int | None, why: str) -> None:
        """Write the receipts of attempts that nobody else can write them for."""
        for attempt in attempts:
            if name := self._current.get(attempt):
                number = self._jobs[name].attempts
                self._take_receipt(
                    Receipt(attempt=attempt, job=name, number=number, worker=worker,
                            mode="cold" if self._run.options.get("mode") == "cold" else "warm",
                            outcome=Outcome.LOST, error=why)
                )  # fmt: skip

    def _obey_stop(self) -> None:
        asked = self._stop_asked  # meanwhile a signal may ask once more: that is for the next turn
        if asked > self._stop_told:
            self._pool.stop(self._grace if asked == 1 else 0.0)
            if not self._stop_told:
                self._news.append(Stopping(reason=self.stop_reason, ends_running=True))
                self._tell()
            self._stop_told = asked

    def _hear(self, control: Control) -> None:
        """Do what other terminals ask for; each is answered when what it asked to end has ended."""
        for request in control.requests(self._run.name):
            if request.jobs is None:
                self.cancelled = True
                self.ask_stop(_CANCELLED)
                self._asked.add(request, dict(self._current))
            else:
                self._cancel(request)

    def _cancel(self, request: Request) -> None:
        chosen = {name for name in self._jobs if request.wants(name)}
        open_ = {name for name in chosen if self._jobs[name].state not in (*FINAL_STATES, JobState.CANCELLED)}
        attempts = {attempt: name for attempt, name in self._current.items() if name in open_}
        waiting = sorted(open_.difference(attempts.values()))
        for attempt in attempts:
            again = self._ending.get(attempt, 0)
            self._ending[attempt] = again + 1
            self._pool.end(attempt, 0.0 if again else self._grace)
        with self._ledger.transaction():
            self._plan.drop(waiting)  # all of them first: none must be skipped as the follower of another
            for name in waiting:
                self._cancel_waiting(name)
        request.matched, request.dropped = len(chosen), waiting
        self._asked.add(request, attempts)
        self._tell()
        self._asked.answer(self._current, self._jobs)

    def _cancel_waiting(self, name: str) -> None:
        self._drop([name], JobState.CANCELLED, f"{_CANCELLED} before it started")
        for follower, why in self._after(name, self._jobs[name]):
            self._drop([follower], JobState.SKIPPED, why)

    def answer_all(self) -> None:
        """Answer whoever asked for the end of the whole run, now that it is recorded."""
        self._asked.answer_all()

    def _drop_rest(self) -> None:
        """What never started is skipped after too many failures, cancelled with the run; after a stop it waits."""
        rest = [name for name, job in self._jobs.items() if job.state in (JobState.READY, JobState.WAITING)]
        with self._ledger.transaction():
            if self.cancelled:
                self._drop(rest, JobState.CANCELLED, "not started: the run was cancelled")
            elif self.draining and not self.stopped:
                for name in rest:
                    how = "not tried again" if self._jobs[name].attempts else "not started"
                    self._drop([name], JobState.SKIPPED, f"{how}: {self.draining}")

    def _drop(self, names: Sequence[str], state: JobState, why: str) -> None:
        event = JobEvent.SKIP if state is JobState.SKIPPED else JobEvent.CANCEL
        for name in names:
            self._jobs[name] = self._jobs[name].advanced(event)
            self._done += 1
            if self._listeners:
                self._news.append(JobDropped(job=name, state=state, reason=why, done=self._done, total=len(self._jobs)))
        self._ledger.set_states((self._ids[name] for name in names), state, why)

    def _tell(self) -> None:
        for event in self._news:
            self._listeners.tell(event)
        self._news.clear()
