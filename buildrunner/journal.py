"""What the journal of a dead worker says; how it is written is run/worker.py's affair, and run/wire.py's."""

import io
from contextlib import suppress
from dataclasses import dataclass

from buildrunner.errors import ReceiptError
from buildrunner.receipt import Receipt
from buildrunner.regular import open_regular
from buildrunner.run.wire import parse_journal_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What a worker's journal holds: attempts that started, receipts of those that ended, its control groups."""

    started: frozenset[str]
    receipts: tuple[Receipt, ...]
    groups: tuple[str, ...] = ()


def read_journal(path: str) -> Journal:
    """Read a dead worker's journal. A line that is cut short or damaged counts for nothing, and costs no other line:

    a script can write there if it wants to, with its user's rights.
    """
    started, receipts, found = set(), [], []
    try:
        with io.BufferedReader(open_regular(path)) as file:
            for line in file:
                match parse_journal_line(line):
                    case ("start", str(attempt), *_):
                        started.add(attempt)
                    case ("end", tuple() as fields) if fields and isinstance(fields[0], str):
                        with suppress(ReceiptError):
                            receipts.append(Receipt.from_wire(fields))
                    case ("group", str(group)):
                        found.append(group)
    except FileNotFoundError:
        pass  # died before it could open it, so nothing started
    return Journal(started=frozenset(started), receipts=tuple(receipts), groups=tuple(found))
