"""`buildrunner status`: one run, also while it goes on in another terminal."""

from pathlib import Path

import click

from buildrunner.cli.options import json_option, option, state_option


@click.command("status")
@click.argument("run", required=False)
@state_option
@json_option
@option("-v", "--verbose", is_flag=True, help="Every script.")
def command(run: str | None, state: str, as_json: bool, verbose: bool) -> int:
    """Show the state of a RUN (the newest when none is named)."""
    from buildrunner.ledger import Reader
    from buildrunner.summary import real_state, remaining, run_document, stamp, summarise

    reader = Reader.open(Path(state))
    try:
        row = reader.run(run)
        if as_json:
            from buildrunner.cli.out import print_document

            print_document(run_document(reader, row))
            return 0
        from buildrunner.naming import display
        from buildrunner.reports.text import console, print_report, print_running
        from buildrunner.reports.words import time_left
        from buildrunner.resumable import how_to_go_on, lacking

        out = console()
        now = real_state(reader, row)
        out.print(f"run {row.name} of {display(row.target)}: {now}, started {stamp(row.started)}", soft_wrap=True)
        if now == "running":
            print_running(out, reader, row)
            if left := remaining(reader, row):
                out.print(time_left(left), soft_wrap=True)
        elif now == "interrupted" and row.state == "running":
            out.print(f"it ended without a word; {how_to_go_on(reader, row)}", soft_wrap=True)
        elif why := lacking(reader, row):
            out.print(f"{why}: it cannot be carried on or packaged", soft_wrap=True)
        print_report(out, summarise(reader, row), reader, verbose=verbose)
    finally:
        reader.close()
    return 0
