"""What a script wrote, as text that is safe to show: the end of a log, or as much of it as there is room for."""

import os

from buildrunner.ledger import ResultRow, RunRow
from buildrunner.naming import display_lines
from buildrunner.regular import open_regular
from buildrunner.summary import log_path

_LINES = 10
_BYTES = 8192


def last_words(run: RunRow, row: ResultRow, most: int = _LINES) -> tuple[list[str], str]:
    """The last lines a script wrote on stderr, or on stdout if there are none, and that log's path."""
    stderr = log_path(run, row.file, "err")
    if lines := last_lines(os.path.join(run.options["directory"], stderr), most):
        return lines, stderr
    stdout = log_path(run, row.file, "out")
    lines = last_lines(os.path.join(run.options["directory"], stdout), most)
    return lines, stdout if lines else stderr


def last_lines(path: str, most: int = _LINES) -> list[str]:
    """The last lines of a log, safe to show."""
    try:
        with open_regular(path) as file:
            end = file.seek(0, os.SEEK_END)
            start = max(0, end - _BYTES)
            file.seek(start)
            text = _text(file.read()).rstrip("\n")
    except OSError:
        return []
    lines = text.split("\n")
    if start and len(lines) > 1:
        lines = lines[1:]
    return lines[-most:] if text.strip() else []


def head_and_tail(path: str, most: int) -> tuple[str, int, str]:
    """A log's beginning, how many bytes are left out, and its end: together at most `most` bytes of the log.

    Of a log that fits the beginning is all. Raises OSError.
    """
    with open_regular(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size <= most:
            return _text(file.read(most)), 0, ""
        head = file.read(most // 2)
        file.seek(size - most // 2)
        end = file.read(most // 2)
    head = head[: head.rfind(b"\n") + 1] or head  # whole lines, and with them whole characters
    end = end[end.find(b"\n") + 1 :] or end
    return _text(head), size - len(head) - len(end), _text(end)


def _text(log: bytes) -> str:
    return display_lines(log.decode("utf-8", "surrogateescape").replace("\r\n", "\n"))
