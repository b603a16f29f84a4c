"""What goes into a zip, kept out of memory however much it is: sorted and listed by way of temporary files.

_collect ──▶ Contents (SQLite's own temporary database) ──in order──▶ manifest, entries ──▶ zip
                    ▲                                                                       │
                    └───────── Directory: where each entry lies, for the zip's end ◀────────┘
"""

import json
import os
import sqlite3
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from operator import attrgetter
from typing import IO, Any, NamedTuple

_TABLES = """
PRAGMA journal_mode = OFF;
BEGIN;
CREATE TABLE results (name BLOB PRIMARY KEY, text TEXT) WITHOUT ROWID;
CREATE TABLE files (name BLOB, path BLOB, size INTEGER, sha256 TEXT, PRIMARY KEY (name, path)) WITHOUT ROWID;
"""
_NUMBERS = ("CRC", "compress_size", "file_size", "header_offset", "flag_bits", "create_version", "extract_version")
_numbers = attrgetter(*_NUMBERS)
_ENTRY = struct.Struct(f"<H{len(_NUMBERS)}Q")
_CHUNK = 1 << 20
_encode = json.JSONEncoder().encode


class Entry(NamedTuple):
    """A file to be packaged: its name in the zip, where it lies, and what was found there."""

    name: str
    path: str
    size: int
    sha256: str


class Contents:
    """Everything that goes into one zip; given in any order, taken in that of the names' bytes."""

    def __init__(self) -> None:
        """Raises sqlite3.Error, like everything here, where there is no room for temporary files."""
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(_TABLES)
        self._cursor = self._db.cursor()

    def close(self) -> None:
        """Forget all of it."""
        self._db.close()

    def add_result(self, name: str, result: dict[str, Any]) -> None:
        """What the manifest says of one job."""
        self._cursor.execute("INSERT INTO results VALUES (?, ?)", (os.fsencode(name), laid_out(result)))

    def add(self, entry: Entry) -> None:
        """A file."""
        self._cursor.execute(
            "INSERT INTO files VALUES (?, ?, ?, ?)",
            (entry.name.encode(), os.fsencode(entry.path), entry.size, entry.sha256),
        )

    def results(self) -> Iterator[str]:
        """What the manifest says of each job, as `members` takes it."""
        for (text,) in self._db.execute("SELECT text FROM results ORDER BY name"):
            yield text

    def files(self) -> Iterator[Entry]:
        """The files."""
        for name, path, size, sha256 in self._db.execute("SELECT * FROM files ORDER BY name, path"):
            yield Entry(name.decode(), os.fsdecode(path), size, sha256)


class Directory(list[zipfile.ZipInfo]):
    """In the place of `ZipFile.filelist`, to which every written entry is added, and which is written at the end.

    An entry lies in a file, as the few values that tell it from any other; `make` makes one anew of its name.
    """

    def __init__(self, file: IO[bytes], make: Callable[[str], zipfile.ZipInfo]) -> None:
        super().__init__()
        self._file, self._make, self._count = file, make, 0

    def append(self, info: zipfile.ZipInfo) -> None:
        """Keep what is known now that the entry is written."""
        self._count += 1
        name = info.filename.encode()
        self._file.write(_ENTRY.pack(len(name), *_numbers(info)) + name)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[zipfile.ZipInfo]:
        """The entries in the order in which they were written."""
        self._file.seek(0)
        for _ in range(self._count):
            length, *numbers = _ENTRY.unpack(self._file.read(_ENTRY.size))
            info = self._make(self._file.read(length).decode())
            for attribute, number in zip(_NUMBERS, numbers, strict=True):
                setattr(info, attribute, number)
            yield info


class NoNames(dict[str, zipfile.ZipInfo]):
    """In the place of `ZipFile.NameToInfo`, by which entries are found again: nobody asks while a zip is written."""

    def __setitem__(self, name: str, info: zipfile.ZipInfo) -> None:
        pass


def document(fields: Mapping[str, Any]) -> Iterator[str]:
    """The parts of a document, laid out as `json.dump` does with `indent=1`; an iterator gives a field's parts."""
    before = "{"
    for name, value in fields.items():
        yield f"{before}\n {_encode(name)}: "
        if isinstance(value, Iterator):
            yield from value
        else:
            yield laid_out(value, 1)
        before = ","
    yield "\n}\n"


def members(brackets: str, items: Iterable[str]) -> Iterator[str]:
    """The parts of such a document's field: a list or an object of these items."""
    before = brackets[0]
    for item in items:
        yield f"{before}\n  {item}"
        before = ","
    yield f"\n {brackets[1]}" if before == "," else brackets


def file_item(entry: Entry) -> str:
    """A file as an item of an object."""
    return f'{_encode(entry.name)}: {{\n   "size": {entry.size},\n   "sha256": "{entry.sha256}"\n  }}'


def laid_out(value: Any, level: int = 2) -> str:
    """A value as it stands at this depth of a document: by the C part of `json`, which knows no indentation."""
    if not value or not isinstance(value, dict | list):
        return _encode(value)
    end = "\n" + " " * level
    inner = value.values() if isinstance(value, dict) else value
    if not any(one and isinstance(one, dict | list) for one in inner):
        text = _flat(f",{end} ")(value)
        return f"{text[0]}{end} {text[1:-1]}{end}{text[-1]}"
    if isinstance(value, dict):
        items, brackets = (f"{_encode(k)}: {laid_out(v, level + 1)}" for k, v in value.items()), "{}"
    else:
        items, brackets = (laid_out(v, level + 1) for v in value), "[]"
    return f"{brackets[0]}{end} {f',{end} '.join(items)}{end}{brackets[1]}"


@cache
def _flat(separator: str) -> Callable[[Any], str]:
    return json.JSONEncoder(separators=(separator, ": ")).encode


def put(archive: zipfile.ZipFile, info: zipfile.ZipInfo, parts: Iterable[str], *, folder: str) -> None:
    """Write a text whose length shows only at its end; until then it lies in `folder`, where it has no name."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.writelines(part.encode("ascii") for part in parts)
        info.file_size = file.tell()
        file.seek(0)
        with archive.open(info, "w") as target:
            while chunk := file.read(_CHUNK):
                target.write(chunk)
