"""`buildrunner doctor`: what it finds, what it says about it, and that it leaves everything as it was."""

import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance


def ask(workspace: Any, *options: str, code: int = 0, **how: Any) -> dict[str, dict[str, Any]]:
    """The findings by topic."""
    document = workspace.run("doctor", "--json", *options, code=code, **how).document
    assert document["schema"] == "buildrunner.doctor/1"
    assert document["ok"] is (code == 0)
    assert any(f["required"] for f in document["findings"]) is (code == 2)
    for finding in document["findings"]:
        assert finding["verdict"] in ("ok", "degraded", "missing")
        assert bool(finding["means"]) is (finding["verdict"] != "ok"), finding
    return {finding["topic"]: finding for finding in document["findings"]}


def tree(path: Path) -> dict[str, tuple[int, int, str]]:
    """Everything in a folder: mode, time of change and content."""
    found = {}
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files, "."):
            entry = Path(folder, name)
            status = entry.lstat()
            digest = hashlib.sha256(entry.read_bytes()).hexdigest() if entry.is_file() else ""
            found[str(entry)] = (status.st_mode, status.st_mtime_ns, digest)
    return found


def test_a_healthy_place(workspace: Any) -> None:
    found = ask(workspace)
    assert found["python"]["facts"]["path"] == sys.executable
    assert found["python"]["facts"]["version"] == sys.version.split()[0]
    assert found["cpus"]["facts"]["affinity"] == len(os.sched_getaffinity(0))
    assert found["memory"]["facts"]["total"] > 0
    assert found["working directory"]["facts"]["path"] == str(workspace.path)
    assert found["state folder"]["facts"]["exists"] is False
    assert found["record"]["text"].startswith("none yet")
    assert found["sh"]["facts"]["path"] == shutil.which("sh")
    assert found["terminal"]["facts"]["terminal"] is False
    text = workspace.run("doctor").out
    assert "runs work here" in text
    for topic in found:
        assert re.search(f"^(ok|degraded|missing) +{'ledger' if topic == 'record' else re.escape(topic)} ", text, re.M)


def test_nothing_is_made_or_changed(workspace: Any) -> None:
    before = tree(workspace.path)
    ask(workspace)
    workspace.run("doctor", "--state", "deep/er/state", "-o", "deep/er/out")
    assert tree(workspace.path) == before

    workspace.scripts(a="pass")
    workspace.run("run", "src", "-q")
    before = tree(workspace.path)
    found = ask(workspace)
    assert (found["record"]["facts"]["runs"], found["record"]["facts"]["sound"]) == (1, True)
    assert tree(workspace.path) == before


def test_a_record_in_use_and_one_whose_server_was_killed(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "-q")
    wait_until(lambda: workspace.notes("start"))
    found = ask(workspace)
    assert found["record"]["verdict"] == "degraded"
    assert f"in use by process {run.pid}" in found["record"]["text"]
    assert (found["record"]["facts"]["held"], found["output folder"]["verdict"]) == (True, "degraded")
    run.kill()
    workspace.finish(run)
    wait_until(lambda: not workspace.left())
    index = str(workspace.path / ".buildrunner" / "ledger.db-shm")  # SQLite's scratch, made anew by whoever reads
    before = {path: entry for path, entry in tree(workspace.path).items() if path != index}
    found = ask(workspace)
    assert (found["record"]["verdict"], found["record"]["facts"]["runs"]) == ("ok", 1)
    os.unlink(index)
    before = tree(workspace.path)
    found = ask(workspace)
    assert "was never merged" in found["record"]["text"]
    assert tree(workspace.path) == before


def test_only_runs_that_can_be_carried_on_are_said_to_be(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    for number in (1, 2):
        run = workspace.start("run", "src", "-q")
        wait_until(lambda number=number: len(workspace.notes("start")) == number)
        run.send_signal(signal.SIGINT)
        workspace.finish(run, code=130)
    record = ask(workspace)["record"]
    assert "(2 interrupted, 1 of which `buildrunner resume RUN` can carry on)" in record["text"]
    assert (record["facts"]["interrupted"], record["facts"]["resumable"]) == (2, 1)


def test_a_damaged_record_and_one_of_a_newer_version(workspace: Any) -> None:
    workspace.scripts(a="pass")
    workspace.run("run", "src", "-q")
    path = workspace.path / ".buildrunner" / "ledger.db"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    found = ask(workspace, code=2)
    assert (found["record"]["verdict"], "--state DIR" in found["record"]["means"]) == ("missing", True)
    path.write_bytes(data[:60] + b"\0\0\x03\xe8" + data[64:])  # PRAGMA user_version
    assert "newer than this version" in ask(workspace, code=2)["record"]["text"]
    assert "runs cannot work here yet: ledger\n" in workspace.run("doctor", code=2).out


def test_a_strangers_folder(workspace: Any) -> None:
    found = ask(workspace, "--state", "src", code=0)
    assert found["record"]["verdict"] == "ok"  # an empty folder may be used
    workspace.scripts(a="pass")
    assert "a.py" in ask(workspace, "--state", "src", code=2)["record"]["text"]
    assert "src/a.py" in ask(workspace, "-o", "src/a.py/out", code=2)["output folder"]["text"]


def test_a_folder_that_cannot_be_written(workspace: Any, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        disk.chmod(0o500)
    elif subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("root writes everywhere, and nothing can be mounted here")
    try:
        found = ask(workspace, code=2, cwd=disk)
        for topic in ("working directory", "output folder", "state folder"):
            assert (found[topic]["verdict"], found[topic]["required"]) == ("missing", True)
        assert "--state DIR" in found["state folder"]["means"]
        assert ask(workspace, "--state", str(disk / "x" / "y"), code=2)["working directory"]["verdict"] == "ok"
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-l", str(disk)], check=True)
        else:
            disk.chmod(0o700)


def test_which_python_and_why(workspace: Any) -> None:
    assert ask(workspace, "--python", sys.executable)["python"]["facts"]["why"] == "--python"
    missing = ask(workspace, "--python", "/no/such/python", code=2)["python"]
    assert "no such program" in missing["means"]
    for name, text in (("silent", "#!/bin/sh\n"), ("broken", "#!/bin/sh\necho 'cannot find libpython' >&2\nexit 1\n")):
        workspace.script(name, text, mode=0o755)
        found = ask(workspace, "--python", f"src/{name}", code=2)["python"]
        assert "does not work" in found["text"]
        assert ("cannot find libpython" in found["text"]) is (name == "broken")
    # A module of the user's that is called like one of Python's is not run.
    for name in ("importlib", "types", "sys", "warnings"):
        (workspace.path / f"{name}.py").write_text("open('touched', 'w')")
    workspace.finish(workspace.start_python("-P", "-m", "buildrunner", "doctor"), code=0)
    assert not (workspace.path / "touched").exists()


def test_threads_that_crowd_the_cpus(workspace: Any) -> None:
    found = ask(workspace, env={"OMP_NUM_THREADS": "64"})["threads"]
    assert found["facts"]["set"] == {"OMP_NUM_THREADS": "64"}
    assert found["verdict"] == ("degraded" if len(os.sched_getaffinity(0)) > 1 else "ok")
    assert ask(workspace, env={"OMP_NUM_THREADS": "1"})["threads"]["verdict"] == "ok"


def test_one_cpu_and_few_open_files(workspace: Any) -> None:
    def hold_back() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        resource.setrlimit(resource.RLIMIT_NOFILE, (26, 26))

    found = ask(workspace, code=2, preexec_fn=hold_back)
    assert (found["cpus"]["verdict"], found["cpus"]["facts"]["usable"]) == ("degraded", 1)
    assert (found["limits"]["verdict"], found["limits"]["facts"]["open_files"]) == ("missing", 26)
    assert "ulimit -n" in found["limits"]["means"]


def test_programs_that_are_missing_do_not_keep_runs_from_working(workspace: Any) -> None:
    found = ask(workspace, env={"PATH": str(workspace.source)})
    for program in ("sh", "bash", "Rscript", "julia", "ruby", "perl", "node"):
        assert (found[program]["verdict"], found[program]["required"]) == ("missing", False)
    assert ".R scripts cannot start here" in found["Rscript"]["means"]


def test_settings_and_variables_in_effect(workspace: Any) -> None:
    (workspace.path / "buildrunner.toml").write_text('jobs = 3\nstate = "record"\n')
    found = ask(workspace, env={"BUILDRUNNER_TIMEOUT": "5m", "BUILDRUNNER_OUTPUT": "out"})
    assert "jobs = 3" in found["settings"]["text"]
    assert found["settings"]["facts"]["keys"] == ["jobs", "state"]
    assert found["state folder"]["facts"]["path"] == str(workspace.path / "record")
    assert found["output folder"]["facts"]["path"] == str(workspace.path / "out")
    assert found["environment"]["facts"]["variables"] == {"BUILDRUNNER_TIMEOUT": "5m", "BUILDRUNNER_OUTPUT": "out"}
    strange = ask(workspace, env={"BUILDRUNNER_JBOS": "4"})["environment"]
    assert "did you mean BUILDRUNNER_JOBS?" in strange["means"]
    assert ask(workspace, env={"BUILDRUNNER_EXPORT_OUTPUT": "x"})["environment"]["verdict"] == "ok"
    inside = ask(workspace, env={"BUILDRUNNER_ATTEMPT_ID": "x", "BUILDRUNNER_JOBS": "4"})["environment"]
    assert inside["facts"]["inside_a_run"] is True
    for broken in ("jbos = 1", 'jobs = "x"', "limit = 0", "jobs = ["):  # whichever verb would stumble
        (workspace.path / "buildrunner.toml").write_text(broken)
        found = ask(workspace, code=2)
        assert (found["settings"]["verdict"], "buildrunner.toml" in found["settings"]["means"]) == ("missing", True)


def test_a_terminal_and_its_colours(workspace: Any) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = workspace.start("doctor", stdout=theirs, env={"TERM": "xterm-256color", "COLUMNS": "133", "LINES": "44"})
    os.close(theirs)
    said = b""
    while True:
        try:
            said += os.read(ours, 65536)
        except OSError:
            break
    os.close(ours)
    workspace.finish(process, code=0)
    assert "133 × 44, 256 colours" in said.decode()


def test_a_machine_that_tells_nothing(workspace: Any) -> None:
    """/proc and /sys hidden: much cannot be told, and nothing breaks."""
    unshare, mount = shutil.which("unshare"), shutil.which("mount")
    if os.geteuid() != 0 or not unshare or not mount:
        pytest.skip("only root can hide /proc")
    hide = " && ".join(f"{mount} -t tmpfs none {folder}" for folder in ("/sys", "/proc"))
    hide += f" && exec {sys.executable} -m buildrunner doctor --json"
    if subprocess.run([unshare, "-m", "true"], capture_output=True).returncode:
        pytest.skip("no name spaces can be made here")
    process = workspace.start_python("-c", f"import os; os.execv({unshare!r}, ['unshare', '-m', 'sh', '-c', {hide!r}])")
    document = workspace.finish(process, code=0).document
    found = {finding["topic"]: finding for finding in document["findings"]}
    assert found["descendants"]["verdict"] == "degraded"
    assert found["memory"]["facts"]["available"] is None
    assert found["cpus"]["facts"]["quota"] is None
    assert "no version 2" in found["control groups"]["text"]
    assert "unknown file system" in found["working directory"]["text"]


def test_a_look_that_fails_is_itself_told(workspace: Any) -> None:
    program = (
        "import sys\nfrom buildrunner import doctor, machine\nfrom buildrunner.cli import main\n"
        "def fail():\n    raise RuntimeError('no\\x1b such thing')\n"
        "machine.memory = fail\nsys.argv = ['buildrunner', 'doctor']\nmain()\n"
    )
    done = workspace.finish(workspace.start_python("-c", program), code=0)
    assert "memory" in done.out
    assert "cannot be told (RuntimeError: no\\x1b such thing)" in done.out


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "virtiofs"])
def test_s59_a_network_file_system_is_not_for_the_state_folder(workspace: Any, kind: str) -> None:
    program = (
        "import sys\nfrom buildrunner import machine\nfrom buildrunner.cli import main\n"
        f"machine.file_system = lambda path: 'ext4' if path == '/' else {kind!r}\n"
        "sys.argv = ['buildrunner', *sys.argv[1:]]\nmain()\n"
    )
    document = workspace.finish(workspace.start_python("-c", program, "doctor", "--json"), code=2).document
    found = {finding["topic"]: finding for finding in document["findings"]}
    assert found["state folder"]["verdict"] == "missing"
    assert found["state folder"]["required"]
    assert f"{kind} is a network file system" in found["state folder"]["means"]
    assert "--state DIR" in found["state folder"]["means"]
    assert found["output folder"]["verdict"] == "ok"

    workspace.scripts(a=workspace.note("ran"))
    (workspace.path / ".buildrunner").mkdir()
    (workspace.path / ".buildrunner/ledger.db").touch()
    writers = (["run", "src"], ["resume"], ["ledger", "vacuum"], ["bench", "src"])
    for verb in writers if kind == "nfs4" else writers[:1]:
        done = workspace.finish(workspace.start_python("-c", program, *verb), code=2)
        assert f"on a network file system ({kind})" in done.err
        assert ("TMPDIR" if verb[0] == "bench" else "--state DIR") in done.err
    assert workspace.notes("ran") == []
