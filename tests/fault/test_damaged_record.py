"""A record that is damaged, or lacks a part: every verb refuses it, names the remedy, and changes nothing by trying."""

import json
import os
import shutil
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildrunner.errors import LedgerError
from buildrunner.ledger import Ledger, Reader, store
from buildrunner.ledger.check import check
from tests.contract.damage import PAGE, Writing, checkpointed, everything

pytestmark = pytest.mark.fault

VERBS = (
    ("run", "src", "-q"),
    ("run", "src", "-q", "--resume"),
    ("run", "src", "--last-failed"),
    ("resume",),
    ("status",),
    ("history",),
    ("logs", "a.py"),
    ("why", "a.py"),
    ("plan", "src"),
    ("cancel",),
    ("package",),
    ("ledger", "check"),
    ("ledger", "export"),
    ("ledger", "vacuum"),
    ("doctor",),
)
# One interpreter for all verbs, and a process for each.
DRIVER = """
import json, os, sys, tempfile
import buildrunner.cli, buildrunner.cli.run, buildrunner.server, buildrunner.doctor
said = []
for verb in json.loads(sys.argv[1]):
    with tempfile.TemporaryFile() as out:
        if not (pid := os.fork()):
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            sys.argv = ["buildrunner", *verb]
            buildrunner.cli.main()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0)
        said.append((verb, status, out.read().decode(errors="replace")))
print(json.dumps(said))
"""


def ask(workspace: Any, verbs: Any = VERBS) -> list[tuple[list[str], int, str]]:
    done = workspace.finish(workspace.start_python("-c", DRIVER, json.dumps(verbs)), code=0)
    said: list[tuple[list[str], int, str]] = done.document
    return said


@pytest.fixture
def recorded(killed_ledger: Path, workspace: Any) -> Path:
    """Such a record where the program looks for it, in one file."""
    workspace.scripts(a="print(1)")
    (workspace.path / "python_output").mkdir()
    (workspace.path / "python_output" / "mine").touch()
    state = Path(shutil.copytree(killed_ledger, workspace.path / ".buildrunner"))
    checkpointed(state)
    return state


def page(state: Path, name: str) -> int:
    db = sqlite3.connect(f"file:{state / store.DATABASE}?mode=ro", uri=True)
    number: int = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]
    db.close()
    return (number - 1) * PAGE


def overwrite(path: Path, start: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(data)


def set_version(state: Path) -> None:
    db = sqlite3.connect(state / store.DATABASE)
    db.execute("PRAGMA user_version = 1000")
    db.close()


def foreign_log(state: Path) -> None:
    """The log of another ledger that was not closed: whole, and with every page of it."""
    other = state.with_name("other")
    with Ledger(other, purpose="a test") as ledger:
        Writing(ledger, "r-other", 1)
        shutil.copy(other / "ledger.db-wal", state / "ledger.db-wal")
    shutil.rmtree(other)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped byte in a page's head": lambda s: overwrite(s / "ledger.db", page(s, "jobs") + 3, b"\xff"),
    "a zeroed page": lambda s: overwrite(s / "ledger.db", page(s, "receipts"), bytes(PAGE)),
    "a truncated file": lambda s: os.truncate(s / "ledger.db", (s / "ledger.db").stat().st_size - PAGE),
    "a file cut in a page": lambda s: os.truncate(s / "ledger.db", 3 * PAGE + 17),
    "a file cut to nothing": lambda s: os.truncate(s / "ledger.db", 0),
    "no magic": lambda s: overwrite(s / "ledger.db", 0, b"?"),
    "a zeroed first page": lambda s: overwrite(s / "ledger.db", 0, bytes(PAGE)),
    "another ledger's log": foreign_log,
    "a newer schema": set_version,
}


def refused(workspace: Any, state: Path, what: str, verbs: Any) -> None:
    DAMAGE[what](state)
    kept = {name: (state / name).read_bytes() for name in ("ledger.db", "ledger.db-wal") if (state / name).exists()}
    produced = sorted(workspace.path.glob("python_output/**/*"))
    for verb, code, said in ask(workspace, verbs):
        assert "Traceback" not in said, (verb, said)
        assert code == (2 if verb == ["doctor"] else 3), (verb, code, said)
        remedy = "newer" if what == "a newer schema" else "`buildrunner ledger recover`"
        assert remedy in " ".join(said.split()), (verb, said)
        for name, data in kept.items():
            assert (state / name).read_bytes() == data, f"{verb} changed {name}"
    assert sorted(workspace.path.glob("python_output/**/*")) == produced
    assert not list(state.glob("*.schema-*"))


@pytest.mark.parametrize("what", ["a zeroed page", "another ledger's log", "a newer schema"])
def test_s54_s55_s56_every_verb_refuses_a_record_it_cannot_trust(workspace: Any, recorded: Path, what: str) -> None:
    refused(workspace, recorded, what, VERBS)


@pytest.mark.parametrize("what", sorted(DAMAGE.keys() - {"a zeroed page", "another ledger's log", "a newer schema"}))
def test_s54_every_kind_of_damage_is_refused(workspace: Any, recorded: Path, what: str) -> None:
    refused(workspace, recorded, what, [("run", "src", "-q"), ("status",), ("ledger", "check"), ("doctor",)])


def test_s54_options_that_nobody_can_have_recorded_are_refused(workspace: Any) -> None:
    workspace.scripts(a="pass")
    workspace.run("run", "src", "-q")
    for options in ("{}", '{"workers": 1}', "[]"):
        db = sqlite3.connect(workspace.path / ".buildrunner/ledger.db")
        db.execute("UPDATE runs SET options = ?", (options,))
        db.commit()
        db.close()
        refused = workspace.run("resume", code=3)
        assert "damaged" in refused.err
        assert "Traceback" not in refused.err


def test_s54_s01_a_killed_run_is_recovered_and_carried_on(workspace: Any, wait_until: Any) -> None:
    """The whole way: a server killed, its record damaged, recovered, put in its place, resumed."""
    note = workspace.note("ran")
    workspace.scripts(a=note, b=note + "exit(1)", c=workspace.note("start") + workspace.until("gate") + note, d=note)
    run = workspace.start("run", "src", "-q", "-j", "1", "--order", "name")
    wait_until(lambda: workspace.notes("start"))
    run.kill()
    workspace.finish(run)
    wait_until(lambda: not workspace.left())
    state = workspace.path / ".buildrunner"
    checkpointed(state)
    overwrite(state / "ledger.db", 0, bytes(PAGE))
    assert "`buildrunner ledger recover`" in workspace.run("resume", code=3).err
    document = workspace.run("ledger", "recover", "--json").document
    assert document["schema"] == "buildrunner.ledger-recover/1"
    assert (document["runs"], document["jobs"], document["receipts"]) == (1, 4, 2)
    assert "empty" in workspace.run("ledger", "recover", code=2).err  # what is there is not written over
    workspace.open("gate")
    for command in document["next"]:
        words = command.split()
        if words[0] == "mv":
            os.rename(workspace.path / words[2], workspace.path / words[3])
        else:
            workspace.run(*words[1:], code=1)
    assert sorted(job for job, _, _ in workspace.notes("ran")) == ["a.py", "b.py", "c.py", "d.py"]  # none twice
    results = workspace.run("status", "--json").results
    assert {name: r["state"] for name, r in results.items()} == {
        "a.py": "passed", "b.py": "failed", "c.py": "passed", "d.py": "passed",
    }  # fmt: skip
    assert results["c.py"]["attempts"] == 2
    workspace.run("ledger", "check")


# a log that is missing, cut, or another's


@pytest.fixture
def files(killed_ledger: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed_ledger, tmp_path / "files"))


def test_s55_a_missing_log_is_told(files: Path) -> None:
    """What is in the file alone is an earlier state; the journals of the workers know of a later one."""
    (files / "ledger.db-wal").unlink()
    assert [row[1] for row in everything(files)["runs"].values()] == ["r-older", "r-finished"]
    kept = (files / "ledger.db").read_bytes()
    [problem] = check(files).problems
    assert problem.run == "r-killed"
    assert "its write-ahead log is missing" in problem.text
    for opened in (lambda: Ledger(files, purpose="a test"), lambda: Reader.open(files)):
        with pytest.raises(LedgerError, match="run r-killed is not in it any more") as refused:
            opened()
        assert "`buildrunner ledger recover`" in str(refused.value)
    assert (files / "ledger.db").read_bytes() == kept
    assert (files / "runs/r-killed/0.journal").exists()


def test_s55_a_missing_log_with_all_of_a_run_in_it(workspace: Any, wait_until: Any) -> None:
    """Every verb says so, none takes the older run for the newest, and `ledger recover` tells what is left of it."""
    workspace.scripts(a=workspace.note("start"))
    workspace.run("run", "src", "-q")
    older = workspace.run("history", "--json").document
    workspace.scripts(a=workspace.note("start"), b=workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "-q", "-j", "1", "--order", "name")
    wait_until(lambda: len(workspace.notes("start")) == 3)
    run.kill()
    workspace.finish(run)
    wait_until(lambda: not workspace.left())
    state = workspace.path / ".buildrunner"
    [lost] = [path.name for path in (state / "runs").iterdir()]
    (state / "ledger.db-wal").unlink()
    kept = (state / "ledger.db").read_bytes()
    for verb, code, said in ask(workspace):
        assert "Traceback" not in said, (verb, said)
        assert code == (2 if verb == ["doctor"] else 3), (verb, code, said)
        said = " ".join(said.split())
        assert lost in said, (verb, said)
        assert "`buildrunner ledger recover`" in said, (verb, said)
    assert (state / "ledger.db").read_bytes() == kept
    assert list((state / "runs" / lost).glob("*.journal"))
    done = workspace.run("ledger", "recover")
    assert f"run {lost}: of it only its workers' journals are left, with 1 receipt" in done.out
    document = workspace.run("ledger", "recover", "--json", "--to", "again").document
    assert document["runs_lost"] == [lost]
    assert document["lost"]["runs"] == 1
    state.rename(workspace.path / "damaged")
    (workspace.path / ".buildrunner-recovered").rename(state)
    assert workspace.run("history", "--json").document == older
    workspace.run("ledger", "check")
    workspace.open("gate")
    workspace.run("run", "src", "-q")


def test_s55_a_first_run_of_which_only_journals_are_left(workspace: Any, wait_until: Any) -> None:
    """Nothing can be recovered then, and what to do instead is said."""
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "-q")
    wait_until(lambda: workspace.notes("start"))
    run.kill()
    workspace.finish(run)
    wait_until(lambda: not workspace.left())
    state = workspace.path / ".buildrunner"
    for gone in (("ledger.db-wal", "ledger.db-shm"), ("ledger.db",)):
        for name in gone:
            (state / name).unlink(missing_ok=True)
        for verb in (("run", "src"), ("resume",), ("status",), ("plan", "src")):
            assert "`buildrunner ledger recover`" in workspace.run(*verb, code=3).err, (gone, verb)
        assert "`buildrunner ledger recover`" in " ".join(workspace.run("doctor", code=2).out.split()), gone
        assert "move .buildrunner away and run anew" in workspace.run("ledger", "recover", code=3).err
    assert not (state / "ledger.db").exists()
    state.rename(workspace.path / "damaged")
    workspace.open("gate")
    workspace.run("run", "src", "-q")


def test_s55_a_log_without_its_ledger_is_kept(files: Path) -> None:
    """SQLite would make a new database, and remove the log."""
    (files / "ledger.db").unlink()
    log = (files / "ledger.db-wal").read_bytes()
    for opened in (lambda: Ledger(files, purpose="a test"), lambda: Reader.open(files)):
        with pytest.raises(LedgerError, match="empty or gone, and it was not before"):
            opened()
    assert (files / "ledger.db-wal").read_bytes() == log
    assert not (files / "ledger.db").exists()


def test_s55_another_ledgers_log_is_not_taken_for_its_own(files: Path) -> None:
    (files / "ledger.db-wal").unlink()
    before = everything(files)
    foreign_log(files)
    for opened in (lambda: Ledger(files, purpose="a test"), lambda: Reader.open(files)):
        with pytest.raises(LedgerError, match="is not that of the ledger beside it"):
            opened()
    assert "is not that of the ledger" in check(files).problems[0].text
    (files / "ledger.db-wal").unlink()
    assert everything(files) == before


def test_s55_a_stale_index_of_the_log_is_made_anew(files: Path, tmp_path: Path) -> None:
    before = everything(files)
    with Ledger(tmp_path / "other", purpose="a test") as ledger:
        Writing(ledger, "r-other", 1)
        shutil.copy(tmp_path / "other" / "ledger.db-shm", files / "ledger.db-shm")
    assert everything(files) == before
    (files / "ledger.db-shm").write_bytes(os.urandom(32768))
    assert everything(files) == before
    (files / "ledger.db-shm").unlink()
    assert everything(files) == before


def cut(killed_ledger: Path, place: Path, lengths: list[int]) -> int:
    """Cut the log at each of these lengths; how many different states there were."""
    whole = (killed_ledger / "ledger.db-wal").read_bytes()
    newest = everything(killed_ledger)
    states = set()
    for length in lengths:
        files = place / "files"
        shutil.rmtree(files, ignore_errors=True)
        shutil.copytree(killed_ledger, files)
        (files / "ledger.db-wal").write_bytes(whole[:length])
        found = everything(files)
        states.add(len(found["receipts"]) * 1000 + len(found["attempts"]))
        # An earlier state is a state there was: nothing in it that is not in the newest, and every job in one piece.
        for table in ("attempts", "receipts"):
            assert found[table].items() <= newest[table].items(), length
        others = [problem.text for problem in check(files).problems if "write-ahead log is missing" not in problem.text]
        assert others == [], length
    return len(states)


def boundaries(killed_ledger: Path) -> list[int]:
    """Lengths at which a log may end: after every frame, and one byte to either side of it."""
    whole = (killed_ledger / "ledger.db-wal").stat().st_size
    frames = range(32, whole + 1, 24 + PAGE)
    return sorted({0, 1, 31, *(n + d for n in frames for d in (-1, 0, 1, 24) if n + d <= whole)})


def test_s55_a_log_cut_short_is_an_earlier_state(killed_ledger: Path, tmp_path: Path) -> None:
    lengths = boundaries(killed_ledger)
    assert cut(killed_ledger, tmp_path, lengths[:: len(lengths) // 30]) > 10


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_s55_a_log_cut_at_every_boundary(killed_ledger: Path, tmp_path: Path) -> None:
    assert cut(killed_ledger, tmp_path, boundaries(killed_ledger)) > 30


def test_a_ledger_and_its_log_know_each_other(files: Path) -> None:
    """By a number in the file's own head, which is there before the first page is in a log."""
    (number,) = struct.unpack(">I", (files / "ledger.db").read_bytes()[68:72])
    assert number
    db = sqlite3.connect(files / "ledger.db")
    assert db.execute("PRAGMA application_id").fetchone()[0] == number
    db.close()
