"""Whether anybody could tell warm from cold: every case cold twice and warm once, and what differs.

A script whose cold runs differ among themselves says nothing, and is excluded by that rule alone. Where cold and warm
differ, cold is asked a few times more, so that one whose noise is rare is not held against warm mode. What `briefly`
leaves out is only the second cold run of scripts that are the same in the first and in the warm one. One that does not
end in its time when it is cold is not asked again.
"""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from tests.conformance.arms import COLD, WARM, Arm, Observed, observe
from tests.conformance.cases import Case, by_setting

ASKED_AGAIN = 2
"""How many more cold runs a case gets that differs cold against warm."""


PATIENCE = 4
"""How many times as long a case may take that has ended in time once."""


class State(StrEnum):
    """What came of one case."""

    SAME = "same"
    NOISY = "noisy"
    TOO_LONG = "had not ended when its time was up, cold"
    DIFFERS = "differs"
    EXPLAINED = "explained"
    NO_LONGER = "no longer differs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of one case: `mode` it ran in when warm was asked for and `why`, and the difference if there is one."""

    name: str
    state: State
    mode: str
    why: str = ""
    difference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The sentence that tells users of a difference, and what its changed lines look like: a regular expression.

    Some there are only with some Pythons, and not `always`.
    """

    sentence: str
    lines: str
    always: bool = True

    def covers(self, difference: str) -> bool:
        """Whether this is all that differs."""
        changed = [line for line in difference.splitlines() if not line.startswith((" ", "@@", "--- ", "+++ "))]
        return bool(changed) and all(re.fullmatch(self.lines, line) for line in changed)


def compare(
    base: Path,
    cases: Sequence[Case],
    *,
    python: str,
    explained: Mapping[str, Explanation] | None = None,
    warm: Arm = WARM,
    timeout: float = 60.0,
    briefly: bool = False,
) -> list[Verdict]:
    """The verdicts on all cases, by setting; one more each on what was left in TMPDIR.

    `explained` names the cases that differ for a reason users are told; one that does not is a fault as well.
    """
    known = explained or {}
    return [
        explain(verdict, known)
        for group in by_setting(cases).values()
        for verdict in _judge(base, group, warm, python, timeout, briefly, known)
    ]


def _judge(
    base: Path,
    cases: Sequence[Case],
    warm: Arm,
    python: str,
    timeout: float,
    briefly: bool,
    known: Collection[str],
) -> Iterator[Verdict]:
    names = [case.name for case in cases]
    names.append(f"(TMPDIR of {cases[0].setting.name or 'all'})")

    def run(chosen: Sequence[Case], arm: Arm, patience: int = PATIENCE) -> list[Observed]:
        return observe(base, chosen, arm, python=python, timeout=timeout * patience)

    first = run(cases, COLD, 1)
    too_long = {case.name for case, seen in zip(cases, first, strict=False) if seen.timed_out}
    cases = [_nothing(case) if case.name in too_long else case for case in cases]
    other = run(cases, warm)
    second = first if briefly else run(cases, COLD)
    noisy = {n for n, a, b in zip(names, first, second, strict=True) if a.parts != b.parts} - too_long
    differing = {n for n, a, b in zip(names, first, other, strict=True) if a.parts != b.parts} - noisy - too_long
    differing.difference_update(known)
    for _ in range(ASKED_AGAIN if differing else 0):
        # The others give up their scripts but not their places, so that paths stay as they were.
        found = run([case if case.name in differing else _nothing(case) for case in cases], COLD)
        noisy |= {n for n, a, b in zip(names, first, found, strict=True) if n in differing and a.parts != b.parts}
    for name, cold, seen in zip(names, first, other, strict=True):
        if name in too_long:
            yield Verdict(name=name, state=State.TOO_LONG, mode=cold.mode)
        elif name in noisy:
            yield Verdict(name=name, state=State.NOISY, mode=seen.mode, why=seen.why)
        elif cold.parts == seen.parts:
            yield Verdict(name=name, state=State.SAME, mode=seen.mode, why=seen.why)
        else:
            text = difference(cold, seen)
            yield Verdict(name=name, state=State.DIFFERS, mode=seen.mode, why=seen.why, difference=text)


def _nothing(case: Case) -> Case:
    def lay(place: Path) -> None:
        (place / "nothing.sh").touch()

    return Case(name=case.name, script="nothing.sh", lay=lay, setting=case.setting)


def explain(verdict: Verdict, explained: Mapping[str, Explanation]) -> Verdict:
    """What a difference users are told of comes to; one that is not there any more must not be told of."""
    told = explained.get(verdict.name)
    if told is None or verdict.state in (State.NOISY, State.TOO_LONG):
        return verdict
    state = verdict.state
    if state is State.DIFFERS and told.covers(verdict.difference):
        state = State.EXPLAINED
    elif state is State.SAME and verdict.mode == "warm" and told.always:
        state = State.NO_LONGER  # had it run cold by itself, there would be nothing to tell apart
    return replace(verdict, state=state, why=told.sentence)


def difference(cold: Observed, warm: Observed) -> str:
    """Every part that is not the same, as a unified diff."""
    text = []
    for part in sorted({*cold.parts, *warm.parts}):
        a, b = cold.parts.get(part), warm.parts.get(part)
        if a == b:
            continue
        if a is None or b is None:
            text.append(f"{part}: only in {'cold' if b is None else 'warm'}")
            continue
        old, new = (data.decode(errors="backslashreplace").splitlines() for data in (a, b))
        diff = list(difflib.unified_diff(old, new, f"cold {part}", f"{warm.mode} {part}", lineterm="", n=2))
        text += diff or [f"{part}: differs in line ends only: {a[-80:]!r} / {b[-80:]!r}"]
    return "\n".join(map(_visible, text))


def _visible(line: str) -> str:
    """A line as it may go to a terminal."""
    return "".join(c if c.isprintable() or c in "\t\n" else c.encode("unicode_escape").decode() for c in line)


def faults(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those that must not be."""
    return [v for v in verdicts if v.state in (State.DIFFERS, State.NO_LONGER)]


def summary(verdicts: Sequence[Verdict]) -> str:
    """For people: how many of what, the names of what is not plainly the same, and every difference."""
    scripts = [v for v in verdicts if not v.name.startswith("(")]
    lines = [f"{len(scripts)} scripts, {sum(v.mode == 'warm' for v in scripts)} of them ran warm"]
    for state in State:
        having = [v for v in verdicts if v.state is state]
        if having:
            lines.append(f"{state}: {len(having)}")
        if state is not State.SAME:
            lines += [f"    {v.name}{': ' + v.why if v.why else ''}" for v in having]
    cold = [v for v in scripts if v.mode == "cold" and v.state is not State.TOO_LONG]
    if cold and len(cold) < len(scripts):
        lines.append(f"ran cold by themselves: {len(cold)}")
        lines += [f"    {v.name}: {v.why}" for v in cold]
    for verdict in faults(verdicts):
        lines += ["", f"== {verdict.name}: {verdict.state}", verdict.difference or verdict.why]
    return "\n".join(lines)
