"""A run that breaks off in ways of its own: by an exception, another thread, another target, a zip that cannot be."""

import json
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from buildrunner import BuildServer
from buildrunner.plan import Plan
from buildrunner.pool import WorkerPool

pytestmark = pytest.mark.fault


def fails(*_: object) -> None:
    raise RuntimeError("a fault of our own")


def test_scripts_ended_by_a_fault_of_the_server_run_again(workspace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.path)
    workspace.scripts(a="pass", b=workspace.until("gate"), c=workspace.until("gate"))
    with monkeypatch.context() as patch:
        patch.setattr(Plan, "observe", fails)  # called when the first one has ended
        with pytest.raises(RuntimeError, match="fault of our own"):
            BuildServer("src", workers=2, order="name", zip=None).run()
    (workspace.path / "gate").touch()
    summary = BuildServer.resume()
    assert summary.passed
    assert summary.totals["passed"] == 3


def test_a_run_that_breaks_off_before_it_begins_leaves_nobody_to_ask(
    workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starts(_: object) -> None:
        assert (workspace.path / ".buildrunner" / "control").exists()
        fails()

    monkeypatch.setattr(WorkerPool, "start", starts)
    monkeypatch.chdir(workspace.path)
    workspace.scripts(a="pass")
    with tempfile.TemporaryDirectory(prefix="run-") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        with pytest.raises(RuntimeError, match="fault of our own"):
            BuildServer("src").run()
        assert not Path(runtime, "buildrunner").exists()
    assert not (workspace.path / ".buildrunner" / "control").exists()


BEFORE_THE_FIRST = """\
import os, signal, sys
from buildrunner import BuildServer, session
from buildrunner.adoption import adopt
server = BuildServer("src", workers=1)
if sys.argv[1] == "signal":
    inner = session.Session._open_control
    session.Session._open_control = lambda s: (os.kill(os.getpid(), signal.SIGINT), inner(s))[1]
else:
    session.adoption.adopt = lambda *args: (server.stop(), adopt(*args))[1]
summary = server.run(resume=True, handle_signals=True)
print(summary.exit_code, summary.run.state, summary.totals["waiting"])
"""


@pytest.mark.parametrize(("how", "code"), [("signal", 130), ("stop", 1)])
def test_who_wants_an_end_before_the_first_script_gets_it(workspace: Any, wait_until: Any, how: str, code: int) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"), b=workspace.note("start"))
    first = workspace.start("run", "src", "-j1", "--order", "longest")
    wait_until(lambda: workspace.notes("start"))
    first.kill()
    workspace.finish(first)
    workspace.open("gate")
    done = workspace.finish(workspace.start_python("-c", BEFORE_THE_FIRST, how), code=0)
    assert done.out == f"{code} interrupted 2\n"
    assert len(workspace.notes("start")) == 1


def test_another_thread_can_stop_a_run(workspace: Any, monkeypatch: pytest.MonkeyPatch, wait_until: Any) -> None:
    monkeypatch.chdir(workspace.path)
    workspace.scripts(a=f"open({str(workspace.path / 'up')!r}, 'w').close()\n" + workspace.until("never"))
    server = BuildServer("src", workers=1, zip=None)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(server.run()))
    thread.start()
    wait_until((workspace.path / "up").exists)
    server.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert results[0].run.state == "interrupted"


def test_an_output_folder_taken_by_another_target_is_not_written_over(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=f"open({str(workspace.path / 'up')!r}, 'w').close()\n" + workspace.until("gate"))
    run = workspace.start("run", "src", "--no-zip")
    wait_until((workspace.path / "up").exists)
    run.send_signal(signal.SIGINT)
    assert run.wait(300) == 130
    other = workspace.path / "other"
    other.mkdir()
    (other / "a.py").write_text("print('other')")
    workspace.run("run", "other", "--no-zip")
    first = json.loads(workspace.run("history", "--json").out)[-1]["run"]
    assert "another target has used the output folder" in workspace.run("resume", first, code=2).err
    assert workspace.log("a.py", "out") == b"other\n"


def test_a_zip_that_cannot_be_made_hides_no_results(workspace: Any) -> None:
    workspace.scripts(a="import os, sys; os.mkdir('zips/result.zip'); sys.exit(3)")
    (workspace.path / "zips").mkdir()
    done = workspace.run("run", "src", "--zip", "zips/result.zip", code=3)
    assert "exit code 3" in done.out
    assert "cannot write the zip" in done.out
    workspace.run("resume", code=3)


def test_notices_are_told_beside_the_document(workspace: Any) -> None:
    workspace.scripts(a="import os; open('stray', 'w').close(); os.mkfifo(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/p')")
    done = workspace.json()
    json.loads(done.out)
    assert "not packaged, because written to the working directory: stray" in done.err
    assert "not packaged, because no regular files or not readable: a.py: p" in done.err


def test_whoever_ignores_childrens_endings_does_not_hide_them_from_us(workspace: Any) -> None:
    workspace.scripts(a="import sys; sys.exit(7)")
    done = subprocess.run(
        ["sh", "-c", f"trap '' CHLD; exec {sys.executable} -m buildrunner run src --json"],
        cwd=workspace.path, env=workspace.env, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["results"][0]["exit_code"] == 7


def test_a_time_limit_of_a_month_is_no_limit_for_a_short_script(workspace: Any) -> None:
    workspace.scripts(a="pass")
    assert workspace.json("--timeout", "40d").code == 0


def test_what_was_fetched_back_does_not_go_behind_the_same_long_script_again(
    workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.path)
    # On a slow machine no script is short, and then none lies ahead; here all of them may, on any machine.
    monkeypatch.setattr("buildrunner.loop._SHORT", 10.0)
    recalls = []
    recall = WorkerPool._recall
    monkeypatch.setattr(
        WorkerPool, "_recall", lambda pool, worker: (recalls.append(worker.outstanding[0]), recall(pool, worker))
    )
    for number in range(60):
        workspace.script(f"{number:03}.py", "import time; time.sleep(0.8)" if number == 20 else "pass")
    summary = BuildServer("src", workers=2, order="name", zip=None, output_dir=Path("out")).run()
    assert summary.totals["passed"] == 60
    assert recalls, "the long script's worker was asked"
    assert len(set(recalls)) == len(recalls), "and no worker twice while at the same attempt"
