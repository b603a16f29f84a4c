"""`buildrunner package`: makes a run's zip again."""

import os
from contextlib import suppress
from pathlib import Path

import click

from buildrunner.cli.options import option, state_option


@click.command("package")
@click.argument("run", required=False)
@state_option
@option("--zip", "zip_file", metavar="FILE", help="Where to; where the run would have put it when not said.")
@option("--with-report", is_flag=True, help="Add report.json with times.")
def command(run: str | None, state: str, zip_file: str | None, with_report: bool) -> int:
    """Make the zip of a RUN (the newest when none is named) from what is recorded."""
    from buildrunner.errors import LedgerBusy, UsageError
    from buildrunner.ledger import Ledger, Reader
    from buildrunner.naming import display
    from buildrunner.outputfolder import reopen
    from buildrunner.package import check_destination, package
    from buildrunner.reports.words import count
    from buildrunner.summary import exit_code

    reader = Reader.open(Path(state))
    try:
        row = reader.run(run)
        if row.state == "running" and reader.alive():
            raise LedgerBusy(f"run {row.name} is still going on; package it when it has ended")
        named = zip_file or row.options["zip"]
        if not named:
            raise UsageError(f"run {row.name} was made with --no-zip: name a file with --zip FILE")
        destination = zip_file or os.path.join(row.options["directory"], named)
        check_destination(destination)
        folder = reopen(reader, row, cannot="be packaged any more", purpose="buildrunner package")
        try:
            archive, changed = package(reader, row, destination, with_report=with_report, whole=True)
        finally:
            folder.close()
    finally:
        reader.close()
    with suppress(LedgerBusy), Ledger(Path(state), purpose="buildrunner package") as ledger:
        mended = {"exit_code": exit_code(ledger, row)} if row.state == "finished" else {}
        ledger.set_run(row, archive=archive | {"path": named}, **mended)
    for path in changed:
        click.echo(f"note: changed after its script ended, so not packaged as it was: {display(path)}", err=True)
    click.echo(
        f"{display(os.path.relpath(archive['path']))}: {count(archive['files'], 'file')}, sha256 {archive['sha256']}"
    )
    return 0
