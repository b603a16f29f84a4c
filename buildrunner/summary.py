"""What a run came to: the document of `run --json` and `status --json`, computed from the ledger alone."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from buildrunner.errors import LedgerError, UsageError
from buildrunner.forecast import Outlook, Remaining
from buildrunner.job import FINAL_STATES, JobState
from buildrunner.ledger import AttemptRow, Ledger, Reader, ResultRow, RunRow, journals
from buildrunner.naming import display
from buildrunner.receipt import Receipt
from buildrunner.speedup import Parallelism, parallelism

SCHEMA = "buildrunner.run/1"
_SHOWN = 10  # names in a sentence
_TIMES = ("wall_seconds", "script_seconds", "concurrency", "bound_seconds", "critical_path_seconds")
_TOTALS = ("jobs", "passed", "failed", "skipped", "cancelled", "cached", "running", "waiting")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run that has ended (or goes on elsewhere). Only figures are held; results are read when asked for.

    `notices` are things the user should know and no document field holds. `copy` holds the results when the record
    failed and its file may say less, or be gone. `advised`: one of the notices says how to go on.
    """

    state_dir: str
    run: RunRow
    totals: dict[str, int]
    speed: Parallelism
    exit_code: int
    notices: tuple[str, ...] = ()
    copy: Reader | None = None
    advised: bool = False

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Where the results are read. Raises LedgerError when they are not there any more."""
        if self.copy:
            yield self.copy
            return
        try:
            reader = Reader.open(Path(self.state_dir))
        except UsageError as exc:
            raise LedgerError(
                f"the ledger in {display(self.state_dir)} was removed after run {self.run.name} had ended: its results "
                "cannot be shown"
            ) from exc
        try:
            yield reader
        finally:
            reader.close()

    @property
    def passed(self) -> bool:
        """Whether every job passed."""
        return self.exit_code == 0

    @property
    def left(self) -> int:
        """How many jobs are still to be run, or were cancelled: `resume` runs them."""
        return self.totals["waiting"] + self.totals["cancelled"]

    @property
    def tells_speed_up(self) -> bool:
        """Whether several scripts ran at a time, and all that were to: else its times say nothing about a speed-up."""
        whole = self.run.state == "finished" and not self.totals["cancelled"]
        return whole and self.run.workers > 1 and self.speed.wall_seconds > 0

    def results(self) -> Iterator[ResultRow]:
        """Every job's row, read from the ledger."""
        with self.reader() as reader:
            yield from results(reader, self.run)

    def to_json(self) -> dict[str, Any]:
        """The `run --json` document, with all results."""
        with self.reader() as reader:
            document = run_document(reader, self.run)
            document["results"] = list(document["results"])
        return document


def summarise(reader: Reader, run: RunRow, *, notices: tuple[str, ...] = ()) -> Summary:
    """Sum up a run as it stands in the ledger."""
    totals = _totals(reader, run)
    return Summary(
        state_dir=reader.place,
        run=run,
        totals=totals,
        speed=speed(reader, run),
        exit_code=exit_code(reader, run) if run.exit_code is None else run.exit_code,
        notices=notices,
    )


def broken(ledger: Ledger, run: RunRow, fault: LedgerError, *, notices: tuple[str, ...] = ()) -> Summary:
    """Sum up a run whose record failed, by what was recorded before. Raises the fault where that cannot be read."""
    try:
        copy = ledger.copy()
        run = copy.run(run.name)
        state = "interrupted" if run.state == "running" else run.state
        run = replace(run, state=state, exit_code=fault.exit_code)
        return replace(summarise(copy, run, notices=(*notices, str(fault))), copy=copy, advised=True)
    except (LedgerError, UsageError):
        raise fault from None


def exit_code(reader: Reader, run: RunRow) -> int:
    """What a run comes to by its jobs alone."""
    return 0 if set(reader.counts(run)) <= {JobState.PASSED} else 1


def speed(reader: Reader, run: RunRow) -> Parallelism:
    """The run's times; of one that goes on, as they are now."""
    total, longest = reader.script_seconds(run)
    now = reader.now() if real_state(reader, run) == "running" else None
    return parallelism(wall=wall_seconds(reader, run, now), total=total, longest_chain=longest, jobs=run.jobs)


def wall_seconds(reader: Reader, run: RunRow, now: float | None = None) -> float:
    """Wall seconds of a run's sessions: of one that goes on until `now`, of one cut off until its last sign of life."""
    if run.session is None:
        return run.wall
    end = now or max(reader.last_end(run) or 0.0, *_journal_times(reader, run))
    return run.wall + max(0.0, end - run.session)


def _journal_times(reader: Reader, run: RunRow) -> Iterator[float]:
    """When each worker last wrote in its journal: at the latest when it noticed that its server was gone."""
    yield 0.0
    with suppress(OSError):  # gone meanwhile, or the state folder lets nobody in
        for journal in journals.folder(reader.state, run.name).glob("*.journal"):
            yield journal.stat().st_mtime


def idle(speed: Parallelism, busy: float) -> float:
    """Seconds a worker had no script, of a run that has ended."""
    return max(0.0, speed.wall_seconds - busy)


def run_document(reader: Reader, run: RunRow) -> dict[str, Any]:
    """The document; its `results` are an iterator, so that 100,000 of them need not be in memory at once."""
    s = speed(reader, run)
    state = real_state(reader, run)
    return {
        "schema": SCHEMA,
        "run": run.name,
        "target": run.target,
        "state": state,
        "jobs": run.jobs,
        "python": run.python,
        "started": stamp(run.started),
        "finished": stamp(run.finished),
        **{name: rounded(getattr(s, name)) for name in _TIMES},
        "eta_seconds": rounded(left.seconds) if (left := remaining(reader, run)) else None,
        "totals": _totals(reader, run),
        "workers": [
            {
                "worker": w,
                "busy_seconds": rounded(b),
                "idle_seconds": rounded(idle(s, b)) if state != "running" else None,
            }
            for w, b in reader.busy(run)
        ],
        "results": (_result(run, row) for row in results(reader, run)),
        "archive": run.archive,
    }


def remaining(reader: Reader, run: RunRow) -> Remaining | None:
    """How long a run that goes on will still take; None for one that does not, or when nothing is known."""
    if real_state(reader, run) != "running":
        return None
    now = reader.now()
    rows = list(reader.states(run))
    since = reader.dispatched(run)
    past = reader.past_seconds(run.key, run.args, names=[name for name, _, _ in rows], until=run.id - 1)
    outlook = Outlook((name for name, _, _ in rows), past, workers=run.workers)
    at_work = reader.at_work(run)
    for name, state, seconds in rows:
        if state in FINAL_STATES or state is JobState.CANCELLED:
            if seconds is None:
                outlook.dropped(name)
            else:
                outlook.ended(name, seconds)
        elif name in at_work:
            outlook.started(name, since.get(name, now))  # one may have started since
    return outlook.remaining(now)


def empty_document(target: str, jobs: int) -> dict[str, Any]:
    """The document where there was nothing to run, with all its fields: `run` is null."""
    return {
        "schema": SCHEMA,
        "run": None,
        "target": target,
        "state": "finished",
        "jobs": jobs,
        "python": None,
        "started": None,
        "finished": None,
        **dict.fromkeys(_TIMES, 0.0),
        "eta_seconds": None,
        "totals": dict.fromkeys(_TOTALS, 0),
        "workers": [],
        "results": [],
        "archive": None,
    }


def history_document(reader: Reader, run: RunRow) -> dict[str, Any]:
    """The document without its results."""
    document = run_document(reader, run)
    del document["results"]
    return document


def not_packaged(reader: Reader, run: RunRow) -> tuple[str, ...]:
    """One sentence on outputs that are no regular files, or could not be read; none when there are none."""
    found = reader.skipped_outputs(run)
    if not found:
        return ()
    shown = some([f"{name}: {path}" for name, path in found])
    return (f"not packaged, because no regular files or not readable: {shown}",)


def truncated(reader: Reader, run: RunRow) -> tuple[str, ...]:
    """One sentence on logs whose middle was cut out; none when all are whole."""
    found = reader.truncated(run)
    if not found:
        return ()
    return (f"only the beginning and the end of what these printed was kept (--max-output): {some(found)}",)


def some(names: list[str]) -> str:
    """The first of these names, and how many more there are."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(map(display, names[:_SHOWN])) + more


def real_state(reader: Reader, run: RunRow) -> str:
    """The run's state; one whose server died without saying so is interrupted."""
    return "interrupted" if run.state == "running" and not reader.alive() else run.state


def stamp(seconds: float | None) -> str | None:
    """UTC as ISO 8601 with a Z, to the millisecond."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _totals(reader: Reader, run: RunRow) -> dict[str, int]:
    counts = reader.counts(run)
    running = len(_at_work(reader, run)) if counts.get(JobState.RUNNING) else 0
    waiting = sum(counts.get(state, 0) for state in (JobState.WAITING, JobState.READY, JobState.RUNNING)) - running
    return {
        "jobs": sum(counts.values()),
        "passed": counts.get(JobState.PASSED, 0),
        "failed": counts.get(JobState.FAILED, 0),
        "skipped": counts.get(JobState.SKIPPED, 0),
        "cancelled": counts.get(JobState.CANCELLED, 0),
        "cached": 0,
        "running": running,
        "waiting": waiting,
    }


def _at_work(reader: Reader, run: RunRow) -> Collection[str]:
    """Jobs that run: what only lies ahead of a worker waits, and so does what lay with a server that is dead."""
    return reader.at_work(run) if real_state(reader, run) == "running" else ()


def results(reader: Reader, run: RunRow) -> Iterator[ResultRow]:
    """Every job's row in the order in which they were added, `running` only where something runs, else `waiting`."""
    at_work = _at_work(reader, run)
    for row in reader.results(run):
        yield _shown(row, at_work)


def slowest(reader: Reader, run: RunRow, number: int) -> list[ResultRow]:
    """So many rows of jobs that took longest, after those that failed, in the same way."""
    at_work = _at_work(reader, run)
    return [_shown(row, at_work) for row in reader.slowest(run, number)]


def shown(reader: Reader, run: RunRow, row: ResultRow) -> ResultRow:
    """One job's row in the same way."""
    return _shown(row, _at_work(reader, run))


def _shown(row: ResultRow, at_work: Collection[str]) -> ResultRow:
    waits = row.state is JobState.READY or (row.state is JobState.RUNNING and row.name not in at_work)
    return replace(row, state=JobState.WAITING) if waits else row


def _result(run: RunRow, row: ResultRow) -> dict[str, Any]:
    started = row.outcome is not None or row.state is JobState.RUNNING
    return attempt_document(
        run, row, name=row.name, file=row.file, state=row.state, attempts=row.attempts, logs=started
    ) | {"total_seconds": rounded(row.total_seconds), "lost": row.lost, "changed": row.outdated is not None}


def attempt_document(
    run: RunRow,
    end: ResultRow | Receipt,
    *,
    name: str,
    file: str,
    state: JobState,
    attempts: int,
    number: int | None = None,
    logs: bool = True,
) -> dict[str, Any]:
    """How an attempt ended, with the fields of a result of `run --json`; what only the ledger knows is left out.

    `file` is the job's name in the output folder. With `number` the logs are those of an earlier attempt; without
    `logs` there are none.
    """
    return {
        "name": name,
        "state": state,
        "outcome": end.outcome,
        "exit_code": end.exit_code,
        "signal": end.signal,
        "mode": end.mode,
        "seconds": rounded(end.seconds),
        "cpu_seconds": rounded(end.cpu_seconds),
        "max_rss_bytes": end.max_rss_bytes,
        "attempts": attempts,
        "started": stamp(end.started),
        "worker": end.worker,
        "stdout": log_path(run, file, "out", number) if logs else None,
        "stderr": log_path(run, file, "err", number) if logs else None,
        "outputs": [output_path(run, file, o.path) for o in end.outputs],
        "skipped_outputs": [output_path(run, file, path) for path in end.skipped_outputs],
        "truncated": dict(end.truncated),
        "error": end.error,
        "why_cold": end.why_cold,
    }


def attempt_documents(reader: Reader, only: RunRow | None = None) -> Iterator[dict[str, Any]]:
    """Every attempt of a run, or of all, in the words of the document's results; `attempt` is its number."""
    runs = {run.id: run for run in reader.runs()}
    at_work = {run.id: _at_work(reader, run) for run in runs.values() if run.state == "running"}
    for attempt in reader.attempts(only):
        run = runs[attempt.run]
        yield _attempt(run, attempt, at_work.get(run.id, ()))


def _attempt(run: RunRow, attempt: AttemptRow, at_work: Collection[str]) -> dict[str, Any]:
    row = attempt.result
    document = _result(run, _shown(row, at_work))
    if attempt.number < row.attempts and document["stdout"]:
        document["stdout"] = log_path(run, row.file, "out", attempt.number)
        document["stderr"] = log_path(run, row.file, "err", attempt.number)
    for of_the_job in ("total_seconds", "attempts", "lost", "changed"):
        del document[of_the_job]
    return {
        "run": run.name,
        "target": run.target,
        "attempt": attempt.number,
        "attempt_id": attempt.id,
        "superseded": attempt.superseded,
        "script_sha256": row.script_sha256,
    } | document


def log_path(run: RunRow, file: str, suffix: str, number: int | None = None) -> str:
    """A log's path as the user named the output folder."""
    return os.path.join(
        run.options["output"], "logs", f"{file}.{suffix}" if number is None else f"{file}.{number}.{suffix}"
    )


def output_path(run: RunRow, file: str, path: str) -> str:
    """An output file's path as the user named the output folder."""
    return os.path.join(run.options["output"], "files", file, path)


def rounded(seconds: float | None) -> float | None:
    """Seconds as documents give them: to the microsecond."""
    return None if seconds is None else round(seconds, 6)
