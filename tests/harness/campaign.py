"""Many points, a few at a time, each kind in turn; and the table of what they showed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.harness.blows import CALLED, TIMED
from tests.harness.point import Point, Result

KINDS = (*TIMED, *CALLED)
_CLASSES = ("lost", "twice", "left", "wrong")


def campaign(
    *,
    seed: int,
    points: int,
    folder: Path,
    library: Path | None,
    kinds: tuple[str, ...] | None = None,
    few: bool = False,
    lanes: int = 2,
    tell: Callable[[str], None] = print,
) -> list[Result]:
    """Carry out points 0 to `points` of a seed; `few`: of few scripts. `tell` hears of each violation."""
    chosen = kinds or (KINDS if library else TIMED)

    def one(number: int) -> Result:
        kind = chosen[number % len(chosen)]
        place = folder / str(number)
        result = Point(seed=seed, number=number, kind=kind, folder=place, library=library, few=few).carry_out()
        if result.violations:
            tell(complaint(result))
        return result

    with ThreadPoolExecutor(lanes) as pool:
        return list(pool.map(one, range(points)))


def complaint(result: Result) -> str:
    """A point's violations, and how to see them again."""
    what = "\n".join(f"    {violation}" for violation in result.violations)
    return f"point {result.point} ({', '.join(result.blows)}):\n{what}\n    kept: {result.folder}\n    {result.replay}"


def table(results: list[Result]) -> str:
    """What was struck and what it showed, by kind."""
    heads = ("kind", "points", "struck", *_CLASSES, "ran again", "until gone, s", "to resume", "seconds")
    rows = [heads]
    for kind in (*dict.fromkeys(result.kind for result in results), "all"):
        of_kind = [result for result in results if kind in (result.kind, "all")]
        found = [violation for result in of_kind for violation in result.violations]
        rows.append(
            (
                kind,
                str(len(of_kind)),
                str(sum(result.struck for result in of_kind)),
                *(str(sum(violation.startswith(c) for violation in found)) for c in _CLASSES),
                str(sum(result.ran_again for result in of_kind)),
                f"{max(result.gone_after for result in of_kind):.2f}",
                str(sum(result.waited_for_resume for result in of_kind)),
                f"{sum(result.seconds for result in of_kind):.1f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join([row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)])
             for row in rows]  # fmt: skip
    lines += [
        "",
        "struck: kills that hit, those of `resume` included. ran again: executions that ended unacknowledged.",
        "to resume: processes that nobody was left to end until `resume` did.",
    ]
    return "\n".join(lines)
