"""Really runs the same scripts one after another and in parallel, several rounds, and compares.

    round 1   one after another: python A.py; python B.py; …      in parallel: buildrunner run TARGET -j N
    round 2   in parallel                                         one after another
    round 3   one after another                                   in parallel            (and so on)

One after another is what a user would type, with the threads the libraries take by themselves. In parallel is the
program itself, a process timed from outside, so that its own start and end count. Both see the same arguments,
environment, working directory and output folder; the output folder is emptied in between. The parallel arm keeps
its record from round to round, so that from the second on it knows how long each script takes, as a user's second
run does. Everything we make lies in one temporary folder and is removed.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from buildrunner import timed
from buildrunner.comparison import Difference, Ending, Failure, Manner, Measurement, ScriptTimes, compare
from buildrunner.config import Options
from buildrunner.errors import BuildrunnerError, UsageError
from buildrunner.interpreters import call, choose_python
from buildrunner.job import JobSpec, Outcome
from buildrunner.ledger.place import shared
from buildrunner.machine import cpus, thread_variables
from buildrunner.naming import display, file_names
from buildrunner.reports.words import ending
from buildrunner.scan import make_batch

_PACKAGE = str(Path(__file__).resolve().parent.parent)
# What the `buildrunner` command does, with this very package and with nothing of the working directory on the path.
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); import buildrunner; del sys.path[0]; "
    "from buildrunner.__main__ import main; main()"
)
_RUN_WAY = timed.Way(steps=((signal.SIGTERM, 8.0), (signal.SIGTERM, 5.0)), group=False)  # asked twice it hurries
_CHUNK = 1 << 20
_SHOWN = 60  # bytes of a line


class ParallelRunFailed(BuildrunnerError):
    """The parallel arm's own process did not do its work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One arm of one round is over. `warmup` laps come first and do not count; `round` counts from 1 in each kind."""

    round: int
    warmup: bool
    manner: Manner
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Script:
    seconds: float
    cpu: float
    ending: Ending
    stdout: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arm:
    """One arm of one round: wall seconds, those from the first script's start to the last one's end, the scripts."""

    seconds: float
    span: float
    scripts: dict[str, _Script]


def options(*, targets: tuple[str, ...], **settings: Any) -> Options:
    """The parallel arm's options. UsageError for what cannot be meant; its folders are decided when it runs."""
    place = tempfile.gettempdir()
    for target in targets:
        source = os.path.realpath(target)
        if os.path.isdir(source) and (os.path.realpath(place) + os.sep).startswith(source.rstrip(os.sep) + os.sep):
            raise UsageError(
                f"the folder for temporary files {display(place)} lies inside the source folder {display(target)}; "
                "name another with the variable TMPDIR"
            )
    if kind := shared(place):
        raise UsageError(
            f"the folder for temporary files {display(place)} is on a network file system ({kind}), where no ledger "
            "may lie: name another with the variable TMPDIR"
        )
    return Options(targets=targets, output=os.path.join(place, "buildrunner-bench"), zip=None, **settings)


def measure(
    options: Options, *, rounds: int = 3, warmup: int = 0, on_lap: Callable[[Lap], None] = lambda lap: None
) -> Measurement:
    """Run both arms `warmup` + `rounds` times. INT, TERM and HUP end what runs and raise `timed.Stopped`.

    Also raises NothingToRun, UsageError and ParallelRunFailed. The temporary folder is gone in every case.
    """
    python, _ = choose_python(options.python, os.environ)
    specs = make_batch(options, python).jobs
    folder = None
    with timed.Interrupts() as interrupts:
        try:
            with interrupts.held():
                folder = os.path.realpath(tempfile.mkdtemp(prefix="buildrunner-bench-"))
            placed = replace(
                options,
                python=python,
                output=os.path.join(folder, "out"),
                state=os.path.join(folder, "state"),
            )
            bench = _Bench(placed, specs, folder, interrupts)
            bench.run(rounds, warmup, on_lap)
            return bench.measurement(warmup)
        finally:
            interrupts.settle()
            if folder is not None:
                _remove(folder)


class _Bench:
    def __init__(self, options: Options, specs: Sequence[JobSpec], folder: str, interrupts: timed.Interrupts) -> None:
        self._options, self._specs, self._folder, self._interrupts = options, specs, folder, interrupts
        self._files = file_names(spec.name for spec in specs)
        self._workers = min(options.slots, len(specs))
        self._reference: dict[str, _Script] = {}
        self._arms: dict[Manner, list[_Arm]] = {manner: [] for manner in Manner}
        self._failures: dict[str, Failure] = {}
        self._differences: dict[str, Difference] = {}

    def run(self, rounds: int, warmup: int, on_lap: Callable[[Lap], None]) -> None:
        """Every round with both arms, beginning with the other one each time, so that none is always the warm one."""
        for index in range(-warmup, rounds):
            number = index + 1 + (warmup if index < 0 else 0)
            for manner in Manner if index % 2 == 0 else reversed(Manner):
                _remove(self._options.output)
                arm = self._one_after_another() if manner is Manner.SEQUENTIAL else self._in_parallel()
                on_lap(Lap(round=number, warmup=index < 0, manner=manner, seconds=arm.seconds))
                if index >= 0:
                    self._arms[manner].append(arm)
                    self._check(number, manner, arm)

    def measurement(self, warmup: int) -> Measurement:
        """All rounds summed up."""
        one, other = (self._arms[manner] for manner in Manner)
        names = [spec.name for spec in self._specs]
        scripts = tuple(
            ScriptTimes(
                name=name,
                sequential=_median(arm.scripts[name].seconds for arm in one),
                parallel=_median(arm.scripts[name].seconds for arm in other),
                cpu=_median(arm.scripts[name].cpu for arm in one),
            )
            for name in names
        )
        variables = thread_variables(self._options.threads, parallel=self._workers, environ={})
        return Measurement(
            target=" ".join(self._options.targets),
            python=self._options.python or sys.executable,
            cpus=cpus(),
            warmup=warmup,
            threads=int(next(iter(variables.values()))) if variables else None,
            span=_median(arm.span for arm in other),
            comparison=compare(
                [arm.seconds for arm in one],
                [arm.seconds for arm in other],
                script_seconds=[script.sequential for script in scripts],
                jobs=self._options.slots,
            ),
            scripts=scripts,
            failures=tuple(self._failures[name] for name in names if name in self._failures),
            differences=tuple(self._differences[name] for name in names if name in self._differences),
        )

    # the arms

    def _one_after_another(self) -> _Arm:
        logs, outputs = (os.path.join(self._options.output, name) for name in ("logs", "files"))
        os.makedirs(logs)
        calls = []
        common = _without_ours(os.environ) | {"BUILDRUNNER_PARALLEL": "1", "BUILDRUNNER_ATTEMPT_NUMBER": "1"}
        for spec in self._specs:
            output = os.path.join(outputs, self._files[spec.name])
            os.makedirs(output)
            argv, cwd = call(spec, os.getcwd(), output)
            env = common | {"BUILDRUNNER_JOB_NAME": spec.name, "BUILDRUNNER_OUTPUT_DIR": output}
            calls.append((spec, argv, cwd, env, os.path.join(logs, self._files[spec.name])))
        way = timed.Way(steps=((signal.SIGTERM, self._options.grace),), group=True)
        scripts = {}
        began = time.perf_counter()
        for spec, argv, cwd, env, log in calls:
            seconds, cpu, how = 0.0, 0.0, Ending(outcome=Outcome.SPAWN_ERROR, exit_code=None, signal=None)
            with suppress(OSError):
                ended = timed.run(
                    argv,
                    env=env,
                    cwd=cwd,
                    stdout=log + ".out",
                    stderr=log + ".err",
                    interrupts=self._interrupts,
                    way=way,
                    timeout=spec.timeout,
                )
                seconds, cpu, how = ended.seconds, ended.cpu_seconds, _ending(ended)
            scripts[spec.name] = _Script(seconds=seconds, cpu=cpu, ending=how, stdout=log + ".out")
        seconds = time.perf_counter() - began
        return _Arm(seconds=round(seconds, 6), span=round(seconds, 6), scripts=scripts)

    def _in_parallel(self) -> _Arm:
        stdout, stderr = (os.path.join(self._folder, name) for name in ("run.json", "run.err"))
        argv = (sys.executable, "-P", "-c", _PROGRAM, _PACKAGE, *run_arguments(self._options))
        try:
            ended = timed.run(
                argv,
                # It counts as run by a script, as this one may be: it speaks to us, not to the CI system.
                env={"BUILDRUNNER_ATTEMPT_ID": "bench"} | _without_ours(os.environ, keep="BUILDRUNNER_ATTEMPT_ID"),
                cwd=None,
                stdout=stdout,
                stderr=stderr,
                interrupts=self._interrupts,
                way=_RUN_WAY,
            )
        except OSError as exc:
            raise ParallelRunFailed(f"cannot start the parallel run: {exc.strerror or exc}") from exc
        if ended.exit_code not in (0, 1):
            how = f"signal {ended.signal}" if ended.exit_code is None else f"exit code {ended.exit_code}"
            words = Path(stderr).read_text("utf-8", "surrogateescape").strip()
            raise ParallelRunFailed(f"the parallel run ended with {how}: {display(words[-500:])}")
        document = json.loads(Path(stdout).read_bytes())
        scripts = {row["name"]: _script(row) for row in document["results"]}
        if set(scripts) != {spec.name for spec in self._specs}:
            raise ParallelRunFailed("scripts came or went while they were measured; let the folder be and try again")
        span = min(_span(document["results"]), ended.seconds)
        return _Arm(seconds=round(ended.seconds, 6), span=round(span, 6), scripts=scripts)

    # the results

    def _check(self, number: int, manner: Manner, arm: _Arm) -> None:
        """Compare an arm's results with those of the first sequential one, which are set aside for that."""
        for name, script in arm.scripts.items():
            if script.ending.outcome is not Outcome.OK and name not in self._failures:
                self._failures[name] = Failure(name=name, round=number, manner=manner, ending=script.ending)
        if not self._reference:
            kept = os.path.join(self._folder, "reference")
            os.rename(os.path.join(self._options.output, "logs"), kept)
            self._reference = {
                name: replace(script, stdout=os.path.join(kept, os.path.basename(script.stdout)))
                for name, script in arm.scripts.items()
            }
            return
        for name, script in arm.scripts.items():
            if name not in self._differences:
                first = self._reference[name]
                line = column = None
                if script.ending != first.ending:
                    expected, found = (
                        ending(s.ending.outcome, s.ending.exit_code, s.ending.signal) for s in (first, script)
                    )
                elif parted := first_difference(first.stdout, script.stdout):
                    line, column, expected, found = parted
                else:
                    continue
                self._differences[name] = Difference(
                    name=name, round=number, manner=manner, line=line, column=column, expected=expected, found=found
                )


def run_arguments(options: Options) -> list[str]:
    """The words after `buildrunner` that make it run with these options.

    >>> run_arguments(Options(targets=("src",), output="o", state="s", zip=None, jobs=2, args=("-x",)))[-3:]
    ['src', '--', '-x']
    """
    words = ["run", "--no-zip", "--json", "--quiet", f"--jobs={options.slots}"]
    words += [f"--output={options.output}", f"--state={options.state}", f"--threads={options.threads}"]
    words += [f"--mode={options.mode}", f"--cwd={options.cwd}", f"--grace={options.grace:.9f}"]
    words += [f"--preload={module}" for module in options.preload]
    if options.python is not None:
        words.append(f"--python={options.python}")
    if options.timeout is not None:
        words.append(f"--timeout={options.timeout:.9f}")
    if options.recursive:
        words.append("--recursive")
    words += [f"--include={glob}" for glob in options.include]
    words += [f"--exclude={glob}" for glob in options.exclude]
    words += options.targets
    return [*words, "--", *options.args] if options.args else words


def first_difference(expected: str, found: str) -> tuple[int, int, str, str] | None:
    """Where two files part: line and byte of it, both from 1, and what either shows there. A missing file is empty."""
    with _open(expected) as one, _open(found) as other:
        line, start, at = 1, 0, 0  # `start`: where the line begins
        while True:
            a, b = one.read(_CHUNK), other.read(_CHUNK)
            if a == b and not a:
                return None
            same = len(a) if a == b else _common(a, b)
            line += a.count(b"\n", 0, same)
            if (newline := a.rfind(b"\n", 0, same)) >= 0:
                start = at + newline + 1
            at += same
            if a != b:
                shown = max(start, at - _SHOWN // 2)
                texts = [_excerpt(file, shown, start) for file in (one, other)]
                if texts[0] == texts[1]:
                    texts = [text + end for text, end in zip(texts, _line_ends(a[same:], b[same:]), strict=True)]
                return line, at - start + 1, texts[0], texts[1]


def _common(a: bytes, b: bytes) -> int:
    """How many bytes they begin with alike."""
    shorter = min(len(a), len(b))
    return next((i for i in range(shorter) if a[i] != b[i]), shorter)


def _excerpt(file: Any, begin: int, line_start: int) -> str:
    file.seek(begin)
    data: bytes = file.read(_SHOWN + 1)
    if not data:
        return "nothing: it ends there"
    line, newline, _ = data.partition(b"\n")
    text = display(line[:_SHOWN].decode("utf-8", "surrogateescape"))
    return ("…" if begin > line_start else "") + text + ("" if newline or len(line) <= _SHOWN else "…")


def _line_ends(*rests: bytes) -> list[str]:
    return [" and a line end" if rest else ", but no line end" for rest in rests]


def _open(path: str) -> Any:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        return open(os.devnull, "rb")


def _script(row: Mapping[str, Any]) -> _Script:
    how = Ending(outcome=Outcome(row["outcome"]), exit_code=row["exit_code"], signal=row["signal"])
    return _Script(
        seconds=row["seconds"] or 0.0, cpu=row["cpu_seconds"] or 0.0, ending=how, stdout=row["stdout"] or os.devnull
    )


def _span(rows: Sequence[Mapping[str, Any]]) -> float:
    """Seconds from the first script's start to the last one's end."""
    ran = [(datetime.fromisoformat(r["started"]).timestamp(), r["seconds"] or 0.0) for r in rows if r["started"]]
    if not ran:
        return 0.0
    return max(0.0, max(begin + seconds for begin, seconds in ran) - min(begin for begin, _ in ran))


def _ending(ended: timed.Ended) -> Ending:
    outcome = Outcome.EXITED if ended.exit_code else Outcome.OK
    if ended.timed_out:
        outcome = Outcome.TIMED_OUT
    elif ended.signal is not None:
        outcome = Outcome.SIGNALLED
    return Ending(outcome=outcome, exit_code=ended.exit_code, signal=ended.signal)


def _median(values: Iterable[float]) -> float:
    return round(median(values), 6)


def _without_ours(environ: Mapping[str, str], *, keep: str = "") -> dict[str, str]:
    return {k: v for k, v in environ.items() if not k.startswith("BUILDRUNNER_") or k == keep}


def _remove(path: str) -> None:
    """Remove a folder with all that scripts left in it, also where they took their own rights away."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError:
        for folder, _, _ in os.walk(path):
            with suppress(OSError):
                os.chmod(folder, 0o700)
        shutil.rmtree(path, ignore_errors=True)
