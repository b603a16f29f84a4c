"""`buildrunner completion`: what makes a shell complete words, and the answers to the shell when it asks.

    shell, on <TAB> ──words in the environment──▶ buildrunner ──kind and candidates, a line each──▶ shell

What may stand where is click's knowledge; what names runs and jobs have is read from the ledger. A word that cannot be
completed is no error: whatever goes wrong, the answer is empty.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, ShellComplete

VARIABLE = "_BUILDRUNNER_COMPLETE"
"""Says which shell asks; a shell's own start may set it for no other program."""

_MOST = 1000  # candidates; more are of no help
_PATIENCE = 0.5  # seconds for a ledger that somebody keeps locked
_SPECIAL = re.compile(r"([^\w@%+:,./=-])", re.ASCII)


class _Shell(ShellComplete):
    """What the shells have in common: the answer's first line is its kind.

    Behind `plain` stands a candidate a line, behind `file` or `dir` the beginning of a path that the shell completes.
    """

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one to complete, and that one; the shell gives them as typed, a line each."""
        words = [unquoted(word)[0] for word in os.environ["COMP_WORDS"].split("\n")]
        return words[1:-1], words[-1]

    def complete(self) -> str:
        """The answer."""
        args, incomplete = self.get_completion_args()
        items = self.get_completions(args, incomplete)
        for item in items:
            if item.type != "plain":
                return f"{item.type}\n{item.value}"
        if incomplete.startswith("--") and "=" in incomplete:  # of `--option=val` click completes what follows the sign
            option = incomplete.partition("=")[0]
            items = [CompletionItem(f"{option}={item.value}", help=item.help) for item in items]
        # What would end a line here, or could move the cursor when it is listed, is left out.
        shown = [item for item in items if item.value.isprintable()]
        return "\n".join(["plain", *filter(None, map(self.format_completion, shown))])

    def format_completion(self, item: "CompletionItem[str]") -> str:
        """A candidate and its description."""
        help_ = " ".join((item.help or "").split())
        return f"{item.value}\t{help_}" if help_ else item.value


class Bash(_Shell):
    """Bash breaks words at `:` and `=` too, and inserts what it is given as it is: trimmed and quoted here."""

    name = "bash"
    source_template = """\
%(complete_func)s() {
    local -a lines
    local typed=${COMP_LINE:0:COMP_POINT}
    COMPREPLY=()
    mapfile -t lines < <(COMP_WORDS= env %(complete_var)s=bash_complete BUILDRUNNER_LINE="$typed" \\
        BUILDRUNNER_WORD="${COMP_WORDS[COMP_CWORD]}" "${1/#\\~\\//$HOME/}" 2>/dev/null)
    case ${lines[0]-} in
        plain) COMPREPLY=("${lines[@]:1}") ;;
        file) compopt -o default ;;
        dir) compopt -o dirnames ;;
    esac
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """From the line up to the cursor."""
        line = os.environ["BUILDRUNNER_LINE"]
        words, start, opened = _split(line)
        self._raw, self._quote = line[start:], "" if opened is None else line[opened]
        return words[1:-1], words[-1]

    def format_completion(self, item: "CompletionItem[str]") -> str:
        """The candidate as it must stand on the line, without the part that bash holds for an earlier word."""
        if self._quote:
            before = unquoted(self._raw)[1]  # bash completes what follows the quotation mark, and closes it
        else:
            word = os.environ["BUILDRUNNER_WORD"].lstrip(":=")
            before = unquoted(self._raw.removesuffix(word))[0]
        if not item.value.startswith(before):
            return ""
        rest = item.value[len(before) :]
        if self._quote == "'":
            return rest.replace("'", "'\\''")
        if self._quote:
            return re.sub(r'(["$`\\])', r"\\\1", rest)
        return _SPECIAL.sub(r"\\\1", rest)


class Zsh(_Shell):
    """Zsh quotes by itself."""

    name = "zsh"
    source_template = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local -a lines values shown
    local line
    lines=("${(@f)$(env %(complete_var)s=zsh_complete COMP_WORDS="${(F)words[1,CURRENT]}" \\
        ${words[1]/#\\~\\//$HOME/} 2>/dev/null)}")
    case $lines[1] in
        plain)
            for line in "${(@)lines[2,-1]}"; do
                values+=("${line%%%%$'\\t'*}")
                shown+=("${line/$'\\t'/  -- }")
            done
            compadd -U -l -V buildrunner -d shown -a values
            ;;
        file) compset -P '--*='; _files ;;
        dir) compset -P '--*='; _files -/ ;;
    esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef %(complete_func)s %(prog_name)s
fi
"""


class Fish(_Shell):
    """Fish quotes by itself, and takes a candidate's description behind a tab."""

    name = "fish"
    source_template = """\
function %(complete_func)s
    set -l current (commandline -ct)
    set -l words (commandline -opc) "$current"
    set -l lines (env %(complete_var)s=fish_complete COMP_WORDS=(string join \\n -- $words | string collect -a -N) \\
        $words[1] 2>/dev/null)
    set -l option (string match -r -- '^--[^=]*=' $current)
    switch "$lines[1]"
        case plain
            printf '%%s\\n' $lines[2..]
        case file
            string replace -r -- '^' "$option" (__fish_complete_path "$lines[2]")
        case dir
            string replace -r -- '^' "$option" (__fish_complete_directories "$lines[2]")
    end
end
complete --keep-order --no-files --command %(prog_name)s --arguments '(%(complete_func)s)'
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Fish gives all words but the last without their quotes, and a line end more than there are words."""
        words = os.environ["COMP_WORDS"].removesuffix("\n").split("\n")
        return words[1:-1], unquoted(words[-1])[0]


SHELLS: dict[str, type[_Shell]] = {shell.name: shell for shell in (Bash, Zsh, Fish)}


@click.command("completion")
@click.argument("shell", type=click.Choice(sorted(SHELLS)))
def command(shell: str) -> int:
    """Print what makes a shell complete commands, options, run names and job names.

    \b
    bash, in ~/.bashrc:                   eval "$(buildrunner completion bash)"
    zsh, in ~/.zshrc:                     eval "$(buildrunner completion zsh)"
    fish, in ~/.config/fish/config.fish:  buildrunner completion fish | source
    """
    from buildrunner.cli import cli

    click.echo(SHELLS[shell](cli, {}, "buildrunner", VARIABLE).source(), nl=False)
    return 0


def answer(cli: click.Group) -> None:
    """Tell the shell that asked what may stand there."""
    name, _, asked = os.environ[VARIABLE].partition("_")
    if asked == "complete":
        text = SHELLS[name](cli, {}, "buildrunner", VARIABLE).complete()
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + b"\n")
        sys.stdout.buffer.flush()


def with_candidates(command: click.Command) -> click.Command:
    """The command, its parameters with types that know what may be given for them; for completion alone.

    Told by their names (`run`, `job`, `targets`) and by what help calls a value (DIR, FILE, PATH), as in every verb.
    """
    for parameter in command.params:
        metavar = parameter.metavar if isinstance(parameter.metavar, str) else ""
        if parameter.name == "run" and not getattr(parameter, "is_flag", False):
            parameter.type = _Known(_runs)
        elif parameter.name == "job":  # an argument, or the option of `cancel`
            parameter.type = _Known(_jobs)
        elif metavar == "DIR":
            parameter.type = click.Path(file_okay=False)
        elif metavar in ("FILE", "PATH", "ZIP") or parameter.name == "targets":
            parameter.type = click.Path()
        elif "|" in metavar:
            parameter.type = click.Choice([word for word in metavar.split("|") if word.islower()])
    if isinstance(command, click.Group):
        for below in command.commands.values():
            with_candidates(below)
    return command


class _Known(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic since click 8.4
    """Any text, of which some is known."""

    name = "text"

    def __init__(self, known: Callable[[click.Context], Iterator[str]]) -> None:
        self._known = known

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """What begins like this; where nothing does, what has a last part that does, as for `logs Prime.py`."""
        known = list(self._known(ctx))
        found = [name for name in known if name.startswith(incomplete)]
        found = found or [name for name in known if name.rpartition("/")[2].startswith(incomplete)]
        return [CompletionItem(name) for name in found[:_MOST]]


def _runs(ctx: click.Context) -> Iterator[str]:
    from buildrunner.ledger import Reader

    reader = Reader.glance(_state(ctx), patience=_PATIENCE)
    if reader is not None:
        try:
            yield from (run.name for run in reader.runs())
        finally:
            reader.close()


def _jobs(ctx: click.Context) -> Iterator[str]:
    from buildrunner.ledger import Reader

    reader = Reader.glance(_state(ctx), patience=_PATIENCE)
    if reader is not None:
        try:
            yield from sorted(reader.job_names(reader.run(ctx.params.get("run"))))
        finally:
            reader.close()


def _state(ctx: click.Context) -> Path:
    return Path(ctx.params.get("state") or ".buildrunner")


def unquoted(word: str) -> tuple[str, str]:
    r"""A word as the shell will read it, though it may end within quotes; and the part before its open quotation mark.

    >>> unquoted(r"a\ b"), unquoted("'a b"), unquoted('x"y z')
    (('a b', ''), ('a b', ''), ('xy z', 'x'))
    """
    words, _, opened = _split(word)
    return words[-1], "" if opened is None else _split(word[:opened])[0][-1]


def _split(line: str) -> tuple[list[str], int, int | None]:
    """The words of a line as a shell reads them, where the last one begins, and where quotes begin that stay open."""
    words, word, start = [], "", 0
    index, opened = 0, None
    while index < len(line):
        char, following = line[index], line[index + 1 : index + 2]
        quote = "" if opened is None else line[opened]
        if char == "\\" and (not quote or (quote == '"' and following in ('"', "$", "`", "\\"))):
            word += following
            index += 1
        elif quote and char == quote:
            opened = None
        elif quote:
            word += char
        elif char in "'\"":
            opened = index
        elif char in " \t\n":
            if start < index:
                words.append(word)
            word, start = "", index + 1
        else:
            word += char
        index += 1
    return [*words, word], start, opened
