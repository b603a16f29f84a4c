"""A run that is carried on after its scripts have changed: what is run again, what is kept, and what is said."""

import hashlib
import json
import signal
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.fault

ONE = ("-j1", "--order", "name")


@pytest.fixture
def cut(workspace: Any, wait_until: Any) -> Callable[..., str]:
    """Runs what there is and kills the server when the last script, `z.py`, waits at its gate; returns the run."""

    def run(*options: str) -> str:
        workspace.scripts(z=workspace.note("start") + workspace.until("gate"))
        process = workspace.start("run", "src", *ONE, "--exclude", "util*", *options)
        wait_until(lambda: [job for job, _, _ in workspace.notes("start") if job == "z.py"])
        process.kill()
        process.communicate()
        wait_until(lambda: not workspace.left(), 30.0)
        workspace.open("gate")
        name: str = json.loads(workspace.run("history", "--json").stdout)[0]["run"]
        return name

    return run


def ran(workspace: Any) -> Counter[str]:
    return Counter(job for job, _, _ in workspace.notes("start"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest(workspace: Any) -> dict[str, Any]:
    with zipfile.ZipFile(workspace.path / "result.zip") as archive:
        return {row["name"]: row for row in json.loads(archive.read("manifest.json"))["results"]}


def why(workspace: Any, job: str) -> str:
    return " ".join(workspace.run("why", job, env={"COLUMNS": "200"}).out.split())


def test_what_changed_runs_again_and_nothing_else(workspace: Any, cut: Any) -> None:
    start = workspace.note("start")
    leave = "import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/{}', 'w').close()\n"
    workspace.scripts(
        a=start + "import util; print(util.V)\n" + leave.format("first"), b=start + "print('old')", c=start + "exit(3)",
        d=start + "import util_too; print('same')", util="V = 1", util_too="if 0: import util_not_there",
    )  # fmt: skip
    run = cut()
    before = sha256(workspace.source / "b.py")
    workspace.scripts(b=start + "print('new')", c=start, util="V = 1 + 1")  # of another size, or Python may not look
    told = "3 scripts have changed since they ran: a.py (its module util.py changed), b.py, c.py; they are run again"

    dry = workspace.run("run", "-n", "src", "--resume", *ONE, "--exclude", "util*")
    assert f"what run {run} left; {told}" in dry.out
    assert [f"{name}.py" in dry.out.split("how that is known")[1] for name in "abcdz"] == [
        True,
        True,
        True,
        False,
        True,
    ]

    done = workspace.run("resume", "--json")
    assert done.document["totals"]["passed"] == 5
    assert done.err.index(told) < done.err.index("z.py: ok")
    assert done.err.count(told) == 2  # and with the report
    assert ran(workspace) == {"a.py": 2, "b.py": 2, "c.py": 2, "d.py": 1, "z.py": 2}
    assert [workspace.log(name) for name in ("a.py.1", "a.py", "b.py.1", "b.py")] == [
        b"1\n",
        b"2\n",
        b"old\n",
        b"new\n",
    ]
    results = done.results
    assert [results[f"{n}.py"]["attempts"] for n in "abcdz"] == [2, 2, 2, 1, 2]
    assert not any(result["changed"] for result in results.values())
    assert manifest(workspace)["b.py"]["script_sha256"] == sha256(workspace.source / "b.py") != before
    attempts = [json.loads(line) for line in workspace.run("ledger", "export").out.splitlines()]
    assert [a["script_sha256"] == before for a in attempts if a["name"] == "b.py"] == [True, False]
    assert [a["exit_code"] for a in attempts if a["name"] == "c.py"] == [3, 0]
    assert "run again because its module util.py changed" in why(workspace, "a.py")
    assert "run again" not in why(workspace, "d.py")
    workspace.run("ledger", "check")
    workspace.run("verify", "result.zip")


def test_what_changed_is_kept_when_asked_and_that_is_said(workspace: Any, cut: Any) -> None:
    start = workspace.note("start")
    (workspace.source / "util_pkg").mkdir()
    workspace.script("util_pkg/__init__.py", "")
    workspace.script("util_pkg/part.py", "V = 1")
    workspace.scripts(a=start + "from util_pkg.part import V", b=start)
    cut()
    old = sha256(workspace.source / "b.py")
    workspace.script("util_pkg/part.py", "V = 2")
    workspace.scripts(b=start + "print('new')")
    done = workspace.run("resume", "--if-changed", "keep")
    told = "a.py (its package util_pkg changed), b.py; their results are kept"
    assert told in done.err and told in done.out
    assert done.out.count("ok, changed since") == 2
    assert ran(workspace) == {"a.py": 1, "b.py": 1, "z.py": 2}
    assert {n: r["changed"] for n, r in workspace.run("status", "--json").results.items()} == {
        "a.py": True, "b.py": True, "z.py": False,
    }  # fmt: skip
    assert manifest(workspace)["b.py"]["script_sha256"] == old
    assert "was kept although its package util_pkg changed" in why(workspace, "a.py")
    workspace.run("ledger", "check")
    again = workspace.run("resume")
    assert "is complete; nothing was run" in again.out
    assert "b.py; a new run runs what is there now" in again.out


def test_stop_refuses_before_anything_runs_wherever_it_is_asked_for(workspace: Any, cut: Any) -> None:
    workspace.scripts(a=workspace.note("start"))
    cut("--if-changed", "stop")
    workspace.scripts(a=workspace.note("start") + "print()")
    dry = ("run", "src", "--resume", "-n", *ONE, "--exclude", "util*")
    assert "they are" not in workspace.run(*dry).err
    refused = [
        workspace.run("resume", code=2),  # as the run was told
        workspace.run(*dry, code=2, env={"BUILDRUNNER_IF_CHANGED": "stop"}),
    ]
    settings = workspace.path / "buildrunner.toml"
    settings.write_text('if-changed = "stop"\n')
    refused.append(workspace.run(*dry, code=2))
    settings.unlink()
    for done in refused:
        assert "1 script has changed since it ran: a.py" in done.err
        assert "--if-changed rerun" in done.err and "--if-changed keep" in done.err
    assert ran(workspace) == {"a.py": 1, "z.py": 1}
    workspace.scripts(a=workspace.note("start"))  # as it was
    workspace.run("resume")
    assert ran(workspace) == {"a.py": 1, "z.py": 2}


def test_a_script_that_is_gone_keeps_its_result(workspace: Any, cut: Any) -> None:
    workspace.scripts(a="print(1)", b="print(2)")
    cut()
    (workspace.source / "a.py").unlink()
    assert "1 script cannot be read any more: a.py" in workspace.run("resume", "--if-changed", "stop", code=2).err
    done = workspace.run("resume", "--json")
    assert "1 script cannot be read any more: a.py; its result is kept" in done.err
    assert (done.results["a.py"]["state"], done.results["a.py"]["attempts"]) == ("passed", 1)
    assert workspace.log("a.py") == b"1\n"
    workspace.run("verify", "result.zip")


def test_other_arguments_are_a_change_of_all(workspace: Any, cut: Any) -> None:
    show = workspace.note("start") + "import sys; print(sys.argv[1:])\n"
    workspace.scripts(a=show, b=show)
    cut("--no-zip")
    carry_on = ("run", "src", "--resume", "--json", "--no-zip", *ONE, "--exclude", "util*")
    what = "its arguments changed from none to x"
    told = f"2 scripts have changed since they ran: a.py ({what}), b.py ({what})"
    assert told in workspace.run(*carry_on, "--if-changed", "stop", "--", "x", code=2).err

    kept = workspace.run(*carry_on, "--if-changed", "keep", "--deadline", "1ms", "--", "x", code=1)
    assert f"{told}; their results are kept" in kept.err
    assert f"was kept although {what}, when the run was carried on" in why(workspace, "a.py")
    assert [workspace.log(f"{n}.py") for n in "ab"] == [b"[]\n"] * 2
    plan = workspace.run("plan", "src", "--json", "--", "x").document  # nothing ran with x yet
    assert [script["past_seconds"] for script in plan["scripts"]] == [[]] * 3

    done = workspace.run(*carry_on, "--", "x")
    assert done.document["run"] == kept.document["run"]
    assert f"{told}; they are run again" in done.err
    assert [workspace.log(f"{n}.py") for n in "ab"] == [b"['x']\n"] * 2
    assert [workspace.log(f"{n}.py.1") for n in "ab"] == [b"[]\n"] * 2
    assert ran(workspace)["a.py"] == 2
    plan = workspace.run("plan", "src", "--json", "--", "x").document
    assert all(len(script["past_seconds"]) == 1 for script in plan["scripts"])
    assert [s["past_seconds"] for s in workspace.run("plan", "src", "--json").document["scripts"]] == [[]] * 3
    workspace.run("ledger", "check")


def test_what_ended_unseen_and_changed_then_is_run_again(workspace: Any, wait_until: Any) -> None:
    """Its receipt lies in a journal when the script changes: recorded, but it decides nothing any more."""
    number = "import os; number = os.environ['BUILDRUNNER_ATTEMPT_NUMBER']\n"
    first_fails = number + "if number == '1': exit(1)\n"
    workspace.scripts(a=first_fails + workspace.note("start") + workspace.until("gate") + "print('old'); exit(2)")
    run = workspace.start("run", "src", "--retries", "1", *ONE)
    wait_until(lambda: workspace.notes("start"))
    run.send_signal(signal.SIGSTOP)
    workspace.open("gate")
    [journal] = (workspace.path / ".buildrunner" / "runs").glob("*/*.journal")
    wait_until(lambda: journal.read_bytes().count(b"('end'") == 2)
    run.kill()
    run.communicate()
    workspace.scripts(a=number + "print('new'); exit(number != '4')")
    assert "a.py" in workspace.run("resume", "--if-changed", "stop", code=2).err
    done = workspace.run("resume", "--json")
    assert done.err.count("1 script has changed since it ran: a.py; it is run again") == 2
    assert (done.results["a.py"]["attempts"], done.results["a.py"]["lost"]) == (4, 0)
    assert [workspace.log(name) for name in ("a.py.2", "a.py.3", "a.py")] == [b"old\n", b"new\n", b"new\n"]
    workspace.run("ledger", "check")


def test_retries_are_counted_anew_for_what_changed(workspace: Any, cut: Any) -> None:
    workspace.scripts(a=workspace.note("start") + "exit(1)")
    cut("--retries", "1")
    workspace.scripts(a=workspace.note("start") + "import os; exit(os.environ['BUILDRUNNER_ATTEMPT_NUMBER'] != '4')")
    done = workspace.run("resume", "--json")
    assert (done.results["a.py"]["state"], done.results["a.py"]["attempts"]) == ("passed", 4)


def test_a_failure_that_stopped_the_run_is_mended(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a="exit(1)", b=workspace.note("start") + workspace.until("gate"), c=workspace.note("start"))
    run = workspace.start("run", "src", "-x", "-j2", "--order", "name")
    wait_until(lambda: workspace.notes("start") and "1 failed" in workspace.run("status").out)
    run.send_signal(signal.SIGINT)
    workspace.finish(run, code=130)
    workspace.open("gate")
    dry = ("run", "src", "-x", "-j2", "--order", "name", "--resume", "-n")
    assert "--max-fail 1 is reached" in workspace.run(*dry, code=2).err
    workspace.scripts(a="pass")
    assert "3 scripts of src" in workspace.run(*dry).out
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 3


def test_killed_before_what_changed_has_run_again(workspace: Any, cut: Any, wait_until: Any) -> None:
    """From the second resumption on it simply is not decided; the record is sound at any time."""
    workspace.scripts(a=workspace.note("start"))
    cut()
    workspace.scripts(a=workspace.note("start") + workspace.until("second"))
    resumed = workspace.start("resume")
    wait_until(lambda: ran(workspace)["a.py"] == 2)
    workspace.run("ledger", "check")
    resumed.kill()
    resumed.communicate()
    wait_until(lambda: not workspace.left(), 30.0)
    workspace.run("ledger", "check")
    workspace.open("second")
    done = workspace.run("resume", "--json")
    assert "changed" not in done.err
    assert (done.results["a.py"]["attempts"], done.results["a.py"]["lost"]) == (3, 1)
    assert ran(workspace) == {"a.py": 3, "z.py": 2}
    workspace.run("ledger", "check")
