"""Printing a document that may be too long to hold at once."""

import json
import sys
from collections.abc import Iterator
from typing import Any


def print_document(document: dict[str, Any]) -> None:
    """One JSON document on stdout; a value that is an iterator is written as a list, item by item."""
    write = sys.stdout.write
    write("{")
    for index, (key, value) in enumerate(document.items()):
        write(("," if index else "") + "\n  " + json.dumps(key) + ": ")
        if isinstance(value, Iterator):
            write("[")
            for number, item in enumerate(value):
                write(("," if number else "") + "\n    " + json.dumps(item))
            write("]")
        else:
            write(json.dumps(value))
    write("\n}\n")
    sys.stdout.flush()
