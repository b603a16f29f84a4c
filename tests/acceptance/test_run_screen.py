"""What `buildrunner run` says, to terminals of every kind and to nobody."""

import os
import re
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance


def test_quiet_says_only_what_failed(workspace: Any) -> None:
    workspace.scripts(a="print(1)")
    assert workspace.run("run", "src", "-q").stdout == b""
    assert workspace.run("run", "src", "-q").stderr == b""
    workspace.scripts(b="raise SystemExit('the reason')")
    done = workspace.run("run", "src", "-q", code=1)
    assert (done.stderr, "a.py" in done.out) == (b"", False)
    assert "the reason" in done.out


def test_verbose_shows_every_script(workspace: Any) -> None:
    for number in range(25):
        workspace.script(f"s{number:02}.sh", ":")
    done = workspace.run("run", "src")
    assert len(re.findall(r"s\d\d\.sh", done.out)) == 20
    assert "-v" in done.out
    done = workspace.run("run", "src", "-v")
    assert len(set(re.findall(r"s\d\d\.sh", done.out))) == 25
    assert "packaging result.zip" in done.err


def test_colour_and_width(workspace: Any) -> None:
    name = "long_" * 20 + ".py"
    workspace.script(name, "raise SystemExit('sad')")
    plain = workspace.run("run", "src", code=1)
    assert b"\x1b" not in plain.stdout + plain.stderr
    assert b"\r" not in plain.stdout + plain.stderr
    forced = workspace.run("run", "src", code=1, env={"FORCE_COLOR": "1"})
    assert b"\x1b[" in forced.stdout
    colour = re.compile(rb"\x1b\[[0-9;]*\b(3[0-7]|9[0-7])m")
    assert colour.search(forced.stdout)
    assert not colour.search(workspace.run("status", env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).stdout)
    narrow = workspace.run("status", env={"COLUMNS": "60"}).out
    assert max(len(line) for line in narrow.splitlines() if "──" in line) <= 60
    for nonsense in ("0", "1", "-3", "wide"):
        workspace.run("status", env={"COLUMNS": nonsense})
    assert b"\x1b" not in workspace.run("status", env={"TERM": "dumb"}).stdout


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_s11_nobody_reads_what_it_says(workspace: Any, stream: str) -> None:
    """`buildrunner run src | head -1`: the run goes on, quietly, and ends as it would have."""
    workspace.scripts(a="print(1)", b=workspace.note("end"))
    reader, writer = os.pipe()
    os.close(reader)
    run = workspace.start("run", "src", **{stream: writer})
    os.close(writer)
    done = workspace.finish(run)
    assert "Broken" not in done.err
    assert workspace.json().document["state"] == "finished"
    assert len(workspace.notes("end")) == 2
    assert "finished" in workspace.run("history").out
    assert (workspace.path / "result.zip").exists()
    assert done.code == 0


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(workspace: Any, redirection: str) -> None:
    workspace.scripts(a="print(1)", b="print(2)")
    command = f'"{sys.executable}" -m buildrunner run src {redirection}'
    run = subprocess.run(["sh", "-c", command], cwd=workspace.path, env=workspace.env, capture_output=True, check=False)
    assert b"Traceback" not in run.stderr
    assert run.returncode == 0
    assert workspace.log("b.py") == b"2\n"
    assert workspace.run("verify", "result.zip").code == 0


def test_a_terminal_that_knows_only_ascii(workspace: Any) -> None:
    workspace.script("é.py", "raise SystemExit('…')")
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    assert "1 of 1 script did not pass" in workspace.run("run", "src", code=1, env=ascii_only).out
    workspace.run("status", env=ascii_only)
    workspace.run("history", env=ascii_only)


def test_s65_no_terminal_gets_a_scripts_escapes(workspace: Any) -> None:
    evil = "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202e after"
    workspace.scripts(evil=f"import sys; print('{evil}', file=sys.stderr); sys.exit(1)")
    for env in ({}, {"FORCE_COLOR": "1"}):
        done = workspace.run("run", "src", code=1, env=env)
        for raw in ("\x1b]0", "\x07", "\x1b[2J", "\x9b", "\u202e"):
            assert raw not in done.stdout.decode() + done.err
        assert "\\x1b]0;owned\\x07\\x1b[2J" in done.out
        assert b"\x1b]0;owned" in workspace.log("evil.py", "err")


def test_s27_a_script_has_no_terminal_to_open(workspace: Any, terminal: Any) -> None:
    """The command has one, which the script cannot reach as /dev/tty, to ask or to draw."""
    workspace.scripts(
        a="import errno, os\n"
        "for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_NOCTTY):\n"
        "    try:\n        os.write(os.open('/dev/tty', flags), b'from the script')\n"
        "    except OSError as exc:\n        print(errno.errorcode[exc.errno])\n"
        "try:\n    import getpass; getpass.getpass('secret? ')\n"
        "except EOFError:\n    print('end of input')"
    )
    screen = terminal()
    run = screen.start("run", "src", controlling=True)
    screen.finish(run, code=0)
    assert workspace.log("a.py") == b"ENXIO\nENXIO\nENXIO\nend of input\n"
    assert "from the script" not in screen.said
    assert "secret?" not in screen.said
