"""What tests of the live screen share: a terminal that reads what is drawn, and a clock that stands still."""

import io
import os
from collections.abc import Callable

import pyte
import pytest

from buildrunner.events import JobEnded, JobStarted, RunEnded, RunStarted, Tick
from buildrunner.job import JobState, Outcome
from buildrunner.receipt import Receipt
from buildrunner.reports.screen import Screen


class Terminal(io.TextIOWrapper):
    """A stream that a terminal emulator reads; counts what is written. Its size can change."""

    def __init__(self, columns: int = 80, lines: int = 24, *, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="backslashreplace")
        self.screen = pyte.HistoryScreen(columns, lines, history=100_000)
        self.emulator = pyte.Stream(self.screen)
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        shown = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        self.writes.append(shown)
        self.emulator.feed(shown)
        return len(text)

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)

    @property
    def rows(self) -> list[str]:
        """What stands on it, without empty rows at the end."""
        return "\n".join(row.rstrip() for row in self.screen.display).rstrip("\n").split("\n")

    @property
    def everything(self) -> str:
        """What stands on it and what has scrolled away."""
        gone = ["".join(row[x].data for x in range(len(row) and max(row) + 1)) for row in self.screen.history.top]
        return "\n".join([*gone, *self.rows])


class Show:
    """A screen on a terminal, and shorthand for what happens in the run it shows."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, columns: int = 80, lines: int = 24, encoding: str = "utf-8", **env: str
    ) -> None:
        for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", **env}.items():
            monkeypatch.setenv(name, value)
        self.terminal = Terminal(columns, lines, encoding=encoding)
        monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size(self.size))
        monkeypatch.setattr(self.terminal, "fileno", lambda: 2)
        self.now = 1000.0
        self.screen = Screen(self.terminal, clock=lambda: self.now)
        self.done = self.total = 0
        self.at: dict[str, str] = {}

    @property
    def size(self) -> tuple[int, int]:
        return self.terminal.screen.columns, self.terminal.screen.lines

    @property
    def rows(self) -> list[str]:
        return self.terminal.rows

    def begin(self, names: list[str], *, workers: int = 2, past: dict[str, list[float]] | None = None) -> None:
        self.total = len(names)
        self.screen.on_event(
            RunStarted(
                run="r1", target="src", total=self.total, done=0, workers=workers, python="python3",
                python_why="first on PATH",                 jobs=names, past=past or {},
            )
        )  # fmt: skip

    def start(self, job: str, worker: int = 0, *, usual: float | None = None, number: int = 1) -> None:
        self.at[job] = f"{job}/{number}"
        self.screen.on_event(
            JobStarted(job=job, attempt=self.at[job], number=number, worker=worker, usual=usual, expected=usual)
        )

    def end(self, job: str, outcome: Outcome = Outcome.OK, seconds: float = 1.0, *, final: bool = True) -> None:
        self.done += final
        code = {Outcome.OK: 0, Outcome.EXITED: 3}.get(outcome)
        receipt = Receipt(
            attempt=self.at[job],
            job=job,
            number=1,
            worker=0,
            mode="cold",
            outcome=outcome,
            exit_code=code,
            seconds=seconds,
        )
        state = JobState.PASSED if outcome is Outcome.OK else JobState.FAILED if final else JobState.READY
        self.screen.on_event(JobEnded(receipt=receipt, state=state, final=final, done=self.done, total=self.total))

    def wait(self, seconds: float, *, step: float = 0.2) -> None:
        """Let time pass in which nothing happens."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + step)
            self.screen.on_event(Tick())

    def finish(self, exit_code: int = 0, state: str = "finished", **totals: int) -> None:
        none = dict.fromkeys(("passed", "failed", "skipped", "cancelled", "waiting"), 0)
        counts = {"jobs": self.total, **none, **totals}
        self.screen.on_event(RunEnded(run="r1", state=state, exit_code=exit_code, wall_seconds=12.0, totals=counts))

    def lane(self, word: str) -> str:
        """The one row that says this."""
        [row] = [row for row in self.rows if word in row]
        return row


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Show]:
    return lambda *args, **settings: Show(monkeypatch, *args, **settings)
