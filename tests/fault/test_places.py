"""The folders a run needs go away while it goes on: that is no verdict on its scripts, and `resume` runs them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.fault.test_delivery import WITHOUT_OVERRIDE
from tests.fault.test_disk import network_folder, require_modes

__all__ = ["network_folder"]  # a fixture

pytestmark = [pytest.mark.fault, pytest.mark.skipif(sys.platform != "linux", reason="capabilities and mounts")]


@pytest.fixture
def disk(workspace: Any) -> Iterator[Callable[[], None]]:
    """The folder `disk` is one of another file system, as long as it is plugged in: each call plugs it in or out."""
    here, there = workspace.path / "disk", workspace.path / "medium"
    here.mkdir()
    there.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root may mount a disk")
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(there)], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")

    def turn() -> None:
        out = ["umount", "-l", str(here)]
        subprocess.run(out if here.is_mount() else ["mount", "--bind", str(there), str(here)], check=True)

    turn()
    yield turn
    if here.is_mount():
        turn()
    subprocess.run(["umount", "-l", str(there)], check=True)


class Cut:
    """A run whose first script waits: then something happens to a folder, and it goes on."""

    def __init__(self, workspace: Any, wait_until: Any) -> None:
        self.workspace, self.wait_until = workspace, wait_until

    def run(
        self,
        happens: Callable[[], object],
        *options: str | Path,
        code: int = 3,
        modes: bool = False,
        **popen: Any,
    ) -> Any:
        """Four scripts, one at a time; `modes`: run by one who must obey a file's mode."""
        workspace = self.workspace
        workspace.script("a.py", workspace.note("start") + workspace.until("gate") + "print('a')")
        for name in "bcd":
            workspace.script(f"{name}.py", workspace.note("start") + f"print({name!r})")
        target = os.path.relpath(workspace.source, popen.get("cwd", workspace.path))
        words = ("run", target, "-j", "1", "--order", "name", *options)
        run = (
            workspace.start_python("-c", WITHOUT_OVERRIDE, *words, **popen)
            if modes
            else workspace.start(*words, **popen)
        )
        self.wait_until(lambda: workspace.notes("start"))
        happens()
        workspace.open("gate")
        return workspace.finish(run, code=code)

    def ran(self) -> list[str]:
        return [job for job, _, _ in self.workspace.notes("start")]


@pytest.fixture
def cut(workspace: Any, wait_until: Any) -> Cut:
    return Cut(workspace, wait_until)


def is_undecided(workspace: Any, *names: str, state: tuple[str | Path, ...] = ()) -> None:
    """Nothing failed; these scripts are still to be run, and the run knows that it was broken off."""
    document = workspace.run("status", "--json", *state).document
    assert document["state"] == "interrupted"
    assert (document["totals"]["failed"], document["totals"]["jobs"]) == (0, 4)
    assert {r["name"] for r in document["results"] if r["state"] in ("waiting", "cancelled")} == set(names)


def test_the_scripts_folder_is_moved_away(workspace: Any, cut: Cut) -> None:
    away = workspace.path / "away"
    done = cut.run(lambda: workspace.source.rename(away))
    assert "the folder src of the scripts is gone: put it back, then `buildrunner resume" in done.out
    is_undecided(workspace, "b.py", "c.py", "d.py")
    again = workspace.run("resume", code=3)
    assert "the folder src of the scripts is gone" in again.out
    is_undecided(workspace, "b.py", "c.py", "d.py")
    away.rename(workspace.source)
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 4
    assert cut.ran() == ["a.py", "b.py", "c.py", "d.py"]


@pytest.mark.parametrize(("instead", "code"), [(None, 2), (os.mkdir, 1)])
def test_one_script_that_is_gone_is_its_own_affair(workspace: Any, cut: Cut, instead: Any, code: int) -> None:
    place = workspace.source / "c.py"

    def replace() -> None:
        place.unlink()
        if instead:
            instead(place)

    done = cut.run(replace, code=1)
    assert "3 passed" in done.out
    assert f"c.py: exit code {code}" in done.err


@pytest.mark.parametrize("resumed", [False, True])
def test_the_folder_it_was_started_in_is_removed(workspace: Any, cut: Cut, resumed: bool) -> None:
    work, away = workspace.path / "work", workspace.path / "away"
    work.mkdir()
    workspace.source = work / "src"
    workspace.source.mkdir()

    def remove() -> None:
        shutil.copytree(work, away)
        shutil.rmtree(work)

    places = ("--state", workspace.path / "state", "-o", workspace.path / "out", "--zip", workspace.path / "r.zip")
    done = cut.run(remove, *places, cwd=work)
    assert f"the folder {work} the run was started in is gone" in done.out
    assert "buildrunner resume" in done.out
    is_undecided(workspace, "b.py", "c.py", "d.py", state=places[:2])
    if resumed:
        away.rename(work)
        workspace.run("resume", *places[:2], cwd=work)
        assert cut.ran() == ["a.py", "b.py", "c.py", "d.py"]


@pytest.mark.parametrize(
    ("folder", "mode", "told"),  # where outputs cannot be looked through, nobody knows what a.py left
    [
        ("src", 0o000, "the folder src of the scripts cannot be used: Permission denied"),
        ("python_output/logs", 0o555, "the output folder python_output/logs cannot be written: Permission denied"),
        ("python_output/files", 0o555, "the output folder python_output/files cannot be written: Permission denied"),
        ("python_output", 0o000, "the output folder python_output cannot be used: Permission denied"),
    ],
)
def test_a_folder_that_may_not_be_used_any_more(workspace: Any, cut: Cut, folder: str, mode: int, told: str) -> None:
    place = workspace.path / folder

    def close() -> None:
        place.chmod(mode)
        require_modes(place)

    try:
        done = cut.run(close, modes=True)
    finally:
        place.chmod(0o755)
    assert told in done.out
    unseen = ["a.py"] if told.endswith("output cannot be used: Permission denied") else []
    is_undecided(workspace, *unseen, "b.py", "c.py", "d.py")
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 4
    assert cut.ran() == ["a.py", *unseen, "b.py", "c.py", "d.py"]


@pytest.mark.parametrize("output", ["disk", "disk/out"])
def test_the_disk_of_the_output_folder_is_gone(workspace: Any, cut: Cut, disk: Callable[[], None], output: str) -> None:
    done = cut.run(disk, "-o", output)
    told = "another one now: its disk is gone" if output == "disk" else "gone"
    assert f"the output folder {output} is {told}: put it back as it was, then `buildrunner resume" in done.out
    assert "cannot be carried on" not in done.out, "when that is put right, it can"
    assert os.listdir(workspace.path / "disk") == [], "nothing is written in the disk's place"
    is_undecided(workspace, "a.py", "b.py", "c.py", "d.py")  # nobody could see what a.py left
    disk()
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 4
    assert cut.ran() == ["a.py", "a.py", "b.py", "c.py", "d.py"]
    workspace.run("verify", "result.zip")


def test_no_folder_is_made_in_the_place_of_a_disk_that_is_gone(workspace: Any, disk: Callable[[], None]) -> None:
    """Short scripts lie ahead of their worker: some start before anybody can have told it."""
    for number in range(60):
        workspace.script(f"{number:02}.sh", ":")
    workspace.script("30.sh", f"umount -l '{workspace.path}/disk'")
    workspace.run("run", "src", "-j", "1", "--order", "name", "-o", "disk", code=3)
    assert os.listdir(workspace.path / "disk") == []
    disk()
    workspace.script("30.sh", ":")
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 60


def test_another_computer_does_not_answer_any_more(workspace: Any, cut: Cut, network_folder: Path) -> None:
    def sever() -> None:
        words = [part.encode() for part in ("sshfs", str(network_folder))]
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and set(words) <= set((entry / "cmdline").read_bytes().split(b"\0")):
                    os.kill(int(entry.name), signal.SIGKILL)
        cut.wait_until(lambda: not os.path.exists(network_folder))

    done = cut.run(sever, "-o", "here/out")
    assert (
        "the output folder here/out cannot be used: Transport endpoint is not connected: put it back as it was"
        in done.out
    )
    assert workspace.run("status", "--json").document["totals"]["failed"] == 0
    subprocess.run(["umount", "-l", str(network_folder)], check=True)
    subprocess.run(["mount", "--bind", str(workspace.path / "there"), str(network_folder)], check=True)
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 4


def test_the_folder_of_a_script_that_was_given_by_itself(workspace: Any, wait_until: Any) -> None:
    away = workspace.path / "away"
    workspace.script("a.py", workspace.note("start") + workspace.until("gate"))
    workspace.script("b.py", "pass")
    run = workspace.start("run", "src/a.py", "src/b.py", "-j", "1", "--order", "name")
    wait_until(lambda: workspace.notes("start"))
    workspace.source.rename(away)
    workspace.open("gate")
    assert "the folder src of the scripts is gone" in workspace.finish(run, code=3).out


def test_logs_that_cannot_make_way_for_another_attempt(workspace: Any, wait_until: Any) -> None:
    workspace.script("a.py", workspace.note("start") + workspace.until("gate") + "os._exit(1)")
    run = workspace.start_python("-c", WITHOUT_OVERRIDE, "run", "src", "--retries", "1")
    wait_until(lambda: workspace.notes("start"))
    logs = workspace.path / "python_output/logs"
    logs.chmod(0o555)
    try:
        require_modes(logs)
        workspace.open("gate")
        done = workspace.finish(run, code=3)
    finally:
        logs.chmod(0o755)
    assert "python_output cannot be written: Permission denied; put it right, then `buildrunner resume" in done.err
    workspace.run("resume", code=1)
    assert len(workspace.notes("start")) == 2


def test_a_folder_below_that_of_the_scripts_is_moved_away(workspace: Any, wait_until: Any) -> None:
    workspace.script("a.py", workspace.note("start") + workspace.until("gate"))
    for name in ("sub/b.py", "sub/c.py"):
        workspace.script(name, workspace.note("start"))
    run = workspace.start("run", "src", "-r", "-j", "1", "--order", "name")
    wait_until(lambda: workspace.notes("start"))
    (workspace.source / "sub").rename(workspace.path / "away")
    workspace.open("gate")
    assert "the folder src/sub of the scripts is gone: put it back" in workspace.finish(run, code=3).out
    (workspace.path / "away").rename(workspace.source / "sub")
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 3


def test_the_disk_of_the_scripts_is_gone(workspace: Any, cut: Cut, disk: Callable[[], None]) -> None:
    workspace.source = workspace.path / "disk"
    done = cut.run(disk)
    assert "the folder disk of the scripts is empty: its disk is gone, or somebody emptied it: put it back" in done.out
    is_undecided(workspace, "b.py", "c.py", "d.py")
    disk()
    assert workspace.run("resume", "--json").document["totals"]["passed"] == 4
    assert cut.ran() == ["a.py", "b.py", "c.py", "d.py"]


@pytest.fixture
def work(workspace: Any) -> Path:
    """A folder to start in, with nothing of the run in it, and what the run is told so."""
    place: Path = workspace.path / "work"
    place.mkdir()
    (place / "data").write_text("x")
    return place


@pytest.mark.parametrize(
    "options",
    [
        ("--state", "../state"),
        ("--junitxml", "j.xml"),
        ("--cwd", "script"),
    ],
)  # fmt: skip
def test_the_report_comes_also_where_nobody_is_any_more(
    workspace: Any, work: Path, wait_until: Any, options: tuple[str, ...]
) -> None:
    """Started in a folder that is removed: scripts that need it are undecided, and the folder is named."""
    workspace.script("a.py", "open('left behind', 'w'); raise SystemExit(1)")
    workspace.script("b.py", workspace.note("start") + workspace.until("gate"))
    workspace.script("c.py", f"open({str(work / 'data')!r})")
    if "--state" not in options:
        options += ("--state", str(workspace.path / "state"))
    places = ("-o", workspace.path / "out", "--zip", workspace.path / "r.zip")
    run = workspace.start("run", workspace.source, "-j", "1", "--order", "name", *options, *places, cwd=work)
    wait_until(lambda: workspace.notes("start"))
    shutil.rmtree(work)
    workspace.open("gate")
    done = workspace.finish(run, code=3)
    assert f"the folder {work} the run was started in is gone" in done.out
    assert "1 passed, 1 failed, 1 cancelled" in done.out
    assert "a.py: exit code 1" in done.err


def test_an_output_folder_that_is_not_found_any_more_is_not_packaged(
    workspace: Any, work: Path, wait_until: Any
) -> None:
    """The way to it leads through the folder the run was started in."""
    workspace.script("a.py", workspace.note("start") + workspace.until("gate") + "print(1)")
    places = ("--state", workspace.path / "state", "-o", "../out", "--zip", workspace.path / "r.zip")
    run = workspace.start("run", workspace.source, "-j", "1", *places, cwd=work)
    wait_until(lambda: workspace.notes("start"))
    work.rename(workspace.path / "away")
    workspace.open("gate")
    done = workspace.finish(run, code=3)
    assert (
        f"the folder {work} the run was started in is gone, from where its paths lead: put it back as it was, then"
        in done.out
    )
    assert not (workspace.path / "r.zip").exists()
    (workspace.path / "away").rename(work)
    workspace.run("package", *places[:2], cwd=work)
    assert "all as packaged" in workspace.run("verify", "r.zip").out


def test_a_script_that_tidies_hidden_files_away_takes_nothing_from_the_others(workspace: Any) -> None:
    workspace.script("a.sh", "echo a")
    workspace.script("b.sh", "find python_output -name '.*' -type f -delete")
    workspace.script("c.sh", "exit 1")
    workspace.script("d.sh", "echo d")
    done = workspace.run("run", "src", "-j", "1", "--order", "name", code=1)
    assert "3 passed, 1 failed" in done.out
    workspace.run("verify", "result.zip")


def test_a_loss_that_was_told_is_told_again(workspace: Any) -> None:
    workspace.script("a.sh", 'rm -rf python_output; mkdir -p "$BUILDRUNNER_OUTPUT_DIR"')
    workspace.run("run", "src", "--no-zip", code=3)
    workspace.run("resume", code=3)


# Removed for good


def test_an_output_folder_removed_for_good_ends_the_run(workspace: Any, cut: Cut) -> None:
    done = cut.run(lambda: shutil.rmtree(workspace.path / "python_output"))
    assert "the output folder python_output is gone: put it back as it was, then" in done.out
    assert "start a new run" in done.out
    assert not (workspace.path / "result.zip").exists()
    assert not (workspace.path / "python_output").exists()
    assert workspace.run("status", "--json").document["totals"]["failed"] == 0
    assert "its output folder python_output is gone; start a new run" in workspace.run("resume", code=2).err
    workspace.run("run", "src")


def test_an_output_folder_removed_under_the_last_script_is_packaged_by_nobody(workspace: Any, wait_until: Any) -> None:
    workspace.script("a.py", "print(1)")
    workspace.script("b.py", workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "-j", "1", "--order", "name")
    wait_until(lambda: workspace.notes("start"))
    shutil.rmtree(workspace.path / "python_output")
    workspace.open("gate")
    done = workspace.finish(run, code=3)
    assert "the output folder python_output is gone" in done.out
    assert not (workspace.path / "result.zip").exists()
    workspace.run("package", code=2)


def test_an_output_folder_that_only_looks_like_the_old_one_is_not_packaged(workspace: Any) -> None:
    workspace.script("a.py", "print(1)")
    workspace.script(
        "b.py",
        "import os, shutil\nown = os.environ['BUILDRUNNER_OUTPUT_DIR']\nshutil.rmtree('python_output')\n"
        "os.makedirs(own)\nopen(own + '/x', 'w').write('b')\n",
    )
    done = workspace.run("run", "src", "-j", "1", "--order", "name", code=3)
    assert (
        "the output folder python_output was removed or emptied: put it back as it was, then `buildrunner package"
        in done.out
    )
    assert not (workspace.path / "result.zip").exists()
    workspace.run("package", code=2)
    workspace.script("b.py", "print(2)")
    workspace.run("run", "src")
    workspace.run("verify", "result.zip")


def test_what_was_removed_from_the_output_folder_is_counted(workspace: Any, cut: Cut) -> None:
    def empty() -> None:
        for name in ("logs", "files"):
            shutil.rmtree(workspace.path / "python_output" / name)

    done = cut.run(empty, code=0)
    assert cut.ran() == ["a.py", "b.py", "c.py", "d.py"], "the folders are made again"
    assert "gone since their scripts ended, so not packaged: " in done.out
    assert "python_output/logs/a.py.out" in done.out
    assert "all as packaged" in workspace.run("verify", "result.zip").out
    assert workspace.log("d.py") == b"d\n"


def test_a_log_that_is_gone_is_not_pointed_to(workspace: Any) -> None:
    workspace.script("a.py", "raise SystemExit(3)")
    workspace.script("b.py", "import shutil; shutil.rmtree('python_output/logs')")
    done = workspace.run("run", "src", "-j", "1", "--order", "name", code=1)
    assert "log: none at python_output/logs/a.py.err" in done.out


# Before anything runs


@pytest.mark.parametrize("folder", ["python_output", "python_output/logs", "python_output/files"])
def test_a_run_that_cannot_write_there_takes_nothing_away(workspace: Any, folder: str) -> None:
    workspace.script("a.py", "import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/x', 'w').write('x'); print(1)")
    workspace.run("run", "src")
    place = workspace.path / folder
    place.chmod(0o500)
    try:
        require_modes(place)
        done = workspace.finish(workspace.start_python("-c", WITHOUT_OVERRIDE, "run", "src"), code=2)
    finally:
        place.chmod(0o755)
    assert f"{folder}: Permission denied; name another with -o DIR" in done.err
    workspace.run("package")
    assert "4 files, all as packaged" in workspace.run("verify", "result.zip").out


def test_the_state_folder_is_closed_while_a_run_goes_on(workspace: Any, cut: Cut) -> None:
    state = workspace.path / ".buildrunner"

    def close() -> None:
        state.chmod(0o000)
        require_modes(state)

    try:
        done = cut.run(close, modes=True)
        told = workspace.finish(workspace.start_python("-c", WITHOUT_OVERRIDE, "status"), code=3).err
    finally:
        state.chmod(0o755)
    assert "the ledger .buildrunner/ledger.db" in done.out
    assert "Permission denied" in done.out
    assert "carry on" in done.out or "`buildrunner resume`" in done.out
    assert "it has to let you in (chmod, chown)" in told
    workspace.run("resume")
