"""BuildServer: from targets to a trusted result.

It puts the parts together (scan, ledger, output folder, plan, pool), lets the loop run, packages and sums up. The
loop is in loop.py, what runs next in plan.py, how a script is run in run/.
"""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from buildrunner import adoption, assignments
from buildrunner.choice import choose
from buildrunner.config import Options
from buildrunner.control import Control
from buildrunner.delivery import Delivery
from buildrunner.errors import BuildrunnerError, LedgerBusy, LedgerError, NothingLeft, PackageError, UsageError
from buildrunner.events import Event, Listener, Packaged, Packaging, RunEnded, RunStarted
from buildrunner.interpreters import choose_python
from buildrunner.job import FINAL_STATES, Job, JobEvent, JobState, advance
from buildrunner.ledger import Ledger, RunRow, spec_from_json
from buildrunner.loop import Loop
from buildrunner.naming import display
from buildrunner.outputfolder import OutputFolder, left_files, reopen
from buildrunner.plan import Plan, medians
from buildrunner.pool import WorkerPool
from buildrunner.reports.words import command
from buildrunner.scan import make_batch
from buildrunner.strays import Strays
from buildrunner.summary import Summary, exit_code, not_packaged, summarise, wall_seconds

_MAY_DIFFER = ("deadline", "events", "junitxml", "keep_runs")  # of a resumed run: they decide no result
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class BuildServer:
    """Runs every script of a folder, in parallel, each in its own process.

    >>> import os, pathlib, tempfile
    >>> home = os.getcwd(); os.chdir(tempfile.mkdtemp()); os.mkdir("scripts")
    >>> _ = pathlib.Path("scripts/hello.py").write_text("print('hello')")
    >>> summary = BuildServer("scripts", output_dir="out", workers=2).run()
    >>> summary.passed, summary.to_json()["results"][0]["exit_code"]
    (True, 0)
    >>> pathlib.Path("out/logs/hello.py.out").read_text()
    'hello\\n'
    >>> os.chdir(home)
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        output_dir: str | os.PathLike[str] = "python_output",
        workers: int | None = None,
        listeners: Iterable[Listener] = (),
        **options: Any,
    ) -> None:
        """`target`: a folder or script, or several. `workers`: how many run at once, None for one a usable CPU.

        `options` are the further fields of `config.Options`. Raises UsageError for what cannot be meant.
        """
        targets = [target] if isinstance(target, str | os.PathLike) else list(target)
        unknown = set(options) - set(Options.__dataclass_fields__)
        if unknown:
            raise UsageError(f"BuildServer knows no option {sorted(unknown)[0]!r}")
        checked = Options(
            targets=tuple(os.fsdecode(t) for t in targets),
            output=os.fsdecode(output_dir),
            jobs=workers,
            **options,
        )
        self._set_up(checked, listeners, age=0.0)

    @classmethod
    def from_options(cls, options: Options, *, listeners: Iterable[Listener] = (), age: float = 0.0) -> "BuildServer":
        """A server for checked options. `age`: seconds that count as the run's although they are past."""
        server = cls.__new__(cls)
        server._set_up(options, listeners, age=age)
        return server

    def _set_up(self, options: Options, listeners: Iterable[Listener], *, age: float) -> None:
        self._options = options
        self._delivery = Delivery(options)
        self._listeners = tuple(listeners)
        self._age = age
        self._began = 0.0  # monotonic
        self._loop: Loop | None = None
        self._signal: int | None = None
        self._packaging: RunRow | None = None
        self._own_process = False

    def run(self, *, resume: bool = False, handle_signals: bool = False) -> Summary:
        """Run everything, package, and sum up. With `resume`, first look for an interrupted run of the same target.

        `handle_signals` makes INT, TERM and HUP stop the run in good order (main thread only). Raises
        NothingToRun, UsageError, LedgerBusy, LedgerError, PoolError or PackageError.
        """
        options = self._options
        self._begin()
        python, why = choose_python(options.python, os.environ)
        batch = make_batch(options, python)
        with self._signals(handle_signals), ExitStack() as stack:
            stack.callback(self._delivery.close_events)
            self._delivery.check()
            ledger = stack.enter_context(Ledger(Path(options.state), purpose=self._purpose()))
            if resume and (left := adoption.interrupted(ledger, batch.key)):
                self._refuse_other_options(left)
                return self._resume(ledger, left)
            try:
                choice = choose(ledger, options, batch)
            except NothingLeft:
                self._delivery.write_empty_junit(batch.target)
                raise
            part = _only_a_part(options) if options.last_failed and len(choice.batch.jobs) < len(batch.jobs) else ()
            batch = choice.batch
            folder = OutputFolder(options.output, purpose=self._purpose())
            stack.callback(folder.close)
            name = _run_name()
            files = folder.begin(batch.key, name, [spec.name for spec in batch.jobs])
            recorded = options.to_json() | {
                "workers": min(options.slots, len(batch.jobs)),
                "directory": os.getcwd(),
                "python_why": why,
                "choice": choice.words,
                "shard_round": choice.round,
            }
            run = ledger.add_run(
                name=name,
                target=batch.target,
                key=batch.key,
                args=options.args,
                options=recorded,
                jobs=options.slots,
                python=python,
                started=time.time() - (time.monotonic() - self._began),
                specs=((spec, files[spec.name]) for spec in batch.jobs),
            )
            ids = ledger.job_ids(run)
            jobs = [(ids[spec.name], files[spec.name], Job(spec=spec)) for spec in batch.jobs]
            plan = Plan(batch.jobs, durations=choice.durations, order=options.order, seed=run.id)
            summary = self._carry_out(ledger, folder, run, plan, jobs, choice.past)
            return self._forget(ledger, replace(summary, notices=summary.notices + part))

    @classmethod
    def resume(
        cls,
        state_dir: str | os.PathLike[str] = ".buildrunner",
        run: str | None = None,
        *,
        listeners: Iterable[Listener] = (),
        handle_signals: bool = False,
        age: float = 0.0,
        deadline: float | None = None,
    ) -> Summary:
        """Carry on a run that was broken off (the newest when none is named); one that is complete is summed up again.

        `deadline` in seconds replaces the run's own.
        """
        state = Path(state_dir)
        if not (state / "ledger.db").exists():
            raise UsageError(f"there is no ledger in {state}: nothing to resume; name its folder with --state DIR")
        with Ledger(state, purpose="buildrunner resume") as ledger:
            row = ledger.run(run)
            own = {} if deadline is None else {"deadline": deadline}
            options = Options.from_json({**row.options, **own})
            server = cls.from_options(options, listeners=listeners, age=age)
            with server._signals(handle_signals):
                return server._go_on(ledger, row, named=run is not None)

    def stop(self) -> None:
        """End the run: what runs gets TERM, the grace time, then KILL. A second call kills at once."""
        if self._loop:
            self._loop.ask_stop()

    def _refuse_other_options(self, run: RunRow) -> None:
        """A run is carried on as it was begun: half of it with other options would be neither."""
        asked = self._options.to_json()
        recorded = Options.from_json(run.options).to_json()
        for name, value in asked.items():
            if value != recorded[name] and name not in _MAY_DIFFER:
                raise UsageError(
                    f"run {run.name} was begun with another --{name.replace('_', '-')} "
                    f"({_shown(recorded[name])}, now {_shown(value)}): give the same options, "
                    f"carry it on with `{command(run, 'resume')}`, or leave --resume out for a new run"
                )

    def _begin(self) -> None:
        """A session begins; only the first of this object had a process that began for it."""
        self._began = time.monotonic() - self._age
        self._age = 0.0

    def _require_directory(self, run: RunRow) -> None:
        if os.getcwd() != run.options["directory"]:
            raise UsageError(f"run {run.name} was started in {display(run.options['directory'])}: resume it from there")

    def _go_on(self, ledger: Ledger, row: RunRow, *, named: bool) -> Summary:
        """Carry on what is broken off; of what is complete, make what it still lacks."""
        self._begin()
        if adoption.broken_off(ledger, row):
            return self._resume(ledger, row)
        notices: tuple[str, ...] = (f"run {row.name} is complete; nothing was run",)
        if not named and (left := adoption.left_behind(ledger, row)):
            notices += (f"run {left.name} is interrupted: `{command(left, 'resume')}`",)
        lacked = row.exit_code == PackageError.exit_code
        unwritten = self._delivery.write_junit_late(ledger, row)
        notices += unwritten
        if row.options["zip"] and not row.archive:
            return self._deliver_late(ledger, row, notices, reported=not unwritten)
        if unwritten or lacked:
            row = ledger.set_run(row, exit_code=PackageError.exit_code if unwritten else exit_code(ledger, row))
        return summarise(ledger, row, notices=notices)

    def _resume(self, ledger: Ledger, run: RunRow) -> Summary:
        self._require_directory(run)
        with ExitStack() as stack:
            stack.callback(self._delivery.close_events)
            self._delivery.check(resumed=True)
            folder = reopen(ledger, run, cannot="be carried on", purpose=self._purpose())
            stack.callback(folder.close)
            jobs, revived, spent = [], [], ledger.spent(run)
            for row in ledger.results(run):
                state = row.state
                if state in (JobState.WAITING, JobState.READY, JobState.CANCELLED):
                    state = advance(state, JobEvent.REVIVE)
                    revived.append(row.id)
                spec = spec_from_json(row.name, row.spec)
                job = Job(spec=spec, state=state, attempts=row.attempts, lost=row.lost, spent=spent.get(row.name, 0))
                jobs.append((row.id, row.file, job))
            running = ledger.running(run)
            with ledger.transaction():
                ledger.set_states(revived, JobState.WAITING)
            left = {job.spec.name for _, _, job in jobs if job.state not in FINAL_STATES}
            past = ledger.past_seconds(run.key, run.args, names=left)
            folder.go_on(run.key, [file for _, file, job in jobs if job.spec.name in left])
            plan = Plan(
                adoption.without_finished((job.spec for _, _, job in jobs if job.spec.name in left), left),
                durations=medians(past),
                order=self._options.order,
                seed=run.id,
                taken=set(running.values()),
            )
            return self._carry_out(ledger, folder, run, plan, jobs, past, running)

    def _forget(self, ledger: Ledger, summary: Summary) -> Summary:
        """Let the record grow no longer than asked for, now that this run is safe in it."""
        try:
            ledger.forget(self._options.keep_runs)
        except LedgerError as exc:
            return replace(summary, notices=(*summary.notices, f"more than --keep-runs are still recorded: {exc}"))
        return summary

    def _carry_out(
        self,
        ledger: Ledger,
        folder: OutputFolder,
        run: RunRow,
        plan: Plan,
        jobs: list[tuple[int, str, Job]],
        past: Mapping[str, Sequence[float]],
        running: dict[str, str] | None = None,
    ) -> Summary:
        journals = ledger.state / "runs" / run.name
        journals.mkdir(parents=True, exist_ok=True)
        before = wall_seconds(ledger, run) if running is not None else 0.0
        self._delivery.begin(run, {job.spec.name: file for _, file, job in jobs}, resumed=running is not None)
        listeners = self._hearers()
        pool = self._make_pool(run, folder, journals)
        strays = Strays(run.options["directory"], self._options, [job.spec for _, _, job in jobs])
        control, deaf = self._open_control(ledger.state)
        if control:
            pool.watch(control.fileno())
        loop = self._loop = Loop(
            ledger=ledger,
            run=run,
            plan=plan,
            pool=pool,
            jobs=jobs,
            assign=assignments.assigner(folder, run.options["directory"], grace=self._options.grace),
            directory=run.options["directory"],
            listeners=listeners,
            max_fail=self._options.max_fail,
            grace=self._options.grace,
            deadline=None if self._options.deadline is None else self._began + self._options.deadline,
            control=control,
            tick=min((seconds for one in listeners if (seconds := getattr(one, "tick", None))), default=None),
        )
        with control or nullcontext():
            done = False
            try:
                if running is not None:
                    adoption.adopt(loop, journals, running)
                began = time.time() - (time.monotonic() - self._began)
                run = ledger.set_run(
                    run, state="running", finished=None, wall=before, session=began, exit_code=None, archive=None
                )
                self._announce(run, loop, len(jobs), past, resumed=running is not None)
                pool.start()
                with self._wakeup(pool):
                    if self._signal is not None:
                        loop.ask_stop()
                    loop.run()
                done = True
            finally:
                if not done:
                    pool.stop(0)
                pool.close()
                self._loop = None
            end = loop.last_end or time.monotonic()
            state = loop.state
            run = ledger.set_run(
                run,
                state=state,
                finished=time.time(),
                wall=max(0.0, end - self._began) + before,
                session=None,
                exit_code=128 + self._signal if state == "interrupted" and self._signal else exit_code(ledger, run),
            )
            loop.answer_all()
        notices = deaf + strays.notices() + not_packaged(ledger, run)
        try:
            folder.finish(run.key, left_files(ledger, run))
        except UsageError as exc:
            notices += (str(exc),)
        shutil.rmtree(journals, ignore_errors=True)
        if unwritten := self._delivery.write_junit(ledger, run):
            notices += unwritten
            if state != "interrupted":
                run = ledger.set_run(run, exit_code=PackageError.exit_code)
        if state != "finished":
            if self._options.zip and os.path.exists(self._options.zip):
                notices += (f"{display(self._options.zip)} is that of an earlier run",)
            return self._end(summarise(ledger, run, notices=notices))
        return self._deliver_and_end(ledger, run, notices, whole=running is not None, reported=not unwritten)

    def _deliver_and_end(
        self, ledger: Ledger, run: RunRow, notices: tuple[str, ...], *, whole: bool, reported: bool
    ) -> Summary:
        try:
            return self._end(self._deliver(ledger, run, notices, whole=whole, reported=reported))
        except Interrupted as exc:
            self._end(replace(summarise(ledger, run), exit_code=exc.exit_code))
            raise

    def _end(self, summary: Summary) -> Summary:
        """Tell the listeners that this was all, and the user what they could not write."""
        self._emit(
            RunEnded(
                run=summary.run.name,
                state=summary.run.state,
                exit_code=summary.exit_code,
                wall_seconds=summary.speed.wall_seconds,
                totals=summary.totals,
            )
        )
        missing = self._delivery.close_events()
        return replace(summary, notices=(*summary.notices, missing)) if missing else summary

    def _hearers(self) -> tuple[Listener, ...]:
        return (*self._listeners, self._delivery.events) if self._delivery.events else self._listeners

    def _open_control(self, state: Path) -> tuple[Control | None, tuple[str, ...]]:
        """What other terminals can ask through; where there is none to be had, a sentence that says so."""
        try:
            return Control(state), ()
        except OSError as exc:
            return None, (f"`buildrunner cancel` could not have reached this run: {exc.strerror or exc}",)

    def _deliver_late(self, ledger: Ledger, run: RunRow, notices: tuple[str, ...], *, reported: bool) -> Summary:
        """Make the zip that a finished run still lacks, of its own files or not at all."""
        self._require_directory(run)
        try:
            folder = reopen(ledger, run, cannot="be packaged any more", purpose=self._purpose())
        except LedgerBusy:
            raise
        except UsageError as exc:
            return self._undelivered(ledger, run, (*notices, str(exc)))
        with ExitStack() as stack:
            stack.callback(folder.close)
            stack.callback(self._delivery.close_events)
            self._delivery.open_events(resumed=True)
            self._delivery.begin(run, {}, resumed=True)
            return self._deliver_and_end(ledger, run, notices, whole=True, reported=reported)

    def _deliver(
        self, ledger: Ledger, run: RunRow, notices: tuple[str, ...], *, whole: bool, reported: bool
    ) -> Summary:
        """Package a finished run if that was asked for, and sum it up. `whole`: see `package`.

        `reported`: whether nothing else that was asked for is missing.
        """
        if not self._options.zip:
            return summarise(ledger, run, notices=notices)
        if self._signal is None:
            self._emit(Packaging(path=self._options.zip))
        self._packaging = run  # from here on a signal ends it, but no listener in the middle of a line
        try:
            if self._signal is not None:
                raise Interrupted(self._signal, run)
            archive, changed = self._delivery.package(ledger, run, whole=whole)
        except UsageError as exc:
            elsewhere = f"nothing is lost: `{command(run, 'package', '--zip', 'FILE')}` makes it"
            return self._undelivered(ledger, run, (*notices, f"{exc}; {elsewhere}"))
        except PackageError as exc:
            return self._undelivered(ledger, run, (*notices, str(exc)))
        finally:
            self._packaging = None
        code = exit_code(ledger, run) if reported else PackageError.exit_code
        run = ledger.set_run(run, archive=archive, exit_code=code)
        self._emit(Packaged(path=archive["path"], sha256=archive["sha256"], files=archive["files"]))
        return summarise(ledger, run, notices=notices + changed)

    def _undelivered(self, ledger: Ledger, run: RunRow, notices: tuple[str, ...]) -> Summary:
        """The scripts' results are recorded, but the zip that was asked for cannot be had."""
        self._packaging = None  # from here on a signal would hide why
        run = ledger.set_run(run, exit_code=PackageError.exit_code)
        return summarise(ledger, run, notices=notices)

    def _make_pool(self, run: RunRow, folder: OutputFolder, journals: Path) -> WorkerPool:
        environ = assignments.environment(os.environ, run=run.name, parallel=run.workers, threads=self._options.threads)
        directory = run.options["directory"]

        def hello(worker: int) -> dict[str, Any]:
            return {
                "env": environ | {"BUILDRUNNER_WORKER_ID": str(worker)},
                "cwd": directory,
                "ready": folder.ready(worker),
            }

        return WorkerPool(run.workers, folder=str(journals.absolute()), hello=hello, own_process=self._own_process)

    def _announce(
        self, run: RunRow, loop: Loop, total: int, past: Mapping[str, Sequence[float]], *, resumed: bool
    ) -> None:
        self._emit(
            RunStarted(
                run=run.name,
                target=run.target,
                total=total,
                done=loop.done,
                workers=run.workers,
                python=run.python,
                python_why=run.options["python_why"],
                resumed=resumed,
                choice=run.options.get("choice", ""),
                jobs=loop.undecided(),
                past=past,
            )
        )

    def _emit(self, event: Event) -> None:
        for listener in self._hearers():
            listener.on_event(event)

    def _purpose(self) -> str:
        return "buildrunner run " + display(" ".join(self._options.targets))

    @contextmanager
    def _signals(self, wanted: bool) -> Iterator[None]:
        """INT, TERM and HUP stop the run in good order while this lasts. A signal that is ignored stays so."""
        if not wanted:
            yield
            return
        self._own_process = True  # whoever hands over its signals is the command, not a program around this
        before = {s: signal.getsignal(s) for s in _SIGNALS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _: object) -> None:
        self._signal = self._signal or number
        if self._loop:
            self._loop.ask_stop()
        elif self._packaging:
            raise Interrupted(number, self._packaging)

    @contextmanager
    def _wakeup(self, pool: WorkerPool) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.set_wakeup_fd(pool.wakeup_fd, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)


class Interrupted(BuildrunnerError):
    """A signal came when no script ran any more."""

    def __init__(self, number: int, run: RunRow) -> None:
        super().__init__(f"interrupted while packaging; `{command(run, 'package')}` makes the zip")
        self.exit_code = 128 + number


def _only_a_part(options: Options) -> tuple[str, ...]:
    """What a user would miss who takes the output for that of all scripts."""
    places = " and ".join(display(place) for place in (options.output, options.zip) if place)
    return (f"only what did not pass last time is in {places} now; a run without --last-failed puts all scripts there",)


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return "not set" if value is None else str(value)


def _run_name() -> str:
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + "-" + os.urandom(2).hex()
