"""What a run comes to: jobs by state, what its scripts took together, how long each worker worked.

It is counted from the rows of jobs and receipts. Of a run that has ended the record keeps it, because for 100,000
scripts that takes half a second, and `history` wants it of every run. What is kept can always be counted anew: what is
not there is, and `ledger check` counts all of it.
"""

import json
import sqlite3
from collections.abc import Iterator
from math import isclose
from typing import NamedTuple

from buildrunner.errors import LedgerError
from buildrunner.job import UNSPENT, JobState
from buildrunner.ledger import store
from buildrunner.ledger.rows import spec_from_json
from buildrunner.ledger.store import from_sql
from buildrunner.plan import Plan

_UNSPENT = ", ".join(f"'{outcome}'" for outcome in sorted(UNSPENT))
_TAKEN = (
    "SELECT j.name, j.spec, total(r.seconds) AS taken FROM jobs j JOIN receipts r ON r.job = j.id "
    f"WHERE j.run = ? AND NOT r.superseded AND r.outcome NOT IN ({_UNSPENT}) GROUP BY r.job"
)


class Figures(NamedTuple):
    """`states`: jobs by state. `seconds` of all attempts that ended by themselves or their limit: what a stop or a
    worker's death cut off would not have been there, one after another. `longest`: of the longest chain of jobs.
    `busy`: seconds by worker, of all attempts.
    """

    states: dict[JobState, int]
    seconds: float
    longest: float
    busy: dict[int, float]


def kept(db: sqlite3.Connection, run: int) -> Figures | None:
    """What the record keeps of a run, None where that is nothing. Raises sqlite3.Error and LedgerError."""
    row = db.execute("SELECT figures FROM figures WHERE run = ?", (run,)).fetchone()
    if row is None:
        return None
    try:
        found = json.loads(row[0])
        states = {JobState(state): int(number) for state, number in found["states"].items()}
        busy = {int(worker): float(seconds) for worker, seconds in found["busy"].items()}
        return Figures(states, float(found["seconds"]), float(found["longest"]), busy)
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise LedgerError(f"the figures of a run in the ledger are damaged: {exc}; {store.PERHAPS}") from exc


def keep(db: sqlite3.Connection, run: int) -> None:
    """Count a run that has ended, and keep that."""
    found = json.dumps(counted(db, run)._asdict())
    db.execute("INSERT OR REPLACE INTO figures VALUES (?, ?)", (run, found))


def drop(db: sqlite3.Connection, run: int) -> None:
    """Keep nothing of a run any more: it goes on, or is forgotten."""
    db.execute("DELETE FROM figures WHERE run = ?", (run,))


def counted(db: sqlite3.Connection, run: int) -> Figures:
    """All of it, counted now."""
    return Figures(states(db, run), *times(db, run), busy(db, run))


def states(db: sqlite3.Connection, run: int) -> dict[JobState, int]:
    """How many jobs are in each state. Raises ValueError for what is none."""
    rows = db.execute("SELECT state, count(*) FROM jobs WHERE run = ? GROUP BY state", (run,))
    return {JobState(state): number for state, number in rows}


def times(db: sqlite3.Connection, run: int) -> tuple[float, float]:
    """The seconds of all jobs, and of the longest chain of them."""
    if db.execute("SELECT 1 FROM jobs WHERE run = ? AND instr(spec, '\"after\"') LIMIT 1", (run,)).fetchone():
        specs = db.execute("SELECT name, spec FROM jobs WHERE run = ?", (run,))
        plan = Plan(spec_from_json(from_sql(name), spec) for name, spec in specs)
        seconds = {from_sql(name): taken for name, _, taken in db.execute(_TAKEN, (run,))}
        return sum(seconds.values()), plan.longest_chain(seconds)
    total, longest = db.execute(f"SELECT total(taken), coalesce(max(taken), 0.0) FROM ({_TAKEN})", (run,)).fetchone()
    return total, longest


def busy(db: sqlite3.Connection, run: int) -> dict[int, float]:
    """Seconds by worker."""
    rows = db.execute(
        "SELECT r.worker, total(r.seconds) FROM receipts r JOIN jobs j ON j.id = r.job "
        "WHERE j.run = ? AND r.worker IS NOT NULL AND NOT r.superseded GROUP BY r.worker",
        (run,),
    )
    return dict(rows)


def wrong(db: sqlite3.Connection) -> Iterator[tuple[str | None, str]]:
    """What is kept and is not what can be counted: the run's name, and what is wrong."""
    for run, name in db.execute("SELECT figures.run, name FROM figures LEFT JOIN runs ON runs.id = run").fetchall():
        of = None if name is None else from_sql(name)
        try:
            found = kept(db, run)
        except LedgerError:
            yield of, "what it came to cannot be read"
            continue
        if found and not _same(found, counted(db, run)):
            yield of, "what is kept of what it came to is not what its jobs and receipts say"


def _same(one: Figures, other: Figures) -> bool:
    """Sums may differ in their last bits, by the order in which they were made."""
    if one.states != other.states or one.busy.keys() != other.busy.keys():
        return False
    pairs = [(one.seconds, other.seconds), (one.longest, other.longest)]
    pairs += [(one.busy[worker], other.busy[worker]) for worker in one.busy]
    return all(isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) for a, b in pairs)
