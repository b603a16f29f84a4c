"""The live screen: what every worker is at, how far the run is, and what went wrong, redrawn in place on a terminal.

    failures and warnings, as they happen        (printed once, they scroll away like any output)
    ━━━━━━━━──────────── 120/285 · 2 failed      ◀ the cursor rests here, at the block's beginning
    1 min 02 s so far · 1 min 20 s ± 5.0 s left
    worker 0  plot_kmeans.py     12 s of about 15 s
    worker 1  plot_svm.py         4.1 s of about 1.2 s  slow

A terminal that is made narrower breaks the block's lines anew and keeps the cursor at the text where it was: at the
block's beginning, from which everything is drawn again. So nothing has to be known about how it breaks lines, and
no older frame stays behind (a redraw that goes up by the lines it wrote does leave some). Only a block that no longer
fits the screen once its lines are broken may leave its head among what has scrolled away; so lines are no longer than
what they say.
"""

import os
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from typing import TextIO

from rich.console import Console
from rich.text import Text

from buildrunner.events import (
    Event,
    JobDropped,
    JobEnded,
    JobReturned,
    JobStarted,
    Packaged,
    Packaging,
    RunEnded,
    RunStarted,
    Stopping,
    WorkerLost,
)
from buildrunner.forecast import Outlook
from buildrunner.job import UNSPENT, JobState
from buildrunner.naming import display
from buildrunner.reports.words import (
    about,
    count,
    ended_line,
    rate,
    run_line,
    seconds,
    stopping_line,
    time_left,
    worker_line,
)

SLOW = 3.0  # times its usual duration, from which on a script is called slow
_SLOW_AT_LEAST = 1.0  # seconds a script must have had before anybody worries
_FRAME = 0.1  # seconds between two drawings at the least
_STALE = 1.0  # seconds after which a drawing is repeated although nothing in it has changed
_WINDOW = 30.0  # seconds the throughput is taken from
_BAR = 20  # columns
_WIDE = 100  # columns; below, the times have a line of their own
_NARROW = 60  # columns; below, lanes are labelled with the bare number
_TINY = 30  # columns; below, lanes do without the usual time
_SMALLEST = 10  # columns; a narrower terminal is drawn as if it had these


class Screen:
    """A listener that draws. `close` leaves the terminal as it was, whatever has happened.

    What happens is shown with the next frame, so however much happens, no more than ten frames a second are drawn.
    """

    tick = 0.2

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        colours = Console(file=stream)
        self._console = Console(
            file=StringIO(),
            force_terminal=True,
            color_system=None if colours.no_color else colours.color_system,  # type: ignore[arg-type]  # its own names
            highlight=False,
            emoji=False,
            markup=False,
            width=10_000,
        )
        self._plain = not _can_say("━─·…±", stream)
        self._lanes: dict[int, deque[_Lane]] = {}
        self._outlook: Outlook | None = None
        self._began = self._drawn = self._written = clock()
        self._ends: deque[float] = deque()
        self._workers = self._total = self._done = self._failed = self._started_with = 0
        self._warned: set[str] = set()
        self._name_width = 0  # columns
        self._stopping = False
        self._packaging = ""
        self._above: list[str] = []  # lines that stay, to be written with the next frame
        self._frame: tuple[str, int, int] | None = None  # the block that stands on the terminal, and for which size

    def on_event(self, event: Event, /) -> None:
        """Take notice, and draw when the last drawing is old enough."""
        now = self._clock()
        match event:
            case RunStarted():
                self._began = now
                self._total, self._done, self._started_with = event.total, event.done, event.done
                self._workers = event.workers
                self._outlook = Outlook(event.jobs, event.past, workers=event.workers)
                self._print(run_line(event))
                for notice in event.notices:
                    self._print(f"note: {notice}", "yellow")
                self._draw(now)
            case JobStarted():
                lane = self._lanes.setdefault(event.worker, deque())
                lane.append(_Lane(event, now))
                if len(lane) == 1:
                    self._begins(lane[0], now)
            case JobReturned():
                self._returned(event)
            case JobEnded():
                self._ended(event, now)
            case JobDropped():
                self._done = event.done
                if self._outlook:
                    self._outlook.dropped(event.job)
            case WorkerLost():
                self._print(worker_line(event), "yellow")
            case Stopping():
                self._stopping = True
                self._print(stopping_line(event), "yellow")
            case Packaging():
                self._packaging = f"packaging {display(event.path)}"
                self._drawn = float("-inf")
            case Packaged():
                pass
            case RunEnded():
                self._finish(event)
                return
        self._warn(now)
        if now - self._drawn >= _FRAME:
            self._draw(now)

    def close(self) -> None:
        """Take the block off the terminal; what happened last is still said."""
        if self._frame or self._above:
            self._write("\r\x1b[J" + self._said())
            self._frame = None

    def suspend(self, *_: object) -> None:
        """What Ctrl-Z does: take the block off the terminal, then stop; it is drawn anew when the run goes on."""
        with suppress(OSError):
            os.write(self._stream.fileno(), b"\r\x1b[J")  # the stream itself may be in the middle of a write
        self._frame = None
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self.suspend)

    def _begins(self, lane: "_Lane", now: float) -> None:
        lane.since = now
        if self._outlook:
            self._outlook.started(lane.job, now)

    def _returned(self, event: JobReturned) -> None:
        for worker, lane in self._lanes.items():
            kept = deque(one for one in lane if one.attempt != event.attempt)
            if len(kept) < len(lane):
                at_work = lane[0].attempt == event.attempt
                self._lanes[worker] = kept
                if at_work and self._outlook:  # it was thought to run, but had not begun
                    self._outlook.returned(event.job)
                    if kept:
                        self._begins(kept[0], self._clock())

    def _ended(self, event: JobEnded, now: float) -> None:
        receipt = event.receipt
        self._done = max(self._done, event.done)
        ours = False  # not what an earlier server left behind, of which is heard only now
        for lane in self._lanes.values():
            if lane and lane[0].attempt == receipt.attempt:
                ours = True
                lane.popleft()
                if lane:
                    self._begins(lane[0], now)
        if self._outlook:
            if ours and receipt.outcome not in UNSPENT:
                self._outlook.ended(receipt.job, receipt.seconds)
            else:  # its time says nothing about how long scripts take
                self._outlook.dropped(receipt.job)
            if not event.final:
                self._outlook.returned(receipt.job)
        if ours:
            self._ends.append(now)
        if receipt.passed:
            return
        self._failed += event.state is JobState.FAILED
        self._print(ended_line(event), "red" if event.state is JobState.FAILED else "yellow")

    def _warn(self, now: float) -> None:
        for lane in self._lanes.values():
            if lane and lane[0].is_slow(now) and lane[0].attempt not in self._warned:
                one = lane[0]
                self._warned.add(one.attempt)
                had, usual = seconds(now - one.since), seconds(one.usual)
                self._print(f"slow: {display(one.job)} has run for {had}, usually {usual}", "yellow")

    # drawing

    def _print(self, line: str, style: str = "") -> None:
        """One line that stays, above the block."""
        self._above.append(self._rendered(Text(self._speakable(line), style=style)))

    def _said(self) -> str:
        """The lines that have not been written yet, and now are."""
        lines, self._above = self._above, []
        return "".join(line + "\r\n" for line in lines)

    def _finish(self, event: RunEnded) -> None:
        totals = event.totals
        states = ", ".join(
            f"{totals[s]:,} {s}" for s in ("passed", "failed", "skipped", "cancelled", "waiting") if totals[s]
        )
        self._print(
            f"{event.state}: {count(totals['jobs'], 'script')}, {states}, in {seconds(event.wall_seconds)}",
            "bold green" if event.exit_code == 0 else "bold red",
        )
        self.close()

    def _draw(self, now: float) -> None:
        if self._outlook is None:
            return  # nothing is announced yet
        self._drawn = now
        width, height = self._size()
        lines = [self._rendered(line, width) for line in self._block(now, width, height)]
        block = "\x1b[K\r\n".join(lines) + "\x1b[K\x1b[J"
        if len(lines) > 1:
            block += f"\x1b[{len(lines) - 1}A"
        frame = (block, width, height)
        if frame == self._frame and not self._above and now - self._written < _STALE:
            return
        self._write("\r" + ("\x1b[J" + self._said() if self._above else "") + block + "\r")
        self._frame, self._written = frame, now

    def _block(self, now: float, width: int, height: int) -> list[Text]:
        """What stands on the screen, as lines: never more than fit."""
        head = self._progress(now, width, max(1, (height - 1) // 2))
        if self._packaging:
            return [*head, Text(self._speakable(self._packaging), style="dim")][: height - 1]
        busy = sorted((worker, lane[0]) for worker, lane in self._lanes.items() if lane)
        room = height - 1 - len(head)
        if len(busy) <= room:
            return [*head, *(self._lane(*b, now, width) for b in busy)]
        shown = sorted(sorted(busy, key=lambda b: b[1].since)[: max(0, room - 1)])
        more = Text(f"{'...' if self._plain else '…'} and {len(busy) - len(shown):,} more at work", style="dim")
        return [*head, *(self._lane(*b, now, width) for b in shown), more][: height - 1]

    def _progress(self, now: float, width: int, most: int) -> list[Text]:
        """The bar, counts, throughput and time left, on as many lines as they need but not more than so many."""
        parts = [Text(f"{self._done:,}/{self._total:,}", style="bold")]
        if self._failed:
            parts.append(Text(f"{self._failed:,} failed", style="bold red"))
        while self._ends and self._ends[0] < now - _WINDOW:
            self._ends.popleft()
        spare = []  # what a small terminal does without, first to last
        if self._ends and now > self._began:
            spare.append(Text(rate(len(self._ends) / min(_WINDOW, now - self._began))))
        so_far = Text(f"{about(now - self._began)} so far")
        parts += [*spare, so_far]
        spare.append(so_far)
        if self._stopping:
            parts.append(Text("stopping", style="bold yellow"))
        elif not self._packaging:
            parts.append(self._time_left(now))
        while len(lines := self._flowed(parts, width, own_line=so_far)) > most:
            parts.remove(spare.pop(0) if spare else parts[-1])
        return lines

    def _time_left(self, now: float) -> Text:
        left = self._outlook.remaining(now) if self._outlook else None
        return Text(time_left(left, "+-" if self._plain else "±")) if left else Text("time left unknown", style="dim")

    def _flowed(self, parts: list[Text], width: int, *, own_line: Text) -> list[Text]:
        """The bar and the parts, on as many lines as they need; always where one of them is, so that nothing jumps."""
        dot = " - " if self._plain else " · "
        lines = [Text()]
        if width >= 2 * _BAR:
            lines[0].append_text(self._bar()).append("  ")
        for index, part in enumerate(parts):
            full = lines[-1].cell_len + len(dot) + part.cell_len >= width and lines[-1].cell_len
            if full or (part is own_line and 2 * _BAR <= width < _WIDE):
                lines.append(Text())
            elif index:
                lines[-1].append(dot)
            lines[-1].append_text(part)
        return lines

    def _bar(self) -> Text:
        full, empty = ("#", "-") if self._plain else ("━", "─")
        filled = _BAR * self._done // self._total if self._total else _BAR
        return Text.assemble((full * filled, "red" if self._failed else "green"), (empty * (_BAR - filled), "dim"))

    def _lane(self, worker: int, one: "_Lane", now: float, width: int) -> Text:
        slow = one.is_slow(now)
        times = about(max(0.0, now - one.since))
        if width >= _TINY:
            times += f" of about {about(one.usual)}" if one.usual is not None else ", new"
        end = Text(f"  {times}", style="yellow" if slow else "")
        if one.number > 1:
            end.append(f"  attempt {one.number}", style="yellow")
        if slow:
            end.append("  slow", style="bold yellow")
        label = f"{'worker ' if width >= _NARROW else ''}{worker:>{len(str(self._workers - 1))}}  "
        name = Text(self._speakable(label + display(one.job)))
        room = max(_SMALLEST, width - 1 - end.cell_len)
        # As wide as names need so far, so that the times stand below one another, near their names and still.
        self._name_width = max(self._name_width, name.cell_len)
        name.truncate(min(room, self._name_width), overflow="crop" if self._plain else "ellipsis", pad=True)
        return name.append_text(end)

    def _speakable(self, text: str) -> str:
        """The text as the stream will write it: what an encoding cannot say takes more columns than it had."""
        encoding = self._stream.encoding or "ascii"
        return text.encode(encoding, "backslashreplace").decode(encoding)

    def _rendered(self, text: Text, width: int | None = None) -> str:
        """The text with its colours; cut where the terminal would break it, if a width is given."""
        if width is not None:
            text.truncate(width - 1, overflow="crop" if self._plain else "ellipsis")
        with self._console.capture() as capture:
            self._console.print(text, end="", soft_wrap=True)
        return capture.get()

    def _size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            width, height = 80, 24
        asked = os.environ.get("COLUMNS", "")
        if asked.isdecimal() and int(asked) > 0:
            width = min(width or int(asked), int(asked))
        return max(_SMALLEST, width or 80), max(2, height or 24)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._write = lambda text: None  # type: ignore[method-assign]  # nobody looks any more; the run goes on


class _Lane:
    """An attempt that lies with a worker; the first of a worker's runs, `since` then."""

    def __init__(self, event: JobStarted, since: float) -> None:
        self.job, self.attempt, self.number = event.job, event.attempt, event.number
        self.usual = event.usual
        self.since = since

    def is_slow(self, now: float) -> bool:
        """Whether it has run far longer than it usually does."""
        had = now - self.since
        return self.usual is not None and had >= _SLOW_AT_LEAST and had >= SLOW * self.usual


def _can_say(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
