"""Removing trees: any depth, nothing behind a link, and never more than was said."""

import os
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
def test_a_tree_deeper_than_any_path(tmp_path: Path, file: bool) -> None:
    nest(tmp_path / "top", 3_000, file=file)
    remove_tree(str(tmp_path / "top"))
    assert list(tmp_path.iterdir()) == []


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


def test_what_is_not_there_is_no_fault(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "nothing"))
    remove_empty_folders(str(tmp_path / "nothing"))


def test_only_empty_folders(tmp_path: Path) -> None:
    nest(tmp_path / "top", 1_500, file=False)
    remove_empty_folders(str(tmp_path / "top"))
    assert not (tmp_path / "top").exists()
    (tmp_path / "top/a/b").mkdir(parents=True)
    (tmp_path / "top/c/d").mkdir(parents=True)
    (tmp_path / "top/a/file").touch()
    remove_empty_folders(str(tmp_path / "top"))
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["top", "top/a", "top/a/file"]
