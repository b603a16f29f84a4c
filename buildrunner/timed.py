"""One process started, waited for and measured from outside, and signals that end it in good order.

For measurements: nothing of ours stands between the process and its files, and no thread or pipe wakes up while it
runs. A process is the leader of its own session, with /dev/null as input.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from select import POLLIN, poll
from types import TracebackType
from typing import Any, Self

from buildrunner.errors import BuildrunnerError
from buildrunner.run.pidfd import open_pidfd

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DEFAULTS = [s for s in signal.valid_signals() if s not in (signal.SIGKILL, signal.SIGSTOP)]
_LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_TICK = 0.02  # seconds between looks where the system cannot wake us


class Stopped(BuildrunnerError):
    """A signal asked us to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; what ran was ended and nothing was kept")
        self.exit_code = 128 + number


class Interrupts:
    """While this lasts, the first INT, TERM or HUP raises `Stopped`; later ones are only counted.

    Cleaning up is thereby never cut off, and can hurry when it sees `count` grow. A signal that is ignored stays so.
    In a thread that gets no signals this does nothing.
    """

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            for number in _ENDING:
                before = signal.getsignal(number)
                if before is not signal.SIG_IGN:
                    self._before[number] = before
                    signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def settle(self) -> None:
        """Raise nothing from now on."""
        self.count += 1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Signals wait outside: for the moment between making something and knowing that it must be undone."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _on_signal(self, number: int, _: object) -> None:
        self.count += 1
        if self.count == 1:
            raise Stopped(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended: wall and CPU seconds (its waited-for children's too); one of exit code and signal."""

    seconds: float
    cpu_seconds: float
    exit_code: int | None
    signal: int | None
    timed_out: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a process is told to end: each signal with the seconds it gets, KILL for its whole group at last.

    `group` says whether the signals before KILL go to the group, or to the process alone because it looks after
    its own children.
    """

    steps: tuple[tuple[signal.Signals, float], ...]
    group: bool


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None,
    stdout: str,
    stderr: str,
    interrupts: Interrupts,
    way: Way,
    timeout: float | None = None,
) -> Ended:
    """Run one process to its end. Raises OSError when it cannot be started, Stopped after it was ended."""
    process = _Process(way, interrupts)
    try:
        with interrupts.held():
            process.start(argv, env=env, cwd=cwd, stdout=stdout, stderr=stderr)
        timed_out = not process.wait(timeout)
        return process.end(timed_out=timed_out)
    finally:
        if process.pid:
            process.end(timed_out=False)


class _Process:
    def __init__(self, way: Way, interrupts: Interrupts) -> None:
        self.pid = 0
        self._way = way
        self._interrupts = interrupts
        self._began = 0.0
        self._pidfd: int | None = None

    def start(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str | None, stdout: str, stderr: str) -> None:
        if "/" not in argv[0]:
            raise FileNotFoundError(2, "not found on PATH", argv[0])
        home = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if cwd is not None:
                os.chdir(cwd)
            self._began = time.perf_counter()
            self.pid = os.posix_spawn(
                argv[0],
                tuple(argv),
                env,
                file_actions=(
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, stdout, _LOG_FLAGS, 0o666),
                    (os.POSIX_SPAWN_OPEN, 2, stderr, _LOG_FLAGS, 0o666),
                ),
                setsid=True,
                setsigmask=(),
                setsigdef=_DEFAULTS,
            )
            self._pidfd = open_pidfd(self.pid)
        finally:
            os.fchdir(home)
            os.close(home)

    def wait(self, seconds: float | None) -> bool:
        """Whether the process ended within this time (None: however long it takes)."""
        if self._pidfd is not None:
            poller = poll()
            poller.register(self._pidfd, POLLIN)
            return bool(poller.poll(None if seconds is None else seconds * 1000))
        deadline = None if seconds is None else time.monotonic() + seconds
        while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(_TICK)
        return True

    def end(self, *, timed_out: bool) -> Ended:
        """End the process if it runs, and whatever is left of its group; take its figures."""
        if not self.wait(0):
            for number, seconds in self._way.steps:
                self._send(number)
                if self._ends_within(seconds):
                    break
        with self._interrupts.held():
            # A leader that has ended is not yet waited for, so nobody else can have got its number.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            _, status, usage = os.wait4(self.pid, 0)
            seconds = time.perf_counter() - self._began
            self.pid = 0
            if self._pidfd is not None:
                os.close(self._pidfd)
        code = os.waitstatus_to_exitcode(status)
        return Ended(
            seconds=seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            timed_out=timed_out,
        )

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            send = os.killpg if self._way.group else os.kill
            send(self.pid, number)
            send(self.pid, signal.SIGCONT)  # a stopped process takes no other signal

    def _ends_within(self, seconds: float) -> bool:
        """Wait so long, or until somebody who sends one more signal wants it faster."""
        deadline, told = time.monotonic() + seconds, self._interrupts.count
        while not self.wait(_TICK):
            if time.monotonic() >= deadline or self._interrupts.count > told:
                return False
        return True
