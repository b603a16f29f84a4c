"""What runs next, and why. Pure: no files, no clocks, no processes.

Ready jobs are ordered by priority (lower first), then by the longest remaining path through the jobs that come
after them, by durations remembered from earlier runs, then by name. What a job may take that nobody has seen is said by
those that are known (estimate.py).

With several workers such a job counts as long as it may well be: one that turns out to be short costs nothing where it
began early, and one that turns out to be long costs much where it began late. Jobs about which nothing is known at all
come from both ends of the alphabet, and are ordered anew whenever twice as many of them have ended. With one worker no
order is faster than another, and they come by name.
"""

import heapq
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum

from buildrunner.errors import UsageError
from buildrunner.estimate import LOOKED_AT, Estimate, Estimates, Rule, from_both_ends
from buildrunner.job import JobSpec

_FIRST_LESSON = 4  # jobs nobody had seen that must have ended before the others are ordered by what they took
_ORDERING = 1e-4  # seconds that ordering one job takes at most; ordering all shall take less than one of them does


class Order(StrEnum):
    """How ready jobs of equal priority are ordered."""

    LONGEST = "longest"
    NAME = "name"
    SHORTEST = "shortest"
    RANDOM = "random"


class Plan:
    """Hands out jobs in order; the caller reports what ended.

    >>> jobs = [JobSpec(name=n, command=("true",)) for n in ("a", "b", "c")]
    >>> plan = Plan(jobs, durations={"b": 9.0, "a": 1.0})
    >>> [plan.take().name for _ in range(3)]
    ['b', 'c', 'a']
    >>> plan.take() is None
    True

    `durations` maps names to seconds. `seed` makes the random order repeatable.
    `taken` are jobs that were handed out before this plan was made. `workers`: how many jobs go on at once.
    """

    def __init__(
        self,
        jobs: Iterable[JobSpec],
        *,
        durations: Mapping[str, float] | None = None,
        order: Order = Order.LONGEST,
        seed: int = 0,
        taken: Collection[str] = (),
        workers: int = 1,
    ) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._known = dict(durations or {})
        self._typical = _median(self._known.values()) if self._known else None
        self._order, self._at_once = order, workers > 1
        self._new = {name for name in self._jobs if name not in self._known}
        self._estimates = self._estimate_new()
        self._lesson = _FIRST_LESSON
        self._lessons = 0
        self._blocked_by: dict[str, set[str]] = {}
        self._followers: dict[str, list[str]] = {}
        for job in self._jobs.values():
            for before in set(job.after):
                if before not in self._jobs:
                    raise UsageError(f"job {job.name!r} comes after {before!r}, which is not in the batch")
                self._blocked_by.setdefault(job.name, set()).add(before)
                self._followers.setdefault(before, []).append(job.name)
        self._sorted = self._topological()
        self._places = self._places_of_new()
        self._rank = self._ranks(order, random.Random(seed))
        self._ready: list[tuple[int, float, int, str]] = []
        for name in self._jobs:
            if name not in self._blocked_by and name not in taken:
                self._push(name)

    @property
    def ready(self) -> int:
        """How many jobs could be taken now."""
        return len(self._ready)

    def take(self) -> JobSpec | None:
        """The next job, or None when none is ready."""
        if not self._ready:
            return None
        return self._jobs[heapq.heappop(self._ready)[-1]]

    def put_back(self, name: str) -> None:
        """Make a taken job ready again: its attempt never started, or another attempt is allowed."""
        self._push(name)

    def drop(self, names: Iterable[str]) -> None:
        """Never hand these jobs out."""
        gone = set(names)
        for name in gone:
            self._blocked_by.pop(name, None)
        self._ready = [entry for entry in self._ready if entry[-1] not in gone]
        heapq.heapify(self._ready)

    def finished(self, name: str, *, passed: bool) -> list[str]:
        """Report a job's end. Returns the names that can now never run because of it, if it did not pass."""
        if passed:
            for follower in self._followers.get(name, ()):
                blockers = self._blocked_by.get(follower)
                if blockers is None:  # skipped, because something else it waited for did not pass
                    continue
                blockers.discard(name)
                if not blockers:
                    del self._blocked_by[follower]
                    self._push(follower)
            return []
        skipped: list[str] = []
        todo = [name]
        while todo:
            for follower in self._followers.get(todo.pop(), ()):
                if self._blocked_by.pop(follower, None) is not None:
                    skipped.append(follower)
                    todo.append(follower)
        return skipped

    def estimate(self, name: str) -> float | None:
        """Seconds the job is expected to take: remembered, else what the known ones say, None when none is known."""
        if (seconds := self._known.get(name)) is not None:
            return seconds
        return found.seconds if (found := self._estimates.get(name)) else self._typical

    def estimated(self, name: str) -> Estimate | None:
        """What the known jobs say about one that nobody has seen; None when none is known."""
        if name in self._known or self._typical is None:
            return None
        return self._estimates.get(name) or Estimate(seconds=self._typical, at_most=self._typical, rule=Rule.MEDIAN)

    def remembered(self, name: str) -> float | None:
        """Seconds the job took before, None when it never ran."""
        return self._known.get(name)

    def observe(self, name: str, seconds: float) -> None:
        """Learn a duration, so that estimates of jobs nobody has seen rest on something."""
        self._known[name] = seconds
        if self._typical is None:
            self._typical = seconds
        else:  # a running estimate of the median costs nothing at 100,000 jobs; exactness buys nothing
            step = self._typical * 0.1 or seconds * 0.1
            self._typical += step if seconds > self._typical else -step
        if name in self._new:
            self._new.remove(name)
            self._lessons += 1
            if self._lessons == self._lesson:
                self._lesson *= 2
                self._order_anew()

    def longest_chain(self, seconds: Mapping[str, float]) -> float:
        """The longest path through the jobs, by the given durations (0 where missing)."""
        return max(self._paths(seconds, 0.0).values(), default=0.0)

    def _ranks(self, order: Order, rng: random.Random) -> dict[str, float]:
        if order is Order.NAME:
            return {}
        if order is Order.RANDOM:
            return {name: rng.random() for name in sorted(self._jobs)}
        if order is Order.LONGEST and self._at_once:
            new = {name: estimate.at_most for name, estimate in self._estimates.items()}
        else:
            new = {name: estimate.seconds for name, estimate in self._estimates.items()}
        sign = -1.0 if order is Order.LONGEST else 1.0
        paths = self._paths(new | self._known, self._typical or 0.0)
        return {name: sign * seconds for name, seconds in paths.items()}

    def _estimate_new(self) -> dict[str, Estimate]:
        if not self._known or not self._new or len(self._new) > LOOKED_AT:
            return {}
        estimates = Estimates(self._known)
        return {name: estimates.of(name) for name in self._new}

    def _places_of_new(self) -> dict[str, int]:
        """Among jobs of equal rank, the place of those nobody has seen; the others come before them, by name."""
        if self._order is not Order.LONGEST or not self._at_once or len(self._new) > LOOKED_AT:
            return {}
        return {name: place for place, name in enumerate(from_both_ends(self._new), start=1)}

    def _order_anew(self) -> None:
        """Order what is ready by what has ended by now."""
        if self._order is not Order.LONGEST or not self._at_once or not 0 < len(self._new) <= LOOKED_AT:
            return
        if (self._typical or 0.0) < _ORDERING * len(self._jobs):
            return
        self._estimates = self._estimate_new()
        self._rank = self._ranks(self._order, random.Random())
        names = [entry[-1] for entry in self._ready]
        self._ready.clear()
        for name in names:
            self._push(name)

    def _paths(self, seconds: Mapping[str, float], unknown: float) -> dict[str, float]:
        paths: dict[str, float] = {}
        for name in self._sorted:
            tail = max((paths[f] for f in self._followers.get(name, ())), default=0.0)
            paths[name] = seconds.get(name, unknown) + tail
        return paths

    def _topological(self) -> list[str]:
        """Names with every follower before what it follows; UsageError on a cycle."""
        if not self._followers:
            return list(self._jobs)
        open_followers = {name: len(self._followers.get(name, ())) for name in self._jobs}
        order = [name for name, count in open_followers.items() if not count]
        for name in order:
            for before in set(self._jobs[name].after):
                open_followers[before] -= 1
                if not open_followers[before]:
                    order.append(before)
        if len(order) < len(self._jobs):
            stuck = sorted(name for name, count in open_followers.items() if count)
            raise UsageError(f"these jobs wait for one another: {', '.join(map(repr, stuck))}")
        return order

    def _push(self, name: str) -> None:
        place = self._places.get(name, 0)
        heapq.heappush(self._ready, (self._jobs[name].priority, self._rank.get(name, 0.0), place, name))


def shards(names: Iterable[str], durations: Mapping[str, float], count: int) -> list[list[str]]:
    """Share jobs out so that the shards take about as long as one another: the longest first, each to the least loaded.

    A job without a duration counts as long as the median of the others
    (R. L. Graham, Bounds on multiprocessing timing anomalies, 1969: at most 4/3 of the best).

    >>> shards(["a", "b", "c", "d"], {"a": 3.0, "b": 2.0, "c": 1.5, "d": 1.0}, 2)
    [['a', 'd'], ['b', 'c']]
    """
    names = list(names)
    known = [durations[name] for name in names if name in durations]
    typical = _median(known) if known else 1.0
    parts: list[list[str]] = [[] for _ in range(count)]
    loads = [(0.0, 0, number) for number in range(count)]
    for name in sorted(names, key=lambda name: (-durations.get(name, typical), name)):
        seconds, jobs, number = heapq.heappop(loads)
        parts[number].append(name)
        heapq.heappush(loads, (seconds + durations.get(name, typical), jobs + 1, number))
    return parts


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each job's times.

    >>> medians({"a": [1.0, 9.0, 2.0]})
    {'a': 2.0}
    """
    return {name: _median(values) for name, values in times.items()}


def _median(values: Iterable[float]) -> float:
    from statistics import median  # takes as long to import as a script to start; most first runs need none

    return median(values)
