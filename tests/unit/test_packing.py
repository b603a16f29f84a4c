"""What a zip is made of by way of files is what `json` and `zipfile` alone would make of it in memory."""

import io
import json
import tracemalloc
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from buildrunner import packing
from buildrunner.packing import Contents, Directory, Entry, NoNames, document, file_item, laid_out, members, put

VALUES: list[Any] = [
    None, True, 3, 2.5, "", 'a"\n\x1b\udcff é', [], {}, [1], ["a", "b"], {"a": 1, "b": "x"}, [[]], [[1], {}],
    {"a": [], "b": {"c": [1, {"d": None}]}, "e": "f"}, [{"path": "p", "file": "f"}, {"path": "q", "file": "g"}],
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_document_is_laid_out_as_json_does(value: Any) -> None:
    expected = {"first": value, "list": [value, {"x": value}], "none": [], "object": {}, "last": 1}
    parts = document(expected | {"list": members("[]", map(laid_out, expected["list"])), "none": members("[]", [])})
    assert "".join(parts) == json.dumps(expected, indent=1) + "\n"


def test_files_are_laid_out_and_sorted_by_the_bytes_of_their_names() -> None:
    contents = Contents()
    names = ["logs/b.out", "files/ö/x", "logs/a.b.err", "files/z/\U0001f600", "logs/a.out", "files/z/\uffff"]
    for name in names:
        contents.add(Entry(name, f"/\udcff/{name}", 3, "0" * 64))
    found = list(contents.files())
    assert [entry.name for entry in found] == sorted(names, key=str.encode)
    assert all(entry.path == f"/\udcff/{entry.name}" for entry in found)
    expected = {entry.name: {"size": 3, "sha256": "0" * 64} for entry in found}
    assert "".join(document({"files": members("{}", map(file_item, found))})) == json.dumps(
        {"files": expected}, indent=1
    ).rstrip() + "\n"  # fmt: skip
    contents.close()


@pytest.mark.parametrize("entries", [0, 500, pytest.param(66_000, marks=pytest.mark.soak)])
def test_the_zip_is_that_of_the_library(tmp_path: Path, entries: int) -> None:
    """Byte for byte, also with more entries than the older zip format knows, and with names that are not ASCII."""
    texts = {f"{n:05}-{'é' if n % 7 == 0 else 'e'}": "x" * (n % 5) for n in range(entries)}
    plain, ours = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(_info(name), text)
    with open(tmp_path / "directory", "w+b") as file, zipfile.ZipFile(ours, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.filelist = written = Directory(file, _info)
        archive.NameToInfo = NoNames()
        for n, (name, text) in enumerate(texts.items()):
            if n % 100:
                archive.writestr(_info(name), text)
            else:
                put(archive, _info(name), [text[:1], text[1:]], folder=str(tmp_path))
    assert len(written) == len(texts)
    assert not archive.NameToInfo
    assert ours.getvalue() == plain.getvalue()


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_CHUNK", 1 << 14)
    few, many = (_peak(tmp_path / str(number), number) for number in (300, 1_500))
    assert many - few < 100_000, "bytes"


def _peak(folder: Path, number: int) -> int:
    """The most bytes that Python holds at once while so many entries go all the way."""
    folder.mkdir()
    tracemalloc.start()
    try:
        with (
            closing(Contents()) as contents,
            open(folder / "directory", "w+b") as file,
            zipfile.ZipFile(folder / "zip", "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            archive.filelist, archive.NameToInfo = Directory(file, _info), NoNames()
            for n in range(number):
                contents.add_result(f"{n:05}.py", {"name": f"{n:05}.py", "outputs": [{"path": "a"}]})
                contents.add(Entry(f"logs/{n:05}.py.out", f"/somewhere/logs/{n:05}.py.out", 0, "0" * 64))
            parts = {
                "results": members("[]", contents.results()),
                "files": members("{}", map(file_item, contents.files())),
            }
            put(archive, _info("manifest.json"), document(parts), folder=str(folder))
            for entry in contents.files():
                archive.writestr(_info(entry.name), b"")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
