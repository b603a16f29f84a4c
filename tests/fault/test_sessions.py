"""A run that was interrupted and goes on: what the earlier sessions cost it in retries and in wall time."""

import signal
from datetime import datetime
from typing import Any

import pytest

from buildrunner.ledger import Reader

pytestmark = pytest.mark.fault


def interrupt(workspace: Any, wait_until: Any, *command: str, gate: str, starts: int) -> None:
    """Start the program, wait until a script has started so many times in all, and end it by Ctrl-C."""
    run = workspace.start(*command)
    wait_until(lambda: len(workspace.notes("start")) == starts)
    run.send_signal(signal.SIGINT)
    assert run.wait(30) == 130
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
