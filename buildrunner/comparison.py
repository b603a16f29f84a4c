"""Sequential against parallel, both measured: how much faster, and where the rest of the time went.

Pure arithmetic over measured seconds. What one run alone can tell is in speedup.py, and is called an estimate.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import median
from typing import Any

from buildrunner.job import Outcome

BENCH_SCHEMA = "buildrunner.bench/1"

_SEVERAL_CPUS = 1.2  # CPU seconds a second from which scripts count as using more than one CPU


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


class Cause(StrEnum):
    """Why a parallel run takes longer than the scripts' sequential time shared out evenly among its workers."""

    ONE_WORKER = "one_worker"  # there was nobody to share with
    FEW_SCRIPTS = "few_scripts"  # some workers never got one
    LONGEST_SCRIPT = "longest_script"  # one script is longer than everybody's fair share
    FEW_CPUS = "few_cpus"  # more scripts at once than CPUs: they took turns
    THREADS = "threads"  # alone, the scripts already used several CPUs each
    SHARING = "sharing"  # side by side scripts ran slower: memory, caches, disk, clock rate
    IDLE = "idle"  # workers waited between scripts, and at the end for the last ones
    START = "start"  # buildrunner's own beginning and end


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A cause and the seconds it cost the parallel run."""

    cause: Cause
    seconds: float


def losses(
    *,
    sequential: Sequence[float],
    parallel: Sequence[float],
    cpu: Sequence[float],
    wall: float,
    span: float,
    jobs: int,
    cpus: int,
) -> tuple[Loss, ...]:
    """Where the time went between `sum(sequential) / jobs`, the ideal, and `wall`; what cost most comes first.

    `sequential` and `parallel` are the same scripts' seconds in the two arms, `cpu` the CPU seconds they took one
    after another, `wall` the whole parallel run, `span` its part from the first script's start to the last one's
    end. With one worker ONE_WORKER comes first, whatever it cost.

    >>> [(loss.cause.value, loss.seconds) for loss in losses(
    ...     sequential=[8.0, 2.0], parallel=[9.0, 3.0], cpu=[8.0, 2.0], wall=11.0, span=9.5, jobs=2, cpus=2)]
    [('longest_script', 3.0), ('start', 1.5), ('sharing', 1.0), ('idle', 0.5)]
    """
    total, workers = sum(sequential), min(jobs, len(sequential))
    fair = total / workers
    bound = max(fair, max(sequential))
    slowed = max(sum(parallel) / workers, max(parallel))
    found = [
        Loss(cause=Cause.FEW_SCRIPTS, seconds=fair - total / jobs),
        Loss(cause=Cause.LONGEST_SCRIPT, seconds=bound - fair),
        Loss(cause=Cause.IDLE, seconds=span - slowed),
        Loss(cause=Cause.START, seconds=wall - span),
    ]
    if workers > 1 and sum(parallel) > total:
        cause = Cause.SHARING
        if workers > cpus:
            cause = Cause.FEW_CPUS
        elif sum(cpu) >= _SEVERAL_CPUS * total:
            cause = Cause.THREADS
        found.append(Loss(cause=cause, seconds=slowed - bound))
    kept = sorted((loss for loss in found if loss.seconds > 0), key=lambda loss: -loss.seconds)
    return (Loss(cause=Cause.ONE_WORKER, seconds=0.0), *kept) if jobs == 1 else tuple(kept)


class Verdict(StrEnum):
    """What a comparison says."""

    FASTER = "faster"
    UNCLEAR = "unclear"  # a difference that rounds show among themselves, or may
    NOT_FASTER = "not_faster"


_CLEAR_IN_ONE_ROUND = 1.1


def verdict(comparison: Comparison) -> Verdict:
    """Whether the parallel arm was faster: by the medians, and told apart from scatter.

    It is unclear when each arm's median lies among the other's rounds, and when a single round, which knows no scatter,
    shows less than a tenth.

    >>> verdict(compare([10.0, 12.0, 11.0], [10.5, 9.5, 11.5], script_seconds=[10.0], jobs=2))
    <Verdict.UNCLEAR: 'unclear'>
    """
    one, other = comparison.sequential, comparison.parallel
    if comparison.speedup <= 1.0:
        return Verdict.NOT_FASTER
    if len(one.runs) == 1 and comparison.speedup < _CLEAR_IN_ONE_ROUND:
        return Verdict.UNCLEAR
    if min(one.runs) <= other.median and max(other.runs) >= one.median:
        return Verdict.UNCLEAR
    return Verdict.FASTER


class Manner(StrEnum):
    """The two arms of a bench."""

    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a script ended: what must be the same in all rounds. `exit_code` or `signal` is None."""

    outcome: Outcome
    exit_code: int | None
    signal: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptTimes:
    """A script's seconds in the two arms and its CPU seconds in the sequential one: medians over the rounds."""

    name: str
    sequential: float
    parallel: float
    cpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The first time that a script did not pass. `round` counts from 1."""

    name: str
    round: int
    manner: Manner
    ending: Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first time that a script did not do what it did in the first sequential round.

    `line` is None when it ended differently; else the line of its stdout, from 1, and `column` the byte of it, from
    1, where the two part. `expected` and `found` show the two endings or lines.
    """

    name: str
    round: int
    manner: Manner
    line: int | None
    column: int | None
    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All that a bench found out. `span` as in `losses`; `threads` those of the parallel arm, None for as they are."""

    target: str
    python: str
    cpus: int
    warmup: int
    threads: int | None
    span: float
    comparison: Comparison
    scripts: tuple[ScriptTimes, ...]
    failures: tuple[Failure, ...]
    differences: tuple[Difference, ...]

    @property
    def rounds(self) -> int:
        """How many rounds counted."""
        return len(self.comparison.sequential.runs)

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What kept the parallel run from the ideal."""
        return losses(
            sequential=[s.sequential for s in self.scripts],
            parallel=[s.parallel for s in self.scripts],
            cpu=[s.cpu for s in self.scripts],
            wall=self.comparison.parallel.median,
            span=self.span,
            jobs=self.comparison.jobs,
            cpus=self.cpus,
        )

    def to_json(self) -> dict[str, Any]:
        """The document of `bench --json`."""
        c = self.comparison
        return {
            "schema": BENCH_SCHEMA,
            "target": self.target,
            "python": self.python,
            "jobs": c.jobs,
            "rounds": self.rounds,
            "warmup": self.warmup,
            "cpus": self.cpus,
            "threads": {"sequential": "keep", "parallel": "keep" if self.threads is None else self.threads},
            "sequential_seconds": c.sequential.to_json(),
            "parallel_seconds": c.parallel.to_json(),
            "speedup": round(c.speedup, 6),
            "reduction_percent": round(c.reduction_percent, 6),
            "efficiency": round(c.efficiency, 6),
            "bound_speedup": round(c.bound_speedup, 6),
            "serial_fraction": None if c.serial_fraction is None else round(c.serial_fraction, 6),
            "verdict": verdict(c),
            "losses": [{"cause": loss.cause, "seconds": round(loss.seconds, 6)} for loss in self.losses],
            "same_results": not self.differences,
            "differences": [asdict(difference) for difference in self.differences],
            "failures": [asdict(failure) for failure in self.failures],
            "results": [
                {
                    "name": s.name,
                    "sequential_seconds": s.sequential,
                    "parallel_seconds": s.parallel,
                    "sequential_cpu_seconds": s.cpu,
                }
                for s in self.scripts
            ],
        }
