"""How another terminal asks a living run to end: one datagram there, one back, over unix sockets of this user alone.

    buildrunner cancel ──{run, jobs}──▶ the server's socket        its path is in STATE/control
                       ◀──{ended, …}─── answered when what was asked to end has ended

A datagram arrives whole or not at all, so nobody can keep the server waiting in the middle of one. The socket lies in
the user's runtime folder, because its path may have no more than about a hundred bytes.
"""

import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from buildrunner.errors import UsageError
from buildrunner.naming import bare

ADDRESS = "control"
_LONGEST = 1 << 18  # bytes of a datagram
_AT_ONCE = 64  # datagrams; whoever sends more waits until the run has had its turn
_TRIES = 5
_NAMED = 20  # jobs that had not started
_LOOK_AGAIN = 0.1  # seconds between two looks whether the server is still there


class Unreachable(UsageError):
    """The server does not listen: not yet, no longer, or not at all."""


class Request:
    """What somebody asked for: to cancel the jobs that match one of the globs, or the run when `jobs` is None.

    `matched` says how many jobs it meant, `dropped` which of them had not started, `kept` (job → state) which of them
    ended by themselves before they could be ended; all go into the answer.
    """

    def __init__(self, control: "Control", sender: str, jobs: Sequence[str] | None) -> None:
        self._control, self._sender = control, sender
        self.jobs = jobs
        self.matched = 0
        self.dropped: Sequence[str] = ()
        self.kept: Mapping[str, str] = {}

    def wants(self, name: str) -> bool:
        """Whether this job is meant."""
        return is_meant(name, self.jobs or ())

    def answer(self, ended: Mapping[str, str]) -> None:
        """Say that it is done; `ended` are the attempts that ran and had to end, with their jobs."""
        dropped = self.dropped[:_NAMED]
        more = len(self.dropped) - len(dropped)
        self._control.send(
            self._sender,
            {
                "matched": self.matched,
                "ended": dict(ended),
                "dropped": dropped,
                "more": more,
                "kept": dict(self.kept),
            },
        )


def is_meant(job: str, globs: Iterable[str]) -> bool:
    """Whether one of the globs matches the job's name or the last part of it, or is that without its suffix."""
    last = job.rsplit("/", 1)[-1]
    return any(fnmatchcase(job, g) or fnmatchcase(last, g) or bare(job) == g for g in globs)


class Control:
    """The server's end. Use as a context manager, under the ledger's lock."""

    def __init__(self, state: Path) -> None:
        """Open the socket and write its path into the state folder; OSError where that is impossible."""
        self._note = state / ADDRESS
        _remove_dead(self._note)
        self._socket, self._path = _opened()
        try:
            _write_whole(self._note, self._path)
        except OSError:
            self.close()
            raise

    def __enter__(self) -> "Control":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Readable when somebody asked for something."""
        return self._socket.fileno()

    def requests(self, run: str) -> list[Request]:
        """What was asked for since the last time; what is meant for another run is refused at once."""
        found = []
        with suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                data, sender = self._socket.recvfrom(_LONGEST)
                if not isinstance(sender, str) or not sender:
                    continue  # nobody to answer
                try:
                    asked: dict[str, Any] = json.loads(data)
                    jobs = asked["jobs"]
                    if asked["run"] != run:
                        self.send(sender, {"error": f"run {asked['run']} is not the one that goes on: that is {run}"})
                        continue
                    found.append(Request(self, sender, None if jobs is None else [str(glob) for glob in jobs]))
                except (ValueError, KeyError, TypeError, RecursionError):
                    self.send(sender, {"error": "that was no request"})
        return found

    def send(self, receiver: str, answer: dict[str, Any]) -> None:
        """Send an answer; one who no longer waits for it goes without."""
        with suppress(OSError):
            self._socket.sendto(json.dumps(answer).encode(), receiver)

    def close(self) -> None:
        """Hear nobody any more."""
        self._socket.close()
        with suppress(OSError):  # whoever reads it finds nobody there
            os.unlink(self._note)
        _remove(self._path)


def ask(
    state: Path, run: str, jobs: Sequence[str] | None, *, seconds: float, alive: Callable[[], bool]
) -> dict[str, Any] | None:
    """Ask the server of this state folder to cancel; returns its answer, None when it went away without one.

    `alive` says whether there still is a server. Raises TimeoutError when no answer came for so long, Unreachable when
    the server does not listen.
    """
    try:
        server = os.fsdecode((state / ADDRESS).read_bytes())
        path = os.path.join(os.path.dirname(server), f"{os.getpid()}-{os.urandom(4).hex()}")
        own = _bound(path)
    except OSError as exc:
        raise _unreachable(run, exc) from exc
    try:
        try:
            own.sendto(json.dumps({"run": run, "jobs": jobs}).encode(), server)
        except OSError as exc:
            raise _unreachable(run, exc) from exc
        deadline = time.monotonic() + seconds
        own.settimeout(_LOOK_AGAIN)
        there = True
        while True:
            try:
                answer: dict[str, Any] = json.loads(own.recv(_LONGEST))
                return answer
            except TimeoutError:
                if not there:
                    return None
                if time.monotonic() > deadline:
                    raise
                there = os.path.exists(server) and alive()  # its last words may just have come: once more
    finally:
        own.close()
        _remove(path)


def _remove(path: str) -> None:
    """Remove a socket, and its folder with the last one."""
    with suppress(OSError):
        os.unlink(path)
    with suppress(OSError):
        os.rmdir(os.path.dirname(path))


def _unreachable(run: str, exc: OSError) -> Unreachable:
    return Unreachable(f"run {run} cannot be asked: {exc.strerror or exc}; end it where it runs, with Ctrl-C or TERM")


def _remove_dead(note: Path) -> None:
    """Remove the socket that a killed server left, if that is what it was."""
    with suppress(OSError):
        path = os.fsdecode(note.read_bytes())
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                try:
                    probe.connect(path)
                except ConnectionRefusedError:
                    os.unlink(path)


def _opened() -> tuple[socket.socket, str]:
    """A socket and its path, in a folder that another server may be just about to remove."""
    for left in range(_TRIES - 1, -1, -1):
        path = os.path.join(_folder(), f"{os.getpid()}-{os.urandom(4).hex()}")
        try:
            return _bound(path), path
        except FileNotFoundError:
            if not left:
                raise
    raise AssertionError


def _bound(path: str) -> socket.socket:
    own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    own.setblocking(False)
    before = os.umask(0o177)
    try:
        own.bind(path)
    except OSError:
        own.close()
        raise
    finally:
        os.umask(before)
    return own


def _folder() -> str:
    """A folder that belongs to this user alone; OSError where there is none to be had."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if _is_own(runtime):
        folder = os.path.join(os.path.abspath(runtime), "buildrunner")
    else:
        folder = os.path.join(os.path.abspath(os.environ.get("TMPDIR") or "/tmp"), f"buildrunner-{os.getuid()}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if not _is_own(folder):
        raise PermissionError(1, "it belongs to somebody else, or others may write there", folder)
    return folder


def _is_own(folder: str) -> bool:
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _write_whole(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_bytes(os.fsencode(text))
    os.replace(new, path)
