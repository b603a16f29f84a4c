"""Whose files lie in the output folder: an older run vouches for nothing that another one put there."""

import os
import signal
import zipfile
from typing import Any

import pytest

pytestmark = pytest.mark.fault


def newest(workspace: Any, state: str = ".buildrunner") -> str:
    name: str = workspace.run("status", "--json", "--state", state).document["run"]
    return name


def interrupted(workspace: Any, wait_until: Any, *options: str) -> None:
    """A run of `src` in which a.sh ended and b.py did not."""
    workspace.script("a.sh", 'echo "$X"')
    workspace.script("b.py", workspace.note("start") + workspace.until("gate") + "print('b')")
    before = len(workspace.notes("start"))
    run = workspace.start("run", "src", "-j", "1", "--order", "name", *options, env={"X": "first"})
    wait_until(lambda: len(workspace.notes("start")) > before)
    run.send_signal(signal.SIGINT)
    workspace.finish(run, code=130)


def test_the_same_target_by_another_ledger(workspace: Any) -> None:
    workspace.script("a.sh", 'echo "$X"; exit 1')
    workspace.run("run", "src", "--state", "A", "--zip", "a.zip", env={"X": "first"}, code=1)
    workspace.run("run", "src", "--state", "B", "--no-zip", env={"X": "second"}, code=1)
    later = newest(workspace, "B")
    for arguments in (("package", "--zip", "again.zip"), ("logs", "a.sh")):
        done = workspace.run(*arguments, "--state", "A", code=2)
        assert f"run {later} of the same target has used the output folder python_output since" in done.err
        assert done.out == ""
    assert not (workspace.path / "again.zip").exists()
    assert "second" not in workspace.run("status", "--state", "A").out
    assert workspace.run("logs", "a.sh", "--state", "B").out == "second\n"


def test_a_run_is_not_carried_on_over_another_ones_files(workspace: Any, wait_until: Any) -> None:
    interrupted(workspace, wait_until, "--state", "A")
    workspace.open("gate")
    workspace.run("run", "src", "--state", "B", "--no-zip", env={"X": "second"})
    done = workspace.run("resume", "--state", "A", code=2)
    assert "cannot be carried on" in done.err
    assert workspace.log("a.sh") == b"second\n"


def test_the_same_target_with_another_output_folder_takes_nothing_away(workspace: Any, wait_until: Any) -> None:
    interrupted(workspace, wait_until, "-o", "one")
    first = newest(workspace)
    workspace.open("gate")
    workspace.run("run", "src", "-o", "two", "--no-zip", env={"X": "second"})
    assert workspace.run("logs", "a.sh", "--run", first).out == "first\n"
    workspace.run("resume", first)
    with zipfile.ZipFile(workspace.path / "result.zip") as archive:
        assert archive.read("logs/a.sh.out") == b"first\n"
        assert archive.read("logs/b.py.out") == b"b\n"


def test_status_and_logs_show_no_other_targets_words(workspace: Any) -> None:
    workspace.script("a.sh", "echo mine >&2; exit 1")
    workspace.script("b.sh", "echo b")
    workspace.run("run", "src", "--no-zip", code=1)
    first = newest(workspace)
    (workspace.path / "other").mkdir()
    (workspace.path / "other" / "a.sh").write_text("echo stranger >&2; exit 1")
    workspace.run("run", "other", "--no-zip", code=1)
    out = workspace.run("status", first).out
    assert "stranger" not in out
    assert "no longer there: another target has used the output folder" in out
    assert "stranger" not in workspace.run("logs", "a.sh", "--run", first, code=2).err
    assert workspace.run("logs", "b.sh", "--run", first).out == "b\n", "nobody took that one"


def test_a_list_that_is_gone_is_named(workspace: Any) -> None:
    workspace.scripts(a="pass")
    workspace.run("run", "src")
    (workspace.path / "python_output" / ".buildrunner-files").unlink()
    assert "the output folder python_output has lost its list of what is whose" in workspace.run("package", code=2).err


def test_a_resumed_run_that_is_killed_leaves_only_what_the_next_removes(workspace: Any, wait_until: Any) -> None:
    """Its first session said what it left; the second left more, and could say nothing."""
    write = "open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/x', 'w').close()\n"
    workspace.script("a.py", "import os\n" + write + workspace.note("start") + workspace.until("gate"))
    for arguments, number in ((("run", "src"), signal.SIGINT), (("resume",), signal.SIGKILL)):
        before = len(workspace.notes("start"))
        run = workspace.start(*arguments)
        wait_until(lambda before=before: len(workspace.notes("start")) > before)
        run.send_signal(number)
        run.wait(300)
        wait_until(lambda: not workspace.left())
    workspace.open("gate")
    done = workspace.json()
    assert done.results["a.py"]["outputs"] == ["python_output/files/a.py/x"]


def test_no_zip_of_an_earlier_session_is_vouched_for(workspace: Any, wait_until: Any) -> None:
    interrupted(workspace, wait_until)
    done = workspace.run("package")
    assert "is interrupted: 1 of its 2 scripts did not end" in done.err
    workspace.script("b.py", "import os\nos.remove('result.zip')\nos.mkdir('result.zip')")
    done = workspace.run("resume", "--json", code=3)
    assert done.document["archive"] is None
    assert "cannot write the zip result.zip: it is a folder" in done.err
    assert "--zip FILE` makes it" in done.err
    workspace.run("package", "--zip", "other.zip")
    assert workspace.run("resume", "--json").document["archive"]["path"] == "other.zip"


def test_a_zip_replaces_nothing_that_a_script_put_there(workspace: Any) -> None:
    workspace.script("a.sh", "echo precious > result.zip")
    done = workspace.run("run", "src", code=3)
    assert "what is there is none of ours" in done.out
    assert (workspace.path / "result.zip").read_text() == "precious\n"


def test_an_output_folder_that_takes_no_list_costs_nothing_but_a_word(workspace: Any) -> None:
    workspace.scripts(a="import os; os.mkdir('python_output/.buildrunner-files.new')")
    done = workspace.run("run", "src", "--json")
    assert done.document["archive"]["files"] == 3
    assert "cannot write in the output folder" in done.err


@pytest.mark.parametrize(("name", "depths"), [("d", ("1500", "3000", "0")), ("n" * 100, ("50", "50", "0"))])
def test_output_nested_deeper_than_any_path(
    workspace: Any, deep_folder: Any, name: str, depths: tuple[str, ...]
) -> None:
    text = "import os\nos.chdir(os.environ['BUILDRUNNER_OUTPUT_DIR'])\n"
    text += f"for _ in range(int(os.environ['DEPTH'])):\n    os.mkdir('{name}'); os.chdir('{name}'); open('f', 'w')\n"
    workspace.script("a.py", text + "exit(os.environ['BUILDRUNNER_ATTEMPT_NUMBER'] == '1')")
    for depth in depths:
        done = workspace.json("--retries", "1", "-o", deep_folder / "out", "--no-zip", env={"DEPTH": depth})
        assert done.results["a.py"]["attempts"] == 2
        assert done.results["a.py"]["stdout"].endswith("/logs/a.py.out"), "its name is free again"
    assert os.listdir(deep_folder / "out" / "files") == []


def test_a_folder_that_a_script_made_a_link_leads_to_nothing_of_ours(workspace: Any) -> None:
    precious = workspace.path / "precious" / "a.sh"
    precious.mkdir(parents=True)
    (precious / "file").touch()
    workspace.script("a.sh", "rm -rf python_output/files; ln -s ../precious python_output/files; exit 1")
    workspace.run("run", "src", "--retries", "1", "--no-zip", code=1)
    workspace.run("run", "src", "--no-zip", code=1)
    assert (precious / "file").exists()


def test_what_somebody_puts_beside_a_finished_jobs_files_survives_a_killed_resumption(
    workspace: Any, wait_until: Any
) -> None:
    interrupted(workspace, wait_until)
    mine = workspace.path / "python_output" / "files" / "a.sh" / "notes"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    before = len(workspace.notes("start"))
    run = workspace.start("resume")
    wait_until(lambda: len(workspace.notes("start")) > before)
    run.kill()
    run.wait()
    wait_until(lambda: not workspace.left())
    workspace.open("gate")
    workspace.run("run", "src", "--no-zip")
    assert mine.read_text() == "mine"


def test_the_logs_of_an_attempt_stay_when_its_retry_comes_back_unstarted(workspace: Any, wait_until: Any) -> None:
    """Retries of quick failures must not lie ahead of a worker: their logs would have made way for nothing."""
    for number in range(8):
        workspace.script(f"s{number}.sh", "echo out; exit 1")
    hangs = (
        workspace.note("start")
        + "if os.environ['BUILDRUNNER_ATTEMPT_NUMBER'] != '1':\n    "
        + workspace.until("gate").replace("import os, time; ", "import time; ")
        + "exit(1)"
    )
    workspace.script("s3.py", hangs)
    run = workspace.start("run", "src", "-j", "1", "--retries", "9", "--order", "name", "--no-zip")
    wait_until(lambda: len(workspace.notes("start")) >= 2)
    run.send_signal(signal.SIGINT)
    workspace.finish(run, code=130)
    for number in range(7):
        assert workspace.run("logs", f"s{number}.sh").out == "out\n"


def test_a_resumed_run_whose_files_are_gone_is_not_packaged(workspace: Any, wait_until: Any) -> None:
    interrupted(workspace, wait_until)
    (workspace.path / "python_output" / "logs" / "a.sh.out").unlink()
    assert "no longer there" in workspace.run("logs", "a.sh", "--stdout").err
    workspace.open("gate")
    assert "1 of the run's files are gone" in workspace.run("resume", code=3).out


def test_hints_can_be_followed(workspace: Any, wait_until: Any) -> None:
    interrupted(workspace, wait_until, "-o", "one", "--state", "S")
    first = newest(workspace, "S")
    assert f"buildrunner resume {first} --state S" in workspace.run("status", "--state", "S").out
    workspace.open("gate")
    workspace.run("run", "src", "-o", "two", "--state", "S")
    assert (
        f"run {first} is interrupted: `buildrunner resume {first} --state S`"
        in workspace.run("resume", "--state", "S").out
    )
    workspace.run("run", "src", "-o", "one", "--state", "B", "--no-zip")
    out = workspace.run("status", first, "--state", "S").out
    assert "it cannot be carried on: run " in out
    assert "buildrunner resume" not in out


def test_logs_follow_no_run_but_their_own(workspace: Any, wait_until: Any) -> None:
    interrupted(workspace, wait_until)
    old = newest(workspace)
    (workspace.path / "c.py").write_text(workspace.note("other") + workspace.until("other-gate"))
    run = workspace.start("run", "c.py", "--no-zip")
    wait_until(lambda: workspace.notes("other"))
    workspace.run("logs", "-f", "--run", old, "b.py")  # ends at once, not with the other
    assert run.poll() is None
    workspace.open("other-gate")
    workspace.finish(run, code=0)


AFTER_THE_LAST = """\
import os, signal, sys
from buildrunner.config import Options
from buildrunner.events import JobEnded
from buildrunner.server import BuildServer
class Interrupts:
    def on_event(self, event):
        if isinstance(event, JobEnded) and event.done == event.total:
            os.kill(os.getpid(), signal.SIGINT)
from buildrunner.errors import BuildrunnerError
options = Options(targets=("src",), zip=sys.argv[1] or None)
try:
    summary = BuildServer.from_options(options, listeners=[Interrupts()]).run(handle_signals=True)
    print(summary.exit_code, summary.run.state, *summary.notices)
except BuildrunnerError as exc:
    print(exc.exit_code, exc)
"""


@pytest.mark.parametrize(
    ("zip_file", "said"), [("", "0 finished"), ("r.zip", "130 finished interrupted while packaging")]
)
def test_an_interrupt_after_the_last_script_interrupts_no_script(workspace: Any, zip_file: str, said: str) -> None:
    workspace.scripts(a="pass")
    done = workspace.finish(workspace.start_python("-c", AFTER_THE_LAST, zip_file), code=0)
    assert done.out.startswith(said)
    assert workspace.run("status", "--json").document["state"] == "finished"


def test_package_beside_another_run_says_what_is_not_recorded(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a="pass")
    workspace.run("run", "src")
    first = newest(workspace)
    (workspace.path / "b.py").write_text(workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "b.py", "-o", "other", "--no-zip")
    wait_until(lambda: workspace.notes("start"))
    done = workspace.run("package", first, "--zip", "again.zip")
    assert "the zip is made, but not entered in the record" in done.err
    workspace.run("verify", "again.zip")
    workspace.open("gate")
    workspace.finish(run, code=0)


def test_package_from_another_folder_records_where_the_zip_is(workspace: Any) -> None:
    workspace.scripts(a="pass")
    workspace.run("run", "src", "--with-report")
    done = workspace.run("package", "--state", "../.buildrunner", "--zip", "x.zip", cwd=workspace.source)
    assert done.out.startswith("x.zip: ")
    assert workspace.run("status", "--json").document["archive"]["path"] == str(workspace.source / "x.zip")
    with zipfile.ZipFile(workspace.source / "x.zip") as archive:
        assert "report.json" in archive.namelist(), "as the run was asked to"


def test_package_that_is_told_to_end_leaves_no_half_of_a_zip(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(
        a="import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/x', 'wb').write(os.urandom(60_000_000))"
    )
    workspace.run("run", "src", "--no-zip")
    run = workspace.start("package", "--zip", "r.zip")
    wait_until(lambda: workspace.packaging())
    run.terminate()
    workspace.finish(run, code=143)
    assert sorted(os.listdir(workspace.path)) == [".buildrunner", "python_output", "src"]
