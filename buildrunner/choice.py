"""Which of a target's scripts a run has: all of them, one shard, or those that did not pass last time.

Shards are made from what the record knows, so that they end at about the same time. They are the same everywhere as
long as the record is: on several machines all start from the same one (or from none), and here the shards of one round
all look at the record as it was before the first of them.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from buildrunner.config import Options
from buildrunner.errors import NothingLeft
from buildrunner.job import Batch
from buildrunner.ledger import Reader
from buildrunner.naming import display
from buildrunner.plan import medians, shards
from buildrunner.resumable import broken_off

_Parts = list[list[str]]
_Round = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A batch, what its jobs took in their last runs (`past`, seconds), and in `words` which part of its target it is.

    `round` is what all shards of one round have in common, None without shards: `base` (the newest run's number when it
    began), `plan` (a digest of the shards), `known` (the seconds by which they were made), and `replaces` (the plan of
    the round before, if that was another one); and which of the shards were begun up to this one (`ran`) or broken off
    before it (`cut`). Each of their runs keeps it, because earlier runs may be forgotten, and what they took may change
    when one of them is resumed.
    """

    batch: Batch
    past: Mapping[str, Sequence[float]]
    words: str = ""
    round: _Round | None = None

    @property
    def durations(self) -> dict[str, float]:
        """Seconds each job is expected to take, of those that ran before."""
        return medians(self.past)


def choose(reader: Reader | None, options: Options, batch: Batch) -> Choice:
    """Choose from the batch what `--shard` and `--last-failed` ask for; `reader` is None where nothing is recorded yet.

    Raises NothingLeft when that is nothing.
    """
    words: list[str] = []
    shard_round = None
    names = [spec.name for spec in batch.jobs]
    past = reader.past_seconds(batch.key, options.args, names=names) if reader else {}
    if numbers := options.shard_numbers:
        number, count = numbers
        parts, shard_round = _round(reader, options, batch, medians(past))
        mine = set(parts[number - 1])
        batch = replace(batch, jobs=tuple(spec for spec in batch.jobs if spec.name in mine))
        other = f", before it was {shard_round['replaces']}" if shard_round["replaces"] else ""
        words.append(f"shard {options.shard} (plan {shard_round['plan']}{other})")
        if not batch.jobs:
            raise NothingLeft(f"{words[0]} of {display(batch.target)} has no scripts: there are fewer than {count}")
    if options.last_failed:
        if reader and reader.newest(batch.key):
            passed = reader.passed_last(batch.key)
            batch = replace(batch, jobs=tuple(spec for spec in batch.jobs if spec.name not in passed))
            words.append("what did not pass last time")
            if not batch.jobs:
                of = f"shard {options.shard} of " if options.shard else ""
                raise NothingLeft(f"all of {of}{display(batch.target)} passed the last time")
        else:
            words.append("all, because no earlier run of them is recorded")
    return Choice(batch=batch, past=past, words=", ".join(words), round=shard_round)


def _round(reader: Reader | None, options: Options, batch: Batch, known: dict[str, float]) -> tuple[_Parts, _Round]:
    """The shards, and what the record shall keep of them.

    A round goes on until each of its shards has been run to its end, then a new one begins. What failed last time is
    looked for in the shards of the last round. A round belongs to the scripts it was made of: with others, its
    durations give other shards.
    """
    assert options.shard_numbers
    mine, count = options.shard_numbers
    names = [spec.name for spec in batch.jobs]
    base, last = 0, None
    parts: _Parts = []
    newest: dict[int, bool] = {}  # shard of the last round → whether its newest run was broken off
    for run in reader.runs() if reader else ():
        base = max(base, run.id)
        found: _Round | None = run.options.get("shard_round")
        number, _, of = (run.options.get("shard") or "").partition("/")
        if not found or run.key != batch.key or run.args != options.args or int(of) != count:
            continue
        if last is None:
            parts = shards(names, found["known"], count)
            if _digest(parts) != found["plan"]:
                continue
            last = found
        if reader and (found["base"], found["plan"]) == (last["base"], last["plan"]):
            newest.setdefault(int(number), broken_off(reader, run))
    if last:
        if options.last_failed:
            return parts, last
        cut = {number for number in last["ran"] if newest.get(number, number in last["cut"])}
        left = {number for number, part in enumerate(parts, start=1) if part}.difference(last["ran"])
        if left:
            return parts, {**last, "ran": sorted({*last["ran"], mine}), "cut": sorted(cut - {mine})}
        if cut:  # the same shards from the beginning, or what is broken off would be shared out between others
            return parts, {**last, "ran": [mine], "cut": []}
    known = {name: known[name] for name in names if name in known}
    parts = shards(names, known, count)
    plan, ran = _digest(parts), [] if options.last_failed else [mine]
    other = last["plan"] if last and last["plan"] != plan else None
    return parts, {"base": base, "plan": plan, "known": known, "ran": ran, "cut": [], "replaces": other}


def _digest(parts: Sequence[Sequence[str]]) -> str:
    """By which people see that two machines made the same shards."""
    text = b"\0\0".join(b"\0".join(map(os.fsencode, part)) for part in parts)
    return hashlib.sha256(text).hexdigest()[:8]
