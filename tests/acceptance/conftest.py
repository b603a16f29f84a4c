"""What tests of the program on a terminal share: a pseudo-terminal whose bytes an emulator reads."""

import fcntl
import os
import pty
import re
import signal
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pyte
import pytest

ENVIRONMENT = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}


class Terminal:
    """A pseudo-terminal; a thread reads what programs write to it. `controlling`: keys are signals to what runs."""

    def __init__(self, workspace: Any, columns: int, lines: int) -> None:
        self.workspace = workspace
        self.master, self.slave = pty.openpty()
        self.screen = pyte.Screen(columns, lines)
        self.emulator = pyte.ByteStream(self.screen)
        self.bytes = bytearray()
        self.lock = threading.Lock()
        self.resize(columns, lines)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            if not data:
                return
            with self.lock:
                self.bytes += data
                self.emulator.feed(data)

    def resize(self, columns: int, lines: int) -> None:
        with self.lock:
            self.screen.resize(lines, columns)
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def hang_up(self) -> None:
        """The terminal goes away."""
        os.close(self.slave)
        self.slave = -1
        master, self.master = self.master, -1
        os.close(master)

    @property
    def rows(self) -> list[str]:
        """What stands on it, without empty rows at the end."""
        with self.lock:
            return "\n".join(row.rstrip() for row in self.screen.display).rstrip("\n").split("\n")

    @property
    def text(self) -> str:
        return "\n".join(self.rows)

    @property
    def said(self) -> str:
        """All that was ever written, without codes."""
        return re.sub(r"\x1b\[[\d;]*[A-Za-z]|[\r\0]", "", self.written.decode())

    @property
    def written(self) -> bytes:
        with self.lock:
            return bytes(self.bytes)

    def start(
        self, *arguments: str, env: dict[str, str] | None = None, controlling: bool = False, **streams: Any
    ) -> Any:
        """Start the program on the terminal; `streams` says which of its streams are something else."""
        settings = {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave, **streams}
        if controlling:  # a program of three lines takes the terminal and becomes ours: no preexec_fn among threads
            take = (
                "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
                "os.execv(sys.executable, [sys.executable, '-m', 'buildrunner', *sys.argv[1:]])"
            )
            arguments = ("-c", take, *arguments)
        else:
            arguments = ("-m", "buildrunner", *arguments)
        return self.workspace.start_python(*arguments, env={**ENVIRONMENT, **(env or {})}, **settings)

    def run(self, *arguments: str, code: int = 0, env: dict[str, str] | None = None, **streams: Any) -> None:
        """Run the program on the terminal to its end, and read all it wrote."""
        self.finish(self.start(*arguments, env=env, **streams), code=code)

    def finish(self, process: Any, *, code: int) -> bytes:
        """Wait for a program's end, and until the terminal has what it wrote; returns its stdout if that was a pipe."""
        out, _ = process.communicate(timeout=120)
        if self.slave >= 0:
            mark = b"\0\x1b[0m\0"  # changes nothing that is shown
            os.write(self.slave, mark)
            while mark not in self.written[-4096:]:
                threading.Event().wait(0.005)
        assert process.returncode == code, self.text
        assert "Traceback" not in self.text
        return out or b""

    def close(self) -> None:
        for fd in (self.slave, self.master):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def terminal(workspace: Any) -> Iterator[Callable[..., Terminal]]:
    """Makes terminals of a size, 80×24 when not said."""
    opened: list[Terminal] = []

    def open_one(columns: int = 80, lines: int = 24) -> Terminal:
        opened.append(Terminal(workspace, columns, lines))
        return opened[-1]

    yield open_one
    for process in workspace.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
    for one in opened:
        one.close()
