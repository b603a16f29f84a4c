"""Why a job ran, waits, was skipped, or did not pass: what the record knows, as heading and text."""

import time
from collections.abc import Iterator

from buildrunner import preloading
from buildrunner.changes import ITSELF, difference
from buildrunner.estimate import Estimates
from buildrunner.job import FINAL_STATES, JobSpec, JobState, Outcome
from buildrunner.ledger import Reader, ResultRow, RunRow, spec_from_json
from buildrunner.machine import is_here
from buildrunner.naming import display
from buildrunner.outputfolder import held
from buildrunner.plan import Order, Plan, medians
from buildrunner.reports.tail import last_words
from buildrunner.reports.text import alone_command
from buildrunner.reports.words import LIKE, about, command, count, ending, joined, lasted, row_ending, seconds, shell
from buildrunner.resumable import how_to_go_on
from buildrunner.sources import Sources
from buildrunner.summary import real_state, results, stamp

Reason = tuple[str, str]
COMMANDS = ("follow", "alone")
"""The headings whose text is a command line; they come last."""


def reasons(reader: Reader, run: RunRow, row: ResultRow) -> Iterator[Reason]:
    """Everything the record can say, most important first."""
    told = joined(row_ending(row), lasted(row.outcome, row.seconds))
    yield "", f"{display(row.name)} in run {run.name}: {told}"
    match row.state:
        case JobState.WAITING:
            yield from _waits(reader, run, row)
        case JobState.RUNNING:
            yield "runs", _runs(reader, run, row)
        case JobState.SKIPPED:
            yield "was skipped", display(row.error or "")
        case JobState.CANCELLED:
            yield "was cancelled", f"{display(row.error or 'no reason is recorded')}; {how_to_go_on(reader, run)}"
        case JobState.FAILED:
            yield "did not pass", _failure(run, row)
    yield "was chosen", _chosen(reader, run, row)
    yield from _when(reader, run, row)
    yield from _attempts(reader, row)
    for again in row.repeats:
        yield "run again", f"because {again.what}"
    if row.outdated:
        yield "was kept", f"although {row.outdated}, when the run was carried on (--if-changed keep)"
    if row.state is JobState.FAILED:
        yield from _no_more(run, row)
    yield from _script(run, row)
    if row.mode == "warm":
        yield from _preloads(reader, run)
    if row.attempts:
        yield from _logs(run, row)


def _waits(reader: Reader, run: RunRow, row: ResultRow) -> Iterator[Reason]:
    state = real_state(reader, run)
    if state != "running" and row.attempts and row.outcome is None:
        yield "waits", f"it had started when the run was {state}; {how_to_go_on(reader, run)}"
        return
    if state != "running":
        yield "waits", f"the run was {state} before its turn came; {how_to_go_on(reader, run)}"
        return
    rows = {r.name: r for r in results(reader, run)}
    before = [name for name in _spec(row).after if name in rows and rows[name].state not in FINAL_STATES]
    if before:
        yield "waits", "it comes after " + ", ".join(f"{display(n)} ({rows[n].state})" for n in before)
        return
    order = _order(reader, run, [r for r in rows.values() if r.state is JobState.WAITING])
    ahead = order.index(row.name) if row.name in order else 0
    busy = ", ".join(display(name) for name, r in rows.items() if r.state is JobState.RUNNING)
    yield "waits", f"{count(ahead, 'script')} will start before it, and the workers are at {busy or 'nothing yet'}"


def _runs(reader: Reader, run: RunRow, row: ResultRow) -> str:
    text = f"attempt {row.attempts} on worker {row.worker}"
    since = reader.dispatched(run).get(row.name)
    if since is None:
        return text
    had = max(0.0, reader.now() - since)
    return f"{text} since {stamp(time.time() - had)}, for {about(had)}"


def _order(reader: Reader, run: RunRow, rows: list[ResultRow]) -> list[str]:
    """The names in the order in which the plan would hand them out now."""
    specs = [JobSpec(name=row.name, priority=_spec(row).priority) for row in rows]
    names = {row.name for row in rows}
    plan = Plan(
        specs,
        durations=medians(reader.past_seconds(run.key, run.args, names=names, until=run.id - 1)),
        order=Order(run.options["order"]),
        seed=run.id,
        workers=run.workers,
    )
    found = []
    while spec := plan.take():
        found.append(spec.name)
    return found


def _failure(run: RunRow, row: ResultRow) -> str:
    how = ending(row.outcome, row.exit_code, row.signal)
    match row.outcome:
        case Outcome.EXITED if row.error:
            return f"{display(row.error)}; it ended with {how}"
        case Outcome.EXITED:
            return f"it ended by itself with {how}; only 0 means that all went well"
        case Outcome.SIGNALLED:
            shell = 128 + (row.signal or 0)
            return f"it was ended by {how}, which buildrunner did not send; a shell would call that {shell}"
        case Outcome.TIMED_OUT:
            how = how.removeprefix("timed out, ")
            return f"it ran longer than {seconds(_spec(row).timeout)} (--timeout) and was told to end: {how}"
        case Outcome.SPAWN_ERROR:
            return display(row.error or how)
        case Outcome.LOST:
            return (
                f"its worker process died {count(row.lost, 'time')}, and it with it; nothing says that it was to blame"
            )
        case _:
            return f"{how}: {display(row.error or 'no reason is recorded')}"


def _chosen(reader: Reader, run: RunRow, row: ResultRow) -> str:
    total = sum(reader.counts(run).values())
    text = f"one of {count(total, 'script')} of {display(run.target)}"
    if choice := run.options.get("choice"):
        text += f" ({choice})"
    for option in ("include", "exclude"):
        if globs := run.options[option]:
            text += f", --{option} {' '.join(map(display, globs))}"
    return text


def _when(reader: Reader, run: RunRow, row: ResultRow) -> Iterator[Reason]:
    past = reader.past_seconds(run.key, run.args, names=[row.name], until=run.id - 1).get(row.name, [])
    last = "in its last run" if len(past) == 1 else f"in its last {len(past)} runs"
    if row.started is not None:
        place = reader.started_before(run, row) + 1
        yield "started", f"{stamp(row.started)} on worker {row.worker}, as number {place:,}"
    order = Order(run.options["order"])
    known = f"it took {_range(past)} {last}" if past else "no run of it had ended yet"
    if not past and order in (Order.LONGEST, Order.SHORTEST):
        known += _counted(reader, run, row)
    by = {
        Order.LONGEST: f"longest first, and {known}",
        Order.SHORTEST: f"shortest first, and {known}",
        Order.NAME: "by name",
        Order.RANDOM: "random",
    }
    yield "order", by[order]
    decided = row.state in (JobState.PASSED, JobState.FAILED) and row.outcome is not Outcome.LOST
    if past and row.seconds is not None and decided:
        typical = medians({row.name: past})[row.name]
        if typical > 0:
            yield "time", f"{seconds(row.seconds)}, {row.seconds / typical:.2f} × its usual {seconds(typical)}"


def _counted(reader: Reader, run: RunRow, row: ResultRow) -> str:
    """What a script that had never run was expected to take, and by what."""
    past = reader.past_seconds(run.key, run.args, names=set(reader.job_names(run)), until=run.id - 1)
    if not past:
        return ""
    found = Estimates(medians(past)).of(row.name)
    return f", so it was taken to last {LIKE[found.rule]}: {seconds(found.seconds)}"


def _range(times: list[float]) -> str:
    low, high = seconds(min(times)), seconds(max(times))
    return low if low == high else f"{low} to {high}"


def _attempts(reader: Reader, row: ResultRow) -> Iterator[Reason]:
    if row.attempts < 2:
        return
    for number, outcome, code, signal, took, worker, superseded in reader.endings(row):
        by = "" if worker is None else f"worker {worker}"
        late = "came too late to count" if superseded else ""
        yield f"attempt {number}", joined(ending(outcome, code, signal), lasted(outcome, took), by, late)


def _no_more(run: RunRow, row: ResultRow) -> Iterator[Reason]:
    retries = _spec(row).retries
    if row.outcome is Outcome.SPAWN_ERROR:
        yield "not retried", "another attempt would meet the same missing program"
    elif row.outcome is not Outcome.LOST:
        yield "not retried", "no --retries were asked for" if not retries else f"--retries {retries} are used up"


def _script(run: RunRow, row: ResultRow) -> Iterator[Reason]:
    spec = _spec(row)
    if spec.script is None or row.script_sha256 is None:
        return
    what, is_gone = difference(row, spec, Sources(run.options["directory"]))
    if is_gone:
        place = run.options["directory"]
        where = "" if is_here(place) else f" from {display(place)}, where the run was"
        yield "script", f"{display(spec.script)} cannot be read any more{where}"
        return
    how = "" if what == ITSELF else f": {what}"
    same = f"CHANGED since it ran{how}" if what else "as it was when it ran"
    yield "script", f"{display(spec.script)}, {same}"


def _preloads(reader: Reader, run: RunRow) -> Iterator[Reason]:
    for found in reader.preloads(run.python, run):
        there, left_out = preloading.told(preloading.recorded(found))
        if there:
            yield "preloaded", there
        for sentence in left_out:
            yield "left out", display(sentence)


def _logs(run: RunRow, row: ResultRow) -> Iterator[Reason]:
    names, gone = held(run)
    if row.file not in names:
        yield "logs", f"no longer there: {gone}"
    else:
        lines, path = last_words(run, row)
        if row.state is JobState.FAILED:
            yield "last words", "\n".join(lines)
        yield "log", display(path)
    if row.mode:
        yield "mode", row.mode if not row.why_cold else f"cold by itself, because {display(row.why_cold)}"
    if row.truncated:
        cut = " and ".join(f"{gone:,} bytes of {stream}" for stream, gone in row.truncated)
        yield "left out", f"{cut}: its beginning and its end were kept (--max-output)"
    if row.state is JobState.RUNNING:
        name = shell(["--", row.name] if row.name.startswith("-") else [row.name])
        yield "follow", f"{command(run, 'logs', '-f', option='--run')} {name}"
    if row.state in (JobState.FAILED, JobState.CANCELLED):
        yield "alone", alone_command(run, row)


def _spec(row: ResultRow) -> JobSpec:
    return spec_from_json(row.name, row.spec)
