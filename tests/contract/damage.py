"""A ledger in which everything occurs that a ledger can hold, what it says, and ways to damage its files."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildrunner.job import Attempt, JobSpec, JobState, Outcome
from buildrunner.ledger import Ledger, Reader, RunRow, store
from buildrunner.naming import file_names
from buildrunner.receipt import OutputFile, Receipt
from buildrunner.run.wire import journal_line

PAGE = 4096
NAMES = ("a.py", "b.py", "sub/c.py", "\udcff.py", "never.py", *(f"job-{n:02}.py" for n in range(20)))
MANY = tuple(OutputFile(path=f"out/{n:04}", size=n, sha256=f"{n:064x}") for n in range(120))  # more than a page holds


def attempt_id(run: int, job: int, number: int) -> str:
    return f"01900000-0000-7{run:03x}-8{number:03x}-{job:012x}"


class Writing:
    """Writes runs into an open ledger."""

    def __init__(self, ledger: Ledger, name: str, number: int, *, started: float = 1_700_000_000.0) -> None:
        self.ledger, self.number = ledger, number
        files = file_names(NAMES)
        self.run: RunRow = ledger.add_run(
            name=name, target="src", key="/src", args=("-x",), jobs=2, python="/usr/bin/python3", started=started,
            options={"workers": 2, "output": "out", "directory": "/", "state": ".buildrunner", "zip": None},
            specs=((JobSpec(name=n, command=("python",), script=f"src/{n}", retries=1), files[n]) for n in NAMES),
        )  # fmt: skip
        self.ids = ledger.job_ids(self.run)
        self.journal: list[bytes] = []  # what a worker wrote of the attempts that started

    def start(self, name: str, number: int = 1) -> str:
        attempt = Attempt(id=attempt_id(self.number, self.ids[name], number), job=name, number=number, worker=1)
        with self.ledger.transaction():
            self.ledger.start(self.ids[name], attempt, "ab" * 32)
        return attempt.id

    def receipt(self, name: str, number: int, outcome: Outcome, **change: Any) -> Receipt:
        values = {"worker": 1, "mode": "cold", "started": 2.5, "seconds": 1.0, "cpu_seconds": 0.25, **change}
        attempt = attempt_id(self.number, self.ids[name], number)
        return Receipt(attempt=attempt, job=name, number=number, outcome=outcome, **values)

    def end(self, name: str, number: int, outcome: Outcome, state: JobState, **change: Any) -> None:
        self.start(name, number)
        with self.ledger.transaction():
            receipt = self.receipt(name, number, outcome, **change)
            assert self.ledger.record(self.ids[name], receipt, state, lost=int(outcome is Outcome.LOST))
        self.journal.append(journal_line(("start", receipt.attempt, name, 2.5)))
        self.journal.append(journal_line(("end", receipt.to_wire())))

    def endings(self) -> None:
        """All kinds of them."""
        passed, failed, ready = JobState.PASSED, JobState.FAILED, JobState.READY
        self.end("a.py", 1, Outcome.OK, passed, outputs=MANY, exit_code=0)
        self.end("b.py", 1, Outcome.LOST, ready, worker=None, error="its worker died")
        self.end("b.py", 2, Outcome.EXITED, failed, exit_code=7, skipped_outputs=("pipe\udcfe", "d"))
        self.end("sub/c.py", 1, Outcome.TIMED_OUT, ready, signal=9, max_rss_bytes=4096, error="e\udcff")
        self.end("sub/c.py", 2, Outcome.OK, passed, outputs=(OutputFile(path="x\udcff", size=3, sha256="ab"),))
        self.end("\udcff.py", 1, Outcome.SPAWN_ERROR, failed, error="cannot start")
        with self.ledger.transaction():  # of an attempt that was taken back
            late = Receipt(
                attempt=f"late-{self.number}", job="a.py", number=1, worker=0, mode="cold", outcome=Outcome.OK
            )
            self.ledger.record(self.ids["a.py"], late, passed)
        for n in range(12):
            self.end(f"job-{n:02}.py", 1, Outcome.OK, passed, seconds=n / 8, exit_code=0)

    def finish(self) -> None:
        left = [self.ids[name] for name in NAMES if name == "never.py" or "job-99" > name >= "job-12"]
        with self.ledger.transaction():
            self.ledger.set_states(left, JobState.SKIPPED, "not started: a script failed")
        self.ledger.set_run(self.run, state="finished", finished=9.0, wall=7.5, session=None, exit_code=1,
                            archive={"path": "result.zip", "sha256": "ab" * 32, "files": 3})  # fmt: skip


def make(state: Path, files: Path) -> None:
    """A ledger with a forgotten run, a finished one and one whose server is killed; its files then are in `files`."""
    with Ledger(state, purpose="a test") as ledger:
        ledger.db.execute("PRAGMA secure_delete = OFF")  # what is deleted stays in the file, as it does in most places
        for number, name in enumerate(("r-forgotten", "r-forgotten-2", "r-older", "r-finished"), start=1):
            writing = Writing(ledger, name, number)
            writing.endings()
            writing.finish()
        ledger.forget(2)
        ledger.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writing = Writing(ledger, "r-killed", 5)
        writing.endings()
        for name in ("job-12.py", "job-13.py", "job-14.py"):
            writing.start(name)
        journals = state / "runs" / "r-killed"
        journals.mkdir(parents=True)
        ended = writing.receipt("job-12.py", 1, Outcome.OK, outputs=MANY[:3], exit_code=0)
        (journals / "0.journal").write_bytes(
            b"".join(writing.journal)
            + journal_line(("start", ended.attempt, ended.job, 2.5))
            + journal_line(("end", ended.to_wire()))
            + journal_line(("start", attempt_id(5, writing.ids["job-13.py"], 1), "job-13.py", 3.5))
        )
        shutil.copytree(state, files)
    shutil.rmtree(state)


def older(files: Path, version: int) -> Path:
    """A ledger as an older version left it."""
    files.mkdir()
    db = store.new_database(str(files / store.DATABASE), version=version)
    db.execute("PRAGMA application_id = 0")
    db.execute("PRAGMA journal_mode = WAL")
    columns = "id, name, state, target, key, args, options, jobs, python, started, finished, wall, exit_code"
    values = (1, "r-old", "finished", "t", "/t", "[]", '{"workers": 1}', 1, "p", 1.0, 2.0, 1.0, 0)
    db.execute(f"INSERT INTO runs ({columns}) VALUES ({', '.join('?' * len(values))})", values)
    db.execute(
        "INSERT INTO jobs (id, run, name, file, spec, state, attempt, attempts) VALUES "
        "(1, 1, 'a.py', 'a.py', '{}', 'passed', 'at-1', 1)"
    )
    db.execute(
        "INSERT INTO jobs (id, run, name, file, spec, state, error) VALUES "
        "(2, 1, 'b.py', 'b.py', '{}', 'skipped', 'why')"
    )
    db.execute("INSERT INTO attempts (id, job, number, worker) VALUES ('at-1', 1, 1, 0)")
    receipt = Receipt(attempt="at-1", job="a.py", number=1, worker=0, mode="cold", outcome=Outcome.OK, exit_code=0)
    columns = "attempt, job, number, worker, mode, outcome, exit_code, seconds, cpu_seconds, checksum"
    row = ("at-1", 1, 1, 0, "cold", "ok", 0, 0.0, 0.0, receipt.checksum())
    db.execute(f"INSERT INTO receipts ({columns}) VALUES ({', '.join('?' * len(row))})", row)
    db.close()
    return files


def everything(state: Path) -> dict[str, Any]:
    """All that the record says, by table and key, also when it lacks a run there was. Raises LedgerError."""
    reader = Reader(state, store.open_reader(state))
    reader.db.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")  # damaged text too
    try:
        store.refuse_damaged(reader.db, state / store.DATABASE)
        return {
            table: {row[0]: row for row in reader.db.execute(f"SELECT * FROM {table}")}
            for table in ("runs", "jobs", "attempts", "receipts")
        }
    finally:
        reader.close()


def checkpointed(files: Path) -> None:
    """Merge the log into the database, and leave none."""
    db = sqlite3.connect(files / store.DATABASE)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    db.close()


# damage


@dataclass(frozen=True)
class Damage:
    """One random change of a ledger's files; the same for the same seed."""

    seed: int

    def do(self, files: Path) -> str:
        """Do it, and say what was done."""
        chance = random.Random(self.seed)
        name, change = chance.choice(_CHANGES)
        candidates = [path for path in sorted(files.rglob(name)) if path.stat().st_size]
        if not candidates:
            return "nothing to damage"
        path = chance.choice(candidates)
        data = bytearray(path.read_bytes())
        path.write_bytes(change(chance, data))
        return f"{change.__name__} in {path.name}"


def flip_bits(chance: random.Random, data: bytearray) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 2, 8, 64))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def flip_near_the_start(chance: random.Random, data: bytearray) -> bytes:
    data[chance.randrange(min(len(data), 120))] ^= 1 << chance.randrange(8)
    return bytes(data)


def zero_a_block(chance: random.Random, data: bytearray) -> bytes:
    size = chance.choice((16, 512, PAGE))
    start = chance.randrange(len(data)) // size * size
    data[start : start + size] = bytes(len(data[start : start + size]))
    return bytes(data)


def truncate(chance: random.Random, data: bytearray) -> bytes:
    return bytes(data[: chance.randrange(len(data))])


def swap_pages(chance: random.Random, data: bytearray) -> bytes:
    one, two = (PAGE * chance.randrange(max(1, len(data) // PAGE)) for _ in range(2))
    data[one : one + PAGE], data[two : two + PAGE] = data[two : two + PAGE], data[one : one + PAGE]
    return bytes(data)


def duplicate_a_page(chance: random.Random, data: bytearray) -> bytes:
    one, two = (PAGE * chance.randrange(max(1, len(data) // PAGE)) for _ in range(2))
    data[one : one + PAGE] = data[two : two + PAGE]
    return bytes(data)


def garbage(chance: random.Random, data: bytearray) -> bytes:
    start = chance.randrange(len(data))
    size = chance.choice((1, 20, 500, PAGE, len(data)))
    data[start : start + size] = chance.randbytes(len(data[start : start + size]))
    return bytes(data)


def append(chance: random.Random, data: bytearray) -> bytes:
    return bytes(data) + chance.randbytes(chance.choice((1, 100, PAGE)))


_ANYWHERE = (flip_bits, zero_a_block, truncate, garbage, append)
_CHANGES: tuple[tuple[str, Callable[[random.Random, bytearray], bytes]], ...] = (
    *((store.DATABASE, change) for change in (*_ANYWHERE, flip_bits, flip_near_the_start)),
    *((store.DATABASE, change) for change in (swap_pages, duplicate_a_page)),
    *((store.DATABASE + "-wal", change) for change in (*_ANYWHERE, flip_near_the_start)),
    (store.DATABASE + "-shm", garbage),
    ("*.journal", flip_bits),
    ("*.journal", truncate),
)
