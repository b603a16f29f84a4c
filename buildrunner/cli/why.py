"""`buildrunner why`: why a job ran, waits, was skipped or did not pass."""

from pathlib import Path

import click

from buildrunner.cli.options import option, state_option


@click.command("why")
@click.argument("job")
@option("--run", metavar="RUN", help="In this run; in the newest when not said.")
@state_option
def command(job: str, run: str | None, state: str) -> int:
    """Say why a JOB ran, waits, was skipped, or did not pass."""
    from rich.table import Table
    from rich.text import Text

    from buildrunner.ledger import Reader
    from buildrunner.reports.text import console
    from buildrunner.reports.why import COMMANDS, reasons
    from buildrunner.summary import shown

    reader = Reader.open(Path(state))
    try:
        row = reader.run(run)
        out = console()
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, style="dim")
        table.add_column(overflow="fold")
        (_, first), *rest = reasons(reader, row, shown(reader, row, reader.result(row, job)))
        out.print(first, style="bold", soft_wrap=True)
        width = max(len(heading) for heading, _ in rest)
        for heading, text in rest:
            if heading not in COMMANDS:
                table.add_row(f"  {heading:{width}}", text)
        out.print(table)
        for heading, text in rest:
            if heading in COMMANDS:  # a command to paste must be one line
                out.print(Text.assemble((f"  {heading:{width}}  ", "dim"), text), soft_wrap=True)
    finally:
        reader.close()
    return 0
