"""A bench as a drawing for a README: two bars a script and two for everything.

The card is white and has a frame, so that it can be read on dark pages as well.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import IO
from unicodedata import combining, east_asian_width

from buildrunner import destination
from buildrunner.comparison import Arm, Manner, Measurement, Verdict, verdict
from buildrunner.errors import UsageError
from buildrunner.naming import display
from buildrunner.reports.bench import MANNERS, arms, conclusion, slowest, subject
from buildrunner.reports.words import count, seconds

_MARK = 'id="buildrunner-bench"'  # by which a drawing of ours is known again
_WIDTH = 800
_LABELS = 196  # where bars begin
_LONGEST_BAR = 500
_COLOURS = {Manner.SEQUENTIAL: "#8c959f", Manner.PARALLEL: "#0969da"}
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"


def svg(m: Measurement) -> str:
    """Two bars a script and two for everything, on a white card that stands out on dark pages as well."""
    c = m.comparison
    rows = slowest(m.scripts)
    parts: list[str] = []
    if verdict(c) is Verdict.FASTER:
        headline = f"{c.speedup:.2f} × as fast in parallel"
    else:
        headline = f"Not {'clearly ' if c.speedup > 1 else ''}faster in parallel: {c.speedup:.2f} ×"
    parts.append(_text(24, 38, headline, size=20, weight=600))
    parts.append(_text(24, 60, _shorten(f"{subject(m)}; {_short_conditions(m)}", 108), size=12.5, fill="#59636e"))
    y = 82
    parts.append(_legend(y))
    y += 34
    longest = max(max(arm.runs) for _, arm in arms(m)) or 1.0
    for manner, (_, arm) in zip(Manner, arms(m), strict=True):
        label = "all scripts" if manner is Manner.SEQUENTIAL else ""
        parts.append(_bar(y, 20, arm.median / longest, manner, seconds(arm.median), label, span=_reach(arm, longest)))
        y += 24
    y += 14
    parts.append(f'<path d="M24 {y}H{_WIDTH - 24}" stroke="#d1d9e0"/>')
    y += 22
    parts.append(_text(24, y, "each script (bars to a scale of their own)", size=12, fill="#59636e"))
    y += 12
    longest = max((max(row.sequential, row.parallel) for row in rows), default=0.0) or 1.0
    for row in rows:
        parts.append(_bar(y, 13, row.sequential / longest, Manner.SEQUENTIAL, seconds(row.sequential), row.name))
        parts.append(_bar(y + 14, 13, row.parallel / longest, Manner.PARALLEL, seconds(row.parallel), ""))
        y += 38
    for line in _notes(m, len(rows)):
        y += 18
        parts.append(_text(24, y, line, size=12, fill="#59636e"))
    height = y + 20
    described = " ".join([conclusion(m), *(f"{label}: {seconds(arm.median)}." for label, arm in arms(m))])
    return "\n".join(
        [
            f'<svg {_MARK} xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
            f'viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="title desc" font-family="{_FONT}">',
            f'<title id="title">{escape(headline)}</title>',
            f'<desc id="desc">{escape(described)}</desc>',
            f'<rect x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8" fill="#fff" stroke="#d1d9e0"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _short_conditions(m: Measurement) -> str:
    return f"medians of {count(m.rounds, 'round')}, {m.comparison.jobs} at a time on {count(m.cpus, 'CPU')}"


def _notes(m: Measurement, shown: int) -> Iterable[str]:
    if m.rounds > 1:
        yield "thin lines: from the fastest round to the slowest"
    if shown < len(m.scripts):
        yield f"the {shown} slowest of {len(m.scripts):,} scripts"
    if m.failures:
        yield f"{len(m.failures):,} of {count(len(m.scripts), 'script')} did not pass"
    if m.differences:
        yield f"{len(m.differences):,} of {count(len(m.scripts), 'script')} did not do the same every time"


def _reach(arm: Arm, longest: float) -> tuple[float, float]:
    return min(arm.runs) / longest, max(arm.runs) / longest


def _legend(y: int) -> str:
    parts, x = [], _LABELS
    for manner, label in MANNERS.items():
        parts.append(f'<rect x="{x}" y="{y}" width="12" height="12" rx="2" fill="{_COLOURS[manner]}"/>')
        parts.append(_text(x + 18, y + 10.5, label, size=12.5))
        x += 160
    return "".join(parts)


def _bar(
    y: int,
    height: int,
    share: float,
    manner: Manner,
    value: str,
    label: str,
    *,
    span: tuple[float, float] | None = None,
) -> str:
    """A bar with its value; `label` stands before the pair of bars that this one begins."""
    width = max(1.0, share * _LONGEST_BAR)
    middle = y + height / 2
    parts = [f'<rect x="{_LABELS}" y="{y}" width="{width:.1f}" height="{height}" rx="2" fill="{_COLOURS[manner]}"/>']
    end = _LABELS + width
    if span and span[1] > span[0]:
        low, high = (_LABELS + s * _LONGEST_BAR for s in span)
        parts.append(
            f'<path d="M{low:.1f} {middle:g}H{high:.1f}M{low:.1f} {middle - 4:g}v8M{high:.1f} {middle - 4:g}v8" '
            'stroke="#1f2328" stroke-width="1.2"/>'
        )
        end = max(end, high)
    parts.append(_text(end + 7, middle + 4.2, value, size=11.5))
    if label:
        parts.append(_text(_LABELS - 12, y + height + 5, _shorten(label, 22), size=13, anchor="end"))
    return "".join(parts)


def _text(
    x: float, y: float, text: str, *, size: float, fill: str = "#1f2328", weight: int = 400, anchor: str = "start"
) -> str:
    attributes = f'x="{x:.4g}" y="{y:g}" font-size="{size:g}" fill="{fill}"'
    if weight != 400:
        attributes += f' font-weight="{weight}"'
    if anchor != "start":
        attributes += f' text-anchor="{anchor}"'
    return f"<text {attributes}>{escape(display(text))}</text>"


def _shorten(text: str, columns: int) -> str:
    """Cut the middle out, so that beginning and suffix stay; letters of double width count twice.

    >>> _shorten("a_very_long_name_indeed.py", 14)
    'a_very…deed.py'
    """
    shown = display(text)
    widths = [0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in shown]
    if sum(widths) <= columns:
        return shown
    room = columns - 1
    head = _fitting(widths, room // 2)
    tail = _fitting(widths[::-1], room - sum(widths[:head]))
    return shown[:head] + "…" + shown[len(shown) - tail :]


def _fitting(widths: Sequence[int], room: int) -> int:
    """How many of the first letters have room."""
    used = 0
    for index, width in enumerate(widths):
        used += width
        if used > room:
            return index
    return len(widths)


def check_destination(path: str) -> None:
    """UsageError when no drawing can be written there; leaves nothing behind."""
    destination.check(path, what="the drawing", option="--svg FILE", ours=_is_drawing)


def _is_drawing(file: IO[bytes]) -> bool:
    return _MARK.encode() in file.read(512)


def write_svg(m: Measurement, path: str) -> None:
    """Write the drawing, whole or not at all. UsageError when that is impossible."""
    try:
        with destination.replacing(path) as file:
            file.write(svg(m).encode())
    except OSError as exc:
        raise UsageError(f"cannot write the drawing {display(path)}: {exc.strerror}") from exc
