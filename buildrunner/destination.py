"""A file the user named for us to write: nothing of a stranger's is replaced, and it is written whole or not at all."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

from buildrunner.errors import UsageError
from buildrunner.naming import display

_HEAD = 512


def check(path: str, *, what: str, option: str, ours: Callable[[bytes], bool], instead: str = "") -> None:
    """UsageError when `what` cannot be written there; leaves nothing behind.

    `ours` says by a file's first bytes whether it is one of the kind, which alone may be replaced (as may an empty
    one). `option` is what names another place, `instead` what else would help.
    """
    shown = display(path) or "''"
    if not path or os.path.isdir(path):
        why = "it is a folder" if path else "that is no name"
        raise UsageError(f"cannot write {what} {shown}: {why}; name a file with {option}")
    if os.path.lexists(path) and not _may_be_replaced(path, ours):
        raise UsageError(
            f"cannot write {what} {shown}: a file that is none of ours is there; name another with {option}"
        )
    try:
        fd, probe = tempfile.mkstemp(prefix=".buildrunner-", dir=_folder(path))
    except OSError as exc:
        raise UsageError(f"cannot write {what} {shown}: {exc.strerror}; name another with {option}{instead}") from exc
    os.close(fd)
    os.unlink(probe)


@contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """A file to write beside `path`, which takes its place, safe on the disk, when the block ends well."""
    fd, unfinished = tempfile.mkstemp(prefix=".buildrunner-", dir=_folder(path))
    try:
        with open(fd, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.fchmod(file.fileno(), 0o666 & ~umask)
        os.replace(unfinished, path)
        _sync_folder(_folder(path))
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished)
        raise


def _folder(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))


def _may_be_replaced(path: str, ours: Callable[[bytes], bool]) -> bool:
    if not os.path.isfile(path):
        return False  # opening a pipe would wait for somebody to write
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return not head or ours(head)


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
