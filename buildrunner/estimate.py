"""How long scripts may take that never ran, by those that did; and in which order to start them when none did.

Pure: names and seconds are arguments. There are a few rules, and which of them is believed is for the known scripts to
show: each is left out in turn, and every rule foretells it from the others. A new script is estimated by the rule that
did best, of those that have something to say about it.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, exp, log

LOOKED_AT = 2_000
"""Scripts, of either sort. Of more known ones only every so many are looked at; more new ones than these all count like
the median and go by name, because the order of so many no longer matters."""

_TRIED = 200  # known scripts that are left out in turn, at most
_ENOUGH = 4  # scripts that a rule must have foretold
_BETTER = 0.9  # of the median's error: what a rule's must be below
_DOUBTFUL = 0.8  # share of the scripts a rule foretold that lasted at most as long as its doubt allows
_UNTRIED = 2.0  # times its estimate: how long a script may last when too few are known to say
_SHORTEST = 1e-6  # seconds a script is taken to last at least, so that it can be compared
_FARTHEST = 16.0  # times the longest, or a share of the shortest: how far beyond them a trend is followed

_NUMBER = re.compile(r"(\d+)")


class Rule(StrEnum):
    """What an estimate goes by."""

    MEDIAN = "median"
    """The median of all known scripts."""
    FOLDER = "folder"
    """The median of those in the same folder."""
    NEIGHBOURS = "neighbours"
    """Of those whose names differ in their numbers only, the next before and the next after it."""
    TREND = "trend"
    """How with those the time grows with the number: as a power of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Seconds a new script may take, what they would be if doubt were held against it, and what that goes by."""

    seconds: float
    at_most: float
    rule: Rule


class Estimates:
    """What the known scripts say about new ones.

    >>> estimates = Estimates({f"case_{n}.py": n * 1.5 for n in range(1, 9)} | {"readme.py": 30.0})
    >>> estimates.record[0], estimates.of("case_16.py").rule
    (<Rule.TREND: 'trend'>, <Rule.TREND: 'trend'>)
    >>> round(estimates.of("other.py").seconds, 1)
    7.5
    """

    def __init__(self, known: Mapping[str, float]) -> None:
        """`known` are names and seconds, at least one. Later changes of it are not seen."""
        names = sorted(known)
        names = names[:: -(-len(names) // LOOKED_AT) or 1]
        self._known = {name: max(known[name], _SHORTEST) for name in names}
        self._all = sorted(self._known.values())
        self._folders = _grouped((_folder(name), seconds) for name, seconds in self._known.items())
        self._families: dict[str, _Family] = {}
        for name, seconds in self._known.items():
            stem, numbers = split(name)
            if numbers:
                self._families.setdefault(stem, _Family()).add(numbers, log(seconds))
        for family in self._families.values():
            family.settle()
        self._rules: Mapping[Rule, Callable[[str, float | None], float | None]] = {
            Rule.TREND: self._by_trend,
            Rule.NEIGHBOURS: self._by_neighbours,
            Rule.FOLDER: self._by_folder,
            Rule.MEDIAN: self._by_median,
        }
        self._doubts: dict[Rule, float] = {}
        self.record = self._try_out(names[:: -(-len(names) // _TRIED) or 1])
        """The rules that are believed, the best first; the last is the median."""

    def of(self, name: str) -> Estimate:
        """What a script may take that is not known."""
        for rule in self.record:
            if (seconds := self._rules[rule](name, None)) is not None:
                return Estimate(seconds=seconds, at_most=seconds * self._doubts[rule], rule=rule)
        raise AssertionError("the median speaks for every script")

    def _try_out(self, names: Sequence[str]) -> tuple[Rule, ...]:
        off: dict[Rule, list[float]] = {
            rule: [] for rule in self._rules
        }  # how many times as long they took, as logarithms
        usual = dict.fromkeys(self._rules, 0.0)  # by how much the median was off for the same scripts
        for name in names:
            true = self._known[name]
            by_median = self._by_median(name, true)
            if by_median is None:
                break
            for rule, say in self._rules.items():
                if (said := say(name, true)) is not None:
                    off[rule].append(log(true / said))
                    usual[rule] += abs(log(true / by_median))
        for rule, times in off.items():
            times.sort()
            self._doubts[rule] = (
                exp(max(0.0, times[ceil(_DOUBTFUL * len(times)) - 1])) if len(times) >= _ENOUGH else _UNTRIED
            )
        error = {rule: sum(map(abs, times)) for rule, times in off.items() if len(times) >= _ENOUGH}
        better = [rule for rule in error if error[rule] < _BETTER * usual[rule]]
        return (*sorted(better, key=lambda rule: error[rule] / usual[rule]), Rule.MEDIAN)

    # The rules. Each says how many seconds a script takes, or None; `known` are those of one that is to be left out.

    def _by_median(self, name: str, known: float | None) -> float | None:
        return _middle(self._all, known)

    def _by_folder(self, name: str, known: float | None) -> float | None:
        return _middle(self._folders.get(_folder(name), ()), known)

    def _by_neighbours(self, name: str, known: float | None) -> float | None:
        stem, numbers = split(name)
        family = self._families.get(stem)
        return family.neighbours(numbers, known and log(known)) if family else None

    def _by_trend(self, name: str, known: float | None) -> float | None:
        stem, numbers = split(name)
        family = self._families.get(stem)
        said = family.trend(numbers, known and log(known)) if family else None
        if said is None:
            return None
        return exp(min(max(said, log(self._all[0] / _FARTHEST)), log(self._all[-1] * _FARTHEST)))


class _Family:
    """Scripts whose names differ in their numbers only, with the logarithms of their seconds."""

    def __init__(self) -> None:
        self._members: list[tuple[tuple[int, ...], float]] = []
        self._sums: list[tuple[float, float, float, float, float]] = []  # for each number in the name

    def add(self, numbers: tuple[int, ...], seconds: float) -> None:
        self._members.append((numbers, seconds))

    def settle(self) -> None:
        self._members.sort()
        y = [seconds for _, seconds in self._members]
        for place in range(len(self._members[0][0])):
            x = [_scale(numbers[place]) for numbers, _ in self._members]
            products = zip(x, y, strict=True)
            self._sums.append(
                (sum(x), sum(y), sum(a * a for a in x), sum(a * b for a, b in products), sum(b * b for b in y))
            )

    def neighbours(self, numbers: tuple[int, ...], without: float | None) -> float | None:
        place = bisect_left(self._members, numbers, key=lambda member: member[0])
        if without is not None:
            while self._members[place] != (numbers, without):
                place += 1
        after = place + (without is not None)
        beside = [*self._members[max(0, place - 1) : place], *self._members[after : after + 1]]
        return exp(sum(seconds for _, seconds in beside) / len(beside)) if beside else None

    def trend(self, numbers: tuple[int, ...], without: float | None) -> float | None:
        """By the line of least squares through the logarithms, for the number in the name that explains most."""
        count = len(self._members) - (without is not None)
        if count < 3:
            return None
        best: tuple[float, float] | None = None
        for number, (sx, sy, sxx, sxy, syy) in zip(numbers, self._sums, strict=True):
            x = _scale(number)
            if without is not None:
                sx, sy, sxx, sxy, syy = sx - x, sy - without, sxx - x * x, sxy - x * without, syy - without * without
            spread = sxx - sx * sx / count
            if spread < 1e-9 * (1 + sxx):
                continue
            slope = (sxy - sx * sy / count) / spread
            left = syy - sy * sy / count - slope * slope * spread
            if best is None or left < best[0]:
                best = left, (sy + slope * (count * x - sx)) / count
        return best[1] if best else None


def split(name: str) -> tuple[str, tuple[int, ...]]:
    """What a name has in common with those that differ from it in their numbers only, and its numbers.

    A zero byte, which no name holds, stands for a number.

    >>> split("size_10/case_9.py")
    ('size_\\x00/case_\\x00.py', (10, 9))
    """
    parts = _NUMBER.split(name)
    return "\0".join(parts[::2]), tuple(map(int, parts[1::2]))


def from_both_ends(names: Iterable[str]) -> list[str]:
    """An order for scripts about which nothing is known: the last by name, the first, the last but one, and so on.

    Where time grows or falls with a number in the name, those that come last here are of middling length. Numbers count
    by their value.

    >>> from_both_ends(["n1", "n2", "n10", "n3"])
    ['n10', 'n1', 'n3', 'n2']
    """
    ordered = sorted(names, key=_by_numbers)
    return [ordered[-1 - n // 2] if n % 2 == 0 else ordered[n // 2] for n in range(len(ordered))]


def _by_numbers(name: str) -> tuple[list[str | int], str]:
    return [int(part) if place % 2 else part for place, part in enumerate(_NUMBER.split(name))], name


def _scale(number: int) -> float:
    """A number's place on the axis of a trend; nothing is half of one there."""
    return log(number or 0.5)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _grouped(pairs: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    groups: dict[str, list[float]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    for values in groups.values():
        values.sort()
    return groups


def _middle(ordered: Sequence[float], without: float | None) -> float | None:
    """The median of values in order, one of which may be left out."""
    count = len(ordered) - (without is not None)
    if count < 1:
        return None
    gone = len(ordered) if without is None else bisect_left(ordered, without)
    low, high = ((place + (place >= gone)) for place in ((count - 1) // 2, count // 2))
    return (ordered[low] + ordered[high]) / 2
