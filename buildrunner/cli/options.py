"""What several verbs share: the option class that reads BUILDRUNNER_<OPTION>, types, and common options."""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from buildrunner.config import IfChanged
from buildrunner.job import Cwd
from buildrunner.plan import Order

DEFAULT_TARGETS = ("python_source",)

_F = TypeVar("_F", bound=Callable[..., Any])
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Option(click.Option):
    """An option that BUILDRUNNER_<OPTION> mirrors, except inside a script that buildrunner runs, and a settings file.

    `keys` are its names there. One with a variable of its own shares its name with another option, and has none.
    """

    SOURCES = "buildrunner.sources"
    """Where `ctx.meta` holds the variable by which a key got its value, or None where a settings file gave it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.keys: tuple[str, ...] = ()
        long = [o[2:] for o in self.opts if o.startswith("--")]
        if long and self.envvar is None:
            self.keys = tuple(long)
            names = ["BUILDRUNNER_" + name.replace("-", "_").upper() for name in long]
            self.envvar = names if len(names) > 1 else names[0]

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> Any:
        """The value and where it comes from, which is noted."""
        value, source = super().consume_value(ctx, opts)
        if source in (ParameterSource.DEFAULT_MAP, ParameterSource.ENVIRONMENT):
            name = self._variable() if source is ParameterSource.ENVIRONMENT else None
            ctx.meta.setdefault(self.SOURCES, {}).update(dict.fromkeys(self.keys, name))
        return value, source

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """What a complaint about its value calls it: also by the variable that set it."""
        hint = super().get_error_hint(ctx)  # type: ignore[arg-type, unused-ignore]  # None is new in click 8.4
        if ctx and self.name and ctx.get_parameter_source(self.name) is ParameterSource.ENVIRONMENT:
            return f"{hint} (environment variable {self._variable()})"
        return hint

    def _variable(self) -> str:
        """Of the variables that set it, the one that does."""
        return next(name for name in variables(self) if os.environ.get(name))

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """The variable's value; a script's own buildrunner is not steered by the one that runs it."""
        if "BUILDRUNNER_ATTEMPT_ID" in os.environ:
            return None
        return super().resolve_envvar_value(ctx)


def variables(parameter: click.Parameter) -> list[str]:
    """The environment variables that set a parameter."""
    names = parameter.envvar or ()
    return [names] if isinstance(names, str) else list(names)


def option(*names: str, **settings: Any) -> Callable[[_F], _F]:
    """`click.option` with the class above."""
    return click.option(*names, cls=Option, **settings)


class Duration(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic since click 8.4
    """Seconds from texts like `90s`, `5m`, `1h30m`, `500ms`, `2.5`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; a usage error that shows how to write it."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h|d))+", text):
            self.fail(f"{text!r} is no duration; write 90s, 5m, 1h30m or 500ms", param, ctx)
        return sum(float(n) * _UNITS[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text))


class Size(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Bytes from texts like `2G`, `64M`, `512K`, `1.5GiB`, `4096`; units of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes; a usage error that shows how to write it."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
        if not found:
            self.fail(f"{value!r} is no size; write 2G, 64M, 512K or a number of bytes", param, ctx)
        return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


class Modules(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Names of modules from texts like `numpy,scipy.linalg`."""

    name = "modules"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The names; whether they are any is checked with the other options."""
        return value if isinstance(value, tuple) else tuple(name.strip() for name in str(value).split(","))


class Jobs(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A number of workers, or `auto` for None."""

    name = "n|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """The number; whether it makes sense is checked with the other options."""
        if str(value).strip() == "auto":
            return None
        try:
            return int(str(value))
        except ValueError:
            self.fail(f"{value!r} is no number of jobs; give a number or auto", param, ctx)


def nearer(ctx: click.Context, one: str, other: str) -> bool:
    """Whether the parameter `one` was set in a nearer place: command line, environment, settings, built-in."""
    places = (
        ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP, ParameterSource.DEFAULT
    )  # fmt: skip
    sources = [ctx.get_parameter_source(name) or ParameterSource.DEFAULT for name in (one, other)]
    return places.index(sources[0]) < places.index(sources[1])


state_option = option("--state", metavar="DIR", default=".buildrunner", show_default=True, help="Folder of the ledger.")
output_option = option(
    "-o",
    "--output",
    default="python_output",
    show_default=True,
    metavar="DIR",
    help="Where logs and output files go.",
)
json_option = option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


def batch_options(command: _F) -> _F:
    """TARGETs, and the options that say what is run and in which way, whatever is done with it."""
    for decorate in reversed(_BATCH):
        command = decorate(command)
    return command


_BATCH: tuple[Callable[[Any], Any], ...] = (
    click.argument(
        "targets",
        nargs=-1,
        metavar="[TARGET]...",
        callback=lambda ctx, param, targets: targets or DEFAULT_TARGETS,
    ),
    option(
        "-j",
        "--jobs",
        "--workers",
        "jobs",
        type=Jobs(),
        metavar="N|auto",
        default="auto",
        show_default=True,
        help="How many scripts run at once; auto: one a CPU this process may use.",
    ),
    option("-r", "--recursive", is_flag=True, help="Also scripts in folders below."),
    option("--include", multiple=True, metavar="GLOB", help="Only scripts whose name matches (repeatable)."),
    option("--exclude", multiple=True, metavar="GLOB", help="No scripts whose name matches (repeatable)."),
    option("--python", metavar="PATH", help="The Python that runs .py scripts."),
    option(
        "--cwd",
        type=click.Choice([c.value for c in Cwd]),
        default=Cwd.INVOCATION.value,
        show_default=True,
        help="Where scripts run: here, in their own folder, or in an empty one each.",
    ),
    option("--timeout", type=Duration(), metavar="TIME", help="End a script after this long (90s, 5m)."),
    option(
        "--threads",
        default="auto",
        show_default=True,
        metavar="auto|keep|N",
        help="Threads numerical libraries may start in each script; auto: CPUs / scripts at once.",
    ),
)


def choice_options(command: _F) -> _F:
    """Which of the scripts run, and in which order."""
    for decorate in reversed(_CHOICE):
        command = decorate(command)
    return command


_CHOICE: tuple[Callable[[Any], Any], ...] = (
    option(
        "--order",
        type=click.Choice([o.value for o in Order]),
        default=Order.LONGEST.value,
        show_default=True,
        help="What starts first; longest goes by earlier runs.",
    ),
    option("--last-failed", is_flag=True, help="Only what did not pass the last time: failed, broken off or not run."),
    option("--shard", metavar="K/N", help="Only the K-th of N parts that take about as long as one another."),
)


def if_changed_option(**settings: Any) -> Callable[[_F], _F]:
    """What a resumption does about results whose script has changed since."""
    choices = [choice.value for choice in IfChanged]
    return option("--if-changed", type=click.Choice(choices), **settings)


class WithScriptArguments(click.Command):
    """A command whose words after `--` are for the scripts; they are found in `ctx.meta`."""

    KEY = "buildrunner.script_arguments"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the scripts' words away before click sees them."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[self.KEY] = tuple(args[at + 1 :])
            args = args[:at]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as exc:
            if exc.possibilities:
                raise
            message = exc.format_message().rstrip(".")
            raise click.UsageError(f"{message}. Is it for the scripts? They get what stands after --.", ctx) from None

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show them in the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- ARGS...]"]
