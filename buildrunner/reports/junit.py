"""A run as a JUnit file, the dialect that Jenkins, GitLab and most others read, written from the record.

    testsuites ─ testsuite (the target) ─ testcase (a job) ─ failure | error | skipped, system-out, system-err

A job has the same name and class in every report of its target, so that readers can follow it from run to run: nothing
in them tells runs, workers or machines apart. It is written job by job, whatever their number.
"""

import os
from collections import Counter
from collections.abc import Iterator
from typing import IO
from xml.sax.saxutils import escape, quoteattr

from buildrunner import destination
from buildrunner.job import JobState, Outcome
from buildrunner.ledger import Reader, ResultRow, RunRow, spec_from_json
from buildrunner.naming import display
from buildrunner.reports.tail import head_and_tail, last_words
from buildrunner.reports.words import ending
from buildrunner.summary import log_path, results, stamp, wall_seconds

MOST_OF_A_LOG = 64 << 10
"""Bytes of each of a script's two logs that are attached: of a longer one the first and the last half of that."""

_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_MARK = _DECLARATION + b"<!-- buildrunner.junit/1 -->\n"  # by which a report of ours is known again
_ERRORS = frozenset({Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.SPAWN_ERROR, Outcome.LOST})


def check_destination(path: str) -> None:
    """UsageError when no report can be written there; leaves nothing behind."""
    destination.check(path, what="the JUnit report", option="--junitxml FILE", ours=_is_ours)


def write(reader: Reader, run: RunRow, path: str) -> None:
    """Write the report of a run as it stands in the record. Raises UsageError and OSError; then nothing is changed."""
    check_destination(path)  # again: meanwhile a script may have put something there
    counts = Counter(_kind(row) for row in results(reader, run))
    with destination.replacing(path) as file:
        _write(file, run.target, _parts(reader, run), counts, wall_seconds(reader, run), stamp(run.started))


def write_empty(target: str, path: str) -> None:
    """Write a report without a test: for a choice of scripts that came to nothing."""
    check_destination(path)
    with destination.replacing(path) as file:
        _write(file, target, iter(()), Counter(), 0.0, None)


def _write(
    file: IO[bytes], target: str, cases: Iterator[str], counts: Counter[str], wall: float, when: str | None
) -> None:
    numbers = (
        f'tests="{counts.total()}" failures="{counts["failure"]}" errors="{counts["error"]}" '
        f'skipped="{counts["skipped"]}" time="{wall:.3f}"'
    )
    at = f' timestamp="{when}"' if when else ""
    file.write(_MARK)
    _put(file, f'<testsuites name="buildrunner" {numbers}>\n')
    _put(file, f"<testsuite name={_quoted(target)} {numbers}{at}>\n")
    for case in cases:
        _put(file, case)
    _put(file, "</testsuite>\n</testsuites>\n")


def _put(file: IO[bytes], text: str) -> None:
    file.write(text.encode())


def _parts(reader: Reader, run: RunRow) -> Iterator[str]:
    for row in results(reader, run):
        script = spec_from_json(row.name, row.spec).script
        where = f" file={_quoted(script)}" if script else ""
        time = f"{row.seconds or 0.0:.3f}"
        yield f'<testcase classname={_quoted(run.target)} name={_quoted(row.name)}{where} time="{time}">\n'
        if row.attempts > 1:
            yield f'<properties><property name="attempts" value="{row.attempts}"/></properties>\n'
        yield _result(run, row)
        if row.outcome is not None:
            for element, suffix in (("system-out", "out"), ("system-err", "err")):
                yield _log(element, run, log_path(run, row.file, suffix))
        yield "</testcase>\n"


def _kind(row: ResultRow) -> str:
    """The element that says how a job ended; none when it passed."""
    match row.state:
        case JobState.PASSED:
            return ""
        case JobState.FAILED:
            return "error" if row.outcome in _ERRORS else "failure"
        case _ if row.outcome is not None:
            return "error"  # it was ended in the middle; readers take a report of passed and skipped ones for a success
        case _:
            return "skipped"


def _result(run: RunRow, row: ResultRow) -> str:
    kind = _kind(row)
    if not kind:
        return ""
    if kind == "skipped":
        why = row.error or (f"not run: the run was {run.state}" if row.state is JobState.WAITING else row.state)
        return f"<skipped message={_quoted(why)}/>\n"
    message = ending(row.outcome, row.exit_code, row.signal, row.state)
    if row.attempts > 1:
        message += f" after {row.attempts} attempts"
    if row.state is JobState.WAITING:
        message += f", not run again: the run was {run.state}"
    if row.error:
        message += f": {row.error}"
    lines, log = last_words(run, row)
    words = "".join(line + "\n" for line in lines)
    return (
        f'<{kind} message={_quoted(message)} type="{row.outcome or row.state}">'
        f"{escape(words)}log: {escape(display(log))}</{kind}>\n"
    )


def _log(element: str, run: RunRow, path: str) -> str:
    try:
        head, left_out, end = head_and_tail(os.path.join(run.options["directory"], path), MOST_OF_A_LOG)
    except OSError:
        return ""  # never written, or taken away
    if not head:
        return ""
    if left_out:
        head = head.removesuffix("\n") + f"\n[{left_out:,} bytes left out here; all of it: {display(path)}]\n"
    return f"<{element}>{escape(head + end)}</{element}>\n"


def _quoted(text: str) -> str:
    return quoteattr(display(text))


def _is_ours(file: IO[bytes]) -> bool:
    return file.read(len(_MARK)) == _MARK
