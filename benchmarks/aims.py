"""What the program is meant to reach, beside what was measured: a figure of each table, and the most it may be."""

from collections.abc import Callable
from dataclasses import dataclass

import makespan
from arms import AUTO, COLD, WARM
from harness import Result, number, table


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One figure: where it lies in all results, and the most it may be."""

    what: str
    figure: Callable[[Result], float]
    most: float
    command: str
    places: int = 2


def _peer(workload: str, arm: str, times: str) -> Callable[[Result], float]:
    return lambda result: float(result["peers"][workload]["arms"][arm][times]["median"])


def _schedule(arm: str) -> Callable[[Result], float]:
    return lambda result: float(result["makespan"]["arms"][arm]["times_bound"]["median"])


def _dispatch(result: Result) -> float:
    return float(result["dispatch"]["workloads"]["pass"]["arms"]["warm"]["dispatch_us"]["p50"])


_PEERS = "python benchmarks/peers.py --workload {}"
_PASS, _IMPORTS, _NUMPY = map(_PEERS.format, ("pass", "imports", "numpy"))
AIMS = (
    Aim(what="`pass`, warm: × xargs", figure=_peer("pass", WARM, "times_xargs"), most=0.28, command=_PASS),
    Aim(
        what="`pass`, warm: × GNU parallel --joblog --results",
        figure=_peer("pass", WARM, "times_parallel"),
        most=0.17,
        command=_PASS,
    ),
    Aim(
        what="`pass`, cold: × xargs, output captured",
        figure=_peer("pass", COLD, "times_captured"),
        most=1.05,
        command=_PASS,
    ),
    Aim(
        what="four imports, warm with auto preload: × xargs",
        figure=_peer("imports", AUTO, "times_xargs"),
        most=0.10,
        command=_IMPORTS,
    ),
    Aim(
        what="numpy, warm with auto preload: × xargs",
        figure=_peer("numpy", AUTO, "times_xargs"),
        most=0.10,
        command=_NUMPY,
    ),
    Aim(
        what="dispatch, warm: median, µs", figure=_dispatch, most=300, command="python benchmarks/dispatch.py", places=0
    ),
    Aim(
        what="24 uneven scripts, first run: × bound",
        figure=_schedule(makespan.FIRST),
        most=1.12,
        command="python benchmarks/makespan.py",
        places=3,
    ),
    Aim(
        what="24 uneven scripts, second run: × bound",
        figure=_schedule(makespan.SECOND),
        most=1.02,
        command="python benchmarks/makespan.py",
        places=3,
    ),
    Aim(
        what="three trivial scripts, warm: × cold",
        figure=lambda result: float(result["startup"]["warm_times_cold"]["median"]),
        most=1.00,
        command="python benchmarks/startup.py",
    ),
)


def measured(result: Result) -> Result:
    """Of each aim the figure, None where it was not measured, and the most it may be."""
    found: Result = {}
    for aim in AIMS:
        try:
            figure = aim.figure(result)
        except KeyError:  # an arm that is not to be had here
            figure = None
        found[aim.what] = {"figure": figure, "most": aim.most}
    return found


def markdown(result: Result) -> str:
    """The table."""
    rows = []
    for aim, found in zip(AIMS, measured(result).values(), strict=True):
        figure = found["figure"]
        reached = "not measured" if figure is None else "yes" if figure <= aim.most else "no"
        rows.append([aim.what, number(figure, aim.places), number(aim.most, aim.places), reached, f"`{aim.command}`"])
    return table(["figure", "measured", "at most", "reached", "command"], rows)
