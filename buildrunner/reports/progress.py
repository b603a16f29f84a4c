"""Plain progress lines on stderr while a run goes on."""

import errno
import time
from typing import TextIO

from buildrunner.errors import BuildrunnerError
from buildrunner.events import Event, JobDropped, JobEnded, Packaging, RunStarted, Stopping, WorkerLost
from buildrunner.naming import display
from buildrunner.reports.words import ended_line, run_line, stopping_line, worker_line

_EVERY_JOB_UP_TO = 200  # jobs; of more, what passed is only counted, once a second
_INTERVAL = 1.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # else nobody reads any more, and nobody misses it


class ProgressLines:
    """A listener that writes one line a job, or one a second when there are very many."""

    def __init__(self, stream: TextIO, *, verbose: bool = False, quiet: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._quiet = quiet
        self._total = 0
        self._failed = 0
        self._last = 0.0

    def on_event(self, event: Event, /) -> None:
        """Write what there is to say about one event."""
        match event:
            case RunStarted():
                self._total = event.total
                self._say(run_line(event))
                for notice in event.notices:
                    self._say(f"note: {notice}")
            case JobEnded():
                self._ended(event)
            case JobDropped() if event.total <= _EVERY_JOB_UP_TO or self._verbose:
                self._say(f"[{event.done:,}/{event.total:,}] {display(event.job)}: {event.state}, {event.reason}")
            case WorkerLost():
                self._say(worker_line(event))
            case Stopping():
                self._say(stopping_line(event))
            case Packaging():
                if self._verbose:
                    self._say(f"packaging {display(event.path)}")

    def _ended(self, event: JobEnded) -> None:
        receipt = event.receipt
        if not receipt.passed:
            self._failed += 1
        now = time.monotonic()
        if receipt.passed and self._total > _EVERY_JOB_UP_TO and not self._verbose:
            if now - self._last >= _INTERVAL or event.done == event.total:
                self._last = now
                self._say(f"[{event.done:,}/{event.total:,}] {self._failed:,} did not pass")
            return
        self._say(ended_line(event))

    def _say(self, line: str) -> None:
        if self._quiet:
            return
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError) as exc:
            self._quiet = True  # the run goes on
            if isinstance(exc, OSError) and exc.errno in _FULL:
                raise BuildrunnerError(f"{exc.filename}: {exc.strerror}; from then on the run was not shown") from exc
