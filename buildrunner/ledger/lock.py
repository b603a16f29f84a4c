"""The kernel lock that makes one process the writer of a folder, and says who that is.

The lock is flock's: it ends with its owner, however that ends, so a dead holder never blocks anybody. The text
in the file tells people who holds it, and others what time it is for the holder; nothing is decided by it.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from buildrunner.errors import LedgerBusy, UsageError
from buildrunner.machine import why_not_written
from buildrunner.naming import display

# Whoever asks whether a lock is held takes it himself for a moment; that moment must not refuse a run.
_TRIES = 5
_BETWEEN_TRIES = 0.02  # seconds


class Lock:
    """Held from construction to `release`, or to the end of the process."""

    def __init__(self, path: Path, *, purpose: str, what: str, option: str | None) -> None:
        """Take the lock at once, or raise LedgerBusy with a sentence that names the holder.

        `purpose` is what this process does; `what` is locked, and `option` names another one of it, where there is one.
        """
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise _unusable(path, what, option, exc) from exc
        for _ in range(_TRIES - 1):
            if _lock(self._fd, fcntl.LOCK_EX):
                break
            time.sleep(_BETWEEN_TRIES)
        if not _lock(self._fd, fcntl.LOCK_EX):
            os.close(self._fd)
            raise LedgerBusy(
                f"the {what} {display(str(path.parent))} is in use by {holder(path)}; "
                f"wait for it to end{_another(option, ', or use another one')}"
            )
        note = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": int(time.time()),
            "ahead": time.time() - time.monotonic(),
            "does": purpose,
        }
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, json.dumps(note).encode(), 0)
        except OSError as exc:
            os.close(self._fd)
            raise _unusable(path, what, option, exc) from exc

    def release(self) -> None:
        """Let others in."""
        with suppress(OSError):  # its disk is gone, and the lock with it
            os.close(self._fd)


def _unusable(path: Path, what: str, option: str | None, exc: OSError) -> UsageError:
    where = display(str(path.parent))
    return UsageError(
        f"cannot write in the {what} {where}: {why_not_written(exc)}{_another(option, '; name another one')}"
    )


def _another(option: str | None, words: str) -> str:
    return f"{words} with {option} DIR" if option else ""


def held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _lock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def of_database(path: Path) -> str | None:
    """The other process that keeps SQLite's writer out of a database, by the kernel's list; None where that is silent.

    Asking the file itself would need to open it, and closing it again would end SQLite's own locks (fcntl(2)).
    """
    return _by_kernel("POSIX", path, Path(f"{path}-shm"))


def of_file(path: Path) -> str | None:
    """The other process that holds our kind of lock on a file, by the kernel's list; None where that is silent."""
    return _by_kernel("FLOCK", path)


def _by_kernel(wanted: str, *paths: Path) -> str | None:
    places = set()
    for name in paths:
        with suppress(OSError):
            found = name.stat()
            places.add(f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}")
    try:
        lines = Path("/proc/locks").read_text().splitlines()
        for line in lines:  # 1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 120 120
            kind, _, access, pid, place = line.partition(": ")[2].split()[:5]
            if (kind, access) == (wanted, "WRITE") and place in places and int(pid) not in (0, -1, os.getpid()):
                program = os.fsdecode(Path(f"/proc/{pid}/comm").read_bytes()).strip()
                return f"process {pid} ({display(program)})"
    except (OSError, ValueError):
        pass
    return None


@contextmanager
def shared(path: Path) -> Iterator[bool]:
    """Keep writers out for a while, without writing; false when one holds it. A file that is not there has none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        yield _lock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def now(path: Path) -> float:
    """Seconds since the epoch as the holder would count them: its wall clock when it began, and what went by since.

    What it stamped with that clock lies as far back as it really does, also when the wall clock was set meanwhile.
    Where that cannot be known, because nothing is held or on another computer, it is the wall clock.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        note: dict[str, Any] = json.loads(path.read_bytes())
        if note["host"] == socket.gethostname():
            return float(note["ahead"]) + time.monotonic()
    return time.time()


def holder(path: Path) -> str:
    """Who holds the lock, as far as its file tells."""
    try:
        note: dict[str, Any] = json.loads(path.read_bytes())
        since = time.strftime("%H:%M:%S", time.localtime(note["since"]))
        return f"process {note['pid']} on {note['host']} since {since} ({note['does']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process that has not yet said who it is"
