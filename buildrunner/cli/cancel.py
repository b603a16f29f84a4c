"""`buildrunner cancel`: ends a run, or some of its jobs, from another terminal."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from buildrunner.cli.options import state_option
from buildrunner.errors import UsageError

if TYPE_CHECKING:
    from buildrunner.ledger import Reader, RunRow

_BEYOND_GRACE = 20.0  # seconds a server may need to answer after its scripts' grace time
_GONE_WITHIN = 10.0  # seconds for what was killed to disappear
_LISTENS_WITHIN = 3.0  # seconds between a run's entry in the record and its server's socket


@click.command("cancel")
@click.argument("run", required=False)
@click.option("--job", multiple=True, metavar="GLOB", help="Only jobs whose name matches (repeatable).")
@state_option
def command(run: str | None, job: tuple[str, ...], state: str) -> int:
    """End a RUN that goes on (the newest when none is named), or only some of its jobs.

    What runs gets TERM and, after the run's grace time, KILL; asking again kills at once. This command ends when the
    processes are gone. What was cancelled can be carried on with `buildrunner resume`.
    """
    from buildrunner.control import Unreachable, is_meant
    from buildrunner.ledger import Reader
    from buildrunner.summary import real_state

    reader = Reader.open(Path(state))
    give_up = time.monotonic() + _LISTENS_WITHIN
    try:
        row = reader.run(run)
        while (now := real_state(reader, row)) == "running":
            try:
                code = _ask(reader, row, job)
            except Unreachable:  # it is about to listen, or has just ended, unless it never will
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.02)
            else:
                if code is not None:
                    return code
            row = reader.run(row.name)
        if job and not any(is_meant(name, job) for name in reader.job_names(row)):
            raise _nothing_meant(reader, row, job)
        if now == "interrupted":
            return _take_over(row, Path(state))
        return _say_over(row, now)
    finally:
        reader.close()


def _say_over(run: "RunRow", state: str) -> int:
    click.echo(f"run {run.name} is {state}: nothing of it runs")
    return 0


def _ask(reader: "Reader", run: "RunRow", jobs: tuple[str, ...]) -> int | None:
    """Let the server end it, and see for ourselves that the processes are gone; None when it went without an answer."""
    from buildrunner import control
    from buildrunner.processes import carriers

    limit = run.options["grace"] + _BEYOND_GRACE
    try:
        answer = control.ask(reader.state, run.name, jobs or None, seconds=limit, alive=reader.alive)
    except TimeoutError:
        click.echo(f"run {run.name} has not ended within {limit:g} s; `cancel` once more kills at once", err=True)
        return 1
    if answer is None:
        return None
    if "error" in answer:
        raise UsageError(str(answer["error"]))
    run = reader.run(run.name)
    if not jobs and run.state == "finished":
        click.echo(f"run {run.name} is finished: it ended by itself before it could be cancelled")
        return 0
    deadline = time.monotonic() + _GONE_WITHIN
    while (left := carriers(answer["ended"])) or (not jobs and reader.alive()):
        if time.monotonic() > deadline:
            alive = f"alive still: {', '.join(map(str, left))}" if left else "buildrunner itself has not ended yet"
            click.echo(f"run {run.name} is cancelled, but not all of its processes are gone: {alive}", err=True)
            return 1
        time.sleep(0.02)
    if jobs:
        _tell_jobs(reader, run, jobs, answer)
    else:
        _tell_run(reader, run)
    return 0


def _nothing_meant(reader: "Reader", run: "RunRow", jobs: tuple[str, ...]) -> UsageError:
    from buildrunner.naming import display

    hint = "; ".join(filter(None, (reader.near(run, glob) for glob in jobs)))
    asked = " or ".join(f"'{display(glob)}'" for glob in jobs)
    return UsageError(f"no job of run {run.name} matches {asked}{hint and '; ' + hint}")


def _tell_run(reader: "Reader", run: "RunRow") -> None:
    from buildrunner.job import FINAL_STATES
    from buildrunner.reports.words import count
    from buildrunner.resumable import how_to_go_on

    undecided = sum(number for state, number in reader.counts(run).items() if state not in FINAL_STATES)
    click.echo(
        f"run {run.name} is cancelled and its processes are gone; {count(undecided, 'script')} left to run; "
        f"{how_to_go_on(reader, run)}"
    )


def _tell_jobs(reader: "Reader", run: "RunRow", jobs: tuple[str, ...], answer: dict[str, Any]) -> None:
    from buildrunner.naming import display
    from buildrunner.reports.words import count

    if not answer["matched"]:
        raise _nothing_meant(reader, run, jobs)
    if not answer["ended"] and not answer["dropped"]:
        click.echo(f"nothing to cancel: {count(answer['matched'], 'script')} had ended before")
    for name in answer["ended"].values():
        state = answer["kept"].get(name)
        how = f"{state}, it ended by itself before" if state else "cancelled, its processes are gone"
        click.echo(f"{display(name)}: {how}")
    for name in answer["dropped"]:
        click.echo(f"{display(name)}: cancelled before it started")
    if answer["more"]:
        click.echo(f"and {answer['more']:,} more that had not started")


def _take_over(run: "RunRow", state: Path) -> int:
    """The run's server is dead: end what it may have left. The run stays interrupted, and nothing of it is decided."""
    from buildrunner.adoption import end_leftovers
    from buildrunner.ledger import Ledger
    from buildrunner.resumable import how_to_go_on

    with Ledger(state, purpose="buildrunner cancel") as ledger:
        run = ledger.run(run.name)
        if run.state != "interrupted":  # meanwhile somebody else took it up and brought it to its end
            return _say_over(run, run.state)
        ended = end_leftovers(ledger, run)
        go_on = how_to_go_on(ledger, run)
    gone = f"{ended} of its processes were still there and are gone now" if ended else "nothing of it runs"
    click.echo(f"run {run.name} was interrupted before; {gone}; {go_on}")
    return 0
