"""A SQLite file read without SQLite: pages, write-ahead log, b-trees, cells and records, each as far as it is whole.

SQLite gives up a table at its first damaged page. Here every page stands for itself, and of a page every cell. What is
deleted stays so: only cells that their page lists are read, and no page of the freelist. Reads only; knows nothing of
what the rows mean. The layout is that of https://sqlite.org/fileformat2.html, and so are the names.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from buildrunner.regular import open_regular

MAGIC = b"SQLite format 3\0"
TABLE_LEAF, TABLE_INTERIOR, INDEX_LEAF, INDEX_INTERIOR = 0x0D, 0x05, 0x0A, 0x02
_KINDS = (TABLE_LEAF, TABLE_INTERIOR, INDEX_LEAF, INDEX_INTERIOR)
_USUAL_SIZE = 4096
_WAL_MAGIC = 0x377F0682  # with its lowest bit set, checksums are of big-endian words
_WAL_HEADER, _FRAME_HEADER = 32, 24
_WIDTHS = (0, 1, 2, 3, 4, 6, 8)  # of integers, by serial type

Value = int | float | str | bytes | None


class Damaged(Exception):
    """What was looked at cannot be read as what it should be."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A row as stored: `rowid` is None in an index; `age` is higher the later its page was written."""

    page: int
    age: int
    rowid: int | None
    values: tuple[Value, ...]


class Pages:
    """The newest committed image of every page of a database."""

    def __init__(self, path: Path) -> None:
        """Read the database and its write-ahead log, either of which may be missing. Raises OSError.

        `count` pages are its own, `missing` more were cut off, and `log_frames` is how many the log holds.
        """
        self._data = _read(path)
        log = _read(Path(f"{path}-wal"))
        self.size = _page_size(self._data, log)
        self._frames: dict[int, tuple[int, bytes]] = {}
        self.count = len(self._data) // self.size
        self.log_frames = 0
        committed = 0
        for number, pages, data in _frames(log, self.size):
            self.log_frames += 1
            self._frames[number] = (self.log_frames, data)
            committed = pages or committed
        first = self.image(1) or b""
        self.has_header = first[:16] == MAGIC
        self.usable = self.size - (first[20] if self.has_header and first[20] < 32 else 0)
        said = committed or (struct.unpack_from(">I", first, 28)[0] if self.has_header else 0)
        there = max([self.count, *self._frames])
        self.count = committed or (said if 0 < said < there else there)
        self.missing = max(0, said - there) if said < 1 << 24 else 0  # more is no number of pages of ours
        self.free = self._freelist(first)

    @property
    def version(self) -> int:
        """The schema's number as its first page says, 0 when that is destroyed."""
        first = self.image(1) or b""
        return struct.unpack_from(">I", first, 60)[0] if self.has_header else 0

    def image(self, number: int) -> bytes | None:
        """A page's newest committed content; None when there is none."""
        if number in self._frames:
            return self._frames[number][1]
        data = self._data[(number - 1) * self.size : number * self.size]
        return data if number > 0 and len(data) == self.size else None

    def kind(self, number: int) -> int | None:
        """The kind of b-tree page this is, None when it is none."""
        data = self.image(number)
        if data is None:
            return None
        kind = data[100 if number == 1 else 0]
        return kind if kind in _KINDS else None

    def tree(self, root: int) -> tuple[list[int], int]:
        """The pages of a b-tree as far as they can be reached, and how many on the way are none."""
        found: dict[int, None] = {}
        bad, ahead = 0, [root]
        while ahead:
            number = ahead.pop()
            if number in found:
                continue
            kind = self.kind(number) if 0 < number <= self.count and number not in self.free else None
            if kind is None:
                bad += 1
                continue
            found[number] = None
            if kind in (TABLE_INTERIOR, INDEX_INTERIOR):
                ahead += self._children(number)
        return list(found), bad

    def cells(self, number: int) -> Iterator[Cell | None]:
        """The rows a page lists; None for one that cannot be read."""
        data, kind = self.image(number), self.kind(number)
        if data is None or kind in (None, TABLE_INTERIOR):
            return
        for place in self._places(number, data):
            try:
                yield self._cell(number, data, kind, place)
            except (Damaged, IndexError, struct.error, UnicodeDecodeError):
                yield None

    def _cell(self, number: int, data: bytes, kind: int | None, place: int) -> Cell:
        if not 0 < place < self.usable:
            raise Damaged
        if kind == INDEX_INTERIOR:
            place += 4  # the number of the page to its left
        length, place = _varint(data, place)
        rowid = None
        if kind == TABLE_LEAF:
            rowid, place = _varint(data, place)
        payload = self._payload(data, place, length, leaf_of_table=kind == TABLE_LEAF)
        age = self._frames[number][0] if number in self._frames else 0
        return Cell(number, age, rowid, _record(payload))

    def _payload(self, data: bytes, place: int, length: int, *, leaf_of_table: bool) -> bytes:
        usable = self.usable
        most = usable - 35 if leaf_of_table else (usable - 12) * 64 // 255 - 23
        local = length
        if length > most:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (length - least) % (usable - 4)
            local = local if local <= most else least
        if place + local > usable or length > self.count * self.size:
            raise Damaged
        payload = data[place : place + local]
        if length > local:
            (following,) = struct.unpack_from(">I", data, place + local)
            parts, have, seen = [payload], local, set()
            while have < length:
                page = self.image(following)
                if page is None or following in seen or following in self.free:
                    raise Damaged
                seen.add(following)
                (following,) = struct.unpack_from(">I", page)
                parts.append(page[4 : 4 + min(usable - 4, length - have)])
                have += len(parts[-1])
            payload = b"".join(parts)
        return payload

    def _places(self, number: int, data: bytes) -> tuple[int, ...]:
        start = 100 if number == 1 else 0
        interior = data[start] in (TABLE_INTERIOR, INDEX_INTERIOR)
        (cells,) = struct.unpack_from(">H", data, start + 3)
        first = start + (12 if interior else 8)
        cells = min(cells, (len(data) - first) // 2)
        return struct.unpack_from(f">{cells}H", data, first)

    def _children(self, number: int) -> list[int]:
        data = self.image(number) or b""
        start = 100 if number == 1 else 0
        children = [struct.unpack_from(">I", data, start + 8)[0]]
        for place in self._places(number, data):
            with suppress(struct.error):
                children.append(struct.unpack_from(">I", data, place)[0])
        return children[::-1]

    def _freelist(self, first: bytes) -> set[int]:
        """The pages that hold nothing any more: as the first page says, and, should it be destroyed, by their looks."""
        free: set[int] = set()
        if self.has_header:
            (following,) = struct.unpack_from(">I", first, 32)
            while following and (listed := self._trunk(following)) is not None and following not in free:
                free |= {following, *listed}
                (following,) = struct.unpack_from(">I", self.image(following) or bytes(4))
        for number in range(2, self.count + 1):
            if listed := self._trunk(number):
                free |= {number, *listed}
        return free

    def _trunk(self, number: int) -> tuple[int, ...] | None:
        """The pages a page of the freelist lists; None when it cannot be one."""
        data = self.image(number)
        if data is None or number > self.count:
            return None
        following, length = struct.unpack_from(">II", data)
        if following > self.count or length > self.size // 4 - 2:
            return None
        listed = struct.unpack_from(f">{length}I", data, 8)
        return listed if len(set(listed)) == length and all(1 < n <= self.count for n in listed) else None


def _read(path: Path) -> bytes:
    try:
        with open_regular(path, follow=True) as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _page_size(data: bytes, log: bytes) -> int:
    sizes = [struct.unpack_from(">H", data, 16)[0]] if data[:16] == MAGIC and len(data) >= 18 else []
    if len(log) >= _WAL_HEADER and struct.unpack_from(">I", log)[0] | 1 == _WAL_MAGIC | 1:
        sizes.append(struct.unpack_from(">I", log, 8)[0])
    for size in sizes:
        size = 65536 if size == 1 else size
        if 512 <= size <= 65536 and size & (size - 1) == 0:
            return int(size)
    return _USUAL_SIZE


def _frames(log: bytes, size: int) -> Iterator[tuple[int, int, bytes]]:
    """Page, size of the database and content of each committed frame of a write-ahead log, in order.

    A frame is one of this log when its salts are the log's and its checksum, which goes on from the one before it, is
    right; so damage costs a frame and perhaps the next, and not all that follow.
    """
    step = _FRAME_HEADER + size
    heads = [struct.unpack_from(">6I", log, at) for at in range(_WAL_HEADER, len(log) - step + 1, step)]
    if not heads:
        return
    magic, _, _, _, *rest = struct.unpack_from(">8I", log)
    orders = [">" if magic & 1 else "<"] if magic | 1 == _WAL_MAGIC | 1 else ["<", ">"]
    if len(orders) == 1 and _checksum(orders[0], log[:24]) == tuple(rest[2:]):
        salts, before = tuple(rest[:2]), tuple(rest[2:])
    else:
        salts, before = heads[0][2:4], (-1, -1)
    for order in orders:
        found, last = [], before
        for index, (number, pages, *tail) in enumerate(heads):
            at = _WAL_HEADER + index * step
            if tuple(tail[:2]) != salts:
                last = (-1, -1)
                continue
            if last != (-1, -1) and number:
                whole = log[at : at + 8] + log[at + _FRAME_HEADER : at + step]
                if _checksum(order, whole, *last) == tuple(tail[2:]):
                    found.append((number, pages, log[at + _FRAME_HEADER : at + step]))
            last = tuple(tail[2:])
        if found:
            committed = max((index + 1 for index, (_, pages, _) in enumerate(found) if pages), default=0)
            yield from found[:committed]
            return


def _checksum(order: str, data: bytes, one: int = 0, two: int = 0) -> tuple[int, int]:
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for _ in range(8):
        byte = data[place]
        place += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place
    value = value << 8 | data[place]
    return (value - (1 << 64) if value >= 1 << 63 else value), place + 1


def _record(payload: bytes) -> tuple[Value, ...]:
    """The values of a row. Damaged when its parts do not add up to it exactly."""
    start, place = _varint(payload, 0)
    kinds = []
    while place < start:
        kind, place = _varint(payload, place)
        kinds.append(kind)
    if place != start or not kinds:
        raise Damaged
    values: list[Value] = []
    for kind in kinds:
        value: Value
        if kind == 0:
            value, width = None, 0
        elif 1 <= kind <= 6:
            width = _WIDTHS[kind]
            value = int.from_bytes(payload[place : place + width], "big", signed=True)
        elif kind == 7:
            width = 8
            (value,) = struct.unpack_from(">d", payload, place)
        elif kind in (8, 9):
            value, width = kind - 8, 0
        elif kind >= 12:
            width = (kind - 12) // 2
            piece = payload[place : place + width]
            value = piece.decode() if kind & 1 else piece
        else:
            raise Damaged
        place += width
        values.append(value)
    if place != len(payload):
        raise Damaged
    return tuple(values)
