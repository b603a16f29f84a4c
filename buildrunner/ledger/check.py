"""Whether a ledger can be trusted: the file's own structure, every receipt's checksum, and states against receipts.

Reads only, in one transaction, so that it sees one moment of a ledger somebody writes to. It names what is wrong and
mends nothing. A receipt is checked to the last bit; what has no checksum (a run's options and times, a job's spec, a
script's hash) only for having the form it was written in.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildrunner.errors import LedgerError
from buildrunner.job import JobState, Outcome
from buildrunner.ledger import Reader, figures, journals, spec_from_json, store
from buildrunner.ledger.rows import (
    RECEIPT_COLUMNS,
    UNREADABLE,
    are_modules,
    is_sha256,
    noted_or_none,
    parsed,
    receipt_of,
    repeated,
)
from buildrunner.ledger.store import from_sql
from buildrunner.naming import is_file_name_of
from buildrunner.run.wire import parse_journal_line

_RUN_STATES = ("running", "finished", "interrupted", "cancelled")
_TABLES = ("runs", "jobs", "attempts", "receipts")
_MOST_MESSAGES = 1000  # of SQLite about one file; a file so broken needs no longer list
_GIVES_UP = (sqlite3.Error, UnicodeDecodeError)  # the latter from a message about damaged text


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that cannot be as a ledger of ours was written; `run`, `job` and `attempt` where it is about one."""

    text: str
    run: str | None = None
    job: str | None = None
    attempt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was looked at, rows by table (without those that could not be read), and every problem found."""

    path: str
    counts: dict[str, int]
    problems: tuple[Problem, ...]


def check(state: Path) -> Checked:
    """Check the ledger in a state folder. UsageError when there is none; damage is a problem, never an error."""
    path = state / store.DATABASE
    counts: dict[str, int] = {}
    try:
        _refuse_empty(path)
        reader = Reader(state, store.open_reader(state))  # damage is what it looks for
    except LedgerError as exc:
        return Checked(path=str(path), counts=counts, problems=(Problem(text=str(exc)),))
    problems: list[Problem] = []
    # Before anything is read of the record: what is recorded later may be missing here.
    folders, started = journals.listed(state), _started(state)
    try:
        # Damaged text must be read to be told; what was written is UTF-8, so `_text` knows it by its surrogates.
        reader.db.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        with suppress(*_GIVES_UP):  # the first look says why
            reader.db.execute("BEGIN")
        for what, look in _LOOKS:
            try:
                problems.extend(look(reader.db))
            except (*_GIVES_UP, LedgerError, TypeError, ValueError) as exc:
                problems.append(Problem(text=f"{what} cannot be read: {exc}"))
        with suppress(*_GIVES_UP):
            lost = journals.lost(state, folders, reader.db)
            problems.extend(Problem(run=run, text=journals.sentence(state, run)) for run in lost)
            known = {run: attempts for run, attempts in started.items() if run not in lost}
            problems.extend(_unrecorded(reader.db, known))
        for table in _TABLES:
            with suppress(*_GIVES_UP):
                counts[table] = reader.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    finally:
        reader.close()
    return Checked(path=str(path), counts=counts, problems=tuple(problems))


def _refuse_empty(path: Path) -> None:
    """A file cut to nothing is a valid empty database to SQLite, and would count as one never used."""
    try:
        size = path.stat().st_size
        with suppress(FileNotFoundError):
            size += os.path.getsize(f"{path}-wal")
    except OSError:
        return  # opening it will say why
    if size == 0:
        raise LedgerError(f"the ledger {path} is empty: it was cut off, or nothing was ever recorded in it")


def _started(state: Path) -> dict[str, set[str]]:
    """By run, the attempts that started, as the workers' journals have it; a run that has ended in order has none."""
    found: dict[str, set[str]] = {}
    for path in (state / journals.RUNS).glob("*/*.journal"):
        with suppress(OSError):
            for line in journals.lines(path):
                match parse_journal_line(line):
                    case ("start", str(attempt), *_):
                        found.setdefault(path.parent.name, set()).add(attempt)
    return found


def _unrecorded(db: sqlite3.Connection, started: dict[str, set[str]]) -> Iterator[Problem]:
    """An attempt is recorded before it starts: one that is not shows that the end of the record is gone."""
    for run, attempts in started.items():
        unknown = [
            attempt
            for attempt in attempts
            if not db.execute("SELECT 1 FROM attempts WHERE id = ? UNION SELECT 1 FROM receipts WHERE attempt = ?",
                              (attempt, attempt)).fetchone()
        ]  # fmt: skip
        if unknown:
            yield Problem(
                run=run,
                text=f"{len(unknown)} attempts that started, as its workers' journals say, are not recorded: the end "
                "of the ledger is gone, perhaps because its write-ahead log is missing",
            )


def _structure(db: sqlite3.Connection) -> Iterator[Problem]:
    for (message,) in db.execute(f"PRAGMA integrity_check({_MOST_MESSAGES})"):
        if message != "ok":
            yield Problem(text=f"the file is damaged: {' '.join(str(message).split())}")


def _schema(db: sqlite3.Connection) -> Iterator[Problem]:
    """One flipped bit in the text of the schema gives a column another name, or takes a constraint away."""
    fresh = store.new_database(":memory:")
    try:
        for type_, name in sorted({row[:2] for row in _schema_of(fresh) ^ _schema_of(db)}):
            yield Problem(text=f"the {type_} {name} is not as this version of buildrunner makes it")
    finally:
        fresh.close()


def _schema_of(db: sqlite3.Connection) -> set[tuple[str, str, str, str]]:
    """Kind, name, table and text of everything in it, but for the statistics anybody may have SQLite make."""
    rows = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT GLOB 'sqlite_stat*'")
    return {(type_, name, table, " ".join((sql or "").split())) for type_, name, table, sql in rows}


def _references(db: sqlite3.Connection) -> Iterator[Problem]:
    for table, row, parent, _ in db.execute("PRAGMA foreign_key_check"):
        # The receipt of an attempt that was taken back is kept, marked superseded, without a row of its attempt:
        # `_receipts` tells those from others.
        if (table, parent) != ("receipts", "attempts"):
            which = "" if row is None else f" {row}"
            yield Problem(text=f"{table}{which} refers to a row of {parent} that is not there")


def _text(db: sqlite3.Connection) -> Iterator[Problem]:
    for table in ("runs", "jobs", "attempts", "figures"):  # receipts have their checksum
        for key, *row in db.execute(f"SELECT * FROM {table}"):
            if any(isinstance(value, str) and not _is_utf8(value) for value in (key, *row)):
                yield Problem(text=f"{table} {_short(key)} holds text that is not UTF-8")


def _runs(db: sqlite3.Connection) -> Iterator[Problem]:
    for name, state, args, options, archive, finished, session, wall, code, workers in db.execute(
        "SELECT name, state, args, options, archive, finished, session, wall, exit_code, jobs FROM runs ORDER BY id"
    ):
        run = from_sql(name)
        for column, text, kind in (("args", args, list), ("options", options, dict), ("archive", archive, dict)):
            if not isinstance(parsed(text), kind) and (text is not None or column != "archive"):
                yield Problem(run=run, text=f"its {column} cannot be read: {_short(text)}")
        if not all(v is None or isinstance(v, float | int) for v in (finished, session, wall, code)):
            yield Problem(run=run, text="a time or the exit code is no number")
        if state not in _RUN_STATES:
            yield Problem(run=run, text=f"it is {_short(state)}, which no run can be")
        if not isinstance(workers, int) or workers < 1:
            yield Problem(run=run, text=f"it had {_short(workers)} jobs at once")
        if state == "finished" and (finished is None or code is None or session is not None):
            yield Problem(run=run, text="it is finished, but its end or its exit code is not recorded")
    for name, job, state, passed in db.execute(
        "SELECT runs.name, jobs.name, jobs.state, coalesce(runs.exit_code = 0, 0) "
        "FROM runs JOIN jobs ON jobs.run = runs.id "
        "WHERE (runs.state = 'finished' AND jobs.state IN ('waiting', 'ready', 'running')) "
        "OR (runs.state = 'cancelled' AND jobs.state = 'running') "
        "OR (runs.state = 'finished' AND runs.exit_code = 0 AND jobs.state = 'failed') ORDER BY jobs.id"
    ):
        over = "over and passed" if passed else "over"
        yield Problem(run=from_sql(name), job=from_sql(job), text=f"the job is {state} in a run that is {over}")


def _jobs(db: sqlite3.Connection) -> Iterator[Problem]:
    for name, job, spec, file, changed, twin in db.execute(
        "SELECT runs.name, jobs.name, spec, file, changed, count(*) OVER (PARTITION BY run, file) "
        "FROM jobs JOIN runs ON runs.id = jobs.run"
    ):
        where = {"run": from_sql(name), "job": from_sql(job)}
        try:
            spec_from_json(where["job"], spec)
        except LedgerError:
            yield Problem(**where, text=f"its spec cannot be read: {_short(spec)}")
        if noted_or_none(changed) is None:
            yield Problem(**where, text=f"what is noted about its changes cannot be read: {_short(changed)}")
        if twin > 1 or not is_file_name_of(file, where["job"]):
            yield Problem(**where, text=f"its file name {_short(file)} is not its own")
    # What the receipt of the current attempt is, if there is one and it counts, decides what the state may be.
    for name, job, state, attempt, attempts, lost, changed, rows, numbers, current, outcome, losses in db.execute(
        """
        WITH tried AS (SELECT job, count(*) AS rows, count(DISTINCT number) AS numbers FROM attempts GROUP BY job),
             left_it AS (SELECT job, count(*) AS losses FROM receipts
                         WHERE outcome = 'lost' AND NOT superseded GROUP BY job)
        SELECT runs.name, j.name, j.state, j.attempt, j.attempts, j.lost, j.changed, coalesce(tried.rows, 0),
               coalesce(tried.numbers, 0), a.number, r.outcome, coalesce(left_it.losses, 0)
        FROM jobs j JOIN runs ON runs.id = j.run
        LEFT JOIN tried ON tried.job = j.id
        LEFT JOIN left_it ON left_it.job = j.id
        LEFT JOIN attempts a ON a.id = j.attempt AND a.job = j.id
        LEFT JOIN receipts r ON r.attempt = j.attempt AND r.job = j.id AND NOT r.superseded
        """
    ):
        where = {"run": from_sql(name), "job": from_sql(job)}
        if attempts != rows or numbers != rows:
            yield Problem(**where, text=f"it counts {attempts} attempts, and {rows} are recorded")
        if (attempt is None) != (attempts == 0) or (attempt is not None and current != attempts):
            yield Problem(**where, attempt=attempt, text="its current attempt is not its last one")
        if lost != losses:
            yield Problem(**where, text=f"it counts {lost} lost attempts, and {losses} receipts say so")
        again = attempt in repeated(changed)
        if not _may_be(state, outcome, again=again):
            how = f"ended {outcome}" if outcome else "has no receipt that counts"
            yield Problem(**where, attempt=attempt, text=f"it is {_short(state)}, but its current attempt {how}")


def _may_be(state: str, outcome: str | None, *, again: bool) -> bool:
    """Whether a job may be in this state when its current attempt ended so; None: there is none, or no receipt.

    `again`: whether the job is to be run again because its script had changed since that attempt.
    """
    match state:
        case "passed":
            return outcome == Outcome.OK
        case "failed":
            return outcome not in (None, Outcome.OK)
        case "running":
            return outcome is None
        case _:
            return state in list(JobState) and (outcome != Outcome.OK or again)


def _attempts(db: sqlite3.Connection) -> Iterator[Problem]:
    for (
        name,
        job,
        attempt,
        number,
        sha,
        modules,
        ended,
        worker,
        receipt_worker,
        receipt_number,
        owner,
        of,
    ) in db.execute(
        """
        SELECT runs.name, j.name, a.id, a.number, a.script_sha256, a.modules,
               r.attempt IS NOT NULL OR (j.state = 'running' AND j.attempt = a.id),
               a.worker, r.worker, r.number, r.job, a.job
        FROM attempts a JOIN jobs j ON j.id = a.job JOIN runs ON runs.id = j.run
        LEFT JOIN receipts r ON r.attempt = a.id
        """
    ):
        where = {"run": from_sql(name), "job": from_sql(job), "attempt": from_sql(attempt)}
        if not ended:
            yield Problem(**where, text=f"attempt {number} has no receipt, and does not run any more")
        if owner is not None and (owner != of or receipt_number != number):
            yield Problem(**where, text=f"attempt {number} and its receipt are not of the same job and number")
        if receipt_worker is not None and receipt_worker != worker:
            yield Problem(**where, text=f"attempt {number} and its receipt name different workers")
        if sha is not None and not is_sha256(sha):
            yield Problem(**where, text=f"the script's hash is none: {_short(sha)}")
        if modules is not None and not are_modules(modules):
            yield Problem(**where, text=f"the hashes of the script's modules cannot be read: {_short(modules)}")


def _receipts(db: sqlite3.Connection) -> Iterator[Problem]:
    for run, job, current, changed, superseded, known, checksum, *columns in db.execute(
        f"""
        SELECT runs.name, j.name, j.attempt, j.changed, r.superseded, a.id IS NOT NULL, r.checksum,
               {", ".join(f"r.{column}" for column in RECEIPT_COLUMNS)}
        FROM receipts r LEFT JOIN jobs j ON j.id = r.job LEFT JOIN runs ON runs.id = j.run
        LEFT JOIN attempts a ON a.id = r.attempt
        """
    ):
        attempt = from_sql(columns[0])
        where = {
            "run": None if run is None else from_sql(run),
            "job": None if job is None else from_sql(job),
            "attempt": attempt,
        }
        try:
            receipt = receipt_of(where["job"] or "", columns)
        except UNREADABLE as exc:
            yield Problem(**where, text=f"a receipt cannot be read: {exc.__cause__ or exc}")
            continue
        if superseded not in (0, 1):
            yield Problem(**where, text="nobody can tell whether its receipt counts")
        if not known and not superseded:
            yield Problem(**where, text="a receipt that counts is of an attempt that is not recorded")
        if receipt.passed and not superseded and attempt != current and attempt not in repeated(changed):
            yield Problem(**where, text="it passed, and was tried again")
        if job is not None and receipt.checksum() != checksum:
            yield Problem(**where, text=f"receipt {receipt.number} has another checksum than when it was recorded")


def _figures(db: sqlite3.Connection) -> Iterator[Problem]:
    for run, text in figures.wrong(db):
        yield Problem(run=run, text=text)


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_LOOKS: tuple[tuple[str, Callable[[sqlite3.Connection], Iterator[Problem]]], ...] = (
    ("the file", _structure),
    ("which row refers to which", _references),
    ("the schema", _schema),
    ("the text", _text),
    ("the runs", _runs),
    ("the jobs", _jobs),
    ("the attempts", _attempts),
    ("the receipts", _receipts),
    ("the figures", _figures),
)
