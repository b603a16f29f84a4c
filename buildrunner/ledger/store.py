"""Opening the database: one writer, any number of readers, numbered migrations."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from buildrunner.errors import LedgerError, UsageError

DATABASE = "ledger.db"
LOCK = "lock"
PATIENCE = 90.0  # seconds that a lock which another program holds on the file is waited for


def open_writer(state: Path) -> sqlite3.Connection:
    """The one writing connection, with the newest schema. The caller holds the lock."""
    path = state / DATABASE
    with _complaining(f"cannot use the ledger {path}", "; name another folder with --state DIR") as undo:
        db = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE)
        undo.callback(db.close)
        # WAL with NORMAL survives the death of any process; only a power cut can take the last commits.
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":  # asked for, or nobody hears of it
            raise sqlite3.OperationalError("no write-ahead log can be made beside it")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")  # see writing.py
        _migrate(db, path)
        undo.pop_all()
    return db


def open_reader(state: Path, *, immutable: bool = False, patience: float = PATIENCE) -> sqlite3.Connection:
    """A read-only connection that disturbs no writer; UsageError when there is no ledger.

    `patience`: seconds to wait for a lock somebody else holds on the file.
    SQLite makes files beside the database to read it, unless it is `immutable`: then nobody may write it meanwhile, and
    what is only in its write-ahead log is not seen. In a folder that may only be read nothing else is possible.
    """
    path = require(state)
    immutable = immutable or not (os.access(state, os.W_OK) or _has_log(path))
    with _complaining(f"cannot read the ledger {path}") as undo:
        uri = f"file:{quote(os.fsencode(path.absolute()))}?mode=ro{'&immutable=1' if immutable else ''}"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=patience)
        undo.callback(db.close)
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found != len(_migrations()):
            _refuse_version(path, found)
        undo.pop_all()
    return db


def require(state: Path) -> Path:
    """The database's path; UsageError when there is none."""
    path = state / DATABASE
    if not path.exists():
        raise UsageError(f"there is no ledger in {state}: nothing was run here; name its folder with --state DIR")
    return path


def _has_log(path: Path) -> bool:
    """Whether there is a write-ahead log that is in use or holds something."""
    log = f"{path}-wal"
    return os.path.exists(log) and (os.path.getsize(log) > 0 or os.path.exists(f"{path}-shm"))


def new_database(path: str) -> sqlite3.Connection:
    """An empty database with the newest schema, which is no ledger yet."""
    db = sqlite3.connect(path, isolation_level=None)
    _migrate(db, Path(path))
    return db


@contextmanager
def _complaining(what: str, remedy: str = "") -> Iterator[ExitStack]:
    """What SQLite has to complain of becomes a LedgerError, after whatever was begun is undone."""
    try:
        with ExitStack() as undo:
            yield undo
    except (sqlite3.Error, UnicodeDecodeError) as exc:  # the latter from a message about damaged text
        raise LedgerError(f"{what}: {exc}{remedy}") from exc


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    steps = _migrations()
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found > len(steps):
        _refuse_version(path, found)
    for number, sql in enumerate(steps[found:], start=found + 1):
        # One transaction a step: killed at any moment, the schema is the old one or the new one.
        db.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")


def _migrations() -> list[str]:
    folder = resources.files("buildrunner.ledger") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [f.read_text(encoding="utf-8") for f in files]


def _refuse_version(path: Path, found: int) -> None:
    known = len(_migrations())
    if found > known:
        raise LedgerError(
            f"the ledger {path} has schema {found}, newer than this version of buildrunner knows ({known}); "
            "use the newer buildrunner, or another folder with --state DIR"
        )
    raise LedgerError(
        f"the ledger {path} has the older schema {found}; the next `buildrunner run` or `resume` brings it up to date"
    )


def to_sql(text: str) -> str | bytes:
    """A name as SQLite can keep it: text, or the bytes of a name that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text


def to_sql_or_none(text: str | None) -> str | bytes | None:
    """The same where there may be none."""
    return None if text is None else to_sql(text)


def from_sql(value: str | bytes) -> str:
    """The other way round."""
    return os.fsdecode(value)
