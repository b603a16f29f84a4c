"""`verify` on packages that were damaged or forged, and on what is no package."""

import hashlib
import io
import json
import re
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildrunner import BuildServer
from buildrunner import package as package_module
from buildrunner.errors import NotAPackage
from buildrunner.package import verify


@pytest.fixture
def small(place: Callable[..., Path]) -> bytes:
    """A package of less than 6 KiB, with a manifest, logs and an output."""
    text = "import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/x', 'w').write('data ' * 9); print('hello')"
    place(scripts={"a.py": text})
    BuildServer("src", workers=2).run()
    data = Path("result.zip").read_bytes()
    assert len(data) < 6000
    assert verify("result.zip").problems == ()
    assert verify("result.zip").files == 4
    return data


@pytest.fixture
def check(tmp_path: Path) -> Callable[[bytes], tuple[str, ...]]:
    path = tmp_path / "check.zip"

    def check(data: bytes) -> tuple[str, ...]:
        path.write_bytes(data)
        return verify(str(path)).problems

    return check


@pytest.mark.parametrize("mask", [0x01, 0x04, 0x80, 0xFF], ids=hex)
def test_any_byte_that_is_not_as_it_was_is_found(
    small: bytes, check: Callable[[bytes], tuple[str, ...]], mask: int
) -> None:
    damaged = bytearray(small)
    unnoticed = []
    for at in range(len(small)):
        damaged[at] ^= mask
        if not check(bytes(damaged)):
            unnoticed.append(at)
        damaged[at] ^= mask
    assert unnoticed == []


def test_a_zip_cut_short_anywhere_is_found(small: bytes, check: Callable[[bytes], tuple[str, ...]]) -> None:
    lengths = {0, 1, 2, 3, 4, 21, 22, 30, 42, 43, 44, len(small) - 1, *range(50, len(small), 13)}
    for length in sorted(lengths):
        try:
            assert check(small[:length]), length
        except NotAPackage:
            assert length < 43, "its beginning says that it is ours"


@pytest.mark.parametrize("extra", [b"\0", b"PK\x05\x06" + b"\0" * 18, b"x" * 1000])
def test_what_is_added_at_either_end_is_found(
    small: bytes, check: Callable[[bytes], tuple[str, ...]], extra: bytes
) -> None:
    assert check(small + extra)
    assert check(extra + small)


def test_two_blocks_swapped_are_found(small: bytes, check: Callable[[bytes], tuple[str, ...]]) -> None:
    assert check(small[:100] + small[200:300] + small[100:200] + small[300:])


def repack(data: bytes, change: Callable[[dict[str, bytes]], None] = lambda _: None, seal: bool = True) -> bytes:
    """Take a package apart, change it, and put it together again with a seal that holds."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777 if name.endswith(".link") else stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
    return sealed(out.getvalue()) if seal else out.getvalue()


def sealed(data: bytes) -> bytes:
    mark = package_module._SEAL
    data = data[:-2] + struct.pack("<H", len(mark) + 64)
    return data + mark + hashlib.sha256(data).hexdigest().encode()


def with_manifest(change: Callable[[Any], Any]) -> Callable[[dict[str, bytes]], None]:
    def apply(entries: dict[str, bytes]) -> None:
        entries["manifest.json"] = json.dumps(change(json.loads(entries["manifest.json"]))).encode()

    return apply


def test_the_seal_of_this_test_holds(small: bytes, check: Callable[[bytes], tuple[str, ...]]) -> None:
    assert check(repack(small)) == ()
    assert check(repack(small, seal=False)) == ("the seal over the whole file does not hold",)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "..", "a\\..\\x", "C:\\x", "logs/x.link"])
def test_s71_an_entry_that_leads_outside_or_is_a_link_is_a_problem(
    small: bytes, check: Callable[[bytes], tuple[str, ...]], name: str
) -> None:
    def add(entries: dict[str, bytes]) -> None:
        entries[name] = b"x"
        data = json.loads(entries["manifest.json"])
        data["files"][name] = {"size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
        entries["manifest.json"] = json.dumps(data).encode()

    problems = check(repack(small, add))
    assert len(problems) == 1
    assert ("must not be a link" if name.endswith(".link") else "must stay below") in problems[0]
    assert problems[0].isprintable()


CHANGES: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "changed": (lambda e: e.update({"logs/a.py.out": b"hullo\n"}), r"logs/a\.py\.out differs from the manifest"),
    "missing": (lambda e: e.pop("logs/a.py.out") and None, r"logs/a\.py\.out is missing"),
    "more": (lambda e: e.update({"logs/b.py.out": b""}), r"logs/b\.py\.out is not in the manifest"),
    "other schema": (with_manifest(lambda m: {**m, "schema": "x"}), "manifest.json is not of schema"),
    "a list": (with_manifest(lambda m: [m]), "manifest.json is not of schema"),
    "no files": (with_manifest(lambda m: {"schema": m["schema"]}), "."),
    "files a list": (with_manifest(lambda m: {**m, "files": list(m["files"])}), "."),
    "files null": (with_manifest(lambda m: {**m, "files": None}), "."),
    "files numbers": (with_manifest(lambda m: {**m, "files": dict.fromkeys(m["files"], 5)}), "."),
    "files empty": (with_manifest(lambda m: {**m, "files": {name: {} for name in m["files"]}}), "."),
    "no JSON": (lambda e: e.update({"manifest.json": b"{"}), "."),
    "no text": (lambda e: e.update({"manifest.json": b"\xff\xfe\xfd"}), "."),
    "deep": (lambda e: e.update({"manifest.json": b"[" * 100_000}), "."),
}


@pytest.mark.parametrize("what", CHANGES)
def test_contents_that_do_not_fit_the_manifest_are_a_problem(
    small: bytes, check: Callable[[bytes], tuple[str, ...]], what: str
) -> None:
    change, message = CHANGES[what]
    problems = check(repack(small, change))
    assert any(re.search(message, problem) for problem in problems), problems


def test_an_entry_that_is_there_twice_is_a_problem(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    path.write_bytes(repack(small, seal=False))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("logs/a.py.out", b"hello\n")
    path.write_bytes(sealed(path.read_bytes()))
    assert "an entry is there twice" in verify(str(path)).problems


def test_names_in_messages_are_harmless(small: bytes, check: Callable[[bytes], tuple[str, ...]]) -> None:
    problems = check(repack(small, lambda e: e.update({"\x1b[31m\n": b""})))
    assert problems
    assert all(problem.isprintable() for problem in problems)


def other_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("other.txt", "x" * 500)
    return out.getvalue()


STRANGERS = {
    "empty": b"",
    "text": b"hello" * 100,
    "zip": other_zip(),
    "end record": b"PK\5\6" + b"\0" * 18,
    "elf": b"\x7fELF" + b"\0" * 500,
}


@pytest.mark.parametrize("what", STRANGERS)
def test_what_is_no_package_of_ours(check: Callable[[bytes], tuple[str, ...]], what: str) -> None:
    with pytest.raises(NotAPackage, match=r"check\.zip is not a package made by buildrunner") as caught:
        check(STRANGERS[what])
    assert caught.value.exit_code == 2


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotAPackage, match=r"nowhere\.zip: No such file"):
        verify(str(tmp_path / "nowhere.zip"))
    with pytest.raises(NotAPackage, match="not a regular file"):
        verify(str(tmp_path))
