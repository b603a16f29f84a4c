"""A run that ends before its scripts do: at its deadline, or by one or more signals."""

import shutil
import signal
import time
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

DEAF = "import signal, time\nsignal.signal(15, lambda *_: print('asked', flush=True))\n"


def endless(workspace: Any, before: str = "") -> str:
    """A script that notes its start and ends only when the gate is open."""
    return str(before + workspace.note("start") + workspace.until("gate") + workspace.note("end"))


def test_at_the_deadline_what_runs_ends_and_can_be_resumed(workspace: Any, alive: Any) -> None:
    workspace.scripts(
        a=workspace.note("end"), b=endless(workspace), c=endless(workspace, DEAF), d=workspace.note("end")
    )
    done = workspace.json("-j", "2", "--order", "name", "--deadline", "2s", "--grace", "100ms", code=1)
    document = done.document
    assert (document["state"], document["archive"]) == ("interrupted", None)
    assert 2.0 <= document["wall_seconds"] < 60
    assert not any(alive(pid) for _, _, pid in workspace.notes("start"))
    assert workspace.left() == []
    assert "stopping: the deadline has passed" in done.err
    states = {result["name"][0]: (result["state"], result["error"]) for result in document["results"]}
    assert states["d"] == ("waiting", None)
    assert states["a"] == ("passed", None)
    assert states["b"] == states["c"] == ("cancelled", "the deadline has passed")
    workspace.open("gate")
    resumed = workspace.run("resume", "--json", "--deadline", "10m").document
    assert (resumed["run"], resumed["totals"]["passed"]) == (document["run"], 4)
    assert sorted(job[0] for job, _, _ in workspace.notes("end")) == list("abcd")
    workspace.run("verify", "result.zip")


def test_when_enough_have_failed_nobody_is_told_to_resume(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a="exit(1)", b=workspace.note("start") + workspace.until("gate"), c="pass")
    run = workspace.start("run", "src", "-x", "-j2", "--order", "name")
    wait_until(lambda: workspace.notes("start") and "1 failed" in workspace.run("status").out)
    run.send_signal(signal.SIGINT)
    done = workspace.finish(run, code=130)
    assert "--max-fail 1 is reached" in done.out
    assert "buildrunner resume" not in done.out
    assert "--max-fail 1 is reached" in workspace.run("status").out


def test_a_dry_run_refuses_what_the_run_would(workspace: Any) -> None:
    workspace.scripts(a="import time; time.sleep(60)")
    workspace.run("run", "src", "-j1", "--deadline", "1s", code=1)
    for dry in ((), ("-n",)):
        assert (
            "begun with another --jobs (1, now 7)" in workspace.run("run", "src", "--resume", "-j7", *dry, code=2).err
        )
    assert "what run 20" in workspace.run("run", "./src", "--resume", "-j1", "-n").out
    shutil.rmtree(workspace.path / "python_output")
    for dry in ((), ("-n",)):
        assert "cannot be carried on" in workspace.run("run", "src", "--resume", "-j1", *dry, code=2).err


def test_a_resumed_run_has_the_same_deadline_or_another(workspace: Any) -> None:
    workspace.scripts(a=endless(workspace))
    first = workspace.json("--deadline", "2s", code=1).document
    again = workspace.run("resume", "--json", code=1)
    assert (again.document["run"], again.document["state"]) == (first["run"], "interrupted")
    assert "the deadline has passed" in again.err
    assert workspace.run("resume", "--json", "--deadline", "1500ms", code=1).document["state"] == "interrupted"
    for nonsense in ("0", "-1", "soon"):
        assert "deadline" in workspace.run("resume", "--deadline", nonsense, code=2).err
    workspace.open("gate")
    assert workspace.run("resume", "--json", "--deadline", "10m").document["totals"]["passed"] == 1


def test_a_deadline_ends_retries(workspace: Any) -> None:
    workspace.scripts(a=workspace.note("start") + "import time\ntime.sleep(0.1)\nexit(1)")
    document = workspace.json("--retries", "100000", "--deadline", "2s", code=1).document
    [result] = document["results"]
    assert document["state"] == "interrupted"
    assert 1 < result["attempts"] <= len(workspace.notes("start")) + 1  # the last may have been ended before its note
    assert result["state"] in ("waiting", "cancelled")


def test_a_deadline_that_nothing_is_left_for_is_no_stop(workspace: Any, wait_until: Any) -> None:
    """The server is stopped until the deadline is over, and the script has ended."""
    workspace.scripts(a=endless(workspace))
    began = time.monotonic()
    run = workspace.start("run", "src", "--json", "--deadline", "3s")
    wait_until(lambda: workspace.notes("start"))
    run.send_signal(signal.SIGSTOP)
    workspace.open("gate")
    [journal] = (workspace.path / ".buildrunner" / "runs").glob("*/*.journal")
    wait_until(lambda: b"('end'" in journal.read_bytes())
    wait_until(lambda: time.monotonic() - began > 3.5)
    run.send_signal(signal.SIGCONT)
    document = workspace.finish(run, code=0).document
    assert (document["state"], document["totals"]["passed"]) == ("finished", 1)


@pytest.mark.parametrize("text", ["30d", "1000000d", "9" * 400])
def test_a_deadline_far_away(workspace: Any, text: str) -> None:
    workspace.scripts(a="import time; time.sleep(0.3)")
    assert workspace.json("--deadline", text).document["totals"]["passed"] == 1


@pytest.mark.parametrize("text", ["0", "0s", "-1", "-5s", "", "soon", "nan"])
def test_a_deadline_that_is_none_is_refused(workspace: Any, text: str) -> None:
    workspace.scripts(a="pass")
    assert "--deadline" in workspace.run("run", "src", "--deadline", text, code=2).err
    assert not (workspace.path / ".buildrunner").exists()


def test_a_deadline_takes_no_grace_time_away(workspace: Any, wait_until: Any) -> None:
    """A signal came first: what it asked to end has its grace time, whatever deadline passes meanwhile."""
    workspace.scripts(a=endless(workspace, DEAF))
    began = time.monotonic()
    run = workspace.start("run", "src", "--json", "--grace", "1h", "--deadline", "4s")
    wait_until(lambda: workspace.notes("start"))
    run.send_signal(signal.SIGINT)
    wait_until(lambda: workspace.log("a.py") == b"asked\n")
    wait_until(lambda: time.monotonic() - began > 4.5)
    workspace.open("gate")
    document = workspace.finish(run, code=130).document
    assert document["results"][0]["signal"] is None


def test_ctrl_c_after_the_deadline_kills(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=endless(workspace, DEAF))
    run = workspace.start("run", "src", "--json", "--grace", "1h", "--deadline", "4s")
    wait_until(
        lambda: (workspace.path / "python_output/logs/a.py.out").exists() and workspace.log("a.py") == b"asked\n"
    )
    run.send_signal(signal.SIGINT)
    document = workspace.finish(run, code=130).document
    assert (document["state"], document["results"][0]["signal"]) == ("interrupted", signal.SIGKILL)


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
        ([signal.SIGHUP], 129),
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM, signal.SIGINT], 143),
        ([signal.SIGHUP, signal.SIGTERM], 129),
    ],
    ids=lambda value: " then ".join(n.name for n in value) if isinstance(value, list) else None,
)
def test_s07_s08_signals(workspace: Any, wait_until: Any, numbers: list[signal.Signals], code: int) -> None:
    """The first asks what runs to end, the second kills it; the report is written, and the first decides the code."""
    workspace.scripts(a=endless(workspace, DEAF), b=workspace.note("end"))
    grace = "200ms" if len(numbers) == 1 else "1h"
    run = workspace.start("run", "src", "-j", "1", "--order", "name", "--grace", grace)
    wait_until(lambda: workspace.notes("start"))
    for number in numbers:
        run.send_signal(number)
        wait_until(lambda: workspace.log("a.py") == b"asked\n")
    done = workspace.finish(run, code=code)
    assert workspace.left() == []
    assert "interrupted with 2 scripts left to run" in done.out
    document = workspace.run("status", "--json").document
    assert (document["state"], document["results"][0]["signal"]) == ("interrupted", signal.SIGKILL)
    assert f"buildrunner resume {document['run']}" in done.out
    workspace.open("gate")
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 2


def test_all_options_that_differ_are_named_at_once(workspace: Any) -> None:
    workspace.scripts(a="import time; time.sleep(60)")
    workspace.run("run", "src", "-j1", "--deadline", "1s", "--memory", "150M", code=1)
    for dry in ((), ("-n",)):
        done = workspace.run("run", "src", "--resume", "-j7", "-r", "--timeout", "90s", *dry, code=2)
        assert (
            "was begun with other options: --jobs (1, now 7), --recursive (not set, now set), "
            "--timeout (not set, now 90s), --memory (150M, now not set): give the same options" in done.err
        )


def test_a_script_is_not_new_because_it_is_written_in_another_way(workspace: Any) -> None:
    workspace.scripts(a="import time; time.sleep(60)")
    workspace.run("run", "src/a.py", "--deadline", "1s", code=1)
    workspace.scripts(a="pass")
    assert "new since" not in workspace.run("run", "./src/a.py", "--resume", "--deadline", "1s").out


def test_scripts_that_are_new_since_are_named_and_not_part_of_it(workspace: Any) -> None:
    options = ("src", "--resume", "-j1", "--deadline", "1s")
    workspace.scripts(a="import time; time.sleep(60)")
    workspace.run("run", *options, code=1)
    workspace.scripts(a="pass", b=workspace.note("ran"), c=workspace.note("ran"))
    told = ": b.py, c.py; `buildrunner run src` runs all there are"
    dry = workspace.run("run", *options, "-n")
    carried = workspace.run("run", *options[:-1], "1m")
    for done in (dry, carried):
        assert "2 scripts are new since and are not part of run 20" in " ".join(done.out.split())
        assert told in " ".join(done.out.split())
    assert workspace.notes("ran") == []
    workspace.run("run", *options[:-1], "1m")
    assert len(workspace.notes("ran")) == 2, "that run is complete: this is a new one"
