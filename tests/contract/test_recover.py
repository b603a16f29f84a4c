"""`ledger recover` on real files, damaged in every way: what it takes is right, and what it cannot take it tells."""

import os
import shutil
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildrunner.errors import BuildrunnerError, LedgerBusy, LedgerError, UsageError
from buildrunner.job import Attempt, JobState, Outcome
from buildrunner.ledger import Ledger, Noted, lock, store
from buildrunner.ledger.carve import carve, shapes
from buildrunner.ledger.check import check
from buildrunner.ledger.pages import Pages
from buildrunner.ledger.recover import Recovered, recover
from buildrunner.receipt import Receipt
from tests.contract.damage import NAMES, PAGE, Damage, attempt_id, checkpointed, everything, make, older

JOBS = len(NAMES)


@pytest.fixture
def files(killed_ledger: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed_ledger, tmp_path / "files"))


@pytest.fixture
def merged(files: Path) -> Path:
    """The same, all in one file, and without journals."""
    checkpointed(files)
    shutil.rmtree(files / "runs")
    return files


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def recovered(files: Path) -> tuple[Recovered, dict[str, Any]]:
    """Recover beside the files, and read all of what came of it; the files must be untouched."""
    before = snapshot(files)
    to = files.with_name(files.name + "-new")
    shutil.rmtree(to, ignore_errors=True)
    found = recover(files, to)
    assert snapshot(files) == before
    assert check(to).problems == ()
    return found, everything(to)


def root(files: Path, name: str) -> int:
    db = sqlite3.connect(f"file:{files / store.DATABASE}?mode=ro&immutable=1", uri=True)
    number: int = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]
    db.close()
    return number


def overwrite(files: Path, start: int, data: bytes, name: str = store.DATABASE) -> None:
    with open(files / name, "r+b") as file:
        file.seek(start)
        file.write(data)


def test_no_two_tables_have_the_same_shape() -> None:
    found = [(shape.pages, count) for shape in shapes().values()
             for count in range(shape.fewest, len(shape.columns) + 1)]  # fmt: skip
    assert len(set(found)) == len(found)


def test_s54_of_a_sound_ledger_all_is_taken(files: Path) -> None:
    before = everything(files)
    found, after = recovered(files)
    assert not any(found.lost.values())
    assert [(run.name, run.state, run.jobs, run.again, run.missing) for run in found.runs] == [
        ("r-killed", "interrupted", JOBS, [], []),
        ("r-finished", "finished", JOBS, [], []),
        ("r-older", "finished", JOBS, [], []),
    ]
    assert found.from_journals == 1  # the receipt that had not reached the record
    [new] = after["receipts"].keys() - before["receipts"].keys()
    job = next(row for row in after["jobs"].values() if row[6] == new)
    assert job[2:3] + job[5:6] == ("job-12.py", "passed")
    assert {key: after["receipts"][key] for key in before["receipts"]} == before["receipts"]
    assert {**after["jobs"], job[0]: before["jobs"][job[0]]} == before["jobs"]
    assert after["attempts"] == before["attempts"]
    # An attempt that had only started is left to `resume`, with the line that says so.
    lines = (Path(found.to) / "runs" / "r-killed" / "recovered.journal").read_text().splitlines()
    assert len(lines) == 1
    assert "job-13.py" in lines[0]


DESTROYED: dict[str, Callable[[Path], None]] = {
    "the magic": lambda files: overwrite(files, 0, b"?"),
    "the header": lambda files: overwrite(files, 0, bytes(100)),
    "the first page": lambda files: overwrite(files, 0, bytes(PAGE)),
    "the list of free pages": lambda files: overwrite(files, 32, struct.pack(">II", 0, 0)),
    "the text of the schema": lambda files: overwrite(files, 2000, os.urandom(2096)),
    "the number of the schema": lambda files: overwrite(files, 60, struct.pack(">I", 77)),
}


@pytest.mark.parametrize("what", DESTROYED)
def test_s54_without_header_or_schema_rows_are_known_by_their_shape(merged: Path, what: str) -> None:
    before = everything(merged)
    DESTROYED[what](merged)
    assert check(merged).problems
    _, after = recovered(merged)
    assert {key: row[:2] for key, row in after["runs"].items()} == {k: row[:2] for k, row in before["runs"].items()}
    for table in ("jobs", "attempts", "receipts"):  # and nothing of the run that was forgotten
        assert after[table] == before[table]


@pytest.mark.parametrize("table", ["runs", "jobs", "attempts", "receipts"])
def test_s54_a_destroyed_root_costs_no_leaf(merged: Path, table: str) -> None:
    """SQLite can read nothing of a table whose first page is gone."""
    before = everything(merged)
    number = root(merged, table)
    is_leaf = (merged / store.DATABASE).read_bytes()[(number - 1) * PAGE] in (0x0A, 0x0D)
    overwrite(merged, (number - 1) * PAGE, bytes(PAGE))
    if table == "runs":
        assert is_leaf
        with pytest.raises(LedgerError, match=r"nothing in .* can be trusted"):
            recover(merged, merged.with_name("new"))
        return
    found, after = recovered(merged)
    assert found.lost["pages"] > 0
    if is_leaf:
        return
    same = [key for key, row in before["receipts"].items() if after["receipts"].get(key) == row]
    assert len(same) >= len(before["receipts"]) - 8  # rows of attempts and receipts lie in inner pages too


def test_s54_every_page_destroyed_in_turn(merged: Path, tmp_path: Path) -> None:
    before = everything(merged)
    data = (merged / store.DATABASE).read_bytes()
    for start in range(0, len(data), PAGE):
        (merged / store.DATABASE).write_bytes(data[:start] + b"\xa5" * PAGE + data[start + PAGE :])
        try:
            found, after = recovered(merged)
        except LedgerError as exc:
            assert "nothing in" in str(exc)
            continue
        nothing_false(before, after)
        gone = before["receipts"].keys() - after["receipts"].keys()
        if gone:
            assert any(found.lost.values()) or any(run.again or run.missing for run in found.runs)
    assert len(data) > 20 * PAGE


def nothing_false(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Every receipt is one that was given, and no job passed that did not."""
    given = {key: row[:-1] for key, row in before["receipts"].items()}
    for key, row in after["receipts"].items():
        if row[5] == "lost" and "is not known" in (row[14] or ""):
            assert key not in given or given[key] != row[:-1]
        elif key in given:
            assert given[key] == row[:-1]
        else:
            assert "-7005-" in key, "a receipt of the run that was forgotten"
            assert row[5:7] == ("ok", 0), "the one in the journal"
    passed = {(row[1], row[2]) for row in before["jobs"].values() if row[5] == "passed" or row[2] == "job-12.py"}
    assert {(row[1], row[2]) for row in after["jobs"].values() if row[5] == "passed"} <= passed


def damaged(killed_ledger: Path, seeds: range, folder: Path) -> dict[str, int]:
    """Recover after each of these damages; how each went."""
    before, counts = everything(killed_ledger), {"recovered": 0, "nothing": 0}
    both = [killed_ledger, Path(shutil.copytree(killed_ledger, folder / "both"))]
    checkpointed(both[1])
    for seed in seeds:
        files = folder / "damaged"
        shutil.rmtree(files, ignore_errors=True)
        shutil.copytree(both[seed % 2], files)
        what = Damage(seed).do(files)
        try:
            _, after = recovered(files)
        except BuildrunnerError as exc:
            assert "nothing in" in str(exc), f"seed {seed}, {what}: {exc}"
            counts["nothing"] += 1
            continue
        try:
            nothing_false(before, after)
        except AssertionError as exc:
            raise AssertionError(f"seed {seed}, {what}: {exc}") from exc
        counts["recovered"] += 1
    return counts


def test_s54_whatever_is_damaged_nothing_false_is_recovered(killed_ledger: Path, tmp_path: Path) -> None:
    counts = damaged(killed_ledger, range(24), tmp_path)
    assert counts["recovered"] > 20


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_s54_whatever_is_damaged_nothing_false_is_recovered_2000_times(killed_ledger: Path, tmp_path: Path) -> None:
    counts = damaged(killed_ledger, range(10_000, 12_000), tmp_path)
    print(counts)
    assert counts["recovered"] > 1900


def test_s55_of_a_missing_log_the_journals_know_what_ended(files: Path) -> None:
    """Here all that is lost is a whole run; its receipts have nothing to be connected to, and that is told."""
    checkpointed(both := Path(shutil.copytree(files, files.with_name("both"))))
    (files / "ledger.db-wal").unlink()
    found, after = recovered(files)
    assert [run.name for run in found.runs] == ["r-finished", "r-older"]
    journal = (files / "runs/r-killed/0.journal").read_bytes()
    assert found.lost["receipts_without_job"] == journal.count(b" ('end', ") > 10
    # Where the log that is lost began later, the run is there, and only what ended since is in no table.
    db = sqlite3.connect(both / store.DATABASE)
    db.execute("UPDATE jobs SET state = 'waiting', attempt = NULL, attempts = 0 WHERE name = 'job-12.py' AND run = 5")
    db.execute("DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE id LIKE '%-7005-%' "
               "AND job = (SELECT id FROM jobs WHERE name = 'job-12.py' AND run = 5))")  # fmt: skip
    db.commit()
    db.close()
    assert any("its write-ahead log is missing" in problem.text for problem in check(both).problems)
    found, after = recovered(both)
    assert found.from_journals == 1
    assert [row[5] for row in after["jobs"].values() if row[1:3] == (5, "job-12.py")] == ["passed"]


def test_s55_a_damaged_frame_costs_no_later_one(files: Path) -> None:
    """SQLite reads a log up to its first damage; here a frame is known by its own checksum and that before it."""
    before = everything(files)
    overwrite(files, 32 + 3 * (24 + PAGE) + 100, b"\xff\xfe\xfd", "ledger.db-wal")
    seen = Path(shutil.copytree(files, files.with_name("seen")))
    assert [row[1] for row in everything(seen)["runs"].values()] == ["r-older", "r-finished"]
    _, after = recovered(files)
    assert [row[1] for row in after["runs"].values()] == ["r-older", "r-finished", "r-killed"]
    nothing_false(before, after)
    assert sum("-7005-" in key for key in after["receipts"]) > 10


def test_s54_what_cannot_be_connected_is_told_and_not_guessed(merged: Path) -> None:
    before = everything(merged)
    db = sqlite3.connect(merged / store.DATABASE)
    db.execute("PRAGMA writable_schema = ON")
    db.execute("DELETE FROM runs WHERE name = 'r-older'")
    db.execute("DELETE FROM jobs WHERE name = 'b.py' AND run = 4")
    db.execute("UPDATE receipts SET seconds = seconds + 1 WHERE job IN (SELECT id FROM jobs WHERE name = 'job-03.py')")
    db.commit()
    db.close()
    found, after = recovered(merged)
    assert found.lost["jobs_without_run"] == JOBS
    assert found.lost["receipts"] == 2
    assert found.lost["receipts_without_job"] == sum(1 for row in before["receipts"].values() if row[1] <= 3 * JOBS) + 2
    killed, finished = found.runs
    assert finished.missing == [None]
    assert finished.again == killed.again == ["job-03.py"]
    assert finished.state == "interrupted"
    [state] = [row[5] for row in after["jobs"].values() if row[1:3] == (4, "job-03.py")]
    assert state == "waiting"


def test_s54_damaged_notes_and_hashes_of_modules_cost_nothing_else(merged: Path) -> None:
    before = everything(merged)
    db = sqlite3.connect(merged / store.DATABASE)
    db.execute("UPDATE jobs SET changed = '[[\"a' WHERE name IN ('a.py', 'b.py')")
    db.execute("UPDATE attempts SET modules = '{\"m.py\": 3}'")
    db.commit()
    db.close()
    _, after = recovered(merged)
    assert after["receipts"] == before["receipts"]


def test_s54_what_was_to_run_again_is_not_recovered_as_done(merged: Path) -> None:
    """A result that a changed script or other arguments have outdated decides nothing, nor does it use up a retry."""
    db = sqlite3.connect(merged / store.DATABASE)
    for name, state in (("a.py", "waiting"), ("b.py", "cancelled"), ("sub/c.py", "waiting")):
        db.execute(
            "UPDATE jobs SET state = ?, changed = json_array(json_array(attempt, 'rerun', 'it changed')) "
            "WHERE name = ? AND run IN (SELECT id FROM runs WHERE name = 'r-killed')",
            (state, name),
        )
    db.commit()
    db.close()
    _, after = recovered(merged)
    newest = max(row[1] for row in after["jobs"].values())
    states = {row[2]: row[5] for row in after["jobs"].values() if row[1] == newest}
    assert (states["a.py"], states["b.py"], states["sub/c.py"]) == ("waiting", "cancelled", "waiting")


def test_s54_without_its_note_a_result_that_was_repeated_still_counts(merged: Path) -> None:
    with Ledger(merged, purpose="a test") as ledger:
        job = next(row for row in ledger.results(ledger.run("r-killed")) if row.name == "a.py")
        first = str(job.attempt)
        again = Attempt(id=attempt_id(5, job.id, 2), job=job.name, number=2, worker=1)
        with ledger.transaction():
            ledger.note(job.id, [Noted(first, "rerun", "it changed")])
            ledger.set_states([job.id], JobState.WAITING)
            ledger.start(job.id, again, "cd" * 32)
            receipt = Receipt(attempt=again.id, job=job.name, number=2, worker=1, mode="cold", outcome=Outcome.OK)
            assert ledger.record(job.id, receipt, JobState.PASSED)
    db = sqlite3.connect(merged / store.DATABASE)
    db.execute("UPDATE jobs SET changed = '?' WHERE id = ?", (job.id,))
    db.commit()
    db.close()
    _, after = recovered(merged)
    assert after["jobs"][job.id][5:7] == ("passed", again.id)
    assert first in after["receipts"]


def test_s56_an_older_schema_and_added_columns_are_recovered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows written before a column was added are shorter than those after it."""
    steps = store._migrations()
    more = [*steps, "ALTER TABLE attempts ADD COLUMN inputs TEXT; ALTER TABLE runs ADD COLUMN x INTEGER DEFAULT 7;"]
    make(tmp_path / "state", tmp_path / "files")
    monkeypatch.setattr(store, "_migrations", lambda: more)
    Ledger(tmp_path / "files", purpose="a test").close()
    db = sqlite3.connect(tmp_path / "files" / store.DATABASE)
    db.execute("UPDATE attempts SET inputs = 'abc' WHERE number = 2")
    db.commit()
    db.close()
    before = everything(tmp_path / "files")
    overwrite(tmp_path / "files", 0, bytes(PAGE))
    _, after = recovered(tmp_path / "files")
    assert after["attempts"] == before["attempts"]
    assert {row[-1] for row in after["attempts"].values()} == {None, "abc"}
    assert {row[-1] for row in after["runs"].values()} == {7}


@pytest.mark.parametrize("version", range(1, len(store._migrations())))
def test_s56_a_ledger_of_an_older_version_is_recovered(tmp_path: Path, version: int) -> None:
    files = older(tmp_path / "old", version)
    overwrite(files, 0, bytes(16))
    found, after = recovered(files)
    assert [(run.name, run.state, run.jobs) for run in found.runs] == [("r-old", "finished", 2)]
    assert [row[5] for row in after["jobs"].values()] == ["passed", "skipped"]


# refusals


def test_a_place_that_is_not_free_is_refused(files: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "x").touch()
    for place in (taken, taken / "x", files, files / "below"):
        with pytest.raises(UsageError, match="--to DIR"):
            recover(files, place)
    assert os.listdir(taken) == ["x"]
    with pytest.raises(UsageError, match="--state DIR"):
        recover(tmp_path / "nothing", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_ledger_that_is_written_is_not_recovered(files: Path, tmp_path: Path) -> None:
    with Ledger(files, purpose="a test"), pytest.raises(LedgerBusy, match=r"\(a test\)"):
        recover(files, tmp_path / "new")
    journal = next(files.rglob("*.journal"))
    held = lock.Lock(journal, purpose="a worker", what="journal", option=None)
    text = journal.read_bytes()
    with pytest.raises(LedgerBusy, match="a worker still writes"):
        recover(files, tmp_path / "new")
    held.release()
    assert journal.read_bytes() == text
    assert not (tmp_path / "new").exists()


def test_s56_a_newer_ledger_is_not_recovered_by_an_older_program(files: Path, tmp_path: Path) -> None:
    db = sqlite3.connect(files / store.DATABASE)
    db.execute("CREATE TABLE more (x)")
    db.execute("PRAGMA user_version = 1000")
    db.close()
    with pytest.raises(LedgerError, match="newer than this version"):
        recover(files, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_was_deleted_is_not_taken(merged: Path) -> None:
    """The forgotten run's rows are still in the file, but no page lists them any more."""
    assert b"-7002-" in (merged / store.DATABASE).read_bytes()
    carved = carve(Pages(merged / store.DATABASE))
    assert not any("-7001-" in key or "-7002-" in key for key in carved.rows["attempts"])
    assert all(row["job"] > 2 * JOBS for rows in carved.rows["receipts"].values() for row in rows)


def test_a_run_that_is_not_whole_is_not_carried_on_or_packaged(workspace: Any) -> None:
    """What it left is better than what a part of it would put in its place."""
    workspace.scripts(**{f"s{n}": f"print({n})" for n in range(6)})
    workspace.run("run", "src", "-q")
    packed = (workspace.path / "result.zip").read_bytes()
    database = sqlite3.connect(workspace.path / ".buildrunner/ledger.db")
    with database:  # as damage to the pages of its end would leave it
        for table, column in (("receipts", "job"), ("attempts", "job"), ("jobs", "id")):
            database.execute(f"DELETE FROM {table} WHERE {column} > 4")
    database.close()
    said = workspace.run("ledger", "recover").out
    state = ("--state", ".buildrunner-recovered")
    assert workspace.run("status", "--json", *state).document["totals"]["jobs"] == 4
    assert "2 scripts of it not in the record any more: run its target anew" in said
    for verb in ("resume", "package"):
        refused = workspace.run(verb, *state, code=2).err
        assert "2 of its 6 scripts are not in the record any more; start a new run" in refused
    assert (
        "2 of its 6 scripts are not in the record any more: it cannot be carried on"
        in workspace.run("status", *state).out
    )
    assert (workspace.path / "result.zip").read_bytes() == packed
