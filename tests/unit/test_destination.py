"""Files the user names for us to write: the zip, the drawing."""

import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from buildrunner import package
from buildrunner.destination import replacing
from buildrunner.errors import UsageError
from buildrunner.reports import barchart

CHECKS = pytest.mark.parametrize("check", [package.check_destination, barchart.check_destination])
Check = Callable[[str], None]


@CHECKS
def test_a_destination_is_tried_without_leaving_anything(tmp_path: Path, check: Check) -> None:
    check(str(tmp_path / "new"))
    (tmp_path / "empty").touch()
    check(str(tmp_path / "empty"))
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


def test_an_older_one_of_ours_may_be_replaced(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as archive:
        archive.writestr("manifest.json", "{}")
    package.check_destination(str(tmp_path / "old.zip"))
    (tmp_path / "old.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    barchart.check_destination(str(tmp_path / "old.svg"))


@CHECKS
@pytest.mark.parametrize("text", [b"print('mine')", b"PK and something else"])
def test_a_file_that_is_none_of_ours_is_never_a_destination(tmp_path: Path, check: Check, text: bytes) -> None:
    (tmp_path / "mine.py").write_bytes(text)
    with pytest.raises(UsageError, match="none of ours"):
        check(str(tmp_path / "mine.py"))
    assert (tmp_path / "mine.py").read_bytes() == text


@CHECKS
@pytest.mark.timeout(10)
def test_neither_is_what_is_no_file(tmp_path: Path, check: Check) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("pipe", "dangling"):
        with pytest.raises(UsageError, match="none of ours"):
            check(str(tmp_path / name))


@CHECKS
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("folder", "it is a folder; name a file with --"),
        ("nowhere/x", "No such file or directory; name another with --"),
        ("file/x", "Not a directory; name another with --"),
        ("", "'': that is no name; name a file with --"),
    ],
)
def test_a_destination_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: Check, path: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=f"cannot write the (zip|drawing) {path}.*{message}"):
        check(path)


def test_what_is_written_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("old")
    with replacing(str(place)) as file:
        file.write(b"new")
        assert place.read_text() == "old"
    assert place.read_text() == "new"
    umask = os.umask(0o027)
    try:
        with replacing(str(place)) as file:
            file.write(b"newer")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(place.stat().st_mode) == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(str(place)) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "old")]
