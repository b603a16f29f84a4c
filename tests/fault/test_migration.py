"""An older ledger is copied, then brought up to date; killed at any moment it is the old one or the new one."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildrunner.errors import LedgerError, UsageError
from buildrunner.ledger import Ledger, Reader, store
from buildrunner.ledger.check import check
from tests.conftest import ROOT
from tests.contract.damage import PAGE, everything, older
from tests.disks import mounted

pytestmark = pytest.mark.fault

NEWEST = len(store._migrations())
MIGRATE = """
import sys, pathlib
from buildrunner.ledger import Ledger
Ledger(pathlib.Path(sys.argv[1]), purpose='x').close()
"""
CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate", "rename", "unlink")


def content(database: Path) -> dict[str, Any]:
    """What a database file and its log say, read from a copy; the columns that an older schema has too."""
    place = database.with_name("copy-" + database.name)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for end in ("", "-wal"):
        if os.path.exists(f"{database}{end}"):
            shutil.copy(f"{database}{end}", place / f"x.db{end}")
    db = sqlite3.connect(place / "x.db")
    try:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        first = store.new_database(":memory:", version=1)
        found: dict[str, Any] = {"version": db.execute("PRAGMA user_version").fetchone()[0]}
        for table in ("runs", "jobs", "attempts", "receipts"):
            columns = ", ".join(row[1] for row in first.execute(f"PRAGMA table_info({table})"))
            found[table] = db.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()
        first.close()
        return found
    finally:
        db.close()
        shutil.rmtree(place)


@pytest.mark.parametrize("version", range(1, NEWEST))
def test_s56_an_older_ledger_is_copied_and_brought_up_to_date(tmp_path: Path, version: int) -> None:
    state = older(tmp_path / "state", version)
    before = content(state / store.DATABASE)
    assert before["version"] == version
    with pytest.raises(LedgerError, match="the next `buildrunner run` or `resume` brings it up to date"):
        Reader.open(state)
    Ledger(state, purpose="a test").close()
    assert content(state / store.DATABASE) == {**before, "version": NEWEST}
    kept = state / f"ledger.db.schema-{version}"
    assert content(kept) == before
    assert sorted(p.name for p in state.iterdir()) == [".gitignore", "ledger.db", kept.name, "lock"]
    assert check(state).problems == ()
    # What is kept is whole: an older version of the program can go back to it, and so can this one.
    shutil.rmtree(state / "again", ignore_errors=True)
    (tmp_path / "again").mkdir()
    shutil.copy(kept, tmp_path / "again" / store.DATABASE)
    Ledger(tmp_path / "again", purpose="a test").close()
    assert everything(tmp_path / "again") == everything(state)


def test_s56_what_is_only_in_the_log_is_in_the_copy_too(tmp_path: Path) -> None:
    state = older(tmp_path / "closed", 1)
    db = sqlite3.connect(state / store.DATABASE)
    db.execute("UPDATE jobs SET error = 'only in the log' WHERE id = 2")
    db.commit()
    shutil.copytree(state, tmp_path / "state")
    db.close()
    state = tmp_path / "state"
    assert (state / "ledger.db-wal").stat().st_size
    Ledger(state, purpose="a test").close()
    assert content(state / "ledger.db.schema-1")["jobs"][1][-1] == "only in the log"
    assert content(state / store.DATABASE)["jobs"][1][-1] == "only in the log"


def test_s56_a_new_ledger_makes_no_copy(tmp_path: Path) -> None:
    for _ in range(2):
        Ledger(tmp_path / "state", purpose="a test").close()
    assert sorted(p.name for p in (tmp_path / "state").iterdir()) == [".gitignore", "ledger.db", "lock"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "size=256k") as disk:
        yield disk


def test_s56_without_room_for_the_copy_nothing_is_changed(small_disk: Path) -> None:
    state = older(small_disk / "state", 1)
    before = (state / store.DATABASE).read_bytes()
    (state / "lock").write_bytes(b"x" * PAGE)
    room = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(b"x" * ((room.f_bavail - 16) * room.f_frsize))
    with pytest.raises(LedgerError, match=r"has the older schema 1, and no copy .* full; it is as it was: make room"):
        Ledger(state, purpose="a test")
    assert (state / store.DATABASE).read_bytes() == before
    assert not list(state.glob("*.schema-*"))
    (small_disk / "filler").unlink()
    Ledger(state, purpose="a test").close()
    assert content(state / store.DATABASE)["version"] == NEWEST


# killed


def strace(*options: str, state: Path, log: Path) -> int:
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed")
    words = [program, "-o", str(log), *options, sys.executable, "-c", MIGRATE, str(state)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=100)
    if b"PTRACE" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.decode()}")
    return done.returncode


def killed_at(template: Path, place: Path, spots: list[tuple[str, int]]) -> dict[int, int]:
    """Kill a migration at each of these calls; how often the old and how often the new schema was there then."""
    before = content(template / store.DATABASE)
    seen = {1: 0, NEWEST: 0}
    for call, number in spots:
        state = place / "state"
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(template, state)
        inject = f"inject={call}:signal=KILL:when={number}"
        assert strace("-e", f"trace={call}", "-e", inject, state=state, log=place / "log") == -9, inject
        there = content(state / store.DATABASE)
        assert there["version"] in seen, f"{inject}: {there['version']}"
        assert there == {**before, "version": there["version"]}, inject
        seen[there["version"]] += 1
        kept = state / "ledger.db.schema-1"
        assert kept.exists() or there["version"] == 1, inject
        if kept.exists():
            assert content(kept) == before, inject
        Ledger(state, purpose="a test").close()  # whatever was left, the next one does the rest
        assert content(state / store.DATABASE) == {**before, "version": NEWEST}, inject
        assert content(kept) == before, inject
        assert not list(state.glob("*.new")), inject
        assert check(state).problems == (), inject
    return seen


def calls(template: Path, place: Path) -> list[tuple[str, int]]:
    """Every call that changes a file of the ledger while it is migrated: its name and its number among its like."""
    state = Path(shutil.copytree(template, place / "counted"))
    assert strace("-y", "-e", f"trace={','.join(CALLS)}", state=state, log=place / "log") == 0
    numbers = dict.fromkeys(CALLS, 0)
    spots = []
    for line in (place / "log").read_text(errors="replace").splitlines():
        if found := re.match(r"(\w+)\(", line):
            numbers[found[1]] += 1
            if "ledger.db" in line and "-shm" not in line:
                spots.append((found[1], numbers[found[1]]))
    return spots


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return older(tmp_path / "template", 1)


def test_s06_killed_while_it_is_brought_up_to_date(template: Path, tmp_path: Path) -> None:
    spots = calls(template, tmp_path)
    assert {call for call, _ in spots} == set(CALLS)
    few = spots[:: max(1, len(spots) // 5)] + spots[-1:]
    seen = killed_at(template, tmp_path, few)
    assert all(seen.values()), seen


def test_s06_killed_while_the_first_one_is_made(tmp_path: Path) -> None:
    """There is nothing yet that could be lost: whoever reads is told so, and the next run makes it."""
    said = set()
    for number in range(1, 100):
        state = tmp_path / f"{number}"
        state.mkdir()
        inject = f"inject=pwrite64:signal=KILL:when={number}"
        if strace("-e", "trace=pwrite64", "-e", inject, state=state, log=tmp_path / "log") == 0:
            break
        try:
            Reader.open(state).close()
        except UsageError as exc:
            said.add(str(exc).rpartition(": ")[2])
        Ledger(state, purpose="a test").close()
        assert check(state).problems == ()
    assert number > 5
    assert "nothing is recorded in it yet; the next `buildrunner run` makes it whole" in said


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_s06_killed_at_every_call(template: Path, tmp_path: Path) -> None:
    spots = calls(template, tmp_path)
    seen = killed_at(template, tmp_path, spots)
    print(len(spots), seen)
    assert all(seen.values()), seen


def test_s56_killed_with_a_version_of_several_steps_none_is_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several steps are one transaction: what fails in the last leaves the first undone."""
    state = older(tmp_path / "state", 1)
    before = content(state / store.DATABASE)
    steps = [*store._migrations(), "CREATE TABLE extra (x);", "CREATE TABLE runs (y);"]
    monkeypatch.setattr(store, "_migrations", lambda: steps)
    with pytest.raises(LedgerError, match="table runs already exists"):
        Ledger(state, purpose="a test")
    assert content(state / store.DATABASE) == before


def test_s56_a_version_that_cannot_be_is_refused(tmp_path: Path) -> None:
    state = older(tmp_path / "state", 1)
    db = sqlite3.connect(state / store.DATABASE)
    db.execute("PRAGMA user_version = 1000")
    db.close()
    for opened in (lambda: Ledger(state, purpose="a test"), lambda: Reader.open(state)):
        with pytest.raises((LedgerError, UsageError), match="newer than this version"):
            opened()
    assert not list(state.glob("*.schema-*"))
