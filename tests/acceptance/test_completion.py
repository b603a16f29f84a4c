"""Completion in the shells themselves: each is started on a terminal, a line and a TAB are typed, and what the shell
then hands to the command is looked at."""

import fcntl
import os
import re
import select
import shlex
import shutil
import sqlite3
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.skipif(sys.platform != "linux", reason="written for Linux terminals")]

LINES = {
    "bash": 'eval "$(buildrunner completion bash)"',
    "zsh": 'eval "$(buildrunner completion zsh)"',
    "fish": "buildrunner completion fish | source",
}
# A function of that name shows the words the shell would have handed over; completion itself asks the real program.
SHOW = {
    "bash": "buildrunner() { printf 'GOT'; printf '<%s>' \"$@\"; printf '%s\\n' END; }\nPS1='ready> '\n"
    "bind 'set enable-bracketed-paste off'\n",
    "zsh": "buildrunner() { printf 'GOT'; printf '<%s>' \"$@\"; printf '%s\\n' END; }\nPS1='ready> '\n"
    "unsetopt PROMPT_SP ZLE_BRACKETED_PASTE 2>/dev/null; unset zle_bracketed_paste\n",
    "fish": "function buildrunner; printf 'GOT'; printf '<%s>' $argv; printf '%s\\n' END; end\n"
    "function fish_prompt; printf 'ready> '; end\nfunction fish_greeting; end\nset -g fish_autosuggestion_enabled 0\n",
}
NAMES = (
    "Prime.py", "spaced name.py", "quote's.py", 'double".py', "dollar$HOME.py", "semi;colon.py", "star*.py", "a:b.py",
    "tab\tand\nline.py", "comma,x.py", "-dash.py", "übung.py", "eq=x.py", "back\\slash.py", "sub/inner one.py",
)  # fmt: skip


@pytest.fixture
def place(workspace: Any) -> Any:
    """A record with jobs of difficult names, and the program on PATH."""
    for name in (*NAMES, b"\xff.py"):
        workspace.script(name, "pass")
    workspace.run("run", "src", "-q", "-r")
    folder = workspace.path / "bin"
    folder.mkdir()
    (folder / "buildrunner").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m buildrunner "$@"\n')
    (folder / "buildrunner").chmod(0o755)
    (workspace.path / "home").mkdir()
    workspace.env |= {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "HOME": str(workspace.path / "home"),
        "ZDOTDIR": str(workspace.path / "home"),
        "XDG_CONFIG_HOME": str(workspace.path / "home"),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }
    return workspace


class Shell:
    """A shell on a terminal, with completion installed by its one line."""

    def __init__(self, workspace: Any, name: str, program: str) -> None:
        home = workspace.path / "home"
        text = f"{LINES[name]}\n{SHOW[name]}"
        if name == "bash":
            (home / "rc").write_text(text)
            command = [program, "--noprofile", "--rcfile", str(home / "rc"), "-i"]
        elif name == "zsh":
            (home / ".zshrc").write_text(text)
            command = [program, "-d", "-i"]
        else:
            (home / "fish").mkdir()
            (home / "fish" / "config.fish").write_text(text)
            command = [program, "-i"]
        self._ours, theirs = os.openpty()
        self.process = subprocess.Popen(
            command, cwd=workspace.path, env=workspace.env, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        workspace.started.append(self.process)
        os.close(theirs)
        self.said = b""
        self._until(b"ready> ")

    def words(self, typed: str) -> list[str]:
        """The words the command gets when this is typed, with TABs in it, and then Enter."""
        self.said = b""
        os.write(self._ours, typed.encode())
        time.sleep(0.05)  # fish reads a pasted Enter differently from a typed one
        os.write(self._ours, b"\r")
        shown = self._until(rb"GOT((<[^\n]*>)?)END\r*\n").group(1).decode()
        return shown[1:-1].split("><")

    def shows(self, typed: str, *expected: str) -> None:
        """Wait until all of this is shown after that was typed; then drop the line."""
        self.said = b""
        os.write(self._ours, typed.encode())
        for word in expected:
            self._until(re.escape(word.encode()))
        os.write(self._ours, b"\x03")

    def _until(self, pattern: bytes, seconds: float = 60.0) -> re.Match[bytes]:
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.said)):
            if not select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
                pytest.fail(f"waited in vain for {pattern!r}; the shell said {self.said!r}")
            self.said += os.read(self._ours, 65536)
        return found

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture(params=sorted(LINES))
def shell(request: pytest.FixtureRequest, place: Any) -> Any:
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"{request.param} is not installed here")
    shell = Shell(place, request.param, program)
    yield shell
    shell.close()


def test_verbs_options_and_their_values(shell: Any, place: Any) -> None:
    assert shell.words("buildrunner lo\t") == ["logs"]
    assert shell.words("buildrunner ledger che\t") == ["ledger", "check"]
    assert shell.words("buildrunner run --recu\t") == ["run", "--recursive"]
    assert shell.words("buildrunner run --order lon\t") == ["run", "--order", "longest"]
    assert shell.words("buildrunner run --order=lon\t") == ["run", "--order=longest"]
    assert shell.words("buildrunner run --threads ke\t") == ["run", "--threads", "keep"]
    shell.shows("buildrunner led\t", "ledger")


def test_names_of_jobs(shell: Any, place: Any) -> None:
    run = place.run("status", "--json").document["run"]
    assert shell.words("buildrunner status 2\t") == ["status", run]
    assert shell.words(f"buildrunner logs --run {run[:9]}\tPri\t") == ["logs", "--run", run, "Prime.py"]
    for beginning, name in {
        "Pr": "Prime.py",
        "spa": "spaced name.py",
        "spaced\\ na": "spaced name.py",
        "quo": "quote's.py",
        "dou": 'double".py',
        "dol": "dollar$HOME.py",
        "sem": "semi;colon.py",
        "sta": "star*.py",
        "a": "a:b.py",
        "com": "comma,x.py",
        "übu": "übung.py",
        "eq": "eq=x.py",
        "back": "back\\slash.py",
        "sub/in": "sub/inner one.py",
        "inn": "sub/inner one.py",  # as `logs` takes it
    }.items():
        assert shell.words(f"buildrunner logs {beginning}\t") == ["logs", name], beginning
    assert shell.words("buildrunner cancel --job Pri\t") == ["cancel", "--job", "Prime.py"]


def test_words_begun_in_quotes_and_at_a_colon(shell: Any) -> None:
    for beginning, name in {
        "'spa": "spaced name.py",
        '"spa': "spaced name.py",
        '"spaced na': "spaced name.py",
        "'dollar$": "dollar$HOME.py",
        "a:": "a:b.py",
        "eq=": "eq=x.py",
    }.items():
        assert shell.words(f"buildrunner logs {beginning}\t") == ["logs", name], beginning


def test_files_and_folders(shell: Any, place: Any) -> None:
    (place.path / "folder one").mkdir()
    (place.path / "folder one" / "script.py").touch()
    assert shell.words("buildrunner run fol\tscr\t") == ["run", "folder one/script.py"]
    (place.path / "record").mkdir()
    (place.path / "record.txt").touch()
    assert shell.words("buildrunner logs --state rec\t x") in (
        ["logs", "--state", "record/", "x"],
        ["logs", "--state", "record", "x"],
    )
    assert shell.words("buildrunner run -- fol\tscr\t") == ["run", "--", "folder one/script.py"]


def test_the_state_folder_that_was_named(shell: Any, place: Any) -> None:
    place.script("Other.py", "pass")
    place.run("run", "src/Other.py", "--state", "else where", "-o", "out", "--no-zip", "-q")
    assert shell.words("buildrunner logs --state 'else where' src/O\t") == [
        "logs",
        "--state",
        "else where",
        "src/Other.py",
    ]


# What the shells ask, asked without one


def candidates(place: Any, line: str, **how: Any) -> list[str]:
    how["env"] = {
        "_BUILDRUNNER_COMPLETE": "fish_complete",
        "COMP_WORDS": line.replace(" ", "\n") + "\n",
        **how.get("env", {}),
    }
    done = place.run(**how)
    assert done.err == ""
    return [answer.partition("\t")[0] for answer in done.out.splitlines()]


def test_s65_names_that_a_line_cannot_carry_are_left_out(place: Any) -> None:
    names = candidates(place, "buildrunner logs ")
    assert names[0] == "plain"
    assert set(names[1:]) == set(NAMES) - {"tab\tand\nline.py"}
    # A name that begins with a dash is taken for an option, here as in the command itself.
    assert candidates(place, "buildrunner logs -- -d") == ["plain", "-dash.py"]


@pytest.mark.parametrize("verb", ["status", "logs", "resume", "package"])
def test_where_nothing_was_run_or_can_be_read(place: Any, verb: str) -> None:
    elsewhere = place.path / "elsewhere"
    elsewhere.mkdir()
    assert candidates(place, f"buildrunner {verb} ", cwd=elsewhere) in ([], ["plain"])
    assert os.listdir(elsewhere) == []
    state = place.path / ".buildrunner"
    before = sorted(os.listdir(state))
    assert len(candidates(place, f"buildrunner {verb} ")) > 1
    assert sorted(os.listdir(state)) == before
    (state / "ledger.db").write_bytes(b"no database" * 1000)
    assert candidates(place, f"buildrunner {verb} ") in ([], ["plain"])


def test_settings_say_where_the_record_is_and_mistakes_in_them_stop_nothing(place: Any) -> None:
    os.rename(place.path / ".buildrunner", place.path / "record")
    (place.path / "buildrunner.toml").write_text('state = "record"\n')
    assert "Prime.py" in candidates(place, "buildrunner logs Pr")
    (place.path / "buildrunner.toml").write_text("jbos = [\n")
    assert "logs" in candidates(place, "buildrunner lo")
    assert candidates(place, "buildrunner run --ord") == ["plain", "--order"]


@pytest.mark.parametrize(
    "words",
    [
        "",
        "buildrunner",
        "buildrunner nonsense ",
        "buildrunner run --jobs",
        "buildrunner logs --nonsense x ",
        "a 'b \"c",
        "\\",
    ],
)
def test_whatever_is_typed_nothing_is_said_that_is_no_answer(place: Any, words: str) -> None:
    candidates(place, words)
    for asked in ("bash_complete", "nonsense", "", "zsh_source", "csh_complete"):
        place.run(env={"_BUILDRUNNER_COMPLETE": asked, "COMP_WORDS": words})


def test_a_locked_record_does_not_keep_the_shell_waiting(place: Any) -> None:
    db = sqlite3.connect(place.path / ".buildrunner" / "ledger.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute("BEGIN EXCLUSIVE")
    held = open(place.path / ".buildrunner" / "lock")  # noqa: SIM115
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        began = time.monotonic()
        assert candidates(place, "buildrunner logs ") in ([], ["plain"])
        assert time.monotonic() - began < 20  # the ordinary patience is a minute
    finally:
        held.close()
        db.close()


def test_the_manual_and_the_help_name_the_line_for_every_shell(place: Any) -> None:
    manual = (Path(__file__).parents[2] / "docs/how-to/completion.md").read_text()
    help_ = place.run("completion", "--help").out
    for shell, line in LINES.items():
        assert line in manual
        assert line in help_
        assert place.run("completion", shell).out
    assert "'bash', 'fish', 'zsh'" in place.run("completion", "csh", code=2).err
