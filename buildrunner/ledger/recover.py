"""A new ledger from what can be trusted of a damaged one, which is only read.

    ledger.db, -wal ──carve──▶ rows ──┐
    runs/*/*.journal ──receipts───────┴─▶ those that fit together ──▶ a new state folder

A receipt is taken only when its checksum is right. States of jobs are derived anew from receipts; what ended in a way
that nobody knows any more counts as lost, as after the death of a worker, and is run again by `resume`. What cannot be
connected (a receipt whose job is gone, a job whose run is gone) is counted and told, never guessed.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from buildrunner.errors import LedgerBusy, LedgerError, UsageError
from buildrunner.job import UNSPENT, JobSpec, JobState, Outcome
from buildrunner.ledger import Ledger, lock, spec_from_json, store
from buildrunner.ledger.carve import Carved, Row, carve, schema
from buildrunner.ledger.check import (
    RECEIPT_COLUMNS,
    UNREADABLE,
    are_modules,
    check,
    is_sha256,
    noted_or_none,
    parsed,
    receipt_of,
    repeated,
)
from buildrunner.ledger.pages import Pages
from buildrunner.ledger.reader import Noted
from buildrunner.ledger.store import from_sql
from buildrunner.naming import display, is_file_name_of
from buildrunner.receipt import Receipt
from buildrunner.run.wire import journal_line, parse_journal_line

_CHANGED = "something had changed, and the record of what it was is damaged"
_UNKNOWN = "how it ended is not known: the record of it was damaged"
_MOST_ATTEMPTS = 1000  # of a job: a higher number in a damaged row is taken for damage
_MOST_MISSING = 10_000  # of a run: where one number is damaged, all up to it would seem to be missing
_KEPT = (JobState.SKIPPED, JobState.CANCELLED)  # decided without a receipt


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
    """What was done: rows in the new ledger by table, and what was found and is not in it, by kind."""

    path: str
    to: str
    counts: dict[str, int]
    from_journals: int
    lost: dict[str, int]
    runs: list[RecoveredRun]


def recover(state: Path, to: Path) -> Recovered:
    """Put what can be trusted of the ledger in `state` into a new one in `to`, an empty folder or none.

    UsageError when there is no ledger or `to` cannot be used, LedgerBusy while it is written, LedgerError when nothing
    of it can be trusted.
    """
    path = state / store.DATABASE
    if not path.exists() and not Path(f"{path}-wal").exists():
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
            journals = dict(_journals(state, stack))
        except OSError as exc:
            raise LedgerError(f"cannot read {display(str(exc.filename))}: {exc.strerror}") from exc
        rescue = _Rescue(carve(pages), journals)
        if not rescue.runs:
            raise LedgerError(
                f"nothing in {display(str(path))} can be trusted: no run of it is whole enough; move "
                f"{display(str(state))} away and run anew"
            )
        with Ledger(to, purpose="buildrunner ledger recover") as ledger:
            runs = rescue.write(ledger)
            for run, (lines, ended) in rescue.unfinished().items():
                _write_journal(to / "runs" / run, lines, ended)
    found = check(to)
    if found.problems:
        raise LedgerError(f"what was put into {display(str(to))} is not sound: {found.problems[0].text}")
    return Recovered(
        path=str(path), to=str(to), counts=found.counts,
        from_journals=rescue.from_journals, lost=rescue.lost, runs=runs,
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


# journals


@dataclass(slots=True)
class _Journal:
    """What the workers of a run wrote: which attempt of which job started when, and how those ended that did."""

    started: dict[str, tuple[str, float]] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)
    written: float = 0.0
    damaged: int = 0


def _journals(state: Path, stack: ExitStack) -> Iterator[tuple[str, _Journal]]:
    """By run. Each line has its own checksum, so a damaged one costs no other."""
    for folder in sorted((state / "runs").glob("*/")):
        journal = _Journal()
        for path in sorted(folder.glob("*.journal")):
            if not stack.enter_context(lock.shared(path)):
                raise LedgerBusy(f"a worker still writes {display(str(path))}: wait for it to end")
            journal.written = max(journal.written, path.stat().st_mtime)
            for line in path.read_bytes().splitlines(keepends=True):
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


# what fits together


@dataclass(slots=True)
class _Attempt:
    """An attempt of a job: its row as far as there is one, and its receipt, as a row or from a journal."""

    id: str
    number: int
    row: Row | None = None
    receipt: Receipt | None = None
    receipt_row: Row | None = None


@dataclass(slots=True)
class _Job:
    row: Row
    name: str
    spec: JobSpec
    attempts: dict[str, _Attempt] = field(default_factory=dict)
    late: list[Row] = field(default_factory=list)  # receipts that changed nothing


class _Rescue:
    """Rows that can be trusted, connected; `lost` counts what was found and is not among them."""

    def __init__(self, carved: Carved, journals: dict[str, _Journal]) -> None:
        self._carved, self._journals = carved, journals
        self.lost = {
            "pages": carved.lost_pages,
            "rows": carved.damaged_rows,
            "journal_lines": sum(journal.damaged for journal in journals.values()),
            "runs": 0,
            "jobs": 0,
            "jobs_without_run": 0,
            "receipts": 0,
            "receipts_without_job": 0,
        }
        self.from_journals = 0
        self.runs = self._take_runs()
        self.jobs = self._take_jobs()
        self._take_attempts()
        self._take_receipts()
        self._take_journals()

    # taking

    def _take_runs(self) -> dict[int, Row]:
        taken: dict[int, Row] = {}
        names: set[str] = set()
        for number, variants in sorted(self._carved.rows["runs"].items()):
            row = next((row for row in variants if _is_run(row) and row["name"] not in names), None)
            if row is None:
                self.lost["runs"] += 1
                continue
            if row["archive"] is not None and not isinstance(parsed(row["archive"]), dict):
                row = {**row, "archive": None}
            taken[number] = row
            names.add(row["name"])
        return taken

    def _take_jobs(self) -> dict[int, _Job]:
        taken: dict[int, _Job] = {}
        used: set[tuple[int, str]] = set()
        for number, variants in sorted(self._carved.rows["jobs"].items()):
            found = None
            indexed = self._carved.jobs_known.get(number)
            for row in variants:
                spec = _spec(row)
                if indexed and (row["run"], row["name"]) not in indexed:
                    continue  # one of the two is damaged
                if spec and not used & {(row["run"], spec.name), (row["run"], "\0" + row["file"])}:
                    found = _Job(row, spec.name, spec)
                    break
            if found is None:
                self.lost["jobs"] += 1
            elif found.row["run"] not in self.runs:
                self.lost["jobs_without_run"] += 1
            else:
                taken[number] = found
                used |= {(found.row["run"], found.name), (found.row["run"], "\0" + found.row["file"])}
        return taken

    def _take_attempts(self) -> None:
        for id_, variants in self._carved.rows["attempts"].items():
            row = next((row for row in variants if row["job"] in self.jobs), None)
            if row is not None and isinstance(id_, str):
                if row["script_sha256"] is not None and not is_sha256(row["script_sha256"]):
                    row = {**row, "script_sha256": None}
                if row["modules"] is not None and not are_modules(row["modules"]):
                    row = {**row, "modules": "null"}
                self.jobs[row["job"]].attempts[id_] = _Attempt(id_, row["number"], row=row)

    def _take_receipts(self) -> None:
        for id_, variants in self._carved.rows["receipts"].items():
            known = [row for row in variants if row["job"] in self.jobs]
            right = [(row, receipt) for row in known if (receipt := self._verified(row))]
            if right:
                row, receipt = right[0]
                job = self.jobs[row["job"]]
                if row["superseded"] and id_ not in job.attempts and job.row["attempt"] != id_:
                    job.late.append({**row, "superseded": 1})
                else:
                    self._attempt(job, receipt).receipt_row = row
            elif known:
                self.lost["receipts"] += 1
            else:
                self.lost["receipts_without_job"] += 1

    def _verified(self, row: Row) -> Receipt | None:
        """The row's receipt, if its checksum is right."""
        try:
            receipt = receipt_of(self.jobs[row["job"]].name, [row[column] for column in RECEIPT_COLUMNS])
            return receipt if receipt.checksum() == row["checksum"] else None
        except UNREADABLE:
            return None

    def _take_journals(self) -> None:
        by_name = {(job.row["run"], job.name): job for job in self.jobs.values()}
        runs = {row["name"]: number for number, row in self.runs.items()}
        for name, journal in self._journals.items():
            self.lost["runs"] += name not in runs and bool(journal.started)
            for receipt in journal.receipts:
                job = by_name.get((runs.get(name, 0), receipt.job))
                if job is None:
                    self.lost["receipts_without_job"] += receipt.attempt not in self._carved.rows["receipts"]
                elif all(receipt.attempt != row["attempt"] for row in job.late):
                    known = job.attempts.get(receipt.attempt)
                    if known is None or known.receipt_row is None:
                        self._attempt(job, receipt)

    def _attempt(self, job: _Job, receipt: Receipt) -> _Attempt:
        """The attempt the receipt is of, which has it then."""
        attempt = job.attempts.setdefault(receipt.attempt, _Attempt(receipt.attempt, receipt.number))
        if attempt.row is not None and attempt.number != receipt.number:
            attempt.row = None  # the receipt has a checksum, the row has none
        attempt.number, attempt.receipt = receipt.number, receipt
        return attempt

    # deciding

    def _tries(self, job: _Job) -> list[_Attempt]:
        """The job's attempts, one for each number from 1, the last one being its current one."""
        current = job.row["attempt"]
        if isinstance(current, str) and current not in job.attempts and 0 < job.row["attempts"] <= _MOST_ATTEMPTS:
            job.attempts[current] = _Attempt(current, job.row["attempts"])
        by_number: dict[int, _Attempt] = {}
        for attempt in sorted(
            job.attempts.values(),
            key=lambda one: (one.receipt is not None, one.id == current, one.row is not None, one.id),
        ):
            if attempt.receipt is not None or attempt.id == current:
                beaten = by_number.get(attempt.number)
                if beaten is not None and beaten.receipt_row is not None:
                    job.late.append({**beaten.receipt_row, "superseded": 1})
                by_number[attempt.number] = attempt
            elif 0 < attempt.number <= _MOST_ATTEMPTS:
                by_number.setdefault(attempt.number, attempt)
        most = max((n for n, one in by_number.items() if one.receipt or one.id == current), default=0)
        most = min(most, _MOST_ATTEMPTS)
        for number in range(most, 0, -1):
            if number not in by_number:
                by_number[number] = _Attempt(_id_before(by_number[number + 1].id), number)
        return [by_number[number] for number in range(1, most + 1)]

    def _state(self, job: _Job, tries: list[_Attempt]) -> JobState:
        """Where the job is, going by receipts; READY stands for running, where only `resume` can tell."""
        recorded = JobState(job.row["state"])
        last = tries[-1].receipt if tries else None
        before = max(again := repeated(job.row["changed"]), default="")
        if tries and tries[-1].id in again:  # its script had changed since: that one's result decides nothing
            return recorded if recorded in _KEPT else JobState.WAITING
        if last and last.passed:
            return JobState.PASSED
        if last is None and tries and recorded is JobState.RUNNING:
            return JobState.RUNNING
        spent = sum(1 for one in tries if one.receipt and one.receipt.outcome not in UNSPENT and one.id > before)
        if last and (recorded is JobState.FAILED or (last.outcome not in UNSPENT and spent > job.spec.retries)):
            return JobState.FAILED
        return recorded if recorded in _KEPT else JobState.WAITING

    # writing

    def write(self, ledger: Ledger) -> list[RecoveredRun]:
        """Record everything, in one transaction."""
        missing = self._missing()
        report = {
            number: RecoveredRun(
                name=row["name"], target=from_sql(row["target"]), state=row["state"], missing=missing[number]
            )
            for number, row in self.runs.items()
        }
        states: dict[int, set[JobState]] = defaultdict(set)
        with ledger.transaction():
            for row in self.runs.values():
                _insert(ledger, "runs", row)
            for number, job in self.jobs.items():
                told = report[job.row["run"]]
                told.jobs += 1
                state = self._write_job(ledger, number, job)
                states[job.row["run"]].add(state)
                if job.row["state"] in ("passed", "failed") and state is JobState.WAITING:
                    told.again.append(job.name)
            for number, row in self.runs.items():
                going_on = JobState.RUNNING in states[number]
                over = _is_over(row, states[number]) and not missing[number]
                if not (over or row["state"] in ("interrupted", "cancelled")) or going_on:
                    report[number].state = "interrupted"
                    ledger.db.execute(
                        "UPDATE runs SET state = 'interrupted', exit_code = NULL, archive = NULL WHERE id = ?",
                        (number,),
                    )
        return [report[number] for number in sorted(report, reverse=True)]

    def _write_job(self, ledger: Ledger, number: int, job: _Job) -> JobState:
        tries = self._tries(job)
        state = self._state(job, tries)
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
            self.from_journals += attempt.receipt is not None
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

    def _missing(self) -> dict[int, list[str | None]]:
        """By run, the jobs it is known to have had: the index names them, receipts refer to them, numbers lack them."""
        known: dict[int, str | None] = {}
        spans: dict[int, list[int]] = defaultdict(list)
        for number, job in self.jobs.items():
            spans[job.row["run"]].append(number)
        result: dict[int, list[str | None]] = defaultdict(list)
        for number, entries in sorted(self._carved.jobs_known.items()):
            for run, name in entries if number not in self.jobs else ():
                if run in self.runs:
                    known[number] = from_sql(name)
                    result[run].append(from_sql(name))
        for run, numbers in spans.items():  # those of a run were numbered one after another
            gaps = (n for n in range(min(numbers), max(numbers)) if n not in self.jobs and n not in known)
            result[run] += [None for _ in islice(gaps, _MOST_MISSING)]
        for run, row in self.runs.items():
            options = parsed(row["options"])
            total = options.get("scripts") if isinstance(options, dict) else None
            if isinstance(total, int) and total < 1 << 32:
                result[run] += [None] * min(total - len(spans[run]) - len(result[run]), _MOST_MISSING)
        return result

    def unfinished(self) -> dict[str, tuple[list[bytes], float]]:
        """By run, the journal lines of attempts that only started, and when the last one was written."""
        found: dict[str, tuple[list[bytes], float]] = {}
        for name, journal in self._journals.items():
            running = {job.row["attempt"] for job in self.jobs.values() if self.runs[job.row["run"]]["name"] == name}
            ended = {receipt.attempt for receipt in journal.receipts}
            lines = [
                journal_line(("start", attempt, job, when))
                for attempt, (job, when) in journal.started.items()
                if attempt in running and attempt not in ended
            ]
            if lines:
                found[name] = lines, journal.written
        return found


def _is_run(row: Row) -> bool:
    return (
        isinstance(row["name"], str)
        and isinstance(parsed(row["args"]), list)
        and isinstance(options := parsed(row["options"]), dict)
        and isinstance(options.get("workers"), int)
        and row["jobs"] >= 1
        and row["state"] in ("running", "finished", "interrupted", "cancelled")
    )


def _spec(row: Row) -> JobSpec | None:
    try:
        name = from_sql(row["name"])
        spec = spec_from_json(name, row["spec"])
        JobState(row["state"])
        return spec if is_file_name_of(row["file"], name) else None
    except (LedgerError, ValueError, TypeError, AttributeError):
        return None


def _noted(job: _Job, tries: list[_Attempt]) -> str | None:
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


def _id_before(id_: str) -> str:
    """An id for an attempt of which nothing is left but that it was made before this one."""
    return id_[:24] + hashlib.sha256(id_.encode()).hexdigest()[: max(12, len(id_) - 24)]


def _insert(ledger: Ledger, table: str, row: Row) -> None:
    names = ", ".join(row)
    ledger.db.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
