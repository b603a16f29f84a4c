"""Writes the pages of docs/reference/ from the program itself, so that they cannot say what it does not do.

    python docs/generate.py           writes the pages
    python docs/generate.py --check   writes nothing; exit code 1, naming each page that is out of date

Commands and options come from the command line's own objects, exit codes from the exceptions, documents from really
running a tiny folder. Only meanings are written by hand, in docs/reference/descriptions.toml; one too many or one too
few is an error here. In the texts below `@name@` is where something made from the program goes.
"""

import importlib
import inspect
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import click  # noqa: E402

from buildrunner import errors, interpreters, machine, scan  # noqa: E402
from buildrunner.cli import cli  # noqa: E402
from buildrunner.cli.options import variables  # noqa: E402
from buildrunner.job import Cwd  # noqa: E402
from buildrunner.naming import file_name  # noqa: E402
from buildrunner.signals import ENDING  # noqa: E402

PAGES = ROOT / "docs" / "reference"
DESCRIPTIONS = PAGES / "descriptions.toml"
_MADE = "<!-- Made by docs/generate.py: change the program or docs/reference/descriptions.toml, then run it again. -->"
_PROGRAM = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from buildrunner.__main__ import main; main()"
_WIDTH = 110

_HELLO = """echo "hello from $BUILDRUNNER_JOB_NAME"
echo "for you" > "$BUILDRUNNER_OUTPUT_DIR/greeting.txt"
"""
_SCRIPTS = {
    "scripts/broken.sh": 'echo "no data today" >&2\nexit 3\n',
    "scripts/hello.sh": _HELLO,
    "odd/killed.sh": "kill -9 $$\n",
    "odd/late.sh": "exec sleep 60\n",
    "odd/missing.sh": "#!/no/such/program\n",
    "odd/pipe.sh": 'mkfifo "$BUILDRUNNER_OUTPUT_DIR/pipe"\n',
    "unsteady/failing.sh": "exit 1\n",
    "unsteady/other.sh": "echo $$\n",
    "seen/a.py": "import json, os\nprint(json.dumps(dict(os.environ)))\n",
    "seen/sub/b.py": 'import os\nopen(os.path.join(os.environ["BUILDRUNNER_OUTPUT_DIR"], "b"), "w").close()\n',
    "where/sub/pwd.sh": "pwd\n",
}


class Wrong(Exception):
    """Code and descriptions do not fit together."""


def descriptions() -> dict[str, Any]:
    """What is written by hand."""
    return tomllib.loads(DESCRIPTIONS.read_text(encoding="utf-8"))


def same(described: object, there: object, what: str) -> None:
    """Wrong unless both hold the same names."""
    told, found = set(described), set(there)  # type: ignore[call-overload]
    if missing := sorted(map(str, found - told)):
        raise Wrong(f"{what}: not described in {DESCRIPTIONS.name}: {', '.join(missing)}")
    if gone := sorted(map(str, told - found)):
        raise Wrong(f"{what}: described in {DESCRIPTIONS.name}, but there is no such thing: {', '.join(gone)}")


# running it


def shell_words(words: str) -> tuple[list[str], list[str]]:
    """What is set before a command, and the command's own words."""
    split = words.split()
    at = next(index for index, word in enumerate(split) if "=" not in word)
    return split[:at], split[at:]


class Sandbox:
    """A temporary folder with a few scripts, and the program run in it."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        for name, text in _SCRIPTS.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        # Nothing of the user's, so that the pages are the same wherever they are made.
        keep = ("PATH", "TMPDIR", "LANG", "XDG_RUNTIME_DIR", "LD_LIBRARY_PATH")
        self.env = {name: os.environ[name] for name in keep if name in os.environ} | {"HOME": folder}

    def run(self, words: str) -> str:
        """What `buildrunner WORDS` prints. Whatever exit code it ends with, it must have printed something.

        Words with = before the command are variables for it, as in a shell.
        """
        variables, command = shell_words(words)
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *command],
            cwd=self.folder,
            env=self.env | dict(word.split("=", 1) for word in variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if not done.stdout:
            raise Wrong(f"`buildrunner {words}` printed nothing: {done.stderr}")
        return done.stdout

    def damage(self) -> None:
        """Makes `damaged/`, a record in which one figure of one receipt was changed."""
        (self.folder / "damaged").mkdir()
        sound, damaged = (sqlite3.connect(self.folder / name / "ledger.db") for name in (".odd", "damaged"))
        with closing(sound), closing(damaged):
            sound.backup(damaged)
            with damaged:
                damaged.execute("UPDATE receipts SET seconds = seconds + 1 WHERE outcome = 'timed_out'")

    def files(self, folder: str) -> list[str]:
        """Every file below, sorted."""
        base = self.folder / folder
        return sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.is_file())


# markdown


def fill(text: str, **made: str) -> str:
    """A page's text with what is made in its places; every place and everything made is used."""
    same(made, re.findall(r"@([a-z_]+)@", text), text.split("\n", 1)[0])
    for name, part in made.items():
        text = text.replace(f"@{name}@", part.rstrip("\n"))
    return text.replace("\n\n", f"\n\n{_MADE}\n\n", 1)


def plain(text: str) -> str:
    """Text in which nothing but code in backticks is markup, fit for a table's cell."""
    parts = text.split("`")
    for index, part in enumerate(parts):
        parts[index] = part.replace("|", "\\|") if index % 2 else re.sub(r"([*_<>|\[\]])", r"\\\1", part)
    return "`".join(parts)


def cell(text: str) -> str:
    """A table's cell that may hold markup."""
    return text.replace("|", "\\|")


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table whose cells are markdown."""
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def pretty(value: Any, indent: int = 0, taken: int = 0) -> str:
    """JSON, broken into lines only where one would be too long; `taken` are characters before it in its line."""
    short = json.dumps(value)
    if indent + taken + len(short) <= _WIDTH or not isinstance(value, dict | list):
        return short
    inner = indent + 2
    if isinstance(value, list):
        lines = [pretty(item, inner) for item in value]
    else:
        lines = [f"{json.dumps(key)}: {pretty(item, inner, len(key) + 4)}" for key, item in value.items()]
    opened, closed = "[]" if isinstance(value, list) else "{}"
    return opened + "\n" + ",\n".join(" " * inner + line for line in lines) + "\n" + " " * indent + closed


# commands


def commands(group: click.Group | None = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, groups' own commands too."""
    group = group or cli
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            if command is None or command.hidden:
                continue
            yield " ".join((*path, name)), command
            if isinstance(command, click.Group):
                yield from commands(command, (*path, name))


def options(command: click.Command) -> list[click.Option]:
    """A command's options, but for --help, which all have."""
    with click.Context(command) as ctx:
        found = [param for param in command.get_params(ctx) if isinstance(param, click.Option)]
    return [option for option in found if not option.hidden and "--help" not in option.opts]


_COMMANDS = """\
# Commands

Every command takes `--help`; `buildrunner --version` says which version this is. A word in CAPITALS is yours to fill
in, and what stands in [brackets] may be left out.

Times are written `90s`, `5m`, `1h30m` or `500ms`; a number alone is seconds. A RUN is a run's name as
`buildrunner history` shows it, or as much of its beginning as no other has. A JOB is a script's name, or its last part
with or without the suffix, where only one fits.

Every option can also be set by its environment variable; the command line goes first. Inside a script that buildrunner
runs these variables are not read, so that a script's own `buildrunner` is not steered by them. What is to hold for a
folder can stand in [a file](../how-to/settings.md).

@commands@"""


def commands_page() -> str:
    """Every command, argument and option."""
    listed = list(commands())
    rows = [
        (f"[`{name}`](#{('buildrunner ' + name).replace(' ', '-')})", plain(first_paragraph(command)))
        for name, command in listed
    ]
    parts = [fill(_COMMANDS, commands=table(("command", "does"), rows))]
    for name, command in listed:
        with click.Context(command, info_name=name) as ctx:
            pieces = command.collect_usage_pieces(ctx)
        usage = " ".join(["buildrunner", name, *pieces])
        parts += [f"## buildrunner {name}", f"    {usage}", *help_text(command)]
        if rows := [option_row(option) for option in options(command)]:
            parts.append(table(("option", "does", "default", "variable"), rows))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def paragraphs(text: str) -> list[str]:
    """Paragraphs of a help text, each on one line."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]


def help_text(command: click.Command) -> Iterator[str]:
    """A command's help in markdown. A paragraph whose lines are to stay as they are is code."""
    for part in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        if part.startswith("\b\n"):
            yield "\n".join(f"    {line}" for line in part.strip("\b\n").split("\n"))
        elif part.strip():
            yield plain(" ".join(part.split()))


def first_paragraph(command: click.Command) -> str:
    """What a command does, in short."""
    return (paragraphs(command.help or "") or [""])[0].rstrip(".")


def option_row(option: click.Option) -> tuple[str, ...]:
    """An option's names with what it takes, what it does, its default, its variable."""
    takes = ""
    if not option.is_flag and not option.count:
        if isinstance(option.type, click.Choice):
            takes = "|".join(map(str, option.type.choices))
        else:
            takes = option.metavar or {"integer": "N", "integer range": "N"}.get(option.type.name, option.type.name)
        takes = " " + (takes.upper() if takes == option.type.name else takes)
    names = sorted(option.opts, key=lambda name: (name.startswith("--"), option.opts.index(name)))
    shown = cell(", ".join(f"`{name}`" for name in names[:-1]) + (", " if names[1:] else "") + f"`{names[-1]}{takes}`")
    default = option.default if isinstance(option.default, str | int | float) and not option.is_flag else ""
    variable = " or ".join(f"`{name}`" for name in variables(option))
    return (
        shown,
        plain(option.help or ""),
        f"`{default}`" if default != "" else "",
        variable,
    )


# exit codes


_EXIT_CODES = """\
# Exit codes

@codes@

What 1 means, by command; no other command ends with it:

@one@

Whatever a script's own exit code is, the run's is one of these: the script's stands in the report and in
[`results[].exit_code`](json.md#a-run). When nobody reads the report to its end (as in `| head`), a run's exit code
still says how the run ended.

From Python these are exceptions of `buildrunner.errors`, each with its code in `exit_code`:

@exceptions@
"""


def exit_codes_page() -> str:
    """What a caller can tell from the exit code."""
    told = descriptions()
    # A module that defines an error of its own is known only when it is loaded.
    for name, _ in commands():
        importlib.import_module(f"buildrunner.cli.{name.split()[0]}")
    by_code: dict[int, list[type[errors.BuildrunnerError]]] = {}
    for error in sorted(_errors(errors.BuildrunnerError), key=lambda e: e.__name__):
        by_code.setdefault(error.exit_code, []).append(error)
    ended_by = {128 + number: number.name for number in ENDING}
    same(told["exit_codes"], {str(code) for code in {0, 1, *by_code, *ended_by}}, "exit codes")
    verbs = dict(commands())
    for verb in told["exit_code_1"]:
        if verb not in verbs:
            raise Wrong(f"exit codes: {DESCRIPTIONS.name} says what 1 means for {verb!r}, which is no command")
    rows = []
    for code, meaning in sorted(told["exit_codes"].items(), key=lambda item: int(item[0])):
        rows.append((f"**{code}**", cell(meaning)))
    exceptions = [
        (f"`{error.__name__}`", str(error.exit_code), plain(paragraphs(error.__doc__ or "")[0]))
        for code in sorted(by_code)
        for error in by_code[code]
        if error.__module__ == errors.__name__
    ]
    return fill(
        _EXIT_CODES,
        codes=table(("code", "means"), rows),
        one=table(("command", "1 means"), [(f"`{verb}`", cell(text)) for verb, text in told["exit_code_1"].items()]),
        exceptions=table(("exception", "code", "raised when"), exceptions),
    )


def _errors(base: type[errors.BuildrunnerError]) -> Iterator[type[errors.BuildrunnerError]]:
    yield base
    for below in base.__subclasses__():
        yield from _errors(below)


# documents

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "whole": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "truth": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


_WORDS = {
    "text": "text",
    "whole": "whole number",
    "number": "number",
    "truth": "true or false",
    "list": "list",
    "object": "object",
}
_WORDS |= {f"{kind}|null": f"{word}, null" for kind, word in _WORDS.items()} | {"text|whole": "text or whole number"}


def fields_of(document: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """The described fields of a document; one may be like another."""
    if "like" not in document:
        found: dict[str, Any] = document["fields"]
        return found
    [model] = [other for other in told["document"] if other["name"] == document["like"]]
    left_out = tuple(document["without"])
    return {
        path: field
        for path, field in model["fields"].items()
        if not any(path == name or path.startswith((name + ".", name + "[")) for name in left_out)
    }


def walk(value: Any, fields: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a document with its value. Items of lists of plain values are no fields."""
    if isinstance(value, dict):
        for key, item in value.items():
            below = f"{path}.*" if f"{path}.*" in fields else f"{path}.{key}" if path else key
            yield below, item
            if not fields.get(below, {}).get("apart"):
                yield from walk(item, fields, below)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                yield from walk(item, fields, path + "[]")


def check(name: str, samples: list[Any], fields: Mapping[str, Any]) -> None:
    """Wrong unless the samples have exactly these fields, with values of these types."""
    seen = set()
    for sample in samples:
        for path, value in walk(sample, fields):
            seen.add(path)
            types = fields[path]["type"].split("|") if path in fields else ()
            if path in fields and not any(_TYPES[one](value) for one in types):
                raise Wrong(f"{name}: {path} is {value!r}, and described as {fields[path]['type']}")
    same(fields, seen, name)


def normal(value: Any, fields: Mapping[str, Any], path: str = "") -> Any:
    """The document with what is another one each time replaced by the described examples."""
    field = fields.get(path, {})
    if "example" in field and (value is not None or field.get("always")):
        return field["example"]
    if field.get("apart"):
        return value
    if isinstance(value, dict):
        return {
            key: normal(item, fields, f"{path}.*" if f"{path}.*" in fields else f"{path}.{key}" if path else key)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [normal(item, fields, path + "[]") if isinstance(item, dict) else item for item in value]
    if isinstance(value, float):
        raise Wrong(f"{path} is a figure that changes: it needs an example in {DESCRIPTIONS.name}")
    return value


def facts_table(document: Mapping[str, Any], samples: list[Any]) -> str:
    """What the `facts` of each topic hold, in the order of the topics. Wrong unless all is described."""
    told = {topic: entry["fields"] for entry in document["findings"] for topic in entry["topics"]}
    found: dict[str, list[Any]] = {}
    for finding in (finding for sample in samples for finding in sample["findings"]):
        found.setdefault(finding["topic"], []).append(finding["facts"])
    same(told, found, f"{document['name']}: topics")
    for topic, facts in found.items():
        check(f"{document['name']}: facts of {topic}", facts, told[topic])
    rows = [
        (
            ", ".join(f"`{topic}`" for topic in entry["topics"]),
            f"`{path}`",
            _WORDS[field["type"]],
            field.get("unit", ""),
            cell(field["means"]),
        )
        for entry in document["findings"]
        for path, field in entry["fields"].items()
    ]
    return table(("topic", "in `facts`", "type", "unit", "means"), rows)


def shown(document: Mapping[str, Any], sample: dict[str, Any]) -> dict[str, Any]:
    """The sample with the findings that are to be shown, as they are on the machine of the examples."""
    findings = []
    for entry in document["findings"]:
        if "shown" in entry:
            [finding] = [finding for finding in sample["findings"] if finding["topic"] in entry["topics"]]
            findings.append(finding | entry["shown"] | {"facts": normal(finding["facts"], entry["fields"])})
    return sample | {"findings": findings}


_JSON = """\
# JSON documents

With `--json` a command prints exactly one document on stdout and nothing else; notes and progress go to stderr. Fields
may be added; none is renamed or removed without another number in `schema`. Text is ASCII with escapes; bytes of file
names that are not UTF-8 are lone surrogates ([decision 5](../decisions/0005-names-that-are-not-utf8.md)). Seconds are
wall time unless said otherwise, from a clock that is never set.

In the examples, figures that are different each time are made up, so that they stay the same from one making of this
page to the next; all else is as it was printed.

@documents@"""


def json_page(sandbox: Sandbox) -> str:
    """Every document: its fields, and an example that was really printed."""
    told = descriptions()
    with_json = {name for name, command in commands() if any("--json" in option.opts for option in options(command))}
    same([name for document in told["document"] for name in document["commands"]], with_json, "commands with --json")
    rows = [
        (f"`{name} --json`", f"[{document['title']}](#{document['title'].lower().replace(' ', '-')})")
        for document in told["document"]
        for name in document["commands"]
    ]
    parts = [fill(_JSON, documents=table(("command", "document"), rows))]
    for document in told["document"]:
        fields = fields_of(document, told)
        if "member" in document:
            with zipfile.ZipFile(sandbox.folder / "result.zip") as archive:
                samples = [json.loads(archive.read(document["member"]))]
            source = f"`{document['member']}` of the same run:"
        else:
            if "ledger check" in document["commands"]:
                sandbox.damage()
            samples = [json.loads(sandbox.run(words)) for words in document["samples"]]
            variables, command = shell_words(document["samples"][0])
            source = f"`{' '.join([*variables, 'buildrunner', *command])}`:"
        if document.get("list"):
            samples = [item for sample in samples for item in sample]
        parts += [f"## {document['title']}", document["about"]]
        facts = ""
        if "findings" in document:
            facts = facts_table(document, samples)
            samples = [shown(document, sample) for sample in samples]
            source = source.removesuffix(":") + ", of which only some findings are shown:"
        check(document["name"], samples, fields)
        if "like" not in document:
            rows = [
                (f"`{path}`", _WORDS[field["type"]], field.get("unit", ""), cell(field["means"]))
                for path, field in fields.items()
            ]
            parts.append(table(("field", "type", "unit", "means"), rows))
        parts += [facts] if facts else []
        example = normal(samples[0], fields)
        example = [example] if document.get("list") else example
        parts += [source, "```json\n" + pretty(example) + "\n```"]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


# scripts


_SCRIPTS_PAGE = """\
# Scripts and what they see

## What counts as a script

In a folder that is named as TARGET, files with these suffixes, and other files that are executable and begin with `#!`
or are ELF programs:

@suffixes@

A `#!` line goes before the suffix, except for `.py`. Passed over are @not_scripts@, hidden files,
and, with `-r`, hidden folders, `__pycache__`, virtual environments and linked folders. `--include` and `--exclude` take
globs, matched against a script's name and its last part. A link to a file counts as that file, wherever it leads. What
looks like a script and is none (a link that leads nowhere, a pipe) is named at the end of the run, as are linked
folders with `-r`; so is a script that was changed after the run had begun. One that is gone when its turn comes fails
as `missing`.

A script's name in the run is its path below the TARGET (`sub/Prime.py`); with several TARGETs, with the TARGET before
it; for a script that is itself the TARGET, as it was given.

`.py` scripts run with `--python`, else the active virtual environment's Python, else the one buildrunner is installed
in, unless that is a place of its own (pipx), else `python3` on the path. The first line of a run says which, and why.

## What it sees

Everything in the environment of `buildrunner` itself but other variables that begin with `BUILDRUNNER_`, and:

@variables@

With `--threads auto` (the default), unless you set them, and with `--threads N` always, also the variables by which
numerical libraries are told how many threads to start ([why](../how-to/numpy-and-threads.md)):

@threads@

Its input is empty (`/dev/null`), its stdout and stderr are files, signals have their defaults, and it leads a session
of its own. What it leaves running is ended with it. Words after `--` are its arguments.

## Where it runs

By `--cwd`; the last column is what `sub/pwd.sh` printed in a run of `lab/where` that was started in `lab`:

@where@

## The output folder

`python_output/`, or what `-o` names. It shows the last run of its target: what an earlier run of the same target left
there is replaced, and nothing else is ever touched. After a run of two scripts, one of which failed twice:

```text
@left@
```

`logs/NAME.out` and `logs/NAME.err` are what the last attempt printed, `logs/NAME.1.out` what the first of several did,
`files/NAME/` what the script left in `$BUILDRUNNER_OUTPUT_DIR`. There is no folder for a script that left nothing. NAME
is the script's name with what is unsafe in a file name percent-encoded, cut and marked with a hash where it is too long
or would meet another:

@names@

Hidden beside them are the list of what is whose and a lock: two runs never write to one folder at once.

## The zip

`result.zip`, or what `--zip` names; the same run's:

```text
@packed@
```

The manifest comes first ([its fields](json.md#the-manifest)), then every file by name, with one fixed time
(`SOURCE_DATE_EPOCH` if set, never before 1980) and fixed permissions; with `--with-report` also `report.json`, [a run's
document](json.md#a-run) with times and a `packaged` stamp. Two runs with equal outputs give the same bytes. The zip's
comment holds the SHA-256 of all before it ([why](../decisions/0001-the-zip-seals-itself.md)). Links, pipes and devices
are not packaged, and the run says so.
"""


def scripts_page(sandbox: Sandbox) -> str:
    """What counts as a script, what it sees, and what becomes of what it leaves."""
    told = descriptions()
    sandbox.run("run seen -r --json -o seen_output --zip seen.zip")
    seen = json.loads((sandbox.folder / "seen_output/logs/a.py.out").read_text())
    own = {name for name in seen if name.startswith("BUILDRUNNER_")}
    same(told["variables"], own, "variables a script sees")
    same(told["cwd"], [choice.value for choice in Cwd], "--cwd")
    threads = [name for name in machine.THREAD_VARIABLES if name in seen]
    same(machine.THREAD_VARIABLES, threads, "variables for threads")
    where = {}
    for choice in Cwd:
        sandbox.run(f"run where -r --json --no-zip --cwd {choice.value} -o there")
        found = (sandbox.folder / "there/logs/sub%2Fpwd.sh.out").read_text().strip()
        where[choice.value] = os.path.join("lab", os.path.relpath(found, sandbox.folder.resolve())).removesuffix("/.")
    sandbox.run("run scripts --json -j 1 --retries 1")
    with zipfile.ZipFile(sandbox.folder / "result.zip") as archive:
        packed = archive.namelist()
    suffixes = {".py": "the run's Python"} | {suffix: f"`{name}`" for suffix, name in interpreters.BY_SUFFIX.items()}
    names = ("sub/Prime.py", "-x.py", "a b?.py")
    left = (name for name in sandbox.files("python_output") if not name.startswith("."))
    return fill(
        _SCRIPTS_PAGE,
        suffixes=table(("suffix", "run with"), [(f"`{suffix}`", name) for suffix, name in suffixes.items()]),
        not_scripts=", ".join(f"`{name}`" for name in sorted(scan._NOT_SCRIPTS)),
        variables=table(("variable", "holds"), [(f"`{name}`", cell(text)) for name, text in told["variables"].items()]),
        threads="\n".join(f"- `{name}`" for name in machine.THREAD_VARIABLES),
        where=table(
            ("`--cwd`", "a script runs in", "there"),
            [(f"`{choice}`", cell(text), f"`{where[choice]}`") for choice, text in told["cwd"].items()],
        ),
        left="\n".join(left),
        names=table(("script", "NAME"), [(f"`{name}`", f"`{file_name(name)}`") for name in names]),
        packed="\n".join(packed),
    )


def pages() -> dict[str, str]:
    """Every generated page by its name. Raises Wrong."""
    with tempfile.TemporaryDirectory(prefix="buildrunner-docs-") as folder:
        sandbox = Sandbox(folder)
        return {
            "commands.md": commands_page(),
            "exit-codes.md": exit_codes_page(),
            "json.md": json_page(sandbox),
            "scripts.md": scripts_page(sandbox),
        }


def out_of_date(folder: Path, made: Mapping[str, str]) -> list[str]:
    """Pages in the folder that are not what would be made now."""
    return [
        name
        for name, text in made.items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str]) -> int:
    """Write the pages, or check them."""
    if arguments not in ([], ["--check"]):
        print("usage: python docs/generate.py [--check]", file=sys.stderr)
        return 2
    try:
        made = pages()
    except Wrong as exc:
        print(f"docs/generate.py: {exc}", file=sys.stderr)
        return 1
    old = out_of_date(PAGES, made)
    for name in old:
        if arguments:
            print(f"docs/reference/{name} is out of date: run python docs/generate.py", file=sys.stderr)
        else:
            (PAGES / name).write_text(made[name], encoding="utf-8")
            print(f"docs/reference/{name}")
    return 1 if old and arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
