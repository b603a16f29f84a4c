"""Runs, attempts and receipts for tests of the ledger, each in a line."""

from typing import Any

from buildrunner.job import Attempt, JobSpec, JobState, Outcome
from buildrunner.ledger import Ledger, Reader, ResultRow, RunRow
from buildrunner.receipt import Receipt


def add_run(ledger: Ledger, *specs: JobSpec | str, name: str = "run-1", **change: Any) -> RunRow:
    values: dict[str, Any] = {
        "name": name, "target": "src", "key": "/src", "args": (), "options": {"workers": 2}, "jobs": 2,
        "python": "/usr/bin/python3", "started": 1_700_000_000.0,
    }  # fmt: skip
    wanted = [JobSpec(name=spec) if isinstance(spec, str) else spec for spec in specs]
    return ledger.add_run(
        **{**values, **change}, specs=((spec, f"file-{number}") for number, spec in enumerate(wanted))
    )


def start(ledger: Ledger, run: RunRow, job: str, attempt: str, number: int = 1, worker: int = 0) -> int:
    id_ = ledger.job_ids(run)[job]
    with ledger.transaction():
        ledger.start(id_, Attempt(id=attempt, job=job, number=number, worker=worker), "ab" * 32)
    return id_


def receipt(attempt: str, job: str = "a", outcome: Outcome = Outcome.OK, **change: Any) -> Receipt:
    values = {"number": 1, "worker": 0, "mode": "cold", "exit_code": 0, "started": 1.0, "seconds": 2.0}
    return Receipt(attempt=attempt, job=job, outcome=outcome, **{**values, **change})


def record(ledger: Ledger, id_: int, r: Receipt, state: JobState = JobState.PASSED, lost: int = 0) -> bool:
    with ledger.transaction():
        return ledger.record(id_, r, state, lost=lost)


def row(ledger: Reader, run: RunRow, job: str = "a") -> ResultRow:
    return ledger.result(run, job)


def ran(ledger: Ledger, run: RunRow, job: str, seconds: float, outcome: Outcome = Outcome.OK) -> None:
    attempt = f"{run.name}-{job!a}"
    id_ = start(ledger, run, job, attempt)
    record(ledger, id_, receipt(attempt, job, outcome, seconds=seconds))
