"""Removing what scripts left, however deep they nested it.

A path can be longer than the system takes, a folder deeper than descriptors go round, and the standard library gives up
a thousand folders down. So this holds one folder open at a time and finds its way back by `..`.
"""

import os
from contextlib import suppress

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove a folder and all it holds, also what its owner may not write; links are removed, not followed."""
    _remove(path, whole=True)


def remove_empty_folders(path: str) -> None:
    """Remove this folder and those in it, unless they hold something else."""
    _remove(path, whole=False)


def _remove(path: str, *, whole: bool) -> None:
    try:
        fd = _open(path, None, whole)
    except OSError:
        return
    way: list[tuple[str, tuple[int, int], list[str]]] = []  # back: name in the parent, the parent, what is left there
    try:
        left = _look_through(fd, whole)
        while True:
            if left:
                name = left.pop()
                try:
                    below = _open(name, fd, whole)
                except OSError:
                    continue
                way.append((name, _identity(fd), left))
                os.close(fd)
                fd = below
                left = _look_through(fd, whole)
            elif way:
                name, parent, left = way.pop()
                above = os.open("..", _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = above
                if _identity(fd) != parent:
                    return  # somebody moved it meanwhile, and this is no place of ours
                with suppress(OSError):
                    os.rmdir(name, dir_fd=fd)
            else:
                break
    except OSError:
        return
    finally:
        os.close(fd)
    with suppress(OSError):
        os.rmdir(path)


def _open(name: str, parent: int | None, whole: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        if not whole:
            raise
        os.chmod(name, 0o700, dir_fd=parent)
        return os.open(name, _FOLDER, dir_fd=parent)


def _look_through(fd: int, whole: bool) -> list[str]:
    """The names of the folders in a folder; with `whole`, everything else in it is removed."""
    folders = []
    if whole:
        with suppress(OSError):  # not ours: then it has to be writable as it is
            os.fchmod(fd, 0o700)
    with os.scandir(fd) as found:
        entries = list(found)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        elif whole:
            with suppress(OSError):
                os.unlink(entry.name, dir_fd=fd)
    return folders


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino
