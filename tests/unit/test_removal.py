"""Removing trees: any depth, nothing behind a link, and never more than was said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from buildrunner.removal import remove_empty_folders, remove_tree


def nest(path: Path, depth: int, *, file: bool) -> None:
    """Make folders in folders; deeper than a path may be long."""
    path.mkdir()
    home = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path)
        for number in range(depth):
            os.mkdir("d")
            os.mkdir("b")
            if file:
                Path(f"file{number}").touch()
            os.chdir("d")
    finally:
        os.fchdir(home)
        os.close(home)


@pytest.mark.parametrize("file", [True, False])
def test_a_tree_deeper_than_any_path(deep_folder: Path, file: bool) -> None:
    nest(deep_folder / "top", 3_000, file=file)
    remove_tree(str(deep_folder / "top"))
    assert list(deep_folder.iterdir()) == []


def test_what_links_lead_to_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    (tmp_path / "top/in").mkdir(parents=True)
    (tmp_path / "top/in/folder").symlink_to(tmp_path / "kept")
    (tmp_path / "top/in/file").symlink_to(tmp_path / "kept/file")
    remove_tree(str(tmp_path / "top"))
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept/file").exists()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    remove_tree(str(tmp_path / "link"))
    assert (tmp_path / "kept/file").exists()
    (tmp_path / "kept/empty").mkdir()
    remove_empty_folders(str(tmp_path / "link"))
    assert (tmp_path / "kept/empty").exists()


def test_what_is_not_there_is_no_fault(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "nothing"))
    remove_empty_folders(str(tmp_path / "nothing"))


def test_empty_folders_deeper_than_any_path(deep_folder: Path) -> None:
    nest(deep_folder / "top", 3_000, file=False)
    remove_empty_folders(str(deep_folder / "top"))
    assert list(deep_folder.iterdir()) == []


def test_only_empty_folders(tmp_path: Path) -> None:
    (tmp_path / "top/a/b").mkdir(parents=True)
    (tmp_path / "top/c/d").mkdir(parents=True)
    (tmp_path / "top/a/file").touch()
    remove_empty_folders(str(tmp_path / "top"))
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["top", "top/a", "top/a/file"]


WITHOUT_OVERRIDE = """\
import ctypes, os, sys
from buildrunner.removal import remove_tree
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root may read and write everything
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
if len(sys.argv) == 2:
    os.execv(sys.executable, [sys.executable, "-c", sys.orig_argv[2], sys.argv[1], "again"])
remove_tree(sys.argv[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_what_its_owner_may_not_write_or_read(tmp_path: Path, mode: int) -> None:
    (tmp_path / "top/module/in").mkdir(parents=True)
    (tmp_path / "top/module/in/file").touch()
    for folder in ("top/module/in", "top/module"):
        (tmp_path / folder).chmod(mode)
    subprocess.run([sys.executable, "-c", WITHOUT_OVERRIDE, str(tmp_path / "top")], check=True)
    assert list(tmp_path.iterdir()) == []
