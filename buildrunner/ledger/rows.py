"""What a row of each table says: its columns, how they are read, and what they can hold.

Receipts have a checksum; of the rest damage shows only where a value has another form than it was written in.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from buildrunner.errors import LedgerError, ReceiptError
from buildrunner.job import Cwd, JobSpec, JobState, Outcome
from buildrunner.ledger import store
from buildrunner.ledger.store import from_sql
from buildrunner.naming import display
from buildrunner.receipt import OutputFile, Receipt

RUN_COLUMNS = (
    "id, name, state, target, key, args, options, jobs, python, started, finished, wall, session, exit_code, archive"
)
RECEIPT_COLUMNS = (
    "attempt", "number", "worker", "mode", "outcome", "exit_code", "signal", "started", "seconds", "cpu_seconds",
    "max_rss", "outputs", "skipped", "error", "truncated",
    "why_cold",
)  # fmt: skip
"""Of a row of receipts, what the receipt is made of beside its job's name, in the order in which a worker sends it."""
UNREADABLE = (ReceiptError, ValueError, TypeError, AttributeError)
"""What reading a damaged row may raise."""
_SPEC_DEFAULTS = tuple(
    (name, getattr(JobSpec(name=""), name))
    for name in ("command", "script", "args", "env", "cwd", "priority", "after", "timeout", "retries")
)
_NOT_AS_WRITTEN = (ValueError, TypeError, KeyError)
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as recorded. Times in seconds, stamps in seconds since the epoch (UTC).

    A run that is resumed has several sessions. `session` is when the one began that goes on or was cut off, None when
    the last one ended in order; `wall` is the seconds of all sessions before that one, of all of them when it is None.
    """

    id: int
    name: str
    state: str
    target: str
    key: str
    args: tuple[str, ...]
    options: dict[str, Any]
    jobs: int
    python: str
    started: float
    finished: float | None
    wall: float
    session: float | None
    exit_code: int | None
    archive: dict[str, Any] | None

    @property
    def workers(self) -> int:
        """How many worker processes it had."""
        count: int = self.options["workers"]
        return count


class Noted(NamedTuple):
    """What was found when a run was carried on: how what an attempt had run had changed, and what followed from that.

    `decision` is `rerun` (the job was run again) or `keep` (its result stayed).
    """

    attempt: str
    decision: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """A job with its last attempt's receipt, as far as there is one.

    `modules` are what the script imports from its folder, with their SHA-256; None where nobody looked. `noted` is in
    the order in which it was found.
    """

    id: int
    name: str
    file: str
    spec: str
    state: JobState
    attempts: int
    lost: int
    error: str | None
    attempt: str | None
    worker: int | None
    script_sha256: str | None
    modules: dict[str, str] | None
    noted: tuple[Noted, ...]
    mode: str | None
    outcome: Outcome | None
    exit_code: int | None
    signal: int | None
    started: float | None
    seconds: float | None
    total_seconds: float
    cpu_seconds: float | None
    max_rss_bytes: int | None
    outputs: tuple[OutputFile, ...]
    skipped_outputs: tuple[str, ...]
    truncated: tuple[tuple[str, int], ...]
    why_cold: str | None

    @property
    def outdated(self) -> str | None:
        """What had changed since its last attempt when the run was carried on and the result was kept."""
        last = self.noted[-1] if self.noted else None
        return last.what if last and last.decision == "keep" and last.attempt == self.attempt else None

    @property
    def repeats(self) -> list[Noted]:
        """Each time it was run again because something had changed."""
        return [noted for noted in self.noted if noted.decision == "rerun"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """An attempt: the number of its run in the ledger, its id and number, and its job with this attempt's receipt.

    `superseded`: its receipt came when it was no longer its job's current attempt, and changed nothing.
    """

    run: int
    id: str
    number: int
    superseded: bool
    result: ResultRow


# A script without a SHA-256 could not be read when its attempt began; nobody but its interpreter noticed.
_MISSING = """
       CASE WHEN r.outcome = 'exited' AND NOT r.superseded AND a.script_sha256 IS NULL AND instr(j.spec, '"script":')
       THEN 'missing: its script was not there, or not to be read, when it was to start' END"""
RESULTS = f"""
SELECT j.id, j.name, j.file, j.spec, j.state, j.attempts, j.lost, coalesce(r.error, j.error, {_MISSING}), j.attempt,
       a.worker, a.script_sha256, a.modules, j.changed, r.mode, r.outcome, r.exit_code, r.signal, r.started, r.seconds,
       CASE WHEN j.attempts <= 1 THEN coalesce(r.seconds, 0)
            ELSE (SELECT total(seconds) FROM receipts WHERE job = j.id AND NOT superseded) END,
       r.cpu_seconds, r.max_rss, r.outputs, r.skipped, r.truncated, r.why_cold
FROM jobs j
LEFT JOIN attempts a ON a.id = j.attempt
LEFT JOIN receipts r ON r.attempt = j.attempt
WHERE j.run = ?
"""

ATTEMPTS = f"""
SELECT j.run, a.id, a.number, coalesce(r.superseded, 0),
       j.id, j.name, j.file, j.spec, j.state, j.attempts, j.lost, coalesce(r.error, {_MISSING}), a.id, a.worker,
       a.script_sha256, a.modules, j.changed, r.mode, r.outcome, r.exit_code, r.signal, r.started, r.seconds,
       coalesce(r.seconds, 0),
       r.cpu_seconds, r.max_rss, r.outputs, r.skipped, r.truncated, r.why_cold
FROM {{}} a JOIN jobs j ON j.id = a.job LEFT JOIN receipts r ON r.attempt = a.id
"""
# An attempt that was taken back has no row; should a receipt of it come all the same, that is kept.
TAKEN_BACK = """
(SELECT attempt AS id, job, number, worker, NULL AS script_sha256, NULL AS modules FROM receipts
 WHERE attempt NOT IN (SELECT id FROM attempts))
"""


def run_row(state: Path, row: tuple[Any, ...]) -> RunRow:
    """The run of a row of RUN_COLUMNS, read in this state folder. LedgerError when it is damaged."""
    names = [c.strip() for c in RUN_COLUMNS.split(",")]
    data = dict(zip(names, row, strict=True))
    data["target"], data["key"], data["python"] = map(from_sql, (data["target"], data["key"], data["python"]))
    try:
        data["args"] = tuple(json.loads(data["args"]))
        data["options"] = _Options(json.loads(data["options"]))
        data["archive"] = json.loads(data["archive"]) if data["archive"] else None
    except (ValueError, TypeError) as exc:
        raise LedgerError(f"the ledger's row of run {data['name']} is damaged: {exc}; {store.PERHAPS}") from exc
    if "state" in data["options"]:
        data["options"]["state"] = str(state)  # where it is now: the folder may have been moved
    data["wall"] = data["wall"] or 0.0
    return RunRow(**data)


def noted_from_json(text: str | None) -> tuple[Noted, ...]:
    """What is noted about a job's changes."""
    return tuple(Noted(*one) for one in json.loads(text)) if text else ()


@contextmanager
def decoding(what: str = "row") -> Iterator[None]:
    """What is recorded and cannot be what was written is a LedgerError."""
    try:
        yield
    except _NOT_AS_WRITTEN as exc:
        raise _damaged(what, exc) from exc


def _damaged(what: str, exc: Exception) -> LedgerError:
    return LedgerError(f"a {what} of the ledger is damaged: {exc}; {store.PERHAPS}")


class _Options(dict[str, Any]):
    """A run's options; one that is not there was there when the run was recorded."""

    def __missing__(self, key: str) -> Any:
        raise LedgerError(f"a run's row in the ledger is damaged: it has no {key}; {store.PERHAPS}")


def result_row(row: tuple[Any, ...]) -> ResultRow:
    """The result of a row of RESULTS. LedgerError when it is damaged."""
    try:
        return _decoded_result(row)
    except _NOT_AS_WRITTEN as exc:  # not `decoding`, which for very many rows takes longer than the rows
        raise _damaged("row", exc) from exc


def _decoded_result(row: tuple[Any, ...]) -> ResultRow:
    (
        id_, name, file, spec, state, attempts, lost, error, attempt, worker, sha, modules, noted, mode, outcome, code,
        signal, started, seconds, total, cpu, rss, outputs, skipped, truncated, why_cold,
    ) = row  # fmt: skip
    return ResultRow(
        id=id_,
        name=from_sql(name),
        file=file,
        spec=spec,
        state=JobState(state),
        attempts=attempts,
        lost=lost,
        error=None if error is None else from_sql(error),
        attempt=attempt,
        worker=worker,
        script_sha256=sha,
        modules=json.loads(modules) if modules else {},
        noted=noted_from_json(noted),
        mode=mode,
        outcome=Outcome(outcome) if outcome else None,
        exit_code=code,
        signal=signal,
        started=started,
        seconds=seconds,
        total_seconds=total,
        cpu_seconds=cpu,
        max_rss_bytes=rss,
        outputs=tuple(OutputFile(path=p, size=n, sha256=h) for p, n, h in json.loads(outputs)) if outputs else (),
        skipped_outputs=tuple(json.loads(skipped)) if skipped else (),
        truncated=tuple((stream, count) for stream, count in json.loads(truncated)) if truncated else (),
        why_cold=None if why_cold is None else from_sql(why_cold),
    )


def spec_from_json(name: str, text: str) -> JobSpec:
    """The spec of a recorded job. LedgerError when the text is none."""
    try:
        return _decoded_spec(name, text)
    except (ValueError, TypeError, AttributeError) as exc:
        raise LedgerError(f"the spec of {display(name)} in the ledger is damaged: {exc}; {store.PERHAPS}") from exc


def _decoded_spec(name: str, text: str) -> JobSpec:
    data = json.loads(text)
    for field in ("command", "args", "after"):
        if field in data:
            data[field] = tuple(data[field])
    if "cwd" in data:
        data["cwd"] = Cwd(data["cwd"])
    if "env" in data:
        data["env"] = tuple((key, value) for key, value in data["env"])
    return JobSpec(name=name, **data)


def spec_to_json(spec: JobSpec) -> str:
    """What is recorded of a spec: what is not as it is without being said."""
    data = {f: v for f, default in _SPEC_DEFAULTS if (v := getattr(spec, f)) != default}
    return _encode(data)


def noted_or_none(changed: Any) -> tuple[Noted, ...] | None:
    """What is noted about a job's changes; None when that cannot be read."""
    try:
        noted = noted_from_json(changed)
        return noted if all(isinstance(part, str) for one in noted for part in one) else None
    except (ValueError, TypeError):
        return None


def repeated(changed: Any) -> set[str]:
    """The attempts after which the job was to be run again because its script had changed."""
    return {noted.attempt for noted in noted_or_none(changed) or () if noted.decision == "rerun"}


def receipt_of(job: str, columns: Sequence[Any]) -> Receipt:
    """The receipt a row was made of, from its `RECEIPT_COLUMNS`; raises one of UNREADABLE when it is none."""
    attempt, *values, outputs, skipped, error, truncated, why_cold = columns
    told = None if error is None else from_sql(error)
    left = json.loads(outputs or "[]"), tuple(json.loads(skipped or "[]"))
    cut = tuple((stream, count) for stream, count in json.loads(truncated or "[]"))
    return Receipt.from_wire(
        (from_sql(attempt), job, *values, *left, told, cut, None if why_cold is None else from_sql(why_cold))
    )


def parsed(text: Any) -> Any:
    """What JSON says, None when it is none."""
    try:
        return json.loads(text)
    except (ValueError, TypeError):
        return None


def is_sha256(text: Any) -> bool:
    """Whether this can be a SHA-256 in hex."""
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")


def are_modules(text: Any) -> bool:
    """Whether this can be what is recorded of a script's modules."""
    value = parsed(text)
    return text == "null" or (isinstance(value, dict) and bool(value) and all(map(is_sha256, value.values())))
