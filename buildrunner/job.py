"""Jobs, attempts and the one table of how a job's state may change.

State (where a job is) and outcome (how an attempt ended) are separate on purpose: a job that is `ready`
again after a failed attempt has an outcome behind it and none in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class JobState(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


FINAL_STATES = frozenset({JobState.PASSED, JobState.FAILED, JobState.SKIPPED})
"""States `resume` leaves alone, unless a script has changed. A cancelled job was broken off, not decided."""


class Outcome(StrEnum):
    """How an attempt ended."""

    OK = "ok"
    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    SPAWN_ERROR = "spawn_error"
    LOST = "lost"
    CANCELLED = "cancelled"


UNSPENT = frozenset({Outcome.LOST, Outcome.CANCELLED})
"""Endings that are not the script's own doing: they never spend the user's retries."""


class JobEvent(StrEnum):
    """What can happen to a job."""

    RELEASE = "release"  # everything it comes after has ended well
    START = "start"  # an attempt was recorded and handed to a worker
    RETURN = "return"  # the attempt never started; it counts nowhere
    PASS = "pass"
    FAIL = "fail"  # the last allowed attempt did not pass
    RETRY = "retry"  # an attempt did not pass, another is allowed
    SKIP = "skip"
    CANCEL = "cancel"
    REVIVE = "revive"  # `resume` takes up what an interrupted run left
    RERUN = "rerun"  # `resume` runs again what had been decided: its script has changed since


_S, _E = JobState, JobEvent
TRANSITIONS: Mapping[tuple[JobState, JobEvent], JobState] = MappingProxyType(
    {
        (_S.WAITING, _E.RELEASE): _S.READY,
        (_S.WAITING, _E.SKIP): _S.SKIPPED,
        (_S.WAITING, _E.CANCEL): _S.CANCELLED,
        (_S.WAITING, _E.REVIVE): _S.WAITING,
        (_S.READY, _E.START): _S.RUNNING,
        (_S.READY, _E.SKIP): _S.SKIPPED,
        (_S.READY, _E.CANCEL): _S.CANCELLED,
        (_S.READY, _E.REVIVE): _S.WAITING,
        (_S.RUNNING, _E.RETURN): _S.READY,
        (_S.RUNNING, _E.PASS): _S.PASSED,
        (_S.RUNNING, _E.FAIL): _S.FAILED,
        (_S.RUNNING, _E.RETRY): _S.READY,
        (_S.RUNNING, _E.CANCEL): _S.CANCELLED,
        (_S.CANCELLED, _E.REVIVE): _S.WAITING,
        (_S.PASSED, _E.RERUN): _S.WAITING,
        (_S.FAILED, _E.RERUN): _S.WAITING,
        (_S.SKIPPED, _E.RERUN): _S.WAITING,
    }
)


class IllegalTransition(ValueError):
    """An event reached a job in a state where it must not happen: a bug of ours, never the user's."""


def advance(state: JobState, event: JobEvent) -> JobState:
    """The state after `event`.

    >>> advance(JobState.READY, JobEvent.START)
    <JobState.RUNNING: 'running'>
    >>> advance(JobState.PASSED, JobEvent.START)
    Traceback (most recent call last):
    buildrunner.job.IllegalTransition: start cannot happen to a job that is passed
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"{event} cannot happen to a job that is {state}") from None


class Cwd(StrEnum):
    """The working directory a script gets."""

    INVOCATION = "invocation"
    SCRIPT = "script"
    SCRATCH = "scratch"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What is wanted.

    `name` is unique in its batch. `command` is the program and its own options, `script` the file it is
    given (bytes that are not UTF-8 as surrogate escapes, like everywhere in Python), `args` what follows; a
    script without a command is started by itself. `env` holds pairs of name and value. `cwd` says where it
    runs: where buildrunner was called, beside the script, or in an empty folder of its own. `priority`: lower
    runs first. `after`: names of jobs that must pass before. `timeout` in seconds, None for no limit.
    `retries`: further attempts after one that did not pass.
    """

    name: str
    command: tuple[str, ...] = ()
    script: str | None = None
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    cwd: Cwd = Cwd.INVOCATION
    priority: int = 0
    after: tuple[str, ...] = ()
    timeout: float | None = None
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A named set of jobs made by one submission.

    `target` is what the user named, for display; `key` says the same independently of the working
    directory, and is what ties a run to the earlier runs of the same thing. `passed_over` is a sentence on what
    looked like a job and is none.
    """

    target: str
    key: str
    jobs: tuple[JobSpec, ...]
    passed_over: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A spec, where it is, and how many attempts were made.

    Of these `lost` ended with their worker, and `spent` count against the user's retries: neither the lost ones nor
    those that a stop ended do.
    """

    spec: JobSpec
    state: JobState = JobState.WAITING
    attempts: int = 0
    lost: int = 0
    spent: int = 0

    def advanced(self, event: JobEvent, *, attempts: int = 0, lost: int = 0, spent: int = 0) -> "Job":
        """The job after `event`, with so many more of each kind of attempt."""
        return Job(
            spec=self.spec,
            state=advance(self.state, event),
            attempts=self.attempts + attempts,
            lost=self.lost + lost,
            spent=self.spent + spent,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a job: `id` is a uuid, `number` counts from 1, `worker` is the slot it was given to."""

    id: str
    job: str
    number: int
    worker: int


def made_at(attempt: str) -> float:
    """When an attempt's id was made, as its server counted: seconds since the epoch, to the millisecond (RFC 9562).

    >>> made_at("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")
    1645557742.0
    """
    return int(attempt.replace("-", "")[:12], 16) / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What goes down the task queue to a worker: an attempt and everything needed to carry it out.

    Paths are absolute or relative to the run's working directory. `env` holds only what this attempt adds to
    the run's environment. `timeout` and `grace` in seconds.
    """

    attempt: str
    job: str
    number: int
    argv: tuple[str, ...]
    cwd: str | None
    env: tuple[tuple[str, str], ...]
    stdout: str
    stderr: str
    output_dir: str
    timeout: float | None
    grace: float

    def to_wire(self) -> tuple[object, ...]:
        """The fields in order, as the worker takes them."""
        return (
            self.attempt, self.job, self.number, self.argv, self.cwd, self.env, self.stdout, self.stderr,
            self.output_dir, self.timeout, self.grace,
        )  # fmt: skip
