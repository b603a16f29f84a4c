"""The worker's two ways of saying something: frames on its queue, lines in its journal.

Frames are those of `multiprocessing.connection.Connection` (a big-endian length, then the bytes) around
marshal, so that the server's end is an ordinary connection and this end needs no import. A journal line is
`crc32 payload`, the payload an `ascii()` of plain values: one write a line, readable after any crash.
"""

from __future__ import annotations

import marshal
import os
from binascii import crc32

TYPE_CHECKING = False  # as in typing, which is too big to import here
if TYPE_CHECKING:
    from typing import Any


class Closed(Exception):
    """The other end of the queue is gone."""


def read_frame(fd: int) -> object:
    """The next message; Closed at the end of file."""
    size = int.from_bytes(_read_exactly(fd, 4), "big", signed=True)
    if size == -1:
        size = int.from_bytes(_read_exactly(fd, 8), "big")
    return marshal.loads(_read_exactly(fd, size))


def write_frame(fd: int, message: Any) -> None:
    """Send one message whole; Closed when nobody reads any more."""
    data = marshal.dumps(message)
    size = len(data)
    head = size.to_bytes(4, "big") if size < 0x7FFFFFFF else b"\xff\xff\xff\xff" + size.to_bytes(8, "big")
    view = memoryview(head + data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except (BrokenPipeError, ConnectionResetError):
        raise Closed from None


def _read_exactly(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            part = os.read(fd, size - len(data))
        except ConnectionResetError:
            raise Closed from None
        if not part:
            raise Closed
        data = data + part if data else part
    return data


def journal_line(values: tuple[object, ...]) -> bytes:
    """One journal line for these plain values."""
    payload = ascii(values).encode("ascii")
    return b"%08x %s\n" % (crc32(payload), payload)


def parse_journal_line(line: bytes) -> tuple[object, ...] | None:
    """The values of a line, or None when it is cut short or damaged."""
    if not line.endswith(b"\n") or line[8:9] != b" ":
        return None
    payload = line[9:-1]
    try:
        if int(line[:8], 16) != crc32(payload):
            return None
    except ValueError:
        return None
    from ast import literal_eval  # only who adopts a journal pays for it

    try:
        values = literal_eval(payload.decode("ascii"))
    except (ValueError, SyntaxError):
        return None
    return values if isinstance(values, tuple) else None
