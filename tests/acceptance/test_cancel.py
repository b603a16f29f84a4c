"""`buildrunner cancel` of a whole run: what it ends, when it answers, and what can be done afterwards."""

import os
import signal
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance


@pytest.fixture(autouse=True)
def sockets(workspace: Any) -> Iterator[Path]:
    """The folder of the runs' sockets, this test's alone; nothing may be left there, nor in the state folder."""
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        workspace.env["XDG_RUNTIME_DIR"] = folder
        place = Path(folder, "buildrunner")
        yield place
        assert list(place.glob("*")) == []
        assert list((workspace.path / ".buildrunner").glob("control*")) == []


def stubborn(workspace: Any) -> str:
    """A script that TERM does not end."""
    return str("import signal, time\nsignal.signal(15, signal.SIG_IGN)\n" + workspace.note("start") + "time.sleep(600)")


def states(workspace: Any) -> dict[str, tuple[str, str | None]]:
    results = workspace.run("status", "--json").results.values()
    return {result["name"]: (result["state"], result["outcome"]) for result in results}


@pytest.fixture
def held(workspace: Any, wait_until: Any) -> Any:
    """Two of four scripts have ended, `c` waits at a gate, `d` for a worker."""
    for name in "abcd":
        until = workspace.until("gate") if name == "c" else "import time; time.sleep(0.1)\n"
        workspace.scripts(**{name: workspace.note("start") + until + workspace.note("end")})
    run = workspace.start("run", "src", "--json", "-j", "1", "--order", "name")
    wait_until(lambda: len(workspace.notes("start")) == 3)
    return run


def test_no_resume_is_promised_that_would_run_nothing(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a="exit(1)", b=workspace.note("start") + workspace.until("gate"), c="pass")
    run = workspace.start("run", "src", "-x", "-j2", "--order", "name")
    wait_until(lambda: workspace.notes("start") and "1 failed" in workspace.run("status").out)
    assert "--max-fail 1 is reached" in workspace.run("cancel").out
    workspace.finish(run, code=1)


def test_it_answers_when_all_that_the_run_started_is_gone(workspace: Any, wait_until: Any, alive: Any) -> None:
    slow = "def end(*_):\n    time.sleep(1)\n    " + workspace.note("end") + "    sys.exit()\n"
    escaped = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\n" + workspace.note("escaped") + "time.sleep(600)"
    workspace.scripts(
        slow="import signal, sys, time\n"
        + slow
        + "signal.signal(15, end)\n"
        + workspace.note("start")
        + "time.sleep(600)",
        stubborn=stubborn(workspace),
        parent="import subprocess, sys\n"
        + f"subprocess.Popen([sys.executable, '-c', {escaped!r}], start_new_session=True)\n"
        + workspace.note("start")
        + workspace.until("never"),
        zlater=workspace.note("start"),
    )
    run = workspace.start("run", "src", "--json", "-j", "3", "--order", "name", "--grace", "1500ms")
    wait_until(lambda: len(workspace.notes("start")) == 3 and workspace.notes("escaped"))
    pids = [pid for word in ("start", "escaped") for _, _, pid in workspace.notes(word)]
    assert all(map(alive, pids))

    done = workspace.run("cancel")
    assert not any(map(alive, pids))
    assert [job for job, _, _ in workspace.notes("end")] == ["slow.py"]
    document = workspace.finish(run, code=1).document
    assert workspace.left() == []
    assert f"run {document['run']} is cancelled and its processes are gone; 4 scripts left to run" in done.out
    assert f"buildrunner resume {document['run']}" in done.out
    assert (document["state"], document["archive"]) == ("cancelled", None)
    assert (document["totals"]["cancelled"], document["totals"]["waiting"]) == (4, 0)
    assert {result["name"]: result["signal"] for result in document["results"]} == {
        "slow.py": None, "stubborn.py": signal.SIGKILL, "parent.py": signal.SIGTERM, "zlater.py": None,
    }  # fmt: skip
    assert states(workspace)["zlater.py"] == ("cancelled", None)
    assert len(workspace.notes("start")) == 3
    assert not (workspace.path / "result.zip").exists()


def test_asking_again_kills_at_once(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(
        a="import signal, time\nsignal.signal(15, lambda *_: print('asked', flush=True))\n"
        + workspace.note("start")
        + "while True: time.sleep(600)"
    )
    run = workspace.start("run", "src", "--json", "--grace", "1h")
    wait_until(lambda: workspace.notes("start"))
    first = workspace.start("cancel")
    wait_until(lambda: workspace.log("a.py") == b"asked\n")
    assert (first.poll(), run.poll()) == (None, None)
    second = workspace.run("cancel")
    answers = [workspace.finish(first, code=0).out, second.out]
    assert all("is cancelled and its processes are gone" in answer for answer in answers)
    assert workspace.finish(run, code=1).results["a.py"]["signal"] == signal.SIGKILL


def test_two_at_once(workspace: Any, held: Any) -> None:
    both = [workspace.start("cancel") for _ in range(2)]
    for one in both:
        workspace.finish(one, code=0)
    assert workspace.finish(held, code=1).document["state"] == "cancelled"


def test_resume_runs_what_was_not_decided(workspace: Any, held: Any) -> None:
    workspace.run("cancel")
    cancelled = workspace.finish(held, code=1).document
    assert states(workspace) == {
        "a.py": ("passed", "ok"), "b.py": ("passed", "ok"), "c.py": ("cancelled", "cancelled"),
        "d.py": ("cancelled", None),
    }  # fmt: skip
    assert "cancelled with 2 scripts left to run" in workspace.run("status").out
    workspace.open("gate")
    done = workspace.run("resume", "--json")
    assert (done.document["run"], done.document["state"]) == (cancelled["run"], "finished")
    assert done.document["totals"] == {**cancelled["totals"], "passed": 4, "cancelled": 0}
    assert [job[0] for job, _, _ in workspace.notes("end")] == list("abcd")
    assert all(result["error"] is None for result in done.results.values())
    workspace.run("verify", "result.zip")
    with zipfile.ZipFile(workspace.path / "result.zip") as packed:
        assert {f"logs/{name}.py.out" for name in "abcd"} <= set(packed.namelist())


def test_run_resume_carries_a_cancelled_run_on(workspace: Any, held: Any) -> None:
    workspace.run("cancel")
    first = workspace.finish(held, code=1).document["run"]
    workspace.open("gate")
    done = workspace.json("-j", "1", "--order", "name", "--resume")
    assert (done.document["run"], done.document["totals"]["passed"]) == (first, 4)
    assert len(workspace.notes("end")) == 4


PATCHED = """
import sys, time
from pathlib import Path
from buildrunner.cli import main

def gate(told, awaited):
    Path(told).touch()
    while not Path(awaited).exists():
        time.sleep(0.01)

{patch}
sys.argv = ["buildrunner", *sys.argv[1:]]
main()
"""
NO_SOCKET_YET = """
from buildrunner.session import Session
open_control = Session._open_control
Session._open_control = lambda *args: (gate("recorded", "go on"), open_control(*args))[1]
"""
LATE_END = """
from buildrunner.pool import WorkerPool
close = WorkerPool.close
WorkerPool.close = lambda pool: (gate("scripts ended", "go on"), close(pool))[1]
"""
LATE_REPORT = """
from buildrunner.outputfolder import OutputFolder
finish = OutputFolder.finish
OutputFolder.finish = lambda *args: (gate("answered", "go on"), finish(*args))[1]
"""
SAYS_WHEN_IT_ASKED = """
import socket
sendto = socket.socket.sendto
socket.socket.sendto = lambda own, *args: (sendto(own, *args), Path("asked").touch())[0]
"""
SAYS_WHEN_REFUSED = """
from buildrunner import control
unreachable = control._unreachable
control._unreachable = lambda *args: (Path("refused").touch(), unreachable(*args))[1]
"""


@pytest.fixture
def patched(workspace: Any) -> Any:
    """Starts the program with one of the patches above."""
    return lambda patch, *arguments: workspace.start_python("-c", PATCHED.format(patch=patch), *arguments)


@pytest.fixture
def there(workspace: Any, wait_until: Any) -> Any:
    """Waits for a file of the workspace."""
    return lambda name: wait_until((workspace.path / name).exists, what=name)


def test_at_the_very_start_of_a_run(workspace: Any, patched: Any, there: Any) -> None:
    """The record has the run, but its server does not listen yet, and no worker lives."""
    workspace.scripts(a=workspace.note("start") + "import time\ntime.sleep(600)")
    run = patched(NO_SOCKET_YET, "run", "src", "--json")
    there("recorded")
    cancel = patched(SAYS_WHEN_REFUSED, "cancel")
    there("refused")
    workspace.open("go on")
    assert "is cancelled and its processes are gone" in workspace.finish(cancel, code=0).out
    document = workspace.finish(run, code=1).document
    assert (document["state"], document["totals"]["cancelled"]) == ("cancelled", 1)


def test_at_the_very_end_of_a_run(workspace: Any, patched: Any, there: Any) -> None:
    """The scripts have ended, and nobody hears what comes now; `cancel` does not wait in vain."""
    workspace.scripts(a="pass")
    run = patched(LATE_END, "run", "src", "--json")
    there("scripts ended")
    cancel = patched(SAYS_WHEN_IT_ASKED, "cancel")
    there("asked")
    workspace.open("go on")
    assert "is finished: nothing of it runs" in workspace.finish(cancel, code=0).out
    assert workspace.finish(run, code=0).document["state"] == "finished"


def test_it_answers_when_the_server_has_let_go_of_the_record(workspace: Any, patched: Any, there: Any) -> None:
    """What one does next must not be refused because the cancelled run still holds the state folder."""
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    run = patched(LATE_REPORT, "run", "src", "--json")
    there("python_output/logs/a.py.out")
    cancel = workspace.start("cancel")
    there("answered")
    with pytest.raises(subprocess.TimeoutExpired):
        cancel.wait(1)
    workspace.open("go on")
    workspace.open("gate")
    workspace.finish(cancel, code=0)
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 1
    workspace.finish(run, code=1)


def test_a_run_that_is_over_is_left_as_it_is(workspace: Any) -> None:
    workspace.scripts(a="exit(3)")
    before = workspace.json(code=1).document
    for arguments in ([], [before["run"]], ["--job", "a.py"]):
        assert "is finished: nothing of it runs" in workspace.run("cancel", *arguments).out
    assert workspace.run("status", "--json").document == before


@pytest.fixture
def deaf(workspace: Any, patched: Any, there: Any, wait_until: Any) -> Any:
    """A run whose server is stopped while its last script waits at a gate, and a `cancel` that has asked it."""
    workspace.scripts(a=workspace.note("start") + workspace.until("gate") + workspace.note("end"))
    run = workspace.start("run", "src", "--json")
    wait_until(lambda: workspace.notes("start"))
    run.send_signal(signal.SIGSTOP)
    cancel = patched(SAYS_WHEN_IT_ASKED, "cancel")
    there("asked")
    return run, cancel


def test_a_run_that_ends_by_itself_meanwhile_was_not_cancelled(workspace: Any, deaf: Any, wait_until: Any) -> None:
    run, cancel = deaf
    workspace.open("gate")
    [journal] = (workspace.path / ".buildrunner" / "runs").glob("*/*.journal")
    wait_until(lambda: b"('end'" in journal.read_bytes())
    run.send_signal(signal.SIGCONT)
    assert "is finished: it ended by itself" in workspace.finish(cancel, code=0).out
    document = workspace.finish(run, code=0).document
    assert (document["state"], document["totals"]["passed"]) == ("finished", 1)


def test_a_server_killed_meanwhile_is_taken_over(workspace: Any, deaf: Any) -> None:
    run, cancel = deaf
    run.kill()
    assert "was interrupted before" in workspace.finish(cancel, code=0).out
    assert workspace.left() == []
    assert workspace.run("status", "--json").document["state"] == "interrupted"
    workspace.run("ledger", "check")
    (stale,) = Path(workspace.env["XDG_RUNTIME_DIR"], "buildrunner").iterdir()
    workspace.open("gate")
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 1
    assert not stale.exists()


def test_what_a_killed_server_and_its_workers_left_is_ended(
    workspace: Any, held: Any, alive: Any, wait_until: Any
) -> None:
    [worker] = workspace.children(held.pid)
    [script] = workspace.children(worker)
    held.send_signal(signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    held.kill()
    held.wait()
    wait_until(lambda: not alive(worker))
    assert alive(script)
    done = workspace.run("cancel")
    assert not alive(script)
    assert "1 of its processes were still there and are gone now" in done.out
    document = workspace.run("status", "--json").document
    assert (document["state"], document["totals"]["passed"], document["totals"]["waiting"]) == ("interrupted", 2, 2)
    workspace.run("ledger", "check")
    assert "nothing of it runs" in workspace.run("cancel", "--job", "c.py").out
    workspace.open("gate")
    done = workspace.run("resume", "--json")
    assert (done.document["state"], done.document["totals"]["passed"]) == ("finished", 4)
    assert [job[0] for job, _, _ in workspace.notes("end")] == list("abcd")
    workspace.run("verify", "result.zip")


def test_an_older_run_beside_one_that_goes_on(workspace: Any, held: Any, wait_until: Any) -> None:
    held.send_signal(signal.SIGINT)
    older = workspace.finish(held, code=130).document["run"]
    newer = workspace.start("run", "src", "--json", "-j", "1", "--order", "name", "-o", "other", "--zip", "other.zip")
    wait_until(lambda: len(workspace.notes("start")) == 6)
    refused = workspace.run("cancel", older, code=2)
    assert f"in use by process {newer.pid} " in refused.err
    assert workspace.run("status", older, "--json").document["state"] == "interrupted"
    workspace.open("gate")
    assert workspace.finish(newer, code=0).document["totals"]["passed"] == 4


def test_an_interrupted_run_that_is_cancelled_can_still_be_resumed(workspace: Any, held: Any) -> None:
    held.send_signal(signal.SIGINT)
    workspace.finish(held, code=130)
    assert "nothing of it runs" in workspace.run("cancel").out
    workspace.open("gate")
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 4


def test_a_run_that_cannot_listen_goes_on_and_says_so(workspace: Any, wait_until: Any, sockets: Path) -> None:
    sockets.touch()  # a file where the folder should be
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "--json")
    wait_until(lambda: workspace.notes("start"))
    refused = workspace.run("cancel", code=2)
    assert "cannot be asked" in refused.err
    assert "Ctrl-C or TERM" in refused.err
    workspace.open("gate")
    done = workspace.finish(run, code=0)
    assert "`buildrunner cancel` could not have reached this run" in done.err
    assert done.document["totals"]["passed"] == 1
    sockets.unlink()
