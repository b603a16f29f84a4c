"""What `ledger recover` tells: what is in the new record, what is known to be lost, and what to type next."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from buildrunner.ledger.recover import Recovered, RecoveredRun
from buildrunner.naming import display
from buildrunner.reports.words import count, shell

SCHEMA = "buildrunner.ledger-recover/1"
_MOST_NAMES = 5
_LOST = {
    "pages": "{} of the file cannot be read",
    "rows": "{} cannot be read",
    "journal_lines": "{} of the workers' journals cannot be read",
    "runs": "{} cannot be read",
    "jobs": "{} cannot be read",
    "jobs_without_run": "{} of a run that is gone",
    "receipts": "{} with a wrong checksum",
    "receipts_without_job": "{} of a script that is gone",
}
_ONE_OF = {
    "pages": "page", "rows": "row", "journal_lines": "line", "runs": "run", "jobs": "script",
    "jobs_without_run": "script", "receipts": "receipt", "receipts_without_job": "receipt",
}  # fmt: skip


def document(found: Recovered, state: str) -> dict[str, Any]:
    """The document of `ledger recover --json`."""
    return {
        "schema": SCHEMA,
        "path": found.path,
        "to": found.to,
        **found.counts,
        "from_journals": found.from_journals,
        "lost": found.lost,
        "runs_lost": list(found.lost_runs),
        "runs_recovered": [asdict(run) for run in found.runs],
        "next": next_commands(found, state),
    }


def lines(found: Recovered, state: str) -> Iterator[str]:
    """The same for people."""
    taken = ", ".join(count(number, table.removesuffix("s")) for table, number in found.counts.items())
    journals = (
        f", {count(found.from_journals, 'receipt')} of them from the workers' journals" if found.from_journals else ""
    )
    yield f"{display(found.to)}: {taken}{journals}"
    for kind, number in found.lost.items():
        if number:
            yield f"lost: {_LOST[kind].format(count(number, _ONE_OF[kind]))}"
    if not any(found.lost.values()):
        yield "nothing is known to be lost"
    for run in found.runs:
        yield from _about(run)
    for name, receipts in found.lost_runs.items():
        had = f"of it only its workers' journals are left, with {count(receipts, 'receipt')}, beside the old ledger"
        yield f"run {display(name)}: {had}: run its target anew"
    yield f"{display(found.path)} was only read. To go on with the new ledger:"
    yield from ("    " + line for line in next_commands(found, state))


def _about(run: RecoveredRun) -> Iterator[str]:
    name = f"run {display(run.name)} of {display(run.target)}"
    if run.missing:
        names = [display(name) for name in run.missing if name is not None]
        told = f" ({_named(names)})" if names else ""
        yield f"{name}: {count(len(run.missing), 'script')} of it not in the record any more{told}: run its target anew"
    if run.again:
        yield f"{name}: {count(len(run.again), 'script')} to be run again, the results are lost: {_named(run.again)}"


def _named(names: list[str]) -> str:
    shown = ", ".join(map(display, names[:_MOST_NAMES]))
    return shown + (f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else "")


def next_commands(found: Recovered, state: str) -> list[str]:
    """What to type so that the new record is used, and what was broken off goes on."""
    state = state.rstrip("/")
    own = [] if os.path.normpath(state) == ".buildrunner" else ["--state", state]
    words = [["mv", "--", state, state + "-damaged"], ["mv", "--", found.to, state]]
    open_ = next((run for run in found.runs if run.state == "interrupted" and not run.missing), None)
    words.append(["buildrunner", "resume", open_.name, *own] if open_ else ["buildrunner", "history", *own])
    return [shell(line) for line in words]
