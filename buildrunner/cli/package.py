"""`buildrunner package`: makes a run's zip again."""

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
    from buildrunner.errors import LedgerBusy
    from buildrunner.ledger import Reader
    from buildrunner.naming import display
    from buildrunner.outputfolder import check_destination
    from buildrunner.package import package

    reader = Reader.open(Path(state))
    try:
        row = reader.run(run)
        if row.state == "running" and reader.alive():
            raise LedgerBusy(f"run {row.name} is still going on; package it when it has ended")
        newest = reader.newest(row.key)
        if newest and newest.name != row.name:
            click.echo(
                f"note: {newest.name} ran the same target later; "
                f"the output folder holds its files, not those of {row.name}",
                err=True,
            )
        destination = zip_file or row.options["zip"] or "result.zip"
        check_destination(destination)
        archive, changed = package(reader, row, destination, with_report=with_report)
    finally:
        reader.close()
    for path in changed:
        click.echo(f"note: changed after its script ended, packaged as it is now: {display(path)}", err=True)
    click.echo(f"{display(archive['path'])}: {archive['files']} files, sha256 {archive['sha256']}")
    return 0
