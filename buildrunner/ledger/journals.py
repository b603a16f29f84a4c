"""The folders of the workers' journals, one a run, and what they say about the ledger beside them.

    a run's row is committed, and safe on the disk ─▶ its folder is made … the folder is removed ─▶ the row is deleted

So a folder whose run has no row is of a lost run: the end of the ledger is gone, perhaps with its write-ahead log. What
the ledger says then is an earlier state, and nobody may write on it, or remove the journals, which are what is left.
"""

import os
import sqlite3
from pathlib import Path

from buildrunner.naming import display
from buildrunner.regular import open_regular
from buildrunner.removal import remove_tree

RUNS = "runs"
"""The folder in a state folder that holds them."""


def folder(state: Path, run: str) -> Path:
    """Where a run's workers write."""
    return state / RUNS / run


def listed(state: Path) -> set[str]:
    """The runs that have a folder. Whoever does not write the ledger himself asks for this first, then for rows."""
    try:
        with os.scandir(state / RUNS) as found:
            return {entry.name for entry in found if entry.is_dir(follow_symlinks=False)}
    except OSError:  # none was made yet, or nobody may look
        return set()


def lost(state: Path, folders: set[str], db: sqlite3.Connection) -> list[str]:
    """The runs of these folders that have no row. Raises sqlite3.Error."""
    if not folders:
        return []
    unknown = folders.difference(name for (name,) in db.execute("SELECT name FROM runs"))
    return sorted(name for name in unknown if folder(state, name).is_dir())  # else it was forgotten meanwhile


def sentence(state: Path, run: str) -> str:
    """What is the matter with a run that is lost."""
    return (
        f"run {display(run)} is not in it any more, but what its workers wrote is there "
        f"({display(str(folder(state, run)))}): the end of the ledger is gone, perhaps because its write-ahead log is "
        "missing"
    )


def lines(path: Path) -> list[bytes]:
    """What is in a journal; nothing when something else lies in its place. Raises OSError."""
    try:
        with open_regular(path) as file:
            return file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return []


def remove(state: Path, run: str) -> bool:
    """Remove a run's folder, before its row goes. Whether it is gone; where it is not, the row must stay."""
    path = folder(state, run)
    remove_tree(str(path))
    return not path.exists()
