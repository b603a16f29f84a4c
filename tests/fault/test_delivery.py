"""What is delivered: a zip although packaging was cut off, and no output lost without a word."""

import fcntl
import shutil
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.fault

BIG = "import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/big', 'wb').write(os.urandom(60_000_000))"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_s05_resume_makes_the_zip_that_was_cut_off(workspace: Any, wait_until: Any, number: signal.Signals) -> None:
    workspace.scripts(a="print(1)")
    workspace.run("run", "src")
    old = (workspace.path / "result.zip").read_bytes()
    workspace.scripts(a=BIG + "; print(2)")
    run = workspace.start("run", "src")
    wait_until(lambda: workspace.packaging())
    run.send_signal(number)
    assert run.wait(300) == (-9 if number is signal.SIGKILL else 130)
    assert (workspace.path / "result.zip").read_bytes() == old
    assert "not packaged: `buildrunner package" in workspace.run("status").out

    done = workspace.run("resume")
    assert "nothing was run" in done.out
    assert "result.zip: 4 files" in done.out
    assert "all as packaged" in workspace.run("verify", "result.zip").out
    assert (workspace.path / "result.zip").stat().st_size > 50_000_000
    assert not list(workspace.path.glob(".buildrunner-*")), "what the killed one left is gone"
    again = workspace.run("resume", "--json")
    assert again.document["archive"]["files"] == 4


def cut_off(workspace: Any, wait_until: Any) -> None:
    """A run of `src` that is killed while it is packaged."""
    workspace.scripts(a=BIG)
    run = workspace.start("run", "src")
    wait_until(lambda: workspace.packaging())
    run.kill()
    run.wait()


def test_resume_replaces_no_strangers_file_by_the_zip(workspace: Any, wait_until: Any) -> None:
    cut_off(workspace, wait_until)
    (workspace.path / "result.zip").write_text("mine")
    done = workspace.run("resume", code=3)
    assert "none of ours" in done.out
    assert (workspace.path / "result.zip").read_text() == "mine"
    workspace.run("package", "--zip", "other.zip")
    assert "nothing was run" in workspace.run("resume", code=0).out


@pytest.mark.parametrize("verb", ["resume", "package"])
def test_no_files_of_another_target_are_packaged(workspace: Any, wait_until: Any, verb: str) -> None:
    cut_off(workspace, wait_until)
    first = workspace.run("status", "--json").document["run"]
    other = workspace.path / "other"
    other.mkdir()
    (other / "a.py").write_text("print('other')")
    workspace.run("run", "other", "--no-zip")
    done = workspace.run(verb, first, code=3 if verb == "resume" else 2)
    assert "another target has used the output folder python_output since" in done.out + done.err
    assert not (workspace.path / "result.zip").exists()


def test_nothing_is_packaged_while_another_run_writes_there(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a="print('mine')")
    workspace.run("run", "src")
    old = (workspace.path / "result.zip").read_bytes()
    (workspace.path / "b.py").write_text(workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "b.py", "--no-zip", "--state", "other-state")
    wait_until(lambda: workspace.notes("start"))
    done = workspace.run("package", "--zip", "again.zip", code=2)
    assert f"in use by process {run.pid} " in done.err
    workspace.open("gate")
    workspace.finish(run, code=0)
    workspace.run("package", "--zip", "again.zip")
    assert (workspace.path / "again.zip").read_bytes() == old


def test_an_output_folder_that_is_gone_is_named_and_not_made_again(workspace: Any) -> None:
    workspace.scripts(a="print('mine')")
    workspace.run("run", "src")
    shutil.rmtree(workspace.path / "python_output")
    assert "its output folder python_output is gone" in workspace.run("package", code=2).err
    assert not (workspace.path / "python_output").exists()


@pytest.mark.parametrize(("interrupts", "code"), [(1, 0), (2, 130)])
def test_an_interrupt_cuts_no_document_short(workspace: Any, wait_until: Any, interrupts: int, code: int) -> None:
    """Nobody reads yet, so the document fills the pipe; the second Ctrl-C is for whoever does not want to wait."""
    for number in range(300):
        workspace.script(f"{'long' * 30}{number}.sh", ":")
    run = workspace.start("run", "src", "--json", "-q", "--no-zip")
    wait_until(lambda: "finished" in workspace.run("status", code=None).out)
    wait_until(lambda: _waiting_to_be_read(run.stdout) > 50_000)
    for _ in range(interrupts):
        run.send_signal(signal.SIGINT)
        wait_until(lambda: _sleeps(run.pid))
    done = workspace.finish(run, code=code)
    if interrupts == 1:
        assert len(done.document["results"]) == 300


def _waiting_to_be_read(pipe: Any) -> int:
    """Bytes in the pipe; 65,536 fit."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def _sleeps(pid: int) -> bool:
    """Whether every signal has come to the process, and it waits again or has ended."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["ShdPnd"], 16) == 0 and status["State"][0] in "SZ"


def test_package_after_a_zip_that_could_not_be_made_mends_the_exit_code(workspace: Any) -> None:
    workspace.scripts(a="import os; os.mkdir('zips/result.zip')")
    (workspace.path / "zips").mkdir()
    workspace.run("run", "src", "--zip", "zips/result.zip", code=3)
    (workspace.path / "zips" / "result.zip").rmdir()
    workspace.run("package")
    assert "nothing was run" in workspace.run("resume", code=0).out


def test_package_mends_no_exit_code_while_the_report_may_be_missing(workspace: Any) -> None:
    workspace.scripts(a="import os; os.mkdir('x/r.xml'); os.mkdir('x/r.zip')")
    (workspace.path / "x").mkdir()
    workspace.run("run", "src", "--zip", "x/r.zip", "--junitxml", "x/r.xml", code=3)
    (workspace.path / "x" / "r.zip").rmdir()
    assert "stays 3 until `buildrunner resume " in workspace.run("package").err
    (workspace.path / "x" / "r.xml").rmdir()
    workspace.run("resume", code=0)
    assert (workspace.path / "x" / "r.xml").is_file()


def test_a_finished_run_without_a_zip_is_summed_up_from_anywhere(workspace: Any) -> None:
    workspace.scripts(a="pass")
    workspace.run("run", "src", "--no-zip")
    assert "1 passed" in workspace.run("resume", "--state", "../.buildrunner", cwd=workspace.source).out


def test_other_things_in_a_state_folder_that_holds_a_ledger_lock_nobody_out(workspace: Any) -> None:
    workspace.scripts(a="pass")
    workspace.run("run", "src")
    (workspace.path / ".buildrunner" / "note").touch()
    workspace.run("run", "src")


def test_resume_names_the_run_of_another_target_that_is_interrupted(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "--no-zip")
    wait_until(lambda: workspace.notes("start"))
    run.send_signal(signal.SIGINT)
    assert run.wait(300) == 130
    left = workspace.run("status", "--json").document["run"]
    (workspace.path / "one.py").write_text("pass")
    workspace.run("run", "one.py", "--no-zip")
    done = workspace.run("resume")
    assert "nothing was run" in done.out
    assert f"`buildrunner resume {left}`" in done.out
    workspace.open("gate")
    workspace.run("resume", left)
    assert left not in workspace.run("resume").out


# Root may read everything; with this it is a user like any other, for itself and everything it starts.
WITHOUT_OVERRIDE = """\
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, "-m", "buildrunner", *sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_an_output_folder_that_cannot_be_read_is_told(workspace: Any) -> None:
    workspace.script("a.sh", 'echo data > "$BUILDRUNNER_OUTPUT_DIR/x"; chmod 000 "$BUILDRUNNER_OUTPUT_DIR"')
    run = workspace.start_python("-c", WITHOUT_OVERRIDE, "run", "src", "--json", "--no-zip")
    done = workspace.finish(run, code=0)
    assert done.results["a.sh"]["skipped_outputs"] == ["python_output/files/a.sh/./"]
    assert "not readable: a.sh: ./" in done.err


def test_a_script_that_removes_what_is_not_its_own_stops_no_other(workspace: Any) -> None:
    workspace.script("a.sh", 'rm -rf "$(dirname "$BUILDRUNNER_OUTPUT_DIR")"')
    workspace.script("b.sh", 'echo data > "$BUILDRUNNER_OUTPUT_DIR/x"')
    done = workspace.json("-j", "1", "--order", "name")
    assert done.results["b.sh"]["outputs"] == ["python_output/files/b.sh/x"]


@pytest.mark.parametrize("option", ["--zip", "--events", "--junitxml"])
def test_a_name_that_elsewhere_means_standard_output_is_refused(workspace: Any, option: str) -> None:
    workspace.scripts(a="pass")
    done = workspace.run("run", "src", option, "-", code=2)
    assert f"{option} -: name a file" in done.err
    assert ("/dev/stdout" in done.err) is (option == "--events")
    assert [p.name for p in workspace.path.iterdir()] == ["src"]


@pytest.mark.parametrize("option", ["--state", "-o", "--zip"])
def test_an_empty_name_is_refused(workspace: Any, option: str) -> None:
    workspace.scripts(a="pass")
    done = workspace.run("run", "src", option, "", code=2)
    assert "without a name" in done.err
    assert [p.name for p in workspace.path.iterdir()] == ["src"]


@pytest.mark.parametrize("place", [".", "src"])
def test_a_state_folder_that_holds_other_things_is_refused(workspace: Any, place: str) -> None:
    workspace.scripts(a="pass")
    done = workspace.run("run", "src", "--state", place, code=2)
    assert "holds other things" in done.err
    assert "--state DIR" in done.err
    assert [p.name for p in (workspace.path / place).iterdir()] == (["src"] if place == "." else ["a.py"])


@pytest.mark.parametrize("unbuffered", [{}, {"PYTHONUNBUFFERED": "1"}])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_standard_output_that_is_full_is_named(workspace: Any, options: list[str], unbuffered: Any) -> None:
    workspace.scripts(a="pass", b="raise SystemExit(1)")
    with open("/dev/full", "wb") as full:
        done = workspace.run("run", "src", *options, code=3, stdout=full, env=unbuffered)
        shown = workspace.run("status", *options, code=3, stdout=full, env=unbuffered)
    name = workspace.run("status", "--json").document["run"]
    assert (
        f"buildrunner: standard output: No space left on device; run {name} is recorded all the same "
        f"(2 scripts: 1 passed, 1 failed): `buildrunner status {name}` shows it\n"
    ) in done.err
    assert shown.err == "buildrunner: standard output: No space left on device; what was recorded stays recorded\n"


def test_a_standard_error_that_is_full_is_named_in_the_report(workspace: Any) -> None:
    workspace.scripts(a="pass")
    with open("/dev/full", "wb") as full:
        done = workspace.run("run", "src", code=0, stderr=full)
        document = workspace.run("run", "src", "--json", code=0, stderr=full).document
        workspace.run("run", "src", "-x", "nowhere", code=2, stderr=full)
    assert document["totals"]["passed"] == 1
    assert "standard error: No space left on device; from then on the run was not shown" in done.out


def test_a_working_directory_that_is_gone_is_named(workspace: Any) -> None:
    gone = workspace.path / "gone"
    gone.mkdir()
    command = f'rmdir "$PWD"; exec "{sys.executable}" -m buildrunner run ../src'
    done = subprocess.run(["sh", "-c", command], cwd=gone, env=workspace.env, capture_output=True, timeout=300)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.endswith(b"the working directory does not exist any more: go to one that does\n")
