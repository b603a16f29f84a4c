"""Which rows and journal lines of a damaged ledger fit together, and what each job has come to by them.

Decided anew from receipts whose checksum is right; what cannot be connected is counted in `lost`.
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice

from buildrunner.errors import LedgerError
from buildrunner.job import UNSPENT, JobSpec, JobState
from buildrunner.ledger import spec_from_json
from buildrunner.ledger.carve import Carved, Row
from buildrunner.ledger.rows import (
    RECEIPT_COLUMNS,
    UNREADABLE,
    are_modules,
    is_sha256,
    parsed,
    receipt_of,
    repeated,
)
from buildrunner.ledger.store import from_sql
from buildrunner.naming import is_file_name_of
from buildrunner.receipt import Receipt
from buildrunner.run.wire import journal_line

_MOST_ATTEMPTS = 1000  # of a job: a higher number in a damaged row is taken for damage
_MOST_MISSING = 10_000  # of a run: where one number is damaged, all up to it would seem to be missing
_KEPT = (JobState.SKIPPED, JobState.CANCELLED)  # decided without a receipt


@dataclass(slots=True)
class Journal:
    """What the workers of a run wrote: which attempt of which job started when, and how those ended that did."""

    started: dict[str, tuple[str, float]] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)
    written: float = 0.0
    damaged: int = 0


@dataclass(slots=True)
class TriedAttempt:
    """An attempt of a job: its row as far as there is one, and its receipt, as a row or from a journal."""

    id: str
    number: int
    row: Row | None = None
    receipt: Receipt | None = None
    receipt_row: Row | None = None


@dataclass(slots=True)
class RescuedJob:
    """A job with its attempts by id, and with the rows of receipts that changed nothing."""

    row: Row
    name: str
    spec: JobSpec
    attempts: dict[str, TriedAttempt] = field(default_factory=dict)
    late: list[Row] = field(default_factory=list)


class Rescue:
    """Rows that can be trusted, connected; `lost` counts what was found and is not among them."""

    def __init__(self, carved: Carved, journals: dict[str, Journal]) -> None:
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
        self.lost_runs: dict[str, int] = {}
        self.runs = self._take_runs()
        self.jobs = self._take_jobs()
        self._take_attempts()
        self._take_receipts()
        self._take_journals()

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

    def _take_jobs(self) -> dict[int, RescuedJob]:
        taken: dict[int, RescuedJob] = {}
        used: set[tuple[int, str]] = set()
        for number, variants in sorted(self._carved.rows["jobs"].items()):
            found = None
            indexed = self._carved.jobs_known.get(number)
            for row in variants:
                spec = _spec(row)
                if indexed and (row["run"], row["name"]) not in indexed:
                    continue  # one of the two is damaged
                if spec and not used & {(row["run"], spec.name), (row["run"], "\0" + row["file"])}:
                    found = RescuedJob(row, spec.name, spec)
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
                self.jobs[row["job"]].attempts[id_] = TriedAttempt(id_, row["number"], row=row)

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
            if name not in runs:
                self.lost["runs"] += 1
                self.lost_runs[name] = len(journal.receipts)
            for receipt in journal.receipts:
                job = by_name.get((runs.get(name, 0), receipt.job))
                if job is None:
                    self.lost["receipts_without_job"] += receipt.attempt not in self._carved.rows["receipts"]
                elif all(receipt.attempt != row["attempt"] for row in job.late):
                    known = job.attempts.get(receipt.attempt)
                    if known is None or known.receipt_row is None:
                        self._attempt(job, receipt)

    def _attempt(self, job: RescuedJob, receipt: Receipt) -> TriedAttempt:
        """The attempt the receipt is of, which has it then."""
        attempt = job.attempts.setdefault(receipt.attempt, TriedAttempt(receipt.attempt, receipt.number))
        if attempt.row is not None and attempt.number != receipt.number:
            attempt.row = None  # the receipt has a checksum, the row has none
        attempt.number, attempt.receipt = receipt.number, receipt
        return attempt

    def tries(self, job: RescuedJob) -> list[TriedAttempt]:
        """The job's attempts, one for each number from 1, the last one being its current one."""
        current = job.row["attempt"]
        if isinstance(current, str) and current not in job.attempts and 0 < job.row["attempts"] <= _MOST_ATTEMPTS:
            job.attempts[current] = TriedAttempt(current, job.row["attempts"])
        by_number: dict[int, TriedAttempt] = {}
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
                by_number[number] = TriedAttempt(_id_before(by_number[number + 1].id), number)
        return [by_number[number] for number in range(1, most + 1)]

    def state(self, job: RescuedJob, tries: list[TriedAttempt]) -> JobState:
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

    def missing(self) -> dict[int, list[str | None]]:
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


def _id_before(id_: str) -> str:
    """An id for an attempt of which nothing is left but that it was made before this one."""
    return id_[:24] + hashlib.sha256(id_.encode()).hexdigest()[: max(12, len(id_) - 24)]
