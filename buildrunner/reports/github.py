"""What a run says to GitHub Actions: annotations, groups and the step's summary.

The runner reads commands out of a step's output: `::error …::` at the beginning of a line, `##[error]` anywhere in one.
So whatever else is printed there, names and scripts' output above all, must not be able to look like one: see `inert`.
Commands and their escaping: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

import io
import os
import re
from collections.abc import Iterator, Mapping
from html import escape

from buildrunner.job import JobState
from buildrunner.ledger import Reader, ResultRow, RunRow, spec_from_json
from buildrunner.naming import display
from buildrunner.outputfolder import held
from buildrunner.regular import open_regular
from buildrunner.reports.tail import last_words
from buildrunner.reports.words import count, joined, lasted, row_ending, seconds, size
from buildrunner.summary import Summary, results

MOST_ANNOTATIONS = 10
"""Errors of one step that GitHub shows as annotations."""

SUMMARY_LIMIT = 1 << 20
"""Bytes of a step's summary; of a longer one GitHub shows nothing."""

_SHOWN = 50  # failures in the log
_WORDS = 10  # failures whose last words are in the summary
_LINES = 60  # of a script's output, in its group
_LINES_OF_ANNOTATION = 5
_ANNOTATION = 2000  # characters
_TRACEBACK = 1 << 16  # bytes at a log's end that are searched for one
_RESERVE = 256  # bytes for the line that says what is left out
_LINE_KEPT = 1000  # characters of an unfinished line

# What is not ASCII may be white space or nothing at all to the runner, which compares as its culture does.
_BRACKET = re.compile(r"(#[^\x20-\x7e\r\n]*#[^\x20-\x7e\r\n]*)\[")
_COLONS = re.compile(r"((?:^|[\r\n])[^\x21-\x7e\r\n]*:[^\x20-\x7e\r\n]*):")
_FRAME = re.compile(r'^ *File "(.+)", line (\d+)', re.MULTILINE)
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")


def active(environ: Mapping[str, str]) -> bool:
    """Whether this process is a step's own; what runs below it as somebody's script speaks to nobody."""
    return environ.get("GITHUB_ACTIONS") == "true" and "BUILDRUNNER_ATTEMPT_ID" not in environ


def inert(text: str) -> str:
    r"""Text in which the runner finds no command. JSON stays the same JSON.

    >>> print(inert(" ::error::x"), inert("a ##[error]x"))
     :\u003aerror::x a ##\u005berror]x
    """
    return _COLONS.sub(r"\1\\u003a", _BRACKET.sub(r"\1\\u005b", text))


class Inert(io.TextIOWrapper):
    """A standard stream that commands get into by `command` alone."""

    _line = ""  # what the unfinished line holds so far

    @classmethod
    def instead_of(cls, stream: io.TextIOWrapper) -> "Inert":
        """Take a stream's place."""
        encoding, errors, by_line = stream.encoding, stream.errors, stream.line_buffering
        return cls(stream.detach(), encoding=encoding, errors=errors, line_buffering=by_line)

    def write(self, text: str, /) -> int:
        """Write, and let nothing in it be a command, whatever pieces it comes in."""
        whole = self._line + text
        super().write(inert(whole)[len(inert(self._line)) :])
        self._line = whole[max(whole.rfind("\n"), whole.rfind("\r")) + 1 :]
        if len(self._line) > _LINE_KEPT:  # by then it has begun with something, or it is not a line of ours
            self._line = self._line[: _LINE_KEPT // 2] + self._line[-_LINE_KEPT // 2 :]
        return len(text)

    def command(self, name: str, text: str = "", **properties: str) -> None:
        """Give the runner a command."""
        given = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
        start = "\n" if self._line else ""
        super().write(f"{start}::{name}{' ' if given else ''}{given}::{_data(inert(text))}\n")
        self._line = ""


def report(out: Inert, summary: Summary, reader: Reader, environ: Mapping[str, str]) -> None:
    """The failures: each one's output in a group, the first as annotations, and last all of them, a line each.

    The step's summary gets a table of all scripts.
    """
    run, bad = summary.run, summary.totals["failed"]
    names, gone = held(run)
    for row in _first(_failed(reader, run), _SHOWN):
        _group(out, run, row, gone=None if row.file in names else gone)
    for row in _first(_failed(reader, run), MOST_ANNOTATIONS):
        _annotate(out, run, row, environ.get("GITHUB_WORKSPACE") or run.options["directory"], row.file in names)
    if bad > MOST_ANNOTATIONS:
        out.command("notice", f"{count(bad - MOST_ANNOTATIONS, 'more script')} did not pass, besides those annotated")
    if run.state != "finished":
        left = count(summary.left, "script")
        out.command("error", f"the run was {run.state} with {left} left to run", title="buildrunner")
    elif summary.exit_code > 1:
        out.command("error", "; ".join(summary.notices), title="buildrunner")
    path = environ.get("GITHUB_STEP_SUMMARY")
    if path and (why := write_summary(path, summary, reader)):
        out.write(f"note: {why}\n")
    if bad:
        out.write(f"{bad:,} of {count(summary.totals['jobs'], 'script')} did not pass:\n")
        for row in _first(_failed(reader, run), _SHOWN):
            out.write(f"- {display(row.name)}: {_ending(row)}\n")
        if bad > _SHOWN:
            out.write(f"… and {bad - _SHOWN:,} more: buildrunner status {run.name} --json names them\n")
    out.flush()


def write_summary(path: str, summary: Summary, reader: Reader) -> str | None:
    """Append the run to the step's summary, as much as there is room for; a sentence when that cannot be done."""
    try:
        with open(path, "ab") as file:
            room = SUMMARY_LIMIT - file.tell() - _RESERVE
            head = "\n\n" + "".join(_head(summary))
            if len(head.encode()) > room:
                return "the step's summary has no room for this run"
            file.write(head.encode())
            room -= len(head.encode())
            shown = 0
            for part, rows in _parts(summary, reader):
                if len(part.encode()) > room:
                    break
                file.write(part.encode())
                room -= len(part.encode())
                shown += rows
            if left := summary.totals["jobs"] - shown:
                file.write(f"\n\n{count(left, 'more script')} did not fit in here\n".encode())
    except OSError as exc:
        return f"cannot write the step's summary: {exc.strerror or exc}"
    return None


def script_line(run: RunRow, row: ResultRow) -> int | None:
    """The line of the script that the last traceback on its stderr ends in; None when there is none."""
    script = spec_from_json(row.name, row.spec).script
    directory = run.options["directory"]
    if script is None:
        return None
    wanted = os.path.realpath(os.path.join(directory, script))
    log = os.path.join(directory, run.options["output"], "logs", f"{row.file}.err")
    try:
        with open_regular(log) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TRACEBACK))
            text = os.fsdecode(file.read())
    except OSError:
        return None
    for path, number in reversed(_FRAME.findall(text)):
        same_name = os.path.basename(path) == os.path.basename(script) and "\0" not in path
        if same_name and wanted in (
            os.path.realpath(os.path.join(directory, path)),
            os.path.realpath(os.path.join(os.path.dirname(wanted), path)),
        ):
            return int(number[:9])
    return None


def _failed(reader: Reader, run: RunRow) -> Iterator[ResultRow]:
    return (row for row in reader.results(run) if row.state is JobState.FAILED)


def _first(rows: Iterator[ResultRow], most: int) -> Iterator[ResultRow]:
    return (row for row, _ in zip(rows, range(most), strict=False))


def _ending(row: ResultRow) -> str:
    attempts = f" after {row.attempts} attempts" if row.attempts > 1 else ""
    return joined(row_ending(row) + attempts, lasted(row.outcome, row.seconds))


def _group(out: Inert, run: RunRow, row: ResultRow, *, gone: str | None) -> None:
    from buildrunner.reports.text import alone_command

    out.command("group", f"{display(row.name)}: {_ending(row)}")
    if row.error:
        out.write(f"{display(row.error)}\n")
    if gone:
        out.write(f"its logs are no longer there: {gone}\n")
    else:
        lines, log = last_words(run, row, _LINES)
        for line in lines:
            out.write(f"| {line}\n")
        out.write(f"log: {display(log)}\n")
    out.write(f"alone: {alone_command(run, row)}\n")
    out.command("endgroup")


def _annotate(out: Inert, run: RunRow, row: ResultRow, workspace: str, logs: bool) -> None:
    where = {}
    if script := spec_from_json(row.name, row.spec).script:
        top = os.path.realpath(workspace)
        path = os.path.relpath(os.path.realpath(os.path.join(run.options["directory"], script)), top)
        if path != ".." and not path.startswith("../"):
            where = {"file": display(path), "line": str((logs and script_line(run, row)) or 1)}
    lines = last_words(run, row, _LINES_OF_ANNOTATION)[0] if logs else []
    if not all(line.startswith(" ") for line in lines):
        while lines[0].startswith(" "):  # the rest of a traceback, of which only the end says something
            del lines[0]
    words = "\n".join(lines)[-_ANNOTATION:] or row.error or row_ending(row)
    out.command("error", words, **where, title=f"{display(row.name)}: {_ending(row)}")


def _head(summary: Summary) -> Iterator[str]:
    run, totals, speed = summary.run, summary.totals, summary.speed
    bad = totals["failed"]
    what = f"{bad:,} of {count(totals['jobs'], 'script')} did not pass" if bad else count(totals["jobs"], "script")
    yield f"### buildrunner: {_text(what)}, {_text(run.state)}\n\n"
    states = ", ".join(f"{totals[state]:,} {state}" for state in totals if state != "jobs" and totals[state])
    yield f"{_text(run.target)}: {states}. Wall {seconds(speed.wall_seconds)}, scripts "
    yield f"{seconds(speed.script_seconds)} together, bound {seconds(speed.bound_seconds)}"
    if summary.tells_speed_up:
        yield f"; estimated speed-up {speed.concurrency:.2f} × over one after another (an estimate)"
    yield ".\n\n"
    if run.archive:
        yield f"<code>{_text(run.archive['path'])}</code>: {count(run.archive['files'], 'file')}, "
        yield f"sha256 <code>{run.archive['sha256']}</code>\n\n"


def _parts(summary: Summary, reader: Reader) -> Iterator[tuple[str, int]]:
    """Pieces of the summary that are whole in themselves, and how many of the table's rows each is."""
    run = summary.run
    names, _ = held(run)
    for row in _first(_failed(reader, run), _WORDS):
        if row.file in names and (lines := last_words(run, row)[0]):
            words = escape("\n".join(lines))
            yield (
                f"<details><summary>{_text(row.name)}: {_text(_ending(row))}</summary>\n\n<pre>\n{words}\n</pre>\n\n"
                "</details>\n\n",
                0,
            )
    yield "\n| script | result | wall | CPU | peak memory |\n| --- | --- | --: | --: | --: |\n", 0
    for failed in (True, False):
        for row in results(reader, run):
            if (row.state is JobState.FAILED) is failed:
                yield _row(row), 1


def _row(row: ResultRow) -> str:
    attempts = f" after {row.attempts} attempts" if row.attempts > 1 else ""
    result = _text(row_ending(row) + attempts)
    cells = [
        f"<code>{_text(row.name)}</code>",
        f"<b>{result}</b>" if row.state is JobState.FAILED else result,
        lasted(row.outcome, row.seconds),
        lasted(row.outcome, row.cpu_seconds),
        size(row.max_rss_bytes),
    ]
    return "| " + " | ".join(cells) + " |\n"


def _text(text: str) -> str:
    """Text that is nothing but text in Markdown and in HTML."""
    return _PUNCTUATION.sub(lambda match: f"&#{ord(match[0])};", display(text))


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
