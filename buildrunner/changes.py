"""What has changed since it was run, when a run is carried on, and what becomes of the results that are there already.

A result is of a script's content, its modules' (sources.py) and its arguments; the interpreter is the run's own, as it
was named then. What has no result yet is run as it is now, so nothing needs to be decided about it.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from buildrunner.config import IfChanged, Options
from buildrunner.errors import UsageError
from buildrunner.interpreters import command_for
from buildrunner.job import FINAL_STATES, JobSpec, JobState
from buildrunner.ledger import Noted, Reader, ResultRow, RunRow, spec_from_json
from buildrunner.naming import display
from buildrunner.reports.words import count, shell
from buildrunner.sources import Sources, changed_modules

_NAMED = 10  # scripts in one sentence
ITSELF = "it changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Jobs with a result, and how what they ran has changed since; `gone` are those whose script cannot be read now.

    `again` are the jobs to be run again, each with the reason: those that have changed, what comes after them, and
    what had been skipped for their sake.
    """

    decision: IfChanged
    found: Mapping[str, str]
    gone: Collection[str] = ()
    again: Mapping[str, str] = field(default_factory=dict)

    def refuse(self, run: RunRow) -> None:
        """UsageError if there are any and that is what was asked for."""
        if self.decision is not IfChanged.STOP or not (self.found or self.gone):
            return
        told = [told for told in (_changed(self.found), _gone(self.gone)) if told]
        raise UsageError(
            f"run {run.name} is not carried on: {'; '.join(told)}. --if-changed rerun runs again what changed, "
            "--if-changed keep leaves the results as they are"
        )

    def notices(self) -> tuple[str, ...]:
        """Sentences on what changed, and what becomes of it."""
        notices = []
        if self.found:
            one = len(self.found) == 1
            if self.decision is IfChanged.KEEP:
                becomes = "its result is kept" if one else "their results are kept"
            else:
                becomes = "it is run again" if one else "they are run again"
            notices.append(f"{_changed(self.found)}; {becomes}")
        followers = {name: why for name, why in self.again.items() if name not in self.found}
        if followers:
            notices.append(f"run again because of that: {_listed(followers)}")
        if self.gone:
            whose = "its result is" if len(self.gone) == 1 else "their results are"
            notices.append(f"{_gone(self.gone)}; {whose} kept")
        return tuple(notices)

    def of_complete(self) -> tuple[str, ...]:
        """The same about a run that is complete, of which nothing is run any more."""
        told = [f"{_changed(self.found)}; a new run runs what is there now"] if self.found else []
        return (*told, *([_gone(self.gone)] if self.gone else []))


def compare(reader: Reader, run: RunRow, options: Options, *, ended: Collection[str] = ()) -> Changes:
    """Hold the results of a run against what lies there now, and the arguments against those of `options`.

    `ended` are attempts whose receipts are still to be adopted. Scripts' paths are relative to the run's directory.
    """
    sources = Sources(run.options["directory"])
    found, gone, rows = {}, [], []
    for row in reader.results(run):
        spec = spec_from_json(row.name, row.spec)
        decided = row.state in FINAL_STATES or (row.attempt and row.attempt in ended)
        rows.append((row.state if decided else JobState.WAITING, spec))
        if not decided or row.state is JobState.SKIPPED:
            continue
        what, is_gone = difference(row, spec, sources, options.args)
        if is_gone:
            gone.append(row.name)
        elif what:
            found[row.name] = what
    again = _again(rows, found, options) if options.if_changed is IfChanged.RERUN else {}
    return Changes(
        decision=options.if_changed, found=found, gone=gone, again={n: why for n, why in again.items() if n not in gone}
    )


def difference(
    row: ResultRow, spec: JobSpec, sources: Sources, args: tuple[str, ...] | None = None
) -> tuple[str | None, bool]:
    """How what a job would run now differs from what its last attempt ran, in words, and whether it is gone."""
    now, modules = sources.of(spec.script, spec.command)
    if now is None and row.script_sha256 is not None:
        return None, True
    what = []
    if now != row.script_sha256:
        what.append(ITSELF if row.script_sha256 else "it could not be read before")
    if row.modules is not None and (became := changed_modules(row.modules, modules)):
        what.append(became)
    if args is not None and args != spec.args:
        what.append(f"its arguments changed from {_words(spec.args)} to {_words(args)}")
    return ", ".join(what) or None, False


def revised(spec: JobSpec, run: RunRow, args: tuple[str, ...], *, changed: bool) -> JobSpec:
    """The job as it is to be run now: with these arguments, and by the program its first line names if it `changed`."""
    command = spec.command
    if changed and spec.script is not None:
        command = command_for(os.path.join(run.options["directory"], spec.script), run.python)
    return spec if (command, args) == (spec.command, spec.args) else replace(spec, command=command, args=args)


def noted(row: ResultRow, what: str | None, decision: IfChanged) -> tuple[Noted, ...]:
    """What the record shall say of a job's changes, now that its last attempt was looked at once more."""
    before = tuple(one for one in row.noted if one.attempt != row.attempt)
    return before if what is None or row.attempt is None else (*before, Noted(row.attempt, str(decision), what))


def _again(rows: Iterable[tuple[JobState, JobSpec]], found: Mapping[str, str], options: Options) -> dict[str, str]:
    """What is to be run again, with the reason: what changed, and by and by all that comes after it."""
    again = dict(found)
    rows = list(rows)
    if (most := options.max_fail) is not None and found:
        failed = {spec.name for state, spec in rows if state is JobState.FAILED}
        if len(failed) >= most > len(failed.difference(found)):  # what was skipped for that has its turn after all
            left = failed.difference(found)
            again |= {
                spec.name: "it was skipped because too many had failed"
                for state, spec in rows
                if state is JobState.SKIPPED and left.isdisjoint(spec.after)
            }
    after = [(state, spec) for state, spec in rows if spec.after]
    more = True
    while more and after:
        more = False
        for state, spec in after:
            before = next((name for name in spec.after if name in again), None)
            if before is not None and spec.name not in again and state is not JobState.WAITING:
                again[spec.name] = f"it comes after {display(before)}"
                more = True
    return again


def _changed(found: Mapping[str, str]) -> str:
    if not found:
        return ""
    since = "has changed since it ran" if len(found) == 1 else "have changed since they ran"
    return f"{count(len(found), 'script')} {since}: {_listed(found)}"


def _gone(names: Collection[str]) -> str:
    if not names:
        return ""
    return f"{count(len(names), 'script')} cannot be read any more: {_listed(dict.fromkeys(names, ITSELF))}"


def _listed(found: Mapping[str, str]) -> str:
    shown = [display(n) if why == ITSELF else f"{display(n)} ({why})" for n, why in list(found.items())[:_NAMED]]
    more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
    return ", ".join(shown) + more


def _words(args: tuple[str, ...]) -> str:
    return shell(list(args)) or "none"
