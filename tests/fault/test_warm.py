"""Warm workers and their children where something goes wrong between the fork and a script's first line, or before."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from buildrunner.run.fork import PLACEHOLDER

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has warm scripts"),
]

ROOT = Path(__file__).resolve().parents[2]


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


# What runs as Python starts, by a sitecustomize or by a line of a .pth → why no script can be started warm then.
STARTS = {
    "import random\nrandom.seed(42)": "/sitecustomize.py is run when Python starts: what it does, ",
    "import sys\nARGUMENTS = list(sys.argv)": "/sitecustomize.py is run when Python starts: what it does, ",
    "import errno, os\ndef none(*_): raise OSError(errno.ENOSYS, 'no')\nos.pidfd_open = none": "no pidfd_open",
    "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.getenv.restype = ctypes.c_void_p\n"
    "if place := libc.getenv(b'BUILDRUNNER_ATTEMPT_ID'): ctypes.memset(place, 120, 36)": (
        "the environment that Python was given is written over"
    ),
    "import os\nbehind = os.open\n"
    "def forbidding(path, *more, **named):\n"
    "    if path == '/proc/self/mem': raise PermissionError(13, 'Permission denied')\n"
    "    return behind(path, *more, **named)\n"
    "os.open = forbidding": "does not let Python use its own /proc/self (Permission denied)",
}
LINES = {
    "import random; random.random()": "something draws from random when Python starts",
    "import random, sys; sys.own = random.Random(7)": "something draws from random when Python starts",
    "import tempfile; next(tempfile._get_candidate_names())": "something draws from random when Python starts",
    "import random, secrets, tempfile; secrets.SystemRandom().random()": "",
    "import uuid; uuid.uuid1()": "something imports uuid when Python starts",
    "import os; os.environ['STARTED'] = str(os.getpid())": "something changes STARTED in the environment",
    "import os; os.environ.pop('LANG', 0)": "something changes LANG in the environment",
    "import sys; sys.meta_path.append(sys.meta_path[-1])": "",
    "import os; os.environ['LANG'] = os.environ['LANG']": "",
}


@pytest.mark.parametrize("start", STARTS)
def test_scripts_do_not_share_what_a_sitecustomize_does(workspace: Any, start: str) -> None:
    library(workspace, sitecustomize=start + "\n")
    workspace.scripts(a="import _signal\nprint(_signal.getsignal(_signal.SIGCHLD) == _signal.SIG_DFL)")
    done = workspace.json("--no-zip", "-j", "1")
    mode, why = modes(done)["a.py"]
    assert mode == "cold"
    assert why and STARTS[start] in why
    assert workspace.log("a.py") == b"True\n"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing in it."""
    path = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", path], check=True)
    return path


@pytest.mark.parametrize("line", LINES)
def test_scripts_do_not_share_what_a_line_of_a_pth_file_took(workspace: Any, environment: Path, line: str) -> None:
    [site] = environment.glob("lib/python*/site-packages")
    (site / "start.pth").write_text(line + "\n")
    workspace.scripts(a="print('a')")
    done = workspace.json("--no-zip", "-j", "1", "--python", environment / "bin" / "python", env={"LANG": "C.UTF-8"})
    mode, why = modes(done)["a.py"]
    assert mode == ("cold" if LINES[line] else "warm")
    assert LINES[line] in (why or "")


def test_a_worker_that_imports_ends_with_its_killed_server(workspace: Any, wait_until: Any, alive: Any) -> None:
    library(workspace, slow=f"open({os.fspath(workspace.path / 'importing')!r}, 'w')\nimport time\ntime.sleep(50)\n")
    workspace.scripts(a="pass")
    run = workspace.start("run", "src", "--mode", "warm", "--preload", "slow", "-j", "1")
    wait_until(lambda: (workspace.path / "importing").exists())
    [worker] = workspace.children(run.pid)
    run.kill()
    wait_until(lambda: not alive(worker), 20.0, "the worker's end")


def test_a_worker_that_has_imported_ends_as_any_other_when_its_server_is_killed(
    workspace: Any, wait_until: Any, alive: Any
) -> None:
    """It is not ended, but hears of it, and says in its journal when that was."""
    workspace.scripts(a=workspace.note("here") + workspace.until("never"))
    run = workspace.start("run", "src", "--mode", "warm", "--preload", "json", "-j", "1")
    [(_, _, script)] = wait_until(lambda: workspace.notes("here"))
    [worker] = workspace.children(run.pid)
    run.kill()
    wait_until(lambda: not alive(worker) and not alive(script), 30.0, "their end")
    [journal] = workspace.path.glob(".buildrunner/runs/*/worker-1.journal")
    assert b"('left', " in journal.read_bytes()


# What a .pth file's line does to a warm worker as it starts → how scripts run then.
KILLED = {
    "import os; os.path.exists('once') or (open('once', 'w').close(), os.kill(os.getpid(), 9))": ("warm", None),
    "import os; os.environ['BUILDRUNNER_ATTEMPT_ID'][0] == '-' and os.kill(os.getpid(), 9)": (
        "cold",
        "its Python ended by signal 9",
    ),
}


@pytest.mark.parametrize("line", KILLED)
def test_a_warm_worker_that_is_killed_as_it_starts_is_tried_once_more(
    workspace: Any, environment: Path, line: str
) -> None:
    [site] = environment.glob("lib/python*/site-packages")
    (site / "start.pth").write_text(line + "\n")
    workspace.scripts(a="print('a')", b="print('b')")
    done = workspace.json("--no-zip", "-j", "1", "--python", environment / "bin" / "python")
    assert modes(done) == {"a.py": KILLED[line], "b.py": KILLED[line]}


def test_why_a_program_that_starts_python_has_cold_scripts(workspace: Any) -> None:
    python = workspace.path / "py"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    workspace.scripts(a="print('a')")
    mode, why = modes(workspace.json("--no-zip", "--python", python))["a.py"]
    assert (mode, why) == (
        "cold",
        f"{python} is no Python itself but starts one, perhaps not the same for every script",
    )


@pytest.mark.parametrize(
    ("path", "expected"), [("", "warm"), ("relative", "cold"), ("/absolute:", "cold"), ("/absolute", "warm")]
)
def test_an_empty_pythonpath_names_no_folder(workspace: Any, path: str, expected: str) -> None:
    workspace.scripts(a="print('a')")
    program = ("-c", f"import sys; sys.path.insert(0, {os.fspath(ROOT)!r}); from buildrunner.cli import main; main()")
    words = ("run", "src", "--json", "--no-zip", "--cwd", "script")
    done = workspace.finish(workspace.start_python(*program, *words, env={"PYTHONPATH": path}), code=0)
    mode, why = modes(done)["a.py"]
    reason = "PYTHONPATH names a folder relative to where a script runs"
    assert (mode, why) == (expected, reason if expected == "cold" else None)


def test_what_a_worker_imports_to_cut_logs_is_not_seen_by_the_next_script(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(
        a="print('x' * 999_999, flush=True)\n" + workspace.until("gate"),
        b="import sys\nprint(*sorted(sys.path_importer_cache), *sorted(sys.modules))",
    )
    run = workspace.start("run", "src", "--json", "--no-zip", "-j", "1", "--order", "name", "--max-output", "64K")
    log = workspace.path / "python_output/logs/a.py.out"
    wait_until(lambda: log.exists() and log.stat().st_size and log.stat().st_blocks * 512 < log.stat().st_size / 2)
    workspace.open("gate")
    done = workspace.finish(run, code=0)
    assert modes(done)["b.py"] == ("warm", None)
    assert b"ctypes" not in workspace.log("b.py")
