"""What a script leaves running dies with its attempt, by whatever the machine offers."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from buildrunner import groups, processes

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(sys.platform != "linux", reason="escaped processes are followed on Linux"),
]

needs_groups = pytest.mark.skipif(
    not groups.possible(), reason="this process may not make control groups of version 2 here"
)

# Two forks, a session of its own, no environment, no descriptor, another working directory: nothing tells whose it is.
HIDDEN = """
import os, sys
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir('/')
    os.write(writer, str(os.getpid()).encode())
    os.closerange(0, 64)
    os.execve('/bin/sleep', ['sleep', '600'], {})
pid = os.read(reader, 16).decode()
while open(f'/proc/{pid}/comm').read() != 'sleep\\n':  # until then it has this script's environment
    pass
open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/pid', 'w').write(pid)
"""


def pid_of(workspace: Any, job: str) -> int:
    return int((workspace.path / "python_output/files" / job / "pid").read_text())


@needs_groups
def test_s13_what_hides_its_environment_dies_with_its_attempt(workspace: Any, wait_until: Any, alive: Any) -> None:
    workspace.scripts(a=HIDDEN, b=workspace.until("gate"))
    run = workspace.start("run", "src", "--json", "-j", "2")
    wait_until(lambda: b"a.py: ok" in run.stderr.readline())
    assert not alive(pid_of(workspace, "a.py"))  # it was ended before its script's end was told
    workspace.open("gate")
    assert workspace.finish(run, code=0).results["a.py"]["outcome"] == "ok"
    assert left_groups(workspace) == []


@needs_groups
@pytest.mark.parametrize("also", ["nobody", "worker"])
def test_s01_what_hides_dies_after_its_server_was_killed(
    workspace: Any, wait_until: Any, alive: Any, also: str
) -> None:
    """By its worker, which sees that its server is gone; where that was killed too, by `resume`."""
    workspace.scripts(a=HIDDEN + workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src")
    [(_, _, script)] = wait_until(lambda: workspace.notes("start"))
    hidden = pid_of(workspace, "a.py")
    worker = int(Path(f"/proc/{script}/stat").read_text().rpartition(")")[2].split()[1])
    if also == "worker":
        os.kill(run.pid, signal.SIGSTOP)
        os.kill(worker, signal.SIGKILL)
    os.kill(run.pid, signal.SIGKILL)
    workspace.finish(run)
    if also == "worker":
        assert alive(hidden)
    else:
        wait_until(lambda: not alive(hidden), 5.0, "the end of what escaped")
    workspace.open("gate")
    workspace.run("resume")
    assert not alive(hidden)
    assert left_groups(workspace) == []


@needs_groups
def test_s02_what_hides_dies_when_its_worker_is_killed(workspace: Any, wait_until: Any, alive: Any) -> None:
    workspace.scripts(a=HIDDEN + workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "--json")
    [(_, _, script)] = wait_until(lambda: workspace.notes("start"))
    hidden = pid_of(workspace, "a.py")
    os.kill(int(Path(f"/proc/{script}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
    wait_until(lambda: len(workspace.notes("start")) == 2, what="the second attempt")
    assert not alive(hidden)
    workspace.open("gate")
    assert workspace.finish(run, code=0).results["a.py"]["lost"] == 1


@needs_groups
def test_groups_that_a_script_made_go_with_it(workspace: Any) -> None:
    workspace.scripts(
        a="import os\nown = open('/proc/self/cgroup').read().split('0::')[1].split()[0]\n"
        f"path = {str(groups._own())!r}.rstrip('/') + '/' + os.path.basename(own) + '/mine'\nos.mkdir(path)\n"
        "if os.fork() == 0:\n    os.setsid()\n    open(path + '/cgroup.procs', 'w').write(str(os.getpid()))\n"
        "    os.execve('/bin/sleep', ['sleep', '600'], {})\n"
        "while not open(path + '/cgroup.procs').read(): pass\n"
    )
    assert workspace.json().results["a.py"]["outcome"] == "ok"
    assert workspace.left() == []
    assert left_groups(workspace) == []


def test_s13_without_control_groups_the_attempts_id_finds_it(workspace: Any, wait_until: Any, alive: Any) -> None:
    """What keeps its environment; what hides it too lives until the run ends."""
    keeping = HIDDEN.replace("{})", "os.environ)")
    workspace.scripts(a=keeping, b=HIDDEN, c=workspace.until("gate"))
    workspace.groups = False
    run = workspace.start("run", "src", "--json", "-j", "2")
    for _ in range(2):
        wait_until(lambda: b": ok" in run.stderr.readline())
    wait_until(lambda: not alive(pid_of(workspace, "a.py")), 30.0, "the daemon's end while the run goes on")
    assert alive(pid_of(workspace, "b.py"))
    workspace.open("gate")
    workspace.finish(run, code=0)
    assert not alive(pid_of(workspace, "b.py"))


def test_s21_without_control_groups_memory_is_looked_at_all_the_same(workspace: Any) -> None:
    workspace.scripts(a="x = []\nwhile True: x.append(bytearray(b'x') * (1 << 20))\n")
    workspace.groups = False
    run = workspace.start("run", "src", "--json", "--memory", "100M")
    assert workspace.finish(run, code=1).results["a.py"]["outcome"] == "out_of_memory"


def left_groups(workspace: Any) -> list[str]:
    """Control groups of this workspace's runs."""
    runs = json.loads(workspace.run("history", "--json").stdout)
    names = os.listdir(str(groups._own()))
    return [name for name in names for run in runs if run["run"] in name]


def test_what_only_begins_its_program_is_seen_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the old program and the new one the kernel shows no environment: one look in ten or so falls there."""
    started: list[str] = []
    monkeypatch.setattr(processes.os, "listdir", lambda _: started)  # the whole of /proc would take too long
    missed = []
    for number in range(100):
        mark = f"begin-{number}"
        with subprocess.Popen(["sleep", "60"], env=os.environ | {"BUILDRUNNER_ATTEMPT_ID": mark}) as process:
            started[:] = [str(process.pid)]
            if not processes.carriers([mark]):
                missed.append(number)
            process.kill()
    assert missed == []
