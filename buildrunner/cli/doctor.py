"""`buildrunner doctor`: what runs will find here, and what to do about it."""

import os
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from buildrunner.cli.options import json_option, option, output_option, state_option

if TYPE_CHECKING:
    from buildrunner.doctor import Finding

_SHOWN = {"record": "ledger"}
"""What people are told where the document keeps a topic's first name."""


@click.command("doctor")
@state_option
@output_option
@option("--python", metavar="PATH", help="The Python that would run .py scripts.")
@json_option
def command(state: str, output: str, python: str | None, as_json: bool) -> int:
    """Say what the machine offers, what is degraded, and what to do about it.

    Looks only: nothing is made or changed. Exit code 2 when runs cannot work here.
    """
    from buildrunner.doctor import examine, looked

    findings = [*examine(state=state, output=output, python=python, environ=os.environ)]
    for topic, look in (("settings", _settings), ("environment", _environment), ("terminal", _terminal)):
        findings += looked(topic, look)
    needed = [finding for finding in findings if finding.required]
    if as_json:
        import json
        from dataclasses import asdict

        document = {"schema": "buildrunner.doctor/1", "ok": not needed, "findings": [asdict(f) for f in findings]}
        click.echo(json.dumps(document, indent=1))
    else:
        _print(findings)
    return 2 if needed else 0


def _print(findings: "list[Finding]") -> None:
    from rich.table import Table
    from rich.text import Text

    from buildrunner.reports.text import console
    from buildrunner.reports.words import count

    out = console()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        style = {"ok": "green", "degraded": "yellow"}.get(finding.verdict, "red" if finding.required else "yellow")
        told = Text(finding.text)
        if finding.means:
            told.append(f"; {finding.means}")
        table.add_row(Text(finding.verdict, style=style), _topic(finding), told)
    out.print(table)
    if needed := [finding for finding in findings if finding.required]:
        names = ", ".join(dict.fromkeys(map(_topic, needed)))
        out.print(f"\nruns cannot work here yet: {names}", soft_wrap=True)
    else:
        less = sum(finding.verdict == "degraded" for finding in findings)
        could = f"; {count(less, 'thing')} could be better" if less else ""
        out.print(f"\nruns work here{could}", soft_wrap=True)


def _topic(finding: "Finding") -> str:
    return _SHOWN.get(finding.topic, finding.topic)


def _settings() -> "Iterator[Finding]":
    from buildrunner.cli import settings, verbs
    from buildrunner.doctor import Finding, missing
    from buildrunner.errors import UsageError
    from buildrunner.naming import display

    try:
        found = settings.read()
        for verb in verbs():
            settings.default_map(found, verb, verbs)
    except UsageError as exc:
        yield missing("settings", "cannot be used", str(exc))
        return
    told = ", ".join(f"{key} = {settings.shown(value)}" for key, value in found.values.items())
    text = f"{found.file}: {display(told) or 'nothing in it'}" if found.file else "no buildrunner.toml here"
    yield Finding(topic="settings", text=text, facts={"file": found.file or None, "keys": list(found.values)})


def _environment() -> "Iterator[Finding]":
    from difflib import get_close_matches

    from buildrunner.cli import verbs
    from buildrunner.cli.options import variables
    from buildrunner.doctor import Finding, degraded
    from buildrunner.naming import display

    own = {name: value for name, value in sorted(os.environ.items()) if name.startswith("BUILDRUNNER_")}
    if "BUILDRUNNER_ATTEMPT_ID" in own:
        text = "this is a script of a run: BUILDRUNNER_<OPTION> counts for nothing here"
        yield Finding(topic="environment", text=text, facts={"variables": {}, "inside_a_run": True})
        return
    known = sorted({name for verb in verbs() for param in _parameters(verb) for name in variables(param)})
    facts: dict[str, Any] = {"variables": own, "inside_a_run": False}
    told = ", ".join(f"{name}={display(value)}" for name, value in own.items()) or "no BUILDRUNNER_<OPTION> set"
    strange = [name for name in own if name not in known]
    if strange:
        near = get_close_matches(strange[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        yield degraded("environment", told, f"{display(strange[0])} sets no option{hint}", **facts)
    else:
        yield Finding(topic="environment", text=told, facts=facts)


def _parameters(command: click.Command) -> "Iterator[click.Parameter]":
    yield from command.params
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from _parameters(below)


def _terminal() -> "Iterator[Finding]":
    from buildrunner.doctor import Finding, degraded
    from buildrunner.reports.text import console

    out = console()
    size = shutil.get_terminal_size()
    encoding = sys.stdout.encoding
    facts = {
        "terminal": sys.stdout.isatty(),
        "columns": size.columns if sys.stdout.isatty() else None,
        "lines": size.lines if sys.stdout.isatty() else None,
        "colours": out.color_system,
        "encoding": encoding,
    }
    text = f"{size.columns} × {size.lines}" if sys.stdout.isatty() else "stdout is no terminal: nothing is redrawn"
    asked = ", ".join(f"{n}={os.environ[n]}" for n in ("NO_COLOR", "FORCE_COLOR", "CI", "TERM") if os.environ.get(n))
    text += f", {out.color_system or 'no'} colours{f' ({asked})' if asked else ''}, {encoding}"
    if encoding.lower().replace("-", "") not in ("utf8", "utf8mb4"):
        yield degraded("terminal", text, "other characters are shown as escapes; set LC_ALL=C.UTF-8", **facts)
    else:
        yield Finding(topic="terminal", text=text, facts=facts)
