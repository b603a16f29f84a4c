"""How long it will take: before a run by playing the plan through, during a run from what is behind it.

Pure: durations and times are arguments. What is known of a job are the seconds it took in its last few runs; a job
nobody has seen is taken to last as long as others that nobody had seen did in this run, or else as long as the known
ones on average.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from buildrunner.job import JobSpec
from buildrunner.plan import Order, Plan

_ONE_TIME = 0.15  # of its duration: how far a job may be off that was seen once
_AT_LEAST = 0.02  # of its duration: how far any job may be off
_DRIFT = 0.3  # how far this machine may be off today, as a share, before anything has ended
_OVERDUE = 0.1  # of the time it has had: what a job that is overdue may still take
_MARGIN = 1.65  # standard deviations on either side: nine times in ten it is within


@dataclass(frozen=True, slots=True, kw_only=True)
class Makespan:
    """Seconds from the first script's start to the last one's end on so many workers, and the least any order needs."""

    workers: int
    seconds: float
    bound_seconds: float


def makespan(
    jobs: Sequence[JobSpec],
    durations: Mapping[str, float],
    workers: int,
    *,
    order: Order = Order.LONGEST,
    seed: int = 0,
) -> Makespan | None:
    """Let the plan hand the jobs out in a time that does not pass; None when no duration is known at all.

    >>> jobs = [JobSpec(name=n, command=("true",)) for n in ("a", "b", "c")]
    >>> makespan(jobs, {"a": 1.0, "b": 2.0, "c": 2.5}, 2).seconds
    3.0
    """
    plan = Plan(jobs, durations=durations, order=order, seed=seed)
    taken: dict[str, float] = {}
    running: list[tuple[float, str]] = []
    now = 0.0
    while True:
        while len(running) < workers and (spec := plan.take()):
            seconds = plan.estimate(spec.name)
            if seconds is None:
                return None
            taken[spec.name] = seconds
            heapq.heappush(running, (now + seconds, spec.name))
        if not running:
            break
        now, name = heapq.heappop(running)
        plan.finished(name, passed=True)
    bound = max(plan.longest_chain(taken), sum(taken.values()) / workers)
    return Makespan(workers=workers, seconds=now, bound_seconds=bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """Seconds until the last script ends, and by how much that may be wrong on either side."""

    seconds: float
    plus_minus: float


class Outlook:
    """Follows a run and says how long it will go on. What happens is told to it with the time (monotonic seconds)."""

    def __init__(self, jobs: Iterable[str], past: Mapping[str, Sequence[float]], *, workers: int) -> None:
        """`jobs` are those that are still to be decided, `past` their seconds in earlier runs."""
        self._workers = workers
        self._known: dict[str, tuple[float, float]] = {}  # job → seconds and by how much that may be off
        self._unknown: set[str] = set()
        self._waiting = _Sums()
        self._longest: list[tuple[float, str]] = []
        for name in jobs:
            if times := past.get(name):
                self._known[name] = _typical(times)
                self._waiting.add(*self._known[name])
                self._longest.append((-self._known[name][0], name))
            else:
                self._unknown.add(name)
        heapq.heapify(self._longest)
        self._strangers = _Sample()  # what jobs took that nobody had seen before
        self._others = _Sample()  # what known jobs are expected to take: a guess at what strangers may
        for seconds, _ in self._known.values():
            self._others.add(seconds)
        self._running: dict[str, float] = {}
        self._left = set(self._known)  # of these, still waiting
        self._predicted = self._observed = 0.0
        self._ended = 0

    def started(self, name: str, now: float) -> None:
        """The job's script runs from now on."""
        self._leave(name)
        self._running[name] = now

    def returned(self, name: str) -> None:
        """The job waits again."""
        self._running.pop(name, None)
        if name in self._known:
            self._left.add(name)
            self._waiting.add(*self._known[name])
            heapq.heappush(self._longest, (-self._known[name][0], name))
        else:
            self._unknown.add(name)

    def ended(self, name: str, seconds: float) -> None:
        """The job's script took so long."""
        self._running.pop(name, None)
        self._leave(name)
        if name in self._known:
            self._predicted += self._known[name][0]
            self._observed += seconds
            self._ended += 1
        else:
            self._strangers.add(seconds)

    def dropped(self, name: str) -> None:
        """The job will not run."""
        self._running.pop(name, None)
        self._leave(name)

    def expected(self, name: str) -> float | None:
        """Seconds the job is expected to take, None when there is nothing to go by."""
        if name in self._known:
            return self._known[name][0]
        return self._stranger()[0] if self._has_basis() else None

    def remaining(self, now: float) -> Remaining | None:
        """The time left, None when there is nothing to go by."""
        if (self._unknown or self._running.keys() - self._known.keys()) and not self._has_basis():
            return None
        drift, drift_error = self._drift()
        mean, error, mean_error = self._stranger()
        number = len(self._unknown)
        total = self._waiting.seconds * drift + number * mean
        variance = self._waiting.variance + number * error**2
        unsure = (self._waiting.seconds * drift_error) ** 2 + (number * mean_error) ** 2
        last = max(self._longest_waiting() * drift, mean if number else 0.0)
        for name, since in self._running.items():
            seconds, off = self._known.get(name, (mean, error))
            had = max(0.0, now - since)
            left = max(seconds * drift - had, _OVERDUE * had)
            total += left
            variance += off**2
            last = max(last, left)
        busy = min(self._workers, number + len(self._left) + len(self._running)) or 1
        spread = sqrt(variance + unsure) / busy
        return Remaining(seconds=max(total / busy, last), plus_minus=_MARGIN * spread)

    def _leave(self, name: str) -> None:
        if name in self._left:
            self._left.remove(name)
            self._waiting.remove(*self._known[name])
        self._unknown.discard(name)

    def _longest_waiting(self) -> float:
        while self._longest and self._longest[0][1] not in self._left:
            heapq.heappop(self._longest)
        return -self._longest[0][0] if self._longest else 0.0

    def _has_basis(self) -> bool:
        return self._strangers.count + self._others.count > 0

    def _stranger(self) -> tuple[float, float, float]:
        """What a job nobody has seen may take: seconds, how far one may be off, how far their mean may be."""
        sample = self._strangers if self._strangers.count else self._others
        if not sample.count:
            return 0.0, 0.0, 0.0
        error = sample.deviation if sample.count > 1 else sample.mean
        return sample.mean, error, error / sqrt(sample.count) if sample is self._strangers else sample.mean / 2

    def _drift(self) -> tuple[float, float]:
        """By what factor scripts take longer today than they did, and how far that may be off."""
        if not self._ended:
            return 1.0, _DRIFT
        prior = self._predicted / self._ended * self._workers  # a job a worker that goes as it always did
        return (self._observed + prior) / (self._predicted + prior), _DRIFT / sqrt(1 + self._ended)


class _Sums:
    """Seconds and variance of jobs that come and go."""

    def __init__(self) -> None:
        self.seconds = self.variance = 0.0

    def add(self, seconds: float, error: float) -> None:
        self.seconds += seconds
        self.variance += error**2

    def remove(self, seconds: float, error: float) -> None:
        self.seconds = max(0.0, self.seconds - seconds)
        self.variance = max(0.0, self.variance - error**2)


class _Sample:
    """Mean and standard deviation of values that come one by one."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = self._squares = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self._sum += value
        self._squares += value**2

    @property
    def mean(self) -> float:
        return self._sum / self.count

    @property
    def deviation(self) -> float:
        return sqrt(max(0.0, self._squares / self.count - self.mean**2))


def _typical(times: Sequence[float]) -> tuple[float, float]:
    """The median of a job's last times, and by how much the next one may be off."""
    ordered = sorted(times)
    middle = len(ordered) // 2
    seconds = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    off = (ordered[-1] - ordered[0]) / 2 if len(ordered) > 1 else _ONE_TIME * seconds
    return seconds, max(off, _AT_LEAST * seconds)
