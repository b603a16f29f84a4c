"""INT, TERM and HUP while a run goes on: they end it in good order, wherever it is."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from buildrunner.errors import BuildrunnerError
from buildrunner.ledger import RunRow
from buildrunner.loop import Loop
from buildrunner.reports.words import command

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a run."""


class Interrupted(BuildrunnerError):
    """A signal came when no script ran any more."""

    def __init__(self, number: int, run: RunRow) -> None:
        super().__init__(f"interrupted while packaging; `{command(run, 'package')}` makes the zip")
        self.exit_code = 128 + number


class Signals:
    """What a signal does now: it stops the loop while there is one, and breaks off the packaging.

    `first` is the number of the first one that came. `handled` says whether they come here at all; else whoever called
    has signals of its own.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self.handled = False
        self._loop: Loop | None = None
        self._packaging: RunRow | None = None

    @contextmanager
    def handling(self, wanted: bool) -> Iterator[None]:
        """Handle them while this lasts (main thread only). A signal that is ignored stays so."""
        if not wanted:
            yield
            return
        self.handled = True
        before = {number: signal.getsignal(number) for number in ENDING}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._came)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def stopping(self, loop: Loop, wakeup_fd: int) -> Iterator[None]:
        """While this lasts they stop the loop, also one that came before; a byte at `wakeup_fd` ends its waiting."""
        self._loop = loop
        before = None
        if threading.current_thread() is threading.main_thread():
            before = signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
        try:
            if self.first is not None and not loop.stopped:
                loop.ask_stop()
            yield
        finally:
            self._loop = None
            if before is not None:
                signal.set_wakeup_fd(before)

    @contextmanager
    def breaking_off(self, run: RunRow) -> Iterator[None]:
        """While this lasts they raise Interrupted, also one that came before."""
        self._packaging = run
        try:
            if self.first is not None:
                raise Interrupted(self.first, run)
            yield
        finally:
            self._packaging = None

    def stop(self) -> None:
        """Stop the loop as a signal would."""
        if self._loop:
            self._loop.ask_stop()

    def _came(self, number: int, _: object) -> None:
        self.first = self.first or number
        if self._packaging:
            raise Interrupted(number, self._packaging)
        self.stop()
