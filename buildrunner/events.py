"""What a run tells its listeners while it goes on."""

from dataclasses import dataclass
from typing import Protocol

from buildrunner.receipt import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The first scripts are about to start. `done` counts what a resumed run has behind it."""

    run: str
    target: str
    total: int
    done: int
    workers: int
    python: str
    python_why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnded:
    """An attempt's receipt is committed. `final` says whether the job is decided by it, else it is tried again."""

    receipt: Receipt
    final: bool
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost:
    """A worker process died and was replaced; `lost` attempts had started and ended with it."""

    worker: int
    pid: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """Nothing new starts any more, and why; `ends_running` when what runs is ended too."""

    reason: str
    ends_running: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaging:
    """The scripts are done; the zip is being made."""

    path: str


Event = RunStarted | JobEnded | WorkerLost | Stopping | Packaging


class Listener(Protocol):
    """Whoever wants to know. Called on the server's own thread: be quick."""

    def on_event(self, event: Event, /) -> None:
        """Take notice of one event."""
