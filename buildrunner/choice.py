"""Which of a target's scripts a run has: all of them, one shard, or those that failed last time.

Shards are made from what the record knows, so that they end at about the same time. They are the same everywhere as
long as the record is: on several machines all start from the same one (or from none), and here the shards of one round
all look at the record as it was before the first of them.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from buildrunner.config import Options
from buildrunner.errors import NothingLeft
from buildrunner.job import Batch, JobState
from buildrunner.ledger import Reader
from buildrunner.naming import display
from buildrunner.plan import medians, shards


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A batch, what its jobs took in their last runs (`past`, seconds), and in `words` which part of its target it is.

    `base` is the number of the newest run that the shards of this round know of, None without shards.
    """

    batch: Batch
    past: Mapping[str, Sequence[float]]
    words: str = ""
    base: int | None = None

    @property
    def durations(self) -> dict[str, float]:
        """Seconds each job is expected to take, of those that ran before."""
        return medians(self.past)


def choose(reader: Reader | None, options: Options, batch: Batch) -> Choice:
    """Choose from the batch what `--shard` and `--last-failed` ask for; `reader` is None where nothing is recorded yet.

    Raises NothingLeft when that is nothing.
    """
    words: list[str] = []
    base = None
    past = reader.past_seconds(batch.key, options.args) if reader else {}
    if numbers := options.shard_numbers:
        number, count = numbers
        base = _base(reader, options, batch.key) if reader else 0
        known = medians(reader.past_seconds(batch.key, options.args, until=base)) if reader else {}
        parts = shards([spec.name for spec in batch.jobs], known, count)
        mine = set(parts[number - 1])
        batch = replace(batch, jobs=tuple(spec for spec in batch.jobs if spec.name in mine))
        words.append(f"shard {options.shard} (plan {_digest(parts)})")
        if not batch.jobs:
            raise NothingLeft(f"{words[0]} of {display(batch.target)} has no scripts: there are fewer than {count}")
    if options.last_failed:
        before = reader.last_states(batch.key) if reader else {}
        if before:
            failed = {name for name, state in before.items() if state is JobState.FAILED}
            batch = replace(batch, jobs=tuple(spec for spec in batch.jobs if spec.name in failed))
            words.append("what failed last time")
            if not batch.jobs:
                raise NothingLeft(f"nothing of {display(batch.target)} failed the last time it ran")
        else:
            words.append("all, because no earlier run of them is recorded")
    return Choice(batch=batch, past=past, words=", ".join(words), base=base)


def _base(reader: Reader, options: Options, key: str) -> int:
    """What this round of shards knows: it goes on until each of its shards has been run, then a new one begins."""
    assert options.shard_numbers
    count = options.shard_numbers[1]
    newest, base, seen = 0, None, set()
    for run in reader.runs():
        newest = max(newest, run.id)
        number, _, of = (run.options.get("shard") or "").partition("/")
        if run.key != key or run.args != options.args or not of or int(of) != count:
            continue
        recorded: int = run.options["shard_base"]
        if base is not None and recorded != base:
            break
        base = recorded
        seen.add(int(number))
    return newest if base is None or len(seen) == count else base


def _digest(parts: Sequence[Sequence[str]]) -> str:
    """By which people see that two machines made the same shards."""
    text = b"\0\0".join(b"\0".join(map(os.fsencode, part)) for part in parts)
    return hashlib.sha256(text).hexdigest()[:8]
