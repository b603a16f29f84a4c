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
    from buildrunner.outputfolder import check_destination
    from buildrunner.package import package

    reader = Reader.open(Path(state))
    try:
        row = reader.run(run)
        if row.state == "running" and reader.alive():
            raise LedgerBusy(f"run {row.name} is still going on; package it when it has ended")
        if later := reader.replaced_by(row):
            raise UsageError(
                f"run {row.name} cannot be packaged any more: {later} ran the same target later, "
                "and the output folder holds its files now"
            )
        destination = zip_file or os.path.join(row.options["directory"], row.options["zip"] or "result.zip")
        check_destination(destination)
        archive, changed = package(reader, row, destination, with_report=with_report)
    finally:
        reader.close()
    with suppress(LedgerBusy), Ledger(Path(state), purpose="buildrunner package") as ledger:
        ledger.set_run(row, archive=archive | {"path": zip_file or row.options["zip"] or "result.zip"})
    for path in changed:
        click.echo(f"note: changed after its script ended, packaged as it is now: {display(path)}", err=True)
    click.echo(f"{display(os.path.relpath(archive['path']))}: {archive['files']} files, sha256 {archive['sha256']}")
    return 0
