r"""The record as rows for other programs: an attempt a line, as JSON lines or as CSV.

JSON lines are exact. A name's bytes that are not UTF-8 are lone surrogates there (`"\udcff"` for 0xFF), as in every
JSON document of ours.

CSV is for tables, and still loses nothing. Text that begins with what a spreadsheet takes for a formula gets a `'`
before it, and so does text that begins with a `'`: take one off, and it is what was recorded. Text that is not UTF-8,
or that a terminal would act on, is written as JSON, with its quotation marks; so is text that begins with one. A list
is JSON too. Numbers stay numbers.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from typing import IO, Any

FIELDS = (
    "run", "target", "name", "state", "attempt", "attempt_id", "superseded", "outcome", "exit_code", "signal", "mode",
    "seconds", "cpu_seconds", "max_rss_bytes", "started", "worker", "stdout", "stderr", "outputs", "skipped_outputs",
    "error", "script_sha256", "truncated", "why_cold",
)  # fmt: skip
"""Columns, in order."""

FORMATS = ("jsonl", "csv")

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
_HEADER = ",".join(FIELDS).encode()


def lines(rows: Iterable[dict[str, Any]], form: str) -> Iterator[str]:
    """The text of the export, line by line; `form` is one of FORMATS."""
    if form == "jsonl":
        for row in rows:
            yield json.dumps({field: row[field] for field in FIELDS}) + "\n"
        return
    line = _Line()
    writer = csv.writer(line)  # lines end as RFC 4180 has it, which also makes it quote a lone carriage return
    writer.writerow(FIELDS)
    yield line.text
    for row in rows:
        writer.writerow([cell(row[field]) for field in FIELDS])
        yield line.text


def cell(value: Any) -> Any:
    r"""A value as a cell of the CSV.

    >>> cell("=1+1"), cell("'"), cell("a\udcff"), cell(-1), cell(None), cell(["a"]), cell(True)
    ("'=1+1", "''", '"a\\udcff"', -1, None, '["a"]', 'true')
    """
    if isinstance(value, bool | list | dict):
        return json.dumps(value)
    if not isinstance(value, str):
        return value
    if value.startswith('"') or not value.replace("\n", "").isprintable():
        return json.dumps(value)
    return f"'{value}" if value.startswith(_FORMULA) else value


def is_export(file: IO[bytes]) -> bool:
    """Whether an open file begins as an export does."""
    first = file.readline(1 << 20).rstrip(b"\r\n")
    return first == _HEADER or first.startswith(b'{"run": ')


class _Line:
    """What csv writes to: holds the last line."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text
