"""How long it will take: before a run by playing the plan through, during a run from what is behind it.

Pure: durations and times are arguments. What is known of a job are the seconds it took in its last few runs; a job
nobody has seen is taken to last as long as others that nobody had seen do in this run, and as the known ones do.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot, sqrt

from buildrunner.job import JobSpec
from buildrunner.plan import Order, Plan

_ONE_TIME = 0.15  # of its duration: how far a job may be off that was seen once
_DRIFT = 0.4  # how far this machine may be off today, as a share, before anything has ended
_ONE_DRIFT = 0.1  # how far one job's share may be from the machine's
_DOUBT = 3  # endings of jobs nobody had seen: what it takes to believe that they last about as long as one another
_SHORTEST = 1e-6  # seconds a job is taken to last at least, so that shares of it can be said
_MARGIN = 1.65  # standard deviations on either side: nine times in ten it is within
_NO_PAUSE = 1.0  # seconds; what lasts longer is no pause between two scripts but the end of a worker, or of a session
_OF_SEVERAL = 0.6  # standard deviations by which the last of a few jobs is later than the one expected to be last


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How runs go.

    `between`: seconds between two scripts on one worker; `apart`: between the first scripts of one worker and of the
    next; `factor`: how many times their usual time scripts take.
    """

    between: float = 0.0
    apart: float = 0.0
    factor: float = 1.0


class Paces:
    """How runs went, by their number of workers: more of them wait for one another, and for the processors."""

    def __init__(
        self,
        runs: Iterable[tuple[int, Sequence[tuple[str, int, float, float]]]] = (),
        usual: Mapping[str, float] | None = None,
    ) -> None:
        """`runs`: the workers of each, and its attempts by their start: job, worker, when it began, seconds.

        `usual` are the seconds that each job is expected to take. The sum of many medians is not what they take
        together: a few that take longer than usual outweigh all that do not.
        """
        from statistics import median  # takes as long to import as a script to start, and most commands need none

        found: dict[int, list[Pace]] = {}
        for workers, attempts in runs:
            found.setdefault(workers, []).append(_pace(attempts, usual or {}))
        self._paces = {
            workers: Pace(
                between=median(p.between for p in paces),
                apart=median(p.apart for p in paces),
                factor=median(p.factor for p in paces),
            )
            for workers, paces in found.items()
        }

    def of(self, workers: int) -> Pace:
        """For so many workers; if no run had as many, as with the nearest number that one had."""
        if not self._paces:
            return Pace()
        return self._paces[min(self._paces, key=lambda number: (abs(number - workers), number))]


def _pace(attempts: Sequence[tuple[str, int, float, float]], usual: Mapping[str, float]) -> Pace:
    ends: dict[int, float] = {}
    firsts: list[float] = []
    between = []
    took = expected = 0.0
    for job, worker, began, seconds in attempts:
        if worker in ends and began - ends[worker] < _NO_PAUSE:
            between.append(max(0.0, began - ends[worker]))
        elif worker not in ends:
            firsts.append(began)
        ends[worker] = began + seconds
        if job in usual:
            took, expected = took + seconds, expected + usual[job]
    return Pace(
        between=sum(between) / len(between) if between else 0.0,
        apart=min(_NO_PAUSE, max(0.0, firsts[-1] - firsts[0]) / (len(firsts) - 1)) if len(firsts) > 1 else 0.0,
        factor=took / expected if took and expected else 1.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Makespan:
    """Seconds from the first script's start to the last one's end on so many workers, and the least any order needs.

    Both count what lies between two scripts on one worker, the first also what lies between the workers' starts.
    """

    workers: int
    seconds: float
    bound_seconds: float
    between_seconds: float
    apart_seconds: float


def makespan(
    jobs: Sequence[JobSpec],
    durations: Mapping[str, float],
    workers: int,
    *,
    order: Order = Order.LONGEST,
    seed: int = 0,
    pace: Pace = Pace(),
) -> Makespan | None:
    """Let the plan hand the jobs out in a time that does not pass; None when no duration is known at all.

    >>> jobs = [JobSpec(name=n, command=("true",)) for n in ("a", "b", "c")]
    >>> makespan(jobs, {"a": 1.0, "b": 2.0, "c": 2.5}, 2).seconds
    3.0
    """
    plan = Plan(jobs, durations=durations, order=order, seed=seed, workers=workers)
    taken: dict[str, float] = {}
    running: list[tuple[float, str]] = []
    now = 0.0
    while True:
        while len(running) < workers and (spec := plan.take()):
            seconds = plan.estimate(spec.name)
            if seconds is None:
                return None
            taken[spec.name] = seconds = seconds * pace.factor
            pause = pace.between if len(taken) > workers else pace.apart * (len(taken) - 1)
            heapq.heappush(running, (now + pause + seconds, spec.name))
        if not running:
            break
        now = running[0][0]
        while running and running[0][0] == now:  # all that end at once, before anything takes their place
            plan.finished(heapq.heappop(running)[1], passed=True)
    pauses = pace.between * max(0, len(taken) - workers)
    bound = max(plan.longest_chain(taken), (sum(taken.values()) + pauses) / workers)
    return Makespan(
        workers=workers,
        seconds=now,
        bound_seconds=bound,
        between_seconds=pace.between,
        apart_seconds=pace.apart,
    )


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
        self._predicted = self._observed = self._off = 0.0  # seconds of known jobs that ended; variance
        self._ended = 0

    def started(self, name: str, now: float) -> None:
        """The job's script runs from now on."""
        self._leave(name)
        self._running[name] = now

    def returned(self, name: str) -> None:
        """The job waits again."""
        self._running.pop(name, None)
        if name in self._left:
            return
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
            self._off += self._known[name][1] ** 2
            self._ended += 1
        else:
            self._strangers.add(max(seconds, _SHORTEST))

    def dropped(self, name: str) -> None:
        """The job will not run."""
        self._running.pop(name, None)
        self._leave(name)

    def remaining(self, now: float) -> Remaining | None:
        """The time left, None when there is nothing to go by."""
        if (self._unknown or any(job not in self._known for job in self._running)) and not self._has_basis():
            return None
        drift, drift_error = self._drift(now)
        mean, error, mean_error = self._stranger(now, drift)
        number = len(self._unknown)
        work = self._waiting.seconds * drift + number * mean
        variance = self._waiting.variance * drift**2 + number * error**2
        together = hypot(self._waiting.seconds * drift_error, number * mean_error)  # what is off for all alike
        longest = max(self._longest_waiting() * drift, mean if number else 0.0)
        last = latest = 0.0  # of what runs: when the last one is expected to end, and by when it will have
        for name, since in self._running.items():
            if name in self._known:
                seconds, off = self._known[name]
                seconds, off = seconds * drift, hypot(off * drift, seconds * drift_error)
            else:
                seconds, off = mean, hypot(error, mean_error)
            left, off = _still(seconds, off, max(0.0, now - since))
            work += left
            variance += off**2
            last = max(last, left + (_OF_SEVERAL * off if len(self._running) > 1 else 0.0))
            latest = max(latest, left + _MARGIN * off)
        waiting = number + len(self._left)
        busy = min(self._workers, waiting + len(self._running)) or 1
        # What starts last ends somewhere between the others' end and its own length later.
        ragged = (1 - 1 / busy) / 2 * work / (waiting + len(self._running)) if waiting else 0.0
        if number:
            ragged = max(ragged, (1 - 1 / busy) * number / waiting * (mean + error**2 / mean))
        seconds = max(work / busy + ragged / 2, longest, last)
        spread = sqrt(variance + together**2) / busy + ragged / 2
        return Remaining(seconds=seconds, plus_minus=max(_MARGIN * spread, latest - seconds))

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

    def _stranger(self, now: float, drift: float) -> tuple[float, float, float]:
        """What a job nobody has seen may take: seconds, how far one may be off, how far their mean may be.

        Known jobs count like one stranger that has ended. What runs has not ended yet and so is longer than what
        has: the more they differ, the more of its time counts
        (B. Epstein and M. Sobel, Life testing, 1953: the mean of exponential times that are cut off).
        """
        sample = self._strangers
        count, total = sample.count, sample.sum
        if self._others.count:
            count, total = count + 1, total + self._others.sum / self._others.count * drift
        if not count:
            return 0.0, 0.0, 0.0
        mean = total / count
        variance = (_DOUBT * mean**2 + sample.squares) / (_DOUBT + sample.count)
        going = sum(max(0.0, now - since) for name, since in self._running.items() if name not in self._known)
        mean += min(1.0, variance / mean**2) * going / count
        error = sqrt((_DOUBT * mean**2 + sample.squares) / (_DOUBT + sample.count))
        return mean, error, error / sqrt(max(1, sample.count))

    def _drift(self, now: float) -> tuple[float, float]:
        """By what factor scripts take longer today than they did, and how far that may be off."""
        predicted, observed, variance, number = self._predicted, self._observed, self._off, float(self._ended)
        for name, since in self._running.items():
            if name in self._known and now - since > self._known[name][0]:  # overdue: it tells already
                seconds, off = self._known[name]
                predicted, observed, variance, number = (
                    predicted + seconds, observed + now - since, variance + off**2, number + 1,
                )  # fmt: skip
        if not predicted:
            return 1.0, _DRIFT
        # Many short jobs say little about one that is longer than all of them together.
        longest = max([self._longest_waiting(), *(self._known[n][0] for n in self._running if n in self._known)])
        number = min(number, predicted / longest) if longest else number
        of_sample = variance / predicted**2 + _ONE_DRIFT**2 / number
        weight = _DRIFT**2 / (_DRIFT**2 + of_sample)
        return 1.0 + weight * (observed / predicted - 1.0), sqrt(weight * of_sample)


def _still(seconds: float, off: float, had: float) -> tuple[float, float]:
    """What a job may still take after it had some time, and by how much that may be off.

    The more its time may be off, the less it matters what it had (as with gamma times). One that is overdue may take
    as long again as it is overdue, who knows.
    """
    usual = seconds - had
    left = max(usual, min(1.0, (off / seconds) ** 2) * seconds, -usual)
    return left, max(off if usual > -off else 0.0, -usual, min(off, left))


class _Sums:
    """Seconds and variance of jobs that come and go."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = self.variance = 0.0

    def add(self, seconds: float, error: float) -> None:
        self.count += 1
        self.seconds += seconds
        self.variance += error**2

    def remove(self, seconds: float, error: float) -> None:
        self.count -= 1
        self.seconds = max(0.0, self.seconds - seconds) if self.count else 0.0  # no rounding is left of nothing
        self.variance = max(0.0, self.variance - error**2) if self.count else 0.0


class _Sample:
    """Values that come one by one: how many, their sum, and their squared distances from their mean, summed."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = self.squares = 0.0

    def add(self, value: float) -> None:
        before = self.sum / self.count if self.count else value
        self.count += 1
        self.sum += value
        self.squares += (value - before) * (value - self.sum / self.count)


def _typical(times: Sequence[float]) -> tuple[float, float]:
    """The median of a job's last times, and by how much the next one may be off."""
    ordered = sorted(times)
    middle = len(ordered) // 2
    seconds = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    seconds = max(seconds, _SHORTEST)
    return seconds, sqrt(((_ONE_TIME * seconds) ** 2 + sum((t - seconds) ** 2 for t in times)) / len(times))
