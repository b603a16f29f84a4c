"""The zip of a real run: the same bytes whenever the outputs are the same, and what goes in and what does not."""

import hashlib
import io
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from buildrunner import BuildServer, Summary
from buildrunner import package as package_module
from buildrunner.errors import PackageError
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
        place(name, scripts=SCRIPTS)
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
    place(scripts=SCRIPTS)
    run()
    before = Path("result.zip").read_bytes()
    place(scripts={script: text})
    run()
    assert Path("result.zip").read_bytes() != before


def test_the_manifest_comes_first_and_says_what_ran(place: Callable[..., Path]) -> None:
    folder = place(scripts=SCRIPTS)
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
    folder = place(scripts=SCRIPTS)
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
    place(scripts=SCRIPTS)
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


def test_s37_an_output_that_changed_is_packaged_and_told(place: Callable[..., Path]) -> None:
    folder = place(scripts=SCRIPTS)
    run()
    assert again()[1] == ()
    (folder / "python_output/files/b.py/sub/data").write_bytes(b"new")
    path = folder / "python_output/files/b.py/sub/data"
    assert again()[1] == (f"changed after its script ended, packaged as it is now: {path}",)
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
def test_s37_an_output_that_is_gone_is_left_out_and_told(place: Callable[..., Path], how: str) -> None:
    folder = place(scripts=SCRIPTS)
    run()
    path = folder / "python_output/files/b.py/sub/data"
    REPLACEMENTS[how](path)
    assert again()[1] == (f"gone since its script ended, so not packaged: {path}",)
    assert verify("again.zip").problems == ()
    assert "files/b.py/sub/data" not in manifest("again.zip")["files"]


@pytest.mark.parametrize("how", REPLACEMENTS)
def test_a_log_that_is_gone_is_left_out(place: Callable[..., Path], how: str) -> None:
    folder = place(scripts=SCRIPTS)
    run()
    REPLACEMENTS[how](folder / "python_output/logs/a.py.out")
    again()
    assert verify("again.zip").problems == ()
    by_name = {result["name"]: result for result in manifest("again.zip")["results"]}
    assert by_name["a.py"]["stdout"] is None


def test_s37_what_changes_while_it_is_packaged_stops_it(
    place: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place(scripts=SCRIPTS)
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


@pytest.mark.parametrize("when", ["hashed", "packed"])
def test_s37_what_grows_for_ever_while_it_is_packaged_stops_it(
    place: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Each time something of it is read, it has grown by more than that."""
    folder = place(scripts=SCRIPTS)
    run()
    path = folder / "python_output/files/b.py/sub/data"
    os.truncate(path, 3 * package_module._CHUNK)
    open_regular, opened = package_module.open_regular, []

    class Growing(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            os.truncate(path, path.stat().st_size + 2 * package_module._CHUNK)
            return super().read(size)

    def open_growing(name: str) -> Any:
        opened.append(name)
        if name != str(path) or opened.count(name) < (2 if when == "packed" else 1):
            return open_regular(name)
        return Growing(name)

    monkeypatch.setattr(package_module, "open_regular", open_growing)
    with pytest.raises(PackageError, match=r"sub/data changed while it was being packaged.*buildrunner package"):
        again()
    assert path.stat().st_size < 40 * package_module._CHUNK


@pytest.mark.parametrize("call", ["replace", "fsync", "fchmod"])
def test_an_older_zip_stays_when_the_disk_gives_up(
    place: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    folder = place(scripts=SCRIPTS)
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
    place(scripts=SCRIPTS)
    run()
    with pytest.raises(PackageError, match=r"cannot make the zip nowhere/x\.zip: No such file or directory"):
        again("nowhere/x.zip")
    Path("file").touch()
    with pytest.raises(PackageError, match=r"cannot make the zip file/x\.zip: Not a directory"):
        again("file/x.zip")


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.rglob(".ready-*"))
