"""What is a script in a folder, what its job is called, and how a target is refused."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import buildrunner
from buildrunner.config import Options
from buildrunner.errors import NothingToRun, UsageError
from buildrunner.job import Cwd
from buildrunner.scan import make_batch, scan


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes empty files, by their path below the working directory."""
    monkeypatch.chdir(tmp_path)

    def make(*names: str, text: str = "", mode: int = 0o644) -> None:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(mode)

    return make


def names(*targets: str, **settings: object) -> list[str]:
    return [script.name for script in scan(targets, **settings)]  # type: ignore[arg-type]


def test_scripts_are_known_by_suffix(make: Callable[..., None]) -> None:
    make(*(f"src/a{s}" for s in (".py", ".sh", ".bash", ".R", ".jl", ".rb", ".pl", ".js")))
    make(*(f"src/b{s}" for s in (".txt", ".pyc", ".PY", ".r", ".json", ".pyw", "", ".py~", ".py.bak", ".ipynb")))
    assert names("src") == ["a.R", "a.bash", "a.jl", "a.js", "a.pl", "a.py", "a.rb", "a.sh"]


def test_what_is_never_a_script(make: Callable[..., None]) -> None:
    make("src/a.py", "src/__init__.py", "src/__main__.py", "src/conftest.py", "src/.hidden.py", "src/.py")
    assert names("src") == ["a.py"]


def test_executables_are_scripts_if_they_begin_right(make: Callable[..., None]) -> None:
    make("src/sh", "src/x.txt", text="#!/bin/sh\n", mode=0o755)
    make("src/elf", text="\x7fELF", mode=0o755)
    make("src/data", "src/empty.bin", text="", mode=0o755)
    make("src/not-executable", text="#!/bin/sh\n", mode=0o644)
    make("src/.hidden", text="#!/bin/sh\n", mode=0o755)
    assert names("src") == ["elf", "sh", "x.txt"]


def test_s44_things_that_only_look_like_scripts(make: Callable[..., None]) -> None:
    make("src/a.py", "src/folder.py/inside.txt")
    os.mkfifo("src/pipe.py")
    os.symlink("nowhere", "src/dangling.py")
    os.symlink("folder.py", "src/linked-folder.py")
    assert names("src") == ["a.py"]


def test_s43_a_link_to_itself_does_not_hide_the_other_scripts(make: Callable[..., None]) -> None:
    make("src/a.py")
    os.symlink("loop.py", "src/loop.py")
    os.symlink("two.py", "src/one.py")
    os.symlink("one.py", "src/two.py")
    assert names("src") == ["a.py"]


def test_s43_a_link_to_a_script_is_a_script(make: Callable[..., None]) -> None:
    make("elsewhere/real.py")
    os.mkdir("src")
    os.symlink("../elsewhere/real.py", "src/linked.py")
    assert names("src") == ["linked.py"]


def test_folders_below_are_entered_only_when_asked(make: Callable[..., None]) -> None:
    make("src/a.py", "src/sub/b.py", "src/sub/deep/c.py")
    assert names("src") == ["a.py"]
    assert names("src", recursive=True) == ["a.py", "sub/b.py", "sub/deep/c.py"]


def test_s43_folders_that_are_never_entered(make: Callable[..., None]) -> None:
    make("src/a.py", "src/.git/b.py", "src/__pycache__/c.py", "src/venv/pyvenv.cfg", "src/venv/bin/d.py")
    make("src/venv/lib/e.py", "src/kept/f.py", "elsewhere/g.py")
    os.symlink("../elsewhere", "src/linked")
    os.symlink(".", "src/here")
    os.symlink("..", "src/kept/up")
    assert names("src", recursive=True) == ["a.py", "kept/f.py"]


def test_one_folder_names_jobs_by_their_path_in_it(make: Callable[..., None]) -> None:
    make("src/a.py")
    for target in ("src", "src/", "src//", "./src", os.path.abspath("src")):
        assert [(s.name, os.path.realpath(s.path)) for s in scan([target])] == [("a.py", os.path.abspath("src/a.py"))]
    os.chdir("src")
    assert names(".") == ["a.py"]


def test_several_targets_put_their_own_name_before(make: Callable[..., None]) -> None:
    make("src/b.py", "src/a.py", "other/a.py", "single.py")
    assert names("src", "other/", "single.py") == ["src/a.py", "src/b.py", "other/a.py", "single.py"]
    assert names("./src", "other//") == ["./src/a.py", "./src/b.py", "other/a.py"]


def test_a_script_by_itself_is_called_as_given(make: Callable[..., None]) -> None:
    make("src/a.py", "src/.hidden.py", "src/conftest.py")
    for target in ("src/a.py", "./src/a.py", os.path.abspath("src/a.py"), "src/.hidden.py", "src/conftest.py"):
        assert names(target) == [target]


def test_the_same_job_twice_is_refused(make: Callable[..., None]) -> None:
    make("src/a.py")
    for targets in (("src", "src"), ("src", "src/"), ("src", "src/a.py"), ("src/a.py", "src/a.py")):
        with pytest.raises(UsageError, match=r"two jobs would be called src/a\.py: name each target once"):
            scan(targets)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"include": ["a*"]}, ["a.py", "ab.py", "sub/a.py"]),
        ({"include": ["sub/*"]}, ["sub/a.py", "sub/c.py"]),
        ({"include": ["a.py"]}, ["a.py", "sub/a.py"]),
        ({"include": ["a.py", "b*"]}, ["a.py", "b.py", "sub/a.py"]),
        ({"exclude": ["a*"]}, ["b.py", "sub/c.py"]),
        ({"exclude": ["sub/*", "b.py"]}, ["a.py", "ab.py"]),
        ({"include": ["a*"], "exclude": ["*b.py"]}, ["a.py", "sub/a.py"]),
        ({"include": ["[ab].py"]}, ["a.py", "b.py", "sub/a.py"]),
        ({"include": ["?.py"], "exclude": ["sub/*"]}, ["a.py", "b.py"]),
    ],
    ids=str,
)
def test_include_and_exclude(make: Callable[..., None], settings: dict[str, list[str]], expected: list[str]) -> None:
    make("src/a.py", "src/ab.py", "src/b.py", "src/sub/a.py", "src/sub/c.py")
    assert names("src", recursive=True, **settings) == expected


def test_globs_mind_case(make: Callable[..., None]) -> None:
    make("src/A.py", "src/b.py")
    assert names("src", include=["a*", "b*"]) == ["b.py"]


def test_names_that_are_not_utf8_or_hold_line_ends(make: Callable[..., None]) -> None:
    make("src/\udcff.py", "src/a\nb.py", "src/-x.py", "src/a b.py")
    assert names("src") == ["-x.py", "a\nb.py", "a b.py", "\udcff.py"]


@pytest.mark.parametrize("target", ["nowhere", "src/nowhere.py", "src/a.py/below"])
def test_a_target_that_is_not_there(make: Callable[..., None], target: str) -> None:
    make("src/a.py")
    with pytest.raises(UsageError, match=f"no such file or folder: {re.escape(target)}"):
        scan([target])


def test_a_target_that_is_neither_folder_nor_script(make: Callable[..., None]) -> None:
    make("notes.txt", "jobs.toml")
    os.mkfifo("pipe.py")
    os.symlink("nowhere", "dangling.py")
    os.symlink("loop.py", "loop.py")
    for target in ("pipe.py", "dangling.py", "loop.py"):
        with pytest.raises(UsageError, match=f"{re.escape(target)} is neither a script nor a folder"):
            scan([target])
    with pytest.raises(UsageError, match=r"notes\.txt is not a script: a script is one of \*\.py"):
        scan(["notes.txt"])
    with pytest.raises(UsageError, match="job files cannot be run yet"):
        scan(["jobs.toml"])


def test_messages_show_odd_names_harmlessly(make: Callable[..., None]) -> None:
    make("x.py")
    with pytest.raises(UsageError) as caught:
        scan(["a\x1b[31m\n\udcff"])
    assert str(caught.value).isprintable()


def test_s38_an_empty_folder_says_what_was_looked_for(make: Callable[..., None]) -> None:
    make("src/notes.txt", "src/sub/a.py", "one/a.py")
    with pytest.raises(NothingToRun, match=r"no scripts in src: looked for \*\.py .*--recursive does"):
        scan(["src"])
    with pytest.raises(NothingToRun, match=r"matching x\* y, without z") as caught:
        scan(["src"], recursive=True, include=["x*", "y"], exclude=["z"])
    assert "--recursive" not in str(caught.value)
    assert names("src", "one") == ["one/a.py"]


WITHOUT_PRIVILEGES = """
import os, sys
sys.path.insert(0, sys.argv[1])
from buildrunner.errors import UsageError
from buildrunner.scan import scan
if os.geteuid() == 0:  # root may read anything; from here on nothing more needs importing
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for target in sys.argv[2:]:
    try:
        print([script.name for script in scan([target], recursive=True)])
    except UsageError as exc:
        print(exc)
"""


def test_s47_what_may_not_be_read(make: Callable[..., None], tmp_path: Path) -> None:
    make("src/a.py", "src/sub/b.py", "locked/a.py", "links/a.py", "half/a.py", "half/locked/b.py")
    make("secret.py", mode=0o000)
    os.symlink("../locked/a.py", "links/b.py")
    tmp_path.chmod(0o755)
    for folder in ("locked", "half/locked"):
        os.chmod(folder, 0o000)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", WITHOUT_PRIVILEGES, str(Path(buildrunner.__file__).parents[1]),
             "src", "locked", "secret.py", "half", "links"],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
    finally:
        for folder in ("locked", "half/locked"):
            os.chmod(folder, 0o755)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "['a.py', 'sub/b.py']",
        "cannot read the folder locked: Permission denied",
        "cannot read secret.py: permission denied",
        "cannot read the folder half/locked: Permission denied",
        "['a.py']",  # a link that leads where we may not go does not hide the rest
    ]


def test_the_batch_carries_what_was_asked_for_to_every_job(make: Callable[..., None]) -> None:
    make("src/a.py", "src/b.sh")
    options = Options(targets=("src",), args=("-v", "x"), cwd=Cwd.SCRATCH, timeout=5.0, retries=2)
    batch = make_batch(options, "/opt/python")
    assert batch.target == "src"
    assert batch.key == os.path.abspath("src")
    assert [job.name for job in batch.jobs] == ["a.py", "b.sh"]
    first = batch.jobs[0]
    assert (first.command, first.script, first.args) == (("/opt/python",), "src/a.py", ("-v", "x"))
    for job in batch.jobs:
        assert (job.cwd, job.timeout, job.retries, job.after) == (Cwd.SCRATCH, 5.0, 2, ())
