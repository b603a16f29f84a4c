"""BuildServer: from targets to a trusted result.

It puts the parts together (scan, ledger, output folder, plan, pool), lets the loop run, packages and sums up. The
loop is in loop.py, what runs next in plan.py, how a script is run in run/.
"""

import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from buildrunner import adoption
from buildrunner.changes import Changes, compare, noted, revised
from buildrunner.choice import choose
from buildrunner.config import Options
from buildrunner.delivery import Delivery
from buildrunner.errors import LedgerBusy, LedgerError, NothingLeft, PackageError, UsageError
from buildrunner.events import Listener
from buildrunner.interpreters import choose_python
from buildrunner.job import FINAL_STATES, Job, JobEvent, JobState, advance
from buildrunner.ledger import Ledger, RunRow, spec_from_json, store
from buildrunner.machine import require_open_files
from buildrunner.naming import display
from buildrunner.outputfolder import OutputFolder, reopen, replaced
from buildrunner.plan import Plan, medians
from buildrunner.reports.words import command
from buildrunner.resumable import (
    broken_off,
    left_behind,
    newcomers,
    newest_broken_off,
    require_directory,
    require_same_options,
    require_whole,
    resumable,
)
from buildrunner.scan import make_batch
from buildrunner.session import Session
from buildrunner.signals import Signals
from buildrunner.summary import Summary, broken, exit_code, summarise


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
        self._signals = Signals()
        self._age = age
        self._began = 0.0  # monotonic

    def run(self, *, resume: bool = False, handle_signals: bool = False) -> Summary:
        """Run everything, package, and sum up. With `resume`, first look for an interrupted run of the same target.

        `handle_signals` makes INT, TERM and HUP stop the run in good order (main thread only). Raises
        NothingToRun, UsageError, LedgerBusy, LedgerError, PoolError or PackageError.
        """
        options = self._options
        self._begin()
        python, why = choose_python(options.python, os.environ)
        batch = make_batch(options, python)
        require_open_files(min(options.slots, len(batch.jobs)))
        with self._signals.handling(handle_signals), ExitStack() as stack:
            stack.callback(self._delivery.close_events)
            self._delivery.check()
            ledger = stack.enter_context(Ledger(Path(options.state), purpose=self._purpose()))
            if resume and (left := newest_broken_off(ledger, batch.key)):
                require_same_options(options, left)
                new = newcomers(ledger, left, [spec.name for spec in batch.jobs])
                summary = self._resume(ledger, left)
                return self._conclude(ledger, replace(summary, notices=(*summary.notices, *new)))
            try:
                choice = choose(ledger, options, batch)
            except NothingLeft:
                self._delivery.write_empty_junit(batch.target)
                raise
            is_part, before = len(choice.batch.jobs) < len(batch.jobs), ledger.newest(batch.key)
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
                "scripts": len(batch.jobs),
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
            del ids, files  # of very many scripts they would be held to the end
            plan = Plan(batch.jobs, durations=choice.durations, order=options.order, seed=run.id, workers=run.workers)
            summary = self._session(ledger, run).carry_out(folder, plan, jobs, choice.past)
            if batch.passed_over:
                summary = replace(summary, notices=(*summary.notices, batch.passed_over))
            if is_part:
                summary = replace(summary, notices=(*summary.notices, *_only_a_part(summary.run, before)))
            return self._conclude(ledger, summary, keep=options.keep_runs)

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
        if_changed: str | None = None,
    ) -> Summary:
        """Carry on a run that was broken off (the newest when none is named); one that is complete is summed up again.

        `deadline` in seconds, and what to do about results whose script has changed, replace the run's own.
        """
        state = Path(state_dir)
        if not (state / store.DATABASE).exists():
            store.refuse_emptied(state)
            raise UsageError(f"there is no ledger in {state}: nothing to resume; name its folder with --state DIR")
        with Ledger(state, purpose="buildrunner resume") as ledger:
            row = ledger.run(run)
            own = {"deadline": deadline, "if_changed": if_changed}
            own = {name: value for name, value in own.items() if value is not None}
            options = Options.from_json({**row.options, **own})
            server = cls.from_options(options, listeners=listeners, age=age)
            with server._signals.handling(handle_signals):
                return server._conclude(ledger, server._go_on(ledger, row, named=run is not None))

    def stop(self) -> None:
        """End the run: what runs gets TERM, the grace time, then KILL. A second call kills at once."""
        self._signals.stop()

    def _begin(self) -> None:
        """A session begins; only the first of this object had a process that began for it."""
        self._began = time.monotonic() - self._age
        self._age = 0.0

    def _go_on(self, ledger: Ledger, row: RunRow, *, named: bool) -> Summary:
        """Carry on what is broken off; of what is complete, make what it still lacks."""
        self._begin()
        if broken_off(ledger, row):
            return self._resume(ledger, row)
        ledger.forget_journals()
        notices: tuple[str, ...] = (f"run {row.name} is complete; nothing was run",)
        notices += compare(ledger, row, self._options).of_complete()
        if not named and (left := left_behind(ledger, row)):
            notices += (f"run {left.name} is interrupted: `{command(left, 'resume')}`",)
        lacked = row.exit_code == PackageError.exit_code
        unwritten = self._delivery.write_junit_late(ledger, row)
        notices += unwritten
        if row.options["zip"] and not row.archive:
            return self._deliver_late(ledger, row, notices, reported=not unwritten)
        if unwritten or (lacked and replaced(ledger, row) is None):
            row = ledger.set_run(row, exit_code=PackageError.exit_code if unwritten else exit_code(ledger, row))
        return summarise(ledger, row, notices=notices)

    def _resume(self, ledger: Ledger, run: RunRow) -> Summary:
        require_directory(run)
        require_whole(ledger, run, cannot="be carried on")
        require_open_files(run.workers)
        with ExitStack() as stack:
            stack.callback(self._delivery.close_events)
            self._delivery.check(resumed=True)
            folder = reopen(ledger, run, cannot="be carried on", purpose=self._purpose())
            stack.callback(folder.close)
            before = adoption.look(ledger, run)
            changes = compare(ledger, run, self._options, ended=before.ended)
            changes.refuse(run)
            run, jobs = self._take_up(ledger, run, changes, before.ended)
            left = {job.spec.name for _, _, job in jobs if job.state not in FINAL_STATES}
            past = ledger.past_seconds(run.key, run.args, names=left)
            open_ = {file: job for _, file, job in jobs if job.spec.name in left}
            folder.go_on(run.key, open_, never_started=[file for file, job in open_.items() if not job.attempts])
            plan = Plan(
                adoption.without_finished((job.spec for _, _, job in jobs if job.spec.name in left), left),
                durations=medians(past),
                order=self._options.order,
                seed=run.id,
                taken=set(before.running.values()),
                workers=run.workers,
            )
            return self._session(ledger, run).carry_out(folder, plan, jobs, past, before, changes)

    def _take_up(
        self, ledger: Ledger, run: RunRow, changes: Changes, ended: Collection[str]
    ) -> tuple[RunRow, list[tuple[int, str, Job]]]:
        """Record what of a run is to be run now, and return it as it is then."""
        args = self._options.args
        spent, losses = ledger.spent(run), ledger.losses(run)
        jobs, revived, specs, notes = [], [], [], []
        for row in ledger.results(run):
            name, state, again = row.name, row.state, row.name in changes.again
            decided = state in FINAL_STATES or row.attempt in ended
            if state in (JobState.WAITING, JobState.READY, JobState.CANCELLED):
                state = advance(state, JobEvent.REVIVE)
                revived.append(row.id)
            elif again and state in FINAL_STATES:
                state = advance(state, JobEvent.RERUN)
                revived.append(row.id)
            spec = before = spec_from_json(name, row.spec)
            if again or not decided:
                spec = revised(spec, run, args, changed=name in changes.found)
                if spec != before:
                    specs.append((row.id, spec))
            if decided:
                what = changes.again.get(name) or changes.found.get(name)
                if (now := noted(row, what, changes.decision)) != row.noted:
                    notes.append((row.id, now))
            tries = (0, 0) if again else (losses.get(name, 0), spent.get(name, 0))  # of what it is now
            job = Job(spec=spec, state=state, attempts=row.attempts, lost=tries[0], spent=tries[1])
            jobs.append((row.id, row.file, job))
        with ledger.transaction():
            ledger.take_up(run, revived)
            ledger.set_specs(specs)
            for id_, now in notes:
                ledger.note(id_, now)
            if args != run.args:
                ledger.set_arguments(run, args)
        return ledger.run(run.name), jobs

    def _deliver_late(self, ledger: Ledger, run: RunRow, notices: tuple[str, ...], *, reported: bool) -> Summary:
        """Make the zip that a finished run still lacks, of its own files or not at all."""
        require_directory(run)
        try:
            folder = reopen(ledger, run, cannot="be packaged any more", purpose=self._purpose())
        except LedgerBusy:
            raise
        except UsageError as exc:
            run = ledger.set_run(run, exit_code=PackageError.exit_code)
            return summarise(ledger, run, notices=(*notices, str(exc)))
        with ExitStack() as stack:
            stack.callback(folder.close)
            stack.callback(self._delivery.close_events)
            return self._session(ledger, run).deliver_late(notices, reported=reported)

    def _session(self, ledger: Ledger, run: RunRow) -> Session:
        return Session(
            ledger=ledger,
            run=run,
            options=self._options,
            delivery=self._delivery,
            listeners=self._listeners,
            signals=self._signals,
            began=self._began,
        )

    def _conclude(self, ledger: Ledger, summary: Summary, *, keep: int | None = None) -> Summary:
        """Let the record grow no longer than asked for, now that this run is in it, and make it safe on the disk."""
        if summary.copy:
            return summary
        try:
            if keep is not None:
                ledger.forget(keep, spare=lambda run: resumable(ledger, run))
            ledger.settle()
        except LedgerError as exc:
            return broken(ledger, summary.run, exc, notices=summary.notices)
        return summary

    def _purpose(self) -> str:
        return "buildrunner run " + display(" ".join(self._options.targets))


def _only_a_part(run: RunRow, before: RunRow | None) -> Iterator[str]:
    """What a user would miss who takes the output for that of all scripts, as the run before may have left it."""
    ours = [run.options["output"], *([run.options["zip"]] if run.archive else [])]
    if run.options["last_failed"]:
        places = " and ".join(map(display, ours))
        yield f"only what did not pass last time is in {places} now; a run without --last-failed puts all scripts there"
        return
    shard, new = run.options["shard"], run.options["shard_round"]
    if new["replaces"]:
        yield f"the scripts were shared out anew (plan {new['plan']}, before {new['replaces']}): run every shard again"
    if before is None or before.options.get("shard") in (None, shard):
        return
    theirs = {_absolute(before, before.options[name]) for name in ("output", "zip") if before.options[name]}
    if shared := [place for place in ours if _absolute(run, place) in theirs]:
        where, other = " and ".join(map(display, shared)), before.options["shard"]
        yield f"shard {shard} is in {where} now, where shard {other} was: give each its own with -o and --zip"


def _absolute(run: RunRow, place: str) -> str:
    return os.path.normpath(os.path.join(run.options["directory"], place))


def _run_name() -> str:
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + "-" + os.urandom(2).hex()
