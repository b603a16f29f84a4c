"""A run that is still alive is never resumed a second time, whatever becomes of the files that say so."""

import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.fault

IMPATIENT = """
import sys
from buildrunner import adoption
from buildrunner.__main__ import main
adoption._WORKERS_END_WITHIN = 0.2
sys.argv[0] = "buildrunner"
main()
"""


@pytest.fixture
def living(workspace: Any, wait_until: Any) -> Any:
    """A run of two scripts: `a.py` has ended, `z.py` waits at a gate."""
    workspace.scripts(a="pass", z=workspace.note("start") + workspace.until("gate") + workspace.note("end"))
    run = workspace.start("run", "src", "--json", "-j1", "--order", "name")
    wait_until(lambda: workspace.notes("start"))
    return run


def undisturbed(workspace: Any, living: Any, alive: Any) -> None:
    [(_, attempt, script)] = workspace.notes("start")
    assert alive(script)
    workspace.open("gate")
    done = workspace.finish(living, code=0)
    assert {name: result["attempts"] for name, result in done.results.items()} == {"a.py": 1, "z.py": 1}
    assert workspace.notes("end") == [("z.py", attempt, script)]
    workspace.run("ledger", "check")
    workspace.run("verify", "result.zip")


def test_of_two_resumptions_at_the_same_instant_one_is_refused(workspace: Any, living: Any, wait_until: Any) -> None:
    living.kill()
    living.communicate()
    both = [workspace.start("resume", "--json") for _ in range(2)]
    wait_until(lambda: any(resumed.poll() is not None for resumed in both))
    [refused] = [resumed for resumed in both if resumed.poll() is not None]
    [other] = [resumed for resumed in both if resumed is not refused]
    assert f"process {other.pid} " in workspace.finish(refused, code=2).err
    wait_until(lambda: len(workspace.notes("start")) == 2)
    workspace.open("gate")
    assert workspace.finish(other, code=0).results["z.py"]["attempts"] == 2
    assert len(workspace.notes("start")) == 2


def test_a_copy_of_the_record_cannot_touch_the_run_that_goes_on(workspace: Any, living: Any, alive: Any) -> None:
    """In the copy the run looks interrupted. Its output folder's lock tells otherwise, before anything is killed."""
    shutil.copytree(workspace.path / ".buildrunner", workspace.path / "copy", ignore=shutil.ignore_patterns("control*"))
    for verb in ("resume", "cancel"):
        refused = workspace.run(verb, "--state", "copy", code=2).err
        assert "output folder" in refused and f"process {living.pid} " in refused, refused
    undisturbed(workspace, living, alive)


def test_a_run_whose_lock_was_deleted_is_not_resumed(workspace: Any, living: Any, alive: Any) -> None:
    """Then the output folder's lock holds; without that one too, the living workers' locks on their journals."""
    os.unlink(workspace.path / ".buildrunner" / "lock")
    for verb in ("resume", "cancel"):
        assert f"process {living.pid} " in workspace.run(verb, code=2).err
    os.unlink(workspace.path / "python_output" / ".buildrunner-lock")
    for verb in ("resume", "cancel"):
        refused = workspace.finish(workspace.start_python("-c", IMPATIENT, verb), code=2).err
        assert re.search(r"a worker of the interrupted run, process \d+ \(.+\), still writes", refused), refused
    undisturbed(workspace, living, alive)


def test_each_of_four_attempts_keeps_its_own_logs(workspace: Any, wait_until: Any) -> None:
    """The first fails and is tried again, two die with their servers, the last one passes."""
    tell = (
        "import os, sys; me = os.environ['BUILDRUNNER_ATTEMPT_ID']; number = os.environ['BUILDRUNNER_ATTEMPT_NUMBER']\n"
    )
    tell += "print('out', number, me, flush=True); print('err', number, me, file=sys.stderr, flush=True)\n"
    tell += f"open(os.path.join({str(workspace.path)!r}, 'wrote-' + number), 'w').write(me)\n"
    workspace.scripts(a=tell + "if number == '1': sys.exit(1)\n" + "if number != '4':\n    " + workspace.until("never"))

    def wrote(number: int) -> str:
        path = Path(workspace.path, f"wrote-{number}")
        return path.read_text() if path.exists() else ""

    for number, command in ((2, ("run", "src", "--retries", "1")), (3, ("resume",))):
        server = workspace.start(*command)
        wait_until(lambda number=number: wrote(number))
        server.send_signal(signal.SIGKILL)
        server.communicate()
    done = workspace.run("resume", "--json")
    assert (done.results["a.py"]["attempts"], done.results["a.py"]["lost"]) == (4, 2)
    ids = [wrote(number) for number in range(1, 5)]
    assert len(set(ids)) == 4 and all(ids)
    for number, attempt in enumerate(ids, start=1):
        name = "a.py" if number == 4 else f"a.py.{number}"
        for suffix in ("out", "err"):
            assert workspace.log(name, suffix) == f"{suffix} {number} {attempt}\n".encode()
        shown = workspace.run("logs", "a.py", "--attempt", str(number), "--stdout").out
        assert shown == f"out {number} {attempt}\n"
    assert len(list((workspace.path / "python_output" / "logs").iterdir())) == 8
