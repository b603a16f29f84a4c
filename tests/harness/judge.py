"""Whether a finished run may be as it is, given what its scripts say they did and what had been shown as done.

Every violation is a sentence that begins with its class: `lost` (something acknowledged is not as it was), `twice` (a
result that counts double, or an execution after the acknowledged one), `left` (a process; see point.py), `wrong`.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from buildrunner.ledger import Reader
from buildrunner.ledger.check import check
from buildrunner.package import verify
from buildrunner.summary import run_document
from tests.harness.traces import Line, Recorded
from tests.harness.zoo import Kind

DECIDED = ("passed", "failed")
_RAN_TO_ITS_END = ("ok", "exited")


class Acknowledged:
    """What an observer had been shown as done before a kill: by events, by `status --json`, by the ledger's file."""

    def __init__(self) -> None:
        self.attempts: dict[str, dict[str, Any]] = {}
        """attempt → its outcome, exit code and signal, as an event told them"""
        self.receipts: dict[str, dict[str, Any]] = {}
        """attempt → its whole row"""
        self.outcomes: dict[str, str] = {}
        """attempt → its outcome, by a journal: nobody was shown it, but `resume` is to take it up"""
        self.decided: dict[str, dict[str, Any]] = {}
        """job → its state, and as far as it was shown the current attempt or the number of attempts"""

    def add_events(self, told: Iterable[dict[str, Any]]) -> None:
        """From a file of events."""
        for event in told:
            if event["event"] == "job_ended":
                receipt = event["receipt"]
                self.attempts[event["attempt"]] = {k: receipt[k] for k in ("outcome", "exit_code", "signal")}
                if event["final"] and receipt["state"] in DECIDED:
                    self._decide(event["job"], state=receipt["state"], attempt=event["attempt"])

    def add_status(self, document: dict[str, Any]) -> None:
        """From the document `status --json` prints."""
        for result in document["results"]:
            if result["state"] in DECIDED:
                self._decide(result["name"], state=result["state"], attempts=result["attempts"])

    def add_journals(self, outcomes: dict[str, str]) -> None:
        """From the workers' journals, when the server is dead."""
        self.outcomes |= outcomes

    def add_recorded(self, found: Recorded) -> None:
        """From the ledger's file."""
        self.receipts |= {a: r for a, r in found.receipts.items() if not r["superseded"]}
        for name, job in found.jobs.items():
            if job["state"] in DECIDED:
                self._decide(name, state=job["state"], attempt=job["attempt"], attempts=job["attempts"])

    def _decide(self, job: str, **shown: Any) -> None:
        self.decided.setdefault(job, {}).update(shown)


def judge(
    *,
    folder: Path,
    found: Recorded,
    scripts: dict[str, Kind],
    witness: dict[str, list[Line]],
    acknowledged: Acknowledged,
    struck: set[str],
) -> tuple[list[str], int]:
    """Every violation, and how many executions ended without being acknowledged (they may be run again).

    `struck` are the attempts whose scripts were killed from outside.
    """
    violations = [
        *_lost(found, acknowledged),
        *_executions(found, witness),
        *_results(found, scripts, witness, struck),
        *_program_says(folder, found),
        *_zip(folder, found, scripts),
        *_litter(folder, found),
    ]
    starts = {line.attempt for lines in witness.values() for line in lines if line.word == "start"}
    ended = {a for a, r in found.receipts.items() if not r["superseded"] and r["outcome"] not in ("lost", "cancelled")}
    return violations, len(starts - ended)


def _lost(found: Recorded, shown: Acknowledged) -> Iterator[str]:
    for attempt, row in shown.receipts.items():
        now = found.receipts.get(attempt)
        if now != row:
            yield f"lost: the receipt of {row['job_name']} ({attempt}) was {row}, and is {now}"
    for attempt, told in shown.attempts.items():
        now = found.receipts.get(attempt)
        if now is None or now["superseded"] or {k: now[k] for k in told} != told:
            yield f"lost: attempt {attempt} was told as {told}, and is {now}"
    for attempt, outcome in shown.outcomes.items():
        now = found.receipts.get(attempt)
        if now is None or now["superseded"] or now["outcome"] != outcome:
            yield f"lost: attempt {attempt} ended {outcome} by its journal, and is {now}"
    for name, told in shown.decided.items():
        job = found.jobs.get(name)
        if job is None or {k: job[k] for k in told} != told:
            yield f"lost: {name} was shown as {told}, and is {job}"


def _executions(found: Recorded, witness: dict[str, list[Line]]) -> Iterator[str]:
    """At least once each, never after the one that was accepted, and never one that is not in the record."""
    for name, job in found.jobs.items():
        starts = [line.attempt for line in witness.get(name, ()) if line.word == "start"]
        for attempt in sorted(set(starts)):
            if starts.count(attempt) > 1:
                yield f"twice: attempt {attempt} of {name} started {starts.count(attempt)} times"
            if found.attempts.get(attempt, {}).get("job_name") != name:
                yield f"lost: attempt {attempt} of {name} ran, and is not recorded"
        accepted = [r["attempt"] for r in found.counting(name) if r["outcome"] == "ok"]
        if len(accepted) > 1:
            yield f"twice: {name} has {len(accepted)} receipts that passed and count"
        if job["state"] in DECIDED and job["attempt"] in starts and starts[-1] != job["attempt"]:
            yield f"twice: {name} ran again after its accepted attempt {job['attempt']}: {starts}"


def _results(
    found: Recorded, scripts: dict[str, Kind], witness: dict[str, list[Line]], struck: set[str]
) -> Iterator[str]:
    """What each script was drawn to do is what its job came to, and what the receipts say is what the scripts say."""
    if set(found.jobs) != set(scripts):
        yield f"lost: the run has the jobs {sorted(found.jobs)}, and there are {sorted(scripts)}"
    for name, job in found.jobs.items():
        receipts = found.counting(name)
        current = [r for r in receipts if r["attempt"] == job["attempt"]]
        if len(current) != 1 or job["state"] not in DECIDED:
            yield f"lost: {name} is {job['state']}, with {len(current)} receipts of its current attempt"
            continue
        was_struck = any(r["attempt"] in struck for r in receipts)
        if job["state"] != ("passed" if scripts[name].passes else "failed") and not was_struck:
            yield f"wrong: {name} came to be {job['state']}: {receipts}"
        ended = [r for r in receipts if r["outcome"] in ("exited", "signalled")]
        if not scripts[name].passes and len(ended) != 2:
            yield f"wrong: {name} fails always, with one retry, and has failed {len(ended)} times"
        for receipt in receipts:
            words = [line.word for line in witness.get(name, ()) if line.attempt == receipt["attempt"]]
            if receipt["outcome"] in _RAN_TO_ITS_END and words != ["start", "end"]:
                yield f"wrong: {name} ended {receipt['outcome']}, and its witness says {words}"
            if receipt["outcome"] == "signalled" and receipt["attempt"] not in struck:
                yield f"wrong: {name} ended by signal {receipt['signal']}, which nobody sent it"
            if receipt["outcome"] not in (*_RAN_TO_ITS_END, "signalled", "lost", "cancelled"):
                yield f"wrong: {name} ended {receipt['outcome']}: {receipt['error']}"


def _program_says(folder: Path, found: Recorded) -> Iterator[str]:
    """`ledger check` and `status --json`."""
    state = folder / ".buildrunner"
    for problem in check(state).problems:
        yield f"wrong: ledger check: {problem}"
    reader = Reader.open(state)
    try:
        document = run_document(reader, reader.run(found.run["name"]))
    finally:
        reader.close()
    count = {s: sum(job["state"] == s for job in found.jobs.values()) for s in DECIDED}
    totals = {k: document["totals"][k] for k in ("jobs", *DECIDED)}
    if document["state"] != "finished" or totals != {"jobs": len(found.jobs), **count}:
        yield f"wrong: status says {document['state']}, {totals}; the jobs are {count}"
    if found.run["exit_code"] != (1 if count["failed"] else 0):
        yield f"wrong: the run's exit code is {found.run['exit_code']}, with {count['failed']} failed"


def _zip(folder: Path, found: Recorded, scripts: dict[str, Kind]) -> Iterator[str]:
    """What is in the zip is what the accepted attempts left, by their own words and by their receipts' hashes."""
    path = folder / "result.zip"
    if not path.exists() or not found.run["archive"]:
        yield f"lost: there is no zip, and the record says {found.run['archive']}"
        return
    yield from (f"wrong: verify: {problem}" for problem in verify(str(path)).problems)
    if hashlib.sha256(path.read_bytes()).hexdigest() != json.loads(found.run["archive"])["sha256"]:
        yield "wrong: the zip is not the one in the record"
    with zipfile.ZipFile(path) as archive:
        rows = {row["name"]: row for row in json.loads(archive.read("manifest.json"))["results"]}
        if set(rows) != set(found.jobs):
            yield f"wrong: the manifest names {sorted(rows)}"
            return
        for name, job in found.jobs.items():
            receipt = found.receipts.get(job["attempt"])
            if receipt is None or receipt["outcome"] not in _RAN_TO_ITS_END:
                continue
            row, own = rows[name], f"of {job['attempt']}"
            if (row["state"], row["outcome"], row["exit_code"]) != (
                job["state"], receipt["outcome"], receipt["exit_code"],
            ):  # fmt: skip
                yield f"wrong: the manifest says of {name} {row}, the record {receipt}"
            if row["stdout"] is None or archive.read(row["stdout"]).decode().strip() != own:
                yield f"wrong: the log of {name} in the zip is not {own}"
            left = {path: (size, sha) for path, size, sha in json.loads(receipt["outputs"] or "[]")}
            packed = {output["path"]: archive.read(output["file"]) for output in row["outputs"]}
            if {p: (len(data), hashlib.sha256(data).hexdigest()) for p, data in packed.items()} != left:
                yield f"wrong: the outputs of {name} in the zip are not those of its receipt"
            if bool(packed) != scripts[name].files or any(own.encode() not in data for data in packed.values()):
                yield f"wrong: the outputs of {name} in the zip are not {own}: {sorted(packed)}"


def _litter(folder: Path, found: Recorded) -> Iterator[str]:
    """Journals, parts of zips and folders kept ready are gone after a run that has come to its end."""
    journals = folder / ".buildrunner" / "runs"
    left = [*journals.rglob("*"), *folder.glob(".buildrunner-*"), *(folder / "python_output").rglob(".ready-*")]
    if left := [path for path in left if path != journals / found.run["name"] or any(path.iterdir())]:
        yield f"wrong: left lying about: {sorted(str(path.relative_to(folder)) for path in left)}"
