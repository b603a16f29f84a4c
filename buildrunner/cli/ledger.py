"""`buildrunner ledger`: care for the ledger."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildrunner.cli.options import json_option, option, state_option
from buildrunner.reports.export import FORMATS

if TYPE_CHECKING:
    pass


@click.group("ledger")
def command() -> None:
    """Check the ledger, recover a damaged one, hand it to other programs, or make its file smaller."""


@command.command("check")
@state_option
@json_option
def check(state: str, as_json: bool) -> int:
    """Check that the ledger can be trusted: exit 0 when it can, 3 when it cannot.

    It looks at the database's structure, recomputes the checksum of every receipt, and compares the states of runs and
    jobs with the receipts. It only reads, also beside a run that goes on. What has no checksum of its own (options and
    times of a run, hashes of scripts) is only checked for its form.
    """
    from dataclasses import asdict

    from buildrunner.ledger.check import check
    from buildrunner.naming import display
    from buildrunner.reports.words import count

    found = check(Path(state))
    if as_json:
        from buildrunner.cli.out import print_document

        print_document(
            {
                "schema": "buildrunner.ledger-check/1",
                "path": found.path,
                "ok": not found.problems,
                **found.counts,
                "problems": (asdict(problem) for problem in found.problems),
            }
        )
        return 3 if found.problems else 0
    for problem in found.problems:
        where = [f"run {problem.run}"] if problem.run else []
        where += [f"job {problem.job}"] if problem.job else []
        click.echo(display(": ".join([", ".join(where), problem.text] if where else [problem.text])), err=True)
    looked = ", ".join(count(number, table.removesuffix("s")) for table, number in found.counts.items())
    if found.problems:
        click.echo(
            f"buildrunner: the ledger {display(found.path)} cannot be trusted: {count(len(found.problems), 'problem')}"
            f"{' in ' + looked if looked else ''}; "
            "`buildrunner ledger recover` takes what can be trusted into a new folder",
            err=True,
        )
        return 3
    click.echo(f"{display(found.path)}: sound")
    click.echo(f"checked: the database's structure; {looked}; every receipt's checksum; states against receipts")
    return 0


@command.command("recover")
@state_option
@option("--to", metavar="DIR", help="A new folder for it.  [default: the state folder's name and -recovered]")
@json_option
def recover(state: str, to: str | None, as_json: bool) -> int:
    """Make a new ledger of what can be trusted in a damaged one, which stays as it is.

    Results are taken only when their checksums are right, also from what workers wrote that never reached the ledger.
    What has none any more is run again by `resume`; what cannot be connected is told.
    """
    from buildrunner.ledger.recover import recover
    from buildrunner.reports.recovered import document, lines

    found = recover(Path(state), Path(to or state.rstrip("/") + "-recovered"))
    if as_json:
        from buildrunner.cli.out import print_document

        print_document(document(found, state))
        return 0
    for line in lines(found, state):
        click.echo(line)
    return 0


@command.command("export")
@state_option
@option("--run", metavar="RUN", help="Only the attempts of this run.")
@option("--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True, help="How to write them.")
@option("-o", "--output", envvar="BUILDRUNNER_EXPORT_OUTPUT", metavar="FILE", help="Where to, instead of stdout.")
def export(state: str, run: str | None, form: str, output: str | None) -> int:
    """Write every recorded attempt as one line, with the fields of `run --json`.

    JSON lines are exact. In CSV, text that a spreadsheet would take for a formula gets a ' before it (and so does text
    that begins with one), lists are JSON, as are names that are not UTF-8 or that a terminal would act on, and numbers
    stay numbers.
    """
    from buildrunner.ledger import Reader
    from buildrunner.reports import github
    from buildrunner.reports.export import is_export, lines
    from buildrunner.summary import attempt_documents

    reader = Reader.open(Path(state))
    try:
        rows = attempt_documents(reader, None if run is None else reader.run(run))
        if output is None:
            shown = github.inert if github.active(os.environ) else str
            for line in lines(rows, form):
                sys.stdout.buffer.write(shown(line).encode())
            sys.stdout.buffer.flush()
            return 0
        from buildrunner import destination

        destination.check(output, what="the export", option="-o FILE", ours=is_export)
        with destination.replacing(output) as file:
            for line in lines(rows, form):
                file.write(line.encode())
    finally:
        reader.close()
    return 0


@command.command("vacuum")
@state_option
def vacuum(state: str) -> int:
    """Give back the room the ledger does not need any more. Not while a run goes on."""
    from buildrunner.ledger.vacuum import vacuum
    from buildrunner.naming import display

    before, after = vacuum(Path(state))
    click.echo(f"{display(os.path.join(state, 'ledger.db'))}: {before:,} bytes before, {after:,} after")
    return 0
