"""`buildrunner plan`: what would run, in which order, and how long that would take. Runs and writes nothing."""

from pathlib import Path
from typing import Any

import click

from buildrunner.cli.options import (
    WithScriptArguments,
    batch_options,
    choice_options,
    json_option,
    option,
    state_option,
)
from buildrunner.job import Cwd
from buildrunner.plan import Order


@click.command("plan", cls=WithScriptArguments)
@batch_options
@choice_options
@state_option
@json_option
@option("-v", "--verbose", is_flag=True, help="Every script.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    targets: tuple[str, ...],
    cwd: str,
    order: str,
    as_json: bool,
    verbose: bool,
    **settings: Any,
) -> int:
    """Show what `run` would do with the TARGETs: the scripts in their order, and the predicted times.

    Predictions come from earlier runs of the same TARGETs with the same script arguments.
    """
    from buildrunner.config import Options

    args = ctx.meta.get(WithScriptArguments.KEY, ())
    show(Options(targets=targets, cwd=Cwd(cwd), order=Order(order), args=args, **settings), as_json, verbose)
    return 0


def show(options: Any, as_json: bool, verbose: bool, *, resume: bool = False) -> None:
    """Print the plan of a run with these options, or of what a broken-off run of the same target left to `resume`."""
    import os
    from dataclasses import replace

    from buildrunner import adoption
    from buildrunner.changes import compare
    from buildrunner.choice import Choice, choose
    from buildrunner.errors import NothingLeft, UsageError
    from buildrunner.forecast import Paces
    from buildrunner.interpreters import choose_python
    from buildrunner.job import FINAL_STATES
    from buildrunner.ledger import Reader, journals
    from buildrunner.reports.plan import plan_document, print_plan
    from buildrunner.reports.text import console
    from buildrunner.resumable import newcomers, newest_broken_off, obstacle, require_directory, require_same_options
    from buildrunner.scan import make_batch

    python, why = choose_python(options.python, os.environ)
    batch = make_batch(options, python)
    state = Path(options.state)
    elsewhere: str | None = None
    paces = Paces()
    there = any((state / name).exists() for name in ("ledger.db", "ledger.db-wal")) or journals.listed(state)
    reader = Reader.open(state) if there else None
    try:
        left = newest_broken_off(reader, batch.key) if reader and resume else None
        if reader and left:
            require_same_options(options, left)
            require_directory(left)
            ended = adoption.look(reader, left, wait=False).ended
            changes = compare(reader, left, options, ended=ended)
            changes.refuse(left)
            if why_not := obstacle(reader, left, again=changes.again):
                raise UsageError(f"run {left.name}: {why_not}")
            rows = reader.results(left)
            undecided = {row.name for row in rows if row.state not in FINAL_STATES and row.attempt not in ended}
            undecided |= changes.again.keys()
            jobs = tuple(spec for spec in batch.jobs if spec.name in undecided)
            past = reader.past_seconds(left.key, options.args, names=list(undecided))
            new = newcomers(reader, left, [spec.name for spec in batch.jobs])
            words = "; ".join((f"what run {left.name} left", *changes.notices(), *new))
            choice = Choice(batch=replace(batch, jobs=jobs), past=past, words=words)
        else:
            choice = choose(reader, options, batch)
        if reader and choice.past:
            paces = Paces(reader.recent_attempts(batch.key, options.args), choice.durations)
        elif reader:
            elsewhere = reader.namesake(batch.key)
    except NothingLeft as exc:
        if not as_json:
            raise
        choice = Choice(batch=replace(batch, jobs=()), past={}, words=str(exc))
    finally:
        if reader:
            reader.close()
    if as_json:
        from buildrunner.cli.out import print_document

        print_document(plan_document(choice, options, paces, python))
    else:
        print_plan(console(), choice, options, paces, python, why, elsewhere=elsewhere, verbose=verbose)
