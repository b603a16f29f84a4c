"""Removing what scripts left, however deep they nested it.

A path can be longer than the system takes, and the standard library recurses into folders, a thousand deep at most.
"""

import os
from contextlib import suppress

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove a folder and all it holds, as far as that is allowed; links are removed, not followed."""
    try:
        top = os.open(path, _FOLDER)
    except OSError:
        return
    try:
        mark, moved = f".gone-{os.urandom(4).hex()}", 0
        folders = ["."]
        while folders:
            folder = folders.pop()
            subfolders = _empty(folder, top)
            # Moved up, each is one step away and no path grows.
            for name in subfolders:
                moved += 1
                with suppress(OSError):
                    os.rename(os.path.join(folder, name), f"{mark}-{moved}", src_dir_fd=top, dst_dir_fd=top)
                    folders.append(f"{mark}-{moved}")
            if folder != ".":
                with suppress(OSError):
                    os.rmdir(folder, dir_fd=top)
    finally:
        os.close(top)
    with suppress(OSError):
        os.rmdir(path)


def _empty(folder: str, top: int) -> list[str]:
    """Remove everything in the folder that is no folder with something in it; returns the names of those."""
    try:
        fd = os.open(folder, _FOLDER, dir_fd=top)
    except OSError:
        return []
    subfolders = []
    try:
        with os.scandir(fd) as found:
            entries = list(found)
        for entry in entries:
            try:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=fd)
                else:
                    subfolders.append(entry.name)
                    os.rmdir(entry.name, dir_fd=fd)
                    subfolders.pop()
            except OSError:
                pass
    except OSError:
        pass
    finally:
        os.close(fd)
    return subfolders


def remove_empty_folders(path: str) -> None:
    """Remove this folder and those in it, unless they hold something else."""
    folders = [path]
    for folder in folders:  # grows meanwhile
        with suppress(OSError), os.scandir(folder) as entries:
            folders += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    for folder in reversed(folders):
        with suppress(OSError):
            os.rmdir(folder)
