"""Starting workers: as what program, in what environment, with what open; and which of them can be warm.

    server ◀── queue, a socket pair ──▶ worker        STEM.journal, STEM.err and a warm one's STEM.out are its files

A warm worker is the scripts' own Python, started as one of them would be. Once that turns out to be impossible, all
that are started from then on are ordinary ones, and tell in their receipts why.
"""

import marshal
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from buildrunner import groups
from buildrunner.errors import PoolError
from buildrunner.preloading import Preloading
from buildrunner.run import fork, warm
from buildrunner.run import worker as worker_program
from buildrunner.run.pidfd import open_pidfd

WORKER_PROGRAM = os.path.abspath(worker_program.__file__)
WARM_PROGRAM = os.path.abspath(warm.__file__)
_SIGNALS = [s for s in signal.valid_signals() if s not in (signal.SIGKILL, signal.SIGSTOP)]
_OWN_LOG = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_TITLE = " " * 512  # room in a warm worker's arguments for the command lines of its scripts


class Worker:
    """The server's end of one worker."""

    def __init__(
        self, number: int, pid: int, connection: Connection, stem: str, groups: Sequence[str], warm: bool
    ) -> None:
        self.warm = warm
        self.number = number
        self.pid = pid
        self.pidfd = open_pidfd(pid)
        self.connection = connection
        self.journal = stem + ".journal"
        self.errors = stem + ".err"
        self.groups = groups
        self.started = time.monotonic()
        self.outstanding: list[str] = []
        self.since = self.started  # when the attempt it should be at began, as far as the server knows
        self.recalled = False
        self.importing: str | None = None  # the module it is at, before it serves
        self.has_refused = False  # a module, and cannot go on with what that has done

    def tell(self, message: Any) -> None:
        """Put a message on its queue."""
        try:
            self.connection.send_bytes(marshal.dumps(message))
        except OSError:
            pass  # it died; its sentinel says so to whoever waits


class Spawner:
    """Starts the workers of one pool; for `folder`, `hello`, `warm` and `preloading` see pool.WorkerPool.

    `argv` is the command of an ordinary worker.
    """

    def __init__(
        self,
        argv: list[str],
        *,
        folder: str,
        hello: Callable[[int], dict[str, Any]],
        warm: str | None,
        preloading: Preloading,
    ) -> None:
        self._argv = argv
        self._folder = folder
        self._hello = hello
        self._warm = warm
        self._preloading = preloading
        self._why_cold: str | None = None
        self._born = 0
        self._was_killed = False  # a warm worker, before it heard of anything
        if warm and sys.getfilesystemencoding() != "utf-8":
            self._give_up_warm("file names are not read as UTF-8")

    def start(self, number: int) -> Worker:
        """Start a worker; it gets ready while the caller goes on. Raises PoolError where that is impossible."""
        ours, theirs = socket.socketpair()
        self._born += 1
        stem = os.path.join(self._folder, f"worker-{self._born}")
        hello = {"limits": (None, None), "why_cold": self._why_cold, **self._hello(number)}
        pid = self._spawn_warm(theirs.fileno(), stem, hello["env"]) if self._warm else None
        is_warm = pid is not None
        if pid is None:
            pid = self._spawn(theirs.fileno(), stem)
        theirs.close()
        # Before the worker hears of anything to do, so that all its scripts are born there; meanwhile it gets ready.
        own, limited = self._make_groups(pid, hello["limits"][0])
        w = Worker(number, pid, Connection(ours.detach()), stem, [g for g in (own, limited) if g], is_warm)
        w.tell({"worker": number, "journal": w.journal, "groups": (own, limited), **hello})
        return w

    def take_unfit(self, w: Worker, status: int) -> None:
        """A warm worker ended with `status` before it heard of anything: mostly as its Python cannot be shared.

        One that a signal ended can be anybody's victim, the kernel's for want of memory, say: once, that says nothing.
        """
        if status < 0 and not self._was_killed:
            self._was_killed = True
            return
        words = _last_words(w.errors)
        if words and words[-1].startswith("SyntaxError:") and not any(line.startswith("Traceback ") for line in words):
            self._give_up_warm(f"{warm.FIT}, and this Python is too old to say which it is")  # nor could it read how
        else:
            how = f"with {status}" if status >= 0 else f"by signal {-status}"
            self._give_up_warm(words[-1] if words else f"its Python ended {how}")

    def _give_up_warm(self, why: str) -> None:
        self._warm, self._why_cold = None, why

    def _spawn(self, queue: int, stem: str) -> int:
        try:
            return os.posix_spawn(
                self._argv[0],
                self._argv,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, queue, 0),
                    (os.POSIX_SPAWN_DUP2, queue, 1),
                    (os.POSIX_SPAWN_OPEN, 2, stem + ".err", _OWN_LOG, 0o600),
                ],
                setsid=True,  # the terminal's Ctrl-C is for the server to act on
                setsigdef=[signal.SIGCHLD],  # ignored, it would take the scripts' endings away
            )
        except OSError as exc:
            raise PoolError(f"cannot start a worker ({self._argv[0]}): {exc.strerror}") from exc

    def _spawn_warm(self, queue: int, stem: str, env: dict[str, str]) -> int | None:
        """Start a worker just as a script would be; None where its Python cannot be started at all."""
        assert self._warm
        # It must not have more open than a script: what we inherited ourselves is no business of theirs.
        inherited = [fd for fd in _descriptors() if fd > warm.QUEUE and os.get_inheritable(fd)]
        try:
            return os.posix_spawn(
                self._warm,
                [self._warm, WARM_PROGRAM, _TITLE, self._warm, *self._preloading.words()],
                env | {"BUILDRUNNER_ATTEMPT_ID": fork.PLACEHOLDER},
                file_actions=[
                    *((os.POSIX_SPAWN_CLOSE, fd) for fd in inherited),
                    (os.POSIX_SPAWN_DUP2, queue, warm.QUEUE),
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, stem + ".out", _OWN_LOG, 0o600),
                    (os.POSIX_SPAWN_OPEN, 2, stem + ".err", _OWN_LOG, 0o600),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=_SIGNALS,
            )
        except OSError as exc:
            self._give_up_warm(f"{self._warm} cannot be started: {exc.strerror}")
            return None

    def _make_groups(self, pid: int, memory: int | None) -> tuple[str | None, str | None]:
        """A control group around a new worker, and one for its scripts when their memory is limited, where possible."""
        name = f"{os.path.basename(self._folder)}-{self._born}"
        own = groups.make(name)
        if own is None or not groups.enter(own, pid):
            return None, None
        return own, None if memory is None else groups.make_limited(name, memory)


def _descriptors() -> list[int]:
    found = []
    with suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                os.fstat(int(name))  # not the one of looking
                found.append(int(name))
    return found


def _last_words(path: str) -> list[str]:
    """The lines that a worker left, none where there is nothing to be read."""
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip().splitlines()
    return []
