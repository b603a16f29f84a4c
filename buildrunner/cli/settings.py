"""Options from a file of the working directory: `buildrunner.toml`, else `[tool.buildrunner]` in `pyproject.toml`.

They lie below the environment and above the built-in defaults, as click's `default_map`. A key is an option's long
name, and counts for every verb that has the option; its value is checked by the option's own type. Loaded only where
there is such a file.
"""

import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from buildrunner.cli.options import Option
from buildrunner.errors import UsageError
from buildrunner.naming import display

OWN_FILE, SHARED_FILE = "buildrunner.toml", "pyproject.toml"

_NOT_OPTIONS = {
    "target": "TARGETs are named on the command line",
    "targets": "TARGETs are named on the command line",
    "args": "what scripts are passed stands behind -- on the command line",
}
_LARGEST = 2**63 - 1  # as far as TOML promises; from some size on Python refuses to write numbers in decimal
_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a file says: `values` by key, and `file` as a message should call it; no file, no values."""

    file: str = ""
    values: Mapping[str, Any]
    text: str = ""

    def place(self, key: str) -> str:
        """The file, and the line where it can be told."""
        inside = not self.file.startswith(SHARED_FILE)
        pattern = re.compile(rf"""\s*(["']?){re.escape(key)}\1\s*=""")
        for number, line in enumerate(self.text.splitlines(), start=1):
            if header := re.match(r"\s*\[\s*([^\]#]+?)\s*\]", line):
                table = re.sub(r"[\s\"']", "", header[1])
                inside = table == "tool.buildrunner"
                if table.removeprefix("tool.buildrunner.") == key:
                    return f"{self.file}, line {number}"
            elif inside and pattern.match(line):
                return f"{self.file}, line {number}"
        return self.file


def read(directory: str = "") -> Settings:
    """The settings of a folder, unchecked. UsageError when a file cannot be read, or when both files have some."""
    found = []
    if (text := _text(os.path.join(directory, OWN_FILE))) is not None:
        found.append(Settings(file=OWN_FILE, values=_parsed(text, OWN_FILE), text=text))
    # Most files of this name have nothing to do with us, and then need not be sound either.
    text = _text(os.path.join(directory, SHARED_FILE), only_with=b"buildrunner")
    if text is not None:
        tool = _parsed(text, SHARED_FILE).get("tool", {})
        if isinstance(tool, dict) and "buildrunner" in tool:
            values = tool["buildrunner"]
            if not isinstance(values, dict):
                raise UsageError(f"{SHARED_FILE}: tool.buildrunner is no table; write it as [tool.buildrunner]")
            found.append(Settings(file=f"{SHARED_FILE} [tool.buildrunner]", values=values, text=text))
    if len(found) == 2:
        raise UsageError(f"both {found[0].file} and {found[1].file} hold settings; keep one of them")
    return found[0] if found else Settings(values={})


def default_map(
    settings: Settings, command: click.Command, everything: Callable[[], Iterable[click.Command]]
) -> dict[str, Any]:
    """The settings as click's `default_map` for a command; UsageError for a key no verb has, and for a wrong value.

    `everything` gives all commands; it is asked only when this one does not have every key.
    """
    options = _options(command)
    if elsewhere := set(settings.values) - set(options):
        known = {key for other in everything() for key in _options(other)}
        for key in settings.values:
            if key in elsewhere and key not in known:
                raise UsageError(f"{settings.place(key)}: {_unknown(key, known)}")
    for key, value in settings.values.items():
        if isinstance(value, dict):  # of another verb, or `[run]`, meant for a verb of that name
            raise UsageError(
                f"{settings.place(key)}: {display(key)} is a table; options stand without one, for all verbs"
            )
    by_option: dict[Option, str] = {}
    result: dict[str, Any] = {}
    for key, value in settings.values.items():
        for way, option in options.get(key, ()):
            if (other := by_option.setdefault(option, key)) != key:
                raise UsageError(f"{settings.place(key)}: {key} and {other} are the same; keep one of them")
            below = result
            for name in way:
                below = below.setdefault(name, {})
            assert option.name
            below[option.name] = _checked(settings, key, value, option, options)
    return result


def _options(command: click.Command, way: tuple[str, ...] = ()) -> dict[str, list[tuple[tuple[str, ...], Option]]]:
    """Key → where a command, or those below it, take it: names on the way down, and the option."""
    found: dict[str, list[tuple[tuple[str, ...], Option]]] = {}
    for option in command.params:
        if isinstance(option, Option):
            for key in option.keys:
                found.setdefault(key, []).append((way, option))
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            for key, places in _options(below, (*way, name)).items():
                found.setdefault(key, []).extend(places)
    return found


def _checked(settings: Settings, key: str, value: Any, option: Option, options: Mapping[str, object]) -> Any:
    """The value as click takes it, or UsageError with file, key and remedy."""

    def wrong(why: str) -> UsageError:
        return UsageError(f"{settings.place(key)}: {key} = {shown(value)}: {why}")

    if option.is_flag:
        if not isinstance(value, bool):
            raise wrong("it is on or off; write true or false")
        return value
    if value is False and f"no-{key}" in options:
        raise wrong(f"write no-{key} = true")
    if option.multiple != isinstance(value, list):
        raise wrong(f"write a list: {key} = [{shown(value)}]" if option.multiple else "it takes one value, no list")
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, bool) or not isinstance(part, str | int | float) for part in parts):
        raise wrong("it takes text or a number" if not option.multiple else "it takes a list of texts")
    if any(isinstance(part, int) and abs(part) > _LARGEST for part in parts):
        raise wrong("that number is too large")
    texts = [str(part) for part in parts]
    if "\0" in "".join(texts):
        raise wrong("no option takes the character NUL")
    for text in texts:
        try:
            option.type.convert(text, option, None)
        except click.BadParameter as exc:
            raise wrong(exc.message.rstrip(".")) from None
    return texts if option.multiple else texts[0]


def _unknown(key: str, known: set[str]) -> str:
    from difflib import get_close_matches

    if why := _NOT_OPTIONS.get(key):
        return f"{key} is not an option: {why}"
    for other in (key.replace("_", "-"), key.lower().replace("_", "-").lstrip("-")):
        if other in known:
            return f"there is no option {display(key)}; write {other}"
    near = get_close_matches(key, sorted(known), n=1)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else "`buildrunner COMMAND --help` lists them, and a key is one without its --"
    )
    return f"there is no option {display(key)}; {hint}"


def shown(value: Any) -> str:
    """A value much as it stands in the file, safe to show."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, list):
        text = f"[{', '.join(map(shown, value))}]"
    elif isinstance(value, int) and abs(value) > _LARGEST:
        text = hex(value)
    else:
        text = "{...}" if isinstance(value, dict) else str(value)
    text = display(text)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _text(path: str, *, only_with: bytes = b"") -> str | None:
    """What a file holds; None when there is none, or it does not hold what it has to."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UsageError(f"{path} is no file; buildrunner reads its settings from it: give it another name")
        with open(path, "rb") as file:
            data = file.read()
        return data.decode() if only_with in data else None
    except FileNotFoundError:
        if os.path.islink(path) and not only_with:
            raise UsageError(f"{path} is a link to nothing; mend it or remove it") from None
        return None
    except OSError as exc:
        raise UsageError(f"cannot read the settings in {path}: {exc.strerror}; make it readable, or move it") from exc
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise UsageError(f"{path}, line {line}: it is not UTF-8; save it as UTF-8") from exc


def _parsed(text: str, file: str) -> dict[str, Any]:
    import tomllib  # only here: a start without settings must not pay for it

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:  # it says the line and the column
        raise UsageError(f"{file} is no TOML: {exc}; mend it there") from exc
    except ValueError as exc:  # Python's own limit
        raise UsageError(f"{file}: a number of thousands of digits; no option takes such a value") from exc
    except RecursionError:
        raise UsageError(f"{file}: lists or tables are nested too deeply; no option takes such a value") from None
