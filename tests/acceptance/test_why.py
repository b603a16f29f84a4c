"""`buildrunner why`: one test for every state a job can be in, and for what has changed since."""

import os
import re
import signal
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance


def why(workspace: Any, job: str, *options: str) -> dict[str, str]:
    """What it says, by heading; the first line is under the empty heading."""
    first, *rest = workspace.run("why", job, *options).out.rstrip("\n").split("\n")
    said, heading = {"": first}, ""
    for line in rest:
        assert line.startswith("  ")
        found = re.match(r"  (\S.*?)  +(\S.*)", line)
        if found:
            heading = found[1]
            said[heading] = found[2].rstrip()
        else:
            said[heading] += "\n" + line.strip()
    return said


def test_passed_and_failed_in_every_way(workspace: Any) -> None:
    workspace.scripts(
        ok="pass",
        code="import sys; print('first'); sys.exit('the reason')",
        sig="import os; os.kill(os.getpid(), 11)",
        slow=workspace.until("never"),
    )
    workspace.script("spawn", "#!/no/such/program\n", mode=0o755)
    workspace.run("run", "src", "-q", "--timeout", "1s", "--order", "name", "-j", "1", code=1)

    passed = why(workspace, "ok.py")
    assert re.match(r"ok\.py in run \S+: ok, 0\.\d+ s$", passed[""])
    assert passed["was chosen"] == "one of 5 scripts of src"
    assert "worker 0, as number 2" in passed["started"]
    assert passed["order"] == "by name"
    assert passed["script"] == "src/ok.py, as it was when it ran"
    assert "did not pass" not in passed and "alone" not in passed and "logs" not in passed and "follow" not in passed
    assert passed["log"] == "python_output/logs/ok.py.err"

    failed = why(workspace, "code")
    assert "exit code 1" in failed["did not pass"]
    assert failed["last words"] == "the reason"
    assert failed["log"] == "python_output/logs/code.py.err"
    assert failed["not retried"] == "no --retries were asked for"
    assert failed["alone"].startswith("buildrunner run --no-zip ")

    signalled = why(workspace, "sig.py")["did not pass"]
    assert "signal 11 (SIGSEGV)" in signalled and "139" in signalled
    assert "--timeout" in why(workspace, "slow.py")["did not pass"]
    assert "signal 15" in why(workspace, "slow.py")["did not pass"]
    spawn = why(workspace, "spawn")
    assert spawn["did not pass"].startswith("cannot start: the program /no/such/program was not found")
    assert "same missing program" in spawn["not retried"]


def test_the_command_to_paste_is_one_line(workspace: Any) -> None:
    name = "long_" * 30 + ".py"
    workspace.script(name, "exit(1)")
    workspace.run("run", "src", "-q", code=1)
    [line] = [line for line in workspace.run("why", name, env={"COLUMNS": "60"}).out.splitlines() if "alone" in line]
    assert line.endswith(f"src/{name}")


def test_retried(workspace: Any) -> None:
    workspace.scripts(
        flaky="import os, sys; sys.exit(os.environ['BUILDRUNNER_ATTEMPT_NUMBER'] == '1')", never="exit(2)"
    )
    workspace.run("run", "src", "-q", "--retries", "1", code=1)
    flaky = why(workspace, "flaky.py")
    assert flaky["attempt 1"].startswith("exit code 1, ")
    assert flaky["attempt 2"].startswith("ok, ")
    assert why(workspace, "never.py")["not retried"] == "--retries 1 are used up"


def test_lost_with_its_worker(workspace: Any) -> None:
    workspace.scripts(a="import os, signal; os.kill(os.getppid(), signal.SIGKILL)")
    run = workspace.run("run", "src", code=1)
    assert "a.py: lost with its worker, trying again\n" in run.err
    assert "a.py: lost with its worker after 4 attempts\n" in run.out
    for done in (run, workspace.run("status"), workspace.run("why", "a.py")):
        said = done.out + done.err
        assert not re.search(r"(a\.py|attempt \d).* 0\.000 s", said), "nobody knows how long it ran"
        assert "None" not in said
    lost = why(workspace, "a.py")
    assert "its worker process died 4 times" in lost["did not pass"]
    assert lost["attempt 4"].startswith("lost with its worker")
    assert "not retried" not in lost


def test_skipped_after_a_failure(workspace: Any) -> None:
    workspace.scripts(a="exit(1)", b="pass")
    workspace.run("run", "src", "-q", "-x", "-j", "1", "--order", "name", code=1)
    skipped = why(workspace, "b.py")
    assert skipped[""].endswith(": skipped")
    assert skipped["was skipped"] == "not started: a script failed"
    assert "started" not in skipped and "script" not in skipped


def test_while_it_runs_and_after_an_interruption(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(
        again=workspace.note("start") + "import os; os.environ['BUILDRUNNER_ATTEMPT_NUMBER'] == '1' and exit(3)\n"
        + workspace.until("again"), later="pass", much_later="pass",
    )  # fmt: skip
    run = workspace.start("run", "src", "-j", "1", "--order", "name", "--retries", "1")
    wait_until(lambda: len(workspace.notes("start")) == 2)
    runs = why(workspace, "again.py")
    assert runs[""].endswith(": running")
    assert re.match(r"attempt 2 on worker 0 since 20\S+Z, for (<0\.1|\d\S*) s$", runs["runs"])
    assert runs["log"] == "python_output/logs/again.py.err"
    assert re.match(r"buildrunner logs -f --run \S+ again\.py$", runs["follow"])
    assert runs["attempt 1"].startswith("exit code 3")
    assert why(workspace, "later.py")["waits"] == "0 scripts will start before it, and the workers are at again.py"
    assert why(workspace, "much_later")["waits"].startswith("1 script will start before it")
    run.send_signal(signal.SIGINT)
    assert run.wait(120) == 130
    cut = why(workspace, "again.py")
    assert cut["was cancelled"].startswith("asked to stop; carry on with: buildrunner resume ")
    assert why(workspace, "later.py")["waits"].startswith("the run was interrupted before its turn came; ")


def test_cancelled_from_another_terminal(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"), b="pass", c="pass")
    run = workspace.start("run", "src", "-j", "1", "--order", "name")
    wait_until(lambda: workspace.notes("start"))
    workspace.run("cancel", "--job", "[ab].py")
    workspace.finish(run)
    assert why(workspace, "a.py")["was cancelled"].startswith("cancelled from another terminal; ")
    assert why(workspace, "b.py")["was cancelled"].startswith("cancelled from another terminal before it started; ")
    assert why(workspace, "c.py")[""].endswith(" s")


def test_a_script_that_changed_and_one_that_is_gone(workspace: Any) -> None:
    workspace.scripts(a="pass", b="pass")
    workspace.run("run", "src", "-q")
    workspace.scripts(a="print()")
    os.unlink(workspace.source / "b.py")
    assert why(workspace, "a.py")["script"] == "src/a.py, CHANGED since it ran"
    assert why(workspace, "b.py")["script"] == "src/b.py cannot be read any more"


def test_an_older_run_whose_logs_another_has_replaced(workspace: Any) -> None:
    workspace.scripts(a="import sys; sys.exit('old words')")
    old = workspace.json(code=1).document["run"]
    workspace.scripts(a="print('new')")
    new = workspace.json().document["run"]
    assert why(workspace, "a.py")[""].startswith(f"a.py in run {new}: ok")
    said = why(workspace, "a.py", "--run", old)
    assert said[""].startswith(f"a.py in run {old}: exit code 1")
    assert said["logs"].startswith(f"no longer there: run {new} ")
    assert "last words" not in said
    assert re.match(r"\d.* × its usual ", why(workspace, "a.py")["time"].partition(", ")[2])
    assert "time" not in said, "it had never run before"


def test_what_a_run_had_of_its_target(workspace: Any) -> None:
    workspace.scripts(a="exit(1)", b="pass", c="pass")
    workspace.run("run", "src", "-q", "--exclude", "c*", code=1)
    assert why(workspace, "a.py")["was chosen"] == "one of 2 scripts of src, --exclude c*"
    workspace.run("run", "src", "-q", "--last-failed", code=1)
    assert why(workspace, "a.py")["was chosen"] == "one of 2 scripts of src (what did not pass last time)"  # c is new
    assert why(workspace, "a.py")["order"].startswith("longest first, and it took 0.")


def test_names_and_words_with_escapes(workspace: Any) -> None:
    name = b"\x1b[2J\xff[bold].py"
    workspace.script(name, "import sys; sys.exit('\\x1b[31mred [bold]')")
    workspace.run("run", "src", "-q", code=1)
    done = workspace.run("why", b"\x1b[2J\xff[bold].py", env={"FORCE_COLOR": "1"})
    assert b"\x1b[2J" not in done.stdout and b"\x1b[31m" not in done.stdout and b"\xff" not in done.stdout
    assert "\\x1b[2J\\xff[bold].py in run" in done.out
    assert "\\x1b[31mred [bold]" in done.out


def test_an_unknown_job_or_run(workspace: Any) -> None:
    assert "--state" in workspace.run("why", "a.py", code=2).err
    workspace.scripts(prime="pass")
    workspace.run("run", "src", "-q")
    done = workspace.run("why", "prine.py", code=2)
    assert (done.stdout, "did you mean 'prime.py'?" in done.err) == (b"", True)
    assert "buildrunner history" in workspace.run("why", "prime.py", "--run", "2000", code=2).err


def test_what_a_script_that_never_ran_was_taken_to_last(workspace: Any) -> None:
    workspace.script("a.sh", ":")
    workspace.run("run", "src", "-q")
    assert why(workspace, "a.sh")["order"] == "longest first, and no run of it had ended yet"
    workspace.script("new.sh", ":")
    workspace.run("run", "src", "-q")
    said = why(workspace, "new.sh")["order"].replace("\n", " ")
    assert "no run of it had ended yet, so it was taken to last as long as the median of the others: 0." in said
    assert why(workspace, "a.sh")["order"].startswith("longest first, and it took 0.")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has warm scripts")
def test_a_sound_script_that_python_itself_has_to_read_is_not_called_wrong(workspace: Any) -> None:
    workspace.scripts(a="pass")
    (workspace.path / "src" / "b.py").write_bytes("# coding: latin-1\nprint(ascii('ü'))\n".encode("latin-1"))
    workspace.json("--mode", "warm")
    assert workspace.log("b.py") == b"'\\xfc'\n"
    told = workspace.run("why", "b.py").out
    assert "Python itself has to read it (UnicodeDecodeError)" in told
    assert "wrong" not in told
