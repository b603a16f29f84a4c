"""Whether a run was broken off, and whether it can be carried on: one rule for all who promise, refuse or keep it."""

import os
from collections.abc import Collection

from buildrunner.config import Options
from buildrunner.errors import UsageError
from buildrunner.job import FINAL_STATES, JobState
from buildrunner.ledger import Reader, RunRow
from buildrunner.naming import display
from buildrunner.outputfolder import replaced
from buildrunner.reports.words import command, count, option_text, seconds, shell
from buildrunner.summary import real_state, some

_MAY_DIFFER = (
    "deadline", "events", "junitxml", "keep_runs",  # they decide no result
    "if_changed", "args",  # what they do to results that are there already is in changes.py
)  # fmt: skip
_NO_OPTIONS = {"targets": "targets"}


def broken_off(reader: Reader, run: RunRow) -> bool:
    """Whether a run ended before its jobs were decided: also a finished one, of which jobs were cancelled alone."""
    state = real_state(reader, run)
    return state != "running" and (state != "finished" or not FINAL_STATES.issuperset(reader.counts(run)))


def obstacle(reader: Reader, run: RunRow, *, again: Collection[str] = ()) -> str | None:
    """Why a run that was broken off cannot be carried on; None when it can. `again`: the jobs to be run once more."""
    if not os.path.isdir(directory := run.options["directory"]):
        return f"it cannot be carried on: it was started in {display(directory)}, which is not there any more"
    if why := lacking(reader, run):
        return f"it cannot be carried on: {why}; start a new run"
    if gone := replaced(reader, run):
        return f"it cannot be carried on: {gone}"
    most = run.options.get("max_fail")
    if most is not None and _failed(reader, run, again) >= most:
        return f"--max-fail {most} is reached, so nothing more of it starts; a new run --last-failed takes up the rest"
    return None


def _failed(reader: Reader, run: RunRow, again: Collection[str]) -> int:
    if not again:
        return reader.counts(run).get(JobState.FAILED, 0)
    return sum(state is JobState.FAILED and name not in again for name, state, _ in reader.states(run))


def resumable(reader: Reader, run: RunRow) -> bool:
    """Whether there is something to carry on, and it can be."""
    return broken_off(reader, run) and obstacle(reader, run) is None


def how_to_go_on(reader: Reader, run: RunRow) -> str:
    """What can be done about a run that was broken off."""
    deadline = run.options.get("deadline")
    again = f" (it ends after {seconds(deadline)} again, unless --deadline says otherwise)" if deadline else ""
    return obstacle(reader, run) or f"carry on with: {command(run, 'resume')}{again}"


def newest_broken_off(reader: Reader, key: str) -> RunRow | None:
    """The target's newest run, if it was broken off."""
    newest = reader.newest(key)
    return newest if newest and broken_off(reader, newest) else None


def left_behind(reader: Reader, run: RunRow) -> RunRow | None:
    """The newest run before this one that can be carried on."""
    return next((other for other in reader.runs() if other.id < run.id and resumable(reader, other)), None)


def require_directory(run: RunRow) -> None:
    """UsageError when this is not where the run was started: its paths are relative to there."""
    if os.getcwd() != (where := run.options["directory"]):
        remedy = "resume it from there" if os.path.isdir(where) else "that is not there any more, so run it anew"
        raise UsageError(f"run {run.name} was started in {display(where)}: {remedy}")


def require_whole(reader: Reader, run: RunRow, *, cannot: str) -> None:
    """UsageError, saying what the run `cannot`, when scripts of it are not in the record: one that was recovered."""
    if why := lacking(reader, run):
        raise UsageError(f"run {run.name} cannot {cannot}: {why}; start a new run")


def lacking(reader: Reader, run: RunRow) -> str | None:
    """What is missing of a run in a record that was recovered; None when nothing is known to be."""
    total = run.options.get("scripts")  # not recorded by earlier versions
    there = sum(reader.counts(run).values())
    if not isinstance(total, int) or there >= total:
        return None
    return f"{total - there:,} of its {count(total, 'script')} are not in the record any more"


def require_same_options(asked: Options, run: RunRow) -> None:
    """UsageError when these are others than the run's: half of a run with other options would be neither."""
    recorded, wanted = Options.from_json(run.options).to_json(), asked.to_json()
    if len(asked.targets) == 1:  # the same one, however it was written
        recorded["targets"] = wanted["targets"]
    other = [name for name, value in wanted.items() if value != recorded[name] and name not in _MAY_DIFFER]
    if not other:
        return
    differing = [f"{_option(n)} ({_shown(n, recorded[n])}, now {_shown(n, wanted[n])})" for n in other]
    what = f"{'another' if other[0] not in _NO_OPTIONS else 'other'} " if len(other) == 1 else "other options: "
    raise UsageError(
        f"run {run.name} was begun with {what}{', '.join(differing)}: give the same options, carry it on with "
        f"`{command(run, 'resume')}`, or leave --resume out for a new run"
    )


def newcomers(reader: Reader, run: RunRow, names: Collection[str]) -> tuple[str, ...]:
    """One sentence on scripts that are there now and were not when the run began; none when there are none.

    Of a run of a part of what was there nobody can tell.
    """
    if run.options.get("shard") or run.options.get("last_failed"):
        return ()
    known = {name for name, _, _ in reader.states(run)}
    new = [] if known.isdisjoint(names) else sorted(set(names) - known)  # not written in another way
    if not new:
        return ()
    are = "is new since and is" if len(new) == 1 else "are new since and are"
    again = shell(["buildrunner", "run", *run.options["targets"]])
    return (f"{count(len(new), 'script')} {are} not part of run {run.name}: {some(new)}; `{again}` runs all there are",)


def _option(name: str) -> str:
    return _NO_OPTIONS.get(name) or "--" + name.replace("_", "-")


def _shown(name: str, value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "set" if value else "not set"
    return "not set" if value is None else option_text(name, value)
