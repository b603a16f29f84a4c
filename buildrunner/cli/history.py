"""`buildrunner history`: earlier runs, newest first."""

from pathlib import Path

import click

from buildrunner.cli.options import json_option, option, state_option


@click.command("history")
@state_option
@json_option
@option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
def command(state: str, as_json: bool, limit: int | None) -> int:
    """List the runs this folder remembers."""
    from itertools import islice

    from buildrunner.ledger import Reader

    reader = Reader.open(Path(state))
    try:
        runs = list(islice(reader.runs(), limit))
        if as_json:
            import json

            from buildrunner.summary import history_document

            click.echo(json.dumps([history_document(reader, run) for run in runs], indent=1))
        else:
            from buildrunner.reports.text import console, print_history

            print_history(console(), reader, runs)
    finally:
        reader.close()
    return 0
