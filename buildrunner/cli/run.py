"""`buildrunner run`: from folder to zip."""

import errno
import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from buildrunner.cli import streams
from buildrunner.cli.options import (
    Duration,
    Modules,
    Size,
    WithScriptArguments,
    batch_options,
    choice_options,
    if_changed_option,
    json_option,
    nearer,
    option,
    output_option,
    state_option,
)
from buildrunner.config import MODES, IfChanged
from buildrunner.errors import BuildrunnerError, UsageError
from buildrunner.job import Cwd
from buildrunner.plan import Order


@click.command("run", cls=WithScriptArguments)
@batch_options
@output_option
@option("--zip", "zip_file", default="result.zip", show_default=True, metavar="FILE", help="The package to make.")
@option("--no-zip", is_flag=True, help="Make no package.")
@option("--with-report", is_flag=True, help="Add report.json with times to the package.")
@state_option
@choice_options
@option(
    "--mode",
    type=click.Choice(MODES),
    default="auto",
    show_default=True,
    help="cold: every script in an interpreter that is started for it. warm: scripts are forks of an interpreter that "
    "has started already, and those that cannot be are cold. auto: the same.",
)
@option(
    "--preload",
    type=Modules(),
    multiple=True,
    metavar="MODULE",
    help="Import this once for all warm scripts (repeatable, or with commas); auto: what pays, by earlier runs.",
)
@option(
    "--grace",
    type=Duration(),
    default="5s",
    show_default=True,
    metavar="TIME",
    help="Between asking a script to end and killing it.",
)
@option(
    "--memory",
    type=Size(),
    metavar="SIZE",
    help="End a script that uses more than this together with all it starts (2G, 512M).",
)
@option(
    "--max-output",
    type=Size(),
    metavar="SIZE",
    help="Keep only the beginning and the end of a log that grows longer than this (64M).",
)
@option("--retries", type=int, default=0, show_default=True, metavar="N", help="Further attempts after a failure.")
@option("-x", "--fail-fast", is_flag=True, help="Start nothing new after the first failure.")
@option("--max-fail", type=int, metavar="N", help="Start nothing new after N failures.")
@option("--deadline", type=Duration(), metavar="TIME", help="Stop the run after this long; it can be resumed.")
@option("--resume", is_flag=True, help="Carry on an interrupted run of the same target, if there is one.")
@if_changed_option(
    default=IfChanged.RERUN.value,
    show_default=True,
    help="When it is carried on and a script with a result has changed: run it again, keep the result, or stop.",
)
@option(
    "--keep-runs",
    type=int,
    default=100,
    show_default=True,
    metavar="N",
    help="How many runs the ledger keeps; older ones are forgotten.",
)
@option("-n", "--dry-run", is_flag=True, help="Only show what would run, as `buildrunner plan` does.")
@option("--events", metavar="FILE", help="Write what happens as JSON lines, while it happens.")
@option("--junitxml", metavar="FILE", help="Write a JUnit report when the scripts have ended.")
@json_option
@option("-q", "--quiet", is_flag=True, help="Only failures.")
@option("-v", "--verbose", is_flag=True, help="Every script.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    targets: tuple[str, ...],
    output: str,
    zip_file: str,
    no_zip: bool,
    cwd: str,
    order: str,
    mode: str,
    fail_fast: bool,
    max_fail: int | None,
    preload: tuple[tuple[str, ...], ...],
    if_changed: str,
    resume: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **settings: Any,
) -> int:
    """Run every script of the TARGETs (folders or scripts), record, package and report.

    Without a TARGET it runs the folder python_source. Words after -- are passed to every script.
    """
    from buildrunner.config import Options
    from buildrunner.errors import NothingLeft
    from buildrunner.machine import seconds_since_process_start
    from buildrunner.server import BuildServer

    if as_json and settings["events"] in ("/dev/stdout", "/dev/fd/1"):
        raise UsageError("--json and --events cannot both have standard output: name a file with --events FILE")
    if preload and mode == "cold":
        if nearer(ctx, "mode", "preload"):
            preload = ()
        elif nearer(ctx, "preload", "mode"):
            mode = "auto"
    options = Options(
        targets=targets,
        output=output,
        zip=None if no_zip and not nearer(ctx, "zip_file", "no_zip") else zip_file,
        cwd=Cwd(cwd),
        order=Order(order),
        mode=mode,
        max_fail=1 if fail_fast and not nearer(ctx, "max_fail", "fail_fast") else max_fail,
        preload=tuple(dict.fromkeys(name for names in preload for name in names)),
        if_changed=IfChanged(if_changed),
        args=ctx.meta.get(WithScriptArguments.KEY, ()),
        **settings,
    )
    if dry_run:
        from buildrunner.cli.plan import show as show_plan

        show_plan(options, as_json, verbose, resume=resume)
        return 0
    try:
        with progress(quiet=quiet, verbose=verbose) as listeners:
            server = BuildServer.from_options(options, listeners=listeners, age=seconds_since_process_start())
            summary = server.run(resume=resume, handle_signals=True)
    except NothingLeft:
        if as_json:
            from buildrunner.cli.out import print_document
            from buildrunner.summary import empty_document

            print_document(empty_document(" ".join(options.targets), options.slots))
        raise
    show(summary, as_json=as_json, quiet=quiet, verbose=verbose)
    return summary.exit_code


@contextmanager
def progress(*, quiet: bool, verbose: bool) -> Iterator[list[Any]]:
    """Who shows how a run goes on: a live screen on a terminal that can be redrawn, else plain lines."""
    from buildrunner.reports.progress import ProgressLines

    if quiet or verbose or not _can_redraw():
        yield [ProgressLines(sys.stderr, verbose=verbose, quiet=quiet)]
        return
    from buildrunner.reports.screen import Screen

    screen = Screen(sys.stderr)
    before = signal.getsignal(signal.SIGTSTP)
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGTSTP, screen.suspend)
    try:
        yield [screen]
    finally:
        signal.signal(signal.SIGTSTP, before)
        screen.close()


def _can_redraw() -> bool:
    return sys.stderr.isatty() and (os.environ.get("TERM") or "dumb") != "dumb" and not os.environ.get("CI")


def show(summary: Any, *, as_json: bool, quiet: bool, verbose: bool) -> None:
    """The document or the report, on stdout. Nobody reading it changes nothing about the run."""
    handler = _only_twice()
    try:
        with summary.reader() as reader:
            _show(summary, reader, as_json=as_json, quiet=quiet, verbose=verbose)
    except OSError as exc:
        if not _nobody_reads(exc):  # else the run's own exit code still counts
            if what := streams.failed(exc):
                raise BuildrunnerError(f"{what}; {_recorded(summary)}") from exc
            raise
    finally:
        signal.signal(signal.SIGINT, handler)


def _recorded(summary: Any) -> str:
    """What of a run is in the record, and how to see it."""
    from buildrunner.reports.words import command, count

    totals = {name: number for name, number in summary.totals.items() if number and name != "jobs"}
    how = ", ".join(f"{number:,} {name}" for name, number in totals.items())
    return (
        f"run {summary.run.name} is recorded all the same ({count(summary.totals['jobs'], 'script')}: {how}): "
        f"`{command(summary.run, 'status')}` shows it"
    )


def _show(summary: Any, reader: Any, *, as_json: bool, quiet: bool, verbose: bool) -> None:
    from buildrunner.reports import github

    out = sys.stderr if as_json else sys.stdout
    runner = out if isinstance(out, github.Inert) else None
    if as_json:
        from buildrunner.cli.out import print_document
        from buildrunner.summary import run_document

        print_document(run_document(reader, summary.run))
        from buildrunner.naming import display

        with suppress(OSError):  # the document is whole, whoever cannot be told the rest
            for notice in summary.notices:
                click.echo(f"note: {display(notice)}", err=True)
    elif not quiet or summary.notices or summary.exit_code:
        from buildrunner.reports.text import console, print_report

        print_report(console(), summary, reader, verbose=verbose, quiet=quiet, failures=not runner)
    if runner:
        github.report(runner, summary, reader, os.environ)
    sys.stdout.flush()


def _nobody_reads(exc: OSError) -> bool:
    """Whether stdout's reader or terminal is gone."""
    gone_terminal = exc.errno == errno.EIO and stat.S_ISCHR(os.fstat(sys.stdout.fileno()).st_mode)
    return isinstance(exc, BrokenPipeError) or gone_terminal


def _only_twice() -> Any:
    """Let the first Ctrl-C pass: the run has ended, and half a document says nothing. Returns the handler before."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: signal.signal(signal.SIGINT, before))
    return before
