"""The zip of a real run: the same bytes whenever the outputs are the same, and any damage to it is found."""

import hashlib
import io
import json
import os
import re
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from buildrunner import BuildServer, Summary
from buildrunner import package as package_module
from buildrunner.errors import NotAPackage, PackageError
from buildrunner.ledger import Reader
from buildrunner.package import package, verify

SCRIPTS = {
    "a.py": "print('hello'); import sys; print('oh', file=sys.stderr)",
    "b.py": (
        "import os; os.chdir(os.environ['BUILDRUNNER_OUTPUT_DIR']); os.mkdir('sub')\n"
        "open('sub/data', 'wb').write(bytes(range(256))); open('empty', 'w').close()"
    ),
    "c.py": "raise SystemExit(3)",
}


@pytest.fixture(autouse=True)
def _no_fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a folder with scripts in `src` and goes there."""

    def place(name: str = "here", scripts: dict[str, str] = SCRIPTS) -> Path:
        folder = tmp_path / name
        for script, text in scripts.items():
            path = folder / "src" / script
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.chdir(folder)
        return folder

    return place


def run(target: str = "src", **options: Any) -> Summary:
    return BuildServer(target, **{"workers": 2, **options}).run()


def manifest(path: str = "result.zip") -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        found: dict[str, Any] = json.loads(archive.read("manifest.json"))
    return found


def again(path: str = "again.zip", **options: Any) -> tuple[dict[str, Any], list[str]]:
    """Package the newest run once more."""
    reader = Reader.open(Path(".buildrunner"))
    try:
        return package(reader, reader.run(), path, **options)
    finally:
        reader.close()


# The same bytes


def test_equal_outputs_make_equal_zips(place: Callable[..., Path]) -> None:
    zips = []
    for name, options in (
        ("here", {}),
        ("elsewhere", {"workers": 1}),
        ("here", {"workers": 3}),
        ("other", {"order": "name"}),
    ):
        place(name)
        summary = run(**options)
        data = Path("result.zip").read_bytes()
        assert summary.run.archive == {
            "path": "result.zip", "sha256": hashlib.sha256(data).hexdigest(), "files": 9
        }  # fmt: skip
        zips.append(data)
    assert len(set(zips)) == 1
    assert again()[0]["sha256"] == hashlib.sha256(zips[0]).hexdigest()


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("a.py", "print('hullo')"),
        ("a.py", SCRIPTS["a.py"] + " "),
        ("b.py", ""),
        ("c.py", "raise SystemExit(4)"),
        ("d.py", ""),
    ],
)
def test_other_scripts_make_another_zip(place: Callable[..., Path], script: str, text: str) -> None:
    place()
    run()
    before = Path("result.zip").read_bytes()
    place(scripts={script: text})
    run()
    assert Path("result.zip").read_bytes() != before


def test_the_manifest_comes_first_and_says_what_ran(place: Callable[..., Path]) -> None:
    folder = place()
    run(args=("-v", "x"))
    with zipfile.ZipFile("result.zip") as archive:
        names = archive.namelist()
        contents = {name: archive.read(name) for name in names}
    assert names[0] == "manifest.json"
    assert names[1:] == sorted(names[1:])
    data = json.loads(contents.pop("manifest.json"))
    assert data["schema"] == "buildrunner.manifest/1"
    assert data["files"] == {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()
    }
    by_name = {result["name"]: result for result in data["results"]}
    assert list(by_name) == ["a.py", "b.py", "c.py"]
    assert by_name["c.py"] == {
        "name": "c.py",
        "script_sha256": hashlib.sha256((folder / "src/c.py").read_bytes()).hexdigest(),
        "args": ["-v", "x"],
        "state": "failed",
        "outcome": "exited",
        "exit_code": 3,
        "signal": None,
        "stdout": "logs/c.py.out",
        "stderr": "logs/c.py.err",
        "outputs": [],
    }
    assert by_name["b.py"]["outputs"] == [
        {"path": "empty", "file": "files/b.py/empty"}, {"path": "sub/data", "file": "files/b.py/sub/data"}
    ]  # fmt: skip
    assert contents["logs/a.py.out"] == b"hello\n"
    assert contents["logs/a.py.err"] == b"oh\n"
    assert contents["files/b.py/sub/data"] == bytes(range(256))


def test_nothing_in_the_manifest_changes_by_itself(place: Callable[..., Path]) -> None:
    folder = place()
    summary = run()
    with zipfile.ZipFile("result.zip") as archive:
        text = archive.read("manifest.json").decode()
    reader = Reader.open(Path(".buildrunner"))
    ids = [id_ for (id_,) in reader.db.execute("SELECT id FROM attempts")]
    reader.close()
    assert len(ids) == 3
    for secret in (summary.run.name, str(folder), str(folder.parent), summary.run.python, *ids):
        assert secret not in text


def test_entries_have_one_time_and_plain_permissions(place: Callable[..., Path]) -> None:
    place(
        scripts={
            "a.py": (
                "import os; p = os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/x'; open(p, 'w').close(); os.chmod(p, 0o4711)"
            )
        }
    )
    run()
    with zipfile.ZipFile("result.zip") as archive:
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.external_attr >> 16 == stat.S_IFREG | 0o644
            assert (info.create_system, info.extra, info.comment) == (3, b"", b"")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(os.stat("result.zip").st_mode) == 0o666 & ~umask


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        ("0", (1980, 1, 1, 0, 0, 0)),
        ("-1", (1980, 1, 1, 0, 0, 0)),
        ("315532799", (1980, 1, 1, 0, 0, 0)),
        ("315532802", (1980, 1, 1, 0, 0, 2)),
        ("1700000000", (2023, 11, 14, 22, 13, 20)),
        ("", (1980, 1, 1, 0, 0, 0)),
        ("soon", (1980, 1, 1, 0, 0, 0)),
        ("1.5", (1980, 1, 1, 0, 0, 0)),
    ],
)
def test_the_time_can_be_given(
    place: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, epoch: str, expected: tuple[int, ...]
) -> None:
    place(scripts={"a.py": ""})
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    run()
    with zipfile.ZipFile("result.zip") as archive:
        assert {info.date_time for info in archive.infolist()} == {expected}
    assert verify("result.zip").problems == ()


@pytest.mark.parametrize("epoch", ["4354819200", "99999999999999", "9" * 18, "9" * 30, "9" * 5000])
def test_a_time_too_late_for_a_zip_is_no_reason_to_fail(
    place: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, epoch: str
) -> None:
    place(scripts={"a.py": ""})
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    run()
    with zipfile.ZipFile("result.zip") as archive:
        assert len({info.date_time for info in archive.infolist()}) == 1
    assert verify("result.zip").problems == ()


def test_with_a_report_the_times_are_added_and_everything_else_stays(place: Callable[..., Path]) -> None:
    place()
    run()
    before = manifest()
    archive, _ = again(with_report=True)
    assert archive["files"] == 10
    assert manifest("again.zip") == before
    with zipfile.ZipFile("again.zip") as found:
        report = json.loads(found.read("report.json"))
    assert report["schema"] == "buildrunner.run/1"
    assert len(report["results"]) == 3
    assert verify("again.zip").problems == ()


ODD = [
    b"a\nb",
    b"\xff",
    b"-x",
    b" ",
    b"\xc3\xa9",
    b"e\xcc\x81",
    b"A",
    b"a",
    b"a:b",
    b"\\",
    b".hidden",
    b"x" * 255,
    b"con",
    b"%41",
]


def test_outputs_of_any_name(place: Callable[..., Path]) -> None:
    place(
        scripts={
            "odd\n\udcff.py": (
                "import os; os.chdir(os.environ['BUILDRUNNER_OUTPUT_DIR']); os.mkdir(b'\\xfe')\n"
                f"for name in {ODD!r}:\n"
                "    open(name, 'wb').write(name)\n    open(b'\\xfe/' + name, 'wb').write(name)\n"
            )
        }
    )
    assert run().passed
    assert verify("result.zip").problems == ()
    [result] = manifest()["results"]
    assert result["name"] == "odd\n\udcff.py"
    found = {os.fsencode(output["path"]): output["file"] for output in result["outputs"]}
    assert set(found) == {*ODD, *(b"\xfe/" + name for name in ODD)}
    with zipfile.ZipFile("result.zip") as archive:
        names = archive.namelist()
        assert len({name.casefold() for name in names}) >= len(names) - 2  # `A` and `a` are the script's own doing
        for path, name in found.items():
            assert archive.read(name) == path.removeprefix(b"\xfe/")
            assert name.isprintable()
            assert not set(name) & set('\\:*?"<>|')
    Path("unpacked").mkdir()
    with zipfile.ZipFile("result.zip") as archive:
        archive.extractall("unpacked")
    assert sum(p.is_file() for p in Path("unpacked").rglob("*")) == len(names)


def test_what_is_no_file_is_left_out(place: Callable[..., Path]) -> None:
    place(scripts={"a.py": (
        "import os; os.chdir(os.environ['BUILDRUNNER_OUTPUT_DIR'])\n"
        "os.mkfifo('pipe'); os.symlink('/etc/passwd', 'link')\n"
        "open('file', 'w').close()"
    )})  # fmt: skip
    run()
    assert [o["path"] for o in manifest()["results"][0]["outputs"]] == ["file"]
    assert verify("result.zip").problems == ()


def test_two_folders_with_a_script_of_one_name_are_both_packaged_whole(place: Callable[..., Path]) -> None:
    # Both write the same file name, and both runs use the same output folder.
    text = "import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/data', 'w').write({!r})"
    place(scripts={"../one/a.py": text.format("one"), "../two/a.py": text.format("two")})
    for target in ("one", "two", "one"):
        run(target)
        [result] = manifest()["results"]
        assert [output["path"] for output in result["outputs"]] == ["data"]
        with zipfile.ZipFile("result.zip") as archive:
            assert archive.read(result["outputs"][0]["file"]) == target.encode()


# What changed after a script had ended


def test_an_output_that_changed_is_packaged_and_told(place: Callable[..., Path]) -> None:
    folder = place()
    run()
    assert again()[1] == []
    (folder / "python_output/files/b.py/sub/data").write_bytes(b"new")
    assert again()[1] == [str(folder / "python_output/files/b.py/sub/data")]
    assert verify("again.zip").problems == ()
    with zipfile.ZipFile("again.zip") as archive:
        assert archive.read("files/b.py/sub/data") == b"new"


REPLACEMENTS: dict[str, Callable[[Path], object]] = {
    "removed": lambda path: path.unlink(),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "link": lambda path: (path.unlink(), os.symlink("/etc/passwd", path)),
    "its folder": lambda path: shutil.rmtree(path.parent),
    "its folder is a file": lambda path: (shutil.rmtree(path.parent), path.parent.touch()),
}


@pytest.mark.parametrize("how", REPLACEMENTS)
def test_an_output_that_is_gone_is_left_out_and_told(place: Callable[..., Path], how: str) -> None:
    folder = place()
    run()
    path = folder / "python_output/files/b.py/sub/data"
    REPLACEMENTS[how](path)
    assert again()[1] == [f"{path} (removed)"]
    assert verify("again.zip").problems == ()
    assert "files/b.py/sub/data" not in manifest("again.zip")["files"]


@pytest.mark.parametrize("how", REPLACEMENTS)
def test_a_log_that_is_gone_is_left_out(place: Callable[..., Path], how: str) -> None:
    folder = place()
    run()
    REPLACEMENTS[how](folder / "python_output/logs/a.py.out")
    again()
    assert verify("again.zip").problems == ()
    by_name = {result["name"]: result for result in manifest("again.zip")["results"]}
    assert by_name["a.py"]["stdout"] is None


def test_what_changes_while_it_is_packaged_stops_it(
    place: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place()
    run()
    before = Path("result.zip").read_bytes()
    write = package_module._write

    def late(*args: Any) -> Any:
        (folder / "python_output/files/b.py/sub/data").write_bytes(b"late")
        return write(*args)

    monkeypatch.setattr(package_module, "_write", late)
    with pytest.raises(PackageError, match=r"sub/data changed while it was being packaged.*buildrunner package"):
        again("result.zip")
    assert Path("result.zip").read_bytes() == before
    assert not list(folder.glob(".buildrunner-*"))


@pytest.mark.parametrize("call", ["replace", "fsync", "fchmod"])
def test_an_older_zip_stays_when_the_disk_gives_up(
    place: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    folder = place()
    run()
    before = Path("result.zip").read_bytes()
    (folder / "python_output/files/b.py/sub/data").write_bytes(b"new")

    def give_up(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, give_up)
        with pytest.raises(PackageError, match=r"cannot make the zip result.zip: No space left.*buildrunner package"):
            again("result.zip")
    assert Path("result.zip").read_bytes() == before
    assert not list(folder.glob(".buildrunner-*"))


def test_a_destination_that_is_not_there(place: Callable[..., Path]) -> None:
    place()
    run()
    with pytest.raises(PackageError, match=r"cannot make the zip nowhere/x\.zip: No such file or directory"):
        again("nowhere/x.zip")
    Path("file").touch()
    with pytest.raises(PackageError, match=r"cannot make the zip file/x\.zip: Not a directory"):
        again("file/x.zip")


# verify


@pytest.fixture
def small(place: Callable[..., Path]) -> bytes:
    """A package of less than 6 KiB, with a manifest, logs and an output."""
    text = "import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/x', 'w').write('data ' * 9); print('hello')"
    place(scripts={"a.py": text})
    run()
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
def test_an_entry_that_leads_outside_or_is_a_link_is_a_problem(
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


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.rglob(".ready-*"))
