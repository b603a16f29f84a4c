"""Warm workers and their children where something goes wrong between the fork and a script's first line, or before."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from buildrunner.run.fork import PLACEHOLDER

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has warm scripts"),
]


def modes(done: Any) -> dict[str, tuple[str, str | None]]:
    return {name: (result["mode"], result["why_cold"]) for name, result in done.results.items()}


def library(workspace: Any, **modules: str) -> None:
    """Modules that scripts find through PYTHONPATH."""
    folder = workspace.path / "library"
    folder.mkdir()
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    workspace.env["PYTHONPATH"] += f":{folder}"


def test_a_child_that_cannot_become_its_script_starts_it_cold(workspace: Any) -> None:
    library(workspace, breaker="import multiprocessing.process\nmultiprocessing.process.AuthenticationString = None\n")
    workspace.scripts(a="print('a')", b="print('b')")
    done = workspace.json("--preload", "breaker", "-j", "1", "--no-zip")
    for name in ("a.py", "b.py"):
        result = done.results[name]
        assert (result["mode"], result["attempts"], result["lost"], result["worker"]) == ("cold", 1, 0, 0)
        assert result["why_cold"].startswith("its process could not be made ready for it (TypeError: ")
        assert workspace.log(name) == f"{name[0]}\n".encode()
    assert "replaced" not in done.err


def test_a_working_folder_that_is_gone_is_to_multiprocessing_what_it_is_cold(workspace: Any) -> None:
    here = workspace.path / "here"
    show = "import multiprocessing.process\nprint(multiprocessing.process.ORIGINAL_DIR)"
    workspace.scripts(a=f"import os\nos.rmdir({os.fspath(here)!r})", b=show)
    words = ("run", workspace.source, "--json", "--no-zip", "-j", "1", "--order", "name")
    places = ("--output", workspace.path / "python_output", "--state", workspace.path / "state")
    for mode, preload in (("cold", ()), ("warm", ("--preload", "multiprocessing"))):
        here.mkdir()
        done = workspace.run(*words, *places, "--mode", mode, *preload, cwd=here)
        assert modes(done)["b.py"] == (mode, None)
        assert workspace.log("b.py") == b"None\n"


def test_a_long_script_that_nobody_waits_for_any_more_does_not_keep_a_run_from_being_resumed(
    workspace: Any, wait_until: Any, alive: Any
) -> None:
    """It is compiled in the child, which must have let go by then of all that says that its worker lives."""
    workspace.scripts(long="x = 1\n" * 60_000 + workspace.note("ran"))
    run = workspace.start("run", "src", "--no-zip", "-j", "1")

    def compiling() -> list[int]:
        """The child, as soon as it has been told its attempt, which is long before it has read the script."""
        children = [child for worker in workspace.children(run.pid) for child in workspace.children(worker)]
        environments = [Path(f"/proc/{child}/environ").read_bytes() for child in children]
        return [] if any(PLACEHOLDER.encode() in environment for environment in environments) else children

    [child] = wait_until(compiling)
    os.kill(child, signal.SIGSTOP)
    assert not workspace.notes("ran")
    workers = workspace.children(run.pid)
    run.send_signal(signal.SIGSTOP)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    run.kill()
    wait_until(lambda: not any(map(alive, workers)), 30.0)
    workspace.run("resume")
    assert not alive(child)
    assert len(workspace.notes("ran")) == 1
