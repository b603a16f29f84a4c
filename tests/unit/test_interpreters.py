"""Which program runs a script."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildrunner import interpreters
from buildrunner.errors import UsageError
from buildrunner.interpreters import BY_SUFFIX, choose_python, command_for, is_script

PYTHON = "/opt/python"


def executable(path: Path, content: bytes | str = "#!/bin/sh\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """PATH is a folder that holds `ruby`, `tool` and `python3`, and nothing else."""
    folder = tmp_path / "programs"
    for name in ("ruby", "tool", "python3"):
        executable(folder / name)
    monkeypatch.setenv("PATH", str(folder))
    interpreters._which.cache_clear()
    yield str(folder)
    interpreters._which.cache_clear()


@pytest.fixture
def not_isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))


def test_the_python_asked_for(programs: str) -> None:
    environ = {"PATH": programs, "VIRTUAL_ENV": "/nowhere"}
    assert choose_python("tool", environ) == (f"{programs}/tool", "--python")
    assert choose_python(f"{programs}/ruby", environ) == (f"{programs}/ruby", "--python")


def test_a_relative_python_becomes_absolute(programs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(programs)
    assert choose_python("./tool", {"PATH": ""})[0] == f"{programs}/tool"


@pytest.mark.parametrize("option", ["no-such-python", "/no/such/python", "plain"])
def test_a_python_that_cannot_be_executed(option: str, programs: str) -> None:
    (Path(programs) / "plain").write_text("")
    with pytest.raises(UsageError, match=f"--python {option}"):
        choose_python(option, {"PATH": programs})


def test_the_active_virtual_environment(tmp_path: Path) -> None:
    python = executable(tmp_path / "venv/bin/python")
    assert choose_python(None, {"VIRTUAL_ENV": str(tmp_path / "venv")})[0] == python


def test_a_relative_virtual_environment_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = executable(tmp_path / "venv/bin/python")
    monkeypatch.chdir(tmp_path)
    assert choose_python(None, {"VIRTUAL_ENV": "venv"})[0] == python


@pytest.mark.usefixtures("not_isolated")
@pytest.mark.parametrize("environ", [{}, {"VIRTUAL_ENV": ""}, {"VIRTUAL_ENV": "/nowhere"}])
def test_else_the_one_this_is_installed_in(environ: dict[str, str]) -> None:
    assert choose_python(None, environ)[0] == sys.executable


@pytest.mark.parametrize("mark", ["pipx_metadata.json", "uv-receipt.toml", "buildrunner-alone"])
def test_an_isolated_tool_environment_is_not_for_scripts(
    mark: str, programs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / mark).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert choose_python(None, {"PATH": programs}) == (f"{programs}/python3", "python3 on PATH")
    with pytest.raises(UsageError, match="--python PATH"):
        choose_python(None, {"PATH": str(tmp_path / "empty")})


@pytest.mark.parametrize("suffix", [".py", *BY_SUFFIX])
def test_a_known_suffix_needs_no_permission(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.touch(mode=0o644)
    assert is_script(str(path))


def test_the_suffixes_are_the_documented_ones() -> None:
    assert set(BY_SUFFIX) == {".sh", ".bash", ".R", ".jl", ".rb", ".pl", ".js"}


@pytest.mark.parametrize("content", [b"#!/bin/sh\n", b"#!", b"\x7fELF\x02\x01"])
@pytest.mark.parametrize("name", ["tool", "tool.bin", "a.r", "py"])
def test_an_executable_is_known_by_its_head(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    executable(path, content)
    assert is_script(str(path))
    path.chmod(0o644)
    assert not is_script(str(path))


@pytest.mark.parametrize("content", [b"", b"#", b"# comment", b" #!/bin/sh", b"\xef\xbb\xbf#!/bin/sh", b"MZ", b"\x7f"])
def test_an_executable_with_another_head_is_no_script(tmp_path: Path, content: bytes) -> None:
    assert not is_script(executable(tmp_path / "tool", content))


@pytest.mark.parametrize("content", ["", "#!/bin/sh\n", "#!/usr/bin/env ruby\n"])
def test_python_scripts_get_the_python_of_the_run(tmp_path: Path, content: str) -> None:
    assert command_for(executable(tmp_path / "a.py", content), PYTHON) == (PYTHON,)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("#!/bin/sh", ("/bin/sh",)),
        ("#! /bin/sh", ("/bin/sh",)),
        ("#!\t/bin/sh\t", ("/bin/sh",)),
        ("#!/bin/sh -e", ("/bin/sh", "-e")),
        ("#!/bin/sh -e -u", ("/bin/sh", "-e -u")),  # the kernel hands over the rest as one argument
        ("#!/bin/sh\r", ("/bin/sh",)),
        ("#!/bin/sh -e\r", ("/bin/sh", "-e")),
        ("#!/usr/bin/env ruby", ("{programs}/ruby",)),
        ("#!/usr/bin/env ruby\r", ("{programs}/ruby",)),
        ("#!/bin/env ruby", ("{programs}/ruby",)),
        ("#!/usr/bin/env -S ruby -w", ("{programs}/ruby", "-w")),
        ("#!/usr/bin/env -Sruby -w", ("{programs}/ruby", "-w")),
        ("#!/usr/bin/env --split-string=ruby -w", ("{programs}/ruby", "-w")),
        ("#!/usr/bin/env -S ruby -e 'two words'", ("{programs}/ruby", "-e", "two words")),
        ("#!/usr/bin/env -S ruby 'open", ("{programs}/ruby", "'open")),
        ("#!/usr/bin/env -S A=1 ruby", ("/usr/bin/env", "-S A=1 ruby")),
        ("#!/usr/bin/env -i", ("/usr/bin/env", "-i")),
        ("#!/usr/bin/env", ("/usr/bin/env",)),
        ("#!/usr/bin/env no-such-program", ("no-such-program",)),
        ("#!/no/such/program", ("/no/such/program",)),
        ("#!/opt/no\u00a0break/tool x", ("/opt/no\u00a0break/tool", "x")),  # only blanks and tabs end a word
    ],
)
def test_the_first_line_says_what_runs_it(programs: str, tmp_path: Path, line: str, command: tuple[str, ...]) -> None:
    path = executable(tmp_path / "tool", line + "\nmore\n")
    assert command_for(path, PYTHON) == tuple(word.replace("{programs}", programs) for word in command)


def test_a_first_line_whose_program_is_not_utf8(tmp_path: Path) -> None:
    assert command_for(executable(tmp_path / "tool", b"#!/opt/\xff/tool\n"), PYTHON) == ("/opt/\udcff/tool",)


def test_a_first_line_without_an_end(tmp_path: Path) -> None:
    assert command_for(executable(tmp_path / "tool", "#!/bin/sh"), PYTHON) == ("/bin/sh",)


def test_the_first_line_comes_before_the_suffix(programs: str, tmp_path: Path) -> None:
    assert command_for(executable(tmp_path / "a.sh", "#!/usr/bin/env tool\n"), PYTHON) == (f"{programs}/tool",)


def test_a_suffix_alone(programs: str, tmp_path: Path) -> None:
    (tmp_path / "a.rb").write_text("puts 1")
    assert command_for(str(tmp_path / "a.rb"), PYTHON) == (f"{programs}/ruby",)
    (tmp_path / "a.jl").write_text("#!\n")
    assert command_for(str(tmp_path / "a.jl"), PYTHON) == ("julia",)  # not installed: that job's error, not ours


def test_a_program_runs_by_itself(tmp_path: Path) -> None:
    assert command_for(executable(tmp_path / "tool", b"\x7fELF"), PYTHON) == ()


def test_a_program_found_by_a_relative_path_entry_is_found_from_everywhere(
    programs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A script may run in another folder than the one this was looked up in.
    monkeypatch.chdir(os.path.dirname(programs))
    monkeypatch.setenv("PATH", os.path.basename(programs))
    assert command_for(executable(tmp_path / "a", "#!/usr/bin/env ruby\n"), PYTHON) == (f"{programs}/ruby",)
