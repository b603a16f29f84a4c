"""What a run tells its listeners while it goes on.

    RunStarted ─▶ JobStarted ─▶ JobEnded … ─▶ Packaging ─▶ Packaged ─▶ RunEnded
                  (JobReturned, JobDropped, WorkerLost, Stopping as they happen)

Every run that was announced ends with RunEnded, unless its server is killed or cannot go on.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from buildrunner.errors import BuildrunnerError
from buildrunner.job import JobState
from buildrunner.naming import display
from buildrunner.receipt import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The first scripts are about to start. `done` counts what a resumed run has behind it.

    `resumed`: whether the run goes on that an earlier server began. `choice` says which part of its target's scripts
    the run has (a shard, what failed last time), empty when it is all of them. `notices` are sentences on scripts
    that have changed since they ran. `jobs` are those that are still to be decided, `past` what jobs took in their
    last few runs, in seconds.
    """

    run: str
    target: str
    total: int
    done: int
    workers: int
    python: str
    python_why: str
    resumed: bool = False
    choice: str = ""
    notices: Sequence[str] = ()
    jobs: Sequence[str] = ()
    past: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted:
    """An attempt is committed and went to its worker, which starts it when it has ended what it had before.

    `usual` is how many seconds the job took in earlier runs, None when it never ran; `expected` is the same or,
    for want of it, what jobs like it take.
    """

    job: str
    attempt: str
    number: int
    worker: int
    usual: float | None
    expected: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReturned:
    """An attempt came back from its worker without having started; it counts nowhere."""

    job: str
    attempt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnded:
    """An attempt's receipt is committed. `final` says whether the job is decided by it, else it is tried again.

    `state` is where the job is now.
    """

    receipt: Receipt
    state: JobState
    final: bool
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDropped:
    """A job that waited will not run in this run: `state` is skipped or cancelled, `reason` says why."""

    job: str
    state: JobState
    reason: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost:
    """A worker process died and was replaced; `lost` attempts had started and ended with it.

    `made_way` says that it ended by itself, because a script had changed its limits, niceness or CPUs.
    """

    worker: int
    pid: int
    lost: int
    made_way: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """Nothing new starts any more, and why; `ends_running` when what runs is ended too."""

    reason: str
    ends_running: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time has passed and nothing happened. Only for listeners with a `tick`, see Listener."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaging:
    """The scripts are done; the zip is being made."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """The zip is in its place."""

    path: str
    sha256: str
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """Nothing more happens. `state` is finished, interrupted or cancelled; `wall_seconds` end with the last script."""

    run: str
    state: str
    exit_code: int
    wall_seconds: float
    totals: Mapping[str, int]


Event = (
    RunStarted
    | JobStarted
    | JobReturned
    | JobEnded
    | JobDropped
    | WorkerLost
    | Stopping
    | Tick
    | Packaging
    | Packaged
    | RunEnded
)


class Listener(Protocol):
    """Whoever wants to know. Called on the server's own thread: be quick.

    One that has an attribute `tick` hears a Tick when nothing happened for so many seconds.
    """

    def on_event(self, event: Event, /) -> None:
        """Take notice of one event."""


class Listeners:
    """All who listen to a run. One that raises costs nobody the run: it hears no more, and `faults` says why.

    It is closed, if it can be.
    """

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self._listeners = list(listeners)
        self.faults: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._listeners)

    @property
    def tick(self) -> float | None:
        """Seconds without an event after which somebody wants to hear a Tick."""
        return min((seconds for one in self._listeners if (seconds := getattr(one, "tick", None))), default=None)

    def tell(self, event: Event) -> None:
        """Tell everybody."""
        for listener in tuple(self._listeners):
            try:
                listener.on_event(event)
            except Exception as exc:
                self._listeners = [one for one in self._listeners if one is not listener]
                with suppress(Exception):
                    listener.close()  # type: ignore[attr-defined]  # most have none
                self.faults.append(_fault(listener, exc))


def _fault(listener: Listener, exc: Exception) -> str:
    if isinstance(exc, BuildrunnerError):
        return str(exc)
    import traceback  # seldom needed

    why = "".join(traceback.format_exception_only(exc)).strip()  # whatever its own text does
    return f"the listener {type(listener).__name__} failed and heard no more of the run: {display(why)}"
