"""`buildrunner package`: makes a run's zip again."""

import os
import signal
import sys
from contextlib import ExitStack
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
    from buildrunner.errors import BuildrunnerError, LedgerBusy, LedgerError, PackageError, UsageError
    from buildrunner.job import FINAL_STATES
    from buildrunner.ledger import Ledger, Reader
    from buildrunner.naming import display
    from buildrunner.outputfolder import reopen
    from buildrunner.package import check_destination, package
    from buildrunner.reports.words import command as follow_up
    from buildrunner.reports.words import count
    from buildrunner.resumable import require_whole
    from buildrunner.summary import exit_code, real_state

    for number in (signal.SIGTERM, signal.SIGHUP):  # by default they would leave half a zip behind
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    with ExitStack() as stack:
        reader = Reader.open(Path(state))
        stack.callback(reader.close)
        row = reader.run(run)
        if row.state == "running" and reader.alive():
            raise LedgerBusy(f"run {row.name} is still going on; package it when it has ended")
        directory = row.options["directory"]
        if zip_file is not None:
            destination = zip_file if os.getcwd() == directory else os.path.abspath(zip_file)
        elif row.options["zip"]:
            destination = os.path.join(directory, row.options["zip"])
        else:
            raise UsageError(f"run {row.name} was made with --no-zip: name a file with --zip FILE")
        check_destination(destination)
        require_whole(reader, row, cannot="be packaged any more")
        folder = reopen(reader, row, cannot="be packaged any more", purpose="buildrunner package")
        stack.callback(folder.close)  # not before it is recorded: until then nobody may carry the run on
        with_report = with_report or row.options["with_report"]
        archive, notices = package(reader, row, destination, with_report=with_report, whole=True)
        if zip_file is None:
            archive["path"] = row.options["zip"]
        mended = {}
        if row.state == "finished" and row.exit_code == PackageError.exit_code:
            if row.options.get("junitxml"):
                notices += (
                    f"the run's exit code stays {row.exit_code} until `{follow_up(row, 'resume')}` has seen to "
                    "the JUnit report as well",
                )
            else:
                mended = {"exit_code": exit_code(reader, row)}
        counts, code = reader.counts(row), 0
        try:
            with Ledger(Path(state), purpose="buildrunner package") as ledger:
                ledger.set_run(row, archive=archive, **mended)
        except BuildrunnerError as exc:
            code = exc.exit_code if isinstance(exc, LedgerError) else 0
            notices += (f"the zip is made, but not entered in the record: {exc}",)
    if left := sum(number for job_state, number in counts.items() if job_state not in FINAL_STATES):
        scripts = count(sum(counts.values()), "script")
        how = "were cancelled" if row.state == "finished" else "did not end"
        notices += (f"run {row.name} is {real_state(reader, row)}: {left:,} of its {scripts} {how}",)
    for notice in notices:
        click.echo(f"note: {notice}", err=True)
    click.echo(
        f"{display(os.path.relpath(destination))}: {count(archive['files'], 'file')}, sha256 {archive['sha256']}"
    )
    return code
