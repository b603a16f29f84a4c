"""The ledger: the durable truth about runs, jobs, attempts and receipts, in SQLite.

One process writes, under a kernel lock, on one connection; anybody reads. An attempt is committed before its
script starts; a receipt changes its job only if its attempt is still the job's current one.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from buildrunner.control import ADDRESS
from buildrunner.errors import UsageError
from buildrunner.job import Attempt, JobSpec, JobState
from buildrunner.ledger import figures, journals, place, store
from buildrunner.ledger.lock import Lock
from buildrunner.ledger.reader import Reader
from buildrunner.ledger.rows import AttemptRow, Noted, ResultRow, RunRow, spec_from_json, spec_to_json
from buildrunner.ledger.store import to_sql, to_sql_or_none
from buildrunner.ledger.writing import Writing
from buildrunner.machine import why_not_written
from buildrunner.naming import display
from buildrunner.receipt import Receipt

__all__ = ["AttemptRow", "Ledger", "Noted", "Reader", "ResultRow", "RunRow", "spec_from_json"]

_OURS = {store.DATABASE + end for end in ("", "-wal", "-shm", "-journal")}
_OURS |= {store.LOCK, ADDRESS, ADDRESS + ".new", journals.RUNS, ".gitignore"}
_OLDER = store.DATABASE + ".schema-"  # copies made before the schema changed
_MADE_BY_THE_SYSTEM = {"lost+found"}


def _inserts(into: str, *columns: str) -> dict[int, str]:
    """Statements that insert the first so many columns of a row."""
    return {
        count: f"{into} ({', '.join(columns[:count])}) VALUES ({', '.join('?' * count)})"
        for count in range(1, len(columns) + 1)
    }


# What is rarely there comes last.
_ATTEMPT = _inserts("INSERT INTO attempts", "id", "job", "number", "worker", "script_sha256", "modules")
_RECEIPT = _inserts(
    "INSERT OR IGNORE INTO receipts", "attempt", "job", "number", "worker", "mode", "outcome", "started", "seconds",
    "cpu_seconds", "checksum", "superseded", "exit_code", "max_rss", "outputs", "signal", "error", "skipped",
    "truncated", "why_cold",
)  # fmt: skip
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Ledger(Reader):
    """The writer. Use as a context manager; it holds the lock from opening to closing."""

    def __init__(self, state: Path, *, purpose: str) -> None:
        """Open or create the ledger in the state folder.

        Raises UsageError where no ledger may lie, LedgerBusy when another process writes it, LedgerError when it cannot
        be used.
        """
        place.require_own(state)
        _make_state_folder(state)
        self._lock = Lock(state / store.LOCK, purpose=purpose, what="state folder", option="--state")
        try:
            if not os.access(state, os.W_OK):  # although what lies in it may be: it would do for a while
                raise UsageError(f"cannot make files in the state folder {state}; name another with --state DIR")
            self._writing = Writing(state)
        except BaseException:
            self._lock.release()
            raise
        try:
            super().__init__(state, self._writing.db)
            # One cursor for the statements of every attempt, and plain strings for enums: SQLite's adapter looks
            # for a converter for anything else, each time. Both together are a tenth of what an attempt costs here.
            self._cursor = self.db.cursor()
            # Whoever holds the lock knows that no other server lives.
            with self.transaction():
                self.db.execute("UPDATE runs SET state = 'interrupted' WHERE state = 'running'")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database, then let others in. Raises LedgerError when what was recorded last is not safe."""
        try:
            self._writing.close()
        finally:
            self._lock.release()

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is recorded together, or LedgerError says that nothing was, and nothing more will be."""
        return self._writing.transaction()

    def settle(self) -> None:
        """Make all that is recorded safe on the disk. Raises LedgerError."""
        self._writing.checkpoint()

    def copy(self) -> Reader:
        """A reader of all that is recorded, apart from its files, which may be full or gone. Raises LedgerError."""
        return Reader(self.state, self._writing.copy())

    def add_run(
        self,
        *,
        name: str,
        target: str,
        key: str,
        args: tuple[str, ...],
        options: dict[str, Any],
        jobs: int,
        python: str,
        started: float,
        specs: Iterable[tuple[JobSpec, str]],
    ) -> RunRow:
        """Record a new run and its jobs (each with its file name), in one transaction, safe also from a power cut."""
        with self._writing.safe_transaction():
            cursor = self.db.execute(
                "INSERT INTO runs (name, state, target, key, args, options, jobs, python, started, session) "
                "VALUES (?, 'running', ?, ?, ?, ?, ?, ?, ?, ?)",
                (name, to_sql(target), to_sql(key), json.dumps(args), json.dumps(options), jobs, to_sql(python),
                 started, started),
            )  # fmt: skip
            run = cursor.lastrowid
            self.db.executemany(
                "INSERT INTO jobs (run, name, file, spec, state) VALUES (?, ?, ?, ?, 'waiting')",
                ((run, to_sql(spec.name), file, spec_to_json(spec)) for spec, file in specs),
            )
        return self.run(name)

    def job_ids(self, run: RunRow) -> dict[str, int]:
        """The ledger's number of each job, by name."""
        return {store.from_sql(n): i for i, n in self._rows("SELECT id, name FROM jobs WHERE run = ?", run.id)}

    def start(
        self, job: int, attempt: Attempt, script_sha256: str | None, modules: Mapping[str, str] | None = None
    ) -> None:
        """Record an attempt, with what it is about to run, and make it its job's current one."""
        values = (attempt.id, job, attempt.number, attempt.worker, script_sha256, _encode(modules) if modules else None)
        self._insert(_ATTEMPT, values)
        self._cursor.execute(
            "UPDATE jobs SET state = 'running', attempt = ?, attempts = ? WHERE id = ?",
            (attempt.id, attempt.number, job),
        )

    def give_back(self, job: int, attempt: str) -> None:
        """Forget an attempt that never started; it counts nowhere."""
        self._cursor.execute("DELETE FROM attempts WHERE id = ?", (attempt,))
        self._cursor.execute(
            "UPDATE jobs SET state = 'ready', attempt = (SELECT attempt FROM receipts "
            "WHERE job = jobs.id AND NOT superseded ORDER BY number DESC LIMIT 1), attempts = attempts - 1 "
            "WHERE id = ? AND state = 'running' AND attempt = ?",
            (job, attempt),
        )

    def record(self, job: int, receipt: Receipt, state: JobState, *, lost: int = 0) -> bool:
        """Record a receipt and the state it leads to, if its attempt is still the job's current one.

        Returns whether it was. A receipt that comes too late is kept, marked superseded, and changes nothing; one
        that is here already is left alone.
        """
        accepted = self._cursor.execute(
            "UPDATE jobs SET state = ?, lost = lost + ? WHERE id = ? AND state = 'running' AND attempt = ?",
            (state.value, lost, job, receipt.attempt),
        ).rowcount
        outputs = skipped = truncated = None
        if receipt.outputs:
            outputs = json.dumps([(o.path, o.size, o.sha256) for o in receipt.outputs])
        if receipt.skipped_outputs:
            skipped = json.dumps(receipt.skipped_outputs)
        if receipt.truncated:
            truncated = json.dumps(receipt.truncated)
        values = (receipt.attempt, job, receipt.number, receipt.worker, receipt.mode, receipt.outcome.value,
                  receipt.started, receipt.seconds, receipt.cpu_seconds, receipt.checksum(), 0 if accepted else 1,
                  receipt.exit_code, receipt.max_rss_bytes, outputs, receipt.signal, to_sql_or_none(receipt.error),
                  skipped, truncated, to_sql_or_none(receipt.why_cold))  # fmt: skip
        self._insert(_RECEIPT, values)
        return accepted == 1

    def _insert(self, statements: Mapping[int, str], values: tuple[Any, ...]) -> None:
        """Insert a row without the null values at its end: each would cost more than a number or a text does."""
        count = len(values)
        while values[count - 1] is None:
            count -= 1
        self._cursor.execute(statements[count], values[:count])

    def set_states(self, jobs: Iterable[int], state: JobState, error: str | None = None) -> None:
        """Move jobs that are not running to another state."""
        self.db.executemany(
            "UPDATE jobs SET state = ?, error = ? WHERE id = ? AND state != 'running'",
            ((state, to_sql_or_none(error), job) for job in jobs),
        )

    def note(self, job: int, noted: Iterable[Noted]) -> None:
        """Set what is noted about a job whose script had changed when its run was carried on."""
        listed = [list(one) for one in noted]
        self.db.execute("UPDATE jobs SET changed = ? WHERE id = ?", (_encode(listed) if listed else None, job))

    def take_up(self, run: RunRow, jobs: Iterable[int]) -> None:
        """Let these jobs of a run that was broken off wait again; from now on it is not over."""
        figures.drop(self.db, run.id)
        self.db.execute("UPDATE runs SET state = 'interrupted' WHERE id = ?", (run.id,))
        self.set_states(jobs, JobState.WAITING)

    def set_specs(self, specs: Iterable[tuple[int, JobSpec]]) -> None:
        """Let jobs be another thing from now on."""
        self.db.executemany("UPDATE jobs SET spec = ? WHERE id = ?", ((spec_to_json(spec), job) for job, spec in specs))

    def set_arguments(self, run: RunRow, args: tuple[str, ...]) -> None:
        """Let what still runs of a run have these arguments: from now on it may be a mixed one, which is recorded."""
        options = {**run.options, "args": args, "mixed_args": True}
        self.db.execute(
            "UPDATE runs SET args = ?, options = ? WHERE id = ?", (json.dumps(args), json.dumps(options), run.id)
        )

    def set_run(self, run: RunRow, **columns: object) -> RunRow:
        """Change columns of a run's row, in a transaction of its own; returns the row as it is then."""
        for name in ("archive", "preloads"):
            if isinstance(columns.get(name), dict):
                columns[name] = json.dumps(columns[name])
        names = ", ".join(f"{name} = ?" for name in columns)
        with self.transaction():
            self.db.execute(f"UPDATE runs SET {names} WHERE id = ?", (*columns.values(), run.id))
        return self.run(run.name)

    def sum_up(self, run: RunRow) -> None:
        """Keep what a run comes to, now that its session has ended."""
        with self.transaction():
            figures.keep(self.db, run.id)

    def forget(self, keep: int, *, spare: Callable[[RunRow], bool] = lambda run: False) -> None:
        """Remove all but the newest runs and what belongs to them; their room in the file is used again.

        Of the older ones those stay that `spare` names, or whose journals cannot be removed.
        """
        old = [
            self.run(name) for (name,) in self._query("SELECT name FROM runs ORDER BY id DESC LIMIT -1 OFFSET ?", keep)
        ]
        for run in [run.id for run in old if not spare(run) and journals.remove(self.state, run.name)]:
            with self.transaction():
                # By way of the receipts, because attempts cannot be looked up by job; one without a receipt is current.
                self.db.execute(
                    "DELETE FROM attempts WHERE id IN (SELECT r.attempt FROM jobs j JOIN receipts r ON r.job = j.id "
                    "WHERE j.run = :run UNION SELECT attempt FROM jobs WHERE run = :run)",
                    {"run": run},
                )
                self.db.execute("DELETE FROM receipts WHERE job IN (SELECT id FROM jobs WHERE run = ?)", (run,))
                self.db.execute("DELETE FROM jobs WHERE run = ?", (run,))
                figures.drop(self.db, run)
                self.db.execute("DELETE FROM runs WHERE id = ?", (run,))
        self.forget_journals()

    def forget_journals(self) -> None:
        """Remove the journals of runs that have ended, whose server was killed before it could."""
        if folders := journals.listed(self.state):
            ended = {name for (name,) in self._query("SELECT name FROM runs WHERE state = 'finished'")}
            for name in folders & ended:
                journals.remove(self.state, name)


def strangers(state: Path) -> list[str]:
    """What lies in a folder that no state folder has. Raises OSError."""
    found = set(os.listdir(state)) - _OURS - _MADE_BY_THE_SYSTEM
    return sorted(name for name in found if not name.startswith(_OLDER))


def _make_state_folder(state: Path) -> None:
    try:
        state.mkdir(parents=True, exist_ok=True)
        others = strangers(state)
        if others and not (state / store.DATABASE).exists():
            raise UsageError(
                f"the state folder {state} holds other things ({display(others[0])}): "
                "name a folder of its own with --state DIR"
            )
        ignore = state / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as exc:
        why = why_not_written(exc)
        raise UsageError(f"cannot use the state folder {state}: {why}; name another with --state DIR") from exc
