"""Figures and endings as words, and command lines that a shell reads back as what was meant."""

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildrunner.job import JobState, Outcome
from buildrunner.naming import display
from buildrunner.reports import words
from buildrunner.reports.words import count, ending, seconds, shell, size

ODD = [
    b"",
    b"plain.py",
    b"two words",
    b"-rf",
    b"~",
    b"~root",
    b"*",
    b"$HOME",
    b"$(echo no)",
    b"`echo no`",
    b"a;b&c|d>e<f",
    b"it's",
    b'"quoted"',
    b"'",
    b"''",
    b"back\\slash",
    b"\\",
    b"\\n",
    b"\\'",
    b"a\\\nb",
    b"!event",
    b"#no comment",
    b"a=b",
    b"{a,b}",
    b"[a]",
    b"new\nline",
    b"'\n'",
    b"\n",
    b"\r\n",
    b"\ttab",
    b"\x1b[31mred",
    b"\x07bell",
    b"\x7f",
    b"\x01\x0211",
    b"\x1babc",
    b"\xff",
    b"\xffabc",
    b"\xff'\\\n",
    b"caf\xe9.py",
    b"caf\xc3\xa9.py",
    b"caf\xc3\xa9\n.py",
    "no-break\u00a0space".encode(),
    "next\u0085line".encode(),
    "soft\u00adhyphen".encode(),
    "zero\u200bwidth".encode(),
    "\u202egnp.py".encode(),
    "\u2066x\u2069".encode(),
    "\ufeffmark".encode(),
    "line\u2028end".encode(),
    "\U000e0001tag".encode(),
    "private\ue000use".encode(),
    "😀.py".encode(),
    "a\u0301\u200b1".encode(),
]


def read_by(program: str, text: str) -> list[bytes]:
    """The words that a shell makes of a text."""
    done = subprocess.run(
        [program, "-c", "printf '%s\\0' " + text],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
        timeout=30,
    )
    assert done.stderr == b""
    return done.stdout.split(b"\0")[:-1]


@pytest.mark.parametrize("program", ["bash", "zsh"])
def test_a_shell_reads_every_word_back_as_it_was(program: str) -> None:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    assert read_by(path, shell([os.fsdecode(word) for word in ODD])) == ODD


@pytest.mark.parametrize("word", ODD, ids=range(len(ODD)))
def test_a_command_line_is_one_line_that_moves_no_cursor(word: bytes) -> None:
    assert shell([os.fsdecode(word)]).isprintable()


def test_words_are_quoted_only_where_needed() -> None:
    assert shell(["buildrunner", "run", "python_source/Prime.py"]) == "buildrunner run python_source/Prime.py"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, ""),
        (0.0, "0.000 s"),
        (0.0004, "0.000 s"),
        (0.9994, "0.999 s"),
        (0.9996, "1.00 s"),
        (9.994, "9.99 s"),
        (9.996, "10.0 s"),
        (59.99, "60.0 s"),
        (99.9, "99.9 s"),
        (99.96, "1 min 40 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7260.0, "2 h 01 min"),
        (360000.0, "100 h 00 min"),
    ],
)
def test_durations(value: float | None, words: str) -> None:
    assert seconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, ""),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1024**2, "1.0 MiB"),
        (1536 * 1024**2, "1.5 GiB"),
        (1024**5, "1024.0 TiB"),
    ],
)
def test_sizes(value: int | None, words: str) -> None:
    assert size(value) == words


def test_counts() -> None:
    assert [count(n, "file") for n in (0, 1, 2, 1_000_000)] == ["0 files", "1 file", "2 files", "1,000,000 files"]


@pytest.mark.parametrize(
    ("outcome", "code", "number", "words"),
    [
        (Outcome.OK, 0, None, "ok"),
        (Outcome.EXITED, 2, None, "exit code 2"),
        (Outcome.SIGNALLED, None, 11, "signal 11 (SIGSEGV)"),
        (Outcome.SIGNALLED, None, 250, "signal 250"),
        (Outcome.TIMED_OUT, None, 15, "timed out, signal 15 (SIGTERM)"),
        (Outcome.TIMED_OUT, 0, None, "timed out, exit code 0"),
        (Outcome.SPAWN_ERROR, None, None, "could not start"),
        (Outcome.LOST, None, None, "lost with its worker"),
        (Outcome.CANCELLED, None, 15, "cancelled"),
        (Outcome.OUT_OF_MEMORY, None, 9, "out of memory"),
        (None, None, None, ""),
    ],
)
def test_endings(outcome: Outcome | None, code: int | None, number: int | None, words: str) -> None:
    assert ending(outcome, code, number) == words


def test_a_job_without_an_outcome_ends_where_it_is() -> None:
    assert ending(None, None, None, JobState.SKIPPED) == "skipped"


def test_every_outcome_has_words_that_can_be_shown() -> None:
    for outcome in Outcome:
        words = ending(outcome, 1, 9)
        assert words
        assert words == display(words)
        assert "_" not in words


# One word for one thing

LEFT = (
    "not in the record any more",
    "not entered in the record",
    "the record knows runs",
    "the record says by",
)
"""Sentences that others may look for."""


def sentences() -> Iterator[tuple[str, str]]:
    """Every text in the package, with its file, but for docstrings; those of commands are their help."""
    for path in Path(words.__file__).parents[1].rglob("*.py"):
        tree = ast.parse(path.read_text())
        inner = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                is_help = path.parent.name == "cli" and bool(getattr(node, "decorator_list", ()))
                if ast.get_docstring(node) is not None and not is_help:
                    inner.add(node.body[0].value)  # type: ignore[attr-defined]
            elif isinstance(node, ast.JoinedStr):
                inner.update(node.values)
                parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
                yield path.name, "".join(map(str, parts))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inner:
                yield path.name, node.value


def test_users_read_of_the_ledger_and_of_runs_and_never_of_a_record_or_a_server() -> None:
    mixed = re.compile(r"\b(the|a|no|new|damaged) record\b(?! of how| of what| of it\b)|\b(the|its|a) server\b")
    found = [(place, text) for place, text in sentences() if " " in text and mixed.search(text)]
    assert [one for one in found if not any(left in one[1] for left in LEFT)] == []
    assert found, "what is looked for can be found"
