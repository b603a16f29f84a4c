"""`buildrunner resume`: carries an interrupted run on."""

import click

from buildrunner.cli.options import Duration, if_changed_option, json_option, option, state_option


@click.command("resume")
@click.argument("run", required=False)
@option("--deadline", type=Duration(), metavar="TIME", help="Stop after this long; as in the run when not said.")
@if_changed_option(
    help="When a script with a result has changed: run it again, keep the result, or stop; as in the run when not said."
)
@state_option
@json_option
@option("-q", "--quiet", is_flag=True, help="Only failures.")
@option("-v", "--verbose", is_flag=True, help="Every script.")
def command(
    run: str | None,
    deadline: float | None,
    if_changed: str | None,
    state: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Carry on a RUN that was broken off (the newest when none is named): runs what has no receipt."""
    from buildrunner.cli.run import progress, show
    from buildrunner.machine import seconds_since_process_start
    from buildrunner.server import BuildServer

    with progress(quiet=quiet, verbose=verbose) as listeners:
        summary = BuildServer.resume(
            state,
            run,
            listeners=listeners,
            handle_signals=True,
            age=seconds_since_process_start(),
            deadline=deadline,
            if_changed=if_changed,
        )
    show(summary, as_json=as_json, quiet=quiet, verbose=verbose)
    return summary.exit_code
