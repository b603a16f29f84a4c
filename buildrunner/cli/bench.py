"""`buildrunner bench`: one after another against in parallel, both really run."""

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from buildrunner.cli.options import WithScriptArguments, batch_options, json_option, option
from buildrunner.errors import UsageError
from buildrunner.job import Cwd

if TYPE_CHECKING:
    from collections.abc import Callable

    from buildrunner.bench import Lap


@click.command("bench", cls=WithScriptArguments)
@batch_options
@option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often each arm is run.")
@option(
    "--warmup",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Rounds before those, which do not count. With three rounds or more the median leaves a cold first one out.",
)
@json_option
@option("--markdown", is_flag=True, help="Print a table in markdown.")
@option("--svg", metavar="FILE", help="Also draw the comparison.")
@option("-q", "--quiet", is_flag=True, help="No progress lines.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    targets: tuple[str, ...],
    rounds: int,
    warmup: int,
    cwd: str,
    as_json: bool,
    markdown: bool,
    svg: str | None,
    quiet: bool,
    **settings: Any,
) -> int:
    """Run the scripts of the TARGETs (default: python_source) one after another and in parallel, and compare.

    Both really run, in rounds that take turns. One after another is what you would type, `python X.py` for each,
    with all the threads the libraries take; in parallel is `buildrunner run`, its own start included. From the second
    round on it knows how long each script takes, like any second run. Logs and output files go to a temporary folder.
    Exit code 1 when a script did not pass, or did not print the same every time.

    Words after -- are passed to every script.
    """
    from buildrunner import bench
    from buildrunner.reports import barchart
    from buildrunner.reports import bench as report

    if as_json and markdown:
        raise UsageError("--json and --markdown: both are for stdout; give one of them")
    options = bench.options(
        targets=targets,
        cwd=Cwd(cwd),
        args=ctx.meta.get(WithScriptArguments.KEY, ()),
        **settings,
    )
    if svg is not None:
        barchart.check_destination(svg)
    measured = bench.measure(options, rounds=rounds, warmup=warmup, on_lap=_say_laps(rounds, warmup, quiet=quiet))
    try:
        if as_json:
            from buildrunner.cli.out import print_document

            print_document(measured.to_json())
        elif markdown:
            sys.stdout.write(report.markdown(measured))
        else:
            from buildrunner.reports.text import console

            report.print_bench(console(), measured)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if svg is not None:
        barchart.write_svg(measured, svg)
    return 1 if measured.failures or measured.differences else 0


def _say_laps(rounds: int, warmup: int, *, quiet: bool) -> "Callable[[Lap], None]":
    """A line on stderr for every arm that is over. Nobody reading it changes nothing."""
    from buildrunner.reports.bench import MANNERS
    from buildrunner.reports.words import seconds

    def say(lap: "Lap") -> None:
        nonlocal quiet
        if quiet:
            return
        which = f"warm-up {lap.round} of {warmup}" if lap.warmup else f"round {lap.round} of {rounds}"
        try:
            sys.stderr.write(f"{which}, {MANNERS[lap.manner]}: {seconds(lap.seconds)}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            quiet = True

    return say
