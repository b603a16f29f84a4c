"""`buildrunner resume`: carries an interrupted run on."""

import click

from buildrunner.cli.options import json_option, option, state_option


@click.command("resume")
@click.argument("run", required=False)
@state_option
@json_option
@option("-q", "--quiet", is_flag=True, help="Only failures.")
@option("-v", "--verbose", is_flag=True, help="Every script.")
def command(run: str | None, state: str, as_json: bool, quiet: bool, verbose: bool) -> int:
    """Carry on an interrupted RUN (the newest when none is named): runs what has no receipt."""
    from buildrunner.cli.run import listeners, show
    from buildrunner.machine import seconds_since_process_start
    from buildrunner.server import BuildServer

    summary = BuildServer.resume(
        state,
        run,
        listeners=listeners(quiet=quiet, verbose=verbose),
        handle_signals=True,
        age=seconds_since_process_start(),
    )
    show(summary, as_json=as_json, quiet=quiet, verbose=verbose)
    return summary.exit_code
