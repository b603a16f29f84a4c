"""How long a run will go on, asked from another terminal; and earlier runs with how much they gained."""

import json
import re
from typing import Any

import pytest

from buildrunner.ledger import Reader
from buildrunner.summary import remaining

pytestmark = pytest.mark.acceptance


@pytest.fixture
def second_run(workspace: Any, wait_until: Any) -> Any:
    """A run in whose midst, of scripts that ran before: two are done, `held.py` waits at a gate."""
    workspace.scripts(
        a="import time; time.sleep(0.1)",
        b="import time; time.sleep(0.1)",
        held=workspace.note("start") + workspace.until("gate"),
    )
    workspace.open("gate")
    workspace.run("run", "src", "-q")
    (workspace.path / "gate").unlink()
    run = workspace.start("run", "src", "-j", "1", "--order", "name", "--json")
    wait_until(lambda: len(workspace.notes("start")) == 2)
    return run


def test_while_it_runs_and_when_it_is_over(workspace: Any, second_run: Any) -> None:
    eta = workspace.run("status", "--json").document["eta_seconds"]
    assert isinstance(eta, float)
    assert 0 <= eta < 600
    text = workspace.run("status").out
    assert re.search(r"^([<\d].* ± .*|perhaps .*) left$", text, re.MULTILINE)
    assert re.search(r"^running on worker 0 for .*: held\.py$", text, re.MULTILINE)
    [entry, earlier] = json.loads(workspace.run("history", "--json").out)
    assert isinstance(entry["eta_seconds"], float)
    assert earlier["eta_seconds"] is None
    workspace.open("gate")
    assert workspace.finish(second_run, code=0).document["eta_seconds"] is None
    assert workspace.run("status", "--json").document["eta_seconds"] is None
    assert " left" not in workspace.run("status").out


def test_nothing_is_said_while_nothing_is_known(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src")
    wait_until(lambda: workspace.notes("start"))
    assert workspace.run("status", "--json").document["eta_seconds"] is None
    assert " left" not in workspace.run("status").out
    workspace.open("gate")
    workspace.finish(run, code=0)


def test_a_run_whose_server_was_killed_has_no_time_left(workspace: Any, second_run: Any) -> None:
    second_run.kill()
    second_run.wait()
    assert workspace.run("status", "--json").document["eta_seconds"] is None
    assert " ± " not in workspace.run("status").out


def test_a_script_that_starts_while_one_looks(workspace: Any, second_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs and since when are two questions; between them a script may have started."""
    monkeypatch.setattr(Reader, "dispatched", lambda self, run: {})
    reader = Reader.open(workspace.path / ".buildrunner")
    try:
        left = remaining(reader, reader.run())
    finally:
        reader.close()
    assert left
    workspace.open("gate")
    workspace.finish(second_run, code=0)


def test_history_says_what_each_run_gained(workspace: Any) -> None:
    workspace.scripts(a="import time; time.sleep(0.3)", b="import time; time.sleep(0.3)", c="exit(1)")
    for jobs in ("1", "3"):
        workspace.run("run", "src", "-q", "-j", jobs, code=1)
    out = workspace.run("history").out
    heading, *rows, last = [line for line in out.splitlines() if line.strip() and "──" not in line]
    assert last == "speed-up: estimated from the run alone"
    assert heading.split() == ["run", "target", "state", "scripts", "failed", "wall", "speed-up"]
    newest, oldest = json.loads(workspace.run("history", "--json").out)
    for row, entry in zip(rows, (newest, oldest), strict=True):
        assert row.split()[:5] == [entry["run"], "src", "finished", "3", "1"]
    assert rows[0].rstrip().endswith(f"{newest['concurrency']:.2f} ×")
    assert "×" not in rows[1], "one at a time"
    assert newest["jobs"] == 3
    assert "results" not in newest
    assert workspace.run("history", "-n", "1").out.count("src") == 1
