"""How near to the bound a run ends when some of its scripts never ran, or none did: played through, nothing is run.

Families of scripts as people have them are drawn by a seed, and some of them are taken for known. What the real plan
hands out then, in a time that does not pass, is compared with the shortest that any order could reach. The figures of
docs/decisions/0012-doubt-starts-early.md are from here.
"""

import heapq
import random
from collections.abc import Callable
from statistics import mean, median

from harness import Result, machine, number, parser, publish, table

from buildrunner.job import JobSpec
from buildrunner.plan import Order, Plan

_WORKERS = (2, 4, 8)
_SCRIPTS = (12, 24, 50, 100)
_KNOWN = {"none": 0.0, "one in seven": 0.15, "half, at random": 0.5, "nine of ten": 0.9}
_BY_NAME, _BY_MEDIAN, _NOW, _ALL_KNOWN = "by name", "counted like the median", "now", "all known"

Seconds = dict[str, float]
Family = Callable[[random.Random, int], Seconds]


def _grid(rng: random.Random, count: int) -> Seconds:
    side = max(2, int(count**0.5))
    return {f"n{2**i}_seed{j}.py": 2.0**i * _noise(rng) for i in range(count // side) for j in range(side)}


def _mixed(rng: random.Random, count: int) -> Seconds:
    found = {}
    for word in "abcd":
        usual, is_rising = rng.lognormvariate(0, 1), rng.random() < 0.6
        for n in range(count // 4):
            found[f"{word}_{n}.py"] = usual * (1 + n if is_rising else rng.lognormvariate(0, 0.4))
    return found


def _folders(rng: random.Random, count: int) -> Seconds:
    found = {}
    for folder in "abcd":
        usual = rng.lognormvariate(0, 1)
        for _ in range(count // 4):
            found[f"{folder}/{_word(rng)}.py"] = usual * rng.lognormvariate(0, 0.3)
    return found


def _long_last(rng: random.Random, count: int) -> Seconds:
    found = {f"{_word(rng)}.py": rng.lognormvariate(0, 0.5) for _ in range(count - 1)}
    return found | {"z_train.py": sum(found.values()) / 2 * rng.uniform(0.2, 0.6)}


def _noise(rng: random.Random) -> float:
    return rng.lognormvariate(0, 0.1)


def _word(rng: random.Random) -> str:
    return "".join(rng.choice("abcdefghij") for _ in range(6))


FAMILIES: dict[str, Family] = {
    "rising": lambda rng, count: {f"case_{n}.py": (count / 20 + n) ** 2 * _noise(rng) for n in range(1, count + 1)},
    "rising, padded": lambda rng, count: {
        f"case_{n:03}.py": (count / 20 + n) * _noise(rng) for n in range(1, count + 1)
    },
    "powers": lambda rng, count: {
        f"size_{round(10 * 1000 ** (n / count)) + n}.py": 1000 ** (n / count) for n in range(count)
    },
    "falling": lambda rng, count: {f"step_{n}.py": _noise(rng) / (count / 20 + n) for n in range(1, count + 1)},
    "grid": _grid,
    "seeds": lambda rng, count: {f"seed_{n}.py": rng.lognormvariate(0, 0.15) for n in range(count)},
    "numbered": lambda rng, count: {
        f"{n:02}_{rng.choice('abcdef')}.py": rng.lognormvariate(0, 0.8) for n in range(count)
    },
    "a few long": lambda rng, count: {f"job{n}.py": rng.paretovariate(1.3) for n in range(count)},
    "named": lambda rng, count: {f"{_word(rng)}.py": rng.lognormvariate(0, 1) for _ in range(count)},
    "mixed": _mixed,
    "folders": _folders,
    "a long one last": _long_last,
    "equal": lambda rng, count: {f"job{n}.py": 1.0 for n in range(count)},
}


def measure(rounds: int = 40) -> Result:
    """Play everything through for so many seeds."""
    rows = []
    for words, share in _KNOWN.items():
        families: dict[str, dict[str, list[float]]] = {}
        for family, make in FAMILIES.items():
            arms = families[family] = {_BY_NAME: [], _BY_MEDIAN: [], _NOW: [], _ALL_KNOWN: []}
            for seed in range(rounds):
                rng = random.Random(seed)
                seconds = make(rng, rng.choice(_SCRIPTS))
                known = {name: seconds[name] for name in rng.sample(sorted(seconds), int(share * len(seconds)))}
                usual = median(known.values()) if known else 0.0
                counted = {name: known.get(name, usual) for name in seconds}
                for workers in _WORKERS:
                    arms[_BY_NAME].append(_beyond(seconds, {}, workers, Order.NAME))
                    arms[_BY_MEDIAN].append(_beyond(seconds, counted, workers))
                    arms[_NOW].append(_beyond(seconds, known, workers))
                    arms[_ALL_KNOWN].append(_beyond(seconds, seconds, workers))
        rows.append(
            {"known": words, "families": {f: {a: mean(v) for a, v in arms.items()} for f, arms in families.items()}}
        )
    return {"rounds": rounds, "rows": rows}


def markdown(result: Result) -> str:
    """The tables: the mean and the worst of the families, and each family where nothing is known."""
    arms = (_BY_NAME, _BY_MEDIAN, _NOW, _ALL_KNOWN)
    short = []
    for row in result["rows"]:
        values = [[family[arm] for family in row["families"].values()] for arm in arms]
        short.append([row["known"], *(f"{number(mean(v), 3)} ({number(max(v), 3)})" for v in values)])
    first = [
        [family, *(number(row["families"][family][_NOW], 3) for row in result["rows"])]
        for family in result["rows"][0]["families"]
    ]
    return (
        f"The time all take × the bound, {result['rounds']} draws of each family on 2, 4 and 8 workers: mean of the "
        "families (and the worst).\n\n"
        + table(["known before", *arms], short)
        + "\nNow, by family:\n\n"
        + table(["family", *(row["known"] for row in result["rows"])], first)
    )


def _beyond(seconds: Seconds, known: Seconds, workers: int, order: Order = Order.LONGEST) -> float:
    plan = Plan([JobSpec(name=name) for name in seconds], durations=known, order=order, workers=workers)
    running: list[tuple[float, str]] = []
    now = 0.0
    while True:
        while len(running) < workers and (spec := plan.take()):
            heapq.heappush(running, (now + seconds[spec.name], spec.name))
        if not running:
            return now / max(*seconds.values(), sum(seconds.values()) / workers)
        now, name = heapq.heappop(running)
        plan.finished(name, passed=True)
        plan.observe(name, seconds[name])


def main() -> None:
    """Play and print."""
    arguments = parser(__doc__, rounds=40).parse_args()
    facts = machine()
    result = measure(arguments.rounds)
    publish(arguments, facts, result, markdown(result))


if __name__ == "__main__":
    main()
