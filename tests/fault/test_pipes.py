"""A pipe in the place of a file of ours: nobody waits for what never comes."""

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.fault

SOON = 60.0  # seconds: much more than any of these takes, and less than for ever


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def ask(workspace: Any, *words: str, code: int | None) -> Any:
    return workspace.finish(workspace.start(*words), code=code, seconds=SOON)


def test_a_script_puts_a_pipe_in_the_place_of_its_log(workspace: Any) -> None:
    workspace.script("a.sh", "cd python_output/logs; rm a.sh.out; mkfifo a.sh.out; exit 3")
    workspace.run("run", "src", code=1)
    assert "are no longer there" in ask(workspace, "logs", "a.sh", "--stdout", code=0).err
    ask(workspace, "why", "a.sh", code=0)
    ask(workspace, "status", code=0)


@pytest.mark.parametrize("verb", [("status",), ("logs", "a.sh"), ("package",), ("resume",), ("run", "src")])
def test_a_pipe_in_the_place_of_the_list_of_what_is_whose(workspace: Any, verb: tuple[str, ...]) -> None:
    workspace.script("a.sh", "echo 1")
    workspace.run("run", "src")
    pipe(workspace.path / "python_output" / ".buildrunner-files")
    ask(workspace, *verb, code=None)


def test_a_pipe_in_the_place_of_a_journal(workspace: Any, wait_until: Any) -> None:
    workspace.script("a.py", workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "-q")
    wait_until(lambda: workspace.notes("start"))
    run.kill()
    workspace.finish(run)
    wait_until(lambda: not workspace.left())
    for journal in (workspace.path / ".buildrunner" / "runs").glob("*/*.journal"):
        pipe(journal)
    ask(workspace, "ledger", "check", code=None)
    ask(workspace, "ledger", "recover", "--to", "new", code=None)
    workspace.open("gate")
    ask(workspace, "resume", code=0)


@pytest.mark.parametrize("instead", ["a pipe", "a device without an end"])
def test_something_else_in_the_place_of_the_ledger(workspace: Any, instead: str) -> None:
    workspace.script("a.sh", "echo 1")
    workspace.run("run", "src")
    path = workspace.path / ".buildrunner" / "ledger.db"
    if instead == "a pipe":
        pipe(path)
    else:
        path.unlink()
        path.symlink_to("/dev/zero")
    done = ask(workspace, "ledger", "recover", "--to", "new", code=3)
    assert "buildrunner: " in done.err
