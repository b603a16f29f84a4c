"""The arithmetic of speed-ups, and what it says about where the time went."""

from dataclasses import dataclass

import pytest

from buildrunner.comparison import (
    Cause,
    Difference,
    Ending,
    Failure,
    Manner,
    Measurement,
    ScriptTimes,
    Verdict,
    compare,
    losses,
    verdict,
)
from buildrunner.job import Outcome
from buildrunner.speedup import parallelism


def test_no_schedule_ends_before_the_longest_chain_or_the_fair_share() -> None:
    assert parallelism(wall=10, total=12, longest_chain=9, jobs=2).bound_seconds == 9
    assert parallelism(wall=10, total=12, longest_chain=5, jobs=2).bound_seconds == 6


def test_concurrency_of_a_run_without_length_is_none_at_all() -> None:
    assert parallelism(wall=0, total=0, longest_chain=0, jobs=2).concurrency == 0


def test_the_ratio_is_that_of_the_medians() -> None:
    c = compare([20.0, 19.0, 60.0], [10.0, 1.0, 10.5], script_seconds=[9.0, 11.0], jobs=2)
    assert c.speedup == 2.0
    assert c.reduction_percent == 50.0
    assert c.efficiency == 1.0
    assert c.sequential.to_json() == {"median": 20.0, "min": 19.0, "max": 60.0, "runs": [20.0, 19.0, 60.0]}


def test_the_bound_comes_from_the_sequential_times() -> None:
    assert compare([12], [6], script_seconds=[9.0, 3.0], jobs=4).bound_speedup == pytest.approx(12 / 9)
    assert compare([12], [6], script_seconds=[3.0] * 4, jobs=2).bound_speedup == 2.0
    assert compare([12], [6], script_seconds=[3.0] * 3, jobs=8).bound_speedup == 3.0


def test_the_serial_fraction_is_that_of_karp_and_flatt() -> None:
    assert compare([10], [5], script_seconds=[1], jobs=2).serial_fraction == pytest.approx(0)
    assert compare([10], [10], script_seconds=[1], jobs=2).serial_fraction == pytest.approx(1)
    assert compare([10], [4], script_seconds=[1], jobs=4).serial_fraction == pytest.approx((0.4 - 0.25) / 0.75)
    assert compare([10], [10], script_seconds=[1], jobs=1).serial_fraction is None


def test_a_slower_parallel_run_shows_as_such() -> None:
    c = compare([10], [20], script_seconds=[5, 5], jobs=2)
    assert (c.speedup, c.reduction_percent) == (0.5, -100.0)


@pytest.mark.parametrize(
    ("sequential", "parallel", "expected"),
    [
        ([10, 11, 12], [5, 6, 7], Verdict.FASTER),
        ([10, 11, 12], [5, 6, 30], Verdict.FASTER),  # one bad round hides no clear gain
        ([10, 11, 12], [10.5, 10.9, 11.5], Verdict.UNCLEAR),
        ([10], [9], Verdict.FASTER),
        ([10], [9.9], Verdict.UNCLEAR),
        ([10], [10], Verdict.NOT_FASTER),
        ([10, 11, 12], [12, 13, 14], Verdict.NOT_FASTER),
    ],
)
def test_the_verdict_tells_a_gain_from_scatter(
    sequential: list[float], parallel: list[float], expected: Verdict
) -> None:
    assert verdict(compare(sequential, parallel, script_seconds=[1], jobs=2)) is expected


@dataclass(frozen=True, kw_only=True)
class Case:
    """A bench of two even scripts on two CPUs that lost nothing, unless something else is said."""

    sequential: tuple[float, ...] = (4.0, 4.0)
    parallel: tuple[float, ...] = (4.0, 4.0)
    cpu: tuple[float, ...] = (4.0, 4.0)
    wall: float = 4.0
    span: float = 4.0
    jobs: int = 2
    cpus: int = 2

    def losses(self) -> dict[Cause, float]:
        found = losses(
            sequential=self.sequential,
            parallel=self.parallel,
            cpu=self.cpu,
            wall=self.wall,
            span=self.span,
            jobs=self.jobs,
            cpus=self.cpus,
        )
        return {loss.cause: loss.seconds for loss in found}


def test_a_run_as_good_as_the_ideal_lost_nothing() -> None:
    assert Case().losses() == {}


@pytest.mark.parametrize(
    ("case", "cause", "lost"),
    [
        (Case(sequential=(7.0, 1.0), parallel=(7.0, 1.0), wall=7.0, span=7.0), Cause.LONGEST_SCRIPT, 3.0),
        (Case(jobs=4, cpus=4), Cause.FEW_SCRIPTS, 2.0),
        (Case(parallel=(6.0, 6.0), wall=6.0, span=6.0), Cause.SHARING, 2.0),
        (Case(parallel=(6.0, 6.0), wall=6.0, span=6.0, cpu=(7.6, 7.6)), Cause.THREADS, 2.0),
        (Case(parallel=(8.0, 8.0), wall=8.0, span=8.0, cpus=1), Cause.FEW_CPUS, 4.0),
        (Case(wall=5.0, span=5.0), Cause.IDLE, 1.0),
        (Case(wall=5.0), Cause.START, 1.0),
        (Case(jobs=1, wall=9.0, span=8.0), Cause.START, 1.0),
    ],
)
def test_every_cause_is_told_by_its_figures(case: Case, cause: Cause, lost: float) -> None:
    found = case.losses()
    found.pop(Cause.ONE_WORKER, None)
    assert found == {cause: pytest.approx(lost)}


def test_one_worker_is_named_first_even_when_something_cost_more() -> None:
    assert list(Case(jobs=1, wall=9.0, span=8.0).losses()) == [Cause.ONE_WORKER, Cause.START]


def test_scripts_of_one_worker_cannot_have_slowed_each_other_down() -> None:
    case = Case(jobs=1, parallel=(9.0, 9.0), wall=18.0, span=18.0)
    assert set(case.losses()) == {Cause.ONE_WORKER}
    alone = Case(sequential=(4.0,), parallel=(6.0,), cpu=(4.0,), wall=6.0, span=6.0)
    assert set(alone.losses()) == {Cause.FEW_SCRIPTS}


def test_what_cost_most_comes_first_and_all_of_it_adds_up() -> None:
    case = Case(sequential=(8.0, 2.0), parallel=(9.0, 3.0), wall=13.0, span=11.0)
    found = case.losses()
    assert next(iter(found)) is Cause.LONGEST_SCRIPT
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert sum(case.sequential) / case.jobs + sum(found.values()) == pytest.approx(case.wall)


def test_the_document_has_the_promised_fields() -> None:
    measurement = Measurement(
        target="src",
        python="python3",
        cpus=2,
        warmup=1,
        threads=None,
        span=1.8,
        comparison=compare([3.0, 4.0], [2.0, 2.0], script_seconds=[1.0, 2.0], jobs=2),
        scripts=(ScriptTimes(name="a.py", sequential=1.0, parallel=1.5, cpu=1.0),),
        failures=(
            Failure(
                name="a.py",
                round=1,
                manner=Manner.SEQUENTIAL,
                ending=Ending(outcome=Outcome.EXITED, exit_code=3, signal=None),
            ),
        ),
        differences=(
            Difference(name="a.py", round=2, manner=Manner.PARALLEL, line=1, column=4, expected="one", found="other"),
        ),
    )
    document = measurement.to_json()
    assert document["schema"] == "buildrunner.bench/1"
    assert document["threads"] == {"sequential": "keep", "parallel": "keep"}
    assert (document["rounds"], document["warmup"], document["same_results"]) == (2, 1, False)
    assert document["failures"][0]["ending"] == {"outcome": "exited", "exit_code": 3, "signal": None}
    assert document["differences"][0]["manner"] == "parallel"
    assert document["results"][0]["parallel_seconds"] == 1.5
