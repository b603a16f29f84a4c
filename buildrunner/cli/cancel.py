"""`buildrunner cancel`: ends a run, or some of its jobs, from another terminal."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildrunner.cli.options import option, state_option

if TYPE_CHECKING:
    from buildrunner.ledger import Reader, RunRow

_BEYOND_GRACE = 20.0  # seconds a server may need to answer after its scripts' grace time
_GONE_WITHIN = 10.0  # seconds for what was killed to disappear


@click.command("cancel")
@click.argument("run", required=False)
@option("--job", "jobs", multiple=True, metavar="GLOB", help="Only jobs whose name matches (repeatable).")
@state_option
def command(run: str | None, jobs: tuple[str, ...], state: str) -> int:
    """End a RUN that goes on (the newest when none is named), or only some of its jobs.

    What runs gets TERM and, after the run's grace time, KILL; asking again kills at once. This command ends when the
    processes are gone. What was cancelled can be carried on with `buildrunner resume`.
    """
    from buildrunner.ledger import Reader
    from buildrunner.summary import real_state

    reader = Reader.open(Path(state))
    try:
        row = reader.run(run)
        match real_state(reader, row):
            case "running":
                return _ask(reader, row, jobs)
            case "interrupted" if not jobs:
                return _take_over(row, Path(state))
            case over:
                click.echo(f"run {row.name} is {over}: nothing of it runs")
                return 0
    finally:
        reader.close()


def _ask(reader: "Reader", run: "RunRow", jobs: tuple[str, ...]) -> int:
    """Let the server of the run end it, and see for ourselves that the processes are gone."""
    from buildrunner import control
    from buildrunner.errors import UsageError
    from buildrunner.job import FINAL_STATES
    from buildrunner.naming import display
    from buildrunner.processes import carriers
    from buildrunner.reports.words import command as follow_up
    from buildrunner.reports.words import count

    limit = run.options["grace"] + _BEYOND_GRACE
    try:
        answer = control.ask(reader.state, run.name, jobs or None, seconds=limit)
    except TimeoutError:
        click.echo(f"run {run.name} has not ended within {limit:g} s; `cancel` once more kills at once", err=True)
        return 1
    if "error" in answer:
        raise UsageError(str(answer["error"]))
    ended: dict[str, str] = answer["ended"]
    deadline = time.monotonic() + _GONE_WITHIN
    while (left := carriers(ended)) or (not jobs and reader.alive()):
        if time.monotonic() > deadline:
            alive = f"alive still: {', '.join(map(str, left))}" if left else "its server has not ended yet"
            click.echo(f"run {run.name} is cancelled, but not all of its processes are gone: {alive}", err=True)
            return 1
        time.sleep(0.02)
    if not jobs:
        counts = reader.counts(run)
        undecided = sum(number for state, number in counts.items() if state not in FINAL_STATES)
        click.echo(
            f"run {run.name} is cancelled and its processes are gone; {count(undecided, 'script')} left to run; "
            f"carry on with: {follow_up(run, 'resume')}"
        )
    elif not answer["matched"]:
        raise UsageError(f"no job of run {run.name} matches {' or '.join(map(repr, jobs))}")
    elif not ended and not answer["dropped"]:
        click.echo(f"nothing to cancel: {count(answer['matched'], 'script')} had ended before")
    else:
        for name in ended.values():
            click.echo(f"{display(name)}: cancelled, its processes are gone")
        for name in answer["dropped"]:
            click.echo(f"{display(name)}: cancelled before it started")
        if answer["more"]:
            click.echo(f"and {answer['more']:,} more that had not started")
    return 0


def _take_over(run: "RunRow", state: Path) -> int:
    """The run's server is dead: end what it may have left, and say in the record that the run is over."""
    from buildrunner.adoption import end_leftovers
    from buildrunner.ledger import Ledger

    with Ledger(state, purpose="buildrunner cancel") as ledger:
        run = ledger.run(run.name)
        ended = end_leftovers(ledger, run)
        ledger.set_run(run, state="cancelled")
    click.echo(
        f"run {run.name} was interrupted before; "
        + (f"{ended} of its processes were still there and are gone now" if ended else "nothing of it runs")
    )
    return 0
