"""Files the user names for us to write: the zip, the drawing."""

import os
import signal
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


@CHECKS
def test_what_a_killed_check_left_goes_with_the_next(
    tmp_path: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr("os.unlink", lambda path: None)
        check(str(tmp_path / "new"))
    assert len(list(tmp_path.iterdir())) == 1
    check(str(tmp_path / "new"))
    assert not list(tmp_path.iterdir())


def test_what_is_ours_by_its_mark_may_be_replaced(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as archive:
        archive.writestr("manifest.json", "{}")
        archive.comment = package._SEAL + b"0" * 64
    package.check_destination(str(tmp_path / "old.zip"))
    (tmp_path / "old.svg").write_text(f'<svg {barchart._MARK} xmlns="http://www.w3.org/2000/svg"/>')
    barchart.check_destination(str(tmp_path / "old.svg"))


def _zip_of_somebody_elses(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", '{"manifest_version": 3}')


STRANGERS: dict[str, Callable[[Path], object]] = {
    "script": lambda path: path.write_text("print('mine')"),
    "text": lambda path: path.write_bytes(b"PK and something else"),
    "zip": _zip_of_somebody_elses,
    "drawing": lambda path: path.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>'),
    "pipe": os.mkfifo,
}


@CHECKS
@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_none_of_ours_is_never_a_destination(tmp_path: Path, check: Check, stranger: str, linked: bool) -> None:
    STRANGERS[stranger](tmp_path / "theirs")
    (tmp_path / "link").symlink_to("theirs")
    with pytest.raises(UsageError, match="none of ours"):
        check(str(tmp_path / ("link" if linked else "theirs")))


@CHECKS
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("folder", "it is a folder; name a file with --"),
        ("nowhere/x", "No such file or directory; name another with --"),
        ("file/x", "Not a directory; name another with --"),
        ("new/", "it is a folder; name a file with --"),
        ("n" * 300, "File name too long; name another with --"),
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
        (tmp_path / "link").symlink_to("file")
        with replacing(str(tmp_path / "link")) as file:
            file.write(b"newer")
    finally:
        os.umask(umask)
    assert (tmp_path / "link").is_symlink()
    assert place.read_text() == "newer"
    assert stat.S_IMODE(place.stat().st_mode) == 0o640
    assert {p.name for p in tmp_path.iterdir()} == {"file", "link"}


def test_what_is_written_is_safe_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it is given to the disk, then the name; and the folder that holds the name comes last."""
    done: list[tuple[str, int]] = []
    fsync, rename = os.fsync, os.replace

    def noted_fsync(fd: int) -> None:
        fsync(fd)
        done.append((os.path.basename(os.readlink(f"/proc/self/fd/{fd}")), os.fstat(fd).st_size))

    def noted_replace(source: str, target: str) -> None:
        done.append(("replace", os.stat(source).st_size))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    with replacing(str(tmp_path / "file")) as file:
        file.write(b"x" * 100_001)
    (first, written), *rest = done
    assert first.startswith(".buildrunner-")
    assert written == 100_001
    assert [what for what, _ in rest] == ["replace", tmp_path.name]


def test_what_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(str(place)) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "old")]


def test_what_a_killed_one_left_is_written_over(tmp_path: Path) -> None:
    place = tmp_path / "file"
    killed = os.fork()
    if not killed:
        with replacing(str(place)) as file:
            file.write(b"unfinished " * 9999)
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(killed, 0)
    assert len(list(tmp_path.iterdir())) == 1, "it left something"
    with replacing(str(place)) as file:
        file.write(b"whole")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "whole")]


def test_two_do_not_write_one_file_at_a_time(tmp_path: Path) -> None:
    place = str(tmp_path / "file")
    with replacing(place) as first:
        first.write(b"first")
        with pytest.raises(BlockingIOError), replacing(place):
            pass
    assert Path(place).read_text() == "first"
