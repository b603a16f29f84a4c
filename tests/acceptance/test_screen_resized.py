"""The live screen in a terminal that breaks lines anew when its size changes, as most do (pyte does not): tmux."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]


class Tmux:
    """A tmux of our own with one window in which the program runs."""

    def __init__(self, workspace: Any) -> None:
        self.workspace = workspace
        self.socket = str(workspace.path / "tmux")

    def do(self, *words: str, **settings: Any) -> str:
        done = subprocess.run(
            ["tmux", "-S", self.socket, "-f", "/dev/null", *words],
            env={**self.workspace.env, "LC_ALL": "C.UTF-8"},
            cwd=self.workspace.path,
            capture_output=True,
            check=True,
            timeout=60,
        )
        return done.stdout.decode()

    def start(self, *arguments: str) -> None:
        """Run the program at 80×24; what it leaves on the screen stays there."""
        command = shlex.join([sys.executable, "-m", "buildrunner", *arguments])
        self.do("new-session", "-d", "-x", "80", "-y", "24", f"{command}; echo exit $?; sleep 300")

    def resize(self, columns: int, lines: int) -> None:
        self.do("resize-window", "-x", str(columns), "-y", str(lines))

    @property
    def rows(self) -> list[str]:
        """What stands on the screen."""
        return self.do("capture-pane", "-p").rstrip("\n").split("\n")

    @property
    def everything(self) -> str:
        """Also what has scrolled away; lines that were broken are whole."""
        return self.do("capture-pane", "-p", "-J", "-S", "-")


@pytest.fixture
def tmux(workspace: Any) -> Iterator[Tmux]:
    one = Tmux(workspace)
    yield one
    one.do("kill-server")


def failing(workspace: Any, count: int) -> None:
    """Scripts that fail one by one when told to, and one that lasts until the end."""
    for number in range(count):
        workspace.script(f"bad_{number}.py", workspace.until(f"f{number}") + "exit(3)")
    workspace.script("z.py", workspace.until("z"))


def test_no_stale_frame_and_no_lost_line(workspace: Any, tmux: Tmux, wait_until: Any) -> None:
    sizes = [(60, 24), (100, 24), (80, 12), (50, 30), (120, 40), (80, 24)]
    failing(workspace, len(sizes))
    total = len(sizes) + 1
    tmux.start("run", "src", "-j", str(total), "--no-zip")
    wait_until(lambda: "\n".join(tmux.rows).count("s, new") == total)
    for number, size in enumerate(sizes):
        tmux.resize(*size)
        workspace.open(f"f{number}")
        counted = f"{number + 1}/{total} · {number + 1} failed"
        wait_until(lambda counted=counted: any(counted in row for row in tmux.rows))
        text = tmux.everything
        assert (text.count("s so far"), text.count("─  ")) == (1, 1), text
    workspace.open("z")
    wait_until(lambda: "exit 1" in tmux.rows)
    text = tmux.everything
    for number in range(len(sizes)):
        assert text.count(f"[{number + 1}/{total}] bad_{number}.py: exit code 3") == 1
    assert not re.search(r"so far|^worker \d  |─  \d/|more at work", text, re.MULTILINE)
    assert text.count(f"finished: {total} scripts, 1 passed, {total - 1} failed, in ") == 1


def test_however_small_it_gets_no_failure_is_lost(workspace: Any, tmux: Tmux, wait_until: Any) -> None:
    """A block that suddenly does not fit the screen may leave its head behind, but takes nothing else with it."""
    sizes = [(20, 6), (80, 24), (10, 3), (30, 8), (200, 4), (80, 24)]
    failing(workspace, len(sizes))
    tmux.start("run", "src", "-j", "7", "--no-zip")
    wait_until(lambda: "\n".join(tmux.rows).count("s, new") == 7)
    for number, size in enumerate(sizes):
        tmux.resize(*size)
        workspace.open(f"f{number}")
        wait_until(lambda number=number: any(f"{number + 1}/7" in row for row in tmux.rows))
    wait_until(lambda: re.search(r"^worker \d  z\.py", tmux.everything, re.MULTILINE))
    workspace.open("z")
    wait_until(lambda: "exit 1" in tmux.rows)
    text = tmux.everything
    for number in range(len(sizes)):
        assert text.count(f"[{number + 1}/7] bad_{number}.py: exit code 3") == 1


def test_ctrl_z_and_fg_leave_nothing_of_the_screen_behind(workspace: Any, tmux: Tmux, wait_until: Any) -> None:
    workspace.scripts(a=workspace.until("a"), b=workspace.until("b"))
    tmux.do("new-session", "-d", "-x", "80", "-y", "24", "env PS1='$ ' bash --norc --noprofile")
    wait_until(lambda: tmux.rows[0].startswith("$"))
    command = shlex.join([sys.executable, "-m", "buildrunner", "run", "src", "-j2", "--no-zip"])
    tmux.do("send-keys", command, "Enter")
    wait_until(lambda: "\n".join(tmux.rows).count("s, new") == 2)
    tmux.do("send-keys", "C-z")
    wait_until(lambda: "Stopped" in "\n".join(tmux.rows))
    wait_until(lambda: tmux.rows[-1].startswith("$"))
    assert not any("worker" in row or "so far" in row for row in tmux.rows)
    workspace.open("a")
    tmux.do("send-keys", "fg", "Enter")
    wait_until(lambda: any("1/2" in row for row in tmux.rows))
    assert "\n".join(tmux.rows).count("s, new") == 1
    workspace.open("b")
    wait_until(lambda: any("2 passed" in row for row in tmux.rows))
    assert "so far" not in tmux.everything
