"""How much faster, as far as one run alone can tell: script times measured while scripts shared the machine.

Pure arithmetic over measured seconds. Two arms that both really ran are compared in comparison.py; the two
questions are never mixed up.
"""

from dataclasses import dataclass


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
