"""The command line: one file a verb, loaded only when its verb is called."""

import errno
import importlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TextIO

import click

from buildrunner import __version__
from buildrunner.cli import streams
from buildrunner.errors import BuildrunnerError, UsageError
from buildrunner.naming import display, display_lines

_VERBS = (
    "run",
    "bench",
    "plan",
    "resume",
    "cancel",
    "status",
    "history",
    "logs",
    "why",
    "package",
    "verify",
    "doctor",
    "ledger",
    "completion",
)

_COMPLETE = "_BUILDRUNNER_COMPLETE"
_REMEDIES = {
    errno.EACCES: ": it has to let you in (chmod, chown)",
    errno.ENOSPC: ": make room",
    errno.EDQUOT: ": make room",
}
"""What to do about an error of the system that nobody expected there."""
_NEED_NO_SETTINGS = ("doctor", "completion")
_SETTINGS_FILES = ("buildrunner.toml", "pyproject.toml")
_SETTINGS = "buildrunner.settings"  # where `ctx.meta` holds what such a file says


def verbs() -> Iterator[click.Command]:
    """Every verb, loaded one by one."""
    return map(_load, _VERBS)


def _load(verb: str) -> click.Command:
    command: click.Command = importlib.import_module(f"buildrunner.cli.{verb}").command
    return command


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        if ctx.resilient_parsing:
            from buildrunner.cli.completion import with_candidates

            return with_candidates(_load(cmd_name))
        return _load(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], _VERBS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(_VERBS)}."
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if name and command and any(map(os.path.lexists, _SETTINGS_FILES)):
            self._apply_settings(ctx, name, command, rest)
        return name, command, rest

    def _apply_settings(self, ctx: click.Context, name: str, command: click.Command, rest: list[str]) -> None:
        """Put what a settings file says below the command line and the environment."""
        from buildrunner.cli import settings

        words = rest[: rest.index("--")] if "--" in rest else rest
        try:
            found = settings.read()
            ctx.default_map = {name: settings.default_map(found, command, verbs)}
            ctx.meta[_SETTINGS] = found
        except UsageError:
            # Who asks for help, completes a word or looks what is wrong here is not kept from it.
            if not (ctx.resilient_parsing or name in _NEED_NO_SETTINGS or not {"-h", "--help"}.isdisjoint(words)):
                raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; what it complains of, and the command line did not say, is told with where it was said."""
        try:
            return super().invoke(ctx)
        except UsageError as exc:
            if places := _places(ctx, str(exc)):
                exc.args = (f"{' and '.join(places)}: {exc}",)
            raise
        except BrokenPipeError:  # whoever reads stdout has seen enough; click would call that a failure
            raise click.exceptions.Exit(0) from None


def _places(ctx: click.Context, complaint: str) -> list[str]:
    """Where the options a complaint begins with, one or two, were set, if that was not on the command line."""
    import re

    from buildrunner.cli.options import Option

    sources = ctx.meta.get(Option.SOURCES, {})
    found = re.match(r"--([\w-]+)(?:(?: \w+)? and --([\w-]+))?", complaint)
    keys = [key for key in found.groups() if key in sources] if found else []
    return [f"environment variable {sources[key]}" if sources[key] else ctx.meta[_SETTINGS].place(key) for key in keys]


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="buildrunner")
def cli() -> None:
    """Run a folder of scripts in parallel, each in its own process, and keep a record of how each one ended."""


def main() -> None:
    """Entry point: runs a command and turns what went wrong into a sentence and an exit code."""
    _mend_streams()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who starts us may ignore it, and children's endings with it
    if _COMPLETE in os.environ:
        with suppress(Exception):  # a message in the middle of a line being typed helps nobody
            from buildrunner.cli.completion import answer

            answer(cli)
        sys.exit(0)
    try:
        _require_working_directory()
        code = cli.main(standalone_mode=False)
    except click.ClickException as exc:
        exc.show(shown := io.StringIO())
        click.echo(display_lines(shown.getvalue()), err=True, nl=False)  # it may repeat what was typed
        _annotate(exc.format_message())
        code = exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BuildrunnerError as exc:
        _complain(str(exc))
        if exc.exit_code:
            _annotate(str(exc))
        code = exc.exit_code
    except BrokenPipeError:
        code = 0  # whoever read stdout has seen enough
    except OSError as exc:
        where = f" {display(os.fsdecode(exc.filename))}" if isinstance(exc.filename, str | bytes) else ""
        what = streams.failed(exc) or f"{exc.strerror or exc}{where}{_REMEDIES.get(exc.errno or 0, '')}"
        _complain(sentence := f"{what}; what was recorded stays recorded")
        _annotate(sentence)
        code = 3
    except Exception:
        import traceback

        traceback.print_exc()
        _complain(sentence := "this is a fault of buildrunner itself; what was recorded stays recorded")
        _annotate(sentence)
        code = 3
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is decided how this ends
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(sentence: str) -> None:
    """Say what went wrong, to whoever is still there."""
    with suppress(OSError):
        click.echo(f"buildrunner: {display(sentence)}", err=True)


def _annotate(sentence: str) -> None:
    """Let a CI service that is listening show it beside the results."""
    if command := getattr(sys.stderr, "command", None):  # of github.Inert, which stands there in a step alone
        with suppress(OSError):
            command("error", sentence, title="buildrunner")


def _require_working_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("the working directory does not exist any more: go to one that does") from None


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
    sys.stdout, sys.stderr = streams.named(sys.stdout), streams.named(sys.stderr)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from buildrunner.reports import github

        if github.active(os.environ):
            for name in ("stdout", "stderr"):
                if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
                    setattr(sys, name, github.Inert.instead_of(stream))
