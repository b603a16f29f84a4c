"""`buildrunner cancel --job GLOB`: ends some scripts of a run, while the others go on."""

import signal
import zipfile
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance


@pytest.fixture
def held(workspace: Any, wait_until: Any) -> Any:
    """`a1` and `a2` wait at a gate, `b` and `c` for a worker."""
    for name in ("a1", "a2", "b", "c"):
        until = workspace.until("gate") if name[0] == "a" else ""
        workspace.scripts(**{name: workspace.note("start") + until + workspace.note("end")})
    run = workspace.start("run", "src", "--json", "-j", "2", "--order", "name")
    wait_until(lambda: len(workspace.notes("start")) == 2)
    return run


def ended(workspace: Any) -> list[str]:
    return sorted(job for job, _, _ in workspace.notes("end"))


def test_one_that_runs(workspace: Any, held: Any, alive: Any) -> None:
    pid = {job: pid for job, _, pid in workspace.notes("start")}["a1.py"]
    done = workspace.run("cancel", "--job", "a1.py")
    assert done.out == "a1.py: cancelled, its processes are gone\n"
    assert not alive(pid)
    assert held.poll() is None
    workspace.open("gate")
    document = workspace.finish(held, code=1).document
    assert (document["state"], document["totals"]["cancelled"], document["totals"]["passed"]) == ("finished", 1, 3)
    results = {result["name"]: result for result in document["results"]}
    assert (results["a1.py"]["state"], results["a1.py"]["outcome"]) == ("cancelled", "cancelled")
    assert results["a1.py"]["error"] == "cancelled from another terminal"
    assert ended(workspace) == ["a2.py", "b.py", "c.py"]
    workspace.run("verify", "result.zip")


def test_several_that_run_or_wait_by_globs(workspace: Any, held: Any) -> None:
    done = workspace.run("cancel", "--job", "a*", "--job", "b.py")
    assert sorted(done.out.splitlines()) == [
        "a1.py: cancelled, its processes are gone",
        "a2.py: cancelled, its processes are gone",
        "b.py: cancelled before it started",
    ]
    document = workspace.finish(held, code=1).document
    assert (document["state"], document["totals"]["cancelled"], document["totals"]["passed"]) == ("finished", 3, 1)
    assert ended(workspace) == ["c.py"]


def test_all_of_them_is_not_the_run(workspace: Any, held: Any) -> None:
    """Every job was decided on by its name: the run has come to its end, with a zip."""
    workspace.run("cancel", "--job", "*")
    document = workspace.finish(held, code=1).document
    assert (document["state"], document["totals"]["cancelled"]) == ("finished", 4)
    assert document["archive"]


def test_resume_runs_the_cancelled_ones_and_packages_again(workspace: Any, held: Any) -> None:
    workspace.run("cancel", "--job", "a1.py", "--job", "c.py")
    workspace.open("gate")
    first = workspace.finish(held, code=1).document
    assert "finished with 2 scripts cancelled; carry on with" in workspace.run("status").out
    done = workspace.run("resume", "--json")
    assert (done.document["run"], done.document["state"]) == (first["run"], "finished")
    assert done.document["totals"]["passed"] == 4
    assert ended(workspace) == ["a1.py", "a2.py", "b.py", "c.py"]
    assert all(result["error"] is None for result in done.results.values())
    assert done.document["archive"]["sha256"] != first["archive"]["sha256"]
    workspace.run("verify", "result.zip")
    with zipfile.ZipFile(workspace.path / "result.zip") as packed:
        assert "logs/c.py.out" in packed.namelist()
    assert "is complete" in workspace.run("resume").out
    assert len(ended(workspace)) == 4


def test_what_nothing_matches_is_refused(workspace: Any, held: Any) -> None:
    refused = workspace.run("cancel", "--job", "z*", code=2)
    assert refused.err.endswith("matches 'z*'\n")
    assert "matches 'a1.pi'; did you mean 'a1.py'" in workspace.run("cancel", "--job", "a1.pi", code=2).err
    workspace.open("gate")
    assert workspace.finish(held, code=0).document["totals"]["passed"] == 4


def test_what_nothing_matches_is_refused_also_when_nothing_runs(workspace: Any) -> None:
    workspace.scripts(a="pass")
    workspace.run("run", "src", "-q")
    assert "matches 'z*'" in workspace.run("cancel", "--job", "z*", code=2).err
    assert "nothing of it runs" in workspace.run("cancel", "--job", "a*").out


def test_one_that_had_ended(workspace: Any, held: Any, wait_until: Any) -> None:
    workspace.run("cancel", "--job", "a1.py")
    wait_until(lambda: len(ended(workspace)) == 2)
    wait_until(lambda: workspace.run("status", "--json").document["totals"]["passed"] == 2)
    for name in ("b.py", "a1.py"):
        assert workspace.run("cancel", "--job", name).out == "nothing to cancel: 1 script had ended before\n"
    workspace.open("gate")
    assert workspace.finish(held, code=1).document["totals"]["passed"] == 3


PATCHED = """
import sys
from dataclasses import replace
from pathlib import Path
from buildrunner.cli import main
{patch}
sys.argv = ["buildrunner", *sys.argv[1:]]
main()
"""
SAYS_WHEN_IT_ASKED = """
import socket
sendto = socket.socket.sendto
socket.socket.sendto = lambda own, *args: (sendto(own, *args), Path("asked").touch())[0]
"""


def test_one_that_ends_by_itself_at_that_moment_counts_as_what_it_was(
    workspace: Any, held: Any, wait_until: Any
) -> None:
    """The server is stopped: it hears of the script's end and of the request at the same time."""
    held.send_signal(signal.SIGSTOP)
    cancel = workspace.start_python("-c", PATCHED.format(patch=SAYS_WHEN_IT_ASKED), "cancel", "--job", "a1.py")
    wait_until((workspace.path / "asked").exists)
    workspace.open("gate")
    journals = list((workspace.path / ".buildrunner" / "runs").glob("*/*.journal"))
    wait_until(lambda: sum(journal.read_bytes().count(b"('end'") for journal in journals) == 2)
    held.send_signal(signal.SIGCONT)
    assert workspace.finish(cancel, code=0).out == "a1.py: passed, it ended by itself before\n"
    assert workspace.finish(held, code=0).document["totals"]["passed"] == 4


def test_one_with_retries_is_not_tried_again(workspace: Any, wait_until: Any) -> None:
    """Neither one that dies of being asked nor one that then fails in its own way."""
    for name, answer in (("dies", ""), ("fails", "signal.signal(15, lambda *_: os._exit(3))\n")):
        workspace.scripts(**{name: "import os, signal, time\n" + answer + workspace.note("start") + "time.sleep(600)"})
    run = workspace.start("run", "src", "--json", "-j", "2", "--retries", "5")
    wait_until(lambda: len(workspace.notes("start")) == 2)
    workspace.run("cancel", "--job", "*")
    results = workspace.finish(run, code=1).document["results"]
    assert [(r["state"], r["outcome"], r["attempts"], r["exit_code"]) for r in results] == [
        ("cancelled", "cancelled", 1, None),
        ("cancelled", "cancelled", 1, 3),
    ]
    assert len(workspace.notes("start")) == 2


def test_asking_again_kills_that_one_at_once(workspace: Any, wait_until: Any) -> None:
    for name in "ab":
        workspace.scripts(
            **{
                name: "import signal\nsignal.signal(15, lambda *_: print('asked', flush=True))\n"
                + workspace.note("start")
                + workspace.until("gate")
            }
        )
    run = workspace.start("run", "src", "--json", "-j", "2", "--grace", "1h")
    wait_until(lambda: len(workspace.notes("start")) == 2)
    first = workspace.start("cancel", "--job", "a.py")
    wait_until(lambda: workspace.log("a.py") == b"asked\n")
    assert first.poll() is None
    workspace.run("cancel", "--job", "a.py")
    workspace.finish(first, code=0)
    assert workspace.log("b.py") == b""
    workspace.open("gate")
    results = {result["name"]: result for result in workspace.finish(run, code=1).document["results"]}
    assert (results["a.py"]["signal"], results["b.py"]["state"]) == (signal.SIGKILL, "passed")


def test_the_whole_run_after_one_of_its_jobs(workspace: Any, held: Any) -> None:
    workspace.run("cancel", "--job", "c.py")
    workspace.run("cancel")
    document = workspace.finish(held, code=1).document
    assert (document["state"], document["totals"]["cancelled"], document["totals"]["waiting"]) == ("cancelled", 4, 0)
    workspace.open("gate")
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 4
    assert ended(workspace) == ["a1.py", "a2.py", "b.py", "c.py"]


def test_an_interrupted_run_with_a_cancelled_job(workspace: Any, held: Any) -> None:
    workspace.run("cancel", "--job", "a1.py", "--job", "c.py")
    held.send_signal(signal.SIGINT)
    document = workspace.finish(held, code=130).document
    assert document["state"] == "interrupted"
    workspace.open("gate")
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 4


def test_many_short_ones_of_which_some_lie_ahead_with_workers(workspace: Any, wait_until: Any) -> None:
    for number in range(200):
        workspace.script(
            f"s{number:03}.sh", 'echo "start $BUILDRUNNER_JOB_NAME $BUILDRUNNER_ATTEMPT_ID $$" >> witness\n'
        )
    run = workspace.start("run", "src", "--json", "-j", "2")
    wait_until(lambda: len(workspace.notes("start")) > 20)
    out = workspace.run("cancel", "--job", "*").out
    document = workspace.finish(run).document
    totals = document["totals"]
    assert document["state"] == "finished"
    assert totals["passed"] + totals["cancelled"] == 200
    started = [job for job, _, _ in workspace.notes("start")]
    for result in document["results"]:
        if result["outcome"] is None:
            assert (result["state"], result["attempts"]) == ("cancelled", 0)
            assert result["name"] not in started
        assert f"{result['name']}: cancelled" not in out or result["state"] == "cancelled"
    if totals["cancelled"]:
        assert workspace.run("resume", "--json").document["totals"]["passed"] == 200
    assert len({job for job, _, _ in workspace.notes("start")}) == 200


CHAINED = """
from buildrunner import server
make_batch = server.make_batch
after = {"b.py": ("a.py",), "c.py": ("b.py",), "e.py": ("d.py",)}
def chained(*args):
    batch = make_batch(*args)
    return replace(batch, jobs=tuple(replace(job, after=after.get(job.name, ())) for job in batch.jobs))
server.make_batch = chained
"""


@pytest.fixture
def chained(workspace: Any, wait_until: Any) -> Any:
    """`a` and `d` wait at a gate; `b` comes after `a`, `c` after `b`, `e` after `d`."""
    for name in "abcde":
        workspace.scripts(**{name: workspace.note("start") + workspace.until("gate")})
    run = workspace.start_python("-c", PATCHED.format(patch=CHAINED), "run", "src", "--json", "-j", "2")
    wait_until(lambda: len(workspace.notes("start")) == 2)
    return run


def test_what_comes_after_a_cancelled_one_is_skipped(workspace: Any, chained: Any) -> None:
    workspace.run("cancel", "--job", "a.py")
    workspace.open("gate")
    results = {result["name"][0]: result for result in workspace.finish(chained, code=1).document["results"]}
    assert {name: result["state"] for name, result in results.items()} == {
        "a": "cancelled", "b": "skipped", "c": "skipped", "d": "passed", "e": "passed"
    }  # fmt: skip
    assert results["c"]["error"] == "not started: a.py, which it comes after, was cancelled"
    assert workspace.run("resume", "--json", code=1).results["a.py"]["state"] == "passed"


def test_what_waits_for_another_can_be_cancelled_itself(workspace: Any, chained: Any) -> None:
    workspace.run("cancel", "--job", "[bc].py")
    workspace.open("gate")
    results = workspace.finish(chained, code=1).document["results"]
    assert {result["name"][0]: result["state"] for result in results} == {
        "a": "passed", "b": "cancelled", "c": "cancelled", "d": "passed", "e": "passed"
    }  # fmt: skip
    done = workspace.run("resume", "--json")
    assert done.document["totals"]["passed"] == 5
    assert [job for job, _, _ in workspace.notes("start")][-2:] == ["b.py", "c.py"]
