"""What `ledger check` finds, on real SQLite files: damage to the file, edited receipts, states that cannot be."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildrunner.errors import UsageError
from buildrunner.job import Attempt, JobSpec, JobState, Outcome
from buildrunner.ledger import Ledger, Reader, store
from buildrunner.ledger.check import check
from buildrunner.receipt import OutputFile, Receipt
from buildrunner.summary import attempt_documents

NAMES = ("a.py", "b.py", "sub/c.py", "\udcff.py", "never.py")


@pytest.fixture
def recorded(state: Path) -> Path:
    """A ledger with a finished run of five jobs, all kinds of endings, closed and without a write-ahead log."""
    with Ledger(state, purpose="a test") as ledger:
        specs = [JobSpec(name=name, command=("python",), script=f"src/{name}", retries=1) for name in NAMES]
        files = ("a.py", "b.py", "sub%2Fc.py", "%FF.py", "never.py")
        run = ledger.add_run(
            name="run-1", target="src", key="/src", args=("-x",), options={"workers": 2, "output": "out"}, jobs=2,
            python="/usr/bin/python3", started=1.5, specs=zip(specs, files, strict=True),
        )  # fmt: skip
        ids = ledger.job_ids(run)
        attempts: list[tuple[str, int, Outcome, JobState, dict[str, Any]]] = [
            ("a.py", 1, Outcome.OK, JobState.PASSED, {"outputs": (OutputFile(path="x\udcff", size=3, sha256="ab"),)}),
            ("b.py", 1, Outcome.LOST, JobState.READY, {"worker": None, "mode": "cold", "error": "its worker died"}),
            ("b.py", 2, Outcome.EXITED, JobState.FAILED, {"exit_code": 7, "skipped_outputs": ("pipe\udcfe", "d")}),
            (
                "sub/c.py",
                1,
                Outcome.TIMED_OUT,
                JobState.READY,
                {"signal": 9, "max_rss_bytes": 4096, "error": "e\udcff"},
            ),
            ("sub/c.py", 2, Outcome.OK, JobState.PASSED, {"started": 1.25, "seconds": 2.5, "cpu_seconds": 0.125}),
            ("\udcff.py", 1, Outcome.SPAWN_ERROR, JobState.FAILED, {"error": "cannot start"}),
        ]
        for name, number, outcome, to, change in attempts:
            with ledger.transaction():
                attempt = Attempt(id=f"id-{ids[name]}-{number}", job=name, number=number, worker=1)
                ledger.start(ids[name], attempt, "ab" * 32)
            with ledger.transaction():
                ledger.record(
                    ids[name],
                    Receipt(
                        attempt=attempt.id,
                        job=name,
                        number=number,
                        outcome=outcome,
                        **{"worker": 1, "mode": "cold", **change},
                    ),
                    to,
                    lost=int(outcome is Outcome.LOST),
                )
        with ledger.transaction():  # of an attempt that was taken back: kept, and nothing is wrong with that
            ledger.record(
                ids["a.py"],
                Receipt(attempt="id-late", job="a.py", number=1, worker=0, mode="cold", outcome=Outcome.CANCELLED),
                JobState.PASSED,
            )
            ledger.set_states([ids["never.py"]], JobState.SKIPPED, "not started: a script failed")
        ledger.set_run(run, state="finished", finished=9.0, wall=7.5, session=None, exit_code=1)
        ledger.sum_up(run)
    return state


def problems(state: Path) -> list[str]:
    return [": ".join(filter(None, (p.run, p.job, p.text))) for p in check(state).problems]


def test_a_sound_ledger_is_sound(recorded: Path) -> None:
    found = check(recorded)
    assert found.problems == ()
    assert found.counts == {"runs": 1, "jobs": 5, "attempts": 6, "receipts": 7}
    assert found.path == str(recorded / "ledger.db")


def test_checking_writes_nothing_beside_a_writer(recorded: Path) -> None:
    with Ledger(recorded, purpose="a test") as ledger:
        run = ledger.run()
        with ledger.transaction():
            before = (recorded / "ledger.db").read_bytes()
            ledger.db.execute("UPDATE runs SET wall = 1")
            assert check(recorded).problems == ()
            assert (recorded / "ledger.db").read_bytes() == before
        assert ledger.run(run.name).wall == 1


def test_where_there_is_no_ledger_none_is_made(state: Path) -> None:
    with pytest.raises(UsageError, match="--state DIR"):
        check(state)
    assert not state.exists()


EDITS = {
    "an exit code": ("UPDATE receipts SET exit_code = 0 WHERE exit_code = 7", ["run-1: b.py: receipt 2 has another"]),
    "a time": ("UPDATE receipts SET seconds = seconds + 1e-9 WHERE seconds = 2.5", ["sub/c.py: receipt 2 has another"]),
    "an outcome": (
        "UPDATE receipts SET outcome = 'ok' WHERE attempt = 'id-2-2'",
        ["b.py: it is 'failed', but its current attempt ended ok", "b.py: receipt 2 has another checksum"],
    ),
    "an unknown outcome": ("UPDATE receipts SET outcome = 'fine' WHERE attempt = 'id-1-1'", ["cannot be read: 'fine'"]),
    "a list that is none": ("UPDATE receipts SET outputs = '[' WHERE attempt = 'id-1-1'", ["a receipt cannot be read"]),
    "a hash": ("UPDATE receipts SET outputs = replace(outputs, 'ab', 'ac')", ["a.py: receipt 1 has another"]),
    "a job's name": ("UPDATE jobs SET name = 'z.py' WHERE name = 'a.py'", ["z.py: its file name 'a.py'", "another"]),
    "a deleted receipt": (
        "DELETE FROM receipts WHERE attempt = 'id-1-1'",
        ["a.py: it is 'passed', but its current attempt has no receipt", "a.py: attempt 1 has no receipt"],
    ),
    "a deleted earlier receipt": ("DELETE FROM receipts WHERE attempt = 'id-3-1'", ["attempt 1 has no receipt"]),
    "a deleted attempt": (
        "DELETE FROM attempts WHERE id = 'id-1-1'",
        ["it counts 1 attempts, and 0 are recorded", "not its last one", "of an attempt that is not recorded"],
    ),
    "a deleted job": (
        "DELETE FROM jobs WHERE name = 'b.py'",
        ["attempts refers to a row of jobs", "receipts refers to"],
    ),
    "a deleted run": ("DELETE FROM runs", ["jobs 1 refers to a row of runs that is not there"]),
    "a count": ("UPDATE jobs SET attempts = 1 WHERE name = 'b.py'", ["b.py: it counts 1 attempts, and 2 are"]),
    "losses": ("UPDATE jobs SET lost = 0", ["b.py: it counts 0 lost attempts, and 1 receipts say so"]),
    "a state": ("UPDATE jobs SET state = 'passed' WHERE name = 'b.py'", ["b.py: it is 'passed', but", "ended exited"]),
    "a state without a receipt": ("UPDATE jobs SET state = 'failed' WHERE name = 'never.py'", ["has no receipt that"]),
    "a running job": (
        "UPDATE jobs SET state = 'running' WHERE name = 'never.py'",
        ["the job is running in a run that"],
    ),
    "a waiting job": (
        "UPDATE jobs SET state = 'waiting' WHERE name = 'never.py'",
        ["the job is waiting in a run that"],
    ),
    "a run that passed": (
        "UPDATE runs SET exit_code = 0",
        ["b.py: the job is failed in a run that is over and passed"],
    ),
    "a receipt set aside": (
        "UPDATE receipts SET superseded = 1 WHERE attempt = 'id-1-1'",
        ["has no receipt that counts"],
    ),
    "a current attempt": ("UPDATE jobs SET attempt = 'id-2-1' WHERE name = 'b.py'", ["its current attempt is not its"]),
    "a worker": (
        "UPDATE attempts SET worker = 5 WHERE id = 'id-1-1'",
        ["a.py: attempt 1 and its receipt name different"],
    ),
    "a number": ("UPDATE attempts SET number = 5 WHERE id = 'id-1-1'", ["not of the same job and number"]),
    "a script's hash": ("UPDATE attempts SET script_sha256 = 'x'", ["the script's hash is none: 'x'"]),
    "a module's hash": (
        """UPDATE attempts SET modules = '{"util.py": "x"}' WHERE id = 'id-1-1'""",
        ["the hashes of the script's modules cannot be read"],
    ),
    "what changed": (
        "UPDATE jobs SET changed = '[[1]]' WHERE name = 'b.py'",
        ["b.py: what is noted about its changes"],
    ),
    "options": ("UPDATE runs SET options = '{'", ["run-1: its options cannot be read"]),
    "an end": ("UPDATE runs SET finished = NULL", ["run-1: it is finished, but its end"]),
    "a spec": ("UPDATE jobs SET spec = '{\"x\":1}' WHERE name = 'a.py'", ["a.py: its spec cannot be read"]),
    "text that is none": ("UPDATE runs SET target = CAST(x'ff' AS TEXT)", ["runs 1 holds text that is not UTF-8"]),
    "a table more": ("CREATE TRIGGER t AFTER DELETE ON jobs BEGIN SELECT 1; END", ["the trigger t is not as this"]),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_found_and_its_place_named(recorded: Path, edit: str) -> None:
    sql, expected = EDITS[edit]
    db = sqlite3.connect(recorded / "ledger.db")
    assert db.execute(sql).rowcount
    db.commit()
    db.close()
    said = "\n".join(problems(recorded))
    for words in expected:
        assert words in said


def test_statistics_are_nobodys_damage(recorded: Path) -> None:
    db = sqlite3.connect(recorded / "ledger.db")
    db.execute("ANALYZE")
    db.commit()
    db.close()
    assert problems(recorded) == []


@pytest.mark.parametrize("keep", [0, 1, 100, 4095, 4096, 5000, 8192, -4096, -1])
def test_s54_a_truncated_file(recorded: Path, keep: int) -> None:
    path = recorded / "ledger.db"
    data = path.read_bytes()
    path.write_bytes(data[: keep if keep >= 0 else len(data) + keep])
    assert problems(recorded)


def test_s56_a_newer_schema_is_a_problem_that_says_so(recorded: Path) -> None:
    db = sqlite3.connect(recorded / "ledger.db")
    db.execute("PRAGMA user_version = 1000")
    db.close()
    assert "use the newer buildrunner" in problems(recorded)[0]


def _content(state: Path) -> object:
    """What the record says of attempts and jobs, without what has no checksum."""
    reader = Reader.open(state)
    try:
        return [
            {k: v for k, v in row.items() if k not in ("script_sha256", "target", "stdout", "stderr", "outputs")}
            for row in attempt_documents(reader)
        ]
    finally:
        reader.close()


@pytest.mark.parametrize("seed", range(4))
def test_s54_one_flipped_bit_is_found_or_changes_no_result(
    recorded: Path, tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """SQLite's pages have no checksum: a flip in a hole is no harm, one in a row must show."""
    data = (recorded / "ledger.db").read_bytes()
    before = _content(recorded)
    chance = random.Random(seed)
    flipped, found = tmp_path / "flipped", 0
    for _ in range(150):
        place, bit = chance.randrange(len(data)), 1 << chance.randrange(8)
        shutil.rmtree(flipped, ignore_errors=True)
        flipped.mkdir()
        (flipped / "ledger.db").write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
        if check(flipped).problems:
            found += 1
        else:
            assert _content(flipped) == before, f"seed {seed}: bit {bit} of byte {place}"
    record_property("found", found)
    assert found > 5


def test_s54_no_page_can_be_lost(recorded: Path) -> None:
    path = recorded / "ledger.db"
    data = path.read_bytes()
    for page in range(0, len(data), 4096):
        path.write_bytes(data[:page] + bytes(4096) + data[page + 4096 :])
        assert problems(recorded), f"page {page // 4096}"


def test_a_new_database_is_what_the_writer_makes(state: Path) -> None:
    fresh = store.new_database(":memory:")
    question = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
    with Ledger(state, purpose="a test") as ledger:
        assert fresh.execute(question).fetchall() == ledger.db.execute(question).fetchall()
    fresh.close()
