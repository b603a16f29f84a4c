"""A run that was interrupted and goes on: what the earlier sessions cost it in retries and in wall time."""

import json
import signal
import sqlite3
import time
from datetime import datetime
from typing import Any

import pytest

from buildrunner import BuildServer
from buildrunner.ledger import Ledger, Reader, store
from buildrunner.summary import wall_seconds

pytestmark = pytest.mark.fault


def interrupt(workspace: Any, wait_until: Any, *command: str, gate: str, starts: int) -> None:
    """Start the program, wait until a script has started so many times in all, and end it by Ctrl-C."""
    run = workspace.start(*command)
    wait_until(lambda: len(workspace.notes("start")) == starts)
    run.send_signal(signal.SIGINT)
    assert run.wait(300) == 130
    assert not (workspace.path / gate).exists()


def test_an_interrupted_attempt_spends_no_retry(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate") + "exit(3)")
    interrupt(workspace, wait_until, "run", "src", "--retries", "1", gate="gate", starts=1)
    interrupt(workspace, wait_until, "resume", gate="gate", starts=2)
    workspace.open("gate")
    done = workspace.run("resume", "--json", code=1)
    assert done.results["a.py"]["outcome"] == "exited"
    assert done.results["a.py"]["attempts"] == 4  # two interrupted, one failed, its one retry
    assert len(workspace.notes("start")) == 4


def test_a_retry_that_was_spent_before_an_interruption_stays_spent(workspace: Any, wait_until: Any) -> None:
    first = "import os\nif not os.path.exists('once'): open('once', 'w').close(); exit(3)\n"
    workspace.scripts(a=first + workspace.note("start") + workspace.until("gate") + "exit(3)")
    interrupt(workspace, wait_until, "run", "src", "--retries", "1", gate="gate", starts=1)
    workspace.open("gate")
    done = workspace.run("resume", "--json", code=1)
    assert done.results["a.py"]["attempts"] == 3  # one failed, its retry interrupted, and again


def seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def test_wall_time_counts_every_session_and_nothing_between(workspace: Any, wait_until: Any) -> None:
    """Two sessions that are killed, each after a script of its own, and one that is seen while it goes on."""
    slow = "import time; time.sleep(0.3)\n"
    workspace.scripts(
        a=slow + workspace.note("end"),
        b=workspace.note("start") + workspace.until("b") + slow + workspace.note("end"),
        c=workspace.note("start") + workspace.until("c") + slow + workspace.note("end"),
    )
    options = ("-j", "1", "--order", "name", "--no-zip")
    run = workspace.start("run", "src", *options)
    wait_until(lambda: len(workspace.notes("start")) == 1)
    run.kill()
    run.wait()
    first = workspace.run("status", "--json").document["wall_seconds"]
    assert 0.3 <= first < 30

    workspace.open("b")
    run = workspace.start("resume")
    wait_until(lambda: len(workspace.notes("start")) == 3)
    run.kill()
    run.wait()
    second = workspace.run("status", "--json").document["wall_seconds"]
    assert second >= first + 0.3, "the session that was killed last counts until its last receipt"

    run = workspace.start("resume", "--json")
    wait_until(lambda: len(workspace.notes("start")) == 4)
    early = workspace.run("status", "--json").document["wall_seconds"]
    assert early > second, "the session that goes on counts up to now"
    workspace.open("c")
    document = workspace.finish(run, code=0).document
    assert document["wall_seconds"] >= early
    apart = seconds(document["finished"]) - seconds(document["started"])
    assert document["wall_seconds"] < apart, "what lies between the sessions does not count"
    assert workspace.run("status", "--json").document["wall_seconds"] == document["wall_seconds"]
    reader = Reader.open(workspace.path / ".buildrunner")
    assert reader.run().session is None
    reader.close()


def test_wall_time_counts_what_only_the_journals_saw(workspace: Any, wait_until: Any) -> None:
    """A script that ends while the server is stopped, which is then killed: its time is in both sums."""
    workspace.scripts(a=workspace.note("start") + "import time; time.sleep(1)\n" + workspace.note("end"), b="pass")
    run = workspace.start("run", "src", "-j", "1", "--order", "name", "--no-zip")
    wait_until(lambda: workspace.notes("start"))
    run.send_signal(signal.SIGSTOP)
    [journal] = (workspace.path / ".buildrunner" / "runs").glob("*/*.journal")
    wait_until(lambda: b"('end'" in journal.read_bytes())
    run.kill()
    run.wait()
    document = workspace.run("resume", "--json").document
    assert document["wall_seconds"] >= document["script_seconds"] > 1
    assert document["concurrency"] <= 1


def test_wall_time_of_a_killed_session_counts_until_it_was_killed(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "--no-zip")
    wait_until(lambda: workspace.notes("start"))
    before = wait_until(lambda: (d := workspace.run("status", "--json").document)["wall_seconds"] > 1 and d)
    run.kill()
    wait_until(lambda: not workspace.left(), 30.0)
    assert workspace.run("status", "--json").document["wall_seconds"] >= before["wall_seconds"]


def test_what_an_interruption_cut_off_is_no_reason_to_look_faster(workspace: Any, wait_until: Any) -> None:
    """Two scripts, interrupted together twice: their lost halves would have been no work, one after another."""
    for name in "ab":
        workspace.scripts(**{name: workspace.note("start") + "import time; time.sleep(1)\n" + workspace.until("gate")})
    interrupt(workspace, wait_until, "run", "src", "-j", "2", gate="gate", starts=2)
    workspace.open("gate")
    document = workspace.run("resume", "--json").document
    results = document["results"]
    assert all(result["attempts"] == 2 and result["total_seconds"] > result["seconds"] for result in results)
    assert document["script_seconds"] == pytest.approx(sum(result["seconds"] for result in results), abs=1e-5)
    assert document["bound_seconds"] <= max(result["seconds"] for result in results) + 1e-5


def test_one_server_object_counts_only_its_runs(
    workspace: Any, monkeypatch: pytest.MonkeyPatch, wait_until: Any
) -> None:
    monkeypatch.chdir(workspace.path)
    workspace.scripts(a="pass")
    server = BuildServer("src", workers=1, zip=None)
    time.sleep(0.5)
    began = time.monotonic()
    first = server.run()
    assert first.speed.wall_seconds <= time.monotonic() - began
    time.sleep(0.5)
    began = time.monotonic()
    assert server.run().speed.wall_seconds <= time.monotonic() - began


def test_jobs_that_lie_ahead_of_a_worker_are_not_called_running(workspace: Any, wait_until: Any) -> None:
    quick = workspace.note("ran")
    for number in range(60):
        workspace.script(f"{number:03}.sh", "exit 0")
    workspace.script("050.py", quick + workspace.until("gate"))
    run = workspace.start("run", "src", "-j", "1", "--order", "name", "--no-zip")
    wait_until(lambda: workspace.notes("ran"))
    document = workspace.run("status", "--json").document
    assert document["totals"]["running"] == 1
    assert [r["name"] for r in document["results"] if r["state"] == "running"] == ["050.py"]
    assert sum(document["totals"][s] for s in ("passed", "running", "waiting")) == 61
    shown = workspace.run("status").out
    assert shown.count("running on worker") == 1
    assert "idle" not in shown
    workspace.open("gate")
    workspace.finish(run, code=0)


def test_a_ledger_of_the_first_schema_keeps_its_wall_times(workspace: Any) -> None:
    """Three runs of a ledger as it was before sessions were recorded: finished, killed, interrupted in order."""
    state = workspace.path / ".buildrunner"
    state.mkdir()
    db = sqlite3.connect(state / "ledger.db")
    db.executescript(store._migrations()[0] + "PRAGMA user_version = 1;")
    columns = "name, state, target, key, args, options, jobs, python, started, finished, wall, exit_code"
    options = json.dumps({"workers": 1, "output": "out", "zip": None, "directory": "/nowhere"})
    for name, state_, finished, wall in (
        ("run-1", "finished", 105.0, 4.5),
        ("run-2", "running", None, None),
        ("run-3", "interrupted", 205.0, 3.5),
    ):
        values = (name, state_, "src", name, "[]", options, 1, "python", 100.0, finished, wall, None)
        db.execute(f"INSERT INTO runs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    db.execute("INSERT INTO jobs (run, name, file, spec, state) VALUES (2, 'a', 'a', '{}', 'passed')")
    db.execute("INSERT INTO attempts VALUES ('x', 1, 1, 0, NULL)")
    db.execute(
        "INSERT INTO receipts (attempt, job, number, mode, outcome, started, seconds, cpu_seconds, checksum) "
        "VALUES ('x', 1, 1, 'cold', 'ok', 101.0, 1.5, 1, '')"
    )
    db.commit()
    db.close()
    Ledger(state, purpose="a test").close()
    reader = Reader.open(state)
    assert {run.name: (wall_seconds(reader, run), run.session) for run in reader.runs()} == {
        "run-1": (4.5, None), "run-2": (2.5, 100.0), "run-3": (3.5, None),
    }  # fmt: skip
    reader.close()


def test_what_an_attempt_left_that_the_record_lost_is_in_nobodys_way(workspace: Any) -> None:
    """As after a power cut: the files are there, and the record knows of no attempt that could have left them."""
    leave = "import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/left', 'w').write('x')"
    workspace.scripts(**{f"a{n}": leave for n in range(4)})
    workspace.run("run", "src")
    database = sqlite3.connect(workspace.path / ".buildrunner/ledger.db")
    with database:
        database.execute("DELETE FROM receipts")
        database.execute("DELETE FROM attempts")
        database.execute("UPDATE jobs SET state = 'waiting', attempt = NULL, attempts = 0")
        database.execute("UPDATE runs SET state = 'interrupted', exit_code = NULL, archive = NULL")
    database.close()
    assert "4 passed" in workspace.run("resume").out
