"""What a script starts with, whatever started buildrunner, and what becomes of its output and its processes."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.fault

OF_THE_C_LIBRARY = 3 << 31  # signals 32 and 33, which its posix_spawn sets aside for itself


modes = pytest.mark.parametrize("mode", ["cold", "warm"] if sys.platform == "linux" else ["cold"])


@modes
def test_signals_are_the_scripts_own_whatever_buildrunner_inherited(workspace: Any, mode: str) -> None:
    """As after `nohup` and in a program that blocks signals: scripts still get their defaults and an empty mask."""
    workspace.script("a.sh", "grep ^SigIgn /proc/self/status\n")
    workspace.scripts(b="print([line for line in open('/proc/self/status') if line.startswith('SigBlk')][0])")

    def inherit() -> None:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGWINCH})

    workspace.run("run", "src", "--mode", mode, "--no-zip", preexec_fn=inherit)
    assert int(workspace.log("b.py").split()[1], 16) == 0  # a shell would clear the mask by itself
    assert int(workspace.log("a.sh").split()[1], 16) & ~OF_THE_C_LIBRARY == 0  # Python ignores some by itself


@modes
def test_no_descriptor_of_whoever_started_buildrunner_reaches_a_script(workspace: Any, mode: str) -> None:
    workspace.script("a.sh", "ls -l /proc/self/fd\n")
    workspace.scripts(b="import os\nos.system('ls -l /proc/self/fd')\n")
    reader, writer = os.pipe()
    try:
        done = workspace.run("run", "src", "--mode", mode, "--no-zip", "--json", pass_fds=(writer,))
    finally:
        os.close(reader)
        os.close(writer)
    assert done.results["b.py"]["mode"] == mode  # a Python that inherited it could not be shared
    for name in ("a.sh", "b.py"):
        assert b"pipe:" not in workspace.log(name)
        assert b"socket:" not in workspace.log(name)
        assert b"/dev/null" in workspace.log(name)


@modes
def test_a_script_leads_a_session_of_its_own(workspace: Any, mode: str) -> None:
    workspace.scripts(a="import os\nprint(os.getpid() == os.getpgid(0) == os.getsid(0))")
    done = workspace.run("run", "src", "--mode", mode, "--no-zip", "--json")
    assert (done.results["a.py"]["mode"], workspace.log("a.py")) == (mode, b"True\n")


def test_what_a_script_opens_anew_as_its_output_overwrites_nothing(workspace: Any) -> None:
    workspace.script("a.sh", "echo one; echo two >> /proc/self/fd/1; echo three; (echo four >> /dev/fd/1); echo five\n")
    workspace.run("run", "src", "--no-zip")
    assert workspace.log("a.sh") == b"one\ntwo\nthree\nfour\nfive\n"


def test_a_grandchild_without_an_environment_is_gone_when_its_script_is(
    workspace: Any, wait_until: Any, alive: Any
) -> None:
    """It carries no attempt's id, so nothing but its process group leads to it while the run goes on."""
    workspace.groups = False  # which would do it too
    workspace.script("a.sh", "env -i sleep 600 & until grep -q sleep /proc/$!/comm; do :; done; echo $!\n")
    workspace.scripts(b=workspace.until("gate"))
    run = workspace.start("run", "src", "-j", "2", "--no-zip")
    wait_until(lambda: b"a.sh: ok" in run.stderr.readline())
    grandchild = int(workspace.log("a.sh"))
    try:
        wait_until(lambda: not alive(grandchild), 10.0, "the grandchild's end while the run goes on")
    finally:
        workspace.open("gate")
    workspace.finish(run, code=0)


def test_a_receipt_lies_in_the_journal_before_it_is_sent(workspace: Any, wait_until: Any) -> None:
    """The server is stopped, so that nobody else knows how the script ended."""
    workspace.script("a.sh", "echo started\n" + f"until test -e {workspace.path}/gate; do sleep 0.05; done\nexit 7\n")
    run = workspace.start("run", "src", "--no-zip")
    log = Path(workspace.path, "python_output/logs/a.sh.out")
    wait_until(lambda: log.exists() and log.read_bytes())
    run.send_signal(signal.SIGSTOP)
    [journal] = (workspace.path / ".buildrunner" / "runs").glob("*/*.journal")
    assert journal.read_bytes().count(b"('start'") == 1
    workspace.open("gate")
    wait_until(lambda: b"('end'" in journal.read_bytes(), 20.0, "the receipt")
    assert b"'exited', 7" in journal.read_bytes()
    run.send_signal(signal.SIGCONT)
    workspace.finish(run, code=1)
