"""Receipts: what the worker builds is what the server reads, and a checksum tells any two of them apart."""

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from buildrunner.errors import ReceiptError
from buildrunner.job import Assignment, Outcome
from buildrunner.receipt import OutputFile, Receipt
from buildrunner.run.attempt import Slot

FULL = Receipt(
    attempt="0190-a",
    job="sub/a\udcff.py",
    number=2,
    worker=1,
    mode="cold",
    outcome=Outcome.EXITED,
    exit_code=3,
    signal=None,
    started=1_700_000_000.25,
    seconds=1.5,
    cpu_seconds=0.75,
    max_rss_bytes=10_000_000,
    outputs=(OutputFile(path="data/x\n.txt", size=3, sha256="ab" * 32),),
    skipped_outputs=("pipe",),
    error="said something",
    truncated=(("stdout", 1_000_000),),
    why_cold="it is no Python script",
)
CHANGED: dict[str, Any] = {
    "attempt": "0190-b",
    "job": "sub/a\udcfe.py",
    "number": 3,
    "worker": None,
    "mode": "warm",
    "outcome": Outcome.TIMED_OUT,
    "exit_code": None,
    "signal": 9,
    "started": 1_700_000_000.5,
    "seconds": 1.5000001,
    "cpu_seconds": 0.0,
    "max_rss_bytes": None,
    "outputs": (),
    "skipped_outputs": ("pipe", "socket"),
    "error": None,
    "truncated": (("stdout", 1_000_001),),
    "why_cold": None,
}


def to_wire(receipt: Receipt) -> tuple[Any, ...]:
    """As a worker would build it: plain values in the order of the fields."""
    values = {f.name: getattr(receipt, f.name) for f in fields(Receipt)}
    values["outcome"] = str(receipt.outcome)
    values["outputs"] = tuple((o.path, o.size, o.sha256) for o in receipt.outputs)
    return tuple(values.values())


def test_a_receipt_survives_the_wire() -> None:
    assert Receipt.from_wire(to_wire(FULL)) == FULL
    bare = Receipt(attempt="a", job="b", number=1, worker=0, mode="cold", outcome=Outcome.OK)
    assert Receipt.from_wire(to_wire(bare)) == bare


def test_every_field_is_changed_below() -> None:
    assert set(CHANGED) == {f.name for f in fields(Receipt)}


@pytest.mark.parametrize("field", CHANGED)
def test_the_checksum_changes_with_every_field(field: str) -> None:
    other = replace(FULL, **{field: CHANGED[field]})
    assert other != FULL
    assert other.checksum() != FULL.checksum()


@pytest.mark.parametrize("change", [{"path": "data/x.txt"}, {"size": 4}, {"sha256": "cd" * 32}], ids=str)
def test_the_checksum_changes_with_every_part_of_an_output(change: dict[str, Any]) -> None:
    other = replace(FULL, outputs=(replace(FULL.outputs[0], **change),))
    assert other.checksum() != FULL.checksum()


def test_the_checksum_depends_on_the_values_alone() -> None:
    assert FULL.checksum() == Receipt.from_wire(to_wire(FULL)).checksum()
    # Written out, so that a change of the canonical form is noticed: recorded checksums would no longer hold.
    r = Receipt(attempt="a", job="x.py", number=1, worker=0, mode="cold", outcome=Outcome.OK)
    canonical = b"('a', 'x.py', 1, 0, 'cold', 'ok', None, None, None, 0.0, 0.0, None, (), (), None)"
    assert r.checksum() == hashlib.sha256(canonical).hexdigest()


def test_a_whole_log_is_written_as_it_was_before_logs_could_be_cut() -> None:
    cut = replace(FULL, why_cold=None)
    assert cut.to_wire() == FULL.to_wire()[:-1]
    assert Receipt.from_wire(cut.to_wire()) == cut
    whole = replace(cut, truncated=())
    assert whole.to_wire() == FULL.to_wire()[:-2]
    assert Receipt.from_wire(whole.to_wire()) == whole


def test_only_ok_has_passed() -> None:
    assert [o for o in Outcome if replace(FULL, outcome=o).passed] == [Outcome.OK]


WIRE = to_wire(FULL)


@pytest.mark.parametrize(
    "values",
    [
        (),
        WIRE[:-3],
        (*WIRE[:-2], "stdout"),
        (*WIRE[:-1], 7),
        (*WIRE, None),
        (*WIRE[:5], "fine", *WIRE[6:]),
        (*WIRE[:5], None, *WIRE[6:]),
        (*WIRE[:5], ["ok"], *WIRE[6:]),
        (*WIRE[:12], (("path", 1),), *WIRE[13:]),
        (*WIRE[:12], 7, *WIRE[13:]),
        None,
        5,
        "receipt",
    ],
    ids=[
        "empty",
        "short",
        "no pairs",
        "no reason",
        "long",
        "outcome",
        "no-outcome",
        "list",
        "output",
        "outputs",
        "none",
        "number",
        "text",
    ],
)
def test_what_is_no_receipt_is_refused(values: Any) -> None:
    with pytest.raises(ReceiptError, match="no receipt"):
        Receipt.from_wire(values)


# What a worker's slot really hands back.


@pytest.fixture
def slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slot]:
    monkeypatch.chdir(tmp_path)
    for folder in ("logs", "files"):
        (tmp_path / folder).mkdir()
    reader, writer = os.pipe()

    def nobody_speaks() -> None:
        raise AssertionError("nothing was sent")

    slot = Slot(reader, {"PATH": os.defpath}, str(tmp_path / "files/.ready"), 4, nobody_speaks)
    yield slot
    slot.close()
    for fd in (slot.home, reader, writer):
        os.close(fd)


@pytest.fixture
def run(slot: Slot, tmp_path: Path) -> Callable[..., Receipt]:
    def run(source: str, *, argv: tuple[str, ...] | None = None, cwd: str | None = None, **change: Any) -> Receipt:
        values = {
            "attempt": "id",
            "job": "a.py",
            "number": 2,
            "argv": argv or (sys.executable, "-I", "-S", "-c", source),
            "cwd": cwd,
            "env": (("OUT", str(tmp_path / "files/a.py")),),
            "stdout": str(tmp_path / "logs/a.py.out"),
            "stderr": str(tmp_path / "logs/a.py.err"),
            "output_dir": str(tmp_path / "files/a.py"),
            "timeout": None,
            "grace": 0.0,
        }
        wire = slot.run(Assignment(**{**values, **change}).to_wire())  # type: ignore[arg-type]
        assert len(wire) == len(fields(Receipt)) - 2  # nothing was truncated, and everything is cold
        return Receipt.from_wire(wire)

    return run


def test_a_script_that_passes(run: Callable[..., Receipt], tmp_path: Path) -> None:
    r = run("print('hello')")
    assert (r.attempt, r.job, r.number, r.worker, r.mode) == ("id", "a.py", 2, 4, "cold")
    assert (r.outcome, r.exit_code, r.signal, r.error) == (Outcome.OK, 0, None, None)
    assert r.started is not None
    assert r.started > 1_700_000_000
    assert r.seconds > 0
    assert (r.outputs, r.skipped_outputs) == ((), ())
    assert (tmp_path / "logs/a.py.out").read_bytes() == b"hello\n"
    assert not (tmp_path / "files/a.py").exists()


def test_a_script_that_fails(run: Callable[..., Receipt], tmp_path: Path) -> None:
    r = run("raise SystemExit('no')")
    assert (r.outcome, r.exit_code, r.signal, r.error) == (Outcome.EXITED, 1, None, None)
    assert (tmp_path / "logs/a.py.err").read_bytes() == b"no\n"


def test_a_script_that_a_signal_ends(run: Callable[..., Receipt]) -> None:
    r = run(f"import os; os.kill(os.getpid(), {int(signal.SIGUSR1)})")
    assert (r.outcome, r.exit_code, r.signal) == (Outcome.SIGNALLED, None, signal.SIGUSR1)


def test_a_script_that_takes_too_long(run: Callable[..., Receipt]) -> None:
    r = run("import time; time.sleep(600)", timeout=0.2)
    assert (r.outcome, r.exit_code, r.signal) == (Outcome.TIMED_OUT, None, signal.SIGKILL)


def test_a_program_that_is_not_there(run: Callable[..., Receipt]) -> None:
    for argv in (("/nowhere/python", "a.py"), ("no-such-program",)):
        r = run("", argv=argv)
        assert (r.outcome, r.exit_code, r.signal) == (Outcome.SPAWN_ERROR, None, None)
        assert r.error is not None
        assert argv[0] in r.error


def test_a_working_directory_that_is_not_there(run: Callable[..., Receipt]) -> None:
    r = run("", cwd="/nowhere/at/all")
    assert r.outcome is Outcome.SPAWN_ERROR
    assert r.error is not None
    assert "/nowhere/at/all is missing" in r.error


def test_what_a_script_leaves_is_hashed(run: Callable[..., Receipt]) -> None:
    r = run(
        "import os; os.chdir(os.environ['OUT']); os.mkdir('sub'); os.mkdir('empty')\n"
        "open('sub/b', 'wb').write(b'two'); open(b'\\xff', 'wb').close(); os.mkfifo('pipe')\n"
        "os.symlink('sub/b', 'link')"
    )
    assert r.outcome is Outcome.OK
    assert r.outputs == (
        OutputFile(path="sub/b", size=3, sha256=hashlib.sha256(b"two").hexdigest()),
        OutputFile(path="\udcff", size=0, sha256=hashlib.sha256(b"").hexdigest()),
    )
    assert r.skipped_outputs == ("link", "pipe")


def test_a_folder_somebody_filled_is_not_given_to_a_script(run: Callable[..., Receipt], tmp_path: Path) -> None:
    (tmp_path / "files/a.py").mkdir()
    (tmp_path / "files/a.py/old").write_text("old")
    r = run("pass")
    assert r.outcome is Outcome.SPAWN_ERROR
    assert r.error is not None
    assert "files/a.py cannot be made" in r.error
    assert (tmp_path / "files/a.py/old").read_text() == "old"


def test_one_slot_runs_one_attempt_after_another(run: Callable[..., Receipt], tmp_path: Path) -> None:
    assert run("import time; time.sleep(600)", timeout=0.1).outcome is Outcome.TIMED_OUT
    assert run("", argv=("no-such-program",)).outcome is Outcome.SPAWN_ERROR
    assert run("pass", cwd="/").outcome is Outcome.OK
    assert run("import os; raise SystemExit(os.getcwd() != " + repr(str(tmp_path)) + ")").outcome is Outcome.OK
