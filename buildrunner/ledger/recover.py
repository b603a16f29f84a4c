"""A new ledger from what can be trusted of a damaged one, which is only read.

    ledger.db, -wal ──carve──▶ rows ──┐
    runs/*/*.journal ──receipts───────┴─▶ those that fit together ──▶ a new state folder

A receipt is taken only when its checksum is right. States of jobs are derived anew from receipts; what ended in a way
that nobody knows any more counts as lost, as after the death of a worker, and is run again by `resume`. What cannot be
connected (a receipt whose job is gone, a job whose run is gone) is counted and told, never guessed.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from buildrunner.errors import LedgerBusy, LedgerError, UsageError
from buildrunner.job import JobState, Outcome
from buildrunner.ledger import Ledger, Noted, journals, lock, store
from buildrunner.ledger.carve import Row, carve, schema
from buildrunner.ledger.check import check
from buildrunner.ledger.pages import Pages
from buildrunner.ledger.rescue import Journal, Rescue, RescuedJob, TriedAttempt
from buildrunner.ledger.rows import UNREADABLE, noted_or_none, repeated
from buildrunner.ledger.store import from_sql
from buildrunner.naming import display
from buildrunner.receipt import Receipt
from buildrunner.run.wire import parse_journal_line

_CHANGED = "something had changed, and the record of what it was is damaged"
_UNKNOWN = "how it ended is not known: the record of it was damaged"


@dataclass(slots=True, kw_only=True)
class RecoveredRun:
    """A run that is in the new ledger: its state there, how many jobs, and what is known to be lost of it.

    `again`: jobs that were decided and whose receipt is lost. `missing`: known jobs that are lost altogether; None
    stands for a name that is not known either.
    """

    name: str
    target: str
    state: str
    jobs: int = 0
    again: list[str] = field(default_factory=list)
    missing: list[str | None] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Recovered:
    """What was done: rows in the new ledger by table, and what was found and is not in it, by kind.

    `lost_runs`: how many receipts each run has of which nothing but its workers' journals was found.
    """

    path: str
    to: str
    counts: dict[str, int]
    from_journals: int
    lost: dict[str, int]
    runs: list[RecoveredRun]
    lost_runs: dict[str, int]


def recover(state: Path, to: Path) -> Recovered:
    """Put what can be trusted of the ledger in `state` into a new one in `to`, an empty folder or none.

    UsageError when there is no ledger or `to` cannot be used, LedgerBusy while it is written, LedgerError when nothing
    of it can be trusted.
    """
    path = state / store.DATABASE
    if not (path.exists() or Path(f"{path}-wal").exists() or journals.listed(state)):
        store.require(state)
    _refuse_place(state, to)
    with ExitStack() as stack:
        if not stack.enter_context(lock.shared(state / store.LOCK)):
            raise LedgerBusy(
                f"the state folder {display(str(state))} is in use by {lock.holder(state / store.LOCK)}; "
                "wait for it to end"
            )
        try:
            pages = Pages(path)
            _refuse_newer(path, pages)
            written = dict(_journals(state, stack))
        except OSError as exc:
            raise LedgerError(f"cannot read {display(str(exc.filename))}: {exc.strerror}") from exc
        rescue = Rescue(carve(pages), written)
        if not rescue.runs:
            raise LedgerError(
                f"nothing in {display(str(path))} can be trusted: no run of it is whole enough; move "
                f"{display(str(state))} away and run anew"
            )
        with Ledger(to, purpose="buildrunner ledger recover") as ledger:
            runs = _write(rescue, ledger)
            for run, (lines, ended) in rescue.unfinished().items():
                _write_journal(journals.folder(to, run), lines, ended)
    found = check(to)
    if found.problems:
        raise LedgerError(f"what was put into {display(str(to))} is not sound: {found.problems[0].text}")
    return Recovered(
        path=str(path), to=str(to), counts=found.counts,
        from_journals=rescue.from_journals, lost=rescue.lost, runs=runs, lost_runs=rescue.lost_runs,
    )  # fmt: skip


def _refuse_place(state: Path, to: Path) -> None:
    if state.resolve() in (to.resolve(), *to.resolve().parents):
        raise UsageError(f"{display(str(to))} is in the damaged ledger's own folder: name another one with --to DIR")
    there = next(place for place in (to.absolute(), *to.absolute().parents) if place.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{display(str(there))} may not be written: name a new folder elsewhere with --to DIR")
    try:
        if to.exists() and any(to.iterdir()):
            raise UsageError(f"{display(str(to))} is there and not empty: name a new folder with --to DIR")
    except OSError as exc:
        raise UsageError(f"cannot use {display(str(to))}: {exc.strerror}; name a new folder with --to DIR") from exc


def _refuse_newer(path: Path, pages: Pages) -> None:
    """A newer ledger is for a newer program; one whose tables are ours has a damaged number."""
    version, tables = schema(pages)
    fresh = store.new_database(":memory:")
    try:
        known = fresh.execute("PRAGMA user_version").fetchone()[0]
        ours = {" ".join(sql.split()) for (sql,) in fresh.execute("SELECT sql FROM sqlite_master WHERE type = 'table'")}
    finally:
        fresh.close()
    if version > known and tables and not tables <= ours:
        store.refuse_version(path, version)


def _journals(state: Path, stack: ExitStack) -> Iterator[tuple[str, Journal]]:
    """By run. Each line has its own checksum, so a damaged one costs no other."""
    for folder in sorted((state / journals.RUNS).glob("*/")):
        journal = Journal()
        for path in sorted(folder.glob("*.journal")):
            if not stack.enter_context(lock.shared(path)):
                raise LedgerBusy(f"a worker still writes {display(str(path))}: wait for it to end")
            journal.written = max(journal.written, path.stat().st_mtime)
            for line in journals.lines(path):
                match parse_journal_line(line):
                    case ("start", str(attempt), str(job), float(when)):
                        journal.started[attempt] = job, when
                    case ("end", tuple(values)):
                        try:
                            journal.receipts.append(Receipt.from_wire(values))
                        except UNREADABLE:
                            journal.damaged += 1
                    case None:
                        journal.damaged += 1
        yield folder.name, journal


def _write_journal(folder: Path, lines: list[bytes], written: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recovered.journal"
    path.write_bytes(b"".join(lines))
    os.utime(path, (written, written))  # the last sign of life of the session that was cut off


def _write(rescue: Rescue, ledger: Ledger) -> list[RecoveredRun]:
    """Record everything, in one transaction."""
    missing = rescue.missing()
    report = {
        number: RecoveredRun(
            name=row["name"], target=from_sql(row["target"]), state=row["state"], missing=missing[number]
        )
        for number, row in rescue.runs.items()
    }
    states: dict[int, set[JobState]] = defaultdict(set)
    with ledger.transaction():
        for row in rescue.runs.values():
            _insert(ledger, "runs", row)
        for number, job in rescue.jobs.items():
            told = report[job.row["run"]]
            told.jobs += 1
            state = _write_job(rescue, ledger, number, job)
            states[job.row["run"]].add(state)
            if job.row["state"] in ("passed", "failed") and state is JobState.WAITING:
                told.again.append(job.name)
        for number, row in rescue.runs.items():
            going_on = JobState.RUNNING in states[number]
            over = _is_over(row, states[number]) and not missing[number]
            if not (over or row["state"] in ("interrupted", "cancelled")) or going_on:
                report[number].state = "interrupted"
                ledger.db.execute(
                    "UPDATE runs SET state = 'interrupted', exit_code = NULL, archive = NULL WHERE id = ?",
                    (number,),
                )
    return [report[number] for number in sorted(report, reverse=True)]


def _write_job(rescue: Rescue, ledger: Ledger, number: int, job: RescuedJob) -> JobState:
    tries = rescue.tries(job)
    state = rescue.state(job, tries)
    _insert(
        ledger, "jobs",
        {**job.row, "state": "waiting", "attempt": None, "attempts": 0, "lost": 0, "changed": _noted(job, tries)},
    )  # fmt: skip
    for attempt in tries:
        worker = attempt.receipt.worker if attempt.receipt else None
        row = attempt.row or {"worker": worker or 0, "script_sha256": None}
        if worker is not None:
            row = {**row, "worker": worker}
        _insert(ledger, "attempts", {**row, "id": attempt.id, "job": number, "number": attempt.number})
        if attempt is tries[-1] and state is JobState.RUNNING:
            continue
        if attempt.receipt_row is not None:
            _insert(ledger, "receipts", {**attempt.receipt_row, "superseded": 0})
            continue
        rescue.from_journals += attempt.receipt is not None
        receipt = attempt.receipt or Receipt(
            attempt=attempt.id, job=job.name, number=attempt.number, worker=None, mode="cold",
            outcome=Outcome.LOST, error=_UNKNOWN,
        )  # fmt: skip
        attempt.receipt = receipt
        ledger.db.execute("UPDATE jobs SET state = 'running', attempt = ? WHERE id = ?", (attempt.id, number))
        ledger.record(number, receipt, JobState.READY)
    for row in job.late:
        _insert(ledger, "receipts", row)
    lost = sum(1 for one in tries if one.receipt and one.receipt.outcome is Outcome.LOST)
    ledger.db.execute(
        "UPDATE jobs SET state = ?, attempt = ?, attempts = ?, lost = ? WHERE id = ?",
        (state.value, tries[-1].id if tries else None, len(tries), lost, number),
    )
    return state


def _noted(job: RescuedJob, tries: list[TriedAttempt]) -> str | None:
    """What is noted about a job's changes, as far as it can be read; what passed and was tried again had changed."""
    noted = list(noted_or_none(job.row["changed"]) or ())
    known = repeated(job.row["changed"])
    for one in tries[:-1]:
        if one.receipt and one.receipt.passed and one.id not in known:
            noted.append(Noted(one.id, "rerun", _CHANGED))
    return json.dumps(noted, separators=(",", ":")) if noted else None


def _is_over(row: Row, states: set[JobState]) -> bool:
    """Whether a run's row and the states of its jobs agree that it has ended."""
    if row["state"] != "finished" or row["finished"] is None or row["exit_code"] is None or row["session"] is not None:
        return False
    return states.isdisjoint((JobState.WAITING, JobState.READY, JobState.RUNNING)) and not (
        row["exit_code"] == 0 and JobState.FAILED in states
    )


def _insert(ledger: Ledger, table: str, row: Row) -> None:
    names = ", ".join(row)
    ledger.db.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
