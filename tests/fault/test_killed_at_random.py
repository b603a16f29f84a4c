"""The program killed at drawn moments and calls (tests/harness), and a look at whether the harness would notice."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness.blows import TIMED, build_library
from tests.harness.campaign import campaign, complaint, table
from tests.harness.point import Point
from tests.harness.traces import MARK, processes

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(sys.platform != "linux", reason="looks through /proc and preloads a library: Linux only"),
]

SEED = 10
CALLS = (
    *(f"server:{call}" for call in ("commit", "rename", "fsync", "zip", "send")),
    "worker:rename",
    "worker:journal",
)
MAIN = (*TIMED, *CALLS)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = build_library(tmp_path_factory.mktemp("library"))
    if built is None:
        pytest.skip("no C compiler (cc or gcc) to build what counts the calls")
    return built


@pytest.mark.timeout(300)  # a dozen runs and more, on a machine that may have other things to do
def test_s01_s02_s03_s04_s05_killed_at_random_points(tmp_path: Path, library: Path) -> None:
    """A dozen points, of every kind that tells most. What fails is printed with the command that does it again."""
    results = campaign(seed=SEED, points=len(MAIN), folder=tmp_path, library=library, kinds=MAIN, few=True)
    print(table(results))
    assert not [complaint(result) for result in results if result.violations]
    assert sum(result.struck > 0 for result in results) > len(MAIN) // 3  # a run may end before its moment comes


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_s01_s02_s03_s04_s05_killed_at_a_thousand_points(tmp_path: Path, library: Path) -> None:
    seed = random.randrange(1 << 31)
    results = campaign(seed=seed, points=1000, folder=tmp_path, library=library, lanes=3)
    print(f"seed {seed}", table(results), sep="\n")
    assert not [complaint(result) for result in results if result.violations]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Point:
    """A point with all it left."""
    folder = tmp_path_factory.mktemp("finished") / "point"
    point = Point(seed=1, number=0, kind="server+workers", folder=folder, library=None, few=True)
    assert not point.carry_out(keep=True).violations
    point.acknowledge()
    return point


def _run_again(point: Point) -> None:
    book = min((point.folder / "witness").iterdir())
    with book.open("a") as file:
        file.write("start another-attempt 1\n")


def _change(statement: str) -> Callable[[Point], None]:
    def change(point: Point) -> None:
        with closing(sqlite3.connect(point.folder / ".buildrunner" / "ledger.db")) as db, db:
            db.execute(statement)

    return change


def _change_zip(point: Point) -> None:
    with (point.folder / "result.zip").open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"?")


def _leave_journal(point: Point) -> None:
    (point.folder / ".buildrunner" / "runs" / "worker-1.journal").touch()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_run_again, " ran again after its accepted attempt"),
        (_change("DELETE FROM receipts WHERE outcome = 'ok'"), "lost: the receipt of"),
        (_change("UPDATE receipts SET superseded = 1 WHERE outcome = 'ok'"), "lost: attempt"),
        (_change("UPDATE receipts SET seconds = seconds + 1 WHERE outcome = 'ok'"), "has another checksum"),
        (_change("UPDATE jobs SET state = 'failed' WHERE state = 'passed'"), "came to be failed"),
        (_change_zip, "verify: "),
        (_leave_journal, "left lying about"),
    ],
)
def test_the_harness_sees_a_broken_promise(
    finished: Point, tmp_path: Path, spoil: Callable[[Point], None], said: str
) -> None:
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    try:
        spoil(finished)
        assert any(said in violation for violation in finished.judge())
    finally:
        shutil.rmtree(finished.folder)
        os.rename(tmp_path / "copy", finished.folder)
    assert not finished.judge()


@pytest.mark.parametrize("by", ["environment", "working directory"])
def test_the_harness_sees_a_process_left_behind(tmp_path: Path, by: str, wait_until: Callable[..., object]) -> None:
    env = {**os.environ, MARK: str(tmp_path)} if by == "environment" else None
    sleeper = subprocess.Popen(["sleep", "600"], env=env, cwd="/" if env else tmp_path)
    try:
        wait_until(lambda: [process.pid for process in processes(tmp_path)] == [sleeper.pid])
    finally:
        sleeper.kill()
        wait_until(lambda: not processes(tmp_path))  # a zombie is none
        sleeper.wait()
