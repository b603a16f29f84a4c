"""The server killed, stopped and interrupted at the worst of times; what `resume` makes of it."""

import json
import os
import re
import signal
import subprocess
from typing import Any

import pytest

pytestmark = pytest.mark.fault


def processes_below(workspace: Any, server: int) -> list[int]:
    """The server's workers and their scripts."""
    workers = workspace.children(server)
    return workers + [script for worker in workers for script in workspace.children(worker)]


@pytest.fixture
def half_done(workspace: Any, wait_until: Any) -> Any:
    """A run of six scripts, two at a time: `a` and `b` have ended, `c` and `d` wait at a gate.

    `a` and `b` last too long for the others to be put ahead into a worker's queue.
    """
    for name in "abcdef":
        text = workspace.note("start") + f"print('{name}', flush=True)\n"
        if name in "ab":
            text += "import time; time.sleep(0.15)\n"
        if name in "cd":
            text += workspace.until("gate")
        workspace.scripts(**{name: text + workspace.note("end")})
    run = workspace.start("run", "src", "--json", "-j", "2", "--order", "name")
    wait_until(lambda: len(workspace.notes("start")) == 4)
    return run


def ended(workspace: Any) -> list[str]:
    return [job[0] for job, _, _ in workspace.notes("end")]


def test_s01_a_killed_server_takes_everything_along_and_resume_does_the_rest(
    workspace: Any, without_groups: None, half_done: Any, wait_until: Any, alive: Any
) -> None:
    below = processes_below(workspace, half_done.pid)
    assert len(below) == 4
    attempts = {job: attempt for job, attempt, _ in workspace.notes("start")}
    half_done.kill()
    wait_until(lambda: not any(map(alive, below)), 30.0, "the end of workers and scripts")
    wait_until(lambda: not workspace.left(), 30.0, "the end of all others")

    document = workspace.run("status", "--json").document
    assert document["state"] == "interrupted"
    assert (document["totals"]["passed"], document["totals"]["running"]) == (2, 0)
    out = workspace.run("status").out
    assert f"buildrunner resume {document['run']}" in out
    assert "running" not in out
    assert "interrupted" in workspace.run("history").out

    workspace.open("gate")
    done = workspace.run("resume", "--json")
    assert (done.document["run"], done.document["state"]) == (document["run"], "finished")
    assert done.document["totals"]["passed"] == 6
    assert sorted(ended(workspace)) == list("abcdef")
    assert "2 of them done before" in done.err
    for name, result in done.results.items():
        assert (result["attempts"], result["lost"]) == ((2, 1) if name[0] in "cd" else (1, 0))
        assert workspace.log(name) == f"{name[0]}\n".encode()
    for name in ("c.py", "d.py"):
        assert workspace.log(f"{name}.1") == f"{name[0]}\n".encode()
        starts = [attempt for job, attempt, _ in workspace.notes("start") if job == name]
        assert len(starts) == 2
        assert starts[0] == attempts[name] != starts[1]
    lost = workspace.run("why", "c.py").out
    assert re.search(r"attempt 1 +lost with its worker, worker \d *$", lost, re.MULTILINE), lost
    assert "0.000 s" not in done.err
    workspace.run("verify", "result.zip")
    assert workspace.run("resume").code == 0
    assert len(ended(workspace)) == 6


def test_s04_what_ended_unseen_is_adopted_and_not_run_again(workspace: Any, half_done: Any, wait_until: Any) -> None:
    """Between a script's end and the commit: the server is stopped, the scripts end, the server is killed."""
    half_done.send_signal(signal.SIGSTOP)
    workspace.open("gate")
    wait_until(lambda: len(ended(workspace)) == 4)
    journals = list((workspace.path / ".buildrunner" / "runs").glob("*/*.journal"))
    wait_until(lambda: sum(journal.read_bytes().count(b"('end'") for journal in journals) == 4)
    before = {job: attempt for job, attempt, _ in workspace.notes("end")}
    half_done.kill()
    wait_until(lambda: not workspace.left(), 30.0)
    assert workspace.run("status", "--json").document["totals"]["passed"] == 2

    done = workspace.run("resume", "--json")
    assert done.document["totals"]["passed"] == 6
    assert sorted(ended(workspace)) == list("abcdef")
    assert {job: attempt for job, attempt, _ in workspace.notes("end") if job in before} == before
    assert "2 of them done before" in done.err, "and what is adopted is counted as it is told:"
    assert re.findall(r"^\[(\d)/6\]", done.err, re.MULTILINE) == ["3", "4", "5", "6"]
    for result in done.results.values():
        assert (result["attempts"], result["lost"]) == (1, 0)
        assert result["seconds"] > 0
    workspace.run("verify", "result.zip")


def test_s04_a_failure_that_ended_unseen_is_adopted_too(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(
        a=workspace.note("start") + workspace.until("gate") + workspace.note("end") + "exit(3)",
        b="print(1)",
    )
    run = workspace.start("run", "src", "-j", "1", "--order", "name")
    wait_until(lambda: workspace.notes("start"))
    run.send_signal(signal.SIGSTOP)
    workspace.open("gate")
    wait_until(lambda: workspace.notes("end"))
    [journal] = (workspace.path / ".buildrunner" / "runs").glob("*/*.journal")
    wait_until(lambda: b"('end'" in journal.read_bytes())
    run.kill()
    done = workspace.run("resume", "--json", code=1)
    assert (done.results["a.py"]["exit_code"], done.results["a.py"]["attempts"]) == (3, 1)
    assert done.results["b.py"]["state"] == "passed"
    assert len(workspace.notes("start")) == 1


def test_s04_a_journal_cut_short_loses_only_its_last_line(workspace: Any, half_done: Any, wait_until: Any) -> None:
    half_done.send_signal(signal.SIGSTOP)
    workspace.open("gate")
    journals = list((workspace.path / ".buildrunner" / "runs").glob("*/*.journal"))
    wait_until(lambda: sum(journal.read_bytes().count(b"('end'") for journal in journals) == 4)
    half_done.kill()
    wait_until(lambda: not workspace.left(), 30.0)
    cut = journals[0]
    whole = cut.read_bytes()
    cut.write_bytes(whole[: whole.rindex(b"('end'") + 20])
    done = workspace.run("resume", "--json")
    assert done.document["totals"]["passed"] == 6
    assert sorted(result["lost"] for result in done.results.values()) == [0, 0, 0, 0, 0, 1]
    assert len(ended(workspace)) == 7


def test_s01_killed_again_and_again(workspace: Any, wait_until: Any) -> None:
    """Every resumption is killed too, each at another share of the work; then one goes through."""
    for number in range(60):
        workspace.script(f"s{number:02}.sh", 'echo "end $BUILDRUNNER_JOB_NAME $BUILDRUNNER_ATTEMPT_ID $$" >> witness\n')
    run = workspace.start(
        "run", "src", "-j", "2", "--order", "name", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for share in (5, 20, 35, 50):
        wait_until(lambda run=run, share=share: len(workspace.notes("end")) >= share or run.poll() is not None)
        run.kill()
        run.wait()
        recorded = workspace.run("status", "--json").document["totals"]["passed"]
        run = workspace.start("resume", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert run.wait(300) == 0
    done = workspace.run("status", "--json")
    assert recorded <= done.document["totals"]["passed"] == 60
    times: dict[str, int] = {}
    for job, _, _ in workspace.notes("end"):
        times[job] = times.get(job, 0) + 1
    for name, result in done.results.items():
        assert 1 <= times[name] <= 1 + result["lost"], name
    workspace.run("verify", "result.zip")


def test_s01_s02_server_and_worker_killed_at_once(workspace: Any, half_done: Any, wait_until: Any, alive: Any) -> None:
    """Nobody is left to end the scripts then: `resume` does, before it runs anything."""
    workers = workspace.children(half_done.pid)
    scripts = [script for worker in workers for script in workspace.children(worker)]
    assert len(scripts) == 2
    half_done.send_signal(signal.SIGSTOP)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    half_done.kill()
    wait_until(lambda: not any(map(alive, workers)), 30.0)
    resumed = workspace.start("resume", "--json")
    wait_until(lambda: not any(map(alive, scripts)), what="the end of the scripts of the dead run")
    workspace.open("gate")
    done = workspace.finish(resumed, code=0)
    assert done.document["totals"]["passed"] == 6
    assert sorted(ended(workspace)) == list("abcdef")


def test_s07_a_first_interrupt_asks_and_reports(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(
        a="import signal, sys, time\nsignal.signal(15, lambda *_: (print('asked to end', flush=True), sys.exit(0)))\n"
        + workspace.note("start")
        + "time.sleep(600)",
        b="import signal, time\nsignal.signal(15, signal.SIG_IGN)\n" + workspace.note("start") + "time.sleep(600)",
        c=workspace.note("start"),
    )
    run = workspace.start("run", "src", "-j", "2", "--order", "name", "--grace", "500ms")
    wait_until(lambda: len(workspace.notes("start")) == 2)
    run.send_signal(signal.SIGINT)
    done = workspace.finish(run, code=130)
    assert workspace.log("a.py") == b"asked to end\n"
    assert len(workspace.notes("start")) == 2
    document = workspace.run("status", "--json").document
    states = {result["name"]: (result["state"], result["outcome"]) for result in document["results"]}
    assert states == {"a.py": ("cancelled", "cancelled"), "b.py": ("cancelled", "cancelled"), "c.py": ("waiting", None)}
    assert {r["name"]: r["signal"] for r in document["results"]} == {"a.py": None, "b.py": 9, "c.py": None}
    assert f"buildrunner resume {document['run']}" in done.out
    assert "interrupted with 3 scripts left" in done.out
    assert not (workspace.path / "result.zip").exists()
    assert "stopping" in done.err


def test_s07_a_second_interrupt_kills_at_once(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(
        a="import signal, time\nsignal.signal(15, lambda *_: "
        + "print('asked', flush=True))\n"
        + workspace.note("start")
        + "while True: time.sleep(600)",
    )
    run = workspace.start("run", "src", "--grace", "1h")
    wait_until(lambda: workspace.notes("start"))
    run.send_signal(signal.SIGINT)
    wait_until(lambda: workspace.log("a.py") == b"asked\n")
    assert run.poll() is None
    run.send_signal(signal.SIGINT)
    workspace.finish(run, code=130)
    [result] = workspace.run("status", "--json").document["results"]
    assert (result["state"], result["signal"]) == ("cancelled", 9)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_s07_s08_run_resume_carries_on_what_a_signal_ended(
    workspace: Any, half_done: Any, number: signal.Signals, code: int
) -> None:
    half_done.send_signal(number)
    first = workspace.finish(half_done, code=code).document
    assert (first["state"], first["totals"]["passed"]) == ("interrupted", 2)
    workspace.open("gate")
    options = ("-j", "2", "--order", "name", "--resume")
    done = workspace.json(*options)
    assert (done.document["run"], done.document["totals"]["passed"]) == (first["run"], 6)
    assert sorted(ended(workspace)) == list("abcdef")
    assert all(result["lost"] == 0 for result in done.results.values())
    again = workspace.json(*options)  # nothing is left of it: a new run
    assert again.document["run"] != first["run"]
    assert len(ended(workspace)) == 12


def test_an_interrupt_at_any_moment_of_a_short_run(workspace: Any, wait_until: Any) -> None:
    """It ends with 130 or as if nothing had come, leaves a sound record, and is carried on by the next."""
    for number in range(8):
        workspace.script(f"s{number}.sh", ":")
    lock = workspace.path / ".buildrunner" / "lock"
    for number in range(10):
        run = workspace.start("run", "src", "--resume", "-q", "--json", "--order", "name")
        holds = f'"pid": {run.pid},'
        wait_until(lambda holds=holds: lock.exists() and holds in lock.read_text())
        try:
            run.wait(number * 0.015)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGINT)
        done = workspace.finish(run)
        assert done.code in (0, 130, -signal.SIGINT), (number, done.err)  # the last: when all was said and done
        if done.stdout:
            document = json.loads(done.stdout)
            if done.code == 130:  # it broke scripts off, or the packaging of a run that had come to its end
                assert (document["state"], document["archive"]) in (("interrupted", None), ("finished", None))
            else:
                assert document["state"] == "finished"
    done = workspace.json("--resume", "--order", "name")
    assert (done.document["state"], done.document["totals"]["passed"]) == ("finished", 8)
    workspace.run("verify", "result.zip")


def test_resume_while_the_run_lives_is_refused(workspace: Any, half_done: Any) -> None:
    for arguments in (("resume",), ("run", "src", "--resume")):
        done = workspace.run(*arguments, code=2)
        assert f"process {half_done.pid} " in done.err
    workspace.open("gate")
    assert workspace.finish(half_done, code=0).document["totals"]["passed"] == 6


def test_s09_a_server_stopped_and_continued(workspace: Any, half_done: Any, wait_until: Any) -> None:
    half_done.send_signal(signal.SIGSTOP)
    workspace.open("gate")
    wait_until(lambda: len(ended(workspace)) == 4)
    half_done.send_signal(signal.SIGCONT)
    done = workspace.finish(half_done, code=0)
    assert [result["attempts"] for result in done.document["results"]] == [1] * 6


def test_ctrl_c_reaches_the_server_alone(workspace: Any, wait_until: Any) -> None:
    """A terminal's Ctrl-C goes to its whole foreground group; scripts hear only of what the server decides."""
    workspace.scripts(a=workspace.note("start") + "import time\ntime.sleep(600)")
    run = workspace.start("run", "src", "--json", process_group=0)
    [(_, _, script)] = wait_until(lambda: workspace.notes("start"))
    assert os.getpgid(script) == os.getsid(script) == script
    os.killpg(run.pid, signal.SIGINT)
    done = workspace.finish(run, code=130)
    assert done.results["a.py"]["signal"] == signal.SIGTERM
    assert done.results["a.py"]["lost"] == 0


def test_an_ignored_hangup_stays_ignored(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))  # nohup
    wait_until(lambda: workspace.notes("start"))
    run.send_signal(signal.SIGHUP)
    workspace.open("gate")
    workspace.finish(run, code=0)


@pytest.fixture
def packaging(workspace: Any, wait_until: Any) -> Any:
    """A run that has begun to pack something big, beside the zip of an earlier one."""
    workspace.scripts(a="import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/x', 'wb').write(b'small')")
    workspace.run("run", "src")
    workspace.scripts(
        a="import os; f = open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/x', 'wb')\n"
        "for _ in range(30): f.write(os.urandom(1 << 20))"
    )
    run = workspace.start("run", "src", "-v")
    wait_until(lambda: b"packaging" in run.stderr.readline())
    return run


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_s05_ended_while_packaging(workspace: Any, packaging: Any, number: signal.Signals) -> None:
    """The old zip is whole, nothing half-written lies about, and `package` makes the new one."""
    old = (workspace.path / "result.zip").read_bytes()
    packaging.send_signal(number)
    done = workspace.finish(packaging, code=-number if number == signal.SIGKILL else 128 + number)
    assert (workspace.path / "result.zip").read_bytes() == old
    if number != signal.SIGKILL:
        assert "note: interrupted while packaging; `buildrunner package " in done.out
        assert {path.name for path in workspace.path.iterdir()} == {
            "src",
            "python_output",
            "result.zip",
            ".buildrunner",
        }
    assert workspace.run("status", "--json").document["totals"]["passed"] == 1
    workspace.run("package")
    assert (workspace.path / "result.zip").read_bytes() != old
    workspace.run("verify", "result.zip")
