"""The one writing connection: what goes wrong with its files, and that nothing is written after that.

    BEGIN … (now and then: files still there?) … COMMIT … (log long enough: checkpoint)

Whatever SQLite refuses ends the writing for good: after a write or a wait for the disk that failed nobody knows what is
on it, and trying again may seem to succeed (https://wiki.postgresql.org/wiki/Fsync_Errors). SQLite's own checkpoints
would hide such a failure and try again at the next commit, so they are made here.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from buildrunner.errors import LedgerError
from buildrunner.ledger import store
from buildrunner.naming import display

_LOG_BYTES = 16 << 20  # of the write-ahead log between two checkpoints, each of which waits for the disk twice
_BETWEEN_LOOKS = 0.05  # seconds; looking at the files at every commit would cost a part of what a commit does
_RESUME = "what was recorded before stays recorded: {}, then `{}`"


class Writing:
    """A connection that writes until something goes wrong."""

    def __init__(self, state: Path) -> None:
        """Open or create the database; the caller holds the lock. Raises LedgerError."""
        self.path = state / store.DATABASE
        self._files = (str(self.path), f"{self.path}-wal")
        self.db = store.open_writer(state)
        # SQLite's last connection to close makes a checkpoint and removes the log by its name. After a fault this one
        # is the last: it may only read, so it does neither.
        try:
            self._last = store.open_reader(state)
            self._identities = [(found.st_ino, found.st_dev) for found in map(os.stat, self._files)]
        except OSError as exc:
            self.db.close()
            raise LedgerError(self._gone(exc.strerror or str(exc))) from exc
        except BaseException:
            self.db.close()
            raise
        self._checkpoint_at = _LOG_BYTES
        self._look_at = 0.0  # monotonic
        self._fault: LedgerError | None = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is recorded together, or LedgerError says that nothing was, and nothing more will be."""
        if self._fault:
            raise LedgerError(str(self._fault))
        try:
            self.db.execute("BEGIN IMMEDIATE")
            yield
            look = time.monotonic() >= self._look_at
            size = self._require_files() if look else 0
            self.db.execute("COMMIT")
        except sqlite3.Error as exc:
            self._roll_back()
            raise self._stop(f"the ledger {self._shown} cannot be written: {self._why(exc)}") from exc
        except BaseException:
            self._roll_back()
            raise
        if size >= self._checkpoint_at:
            self.checkpoint()

    @contextmanager
    def safe_transaction(self) -> Iterator[None]:
        """The same, and a power cut does not take it once it is over: that waits for the disk."""
        self.db.execute("PRAGMA synchronous = FULL")
        try:
            with self.transaction():
                yield
        finally:
            self.db.execute("PRAGMA synchronous = NORMAL")

    def checkpoint(self) -> None:
        """Bring what is in the log into the database, safe on the disk, as far as nobody reads what was before.

        Raises LedgerError when the disk does not take it.
        """
        if self._fault:
            raise LedgerError(str(self._fault))
        self._require_files()
        try:
            # Whoever reads is not waited for: the log then grows on, by what is written.
            self.db.execute("PRAGMA busy_timeout = 0")
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self.db.execute(f"PRAGMA busy_timeout = {int(store.PATIENCE * 1000)}")
        except sqlite3.Error as exc:
            raise self._stop(f"the ledger {self._shown} cannot be made safe on the disk: {self._why(exc)}") from exc
        with suppress(OSError):
            self._checkpoint_at = os.stat(self._files[1]).st_size + _LOG_BYTES

    def copy(self) -> sqlite3.Connection:
        """All that is recorded, in memory: whatever became of the files. Raises LedgerError."""
        copy = sqlite3.connect(":memory:", isolation_level=None)
        try:
            self.db.backup(copy)
        except sqlite3.Error as exc:
            copy.close()
            raise LedgerError(f"cannot read the ledger {self._shown}: {exc}") from exc
        return copy

    def close(self) -> None:
        """Let go of the database. Raises LedgerError when what was written last does not get into it."""
        try:
            if not self._fault:
                self.checkpoint()
        finally:
            for connection in (self.db, self._last) if self._fault else (self._last, self.db):
                connection.close()

    @property
    def _shown(self) -> str:
        return display(str(self.path))

    def _require_files(self) -> int:
        """LedgerError when the files are not those that were opened, for SQLite writes on without a word.

        Returns the size of the log.
        """
        try:
            file, log = map(os.stat, self._files)
        except OSError as exc:
            raise self._stop(self._gone(exc.strerror or str(exc))) from exc
        if [(file.st_ino, file.st_dev), (log.st_ino, log.st_dev)] != self._identities:
            raise self._stop(self._gone("another file is there"))
        self._look_at = time.monotonic() + _BETWEEN_LOOKS
        return log.st_size

    def _gone(self, why: str) -> str:
        return (
            f"the ledger {self._shown} was removed or replaced while it was written ({why}); no more is recorded: put "
            f"it back if it was moved, then `{self._command}`, else run anew"
        )

    def _why(self, exc: sqlite3.Error) -> str:
        """What SQLite complains of, and the remedy."""
        name = getattr(exc, "sqlite_errorname", "")
        if name.startswith("SQLITE_BUSY"):
            why, _, end = store.busy(self.path).partition("; ")
            return f"{why}; {self._resume(end)}"
        if name.startswith("SQLITE_READONLY"):
            return f"{exc}; {self._resume('make it writable')}, or name another folder with --state DIR"
        if limited := store.size_limit(exc, self.path):
            return f"{limited}; {self._resume('raise it')}"
        remedy = "make room" if store.is_full(exc, self.path) else "see to the disk"
        return f"{exc}; {self._resume(remedy)}"

    def _resume(self, remedy: str) -> str:
        return _RESUME.format(remedy, self._command)

    @property
    def _command(self) -> str:
        state = str(self.path.parent)
        return "buildrunner resume" if state == ".buildrunner" else f"buildrunner resume --state {display(state)}"

    def _stop(self, sentence: str) -> LedgerError:
        self._fault = LedgerError(sentence)
        return self._fault

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # the first error is the one to tell
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
