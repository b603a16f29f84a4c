"""How much faster, computed one way for every report. Pure arithmetic over measured seconds.

Two different questions, never mixed up: `estimate` says what one run alone can know (script times measured
while the scripts shared the machine); `compare` is for two arms that both really ran.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """What one run shows. All in seconds except `concurrency` (scripts running at once, on average)."""

    wall_seconds: float
    script_seconds: float
    critical_path_seconds: float
    bound_seconds: float
    concurrency: float


def parallelism(*, wall: float, total: float, longest_chain: float, jobs: int) -> Parallelism:
    """Sum up a run: `total` is the sum of script times, `jobs` how many could run at once.

    No schedule on `jobs` workers can end before `bound_seconds` = max(longest chain, total / jobs)
    (R. L. Graham, Bounds on multiprocessing timing anomalies, 1969).

    >>> parallelism(wall=10.0, total=19.0, longest_chain=9.0, jobs=2).bound_seconds
    9.5
    """
    return Parallelism(
        wall_seconds=wall,
        script_seconds=total,
        critical_path_seconds=longest_chain,
        bound_seconds=max(longest_chain, total / jobs),
        concurrency=total / wall if wall > 0 else 0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way of running everything, timed several times (seconds)."""

    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure to quote."""
        return median(self.runs)

    def to_json(self) -> dict[str, float | list[float]]:
        """Median, extremes and every run."""
        return {
            "median": self.median,
            "min": min(self.runs),
            "max": max(self.runs),
            "runs": list(self.runs),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Sequential against parallel, both measured.

    `speedup` is the ratio of medians; `reduction_percent` how much shorter the parallel run was;
    `efficiency` the speed-up per worker; `bound_speedup` what no schedule on so many workers can exceed, by
    the scripts' sequential times; `serial_fraction` the share of work that behaved as if it could not be
    shared out (A. H. Karp and H. P. Flatt, Measuring parallel processor performance, 1990), None on one worker.
    """

    sequential: Arm
    parallel: Arm
    jobs: int
    speedup: float
    reduction_percent: float
    efficiency: float
    bound_speedup: float
    serial_fraction: float | None


def compare(
    sequential: Sequence[float], parallel: Sequence[float], *, script_seconds: Sequence[float], jobs: int
) -> Comparison:
    """Compare two arms; `script_seconds` are the scripts' times in the sequential arm.

    >>> c = compare([20.0, 19.0, 21.0], [10.0, 10.5, 10.2], script_seconds=[9.0, 11.0], jobs=2)
    >>> round(c.speedup, 2), round(c.reduction_percent, 1), round(c.bound_speedup, 2)
    (1.96, 49.0, 1.82)
    """
    arm_s, arm_p = Arm(runs=tuple(sequential)), Arm(runs=tuple(parallel))
    ratio = arm_s.median / arm_p.median
    total, longest = sum(script_seconds), max(script_seconds, default=0.0)
    bound = max(longest, total / jobs)
    return Comparison(
        sequential=arm_s,
        parallel=arm_p,
        jobs=jobs,
        speedup=ratio,
        reduction_percent=100.0 * (1.0 - arm_p.median / arm_s.median),
        efficiency=ratio / jobs,
        bound_speedup=total / bound if bound > 0 else 1.0,
        serial_fraction=(1.0 / ratio - 1.0 / jobs) / (1.0 - 1.0 / jobs) if jobs > 1 else None,
    )
