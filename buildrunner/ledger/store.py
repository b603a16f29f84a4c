"""Opening the database: one writer, any number of readers, numbered migrations."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from buildrunner import machine
from buildrunner.errors import LedgerError, UsageError
from buildrunner.ledger import journals, lock

DATABASE = "ledger.db"
LOCK = "lock"
PATIENCE = 90.0  # seconds that a lock which another program holds on the file is waited for


_QUICKLY_CHECKED = 64 << 20  # bytes; that takes a fifth of a second
_DAMAGE = (11, 26)  # SQLITE_CORRUPT, SQLITE_NOTADB
_GROWS_BY = 65536  # bytes; more than SQLite adds to one of its files at once
PERHAPS = (
    "`buildrunner ledger check` says more, and `buildrunner ledger recover` takes what can be trusted into a new folder"
)


def open_writer(state: Path) -> sqlite3.Connection:
    """The one writing connection, with the newest schema. The caller holds the lock.

    A ledger that is damaged, or newer than this program, is refused before anything of it is changed.
    """
    path = state / DATABASE
    with _complaining("use", path, writes=True) as undo:
        _refuse_unusable(state)
        db = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE)
        undo.callback(db.close)
        _migrate(db, path)
        # WAL with NORMAL survives the death of any process; only a power cut can take the last commits.
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":  # asked for, or nobody hears of it
            raise sqlite3.OperationalError("no write-ahead log can be made beside it")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")  # see writing.py
        # Written anew although it stays the same: so the first page, which has it, is in the log from its beginning.
        owner = db.execute("PRAGMA application_id").fetchone()[0] or _new_owner()
        db.execute(f"PRAGMA application_id = {owner}")
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
    with _complaining("read", path) as undo:
        db = _connect_to_read(path, immutable=immutable, patience=patience)
        undo.callback(db.close)
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found != len(_migrations()):
            refuse_version(path, found)
        undo.pop_all()
    return db


def _connect_to_read(path: Path, *, immutable: bool = False, patience: float = PATIENCE) -> sqlite3.Connection:
    uri = f"file:{quote(os.fsencode(path.absolute()))}?mode=ro{'&immutable=1' if immutable else ''}"
    with ExitStack() as undo:
        db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=patience)
        undo.callback(db.close)
        # SQLite takes any write-ahead log of that name for the database's own, and would write it into it.
        own = _owner_without_log(uri)
        if own and own != db.execute("PRAGMA application_id").fetchone()[0]:
            raise LedgerError(
                f"the write-ahead log {path}-wal is not that of the ledger beside it: if the ledger was put back "
                f"from a copy, move the log away; else {PERHAPS}"
            )
        undo.pop_all()
    return db


def _owner_without_log(uri: str) -> int:
    """The number in the file itself; 0 where there is none to be read.

    Through SQLite, because closing a file that was opened past it would end the locks of every connection this process
    has to it (fcntl(2)), and whoever closes another one next would take the log away.
    """
    with suppress(sqlite3.Error):
        db = sqlite3.connect(uri if "immutable" in uri else f"{uri}&immutable=1", uri=True)
        try:
            number: int = db.execute("PRAGMA application_id").fetchone()[0]
            return number
        finally:
            db.close()
    return 0


def refuse_damaged(db: sqlite3.Connection, path: Path) -> None:
    """LedgerError when the structure of the file is not whole: whatever it says then may be wrong.

    Of a large file only `ledger check` looks at every page: here it would take seconds.
    """
    if _size(path) > _QUICKLY_CHECKED:
        return
    with _complaining("read", path):
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise LedgerError(f"the ledger {path} is damaged ({' '.join(str(found).split())}); {PERHAPS}")


def refuse_lost(state: Path, folders: set[str], db: sqlite3.Connection) -> None:
    """LedgerError when a run that has one of these folders is lost: see journals.py."""
    path = state / DATABASE
    with _complaining("read", path):
        runs = journals.lost(state, folders, db)
    if runs:
        more = f", and {len(runs) - 1} more like it" if len(runs) > 1 else ""
        raise LedgerError(
            f"the ledger {path} cannot be trusted: {journals.sentence(state, runs[0])}{more}. "
            f"If that was moved, put it back; else {PERHAPS}"
        )


def refuse_emptied(state: Path) -> None:
    """A file cut to nothing is to SQLite one in which nothing was ever recorded; it would also remove its log."""
    path = state / DATABASE
    if not _size(path) and (
        _size(f"{path}-wal") or (path.exists() and (state / journals.RUNS).exists()) or journals.listed(state)
    ):
        raise LedgerError(f"the ledger {path} is empty or gone, and it was not before; {PERHAPS}")


def _refuse_unusable(state: Path) -> None:
    path = state / DATABASE
    refuse_emptied(state)
    folders = journals.listed(state)
    # What was not made to its end has a journal, and whoever may write undoes it first.
    if _size(path) and not is_half_made(path):
        db = _connect_to_read(path)
        try:
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found > len(_migrations()):
                refuse_version(path, found)
            refuse_damaged(db, path)
            if found:
                refuse_lost(state, folders, db)
        finally:
            db.close()


def is_half_made(path: Path) -> bool:
    """Whether the first transaction of all was cut off; only that one has a journal to be undone by."""
    return _size(f"{path}-journal") > 0


def _size(path: Path | str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def require(state: Path) -> Path:
    """The database's path; UsageError when there is none, LedgerError when there was one."""
    path = state / DATABASE
    refuse_emptied(state)
    if is_half_made(path):
        _refuse_half_made(path)
    if not path.exists():
        raise UsageError(f"there is no ledger in {state}: nothing was run here; name its folder with --state DIR")
    return path


def _has_log(path: Path) -> bool:
    """Whether there is a write-ahead log that is in use or holds something."""
    log = f"{path}-wal"
    return os.path.exists(log) and (os.path.getsize(log) > 0 or os.path.exists(f"{path}-shm"))


def new_database(path: str, *, version: int | None = None) -> sqlite3.Connection:
    """An empty database with the newest schema, or an older one, which is no ledger yet."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(_script(0, version))
    return db


@contextmanager
def _complaining(verb: str, path: Path, *, writes: bool = False) -> Iterator[ExitStack]:
    """What SQLite has to complain of becomes a LedgerError, after whatever was begun is undone."""
    what, remedy = f"cannot {verb} the ledger {path}", "; name another folder with --state DIR" if writes else ""
    try:
        with ExitStack() as undo:
            yield undo
    except (sqlite3.Error, UnicodeDecodeError) as exc:  # the latter from a message about damaged text
        if writes and getattr(exc, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
            raise LedgerError(f"{what}: {busy(path)}, or{remedy.removeprefix(';')}") from exc
        if limited := size_limit(exc, path):
            raise LedgerError(f"{what}: {limited}") from exc
        if writes and is_full(exc, path):
            raise LedgerError(f"{what}: its disk is full; make room, or{remedy.removeprefix(';')}") from exc
        raise LedgerError(f"{what}: {exc}{damage_remedy(exc) or remedy}") from exc


def is_full(exc: Exception, path: Path) -> bool:
    """Whether room is what is missing: without any, SQLite's index of the log fails as if the disk did."""
    name = getattr(exc, "sqlite_errorname", "")
    if not name.startswith("SQLITE_IOERR"):
        return bool(name == "SQLITE_FULL")
    with suppress(OSError):
        return os.statvfs(path.parent).f_bavail == 0
    return False


def busy(path: Path) -> str:
    """Who kept the writer out for as long as it had patience, and what to do about it."""
    who = lock.of_database(path) or "another program"
    return f"{who} holds a lock on it, and did so for {PATIENCE:g} s; end {who}"


def size_limit(exc: Exception, path: Path) -> str | None:
    """What to say when a file of the ledger may not grow any more, where SQLite says that the disk gave an error."""
    limit = machine.file_size_limit()
    if limit is None or not getattr(exc, "sqlite_errorname", "").startswith(("SQLITE_IOERR", "SQLITE_FULL")):
        return None
    largest = max(_size(f"{path}{end}") for end in ("", "-wal", "-shm", "-journal"))
    return machine.TOO_LARGE.format(limit) if largest + _GROWS_BY > limit else None


def damage_remedy(exc: Exception) -> str:
    """What to do when SQLite's complaint is of damage, else nothing."""
    code = getattr(exc, "sqlite_errorcode", _DAMAGE[0])
    return f"; {PERHAPS}" if code & 0xFF in _DAMAGE else ""


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date, after a copy of an older ledger is safe beside it."""
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found == len(_migrations()):
        return
    if found:
        _back_up(db, path, found)
    db.executescript(_script(found))


def _script(found: int, until: int | None = None) -> str:
    """SQL that leads from one schema to a newer one: in one transaction, so that there is never one in between."""
    steps = _migrations()[:until]
    owner = [] if found else [f"PRAGMA application_id = {_new_owner()};"]
    return "\n".join(
        ["BEGIN IMMEDIATE;", *steps[found:], f"PRAGMA user_version = {len(steps)};", *owner, "COMMIT;"]
    )  # fmt: skip


def _new_owner() -> int:
    """A number by which a ledger and its write-ahead log know each other; not 0, which is what a file without has."""
    return int.from_bytes(os.urandom(4), "big") >> 1 or 1


def _back_up(db: sqlite3.Connection, path: Path, found: int) -> None:
    """Copy the ledger as it is, log and all, to a file beside it that appears when it is whole and on the disk."""
    kept = path.with_name(f"{path.name}.schema-{found}")
    part = Path(f"{kept}.new")
    try:
        part.unlink(missing_ok=True)
        copy = sqlite3.connect(part, isolation_level=None)
        try:
            copy.execute("PRAGMA journal_mode = OFF")
            db.backup(copy)
        finally:
            copy.close()
        shutil.copymode(path, part)
        for place in (part, path.parent):
            if place == path.parent:
                os.replace(part, kept)
            fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
    except (sqlite3.Error, OSError) as exc:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise LedgerError(
            f"the ledger {path} has the older schema {found}, and no copy of it can be made before that is brought up "
            f"to date: {exc}; it is as it was: make room for {_size(path) + _size(f'{path}-wal'):,} bytes "
            "beside it, or name another folder with --state DIR"
        ) from exc


def _migrations() -> list[str]:
    folder = resources.files("buildrunner.ledger") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [f.read_text(encoding="utf-8") for f in files]


def refuse_version(path: Path, found: int) -> NoReturn:
    """LedgerError about a schema that is not the one this program works with."""
    known = len(_migrations())
    if not found and not _size(path):
        _refuse_half_made(path)
    if not found:
        raise LedgerError(f"the ledger {path} is damaged: it has no schema; {PERHAPS}")
    if found > known:
        raise LedgerError(
            f"the ledger {path} has schema {found}, newer than this version of buildrunner knows ({known}); "
            "use the newer buildrunner, or another folder with --state DIR"
        )
    raise LedgerError(
        f"the ledger {path} has the older schema {found}; the next `buildrunner run` or `resume` brings it up to date"
    )


def _refuse_half_made(path: Path) -> NoReturn:
    raise UsageError(
        f"the ledger {path} is being made, or its making was cut off: nothing is recorded in it yet; the next "
        "`buildrunner run` makes it whole"
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
    """The other way round; LedgerError for what cannot be a name."""
    if not isinstance(value, str | bytes):
        raise LedgerError(f"a name in the ledger is damaged: {value!r}; {PERHAPS}")
    return os.fsdecode(value)
