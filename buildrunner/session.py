"""One server's part of a run, from its first script to the summary; an interrupted run has more than one of them."""

import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from buildrunner import adoption, assignments, preloading
from buildrunner.changes import Changes
from buildrunner.config import Options
from buildrunner.control import Control
from buildrunner.delivery import Delivery
from buildrunner.edits import Edits
from buildrunner.errors import LedgerError, PackageError, PoolError, UsageError
from buildrunner.events import Listener, Listeners, Packaged, Packaging, RunEnded, RunStarted
from buildrunner.job import Job
from buildrunner.ledger import Ledger, RunRow
from buildrunner.ledger.journals import folder as folder_of_journals
from buildrunner.loop import Loop
from buildrunner.naming import display
from buildrunner.outputfolder import OutputFolder, left_files
from buildrunner.plan import Plan
from buildrunner.pool import WorkerPool
from buildrunner.reports.words import command
from buildrunner.signals import Interrupted, Signals
from buildrunner.strays import Strays
from buildrunner.summary import Summary, broken, exit_code, not_packaged, summarise, truncated, wall_seconds
from buildrunner.workplace import Workplace


class Session:
    """Carries a recorded run out, or on, and hands over what it came to."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        run: RunRow,
        options: Options,
        delivery: Delivery,
        listeners: Iterable[Listener],
        signals: Signals,
        began: float,
    ) -> None:
        """`began` (monotonic) is when it began for whoever asked for it."""
        self._ledger = ledger
        self._run = run
        self._options = options
        self._delivery = delivery
        self._given = tuple(listeners)
        self._listeners = Listeners()
        self._signals = signals
        self._began = began
        self._notices: tuple[str, ...] = ()
        self._preloading = preloading.Preloading()

    def carry_out(
        self,
        folder: OutputFolder,
        plan: Plan,
        jobs: Sequence[tuple[int, str, Job]],
        past: Mapping[str, Sequence[float]],
        left: adoption.Leftovers | None = None,
        changes: Changes | None = None,
    ) -> Summary:
        """Run what the plan holds, then package and sum up. A record that fails ends it, with exit code 3.

        `jobs` are all of the run, each with its number in the ledger and its file name. When the run is carried on,
        `left` is what an earlier server left of it, and `changes` what had changed by then.
        """
        try:
            return self._carry_out(folder, plan, jobs, past, left, changes)
        except LedgerError as exc:  # what ran has been ended
            return self._end(broken(self._ledger, self._run, exc, notices=self._notices))

    def _carry_out(
        self,
        folder: OutputFolder,
        plan: Plan,
        jobs: Sequence[tuple[int, str, Job]],
        past: Mapping[str, Sequence[float]],
        left: adoption.Leftovers | None,
        changes: Changes | None,
    ) -> Summary:
        resumed = left is not None
        told = changes.notices() if changes else ()
        self._notices += told
        before = wall_seconds(self._ledger, self._run) if resumed else 0.0
        files = {job.spec.name: file for _, file, job in jobs} if self._delivery.events else {}
        self._begin(files, resumed=resumed)
        del files  # of very many scripts it would be held to the end
        journals = folder_of_journals(self._ledger.state, self._run.name)
        journals.mkdir(parents=True, exist_ok=True)
        strays = Strays(self._run.options["directory"], self._options, [job.spec for _, _, job in jobs])
        edits = Edits(self._run.options["directory"], [job.spec for _, _, job in jobs])
        if self._options.preload:
            self._preloading = preloading.of(self._options, self._run, [job.spec for _, _, job in jobs], self._ledger)
        pool = self._make_pool(folder, journals)
        control = self._open_control()
        workplace = Workplace(self._run, folder)
        loop = self._make_loop(folder, plan, pool, jobs, control, workplace)
        with control or nullcontext():
            done = False
            try:
                begins_with = loop.done, loop.undecided()  # what is adopted is told, and counted, as it ends
                with self._signals.stopping(loop, pool.wakeup_fd):
                    if left is not None:
                        adoption.adopt(loop, left, changes.again if changes else {})
                    began = time.time() - (time.monotonic() - self._began)
                    self._record(
                        state="running", finished=None, wall=before, session=began, exit_code=None, archive=None
                    )
                    self._announce(begins_with, len(jobs), past, told, resumed=resumed)
                    pool.start()
                    loop.run()
                done = True
            finally:
                if not done:
                    pool.stop(0)
                pool.close()
            self._record_end(loop, before)
            loop.answer_all()
        self._notices += self._preloading.notices(self._options.preload)
        self._notices += strays.notices() + edits.notices(self._ledger, self._run)
        self._notices += not_packaged(self._ledger, self._run) + truncated(self._ledger, self._run)
        try:
            folder.finish(self._run.key, left_files(self._ledger, self._run))
        except UsageError as exc:
            self._notices += () if loop.fault else (str(exc),)
        self._notices += (loop.fault,) if loop.fault else ()
        shutil.rmtree(journals, ignore_errors=True)
        unwritten = self._delivery.write_junit(self._ledger, self._run)
        self._notices += unwritten
        if unwritten and loop.state != "interrupted":
            self._record(exit_code=PackageError.exit_code)
        if loop.state == "finished" and (gone := workplace.of_outputs() or workplace.of_way()):
            remedy = (
                f"put it back as it was, then `{command(self._run, 'package')}`; what is lost there needs a new run"
            )
            self._notices += (f"{gone}: {remedy}",)
            self._record(exit_code=PackageError.exit_code)
            return self._end(self._summary())
        if loop.state == "finished":
            return self._deliver(whole=resumed, reported=not unwritten)
        if self._options.zip and os.path.exists(self._options.zip):
            self._notices += (f"{display(self._options.zip)} is that of an earlier run",)
        return self._end(replace(self._summary(), advised=loop.fault is not None))

    def deliver_late(self, notices: tuple[str, ...], *, reported: bool) -> Summary:
        """Make the zip that a finished run still lacks. `reported`: whether its JUnit report is in its place."""
        self._notices = notices
        self._delivery.open_events(resumed=True)
        self._begin({}, resumed=True)
        try:
            return self._deliver(whole=True, reported=reported)
        except LedgerError as exc:
            return self._end(broken(self._ledger, self._run, exc, notices=self._notices))

    # before

    def _begin(self, files: Mapping[str, str], *, resumed: bool) -> None:
        """From here on those listen who were given, and the file of events."""
        self._delivery.begin(self._run, files, resumed=resumed)
        events = self._delivery.events
        self._listeners = Listeners((*self._given, events) if events else self._given)

    def _make_pool(self, folder: OutputFolder, journals: Path) -> WorkerPool:
        run = self._run
        environ = assignments.environment(os.environ, run=run.name, parallel=run.workers, threads=self._options.threads)
        directory = run.options["directory"]

        def hello(worker: int) -> dict[str, Any]:
            return {
                "env": environ | {"BUILDRUNNER_WORKER_ID": str(worker)},
                "cwd": directory,
                "ready": folder.ready(worker),
                "limits": (self._options.memory, self._options.max_output),
            }

        own_process = self._signals.handled  # whoever hands over its signals is the command, not a program around this
        return WorkerPool(
            run.workers,
            folder=str(journals.absolute()),
            hello=hello,
            own_process=own_process,
            warm=run.python if self._options.mode != "cold" else None,
            preloading=self._preloading,
        )

    def _open_control(self) -> Control | None:
        """What other terminals can ask through, where there is such a thing to be had."""
        try:
            return Control(self._ledger.state)
        except OSError as exc:
            self._notices += (f"`buildrunner cancel` could not have reached this run: {exc.strerror or exc}",)
            return None

    def _make_loop(
        self,
        folder: OutputFolder,
        plan: Plan,
        pool: WorkerPool,
        jobs: Iterable[tuple[int, str, Job]],
        control: Control | None,
        workplace: Workplace,
    ) -> Loop:
        directory, options = self._run.options["directory"], self._options
        if control:
            pool.watch(control.fileno())
        return Loop(
            ledger=self._ledger,
            run=self._run,
            plan=plan,
            pool=pool,
            jobs=jobs,
            assign=assignments.assigner(folder, directory, grace=options.grace, resume=command(self._run, "resume")),
            directory=directory,
            listeners=self._listeners,
            max_fail=options.max_fail,
            grace=options.grace,
            deadline=None if options.deadline is None else self._began + options.deadline,
            control=control,
            fault=workplace.fault,
        )

    def _announce(
        self,
        begins_with: tuple[int, Sequence[str]],
        total: int,
        past: Mapping[str, Sequence[float]],
        notices: Sequence[str],
        *,
        resumed: bool,
    ) -> None:
        run, (done, jobs) = self._run, begins_with
        self._listeners.tell(
            RunStarted(
                run=run.name,
                target=run.target,
                total=total,
                done=done,
                workers=run.workers,
                python=run.python,
                python_why=run.options["python_why"],
                resumed=resumed,
                choice=run.options.get("choice", ""),
                notices=notices,
                jobs=jobs,
                past=past,
            )
        )

    # after

    def _record(self, **columns: object) -> None:
        self._run = self._ledger.set_run(self._run, **columns)

    def _record_end(self, loop: Loop, before: float) -> None:
        self._record(
            state=loop.state,
            finished=time.time(),
            wall=max(0.0, (loop.last_end or time.monotonic()) - self._began) + before,
            session=None,
            exit_code=self._exit_code(loop),
        )
        if found := self._preloading.to_record():
            self._record(preloads=found)
        self._ledger.sum_up(self._run)

    def _exit_code(self, loop: Loop) -> int:
        if loop.fault:
            return PoolError.exit_code
        first = self._signals.first
        return 128 + first if loop.state == "interrupted" and first else exit_code(self._ledger, self._run)

    def _summary(self) -> Summary:
        return summarise(self._ledger, self._run, notices=self._notices)

    def _deliver(self, *, whole: bool, reported: bool) -> Summary:
        """Package if that was asked for, and end. `whole`: see `package`; `reported`: see `deliver_late`."""
        try:
            if self._options.zip:
                self._package(whole=whole, reported=reported)
        except Interrupted as exc:
            self._notices += (str(exc),)
            return self._end(replace(self._summary(), exit_code=exc.exit_code))
        except (UsageError, PackageError) as exc:
            why = str(exc)
            if isinstance(exc, UsageError):
                why += f"; nothing is lost: `{command(self._run, 'package', '--zip', 'FILE')}` makes it"
            self._notices += (why,)
            self._record(exit_code=PackageError.exit_code)
        return self._end(self._summary())

    def _package(self, *, whole: bool, reported: bool) -> None:
        assert self._options.zip
        if self._signals.first is None:
            self._listeners.tell(Packaging(path=self._options.zip))
        with self._signals.breaking_off(self._run):  # but no listener in the middle of a line
            archive, changed = self._delivery.package(self._ledger, self._run, whole=whole)
        self._notices += changed
        self._record(
            archive=archive, exit_code=exit_code(self._ledger, self._run) if reported else PackageError.exit_code
        )
        self._listeners.tell(Packaged(path=archive["path"], sha256=archive["sha256"], files=archive["files"]))

    def _end(self, summary: Summary) -> Summary:
        """Tell the listeners that this was all, and the user what they could not write."""
        self._listeners.tell(
            RunEnded(
                run=summary.run.name,
                state=summary.run.state,
                exit_code=summary.exit_code,
                wall_seconds=summary.speed.wall_seconds,
                totals=summary.totals,
            )
        )
        return replace(summary, notices=(*summary.notices, *self._listeners.faults, *self._delivery.close_events()))
