"""Every prefix of what the writer writes to its files opens, and holds what was acknowledged before it.

The writes are recorded by strace from a process that uses the ledger as a server does, with small checkpoints so that
they happen often; after each commit it writes down what was committed. Then the files are built up again, write by
write, as a kill at that moment leaves them: the last write whole, or torn in the middle.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from buildrunner.ledger.check import check
from tests.conftest import ROOT

pytestmark = pytest.mark.fault

WRITER = """
import json, os, sys
from pathlib import Path
from buildrunner.job import Attempt, JobSpec, JobState, Outcome
from buildrunner.ledger import Ledger
from buildrunner.receipt import OutputFile, Receipt

state, rounds = Path(sys.argv[1]), int(sys.argv[2])
acknowledged = os.open(state.with_name("acknowledged"), os.O_WRONLY | os.O_CREAT)

def acknowledge(*what):
    os.write(acknowledged, json.dumps(what).encode())

for opening in range(2):
    with Ledger(state, purpose="a test") as ledger:
        ledger.db.execute("PRAGMA wal_autocheckpoint = 15")
        for number in range(rounds):
            name = f"run-{opening}-{number}"
            specs = [(JobSpec(name=f"{n}.py"), f"{n}.py") for n in range(4)]
            run = ledger.add_run(name=name, target="t", key="/t", args=(), options={"workers": 1}, jobs=1, python="p",
                                 started=1.0, specs=specs)
            acknowledge("run", name)
            for job, id_ in ledger.job_ids(run).items():
                attempt = f"{name}-{job}"
                with ledger.transaction():
                    ledger.start(id_, Attempt(id=attempt, job=job, number=1, worker=0), "ab" * 32)
                acknowledge("attempt", attempt)
                outputs = tuple(OutputFile(path=f"{n}", size=n, sha256="cd" * 32) for n in range(80 * (id_ % 2)))
                receipt = Receipt(attempt=attempt, job=job, number=1, worker=0, mode="cold", outcome=Outcome.OK,
                                  outputs=outputs)
                with ledger.transaction():
                    assert ledger.record(id_, receipt, JobState.PASSED)
                acknowledge("receipt", attempt)
            ledger.set_run(run, state="finished", finished=2.0, wall=1.0, session=None, exit_code=0)
            acknowledge("finished", name)
        if opening:
            forgotten = [row.name for row in ledger.runs()][2:]
            acknowledge("forgetting", *forgotten)
            ledger.forget(2)
            acknowledge("forgotten", *forgotten)
"""
_CALL = re.compile(r'(\w+)\((?:\d+<(?P<path>[^>]*)>|"(?P<name>[^"]*)")(?:, )?(?P<rest>.*)\) += (?P<result>-?\d+)')


@dataclass(frozen=True)
class Event:
    """A write, a truncation or a removal of a file of the ledger; or an acknowledgement."""

    call: str
    file: str
    data: bytes = b""
    offset: int = 0


def recorded(folder: Path, rounds: int) -> list[Event]:
    """What the writer did, in order."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    log, state = folder / "log", folder / "state"
    words = [strace, "-y", "-xx", "-s", "70000", "-e", "trace=pwrite64,write,ftruncate,unlink", "-o", str(log)]
    words += [sys.executable, "-c", WRITER, str(state), str(rounds)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=100)
    if b"PTRACE" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.decode()}")
    assert done.returncode == 0, done.stderr.decode()
    return list(_events(log))


def _events(log: Path) -> Iterator[Event]:
    for line in log.read_text().splitlines():
        if found := _CALL.match(line):
            call, file = found[1], os.path.basename(_text(found["path"] or found["name"]))
            if int(found["result"]) < 0 or not file.startswith(("ledger.db", "acknowledged")) or file.endswith("-shm"):
                continue
            if call == "ftruncate":
                yield Event(call, file, offset=int(found["rest"], 0))
            elif call == "unlink":
                yield Event(call, file)
            else:
                data, _, numbers = found["rest"].removeprefix('"').partition('"')
                offset = int(numbers.split(", ")[2]) if call == "pwrite64" else 0
                yield Event(call, file, bytes.fromhex(data.replace("\\x", "")), offset)


def _text(path: str) -> str:
    return bytes.fromhex(path.replace("\\x", "")).decode() if path.startswith("\\x") else path


class Replay:
    """The files after a number of events, and what was acknowledged by then."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.acknowledged: list[list[str]] = []

    def do(self, event: Event) -> None:
        if event.file == "acknowledged":
            self.acknowledged.append(json.loads(event.data))
        elif event.call == "unlink":
            self.files.pop(event.file, None)
        elif event.call == "ftruncate":
            data = self.files.setdefault(event.file, bytearray())
            data[event.offset :] = bytes(max(0, event.offset - len(data)))
        else:
            self.files[event.file] = written(self.files.get(event.file, bytearray()), event, len(event.data))

    def put(self, folder: Path, torn: Event | None) -> None:
        """Write the files out, with half of what comes next."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        files: dict[str, bytes | bytearray] = dict(self.files)
        if torn and torn.data:
            files[torn.file] = written(bytearray(files.get(torn.file, b"")), torn, len(torn.data) // 2)
        for name, data in files.items():
            (folder / name).write_bytes(data)

    def require(self, folder: Path) -> None:
        """All that was acknowledged is there, and whole."""
        db = sqlite3.connect(folder / "ledger.db")
        try:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            if not self.acknowledged:
                return
            runs = dict(db.execute("SELECT name, state FROM runs"))
            attempts = {id_ for (id_,) in db.execute("SELECT id FROM attempts")}
            passed = {id_ for (id_,) in db.execute("SELECT r.attempt FROM receipts r JOIN jobs j ON j.id = r.job "
                                                   "WHERE j.state = 'passed' AND j.attempt = r.attempt")}  # fmt: skip
        finally:
            db.close()
        going = {name for kind, *names in self.acknowledged if kind == "forgetting" for name in names}
        gone = {name for kind, *names in self.acknowledged if kind == "forgotten" for name in names}
        assert not gone & runs.keys()
        for kind, *names in self.acknowledged:
            for name in names:
                if any(name.startswith(run) for run in going):
                    continue
                if kind in ("run", "finished"):
                    assert name in runs, name
                    assert kind == "run" or runs[name] == "finished", name
                elif kind in ("attempt", "receipt"):
                    assert name in (attempts if kind == "attempt" else passed), name


def written(data: bytearray, event: Event, length: int) -> bytearray:
    after = bytearray(data)
    after += bytes(max(0, event.offset - len(after)))
    after[event.offset : event.offset + length] = event.data[:length]
    return after


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of ledgers are written here."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="trace-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


def replay(events: list[Event], folder: Path, *, every: int) -> int:
    """Require it of every so many prefixes; how many that were."""
    now, looked = Replay(), 0
    for index, event in enumerate(events):
        if index % every == 0 and event.file != "acknowledged":
            for torn in (None, event):
                now.put(folder, torn)
                try:
                    now.require(folder)
                except (AssertionError, sqlite3.Error) as exc:
                    raise AssertionError(f"after {index} of {len(events)} events, torn: {torn is not None}") from exc
                looked += 1
        now.do(event)
    now.put(folder, None)
    now.require(folder)
    assert len(now.acknowledged) > 10
    assert check(folder).problems == ()
    return looked


def test_s12_prefixes_of_the_write_trace_hold_what_was_acknowledged(memory: Path) -> None:
    events = recorded(memory, 2)
    assert {event.call for event in events} == {"pwrite64", "write", "ftruncate", "unlink"}
    assert {"ledger.db", "ledger.db-wal", "ledger.db-journal"} <= {event.file for event in events}
    assert replay(events, memory / "replayed", every=max(1, len(events) // 130)) > 100


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_s12_every_prefix_of_the_write_trace_holds_what_was_acknowledged(memory: Path) -> None:
    events = recorded(memory, 8)
    print(len(events), "events,", replay(events, memory / "replayed", every=1), "prefixes")


def test_s12_a_write_that_is_left_out_is_noticed(memory: Path) -> None:
    """The look itself: where a write to the log did not happen, something acknowledged is missing."""
    events = recorded(memory, 1)
    logged = [index for index, event in enumerate(events) if event.file == "ledger.db-wal" and event.data]
    left_out = logged[len(logged) // 2]
    with pytest.raises(AssertionError):
        replay(events[:left_out] + events[left_out + 1 :], memory / "replayed", every=5)
