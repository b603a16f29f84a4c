"""A file the user named for us to write: only one we made is replaced, and it is written whole or not at all."""

import fcntl
import os
from binascii import crc32
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

from buildrunner.errors import UsageError
from buildrunner.naming import display


def check(path: str, *, what: str, option: str, ours: Callable[[IO[bytes]], bool], instead: str = "") -> None:
    """UsageError when `what` cannot be written there; leaves nothing behind.

    `ours` says whether an open file is one we made, which alone may be replaced (as may an empty one). `option` is what
    names another place, `instead` what else would help.
    """
    shown = display(path) or "''"
    if not path or path.endswith(os.sep) or os.path.isdir(path):
        why = "it is a folder" if path else "that is no name"
        raise UsageError(f"cannot write {what} {shown}: {why}; name a file with {option}")
    try:
        there = bool(os.stat(path))
    except FileNotFoundError:
        there = False
    except OSError as exc:
        raise UsageError(f"cannot write {what} {shown}: {exc.strerror}; name another with {option}{instead}") from exc
    if there and not _may_be_replaced(path, ours):
        raise UsageError(f"cannot write {what} {shown}: what is there is none of ours; name another with {option}")
    probe = _beside(path) + ".probe"
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as exc:
        raise UsageError(f"cannot write {what} {shown}: {exc.strerror}; name another with {option}{instead}") from exc
    finally:  # a signal may end this
        with suppress(OSError):
            os.unlink(probe)


@contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """A file to write beside `path`, which takes its place, safe on the disk, when the block ends well.

    A link stays, and what it leads to is written.
    """
    folder, name = os.path.split(os.path.realpath(path))
    unfinished = _beside(path)
    with open(_open_alone(unfinished), "w+b") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.fchmod(file.fileno(), 0o666 & ~umask)
            os.replace(unfinished, os.path.join(folder, name))
        except BaseException:
            with suppress(OSError):
                os.unlink(unfinished)
            raise
    with suppress(OSError):  # the file is there and whole; not every file system and every user may do this
        _sync_folder(folder)


def _beside(path: str) -> str:
    """A name in the same folder: one for every try, so that what a killed one left is taken up by the next."""
    folder, name = os.path.split(os.path.realpath(path))
    return os.path.join(folder, f".buildrunner-{crc32(os.fsencode(name)):08x}")


def _open_alone(path: str) -> int:
    """An empty file that no other process writes; BlockingIOError when one does."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.lstat(path)):
                    os.ftruncate(fd, 0)
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # whoever held it has just given it its final name


def _may_be_replaced(path: str, ours: Callable[[IO[bytes]], bool]) -> bool:
    if not os.path.isfile(path):
        return False  # opening a pipe would wait for somebody to write
    try:
        with open(path, "rb") as file:
            return not os.fstat(file.fileno()).st_size or ours(file)
    except OSError:
        return False


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
