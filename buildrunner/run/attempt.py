"""One attempt: start the script, watch it, end it if need be, and say how it ended.

The script becomes the leader of its own session with default signals, an empty mask, /dev/null as input and
its output going straight to files, so that no pipe of ours can be held open by what it leaves behind.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the signal module without its enums
import errno
import os
import stat
import sys
import time
from select import POLLIN, poll

from buildrunner.run import outputs
from buildrunner.run.pidfd import open_pidfd

TYPE_CHECKING = False  # as in typing, which is too big to import here
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType
    from typing import Any

    from buildrunner.run.group import Group
    from buildrunner.run.limits import Limits, Watch

    # The fields of job.Assignment in their order.
    Assignment = tuple[
        str, str, int, tuple[str, ...], str | None, tuple[tuple[str, str], ...],
        str, str, str, float | None, float,
    ]  # fmt: skip

LOCK = ".buildrunner-lock"
"""Lies in the output folder as long as that is the one the run began with."""

UNREADABLE = "./"
"""Stands among the outputs that were passed over for a folder that could not be looked through."""

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
_SIGNALS = [s for s in _signal.valid_signals() if s not in (_signal.SIGKILL, _signal.SIGSTOP)]
_RSS_MARGIN = 1 << 20  # how much this process may have grown since it last looked at itself
_LONGEST_POLL = 1e9  # milliseconds; the kernel counts them in 31 bits
_PATIENCE = 60.0  # seconds a script may wait for the system to have room for one more process
_BETWEEN_TRIES = 0.05  # seconds
_OF_FILES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # which no program's own start ends in
_LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Newborn(BaseException):
    """Raised in a process that a fork has made a script of: its code and namespace, and nothing else, go on.

    `is_told`: whether it may have itself told of what Python does, of which nothing can be seen later.
    """

    def __init__(self, code: CodeType, space: dict[str, Any], is_told: bool) -> None:
        self.code = code
        self.space = space
        self.is_told = is_told


class Slot:
    """What stays from one attempt to the next: the environment, a folder kept ready, the way home.

    `on_message` is called when the queue has something to read while a script runs; it may call `stop`. `group` is the
    control group this process and all its scripts are in, where there is one.
    """

    def __init__(
        self,
        queue: int,
        env: dict[str, str],
        ready: str,
        worker: int,
        on_message: Callable[[], None],
        group: Group | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.queue = queue
        self.env = {os.fsencode(k): os.fsencode(v) for k, v in env.items()}
        self.ready = ready
        self.worker = worker
        self.on_message = on_message
        self.group = group
        self.limits = limits
        self.own_pid = os.getpid()
        self.home = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
        self.poller = poll()
        self.poller.register(queue, POLLIN)
        self.pid = 0
        self.waiting = False  # for room for one more process
        self.hashing = 0
        self.mode = "cold"
        self.why_cold: str | None = None  # where others are warm
        self.reason: str | None = None
        self.kill_at: float | None = None
        self.own_rss = 0
        self.children = _child_pipe_unless_pidfd()

    def run(self, a: Assignment) -> tuple[Any, ...]:
        """Carry out one assignment; returns the receipt's fields in order."""
        attempt, job, number, argv, cwd, env, stdout, stderr, output_dir, timeout, grace = a
        started = time.time()
        outcome, code, signal, error = "spawn_error", None, None, None
        seconds, cpu, rss = 0.0, 0.0, None
        found: outputs.Found = ((), ())
        placed = False
        cut: tuple[tuple[str, int], ...] = ()
        self.reason = self.kill_at = None
        try:
            self._place_folder(output_dir)
            placed = True
            begin = time.monotonic()
            try:
                self._spawn(argv, cwd, env, stdout, stderr)
            except BlockingIOError:
                self._await_room(begin + _PATIENCE, argv, cwd, env, stdout, stderr)
                begin = time.monotonic()
            except FileNotFoundError:
                _make_again(os.path.dirname(stdout))
                self._spawn(argv, cwd, env, stdout, stderr)
        except OSError as exc:
            error = _why_not_started(exc, argv, cwd, stdout, None if placed else output_dir)
            if self.reason:
                outcome, error = self.reason, None  # it was told to end while it waited for its turn
            if placed:
                found = self._take_outputs(output_dir)
        else:
            watch = self._minder(stdout, stderr) if self.limits else None
            status, usage = self._watch(None if timeout is None else begin + timeout, grace, watch)
            seconds = time.monotonic() - begin
            cpu = usage.ru_utime + usage.ru_stime
            rss = self._true_rss(usage.ru_maxrss * _RSS_UNIT)
            if os.WIFSIGNALED(status):
                signal = os.WTERMSIG(status)
                outcome = "signalled"
            else:
                code = os.WEXITSTATUS(status)
                outcome = "exited" if code else "ok"
            if self.reason:
                outcome = self.reason
            if watch:
                if watch.overran():
                    outcome = self.reason or "out_of_memory"
                error, cut = watch.why, watch.cut()
            found = self._take_outputs(output_dir)
        receipt = (
            attempt, job, number, self.worker, self.mode, outcome, code, signal, started, seconds, cpu, rss,
            *found, error,
        )  # fmt: skip
        if self.why_cold:
            return (*receipt, cut, self.why_cold)
        return (*receipt, cut) if cut else receipt

    def stop(self, reason: str, grace: float) -> None:
        """End the running script: TERM now and KILL after `grace` seconds; KILL at once when that is 0."""
        if self.hashing and grace <= 0:
            os.kill(self.hashing, _signal.SIGKILL)  # what it left is then not vouched for
        if self.waiting:
            self.reason = self.reason or reason
        if not self.pid or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
            return  # one that has ended by itself ended in its own way
        self.reason = self.reason or reason
        if grace > 0 and self.kill_at is None:
            self._signal(_signal.SIGTERM)
            self._signal(_signal.SIGCONT)  # a stopped script takes no TERM
            self.kill_at = time.monotonic() + grace
        elif grace <= 0:
            self.kill_at = None
            self._signal(_signal.SIGKILL)

    def close(self) -> None:
        """End what is left in the control groups, and remove the folder kept ready."""
        if self.group:
            self.group.end(self.own_pid)
        if self.limits and self.limits.group:
            self.limits.group.end()
        try:
            os.rmdir(self.ready)
        except OSError:
            pass

    def _spawn(
        self,
        argv: tuple[str, ...],
        cwd: str | None,
        extra: tuple[tuple[str, str], ...],
        stdout: str,
        stderr: str,
    ) -> None:
        if "/" not in argv[0]:
            raise FileNotFoundError(2, "not found on PATH", argv[0])
        env = self.env.copy()
        for key, value in extra:
            env[os.fsencode(key)] = os.fsencode(value)
        if cwd is not None:
            os.chdir(cwd)
        try:
            self.pid = os.posix_spawn(
                argv[0],
                argv,
                env,
                file_actions=(
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, stdout, _LOG_FLAGS, 0o666),
                    (os.POSIX_SPAWN_OPEN, 2, stderr, _LOG_FLAGS, 0o666),
                ),
                setsid=True,
                setsigmask=(),
                setsigdef=_SIGNALS,
            )
        finally:
            if cwd is not None:
                os.fchdir(self.home)

    def _await_room(self, until: float, *call: Any) -> None:
        """Try to start it again and again, minding the queue: others have taken all the processes there may be."""
        self.waiting = True
        try:
            while True:
                if self.poller.poll(_BETWEEN_TRIES * 1000):
                    self.on_message()
                if self.reason or time.monotonic() > until:
                    raise BlockingIOError(errno.EAGAIN, "no room for one more process")
                try:
                    return self._spawn(*call)
                except BlockingIOError:
                    pass
        finally:
            self.waiting = False

    def _minder(self, stdout: str, stderr: str) -> Watch:
        assert self.limits
        return self.limits.watch(self.pid, self._members, {"stdout": stdout, "stderr": stderr})

    def _members(self) -> Iterator[int]:
        """The processes of the attempt that runs."""
        assert self.limits
        if self.group:
            return (pid for pid in self.group.members() if pid != self.own_pid)
        return self.limits.family(self.pid)

    def _watch(self, deadline: float | None, grace: float, watch: Watch | None) -> tuple[int, Any]:
        """Wait for the script's end, minding its deadline, its limits and the queue. Returns wait status and usage."""
        pidfd = self.children or os.pidfd_open(self.pid)
        self.poller.register(pidfd, POLLIN)
        try:
            while True:
                until = self.kill_at if self.kill_at is not None else deadline
                wait = None if until is None else min(max(0.0, until - time.monotonic()) * 1000, _LONGEST_POLL)
                if watch:
                    wait = min(_LONGEST_POLL if wait is None else wait, watch.pause * 1000)
                ready = self.poller.poll(wait)
                if watch and not ready and watch.over():
                    self.stop("out_of_memory", 0)
                if not ready and until is not None and time.monotonic() >= until:
                    if self.kill_at is not None:
                        self.stop(self.reason or "timed_out", 0)
                    else:
                        deadline = None
                        self.stop("timed_out", grace)
                for fd, _ in ready:
                    if fd == self.queue:
                        self.on_message()
                    elif not self.children or self._child_ended():
                        return self._reap()
        finally:
            self.poller.unregister(pidfd)
            if not self.children:
                os.close(pidfd)

    def _reap(self) -> tuple[int, Any]:
        # The leader is a zombie, so its number cannot have been given to anybody else yet.
        self._signal(_signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        self.pid = 0
        if self.group:
            self.group.end(self.own_pid)  # what left its session
        return status, usage

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # all gone; macOS says EPERM for a zombie's group
            pass

    def _child_ended(self) -> bool:
        assert self.children is not None
        os.read(self.children, 4096)
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _true_rss(self, measured: int) -> int | None:
        # posix_spawn's child shares this process's memory until exec, and Linux counts that as the child's.
        if sys.platform != "linux":
            return measured
        # A peak never falls, so at or below what this process last saw of its own there is no doubt. Far above there is
        # none either: what could make this process grow by that much makes it forget what it saw.
        if self.own_rss < measured < self.own_rss + _RSS_MARGIN or not self.own_rss:
            try:
                with open("/proc/self/status", "rb", buffering=0) as status:
                    self.own_rss = int(status.read().partition(b"VmHWM:")[2].split()[0]) * 1024
            except OSError:  # the script took away what it may open
                return None
        return measured if measured > self.own_rss else None

    def _place_folder(self, output_dir: str) -> None:
        """Put the ready folder where the script expects it; the server has seen to it that nothing is there."""
        try:
            os.rename(self.ready, output_dir)
        except FileNotFoundError:
            try:
                os.mkdir(self.ready)
            except FileNotFoundError:
                _make_again(os.path.dirname(self.ready))
                os.mkdir(self.ready)
            except FileExistsError:
                pass
            os.rename(self.ready, output_dir)

    def _take_outputs(self, output_dir: str) -> outputs.Found:
        try:
            if not stat.S_ISDIR(os.lstat(output_dir).st_mode):
                return (), (UNREADABLE,)  # the script put a link in its place: what is behind it is not its output
            if not os.listdir(output_dir):
                os.rename(output_dir, self.ready)
                return (), ()
            if (few := outputs.hash_few(output_dir)) is not None:
                return few
        except FileNotFoundError:
            if os.path.isdir(os.path.dirname(output_dir)):
                return (), ()  # the script removed it
            return (), (UNREADABLE,)
        except OSError:
            return (), (UNREADABLE,)
        try:
            pid, reader = outputs.start_hashing(output_dir)
        except OSError:  # no process to be had; the script's own ending still counts
            return (), (UNREADABLE,)
        self.hashing = pid
        self.poller.register(reader, POLLIN)
        data = b""
        try:
            while True:
                for fd, _ in self.poller.poll():
                    if fd == self.queue:
                        self.on_message()
                        continue
                    part = os.read(reader, 1 << 20)
                    if not part:
                        return outputs.finish_hashing(data)
                    data += part
        finally:
            self.poller.unregister(reader)
            os.close(reader)
            os.kill(pid, _signal.SIGKILL)  # a zombie by now, unless the server went away
            os.waitpid(pid, 0)
            self.hashing = 0
            self.own_rss = 0  # a long list of files made this process grow


def _make_again(folder: str) -> None:
    """Make one of the two folders of the output folder again where it is missing: any script can remove it.

    FileNotFoundError where the output folder is not the one the run began with, as when its disk is gone: nobody would
    find there what is written.
    """
    os.lstat(os.path.join(os.path.dirname(folder), LOCK))
    try:
        os.mkdir(folder)
    except FileExistsError:
        pass


def _child_pipe_unless_pidfd() -> int | None:
    """Where there is no pidfd: a pipe that becomes readable when a child ends."""
    if (own := open_pidfd(os.getpid())) is not None:
        os.close(own)
        return None
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    _signal.signal(_signal.SIGCHLD, lambda *_: None)
    _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def _why_not_started(exc: OSError, argv: tuple[str, ...], cwd: str | None, stdout: str, unplaced: str | None) -> str:
    reason = exc.strerror or str(exc)
    if unplaced is not None:
        return f"cannot start: its output folder {unplaced} cannot be made: {reason}"
    if cwd is not None and not os.path.isdir(cwd):
        return f"cannot start: its working directory {cwd} is missing"
    if not os.path.isdir(os.path.dirname(stdout)):
        return f"cannot start: the log folder {os.path.dirname(stdout)} is missing"
    if exc.errno == errno.EAGAIN:
        return (
            f"cannot start {argv[0]}: for {_PATIENCE:.0f} s there was no room for one more process; "
            "raise the limit with `ulimit -u`, or run fewer at once with -j"
        )
    if exc.errno == 2:
        return f"cannot start: the program {argv[0]} was not found; install it, or put its folder on PATH"
    if exc.errno in _OF_FILES:
        return f"cannot start: its log {stdout} cannot be written: {reason}"
    return f"cannot start {argv[0]}: {reason}"
