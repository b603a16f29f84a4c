"""What a script is made of: which imports are seen, what is read again, and what is not seen."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from buildrunner import sources
from buildrunner.sources import Sources, changed_modules, imported


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., None]:
    """Writes files by their paths, `/` as `__`, and makes them look an hour old."""

    def files(**texts: str) -> None:
        for name, text in texts.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return files


def old(folder: Path) -> None:
    """Let everything there have rested for an hour, as far as its times tell."""
    for place, _, files in os.walk(folder):
        for path in (place, *(os.path.join(place, file) for file in files)):
            os.utime(path, (time.time() - 3600,) * 2)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import a", "a"),
        ("import a.b.c as d, e as f,g", "a e g"),
        ("from a.b import c, d", "a"),
        ("from a import(b)", "a"),
        ("from a import (\n    b,\n    c,\n)", "a"),
        ("import a, \\\n    b", "a b"),
        ("from \\\n  a \\\n import b", "a"),
        ("if x: import a; import b  # import c, d", "a b c d"),
        ("try:\n\timport a\nexcept ImportError:\n\tfrom b import a", "a b"),
        ("from . import a\nfrom .b import c", "a c"),
        ("import a\r\nimport b\r\n", "a b"),
        ("import é", "é"),
        ("reimport a; important = 1; x.imports", ""),
        ("import data/from", ""),
        ("import \0", ""),
        ("__import__('a')", ""),
    ],
)
def test_imports_are_seen_however_they_are_written(text: str, names: str) -> None:
    assert imported(text.encode()) == tuple(names.split())


@pytest.mark.parametrize(
    "text", ["from " * 200_000, "from " + "a" * 1_000_000, "import \\" * 130_000, "from a " * 150_000]
)
def test_no_text_makes_it_slow(text: str) -> None:
    began = time.process_time()
    imported(text.encode())
    assert time.process_time() - began < 5


def test_modules_are_followed_from_one_to_the_next(tmp_path: Path, write: Any) -> None:
    write(s="import a, os, nowhere", a="import b, s", b="import a, pkg.x", pkg__x="import c", c="", unused="")
    digest, modules = Sources(str(tmp_path)).of("s.py")
    assert digest == hashlib.sha256(b"import a, os, nowhere").hexdigest()
    assert list(modules) == ["a.py", "b.py", "c.py", "pkg/"]
    assert modules["b.py"] == hashlib.sha256(b"import a, pkg.x").hexdigest()


def test_what_python_finds_first_is_taken(tmp_path: Path, write: Any) -> None:
    write(s="import p, n, m", p="x", p____init__="", n="y", n__inner="z", m__inner="z")
    (tmp_path / "p" / "__init__.py").write_text("")
    assert list(Sources(str(tmp_path)).of("s.py")[1]) == ["m/", "n.py", "p/"]


def test_a_change_anywhere_in_a_package_shows(tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_TRUSTED", 0.0)
    write(s="import pkg", pkg__deep__er="1")
    seen = Sources(str(tmp_path))
    before = seen.of("s.py")[1]
    write(pkg__deep__er="2")
    assert changed_modules(before, seen.of("s.py")[1]) == "its package pkg changed"
    write(pkg__deep__er="1", pkg__new="")
    assert seen.of("s.py")[1] != before


def test_a_thousand_scripts_read_their_module_once(tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write(util="V = 1", **{f"s{n}": "import util, missing" for n in range(1000)})
    old(tmp_path)
    monkeypatch.setattr(sources, "_RESTED", 0)  # what only the kernel dates cannot be made to look old
    read: list[str] = []
    inner = sources._read
    monkeypatch.setattr(
        sources, "_read", lambda path, wanted: (read.append(os.path.basename(path)), inner(path, wanted))[1]
    )
    seen = Sources(str(tmp_path))
    assert {tuple(seen.of(f"s{n}.py")[1]) for n in range(1000)} == {("util.py",)}
    assert read.count("util.py") == 1


def test_what_appears_changes_or_goes_is_noticed_at_once(
    tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the file system's clock stands still, and with the same size."""
    inner, now = os.stat, time.time_ns() + 3_600_000_000_000  # so that it is recent however slow the test is

    def stat(path: Any, **how: Any) -> Any:
        found = inner(path, **how)
        return SimpleNamespace(
            st_mode=found.st_mode, st_ino=found.st_ino, st_size=found.st_size, st_mtime_ns=now, st_ctime_ns=now
        )

    write(s="import util")
    monkeypatch.setattr(os, "stat", stat)
    seen, found = Sources(str(tmp_path)), []
    for text in (None, "1", "2", "3", None, "4"):
        if text is None:
            (tmp_path / "util.py").unlink(missing_ok=True)
        else:
            write(util=text)
        found.append(seen.of("s.py")[1])
    monkeypatch.undo()
    assert [list(modules) for modules in found] == [[], ["util.py"], ["util.py"], ["util.py"], [], ["util.py"]]
    assert len({modules["util.py"] for modules in found if modules}) == 4


def test_a_link_is_looked_up_where_it_leads(tmp_path: Path, write: Any) -> None:
    write(real__s="import util", real__util="")
    (tmp_path / "s.py").symlink_to("real/s.py")
    assert list(Sources(str(tmp_path)).of("s.py")[1]) == ["util.py"]


def test_only_python_has_modules(tmp_path: Path, write: Any) -> None:
    write(util="")
    (tmp_path / "s.sh").write_text("import util")
    seen = Sources(str(tmp_path))
    assert seen.of("s.sh", ("/bin/sh",)) == (hashlib.sha256(b"import util").hexdigest(), {})
    assert list(seen.of("s.sh", ("/usr/bin/python3.11", "-u"))[1]) == ["util.py"]


def test_what_cannot_be_read_has_no_hash(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "util.py")
    (tmp_path / "s.py").write_text("import util")
    seen = Sources(str(tmp_path))
    assert seen.of("missing.py") == (None, {})
    assert seen.of(".") == (None, {})
    assert seen.of(None) == (None, {})
    assert seen.of("s.py")[1] == {}


def test_no_package_is_too_big(tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_MOST_MODULES", 3)
    write(s="import a, b, c, d, pkg", a="", b="", c="", d="", **{f"pkg__{n}": "" for n in range(9)})
    assert len(Sources(str(tmp_path)).of("s.py")[1]) == 3


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """What replaced a script may be a pipe, or a device that has no end."""
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "endless.py").symlink_to("/dev/zero")
    for name in ("pipe.py", "endless.py"):
        assert Sources(str(tmp_path)).of(name) == (None, {})
