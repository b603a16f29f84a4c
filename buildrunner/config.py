"""What a run is asked to do, checked as a whole before anything starts."""

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from keyword import iskeyword
from typing import Any

from buildrunner.errors import LedgerError, UsageError
from buildrunner.job import Cwd
from buildrunner.machine import cpus
from buildrunner.plan import Order

MOST_JOBS = 1024
MOST_SHARDS = 10_000
MODES = ("cold", "warm", "auto")
LEAST_MEMORY = 1 << 20  # bytes
LEAST_OUTPUT = 1 << 13  # bytes; both ends of a log, and the line between them


class IfChanged(StrEnum):
    """What is done about a result whose script has changed since, when its run is carried on."""

    RERUN = "rerun"
    KEEP = "keep"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of `run`, with their defaults. Durations in seconds.

    `jobs` None means as many as this process may use CPUs; `zip` None means no package; `max_fail` None means
    that no number of failures stops the run; `threads` is `auto`, `keep` or a number. `shard` is `K/N`; `deadline`
    counts from the start of the command; the record keeps the newest `keep_runs` runs. `events` and `junitxml` are
    files to write. `memory` (of a script and all it starts) and `max_output` (of each of its logs) in bytes.
    `if_changed` is for when the run is carried on. `preload` names modules that are imported before scripts begin,
    and `auto` among them stands for those that pay.
    """

    targets: tuple[str, ...]
    jobs: int | None = None
    output: str = "python_output"
    zip: str | None = "result.zip"
    with_report: bool = False
    state: str = ".buildrunner"
    recursive: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    mode: str = "auto"
    python: str | None = None
    cwd: Cwd = Cwd.INVOCATION
    timeout: float | None = None
    grace: float = 5.0
    memory: int | None = None
    max_output: int | None = None
    retries: int = 0
    max_fail: int | None = None
    order: Order = Order.LONGEST
    threads: str = "auto"
    deadline: float | None = None
    shard: str | None = None
    last_failed: bool = False
    keep_runs: int = 100
    if_changed: IfChanged = IfChanged.RERUN
    events: str | None = None
    junitxml: str | None = None
    preload: tuple[str, ...] = ()
    args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what makes no sense, with a UsageError that names the option."""
        if not all(self.targets):
            raise UsageError("a target without a name: name a folder or a script to run")
        if not self.targets:
            raise UsageError("name a folder or a script to run")
        for option in ("output", "zip", "state", "events", "junitxml"):
            if getattr(self, option) == "":
                kind = "folder" if option in ("output", "state") else "file"
                raise UsageError(f"--{option} without a name: name a {kind}")
        for option in ("zip", "events", "junitxml"):
            if getattr(self, option) == "-":
                stdout = "; standard output is /dev/stdout" if option == "events" else ""
                raise UsageError(f"--{option} -: name a file; one that is called like this is ./-{stdout}")
        if self.jobs is not None and not (isinstance(self.jobs, int) and 1 <= self.jobs <= MOST_JOBS):
            raise UsageError(f"--jobs {self.jobs}: give a number from 1 to {MOST_JOBS}, or auto (here {cpus()})")
        if self.mode not in MODES:
            raise UsageError(f"--mode {self.mode}: this version knows {', '.join(MODES)}")
        if self.preload and self.mode == "cold":
            raise UsageError(
                "--mode cold and --preload: only warm scripts can have modules in advance; leave out one of the two"
            )
        for module in self.preload:
            if not all(part.isidentifier() and not iskeyword(part) for part in module.split(".")):
                raise UsageError(f"--preload {module}: give the name of a module, as after `import`, or auto")
        if self.retries < 0:
            raise UsageError(f"--retries {self.retries}: give 0 or more")
        if self.max_fail is not None and self.max_fail < 1:
            raise UsageError(f"--max-fail {self.max_fail}: give 1 or more")
        if self.timeout is not None and not self.timeout > 0:
            raise UsageError(f"--timeout {self.timeout:g}s: give a time above 0")
        if self.deadline is not None and not self.deadline > 0:
            raise UsageError(f"--deadline {self.deadline:g}s: give a time above 0")
        if self.memory is not None and not (isinstance(self.memory, int) and self.memory >= LEAST_MEMORY):
            raise UsageError(f"--memory {self.memory}: give at least {LEAST_MEMORY >> 20}M; no script starts in less")
        if self.memory is not None and sys.platform != "linux":
            raise UsageError("--memory: only Linux tells what all processes of a script use")
        if self.max_output is not None and not (isinstance(self.max_output, int) and self.max_output >= LEAST_OUTPUT):
            raise UsageError(f"--max-output {self.max_output}: give at least {LEAST_OUTPUT >> 10}K")
        if self.keep_runs < 1:
            raise UsageError(f"--keep-runs {self.keep_runs}: give 1 or more")
        self.shard_numbers  # noqa: B018  # complains of what is no shard
        if not self.grace >= 0:
            raise UsageError(f"--grace {self.grace:g}s: give 0 or more")
        if self.threads not in ("auto", "keep") and not (self.threads.isdecimal() and int(self.threads) > 0):
            raise UsageError(f"--threads {self.threads}: give auto, keep or a number above 0")
        self._check_output()

    def _check_output(self) -> None:
        output = os.path.realpath(self.output)
        for target in self.targets:
            source = os.path.realpath(target)
            if os.path.isdir(source) and (output + os.sep).startswith(source.rstrip(os.sep) + os.sep):
                raise UsageError(
                    f"the output folder {self.output} lies inside the source folder {target}; "
                    "name one outside it with -o DIR"
                )

    @property
    def shard_numbers(self) -> tuple[int, int] | None:
        """K and N of `--shard K/N`."""
        if self.shard is None:
            return None
        number, _, count = self.shard.partition("/")
        if number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) <= MOST_SHARDS:
            return int(number), int(count)
        raise UsageError(f"--shard {self.shard}: give K/N with K from 1 to N (at most {MOST_SHARDS}), for example 1/3")

    @property
    def slots(self) -> int:
        """How many scripts run at once."""
        return self.jobs or min(cpus(), MOST_JOBS)

    @property
    def key(self) -> str:
        """The targets independently of the working directory: what ties a run to earlier ones."""
        return "\n".join(os.path.realpath(t) for t in self.targets)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the ledger keeps them for `resume`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Options":
        """The other way round; what an earlier version did not record is as built in, other keys are passed over.

        LedgerError when these cannot have been recorded.
        """
        values = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        try:
            for name in ("targets", "include", "exclude", "args"):
                values[name] = tuple(values[name])
            values["preload"] = tuple(values.get("preload", ()))
            values["cwd"], values["order"] = Cwd(values["cwd"]), Order(values["order"])
            values["if_changed"] = IfChanged(values.get("if_changed", IfChanged.RERUN))
            return cls(**values)
        except (KeyError, TypeError, ValueError) as exc:
            raise LedgerError(f"the recorded options of a run are damaged ({exc!r}): run its target anew") from exc
