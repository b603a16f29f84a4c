"""The loop: fill free slots from the plan, wait, commit receipts, tell listeners.

Each turn is one transaction: receipts that came are recorded, new attempts are recorded, and only when that is
committed do the attempts go to their workers and the listeners hear of the receipts.
"""

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from buildrunner.events import Event, JobEnded, Listener, Stopping, WorkerLost
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
from buildrunner.ledger import Ledger, RunRow
from buildrunner.plan import Plan
from buildrunner.pool import Died, Journal, PoolEvent, Received, Returned, WorkerPool
from buildrunner.receipt import Receipt

LOST_ALLOWED = 3
"""How often a job's worker may die under it before the job counts as failed."""

_SHORT = 0.05  # seconds; only behind an attempt expected to be this short may another lie waiting
_STALLED = 0.1  # seconds; after this what lies behind an attempt is fetched back
_SCRIPT_CHUNK = 1 << 15
_MOST_AHEAD = 8
_RECENT = 16  # attempts
_AHEAD_SECONDS = 0.16  # work that should lie with a worker, so that it need not wait for the server
_MOST_ASSIGNMENT_BYTES = 16384  # longer ones never lie ahead: a socket's buffer (208 KiB) must hold all of them

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
        listeners: Sequence[Listener] = (),
        max_fail: int | None = None,
        grace: float = 5.0,
    ) -> None:
        """`jobs` gives every job of the run with its number in the ledger and its file name.

        `assign` makes the assignment of an attempt; it is called before the attempt is recorded. Scripts' paths are
        relative to `directory`.
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
        self._listeners = listeners
        self._max_fail = max_fail
        self._grace = grace
        self._done = sum(job.state in FINAL_STATES for job in self._jobs.values())
        self._failed = sum(job.state is JobState.FAILED for job in self._jobs.values())
        self._current: dict[str, str] = {}  # attempt → job, for all that lie with workers
        self._pace: float | None = None  # recent seconds an attempt, on average
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._last_id = 0
        self._news: list[Event] = []
        self._stop_asked = 0
        self._stop_told = 0
        self.draining: str | None = None
        self.last_end: float | None = None  # monotonic

    def ask_stop(self) -> None:
        """Stop: the first time with TERM and grace, from the second on with KILL. Callable from a signal handler."""
        self._stop_asked += 1
        self._pool.wake()

    @property
    def stopped(self) -> bool:
        """Whether the run was asked to stop."""
        return self._stop_asked > 0

    @property
    def done(self) -> int:
        """How many jobs are decided."""
        return self._done

    def adopt(self, attempts: Mapping[str, str], journals: Sequence[Journal]) -> None:
        """Take in what an earlier server left: `attempts` (id → job) were running when it ended.

        A receipt in a journal counts as if it had come by the queue; an attempt that only started is lost; one that
        did not start counts nowhere.
        """
        self._current.update(attempts)
        started = {a for journal in journals for a in journal.started}
        with self._ledger.transaction():
            for journal in journals:
                for receipt in journal.receipts:
                    if receipt.attempt in self._current:
                        self._take_receipt(receipt)
            self._take_back([a for a in self._current if a not in started])
            self._lose(list(self._current), None, "the server ended before it did")
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
            events = self._pool.wait(timeout, pace=min(self._recent, default=None))
        self._skip_rest()

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

    def _new_id(self) -> str:
        """A UUID whose first 48 bits are the time in milliseconds (RFC 9562, version 7): new ones sort last."""
        value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
        value = value & ~(0xF << 76) | 7 << 76
        value = value & ~(0x3 << 62) | 2 << 62
        self._last_id = max(value, self._last_id + 1)  # also within a millisecond, and when the clock is set back
        text = f"{self._last_id:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

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
        attempt = Attempt(id=self._new_id(), job=spec.name, number=job.attempts + 1, worker=worker)
        assignment = self._assign(spec, self._files[spec.name], attempt)
        self._ledger.start(self._ids[spec.name], attempt, _sha256(self._directory, spec.script))
        self._jobs[spec.name] = job.advanced(JobEvent.START, attempts=1)
        self._current[attempt.id] = spec.name
        return assignment

    def _take_receipt(self, receipt: Receipt) -> None:
        name = self._current.pop(receipt.attempt, None)
        if name is None:
            if (id_ := self._ids.get(receipt.job)) is not None:
                self._ledger.record(id_, receipt, self._jobs[receipt.job].state)  # kept as superseded
            return
        job = self._jobs[name]
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
        if event in (JobEvent.PASS, JobEvent.FAIL):
            self._done += 1
            self._after(name, passed=event is JobEvent.PASS)
        elif event is JobEvent.RETRY:
            self._plan.put_back(name)
        self._news.append(JobEnded(receipt=receipt, final=final, done=self._done, total=len(self._jobs)))

    def _verdict(self, job: Job, receipt: Receipt) -> JobEvent:
        match receipt.outcome:
            case Outcome.OK:
                return JobEvent.PASS
            case Outcome.CANCELLED if self.stopped:
                return JobEvent.CANCEL
            case Outcome.CANCELLED:
                return JobEvent.RETRY  # adopted: the server that ended it was itself cut off
            case Outcome.LOST:
                again = job.lost < LOST_ALLOWED
            case Outcome.SPAWN_ERROR:
                again = False  # trying again would meet the same missing program
            case _:
                again = job.spent < job.spec.retries
        # While the run drains nothing starts any more, so this attempt was the last.
        return JobEvent.RETRY if again and not self.draining else JobEvent.FAIL

    def _after(self, name: str, *, passed: bool) -> None:
        """Let the jobs that come after go ahead or skip them, and count failures."""
        for follower in self._plan.finished(name, passed=passed):
            self._skip([follower], f"not started: {name}, which it comes after, did not pass")
        if not passed:
            self._failed += 1
            if self._max_fail is not None and self._failed >= self._max_fail and not self.draining:
                count = "a script" if self._max_fail == 1 else f"{self._max_fail} scripts"
                self.draining = f"{count} failed"
                self._news.append(Stopping(reason=self.draining))

    def _take_back(self, attempts: Sequence[str]) -> None:
        for attempt in attempts:
            name = self._current.pop(attempt, None)
            if name is None:
                continue
            self._ledger.give_back(self._ids[name], attempt)
            self._jobs[name] = self._jobs[name].advanced(JobEvent.RETURN, attempts=-1)
            self._plan.put_back(name)

    def _mourn(self, death: Died) -> None:
        self._take_back(death.returned)
        self._lose(death.lost, death.worker, "its worker process died")
        self._news.append(WorkerLost(worker=death.worker, pid=death.pid, lost=len(death.lost)))

    def _lose(self, attempts: Sequence[str], worker: int | None, why: str) -> None:
        """Write the receipts of attempts that nobody else can write them for."""
        for attempt in attempts:
            if name := self._current.get(attempt):
                number = self._jobs[name].attempts
                self._take_receipt(
                    Receipt(attempt=attempt, job=name, number=number, worker=worker, mode="cold",
                            outcome=Outcome.LOST, error=why)
                )  # fmt: skip

    def _obey_stop(self) -> None:
        if self._stop_asked > self._stop_told:
            self._pool.stop(self._grace if self._stop_asked == 1 else 0.0)
            if not self._stop_told:
                self._news.append(Stopping(reason="asked to stop", ends_running=True))
                self._tell()
            self._stop_told = self._stop_asked

    def _skip_rest(self) -> None:
        """After too many failures what never started is skipped; after a stop it waits to be resumed."""
        if self.draining and not self.stopped:
            rest = [name for name, job in self._jobs.items() if job.state in (JobState.READY, JobState.WAITING)]
            with self._ledger.transaction():
                self._skip(rest, f"not started: {self.draining}")

    def _skip(self, names: Sequence[str], why: str) -> None:
        for name in names:
            self._jobs[name] = self._jobs[name].advanced(JobEvent.SKIP)
            self._done += 1
        self._ledger.set_states((self._ids[name] for name in names), JobState.SKIPPED, why)

    def _tell(self) -> None:
        for event in self._news:
            for listener in self._listeners:
                listener.on_event(event)
        self._news.clear()


def _sha256(directory: str, script: str | None) -> str | None:
    """Of the script as it is now; None when it cannot be read, which its own attempt will complain about."""
    if script is None:
        return None
    try:
        fd = os.open(os.path.join(directory, script), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        digest = hashlib.sha256()
        while part := os.read(fd, _SCRIPT_CHUNK):
            digest.update(part)
        return digest.hexdigest()
    except OSError:
        return None
    finally:
        os.close(fd)
