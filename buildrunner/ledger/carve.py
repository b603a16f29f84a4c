"""Which rows a damaged ledger still holds: by table where the schema can be read, else by their shape.

A shape is what the migrations say: how many columns (a row written before a column was added has fewer), of which
kinds, in which kind of b-tree. That no two tables have the same one is tested.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from buildrunner.ledger import store
from buildrunner.ledger.pages import INDEX_INTERIOR, INDEX_LEAF, TABLE_LEAF, Cell, Pages

TABLES = ("runs", "jobs", "attempts", "receipts")
_KINDS_OF = {"INTEGER": (int,), "REAL": (int, float), "TEXT": (str, bytes), "": (str, bytes)}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """`kinds`: what its values may be, None for anything. A row too short to have it has the default."""

    name: str
    kinds: tuple[type, ...] | None
    real: bool
    required: bool
    default: Any


@dataclass(frozen=True, slots=True)
class Shape:
    """A table as it is stored. `rowid`: the place of the column that is the row's number, None where there is none."""

    table: str
    columns: tuple[Column, ...]
    fewest: int
    rowid: int | None

    @property
    def pages(self) -> tuple[int, ...]:
        """The kinds of pages its rows are on."""
        return (INDEX_LEAF, INDEX_INTERIOR) if self.rowid is None else (TABLE_LEAF,)

    def row(self, cell: Cell) -> Row | None:
        """The cell as a row of this table, None when it is none."""
        values = list(cell.values)
        if not self.fewest <= len(values) <= len(self.columns) or (cell.rowid is None) != (self.rowid is None):
            return None
        if self.rowid is not None:
            if values[self.rowid] is not None:
                return None
            values[self.rowid] = cell.rowid
        row: Row = {}
        for index, column in enumerate(self.columns):
            value = values[index] if index < len(values) else column.default
            if value is None:
                if column.required:
                    return None
            elif column.kinds and type(value) not in column.kinds:
                return None
            row[column.name] = float(value) if column.real and value is not None else value
        return row


@dataclass(slots=True)
class Carved:
    """What was found. Of a row that was found more than once all are here, the most trustworthy first.

    `jobs_known`: run, name and number of jobs as the index of their names has them, whose rows may be gone.
    """

    rows: dict[str, dict[Any, list[Row]]] = field(default_factory=lambda: {table: {} for table in TABLES})
    jobs_known: dict[int, set[tuple[int, str | bytes]]] = field(default_factory=dict)
    damaged_rows: int = 0
    lost_pages: int = 0
    pages: int = 0


def shapes() -> dict[str, Shape]:
    """The shape of each table, from the migrations: all its columns, and how few an old row may have."""
    newest = store.new_database(":memory:")
    first = store.new_database(":memory:", version=1)
    try:
        found = {}
        for table in TABLES:
            info = newest.execute(f"PRAGMA table_info({table})").fetchall()
            fewest = len(first.execute(f"PRAGMA table_info({table})").fetchall())
            (sql,) = newest.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
            without = "WITHOUT ROWID" in sql.upper()
            key = [row for row in info if row[5]]
            if without:  # then the key comes first
                info = sorted(key, key=lambda row: row[5]) + [row for row in info if not row[5]]
            columns = tuple(
                Column(
                    name=name,
                    kinds=_KINDS_OF.get(type_),
                    real=type_ == "REAL",
                    required=bool(required) or bool(in_key),
                    default=None if default is None else newest.execute(f"SELECT {default}").fetchone()[0],
                )
                for _, name, type_, required, default, in_key in info
            )
            rowid = None if without else next(index for index, row in enumerate(info) if row[5])
            found[table] = Shape(table, columns, fewest, rowid)
        return found
    finally:
        newest.close()
        first.close()


def carve(pages: Pages) -> Carved:
    """Every row that can be read in a database and its write-ahead log."""
    shape_of, carved = shapes(), Carved()
    carved.pages, carved.lost_pages = pages.count, pages.missing
    owners: dict[int, Shape | None] = {}  # None: an index
    for kind, name, root in _roots(pages):
        reached, bad = pages.tree(root)
        carved.lost_pages += bad
        for number in reached:
            owners.setdefault(number, shape_of.get(name) if kind == "table" else None)
    found: list[tuple[bool, Cell, Shape, Row]] = []
    for number in range(2, pages.count + 1):
        owner = owners.get(number)
        if number in pages.free:
            continue
        if number not in owners and not any(pages.image(number) or b""):
            carved.lost_pages += 1
        if owner is None:
            _note_jobs(pages, number, carved)
        if owner is None and number in owners:
            continue
        # The schema may be damaged too: a row that is none of the table it names may be one of another.
        fitting = sorted(shape_of.values(), key=lambda shape: shape is not owner)
        fitting = [shape for shape in fitting if pages.kind(number) in shape.pages]
        for cell in pages.cells(number) if fitting else ():
            for shape in fitting:
                if cell and (row := shape.row(cell)) is not None:
                    found.append((shape is owner, cell, shape, row))
                    break
            else:
                carved.damaged_rows += owner is not None
    found.sort(key=lambda one: (one[0], one[1].age), reverse=True)
    for _, _, shape, row in found:
        key = row[shape.columns[shape.rowid or 0].name]
        variants = carved.rows[shape.table].setdefault(key, [])
        if row not in variants:
            variants.append(row)
    return carved


def schema(pages: Pages) -> tuple[int, set[str]]:
    """The schema's number and the text that makes each table, as far as they can be read."""
    return pages.version, {" ".join(str(values[4]).split()) for values in _master(pages) if values[0] == "table"}


def _roots(pages: Pages) -> Iterator[tuple[str, str, int]]:
    """Kind, name and first page of everything the schema names."""
    yield "schema", "sqlite_master", 1
    for kind, name, _, root, _ in _master(pages):
        if kind in ("table", "index") and isinstance(root, int) and 1 < root <= pages.count:
            yield str(kind), str(name), root


def _master(pages: Pages) -> Iterator[tuple[Any, ...]]:
    for number in pages.tree(1)[0]:
        for cell in pages.cells(number):
            if cell and cell.rowid is not None and len(cell.values) == 5:
                yield cell.values


def _note_jobs(pages: Pages, number: int, carved: Carved) -> None:
    """Take note of the jobs that an index of run, name and row names."""
    if pages.kind(number) not in (INDEX_LEAF, INDEX_INTERIOR):
        return
    for cell in pages.cells(number):
        match cell.values if cell else ():
            case (int(run), str() | bytes() as name, int(job)):
                carved.jobs_known.setdefault(job, set()).add((run, name))
