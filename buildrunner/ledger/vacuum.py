"""Giving back the room that a ledger does not need any more."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from buildrunner.errors import LedgerError
from buildrunner.ledger import Ledger, store


def vacuum(state: Path) -> tuple[int, int]:
    """Rewrite the database without its holes and empty its write-ahead log; bytes of both before and after.

    UsageError when there is no ledger, LedgerBusy while a run goes on, LedgerError when it is damaged or there is no
    room to write it anew: then it is as it was.
    """
    path = store.require(state)  # the writer would make one
    with Ledger(state, purpose="buildrunner ledger vacuum") as ledger:
        before = _bytes(path)
        _ask(lambda: ledger.db.execute("VACUUM"), path)
        _ask(lambda: ledger.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone(), path)
        return before, _bytes(path)


def _ask(what: Callable[[], object], path: Path) -> object:
    try:
        return what()
    except sqlite3.Error as exc:
        why = store.size_limit(exc, path) or exc
        raise LedgerError(
            f"the ledger {path} cannot be rewritten: {why}; it is as it was. That needs up to twice its size "
            f"({_bytes(path):,} bytes) beside it, and once in the folder for temporary files"
        ) from exc


def _bytes(path: Path) -> int:
    return sum(os.path.getsize(p) for p in (path, f"{path}-wal") if os.path.exists(p))
