"""A run's events as JSON lines, for programs: one object a line, numbered without a gap.

It writes to a file of ours, which a resumed run goes on with, or to a pipe, a terminal or a descriptor the caller
opened. It must never hurt the run: when a line cannot be written it stops, and says at the end where it did. What is in
the lines is described in docs/reference/events.md.
"""

import errno
import fcntl
import json
import os
import re
import select
import stat
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from socket import MSG_DONTWAIT, socket
from typing import IO, Any, NoReturn

from buildrunner import destination
from buildrunner.errors import UsageError
from buildrunner.events import Event, JobEnded, Tick
from buildrunner.job import JobState
from buildrunner.ledger import RunRow
from buildrunner.naming import display
from buildrunner.reports.github import inert
from buildrunner.summary import attempt_document, rounded, stamp

SCHEMA = "buildrunner.events/1"
_MARK = json.dumps({"schema": SCHEMA}).removesuffix("}").encode()  # by which a file of ours is known again
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")
_STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_MOST_WAITING = 16 << 20  # bytes kept for a reader that does not keep up
_LAST_WAIT = 5.0  # seconds it has left when the run has ended
_READER_COMES_WITHIN = 10.0  # seconds, to a named pipe
_TICK = 0.5
_LEFT_OUT = ("jobs", "past")  # of a run's start: as long as the run has jobs, and `plan --json` gives them
_CHUNK = 1 << 16


class JsonLines:
    """A listener that writes every event but Tick as one line of JSON.

    `tick` is None for files; to pipes, which may be full, it tries again when nothing happens.
    """

    def __init__(self, path: str, *, resumed: bool = False) -> None:
        """UsageError when nothing can be written there. A pipe is opened now, a file only by `begin`.

        A run that is `resumed` from its record goes on without what was a descriptor of an earlier process.
        """
        self._path = path
        self._fd: int | None = None
        self._ours = False  # a file that may be truncated
        self._seq = 0
        self._waiting: deque[tuple[int, str, bytes]] = deque()  # number, event, what is left of its line
        self._why = ""
        self._socket: socket | None = None
        self.tick: float | None = None
        number = _STANDARD.get(path)
        if number is None and (match := _DESCRIPTOR.fullmatch(path)):
            number = int(match[1])
        if number is not None:
            if resumed and number > 2:
                self._why = "it belonged to the process that was interrupted"
            else:
                self._fd = self._take_descriptor(number)
        elif _is_stream(path):
            self._fd = self._open_stream()
        else:
            destination.check(path, what="the events", option="--events FILE", ours=_is_ours)
        if self._fd is not None and stat.S_ISSOCK(os.fstat(self._fd).st_mode):
            self._socket = socket(fileno=os.dup(self._fd))
        if self._socket or (self._fd is not None and not os.get_blocking(self._fd)):
            self.tick = _TICK

    def begin(self, run: RunRow, files: Mapping[str, str], *, resumed: bool) -> None:
        """The run whose events come; `files` gives each job's name in the output folder.

        With `resumed` a file that ends with this run's events is continued, otherwise it is begun anew. Raises
        UsageError when the file has become somebody else's.
        """
        self._run, self._files = run, files
        if self._fd is None and not self._why:
            self._fd = self._open_file()
            self._ours = True
            self._seq = self._go_on(self._fd, run.name) if resumed else 0
            if not self._seq:
                os.ftruncate(self._fd, 0)

    def on_event(self, event: Event, /) -> None:
        """Write its line, and at once."""
        if self._why or self._fd is None:
            return
        if not isinstance(event, Tick):
            self._seq += 1
            document = self._document(event)
            self._waiting.append((self._seq, document["event"], inert(json.dumps(document)).encode("ascii") + b"\n"))
        self._write()

    def close(self) -> str | None:
        """End it; a sentence when events are missing."""
        deadline = time.monotonic() + _LAST_WAIT
        while self._fd is not None and self._waiting and not self._why:
            if (left := deadline - time.monotonic()) <= 0:
                self._why = "nobody reads them"
                break
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll(left * 1000)
            self._write()
        if self._socket:
            self._socket.close()
        if self._fd is not None:
            with suppress(OSError):
                os.close(self._fd)
        self._fd = self._socket = None
        if not self._why:
            return None
        number, name, _ = self._waiting[0] if self._waiting else (1, "run_started", b"")
        return f"the events in {display(self._path)} are incomplete from number {number:,} ({name}) on: {self._why}"

    def _document(self, event: Event) -> dict[str, Any]:
        document = {
            "schema": SCHEMA,
            "seq": self._seq,
            "time": stamp(time.time()),
            "event": name_of(type(event)),
            "run": self._run.name,
        }
        if not isinstance(event, JobEnded):
            names = (field.name for field in fields(event) if field.name not in _LEFT_OUT)
            values = ((name, getattr(event, name)) for name in names)
            return document | {name: rounded(value) if isinstance(value, float) else value for name, value in values}
        receipt = event.receipt
        return document | {
            "job": receipt.job,
            "attempt": receipt.attempt,
            "receipt": attempt_document(
                self._run,
                receipt,
                name=receipt.job,
                file=self._files[receipt.job],
                state=JobState.WAITING if event.state is JobState.READY else event.state,
                attempts=receipt.number,
                number=None if event.final else receipt.number,
            ),
            "final": event.final,
            "done": event.done,
            "total": event.total,
        }

    def _write(self) -> None:
        """Write what waits; a line is one write, unless its reader leaves no room for that."""
        assert self._fd is not None
        end = os.fstat(self._fd).st_size if self._ours else 0
        torn = 0
        try:
            while self._waiting:
                number, name, line = self._waiting[0]
                sent = self._send(line)
                torn += sent
                if sent < len(line):
                    self._waiting[0] = (number, name, line[sent:])
                    continue
                self._waiting.popleft()
                end, torn = end + torn, 0
        except BlockingIOError:
            if sum(len(line) for _, _, line in self._waiting) > _MOST_WAITING:
                self._why = "their reader does not keep up"
        except OSError as exc:
            self._why = exc.strerror or str(exc)
            if self._ours:
                with suppress(OSError):  # half a line is worse than none
                    os.ftruncate(self._fd, end)

    def _send(self, data: bytes) -> int:
        assert self._fd is not None
        return self._socket.send(data, MSG_DONTWAIT) if self._socket else os.write(self._fd, data)

    def _refuse(self, why: str) -> NoReturn:
        raise UsageError(f"cannot write the events {display(self._path)}: {why}; name a file with --events FILE")

    def _take_descriptor(self, number: int) -> int:
        """A descriptor of the same open file, or where that is possible one that can be made not to block."""
        try:
            mode = os.fstat(number).st_mode
            if number > 2 and not os.get_inheritable(number):
                self._refuse("the caller opened no such descriptor")  # a number of our own may be the ledger's
            if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                self._refuse("it is open for reading only")
            if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
                with suppress(OSError):
                    return os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            return os.dup(number)
        except OSError as exc:
            self._refuse(exc.strerror or str(exc))

    def _open_stream(self) -> int:
        """A named pipe or a device, opened once: closing it in between would be its end to its reader."""
        deadline = time.monotonic() + _READER_COMES_WITHIN
        while True:
            try:
                return os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            except OSError as exc:
                if exc.errno != errno.ENXIO:
                    self._refuse(exc.strerror or str(exc))
                if time.monotonic() > deadline:
                    self._refuse("nobody reads this pipe (start its reader first)")
            time.sleep(0.02)

    def _open_file(self) -> int:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        except OSError as exc:
            self._refuse(exc.strerror or str(exc))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with open(fd, "rb", closefd=False) as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode) or (os.fstat(fd).st_size and not _is_ours(file)):
                    self._refuse("what is there is none of ours")
        except BlockingIOError:
            os.close(fd)
            self._refuse("another run writes it")
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _go_on(self, fd: int, run: str) -> int:
        """The number of the file's last whole event, 0 when that is not this run's; a torn line is ended."""
        size = reach = os.fstat(fd).st_size
        last: dict[str, Any] = {}
        text = b""
        while reach and not last:
            start = max(0, reach - _CHUNK)
            text = os.pread(fd, reach - start, start) + text
            reach = start
            whole = text.split(b"\n")[0 if not start else 1 : -1]
            last = next((event for line in reversed(whole) if (event := _event(line))), {})
        if last.get("run") != run:
            return 0
        if os.pread(fd, 1, size - 1) != b"\n":
            os.write(fd, b"\n")
        number: int = last["seq"]
        return number


def name_of(kind: type[Event]) -> str:
    """An event's name in the lines: `run_started` for RunStarted."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def _event(line: bytes) -> dict[str, Any]:
    """The event a line holds; empty for one that was torn."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) and isinstance(event.get("seq"), int) else {}


def _is_ours(file: IO[bytes]) -> bool:
    return file.read(len(_MARK)) == _MARK


def _is_stream(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
