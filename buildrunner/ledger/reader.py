"""Reading the ledger: what the commands `status`, `history`, `logs` and every report ask of it.

Works on the writer's own connection and on a read-only one beside a running server alike.
"""

import json
import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from buildrunner.errors import LedgerError, UsageError
from buildrunner.job import UNSPENT, JobState, Outcome, made_at
from buildrunner.ledger import figures, journals, lock, store
from buildrunner.ledger.rows import (
    ATTEMPTS,
    RESULTS,
    RUN_COLUMNS,
    TAKEN_BACK,
    AttemptRow,
    ResultRow,
    RunRow,
    decoding,
    noted_from_json,
    parsed,
    result_row,
    run_row,
)
from buildrunner.ledger.store import from_sql, to_sql
from buildrunner.naming import bare, display

_HISTORY_RUNS = 5  # of each job
_ATTEMPTS_OF_A_RUN = 2000  # by which it is seen how a run went
_HISTORY_RUNS_AT_MOST = 50  # looked through for them
_LOOKED_UP = 500  # jobs; of a run's more than that all are read
_UNSPENT = ", ".join(f"'{outcome}'" for outcome in sorted(UNSPENT))


class Reader:
    """Questions to a ledger."""

    def __init__(self, state: Path, db: sqlite3.Connection) -> None:
        self.state = state
        self.place = os.path.realpath(state)  # now: the folder that `state` leads on from may be moved or removed
        self.db = db

    @classmethod
    def open(cls, state: Path) -> "Reader":
        """Read beside whoever writes. LedgerError when the file is damaged, or lacks a run there was."""
        folders = journals.listed(state)
        db = store.open_reader(state)
        try:
            store.refuse_damaged(db, state / store.DATABASE)
            store.refuse_lost(state, folders, db)
        except BaseException:
            db.close()
            raise
        return cls(state, db)

    @classmethod
    def glance(cls, state: Path, *, patience: float = store.PATIENCE) -> "Reader | None":
        """Read without making the files SQLite wants beside the database; None where it cannot be read without."""
        path = store.require(state)
        log = os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal") > 0
        if log and not os.path.exists(f"{path}-shm"):
            return None
        unused = not log and not lock.held(state / store.LOCK)
        return cls(state, store.open_reader(state, immutable=unused, patience=patience))

    def close(self) -> None:
        """Let go of the database."""
        self.db.close()

    def alive(self) -> bool:
        """Whether a living server writes this ledger now."""
        return lock.held(self.state / store.LOCK)

    def now(self) -> float:
        """The time by which the living server's stamps are reckoned (seconds since the epoch)."""
        return lock.now(self.state / store.LOCK)

    def runs(self) -> Iterator[RunRow]:
        """All runs, newest first."""
        for row in self._query(f"SELECT {RUN_COLUMNS} FROM runs ORDER BY id DESC"):
            yield run_row(self.state, row)

    def run(self, name: str | None = None) -> RunRow:
        """The run of that name or unambiguous beginning of a name; the one that goes on, else the newest, for None."""
        if name is None:  # what goes on may be an older one that was resumed
            first = "state = 'running' DESC, " if self.alive() else ""
            rows = self._query(f"SELECT {RUN_COLUMNS} FROM runs ORDER BY {first}id DESC LIMIT 1")
            if not rows:
                raise UsageError(f"no run is recorded in {self.state}")
        else:
            rows = self._query(
                f"SELECT {RUN_COLUMNS} FROM (SELECT ? AS asked) JOIN runs "
                "ON substr(name, 1, length(asked)) = asked ORDER BY name = asked DESC, id LIMIT 2",
                to_sql(name),
            )
            if not rows or not name:
                raise UsageError(f"no run is called {name!r}; `buildrunner history` lists them")
            if len(rows) > 1 and rows[0][1] != name:
                raise UsageError(f"several runs begin with {name!r}; `buildrunner history` lists them")
        return run_row(self.state, rows[0])

    def newest(self, key: str) -> RunRow | None:
        """The newest run of a target."""
        rows = self._query(f"SELECT {RUN_COLUMNS} FROM runs WHERE key = ? ORDER BY id DESC LIMIT 1", to_sql(key))
        return run_row(self.state, rows[0]) if rows else None

    def preloads(self, python: str, run: RunRow | None = None) -> Iterator[dict[str, Any]]:
        """What runs with a Python, or one run, found out about modules they imported for all scripts; newest first."""
        only = "" if run is None else "AND id = ?"
        rows = self._query(
            f"SELECT preloads FROM runs WHERE python = ? AND preloads IS NOT NULL {only} ORDER BY id DESC LIMIT 20",
            *([to_sql(python)] if run is None else [to_sql(python), run.id]),
        )
        for (text,) in rows:
            if isinstance(found := parsed(text), dict):
                yield found

    def files(self, run: RunRow) -> Iterator[str]:
        """Every job's file name."""
        for (file,) in self._rows("SELECT file FROM jobs WHERE run = ?", run.id):
            yield file

    def namesake(self, key: str) -> str | None:
        """The newest targets of the same names in other folders: where these may have been before they were moved."""
        names = [os.path.basename(path) for path in key.split("\n")]
        for run in self.runs():
            if run.key != key and [os.path.basename(path) for path in run.key.split("\n")] == names:
                return run.key.replace("\n", " ")
        return None

    def job_names(self, run: RunRow) -> Iterator[str]:
        """Every job's name."""
        for (name,) in self._rows("SELECT name FROM jobs WHERE run = ?", run.id):
            yield from_sql(name)

    def skipped_outputs(self, run: RunRow) -> list[tuple[str, str]]:
        """Job and path of everything the last attempts left that is no output file."""
        rows = self._query(
            "SELECT j.name, r.skipped FROM jobs j JOIN receipts r ON r.attempt = j.attempt "
            "WHERE j.run = ? AND r.skipped IS NOT NULL ORDER BY j.id",
            run.id,
        )
        with decoding("receipt"):
            return [(from_sql(name), path) for name, skipped in rows for path in json.loads(skipped)]

    def truncated(self, run: RunRow) -> list[str]:
        """The jobs of whose last attempts a log had its middle cut out."""
        rows = self._query(
            "SELECT j.name FROM jobs j JOIN receipts r ON r.attempt = j.attempt "
            "WHERE j.run = ? AND r.truncated IS NOT NULL ORDER BY j.id",
            run.id,
        )
        return [from_sql(name) for (name,) in rows]

    def results(self, run: RunRow) -> Iterator[ResultRow]:
        """Every job of a run, in the order in which they were added."""
        for row in self._rows(RESULTS + "ORDER BY j.id", run.id):
            yield result_row(row)

    def failures(self, run: RunRow) -> Iterator[ResultRow]:
        """The jobs of a run that failed, in the same order."""
        for row in self._rows(RESULTS + "AND j.state = 'failed' ORDER BY j.id", run.id):
            yield result_row(row)

    def slowest(self, run: RunRow, number: int) -> list[ResultRow]:
        """So many jobs that took longest, after those that failed; in the order in which they were added."""
        which = (
            "SELECT j.id FROM jobs j LEFT JOIN receipts r ON r.attempt = j.attempt WHERE j.run = ? "
            "ORDER BY j.state = 'failed' DESC, coalesce(r.seconds, 0) DESC, j.id LIMIT ?"
        )
        rows = self._rows(RESULTS + f"AND j.id IN ({which}) ORDER BY j.id", run.id, run.id, number)
        return [result_row(row) for row in rows]

    def result(self, run: RunRow, job: str) -> ResultRow:
        """One job by name, or by an unambiguous end of its name (`Prime.py` for `sub/Prime.py`)."""
        rows = self._query(RESULTS + "AND j.name = ?", run.id, to_sql(job))
        if not rows:
            close = self._ending_in(run, job)
            if len(close) == 1:
                return self.result(run, close[0])
            hint = self.near(run, job)
            raise UsageError(f"run {run.name} has no job '{display(job)}'{hint and '; ' + hint}")
        return result_row(rows[0])

    def near(self, run: RunRow, job: str) -> str:
        """Asks which job was meant by a name that none has, as it can be typed; empty when none is near it."""
        from difflib import get_close_matches

        near = [name for name in self.job_names(run) if display(name) == job]  # what is shown of it was typed
        near = near or self._ending_in(run, job) or get_close_matches(job, self.job_names(run), n=3)
        return "did you mean " + " or ".join(map(_typed, near[:3])) + "?" if near else ""

    def _ending_in(self, run: RunRow, job: str) -> list[str]:
        """The jobs whose name ends in this path, or whose file has this name without its suffix."""
        return [name for name in self.job_names(run) if name.endswith("/" + job) or bare(name) == job]

    def endings(self, job: ResultRow) -> Iterator[tuple[int, Outcome, int | None, int | None, float, int | None, bool]]:
        """How each attempt of a job ended: number, outcome, exit code, signal, seconds, worker, and if superseded."""
        for number, outcome, *rest, superseded in self._rows(
            "SELECT r.number, outcome, exit_code, signal, seconds, coalesce(r.worker, a.worker), superseded "
            "FROM receipts r LEFT JOIN attempts a ON a.id = r.attempt WHERE r.job = ? ORDER BY r.number",
            job.id,
        ):
            with decoding("receipt"):
                ending = Outcome(outcome)
            yield number, ending, *rest, bool(superseded)

    def started_before(self, run: RunRow, job: ResultRow) -> int:
        """How many attempts of the run that have ended were handed out before this job's last one."""
        rows = self._query(
            "SELECT count(*) FROM receipts r JOIN jobs j ON j.id = r.job WHERE j.run = ? "
            "AND r.attempt < (SELECT attempt FROM jobs WHERE id = ?)",
            run.id,
            job.id,
        )
        number: int = rows[0][0]
        return number

    def attempts(self, run: RunRow | None = None) -> Iterator[AttemptRow]:
        """Every attempt of a run, or of all runs, in the order of their ids, which is the order in which they began."""
        where, values = ("", ()) if run is None else ("WHERE j.run = ? ", (run.id,))
        for source in ("attempts", TAKEN_BACK):  # apart, so that neither needs to be sorted
            question = ATTEMPTS.format(source) + where + "ORDER BY a.id"
            for in_run, id_, number, superseded, *row in self._rows(question, *values):
                result = result_row(tuple(row))
                yield AttemptRow(run=in_run, id=id_, number=number, superseded=bool(superseded), result=result)

    def counts(self, run: RunRow) -> dict[JobState, int]:
        """How many jobs are in each state."""
        with self._asking():
            kept = figures.kept(self.db, run.id)
            return kept.states if kept else figures.states(self.db, run.id)

    def script_seconds(self, run: RunRow) -> tuple[float, float]:
        """The seconds of all attempts that ended by themselves or their limit, and those of the longest chain of jobs.

        What a stop or a worker's death cut off would not have been there, one after another.
        """
        with self._asking():
            kept = figures.kept(self.db, run.id)
            return (kept.seconds, kept.longest) if kept else figures.times(self.db, run.id)

    def busy(self, run: RunRow) -> list[tuple[int, float]]:
        """Seconds each worker of the run spent on scripts."""
        with self._asking():
            kept = figures.kept(self.db, run.id)
            spent = kept.busy if kept else figures.busy(self.db, run.id)
        return [(worker, spent.get(worker, 0.0)) for worker in range(max([run.workers, *(w + 1 for w in spent)]))]

    def last_end(self, run: RunRow) -> float | None:
        """When the last recorded attempt of the run ended (seconds since the epoch)."""
        rows = self._query(
            "SELECT max(r.started + r.seconds) FROM receipts r JOIN jobs j ON j.id = r.job WHERE j.run = ?",
            run.id,
        )
        end: float | None = rows[0][0]
        return end

    def running(self, run: RunRow) -> dict[str, str]:
        """Attempts that are recorded as running: id → job."""
        rows = self._query("SELECT attempt, name FROM jobs WHERE run = ? AND state = 'running'", run.id)
        return {attempt: from_sql(name) for attempt, name in rows}

    def spent(self, run: RunRow) -> dict[str, int]:
        """By job, how many ended attempts count against its retries; of jobs that are still to be decided."""
        return self._tries(run, f"r.outcome NOT IN ({_UNSPENT})")

    def losses(self, run: RunRow) -> dict[str, int]:
        """By job, how many attempts ended with their worker; of jobs that are still to be decided."""
        return self._tries(run, "r.outcome = 'lost'")

    def _tries(self, run: RunRow, which: str) -> dict[str, int]:
        """Attempts of such an outcome, without those after which the script had changed: that has had none yet."""
        found: dict[str, int] = {}
        for name, attempt, changed in self._rows(
            "SELECT j.name, r.attempt, j.changed FROM jobs j JOIN receipts r ON r.job = j.id "
            "WHERE j.run = ? AND j.state NOT IN ('passed', 'failed', 'skipped') AND NOT r.superseded "
            f"AND {which}",
            run.id,
        ):
            before = max((n.attempt for n in noted_from_json(changed) if n.decision == "rerun"), default="")
            if attempt > before:  # ids are in the order in which they were made
                found[from_sql(name)] = found.get(from_sql(name), 0) + 1
        return found

    def at_work(self, run: RunRow) -> dict[str, int]:
        """The job each worker is at: of those that lie with it, the one handed out first."""
        rows = self._query(
            "SELECT j.name, a.worker FROM jobs j JOIN attempts a ON a.id = j.attempt "
            "WHERE j.run = ? AND j.state = 'running' ORDER BY a.worker, a.id DESC",
            run.id,
        )
        first = {worker: from_sql(name) for name, worker in rows}
        return {name: worker for worker, name in first.items()}

    def states(self, run: RunRow) -> Iterator[tuple[str, JobState, float | None]]:
        """Every job's name, state, and the seconds of its current or last attempt, if that has ended."""
        for name, state, seconds in self._rows(
            "SELECT j.name, j.state, r.seconds FROM jobs j LEFT JOIN receipts r ON r.attempt = j.attempt "
            "WHERE j.run = ?",
            run.id,
        ):
            yield from_sql(name), JobState(state), seconds

    def dispatched(self, run: RunRow) -> dict[str, float]:
        """When the jobs that lie with workers were handed out, as `now` counts: their attempts' ids say it."""
        return {name: made_at(attempt) for attempt, name in self.running(run).items()}

    def past_seconds(
        self, key: str, args: tuple[str, ...], *, names: Collection[str] | None = None, until: int | None = None
    ) -> dict[str, list[float]]:
        """What each job of this target took with these arguments in its last few runs, newest first.

        Only the jobs in `names`, and only runs up to number `until`, if these are given. A run need not have had all
        jobs: shards and repetitions of what failed have few of them, so each job's own last times are looked for.
        """
        seen: dict[str, list[float]] = {}
        wanted = None if names is None else set(names)
        for run, mixed in self._query(
            "SELECT id, instr(options, '\"mixed_args\": true') FROM runs "
            "WHERE key = ? AND args = ? AND id <= coalesce(?, id) ORDER BY id DESC LIMIT ?",
            to_sql(key), json.dumps(args), until, _HISTORY_RUNS_AT_MOST,
        ):  # fmt: skip
            if wanted is not None and not wanted:
                break
            for name, seconds in self._seconds(run, wanted, args if mixed else None):
                times = seen.setdefault(name, [])
                if len(times) < _HISTORY_RUNS:
                    times.append(seconds)
                if wanted is not None and len(times) == _HISTORY_RUNS:
                    wanted.discard(name)
        return seen

    def recent_attempts(
        self, key: str, args: tuple[str, ...]
    ) -> Iterator[tuple[int, list[tuple[str, int, float, float]]]]:
        """Of each of the last few runs of this target with these arguments: how many workers it had, and its attempts.

        Of an attempt, in the order in which they began: job, worker, when it began (seconds since the epoch) and its
        seconds. Of many only the first are read.
        """
        for run, workers in self._query(
            "SELECT id, json_extract(options, '$.workers') FROM runs "
            "WHERE key = ? AND args = ? ORDER BY id DESC LIMIT ?",
            to_sql(key), json.dumps(args), _HISTORY_RUNS,
        ):  # fmt: skip
            rows = self._query(
                "SELECT j.name, r.worker, r.started, r.seconds FROM receipts r JOIN jobs j ON j.id = r.job "
                "WHERE j.run = ? AND r.worker IS NOT NULL AND r.started IS NOT NULL "
                "AND r.outcome NOT IN ('spawn_error', 'lost', 'cancelled') ORDER BY r.attempt LIMIT ?",
                run,
                _ATTEMPTS_OF_A_RUN,
            )
            yield workers, [(from_sql(name), *rest) for name, *rest in rows]

    def _seconds(
        self, run: int, names: Collection[str] | None, args: tuple[str, ...] | None
    ) -> Iterator[tuple[str, float]]:
        """What the jobs of one run took; of these names, or of all; with these arguments, or with any."""
        few = names is not None and len(names) <= _LOOKED_UP
        asked = [to_sql(name) for name in names or ()] if few else []
        only = f"AND j.name IN ({', '.join('?' * len(asked))})" if few else ""
        for key, seconds, spec, attempt, changed in self._query(
            "SELECT j.name, r.seconds, j.spec, j.attempt, j.changed "
            "FROM jobs j JOIN receipts r ON r.attempt = j.attempt "
            f"WHERE j.run = ? {only} AND r.outcome NOT IN ('spawn_error', 'lost', 'cancelled')",
            run,
            *asked,
        ):
            name = from_sql(key)
            if args is not None:
                is_of_others = tuple(json.loads(spec).get("args", ())) != args
                if is_of_others or any(n.attempt >= attempt for n in noted_from_json(changed) if n.decision == "rerun"):
                    continue
            if names is None or name in names:
                yield name, seconds

    def passed_last(self, key: str) -> set[str]:
        """The jobs of this target that passed the last time they were to run.

        By attempts, whose ids say when they began (a run that is resumed is not over when a later one begins); and no
        job that the newest run with it skipped, cancelled or left waiting, whatever became of it before.
        """
        rows = self._query(
            "SELECT j.name, j.state, max(j.attempt) FROM jobs j JOIN runs r ON r.id = j.run "
            "WHERE r.key = ? AND j.state IN ('passed', 'failed') GROUP BY j.name",
            to_sql(key),
        )
        open_ = self._query(
            "SELECT name FROM (SELECT j.name, j.state, max(j.id) FROM jobs j JOIN runs r ON r.id = j.run "
            "WHERE r.key = ? GROUP BY j.name) WHERE state NOT IN ('passed', 'failed')",
            to_sql(key),
        )
        return {from_sql(name) for name, state, _ in rows if state == "passed"} - {from_sql(name) for (name,) in open_}

    def _query(self, sql: str, *values: object) -> list[Any]:
        return list(self._rows(sql, *values))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """What SQLite has to complain of, and what nobody can have recorded, is a LedgerError."""
        try:
            with decoding():
                yield
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            raise self._unreadable(exc) from exc

    def _rows(self, sql: str, *values: object) -> Iterator[Any]:
        """Rows one by one; what SQLite has to complain of is a LedgerError."""
        try:
            # `yield from` would also close the cursor when nobody reads on, and by then the database may be closed.
            for row in self.db.execute(sql, values):  # noqa: UP028
                yield row
        except (sqlite3.Error, UnicodeDecodeError) as exc:  # the latter from a message about damaged text
            raise self._unreadable(exc) from exc

    def _unreadable(self, exc: Exception) -> LedgerError:
        return LedgerError(f"cannot read the ledger {self.state / store.DATABASE}: {exc}{store.damage_remedy(exc)}")


def _typed(name: str) -> str:
    """A job's name as it is typed: what a terminal would not show as it is, or a quote could end, in another way."""
    from buildrunner.reports.words import shell

    return f"'{name}'" if name.isprintable() and "'" not in name else shell([name])
