"""What can be seen from outside of a run: the scripts' own witness, the events, the ledger's file, and /proc.

None of it is asked of the program: the ledger is copied and read with plain SQL.
"""

import json
import os
import shutil
import sqlite3
import tempfile
from ast import literal_eval
from binascii import crc32
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "KILL_POINT"
"""Environment variable that everything started for a point inherits; its value is the point's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A run in the ledger's file at one moment: its row, its jobs by name, its receipts and attempts by attempt."""

    run: dict[str, Any]
    jobs: dict[str, dict[str, Any]]
    receipts: dict[str, dict[str, Any]]
    attempts: dict[str, dict[str, Any]]

    def counting(self, job: str) -> list[dict[str, Any]]:
        """The receipts of a job that are not superseded."""
        return [r for r in self.receipts.values() if r["job_name"] == job and not r["superseded"]]


def read_ledger(state: Path, *, but: frozenset[str] = frozenset(), live: bool = False) -> Recorded | None:
    """The newest run whose name is not in `but`; None when there is none.

    It is read from a copy, so that looking changes nothing; while somebody writes it (`live`), from the file itself.
    """
    if not (state / "ledger.db").exists():
        return None
    if live and (state / "ledger.db-journal").exists():
        return None  # it is being made, or its making was cut off: nothing is recorded yet, and writers undo it
    with tempfile.TemporaryDirectory(prefix="ledger-") as place:
        for end in (
            () if live else ("", "-wal", "-journal")
        ):  # never the -shm: what is not in these two is not on the disk
            with suppress(FileNotFoundError):
                shutil.copyfile(state / f"ledger.db{end}", f"{place}/ledger.db{end}")
        path = state / "ledger.db" if live else f"{place}/ledger.db"
        with closing(sqlite3.connect(f"file:{path}?mode={'ro' if live else 'rw'}", uri=True, timeout=60.0)) as db:
            db.execute("BEGIN")
            db.row_factory = sqlite3.Row

            def rows(sql: str, *values: object) -> list[dict[str, Any]]:
                return [dict(row) for row in db.execute(sql, values)]

            if not rows("SELECT 1 FROM sqlite_master WHERE name = 'runs'"):
                return None  # killed before the first migration
            runs = [run for run in rows("SELECT * FROM runs ORDER BY id DESC") if run["name"] not in but]
            if not runs:
                return None
            run = runs[0]
            of_run = "JOIN jobs j ON j.id = x.job WHERE j.run = ?"
            return Recorded(
                run=run,
                jobs={job["name"]: job for job in rows("SELECT * FROM jobs WHERE run = ?", run["id"])},
                receipts={
                    receipt["attempt"]: receipt
                    for receipt in rows(f"SELECT x.*, j.name job_name FROM receipts x {of_run}", run["id"])
                },
                attempts={
                    attempt["id"]: attempt
                    for attempt in rows(f"SELECT x.*, j.name job_name FROM attempts x {of_run}", run["id"])
                },
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a script's witness."""

    word: str
    attempt: str
    pid: int


def read_witness(folder: Path) -> dict[str, list[Line]]:
    """What the scripts wrote, by job. Whoever was killed may have left half a line; it counts for nothing."""
    found = {}
    for path in folder.iterdir():
        lines = [line.split() for line in path.read_text().splitlines()]
        found[path.name] = [Line(word=w[0], attempt=w[1], pid=int(w[2])) for w in lines if len(w) == 3]
    return found


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events told so far; a line that was cut off counts for nothing."""
    told = []
    with suppress(FileNotFoundError):
        for line in path.read_bytes().split(b"\n")[:-1]:
            with suppress(ValueError):
                told.append(json.loads(line))
    return told


def read_journals(folder: Path) -> dict[str, str]:
    """The attempts whose receipts lie in journals, with their outcomes. A line that was cut off is the last."""
    found = {}
    for path in folder.glob("*/*.journal"):
        for line in path.read_bytes().splitlines(keepends=True):
            checksum, _, payload = line.partition(b" ")
            if not payload.endswith(b"\n") or int(checksum, 16) != crc32(payload[:-1]):
                break
            values = literal_eval(payload.decode())
            if values[0] == "end":
                found[values[1][0]] = values[1][5]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A living process of a point; `attempt` is empty for one of the program's own."""

    pid: int
    command: str
    attempt: str
    session: int


def processes(folder: Path) -> list[Process]:
    """All that live and carry the point's mark, or have their working directory in its folder. Zombies do not live."""
    mark, place = f"{MARK}={folder}".encode(), str(folder)
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with suppress(OSError):
            where = os.readlink(f"/proc/{entry}/cwd")
            environ = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
            if mark not in environ and where != place and not where.startswith(place + "/"):
                continue
            stat = Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()
            if stat[0] in (b"Z", b"X"):
                continue
            attempts = [e.partition(b"=")[2].decode() for e in environ if e.startswith(b"BUILDRUNNER_ATTEMPT_ID=")]
            command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found.append(
                Process(pid=int(entry), command=command.strip(), attempt="".join(attempts), session=int(stat[3]))
            )
    return found
