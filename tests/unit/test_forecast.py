"""Forecasts: the makespan against a list scheduling done by hand, and how often the time left is within its ±."""

import heapq
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buildrunner.estimate import Estimates, from_both_ends
from buildrunner.forecast import Makespan, Outlook, Pace, Paces, Remaining, makespan
from buildrunner.job import JobSpec
from buildrunner.plan import Order, Plan, medians

# makespan


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[JobSpec], dict[str, float]]:
    """Jobs that come only after earlier ones; at least one has a remembered duration."""
    names = [f"j{number}" for number in range(draw(st.integers(1, 10)))]
    jobs = [
        JobSpec(
            name=name,
            after=tuple(draw(st.lists(st.sampled_from(names[:n]), max_size=3, unique=True))) if n else (),
            priority=draw(st.integers(-1, 1)),
        )
        for n, name in enumerate(names)
    ]
    known = draw(st.dictionaries(st.sampled_from(names), st.integers(1, 1000).map(float), min_size=1))
    return draw(st.permutations(jobs)), known


def by_hand(
    jobs: Sequence[JobSpec],
    seconds: Mapping[str, float],
    order: Order,
    workers: int,
    *,
    doubted: Mapping[str, float],
    pace: Pace,
) -> float:
    """List scheduling without a heap or a plan: at every moment, look at all jobs and take the one that ranks first.

    `doubted` are the seconds by which they rank, if those are others than they take.
    """
    followers = {job.name: [other for other in jobs if job.name in other.after] for job in jobs}

    def path(name: str) -> float:
        return doubted.get(name, seconds[name]) + max(
            (path(follower.name) for follower in followers[name]), default=0.0
        )

    def place(name: str) -> int:
        return new.index(name) + 1 if name in new else 0

    sign = {Order.LONGEST: -1, Order.SHORTEST: 1, Order.NAME: 0}[order]
    new = from_both_ends(doubted) if workers > 1 and order is Order.LONGEST else []
    ends: dict[str, float] = {}
    waiting, now = list(jobs), 0.0
    while waiting or any(end > now for end in ends.values()):
        ready = [job for job in waiting if all(ends.get(b, math.inf) <= now for b in job.after)]
        if ready and sum(end > now for end in ends.values()) < workers:
            first = min(ready, key=lambda job: (job.priority, sign * path(job.name), place(job.name), job.name))
            waiting.remove(first)
            pause = pace.between if len(ends) >= workers else pace.apart * len(ends)
            ends[first.name] = now + pause + pace.factor * seconds[first.name]
        else:
            now = min(end for end in ends.values() if end > now)
    return now


@settings(deadline=None)
@given(
    batches(),
    st.integers(1, 4),
    st.sampled_from([Order.LONGEST, Order.SHORTEST, Order.NAME]),
    st.builds(
        Pace,
        between=st.sampled_from([0.0, 0.5]),
        apart=st.sampled_from([0.0, 0.25]),
        factor=st.sampled_from([1.0, 1.25]),
    ),
)
@example(
    ([JobSpec(name=n) for n in "abcdefg"], dict(zip("abcdefg", (5.0, 5, 4, 4, 3, 3, 3), strict=True))),
    3,
    Order.LONGEST,
    Pace(),
)
def test_the_makespan_is_that_of_list_scheduling(
    case: tuple[list[JobSpec], dict[str, float]], workers: int, order: Order, pace: Pace
) -> None:
    jobs, known = case
    estimates = Estimates(known)
    new = {job.name: estimates.of(job.name) for job in jobs if job.name not in known}
    seconds = known | {name: estimate.seconds for name, estimate in new.items()}
    doubted = {name: e.at_most if workers > 1 and order is Order.LONGEST else e.seconds for name, e in new.items()}
    span = makespan(jobs, known, workers, order=order, pace=pace)
    assert span
    assert span.seconds == pytest.approx(by_hand(jobs, seconds, order, workers, doubted=doubted, pace=pace))
    lengths = {name: pace.factor * length for name, length in seconds.items()}
    chain, total, pauses = (
        Plan(jobs).longest_chain(lengths),
        sum(lengths.values()),
        (pace.between + pace.apart) * len(jobs),
    )
    assert span.bound_seconds == pytest.approx(
        max(chain, (total + pace.between * max(0, len(jobs) - workers)) / workers)
    )
    # R. L. Graham, Bounds on multiprocessing timing anomalies, 1969, theorem 1.
    most = (total + pauses) / workers + (chain + pauses) * (1 - 1 / workers)
    assert span.bound_seconds - 1e-6 <= span.seconds <= most + 1e-6


def attempts(gap: float, factor: float, workers: int = 2, number: int = 12) -> list[tuple[str, int, float, float]]:
    """Of a run in which every job took so many seconds, with such a gap between two of them."""
    return [
        (f"j{n}", n % workers, 1000.0 + n % workers * 0.125 + n // workers * (factor + gap), factor)
        for n in range(number)
    ]


def test_how_runs_went_is_seen_by_their_workers() -> None:
    usual = {f"j{n}": 1.0 for n in range(12)}
    runs = [(4, attempts(0.25, 2.0, workers=4)), (1, attempts(0.01, 1.0, workers=1))]
    paces = Paces(runs, usual)
    for workers, between, apart, factor in (
        (1, 0.01, 0.0, 1.0),
        (2, 0.01, 0.0, 1.0),
        (3, 0.25, 0.125, 2.0),
        (64, 0.25, 0.125, 2.0),
    ):
        assert paces.of(workers) == Pace(
            between=pytest.approx(between), apart=pytest.approx(apart), factor=pytest.approx(factor)
        ), workers
    assert Paces().of(2) == Paces([(2, [])]).of(2) == Pace()
    span = makespan([JobSpec(name=name) for name in usual], usual, 4, pace=paces.of(4))
    assert span
    assert span.seconds == pytest.approx(3 * 0.125 + 3 * 2.0 + 2 * 0.25)
    assert span.bound_seconds == pytest.approx(3 * 2.0 + 2 * 0.25)


def test_no_pause_is_learned_where_a_worker_had_nothing_to_do_with_it() -> None:
    before = attempts(0.01, 1.0)
    later = [(job, worker, began + 3600, seconds) for job, worker, began, seconds in before]  # carried on after an hour
    assert Paces([(2, before + later)]).of(2).between == pytest.approx(0.01)
    back = [(job, worker, 1000.0, seconds) for job, worker, _, seconds in before]  # the clock was set back
    assert Paces([(2, back)]).of(2).between == 0.0


def test_what_many_take_together_is_not_the_sum_of_their_medians() -> None:
    """Each job has one run in five that takes four times as long; their sum is always the same."""
    times = {f"j{n}": [4.0 if run == n % 5 else 1.0 for run in range(5)] for n in range(50)}
    runs = [(1, [(name, 0, n * 4.0, past[run]) for n, (name, past) in enumerate(times.items())]) for run in range(5)]
    usual = medians(times)
    assert sum(usual.values()) == 50
    span = makespan(
        [JobSpec(name=name) for name in times], usual, 1, pace=replace(Paces(runs, usual).of(1), between=0.0)
    )
    assert span
    assert span.seconds == pytest.approx(80.0)


def test_what_ends_at_once_has_all_ended_before_anything_takes_its_place() -> None:
    after = {"a": "", "b": "", "c": "b", "d": "b", "e": "", "f": "cd"}
    jobs = [JobSpec(name=name, after=tuple(before)) for name, before in after.items()]
    seconds = {"a": 3.0, "b": 3.0, "c": 3.0, "d": 2.0, "e": 3.0, "f": 4.0}
    span = makespan(jobs, seconds, 2)
    assert span
    assert span.seconds == 10.0  # a and b, then c and d, which both free f, then f and beside it e


def test_nothing_known_is_no_makespan() -> None:
    assert makespan([JobSpec(name="a")], {}, 2) is None
    assert makespan([], {}, 2) == Makespan(
        workers=2, seconds=0.0, bound_seconds=0.0, between_seconds=0.0, apart_seconds=0.0
    )


# the outlook's sums

NAMES = [f"j{n}" for n in range(4)]
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["start", "end", "again", "drop", "return"]), st.sampled_from(NAMES), st.floats(0, 50)),
    max_size=60,
)
PASTS = st.dictionaries(st.sampled_from(NAMES), st.lists(st.floats(0, 100), min_size=1, max_size=5))


@settings(deadline=None, max_examples=60)
@given(PASTS, OPERATIONS, st.integers(1, 4))
def test_what_is_kept_up_to_date_equals_what_is_computed_anew(
    past: dict[str, list[float]], operations: list[tuple[str, str, float]], workers: int
) -> None:
    """Whatever happened in between, only what has ended, what runs and what waits may count."""
    outlook = Outlook(NAMES, past, workers=workers)
    waiting, running, over = set(NAMES), dict[str, float](), list[tuple[str, float]]()
    now = 0.0
    for verb, name, seconds in operations:
        now += seconds
        match verb:
            case "start" if name in waiting:
                waiting.remove(name)
                running[name] = now
                outlook.started(name, now)
            case "end" | "again" if name in running:
                del running[name]
                over.append((name, seconds))
                outlook.ended(name, seconds)
                if verb == "again":
                    outlook.returned(name)
                    waiting.add(name)
            case "drop" if name in waiting:
                waiting.remove(name)
                outlook.dropped(name)
            case "return" if name in running:
                del running[name]
                waiting.add(name)
                outlook.returned(name)
                outlook.returned(name)  # twice is as good as once
        left = outlook.remaining(now)
        if left:
            assert left.seconds >= 0 and left.plus_minus >= 0
            assert math.isfinite(left.seconds) and math.isfinite(left.plus_minus)
    anew = Outlook(NAMES, past, workers=workers)
    for name, seconds in over:
        anew.ended(name, seconds)
        anew.returned(name)
    for name in NAMES:
        if name not in waiting and name not in running:
            anew.dropped(name)
    for name, since in running.items():
        anew.started(name, since)
    for later in (now, now + 7.0, now + 1e6):
        mine, theirs = outlook.remaining(later), anew.remaining(later)
        assert (mine is None) == (theirs is None)
        if mine and theirs:
            assert mine.seconds == pytest.approx(theirs.seconds, rel=1e-6, abs=1e-6)
            assert mine.plus_minus == pytest.approx(theirs.plus_minus, rel=1e-4, abs=1e-4)


def test_what_exact_history_foretells() -> None:
    outlook = Outlook(["a", "b", "c", "d"], dict.fromkeys("abcd", [10.0] * 5), workers=2)
    left = outlook.remaining(0.0)
    assert left
    assert left.seconds == pytest.approx(20.0, rel=0.2)
    for name in "ab":
        outlook.started(name, 0.0)
    left = outlook.remaining(5.0)
    assert left
    assert left.seconds == pytest.approx(15.0, rel=0.2)
    for name in "ab":
        outlook.ended(name, 10.0)
    for name in "cd":
        outlook.started(name, 10.0)
    left = outlook.remaining(18.0)
    assert left
    assert left.seconds == pytest.approx(2.0, abs=1.0)


def test_unknown_when_nothing_is_known() -> None:
    outlook = Outlook(["a", "b"], {}, workers=2)
    assert outlook.remaining(0.0) is None
    outlook.started("a", 0.0)
    assert outlook.remaining(5.0) is None
    outlook.ended("a", 6.0)
    left = outlook.remaining(6.0)
    assert left and left.seconds >= 6.0
    outlook.dropped("b")
    assert outlook.remaining(6.0) == Remaining(seconds=0.0, plus_minus=0.0)
    alone = Outlook(["a"], {}, workers=2)
    alone.started("a", 0.0)
    assert alone.remaining(5.0) is None


def test_no_order_ends_before_the_longest_script() -> None:
    names = [f"short{n}" for n in range(20)]
    outlook = Outlook([*names, "long"], {"long": [100.0]} | {name: [1.0] for name in names}, workers=8)
    left = outlook.remaining(0.0)
    assert left and left.seconds >= 100.0
    outlook.started("long", 0.0)
    left = outlook.remaining(30.0)
    assert left and left.seconds >= 70.0


def test_what_still_runs_is_longer_than_what_has_ended() -> None:
    """The first to end of scripts nobody has seen are the shortest."""
    outlook = Outlook([f"j{n}" for n in range(12)], {}, workers=4)
    for n in range(4):
        outlook.started(f"j{n}", 0.0)
    outlook.ended("j0", 1.0)
    outlook.started("j4", 1.0)
    left = outlook.remaining(1.0)
    assert left
    assert left.seconds > 6.0  # as long as the one that ended would be 11 / 4


def test_one_that_came_back_twice_waits_once() -> None:
    outlook = Outlook(["a", "b"], {"a": [5.0], "b": [5.0]}, workers=1)
    outlook.started("a", 0.0)
    outlook.returned("a")
    once = outlook.remaining(0.0)
    outlook.returned("a")
    assert outlook.remaining(0.0) == once


def test_one_that_nobody_has_seen_makes_it_no_worse_than_a_guess() -> None:
    left = Outlook(["a", "b"], {"a": [4.0]}, workers=1).remaining(0.0)
    assert left
    assert left.seconds == pytest.approx(8.0)
    assert left.plus_minus > 4.0


def test_what_takes_no_time_divides_nothing_by_it() -> None:
    outlook = Outlook(["a", "b", "c"], {"a": [0.0], "b": [0.0, 0.0]}, workers=2)
    outlook.started("a", 1.0)
    for now in (0.0, 1.0, 3.0):
        left = outlook.remaining(now)
        assert left and math.isfinite(left.seconds + left.plus_minus)
    outlook.ended("a", 0.0)
    assert outlook.remaining(3.0)


def test_many_short_ones_say_little_about_a_long_one() -> None:
    """Short scripts are mostly their interpreter's start, which a busy machine may double."""
    names = [f"short{n}" for n in range(300)]
    outlook = Outlook([*names, "long"], {**dict.fromkeys(names, [0.01] * 5), "long": [60.0] * 5}, workers=2)
    outlook.started("long", 0.0)
    for name in names:
        outlook.ended(name, 0.02)
    left = outlook.remaining(3.0)
    assert left
    assert left.seconds - left.plus_minus <= 57.0 <= left.seconds + left.plus_minus


def test_one_that_is_overdue_may_take_as_long_again() -> None:
    outlook = Outlook(["a"], {"a": [10.0] * 5}, workers=4)
    outlook.started("a", 0.0)
    left = outlook.remaining(40.0)
    assert left
    assert 0 < left.seconds <= 40.0
    assert left.plus_minus >= left.seconds / 2


# how often it is right


@dataclass(frozen=True, kw_only=True)
class World:
    """How a simulated run goes: the share of jobs that ran before, and how today differs from then."""

    jobs: int = 40
    workers: int = 4
    known: float = 1.0
    factor: float = 1.0
    straggler: bool = False
    noise: float = 0.1


def simulate(world: World, rng: random.Random) -> tuple[float, list[tuple[float, Remaining | None]]]:
    """When a run ended, and what the outlook said of it every quarter of a second."""
    names = [f"j{n:02}" for n in range(world.jobs)]
    true = {name: math.exp(rng.gauss(1, 0.8)) for name in names}
    if world.straggler:
        true[names[0]] = 1.2 * sum(true.values()) / world.workers

    def once(name: str) -> float:
        return true[name] * math.exp(rng.gauss(0, world.noise))

    past = {name: [once(name) for _ in range(3)] for name in names if rng.random() < world.known}
    plan = Plan([JobSpec(name=name) for name in names], durations=medians(past))
    outlook = Outlook(names, past, workers=world.workers)
    running: list[tuple[float, float, str]] = []
    said: list[tuple[float, Remaining | None]] = []
    now = 0.0
    while True:
        while len(running) < world.workers and (spec := plan.take()):
            seconds = once(spec.name) * world.factor
            heapq.heappush(running, (now + seconds, seconds, spec.name))
            outlook.started(spec.name, now)
        if not running:
            assert outlook.remaining(now) == Remaining(seconds=0.0, plus_minus=0.0)
            return now, said
        end, seconds, name = heapq.heappop(running)
        said += [(moment, outlook.remaining(moment)) for moment in quarters(now, end)]
        now = end
        outlook.ended(name, seconds)


def quarters(begin: float, end: float) -> Iterator[float]:
    for quarter in range(math.ceil(begin * 4), math.ceil(end * 4)):
        yield quarter / 4


@pytest.mark.parametrize(
    ("world", "share"),
    [
        (World(), 0.9),
        (World(known=0.0), 0.7),
        (World(known=0.5), 0.8),
        (World(factor=1.5), 0.75),
        (World(factor=0.7), 0.9),
        (World(straggler=True), 0.8),
        (World(jobs=8), 0.85),
        (World(jobs=300, workers=2, known=0.0), 0.8),
        (World(jobs=300, workers=2, known=0.5, factor=1.5), 0.8),
        (World(workers=1), 0.85),
    ],
    ids=str,
)
def test_the_time_left_is_within_its_plus_minus_most_of_the_time(world: World, share: float) -> None:
    rng = random.Random(7)
    within, late = [], []
    for _ in range(12):
        end, said = simulate(world, rng)
        for moment, left in said:
            hit = left is not None and abs(end - moment - left.seconds) <= left.plus_minus + 0.1
            within.append(hit)
            if left and 0.5 < moment / end < 0.75:
                late.append(left.plus_minus / (end - moment))
    assert sum(within) / len(within) >= share
    assert median(late) < 1.0  # nor is it right only because it says nothing


def test_it_comes_down_to_nothing_and_its_doubt_with_it() -> None:
    end, said = simulate(World(jobs=100), random.Random(3))
    last = said[-1][1]
    assert last and last.seconds < 0.15 * end and last.plus_minus < 0.15 * end
    halves = [
        [left.plus_minus for moment, left in said if left and (moment < end / 2) is early] for early in (True, False)
    ]
    assert median(halves[0]) > 2 * median(halves[1])
