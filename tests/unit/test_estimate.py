"""Estimates of scripts that never ran: which rule is believed when, and what comes of it for whole folders."""

import heapq
import math
import random
from collections.abc import Callable, Mapping
from statistics import mean, median

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buildrunner.estimate import LOOKED_AT, Estimates, Rule, from_both_ends, split
from buildrunner.job import JobSpec
from buildrunner.plan import Order, Plan


def test_a_sweep_is_carried_on_by_its_trend() -> None:
    estimates = Estimates({f"size_{n}.py": 0.01 * n**2 for n in range(1, 13)})
    for number in (13, 20):
        found = estimates.of(f"size_{number}.py")
        assert found.rule is Rule.TREND
        assert found.seconds == pytest.approx(0.01 * number**2, rel=0.2)


def test_a_grid_goes_by_the_number_that_matters() -> None:
    estimates = Estimates({f"n{2**i}_seed{seed}.py": 2.0**i for i in range(6) for seed in range(5)})
    assert estimates.of("n64_seed3.py").seconds == pytest.approx(64.0, rel=0.3)
    assert estimates.of("n8_seed9.py").seconds == pytest.approx(8.0, rel=0.3)


def test_times_that_go_up_and_down_with_the_number_are_their_neighbours() -> None:
    known = {f"case_{n}.py": math.exp(2 * math.sin(n / 4)) for n in range(0, 60, 2)}
    estimates = Estimates(known)
    found = estimates.of("case_31.py")
    assert found.rule is Rule.NEIGHBOURS
    assert found.seconds == pytest.approx(math.sqrt(known["case_30.py"] * known["case_32.py"]))


def test_folders_differ() -> None:
    known = {f"quick/{c}.py": 1.0 + n / 10 for n, c in enumerate("abcde")}
    known |= {f"slow/{c}.py": 60.0 + n for n, c in enumerate("abcde")}
    found = Estimates(known).of("slow/new.py")
    assert (found.rule, found.seconds) == (Rule.FOLDER, 62.0)


def test_where_names_say_nothing_it_is_the_median() -> None:
    rng = random.Random(3)
    known = {f"f{n % 3}/job_{n}.py": rng.lognormvariate(0, 1) for n in range(61)}
    found = Estimates(known).of("f1/job_99.py")
    assert (found.rule, found.seconds) == (Rule.MEDIAN, median(known.values()))
    below = sum(seconds <= found.at_most for seconds in known.values())
    assert 0.7 <= below / len(known) <= 0.9


@pytest.mark.parametrize(("apart", "rule"), [(1.5, Rule.MEDIAN), (1.55, Rule.FOLDER)])
def test_a_rule_is_believed_when_it_is_off_by_a_tenth_less_than_the_median(apart: float, rule: Rule) -> None:
    """Times in two folders, the second's so many times the first's: off by 0.93 and by 0.85 of what the median is."""
    known = {f"a/{c}.py": 1.1**n for n, c in enumerate("pqrstuvwx")}
    known |= {f"b/{c}.py": 1.1**n * apart for n, c in enumerate("pqrstuvwx")}
    assert Estimates(known).of("a/new.py").rule is rule


def test_one_that_never_ran_is_not_held_for_known_by_too_few() -> None:
    found = Estimates({"case_1.py": 1.0, "case_2.py": 2.0}).of("case_3.py")
    assert (found.rule, found.seconds, found.at_most) == (Rule.MEDIAN, 1.5, 3.0)


def test_a_trend_does_not_run_away() -> None:
    found = Estimates({f"n{n}.py": float(n) ** 3 for n in range(1, 10)}).of("n99999999.py")
    assert found.seconds <= 16 * 9**3 + 1


NAMES = st.from_regex(r"([ab]/)?(case_?[0-9]{1,3}|x)(\.py|\.sh)", fullmatch=True)


@settings(max_examples=30)
@given(st.dictionaries(NAMES, st.floats(0, 1e9), min_size=1, max_size=30), NAMES)
@example({"case_1.py": 0.0, "case_01.py": 0.0, "case_001.py": 5.0, "case_2.py": 1.0, "case_3.py": 1.0}, "case_0.py")
def test_every_estimate_is_a_finite_time_and_does_not_depend_on_the_order(known: dict[str, float], name: str) -> None:
    found = Estimates(known).of(name)
    assert 0 < found.seconds <= found.at_most < math.inf
    assert Estimates(dict(reversed(known.items()))).of(name) == found


def test_of_very_many_only_some_are_looked_at() -> None:
    known = {f"case_{n}.py": 0.5 + n for n in range(3 * LOOKED_AT)}
    estimates = Estimates(known)
    assert len(estimates._known) <= LOOKED_AT
    assert estimates.of("case_4000.py").seconds == pytest.approx(4000, rel=0.1)


def test_very_many_new_ones_all_count_like_the_median_and_go_by_name() -> None:
    new = [f"case_{n:05}.py" for n in range(LOOKED_AT + 1)]
    known = {f"case_9{n:04}.py": 1.0 + n for n in range(9)}
    plan = Plan([JobSpec(name=name) for name in (*new, *known)], durations=known, workers=2)
    found = plan.estimated(new[0])
    assert found and (found.rule, found.seconds) == (Rule.MEDIAN, 5.0)
    first = [spec.name for _ in range(6) if (spec := plan.take())]
    assert first[4:] == new[:2]


@given(st.lists(st.from_regex(r"[a-c0-9]{0,5}", fullmatch=True), unique=True))
def test_from_both_ends_is_every_name_once_whatever_the_order(names: list[str]) -> None:
    found = from_both_ends(names)
    assert sorted(found) == sorted(names)
    assert from_both_ends(reversed(names)) == found


def test_a_name_with_digits_of_other_scripts() -> None:
    assert split("a٣b²c1")[1] == (3, 1)


@pytest.mark.parametrize("mark", ["#", "*", "?", "\n", "\udcff", "{}", "%d"])
def test_what_a_name_holds_is_never_taken_for_a_number(mark: str) -> None:
    known = {f"a_{number}_1.py": 0.2 * number for number in range(1, 9)} | {f"a_{mark}_1.py": 0.2}
    estimates = Estimates(known)
    assert all(estimates.of(name).seconds > 0 for name in (*known, "a_9_1.py", f"a_{mark}_2.py"))


# what it is good for: families of scripts, and how far beyond the bound they end

Family = Callable[[random.Random, int], dict[str, float]]


def rising(rng: random.Random, number: int) -> dict[str, float]:
    return {f"case_{n}.py": (number / 20 + n) ** 2 * rng.lognormvariate(0, 0.1) for n in range(number)}


def falling(rng: random.Random, number: int) -> dict[str, float]:
    return {f"step_{n}.py": rng.lognormvariate(0, 0.1) / (number / 20 + n) for n in range(number)}


def grid(rng: random.Random, number: int) -> dict[str, float]:
    return {f"n{2 ** (n % 7)}_seed{n // 7}.py": 2 ** (n % 7) * rng.lognormvariate(0, 0.1) for n in range(number)}


def folders(rng: random.Random, number: int) -> dict[str, float]:
    usual = [rng.lognormvariate(0, 1) for _ in range(4)]
    letters = [rng.sample("abcdefghijkl", 5) for _ in range(number)]
    return {
        f"{'abcd'[n % 4]}/{''.join(word)}.py": usual[n % 4] * rng.lognormvariate(0, 0.3)
        for n, word in enumerate(letters)
    }


def words(rng: random.Random, number: int) -> dict[str, float]:
    return {f"{''.join(rng.sample('abcdefghijkl', 6))}.py": rng.lognormvariate(0, 1) for _ in range(number)}


def long_last(rng: random.Random, number: int) -> dict[str, float]:
    found = words(rng, number - 1)
    return found | {"z_train.py": sum(found.values()) / 4}


def equal(rng: random.Random, number: int) -> dict[str, float]:
    return {f"job{n}.py": 1.0 for n in range(number)}


FAMILIES: list[Family] = [rising, falling, grid, folders, words, long_last, equal]


def carried_out(plan: Plan, seconds: Mapping[str, float], workers: int) -> float:
    """When the last one ends, if each tells the plan what it took."""
    running: list[tuple[float, str]] = []
    now = 0.0
    while True:
        while len(running) < workers and (spec := plan.take()):
            heapq.heappush(running, (now + seconds[spec.name], spec.name))
        if not running:
            return now
        now, name = heapq.heappop(running)
        plan.finished(name, passed=True)
        plan.observe(name, seconds[name])


def beyond(family: Family, known: float, order: Order, workers: int = 4) -> float:
    """How many times the bound it takes on average, if such a share of the scripts ran before."""
    found = []
    for seed in range(25):
        rng = random.Random(seed)
        seconds = family(rng, 30)
        past = {name: seconds[name] for name in rng.sample(sorted(seconds), round(known * len(seconds)))}
        plan = Plan([JobSpec(name=name) for name in seconds], durations=past, order=order, workers=workers)
        bound = max(*seconds.values(), sum(seconds.values()) / workers)
        found.append(carried_out(plan, seconds, workers) / bound)
    return mean(found)


@pytest.mark.parametrize(("known", "most", "usual"), [(0.0, 0.21, 0.07), (0.5, 0.07, 0.015), (0.9, 0.01, 0.003)])
def test_new_scripts_cost_little_in_every_family(known: float, most: float, usual: float) -> None:
    found = {family.__name__: beyond(family, known, Order.LONGEST) for family in FAMILIES}
    by_name = {family.__name__: beyond(family, known, Order.NAME) for family in FAMILIES}
    lost = [found[family.__name__] - beyond(family, 1.0, Order.LONGEST) for family in FAMILIES]
    assert max(lost) <= most, found
    assert mean(lost) <= usual, found
    assert all(found[name] <= by_name[name] + 0.015 for name in found), (found, by_name)
