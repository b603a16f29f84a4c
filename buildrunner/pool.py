"""N workers, each a freshly started process with a task queue and a result queue of its own.

A queue is one socket pair, so that a killed worker can wedge nobody else's. Two ways of ending are told apart:
a worker that was told to close, and one that died; of the latter the pool says what its journal holds and puts
a new one in its place.
"""

import marshal
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from buildrunner import groups
from buildrunner.errors import LedgerError, PoolError, ReceiptError
from buildrunner.job import Assignment
from buildrunner.journal import read_journal
from buildrunner.preloading import Preloading
from buildrunner.processes import Orphans, kill_attempts
from buildrunner.receipt import Receipt
from buildrunner.run.worker import MADE_WAY
from buildrunner.spawning import WORKER_PROGRAM, Spawner, Worker

_QUICK_DEATH = 1.0  # seconds; a worker that dies sooner than this after its start made no progress
_QUICK_DEATHS_ALLOWED = 5
_CLOSE_SECONDS = 5.0
_LINGER = 0.08  # seconds
_MOST_EVENTS = 256
_CALLERS = object()  # marks a descriptor that the pool only watches


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A receipt came back."""

    worker: int
    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """Assignments came back that never started."""

    worker: int
    attempts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """A worker died and was replaced. `lost` had started and have no receipt; `returned` never started.

    `made_way` says that it ended by itself, because a script had changed what it hands down to others.
    """

    worker: int
    pid: int
    lost: tuple[str, ...]
    returned: tuple[str, ...]
    made_way: bool = False


PoolEvent = Received | Returned | Died


class WorkerPool:
    """Starts, feeds and replaces the workers.

    `folder` takes journals and the workers' own error logs; its name is found in those of the control groups.
    `hello(worker)` returns what a worker is told once: `env` (the whole environment of its scripts), `cwd`, `ready`
    (see OutputFolder.ready), and `limits` where there are any: of memory and of a log, in bytes, each or None.
    `own_process`: see processes.Orphans. `warm` is the Python whose scripts are started as forks of it; where it
    cannot be shared, ordinary workers take its place. `preloading` is what that Python imports for them.
    """

    def __init__(
        self,
        size: int,
        *,
        folder: str,
        hello: Callable[[int], dict[str, Any]],
        program: str = WORKER_PROGRAM,
        python: str = sys.executable,
        own_process: bool = False,
        warm: str | None = None,
        preloading: Preloading | None = None,
    ) -> None:
        self.size = size
        self._preloading = preloading or Preloading()
        self._spawner = Spawner(
            [python, "-I", "-S", program], folder=folder, hello=hello, warm=warm, preloading=self._preloading
        )
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, Worker] = {}
        self._orphans: Orphans | None = None
        self._own_process = own_process
        self._quick_deaths = 0
        self._waker, self._wakened = socket.socketpair()
        self._waker.setblocking(False)
        self._wakened.setblocking(False)
        self._selector.register(self._wakened, selectors.EVENT_READ)
        self._waker_alone = selectors.DefaultSelector()
        self._waker_alone.register(self._wakened, selectors.EVENT_READ)

    def start(self) -> None:
        """Start every worker; they get ready while the caller goes on."""
        self._orphans = Orphans(own_process=self._own_process)
        groups.tidy()
        for number in range(self.size):
            self._start_worker(number)

    @property
    def wakeup_fd(self) -> int:
        """Writing a byte here (a signal does) ends a `wait` early."""
        return self._waker.fileno()

    def outstanding(self, worker: int) -> int:
        """How many assignments lie with a worker, the running one included."""
        return len(self._workers[worker].outstanding)

    def wake(self) -> None:
        """End a `wait` early; callable from a signal handler or another thread."""
        with suppress(OSError):  # full: then it is awake already; closed: then nobody waits
            self._waker.send(b"!")

    def stalled(self, worker: int) -> bool:
        """Whether what lay ahead of this worker was fetched back, and it is still at the same attempt."""
        return self._workers[worker].recalled

    def send(self, worker: int, assignments: Sequence[Assignment]) -> None:
        """Put assignments on a worker's queue."""
        w = self._workers[worker]
        if not w.outstanding:
            w.since = time.monotonic()
            w.recalled = False
        w.outstanding += [a.attempt for a in assignments]
        w.tell(("run", [a.to_wire() for a in assignments]))

    def recall_stalled(self, after: float) -> float | None:
        """Fetch back what lies behind an attempt that has run for `after` seconds, or behind any while a worker idles.

        Returns the seconds until the next worker may have to be asked, None when there is none to watch.
        """
        now, soonest = time.monotonic(), None
        if not all(w.outstanding for w in self._workers.values()):
            after = 0.0
        for w in self._workers.values():
            if len(w.outstanding) > 1 and not w.recalled:
                left = w.since + after - now
                if left <= 0:
                    self._recall(w)
                elif soonest is None or left < soonest:
                    soonest = left
        return soonest

    def recall_all(self) -> None:
        """Fetch back everything that has not started."""
        for w in self._workers.values():
            if len(w.outstanding) > 1 and not w.recalled:
                self._recall(w)

    def stop(self, grace: float) -> None:
        """End what runs (TERM, then KILL after `grace` seconds; KILL at once when 0); the rest comes back."""
        self._preloading.stop()
        for w in self._workers.values():
            if w.importing:
                w.importing, w.has_refused = None, True  # it has started nothing, and hears nothing
                os.kill(w.pid, signal.SIGKILL)
            elif w.outstanding:
                w.recalled = True
                w.tell(("stop", grace))
                os.kill(w.pid, signal.SIGCONT)  # a stopped worker would hear nothing

    def end(self, attempt: str, grace: float) -> None:
        """End one attempt (TERM, then KILL after `grace` seconds; KILL at once when 0), or get it back unstarted."""
        for w in self._workers.values():
            if attempt in w.outstanding:
                w.tell(("end", attempt, grace))
                os.kill(w.pid, signal.SIGCONT)

    def watch(self, fd: int) -> None:
        """Let `wait` return as soon as there is something to read here, which is the caller's to read."""
        self._selector.register(fd, selectors.EVENT_READ, _CALLERS)

    def wait(self, timeout: float | None, *, pace: float | None = None) -> list[PoolEvent]:
        """What happened; empty when `timeout` seconds passed or somebody wrote to `wakeup_fd`.

        `pace` is how long attempts take of late at the least, in seconds. While every worker has work lying ahead for
        longer than that, what happens in the meantime is collected, so that it shares one wake-up and one commit.
        """
        events: list[PoolEvent] = []
        ready = self._selector.select(timeout)
        lingered = knocked = False
        while ready and len(events) < _MOST_EVENTS:
            dead = []
            for key, _ in ready:
                if key.data is _CALLERS:
                    knocked = True  # stays readable until the caller has read
                    continue
                w: Worker | None = key.data
                if w is None:
                    self._drain_wakeups()
                    lingered = True  # somebody is in a hurry
                elif key.fd == w.pidfd or (self._workers.get(w.number) is w and not self._receive(w, events)):
                    dead.append(w)
            for w in dead:
                if self._workers.get(w.number) is w:
                    events.append(self._bury(w, events))
            if knocked:
                break
            ready = self._selector.select(0)
            if not ready and pace and not lingered:
                lingered = True
                spare = min(len(w.outstanding) for w in self._workers.values()) - 1
                if spare > 0:
                    self._waker_alone.select(min(_LINGER, spare * pace / 2))
                    ready = self._selector.select(0)
        if events:
            self._end_orphans()
        return events

    def close(self) -> None:
        """End all workers: told to, and killed when they do not."""
        for w in self._workers.values():
            w.tell(("close",))
            os.kill(w.pid, signal.SIGCONT)
        deadline = time.monotonic() + _CLOSE_SECONDS
        for w in self._workers.values():
            while os.waitpid(w.pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    os.kill(w.pid, 9)
                    os.waitpid(w.pid, 0)
                    kill_attempts(w.outstanding)
                    break
                time.sleep(0.001)
            self._forget(w)
        self._workers.clear()
        groups.give_back()
        if self._orphans:
            self._orphans.close()
        self._selector.close()
        self._waker_alone.close()
        self._waker.close()
        self._wakened.close()

    def _start_worker(self, number: int) -> None:
        w = self._workers[number] = self._spawner.start(number)
        if self._orphans:
            self._orphans.expect(w.pid)
        self._selector.register(w.connection, selectors.EVENT_READ, w)
        if w.pidfd is not None:
            self._selector.register(w.pidfd, selectors.EVENT_READ, w)

    def _recall(self, w: Worker) -> None:
        w.recalled = True
        w.tell(("recall",))

    def _receive(self, w: Worker, events: list[PoolEvent]) -> bool:
        """Take one message; False when the worker is gone."""
        try:
            verb, content = marshal.loads(w.connection.recv_bytes())
            receipt = Receipt.from_wire(content) if verb == "receipt" else None
            if verb == "preload":
                self._preload(w, *content)
        except (EOFError, OSError):
            return False
        except (ValueError, TypeError, ReceiptError):  # none of its own words: a script got hold of its queue
            os.kill(w.pid, signal.SIGKILL)
            return False
        if receipt:
            if receipt.attempt in w.outstanding:
                w.outstanding.remove(receipt.attempt)
            w.since = time.monotonic()
            w.recalled = False
            self._quick_deaths = 0
            events.append(Received(worker=w.number, receipt=receipt))
        elif verb == "returned":
            w.outstanding = [a for a in w.outstanding if a not in content]
            events.append(Returned(worker=w.number, attempts=tuple(content)))
        elif verb == "broken":
            raise LedgerError(f"{content}; make room, then `buildrunner resume`")
        return True

    def _preload(self, w: Worker, module: str, seconds: float | None, why: str | None, *more: Any) -> None:
        w.importing = module if seconds is None else None
        w.has_refused = why is not None
        self._preloading.note(module, seconds, why, *more)

    def _bury(self, w: Worker, events: list[PoolEvent]) -> Died | Returned:
        """Take in what a dead worker still said and wrote, end what it left running, start another."""
        try:
            while w.connection.poll(0):
                if not self._receive(w, events):
                    break
        except OSError:
            pass
        status = os.waitstatus_to_exitcode(os.waitpid(w.pid, 0)[1])
        made_way = status == MADE_WAY
        if self._orphans:
            self._orphans.forget(w.pid)
        ended = self._forget(w)
        del self._workers[w.number]
        journal = read_journal(w.journal)
        for receipt in journal.receipts:
            if receipt.attempt in w.outstanding:
                w.outstanding.remove(receipt.attempt)
                events.append(Received(worker=w.number, receipt=receipt))
        lost = tuple(a for a in w.outstanding if a in journal.started)
        returned = tuple(a for a in w.outstanding if a not in journal.started)
        kill_attempts(lost)
        is_early = w.importing is not None or w.has_refused
        if not (lost or is_early) and (kill_attempts(returned[:1]) or ended):  # it did start: a script can spoil that
            lost, returned = returned[:1], returned[1:]
        if w.warm and not (journal.started or lost) and not os.path.exists(w.journal):  # it never heard of anything
            if w.importing:
                self._preloading.died(w.importing, status)
            elif not w.has_refused:
                self._spawner.take_unfit(w, status)
            self._start_worker(w.number)
            return Returned(worker=w.number, attempts=returned)
        if not (journal.started or lost) and time.monotonic() - w.started < _QUICK_DEATH:
            self._quick_deaths += 1
            if self._quick_deaths > _QUICK_DEATHS_ALLOWED:
                raise PoolError(f"workers die as soon as they start; the last words of one are in {w.errors}")
        self._start_worker(w.number)
        return Died(worker=w.number, pid=w.pid, lost=lost, returned=returned, made_way=made_way)

    def _end_orphans(self) -> None:
        if self._orphans:
            self._orphans.end([attempt for w in self._workers.values() for attempt in w.outstanding])

    def _forget(self, w: Worker) -> int:
        """Let go of a dead worker; returns how many processes were left in its control groups, and are ended."""
        self._selector.unregister(w.connection)
        w.connection.close()
        if w.pidfd is not None:
            self._selector.unregister(w.pidfd)
            os.close(w.pidfd)
        return sum(groups.remove(group) for group in w.groups)

    def _drain_wakeups(self) -> None:
        try:
            while self._wakened.recv(4096):
                pass
        except BlockingIOError:
            pass
