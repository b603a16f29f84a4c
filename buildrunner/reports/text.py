"""The report a person reads when a run is over."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from buildrunner.config import Options
from buildrunner.job import JobState
from buildrunner.ledger import Reader, ResultRow, RunRow, spec_from_json
from buildrunner.machine import cpus
from buildrunner.naming import display
from buildrunner.outputfolder import held, replaced
from buildrunner.reports.tail import last_words
from buildrunner.reports.words import (
    about,
    command,
    count,
    joined,
    lasted,
    option_text,
    row_ending,
    seconds,
    shell,
    size,
)
from buildrunner.resumable import how_to_go_on
from buildrunner.summary import Summary, idle, real_state, results, slowest, summarise

_ROWS = 20
_FAILURES = 50  # in full; of more only how they ended
_NAMED = 1000
_FIGURES = {"wall": 0, "CPU": 70, "peak memory": 60, "worker": 80}  # and the columns a terminal needs to show them
_REMEMBERED = 3  # failures; after more of them how many there were has scrolled away


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would end the process with 1, whatever the run came to


def console() -> Console:
    """A console that is wide enough for whole lines where nobody told its width."""
    out = _Console(highlight=False, emoji=False, markup=False)
    if not out.is_terminal and not os.environ.get("COLUMNS"):
        out.width = 120
    return out


def print_report(
    out: Console,
    summary: Summary,
    reader: Reader,
    *,
    verbose: bool = False,
    quiet: bool = False,
    failures: bool = True,
) -> None:
    """The table, the figures, and last the failures in full, unless somebody else shows them."""
    run = summary.run
    if not quiet:
        out.print()
        _print_table(out, reader, run, None if verbose else _ROWS)
        print_figures(out, summary, reader)
    for notice in summary.notices:
        out.print(f"note: {display(notice)}", soft_wrap=True)
    if run.state != "running" and summary.left:
        how = "cancelled" if run.state == "finished" else "left to run"
        next_ = "" if summary.advised else f"; {how_to_go_on(reader, run)}"
        out.print(f"{run.state} with {count(summary.left, 'script')} {how}{next_}", soft_wrap=True)
    if failures:
        print_failures(out, summary, reader)


def print_figures(out: Console, summary: Summary, reader: Reader) -> None:
    """Totals and times."""
    run, speed, totals = summary.run, summary.speed, summary.totals
    states = ", ".join(
        f"{totals[s]:,} {s}" for s in ("passed", "failed", "skipped", "cancelled", "running", "waiting") if totals[s]
    )
    out.print(f"{count(totals['jobs'], 'script')}: {states}", soft_wrap=True)
    if run.state != "finished":  # what is left may take longer than anything that has ended
        so_far = " so far" if run.state == "running" else ""
        out.print(
            f"wall {seconds(speed.wall_seconds)}{so_far}; the scripts that have ended took "
            f"{seconds(speed.script_seconds)} together",
            soft_wrap=True,
        )
    else:
        _print_times(out, summary, reader)
    if run.archive:
        when = " when it was made" if replaced(reader, run) else ""
        out.print(
            f"{display(run.archive['path'])}: {count(run.archive['files'], 'file')}, "
            f"sha256 {run.archive['sha256']}{when}",
            soft_wrap=True,
        )
    elif run.state == "finished" and run.options["zip"] and not summary.copy and not replaced(reader, run):
        out.print(f"not packaged: `{command(run, 'package')}` makes {display(run.options['zip'])}", soft_wrap=True)


def _print_times(out: Console, summary: Summary, reader: Reader) -> None:
    """What a run that is over took, and what that could have been."""
    run, speed = summary.run, summary.speed
    out.print(
        f"wall {seconds(speed.wall_seconds)}, scripts {seconds(speed.script_seconds)} together, "
        f"{speed.concurrency:.2f} at once on average; bound {seconds(speed.bound_seconds)} "
        f"({_what_binds(summary)})",
        soft_wrap=True,
    )
    unused = [(w, idle(speed, b)) for w, b in reader.busy(run)]
    if len(unused) <= 8:
        out.print("idle: " + ", ".join(f"worker {w} {seconds(s)}" for w, s in unused), soft_wrap=True)
    else:
        out.print(f"idle: {seconds(sum(s for _, s in unused) / len(unused))} a worker on average", soft_wrap=True)
    if summary.tells_speed_up:
        crowded = f", the more so with {run.workers} at once on {count(cpus(), 'CPU')}" if run.workers > cpus() else ""
        out.print(
            f"estimated speed-up {speed.concurrency:.2f} × over one after another: an estimate, because scripts that "
            f"share the machine run slower{crowded}; `{bench_command(run)}` measures it",
            soft_wrap=True,
        )


def _what_binds(summary: Summary) -> str:
    speed = summary.speed
    if speed.bound_seconds <= speed.critical_path_seconds:
        return "the longest script: no schedule ends before it"
    return f"scripts / {summary.run.jobs} workers: no schedule ends before it"


def print_failures(out: Console, summary: Summary, reader: Reader) -> None:
    """Every job that did not pass: how it ended, its last words, its log, how to run it alone."""
    totals = summary.totals
    bad = totals["failed"]
    if not bad:
        return
    names, why = held(summary.run)
    verdict = f"{bad:,} of {count(totals['jobs'], 'script')} did not pass"
    out.print()
    out.print(Text(f"{verdict}:", style="bold red"))
    for shown, row in enumerate(reader.failures(summary.run)):
        if shown == _NAMED:
            hint = command(summary.run, "status", "--json")
            out.print(f"… and {bad - shown:,} more: {hint} names them", soft_wrap=True)
            break
        lines = failure_lines(summary.run, row, None if row.file in names else why)
        for line in lines if shown < _FAILURES else islice(lines, 1):
            out.print(line, soft_wrap=True)
    if bad > _REMEMBERED:
        why_one = command(summary.run, "why", "JOB", option="--run")
        out.print(Text(f"{verdict}; {why_one} shows one of them", style="bold red"), soft_wrap=True)


def failure_lines(run: RunRow, row: ResultRow, gone: str | None = None) -> Iterator[Text]:
    """One failure in full; without its words when its logs are `gone`, for the reason given."""
    attempts = f" after {row.attempts} attempts" if row.attempts > 1 else ""
    told = joined(row_ending(row) + attempts, lasted(row.outcome, row.seconds))
    yield Text.assemble((display(row.name), "bold"), f": {told}")
    if row.error:
        yield Text(f"    {display(row.error)}")
    if gone:
        yield Text(f"    its logs are no longer there: {gone}")
        yield Text(f"    alone: {alone_command(run, row)}")
        return
    lines, log = last_words(run, row)
    for line in lines:
        yield Text(f"    | {line}", style="dim")
    there = os.path.lexists(os.path.join(run.options["directory"], log))
    yield Text(f"    log: {shell([log])}" if there else f"    log: none at {shell([log])}")
    yield Text(f"    alone: {alone_command(run, row)}")


_BOUNDS = ("timeout", "memory", "max_output")
"""Options without which a script that had to be held could do harm when it is run again."""


def alone_command(run: RunRow, row: ResultRow) -> str:
    """The command that runs one job again by itself, as it was run."""
    words = ["buildrunner", "run", "--no-zip", *_options(run, "python", "cwd", "threads", "output", "state", *_BOUNDS)]
    spec = spec_from_json(row.name, row.spec)
    script = spec.script or row.name
    words.append("./" + script if script.startswith("-") else script)
    return shell([*words, "--", *spec.args] if spec.args else words)


def bench_command(run: RunRow) -> str:
    """The command that measures the same scripts both ways."""
    words = [
        "buildrunner",
        "bench",
        *_options(run, "jobs", "recursive", "include", "exclude", "python", "cwd", "threads", "timeout"),
    ]
    words += run.options["targets"]
    return shell([*words, "--", *run.args] if run.args else words)


def _options(run: RunRow, *names: str) -> list[str]:
    """The named options as they were given to the run, where they are not the built-in ones."""
    words = []
    for name in names:
        value = run.options[name]
        if value is True:
            words.append(f"--{name}")
        elif isinstance(value, list):
            words += [f"--{name}={item}" for item in value]
        elif value != Options.__dataclass_fields__[name].default:
            words.append(f"--{name.replace('_', '-')}={option_text(name, value)}")
    return words


def _print_table(out: Console, reader: Reader, run: RunRow, limit: int | None) -> None:
    total = sum(reader.counts(run).values())
    rows = _slowest(slowest(reader, run, limit) if limit else results(reader, run))
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("script", overflow="fold", min_width=8)
    table.add_column("result", overflow="fold", min_width=8)
    figures = [heading for heading, width in _FIGURES.items() if out.width >= width]
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        style = "red" if row.state is JobState.FAILED else None
        told = {
            "wall": lasted(row.outcome, row.seconds),
            "CPU": lasted(row.outcome, row.cpu_seconds),
            "peak memory": size(row.max_rss_bytes),
            "worker": "" if row.worker is None else str(row.worker),
        }
        table.add_row(display(row.name), Text(row_ending(row), style=style or ""), *(told[f] for f in figures))
    out.print(table)
    if len(rows) < total:
        out.print(
            f"the {len(rows)} slowest of {total:,}, failures last; `{command(run, 'status', '-v')}` shows all\n",
            soft_wrap=True,
        )


def print_running(out: Console, reader: Reader, run: RunRow) -> None:
    """What runs now."""
    since, now = reader.dispatched(run), reader.now()
    for name, worker in reader.at_work(run).items():
        had = about(max(0.0, now - since[name])) if name in since else "a moment"
        out.print(f"running on worker {worker} for {had}: {display(name)}", soft_wrap=True)


def print_history(out: Console, reader: Reader, runs: Iterable[RunRow]) -> None:
    """One line a run."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("run", no_wrap=True, min_width=20)  # to be copied, so never cut
    table.add_column("target", overflow="fold", min_width=6)
    table.add_column("state", no_wrap=True)
    for heading in ("scripts", "failed", "wall", "speed-up"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in runs:
        summary = summarise(reader, run)
        total = summary.totals["jobs"]
        left = summary.left + summary.totals["running"]
        table.add_row(
            run.name,
            display(run.target),
            real_state(reader, run),
            f"{total - left:,} of {total:,}" if left else f"{total:,}",
            f"{summary.totals['failed']:,}" if summary.totals["failed"] else "",
            seconds(summary.speed.wall_seconds),
            f"{summary.speed.concurrency:.2f} ×" if summary.tells_speed_up else "",
        )
    out.print(table)
    out.print("speed-up: estimated from the run alone", style="dim")


def _slowest(rows: Iterable[ResultRow]) -> list[ResultRow]:
    """The rows, slowest first, what failed last."""
    return sorted(rows, key=lambda r: (r.state is JobState.FAILED, -(r.seconds or 0.0)))
