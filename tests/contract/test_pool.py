"""The pool with real workers: what it does with work that lies ahead of them."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from buildrunner.job import Assignment, Outcome
from buildrunner.pool import PoolEvent, Received, Returned, WorkerPool
from buildrunner.receipt import Receipt

LONG = 1000.0  # seconds


def hello(worker: int, folder: Path) -> dict[str, Any]:
    """What a worker is told whose scripts run in this folder."""
    return {"env": dict(os.environ), "cwd": str(folder), "ready": str(folder / f"ready-{worker}")}


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[WorkerPool]:
    """Two workers whose scripts run in `tmp_path`."""
    pool = WorkerPool(2, folder=str(tmp_path), hello=lambda worker: hello(worker, tmp_path))
    pool.start()
    yield pool
    pool.stop(0)
    pool.close()


@pytest.fixture
def waiting(tmp_path: Path) -> Callable[[str], Assignment]:
    """Makes assignments that end when their gate, a file of the attempt's name, is there."""

    def make(attempt: str) -> Assignment:
        script = f"until [ -e {attempt}.gate ]; do sleep 0.02; done"
        return Assignment(
            attempt=attempt,
            job=attempt,
            number=1,
            argv=("/bin/sh", "-c", script),
            cwd=None,
            env=(("BUILDRUNNER_ATTEMPT_ID", attempt),),
            stdout=f"{attempt}.out",
            stderr=f"{attempt}.err",
            output_dir=f"{attempt}.dir",
            timeout=300,
            grace=0.0,
        )

    return make


@pytest.fixture
def next_event(pool: WorkerPool) -> Callable[[], Any]:
    """Waits for the pool's next event."""
    came: deque[PoolEvent] = deque()

    def next_event() -> Any:
        for _ in range(1000):
            if came:
                return came.popleft()
            came.extend(pool.wait(60.0))
        pytest.fail("nothing happens")

    return next_event


def test_nothing_is_fetched_back_while_all_are_busy(
    pool: WorkerPool, waiting: Callable[[str], Assignment], next_event: Callable[[], Any], tmp_path: Path
) -> None:
    pool.send(0, [waiting("a1"), waiting("a2"), waiting("a3")])
    pool.send(1, [waiting("b1")])
    left = pool.recall_stalled(LONG)
    assert left is not None
    assert LONG / 2 < left <= LONG
    (tmp_path / "a1.gate").touch()
    (tmp_path / "a2.gate").touch()
    assert next_event().receipt.attempt == "a1"
    assert next_event().receipt.attempt == "a2"
    assert (pool.outstanding(0), pool.outstanding(1)) == (1, 1)


def test_what_lies_ahead_is_fetched_back_for_a_worker_that_has_nothing_to_do(
    pool: WorkerPool, waiting: Callable[[str], Assignment], next_event: Callable[[], Any], tmp_path: Path
) -> None:
    pool.send(0, [waiting("a1"), waiting("a2"), waiting("a3")])
    pool.send(1, [waiting("b1")])
    (tmp_path / "b1.gate").touch()
    assert next_event().receipt.attempt == "b1"
    assert pool.recall_stalled(LONG) is None
    assert next_event().attempts == ("a2", "a3")
    assert (pool.outstanding(0), pool.outstanding(1)) == (1, 0)
    assert pool.stalled(0)
    pool.send(1, [waiting("a2")])
    (tmp_path / "a2.gate").touch()
    assert next_event().receipt.attempt == "a2"


def test_what_lies_behind_a_long_attempt_is_fetched_back(
    pool: WorkerPool, waiting: Callable[[str], Assignment], next_event: Callable[[], Any]
) -> None:
    pool.send(0, [waiting("a1"), waiting("a2")])
    pool.send(1, [waiting("b1")])
    while (left := pool.recall_stalled(0.1)) is not None:
        assert pool.wait(left) == []
    assert next_event().attempts == ("a2",)


def test_one_attempt_is_ended_and_the_others_are_not(
    pool: WorkerPool, waiting: Callable[[str], Assignment], next_event: Callable[[], Any], tmp_path: Path
) -> None:
    pool.send(0, [waiting("a1"), waiting("a2"), waiting("a3")])
    pool.send(1, [waiting("b1")])
    pool.end("a2", 5.0)
    assert next_event().attempts == ("a2",)
    pool.end("a2", 5.0)  # it is nowhere any more
    pool.end("a1", 0.0)
    receipt = next_event().receipt
    assert (receipt.attempt, receipt.outcome, receipt.signal) == ("a1", Outcome.CANCELLED, signal.SIGKILL)
    for attempt in ("a3", "b1"):
        (tmp_path / f"{attempt}.gate").touch()
        receipt = next_event().receipt
        assert (receipt.attempt, receipt.outcome) == (attempt, Outcome.OK)


def test_an_attempt_that_ended_by_itself_before_it_could_be_ended_counts_as_what_it_was(
    pool: WorkerPool,
    waiting: Callable[[str], Assignment],
    next_event: Callable[[], Any],
    tmp_path: Path,
    wait_until: Any,
) -> None:
    """Its worker is stopped, and reads the request before it learns of the script's end."""
    pool.send(0, [waiting("a1")])
    worker = pool._workers[0].pid
    children = Path(f"/proc/{worker}/task/{worker}/children")
    [script] = wait_until(lambda: children.read_text().split())
    wait_until((tmp_path / "a1.out").exists)
    os.kill(worker, signal.SIGSTOP)
    pool._workers[0].tell(("end", "a1", 5.0))  # as `end` does, which would let it go on
    (tmp_path / "a1.gate").touch()
    wait_until(lambda: b") Z " in Path(f"/proc/{script}/stat").read_bytes())
    os.kill(worker, signal.SIGCONT)
    receipt = next_event().receipt
    assert (receipt.outcome, receipt.exit_code) == (Outcome.OK, 0)


# What a warm worker's Python says that cannot run its program → why scripts ran cold then.
UNFIT = {
    '  File "warm.py", line 17\n    _parts: "list[Any]" = []\n          ^\nSyntaxError: invalid syntax\n': (
        "only CPython 3.11 and later can be warm, and this Python is too old to say which it is"
    ),
    'Traceback (most recent call last):\n  File "warm.py", line 9, in <module>\nSyntaxError: invalid syntax\n': (
        "SyntaxError: invalid syntax"
    ),
    "Python has threads as soon as it starts\n": "Python has threads as soon as it starts",
    "": "its Python ended with 1",
}


@pytest.mark.parametrize("words", UNFIT)
def test_why_a_python_cannot_be_shared_is_in_the_receipts(
    words: str, tmp_path: Path, waiting: Callable[[str], Assignment]
) -> None:
    (tmp_path / "words").write_text(words)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat {tmp_path}/words >&2\nexit 1\n")
    python.chmod(0o755)
    (tmp_path / "a.gate").touch()
    pool = WorkerPool(1, folder=str(tmp_path), hello=lambda worker: hello(worker, tmp_path), warm=str(python))
    pool.start()
    try:
        pool.send(0, [waiting("a")])
        receipts: list[Receipt] = []
        while not receipts:
            for event in pool.wait(LONG):
                match event:
                    case Returned(attempts=attempts):
                        pool.send(0, [waiting(attempt) for attempt in attempts])
                    case Received(receipt=receipt):
                        receipts.append(receipt)
    finally:
        pool.stop(0)
        pool.close()
    assert [(r.mode, r.why_cold) for r in receipts] == [("cold", UNFIT[words])]
