"""The command line: one file a verb, loaded only when its verb is called."""

import importlib
import io
import os
import signal
import sys
from contextlib import suppress
from typing import TextIO

import click

from buildrunner import __version__
from buildrunner.errors import BuildrunnerError, UsageError
from buildrunner.naming import display

_VERBS = ("run", "bench", "plan", "resume", "cancel", "status", "history", "logs", "why", "package", "verify")


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command: click.Command = importlib.import_module(f"buildrunner.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], _VERBS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(_VERBS)}."
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="buildrunner")
def cli() -> None:
    """Run a folder of scripts in parallel, each in its own process, and keep a record of how each one ended."""


def main() -> None:
    """Entry point: runs a command and turns what went wrong into a sentence and an exit code."""
    _mend_streams()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who starts us may ignore it, and children's endings with it
    try:
        _require_working_directory()
        code = cli.main(standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        code = exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BuildrunnerError as exc:
        _complain(str(exc))
        code = exc.exit_code
    except BrokenPipeError:
        code = 0  # whoever read stdout has seen enough
    except OSError as exc:
        where = f" {display(os.fsdecode(exc.filename))}" if isinstance(exc.filename, str | bytes) else _full_stream()
        _complain(f"{exc.strerror or exc}{where}; what was recorded stays recorded")
        code = 3
    except Exception:
        import traceback

        traceback.print_exc()
        click.echo("buildrunner: this is a fault of buildrunner itself; what was recorded stays recorded", err=True)
        code = 3
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is decided how this ends
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(sentence: str) -> None:
    """Say what went wrong, to whoever is still there."""
    with suppress(OSError):
        click.echo(f"buildrunner: {sentence}", err=True)


def _require_working_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("the working directory does not exist any more: go to one that does") from None


def _full_stream() -> str:
    try:
        sys.stdout.flush()
    except OSError:
        return " (standard output)"
    return ""


def _flush(stream: TextIO) -> None:
    """Write what is left; where nobody reads any more, let it go quietly, or Python would complain at its end."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _mend_streams() -> None:
    """Make sure that there is something to write to, and that it takes every character."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:  # closed by whoever started us; left so, the ledger might be opened under this number
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
