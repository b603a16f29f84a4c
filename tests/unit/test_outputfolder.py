"""The output folder: it shows the last run of its target, and what is not ours is never touched."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildrunner.errors import LedgerBusy, UsageError
from buildrunner.ledger import lock
from buildrunner.outputfolder import OutputFolder

LIST = ".buildrunner-files"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[OutputFolder]:
    folder = OutputFolder(str(tmp_path / "out"), purpose="a test")
    yield folder
    folder.close()


def write(folder: OutputFolder, **logs_and_files: str) -> None:
    """Write files by their path in the folder, with `__` for a slash."""
    for name, text in logs_and_files.items():
        put(folder, name.replace("__", "/"), text)


def put(folder: OutputFolder, relative: str, text: str = "") -> Path:
    path = Path(folder.path, relative)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def held(folder: OutputFolder) -> set[str]:
    """Every file in the folder, but not its own list and lock."""
    root = Path(folder.path)
    found = {str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir() or p.is_symlink()}
    return {name for name in found if not name.startswith(".buildrunner-")}


def run(
    folder: OutputFolder, key: str, names: list[str], outputs: dict[str, list[str]] | None = None
) -> dict[str, str]:
    """What a whole run does: logs for every job, and these output files for some."""
    files = folder.begin(key, "a-run", names)
    left = []
    for name, file in files.items():
        for suffix in ("out", "err"):
            Path(folder.log(file, suffix)).write_text(key)
        for output in (outputs or {}).get(name, []):
            left.append(f"files/{file}/{output}")
            put(folder, left[-1], key)
    folder.finish(key, left)
    return files


def test_it_is_made_where_it_is_missing(tmp_path: Path) -> None:
    folder = OutputFolder(str(tmp_path / "a/b"), purpose="a test")
    assert (tmp_path / "a/b/logs").is_dir()
    assert (tmp_path / "a/b/files").is_dir()
    folder.close()
    assert sorted(p.name for p in (tmp_path / "a/b").iterdir()) == [".buildrunner-lock", "files", "logs"]


def test_paths(folder: OutputFolder) -> None:
    assert folder.log("a.py", "out") == f"{folder.path}/logs/a.py.out"
    assert folder.log("a.py", "err", 2) == f"{folder.path}/logs/a.py.2.err"
    assert folder.outputs("a.py") == f"{folder.path}/files/a.py"
    assert os.path.dirname(folder.ready(1)) == f"{folder.path}/files"
    assert folder.ready(1) != folder.ready(2)


def test_what_killed_workers_kept_ready_goes_when_the_folder_is_closed(tmp_path: Path) -> None:
    folder = OutputFolder(str(tmp_path / "out"), purpose="a test")
    os.mkdir(folder.ready(0))
    put(folder, "files/.ready-1/somebody's")
    os.mkdir(f"{folder.files}/.ready-to-go")
    folder.close()
    assert sorted(os.listdir(folder.files)) == [".ready-1", ".ready-to-go"]


def test_it_cannot_be_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="name another with -o DIR"):
        OutputFolder(str(tmp_path / "out"), purpose="a test")


def test_one_run_at_a_time(folder: OutputFolder) -> None:
    with pytest.raises(LedgerBusy, match=f"output folder .* is in use by process {os.getpid()} .*a test.*with -o"):
        OutputFolder(folder.path, purpose="another")


def test_the_lock_is_free_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        OutputFolder(str(tmp_path / "out"), purpose="a test").close()


def test_letting_go_while_another_waits_at_the_door_lets_in_one_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = OutputFolder(str(tmp_path / "out"), purpose="first")
    flock, left = fcntl.flock, [first]

    def flock_late(fd: int, operation: int) -> None:
        while left:  # between the second's open and its lock the first one ends
            left.pop().close()
        flock(fd, operation)

    monkeypatch.setattr(lock.fcntl, "flock", flock_late)
    second = OutputFolder(str(tmp_path / "out"), purpose="second")
    try:
        with pytest.raises(LedgerBusy):
            OutputFolder(str(tmp_path / "out"), purpose="third").close()
    finally:
        second.close()


def test_closing_after_somebody_removed_the_folder(tmp_path: Path) -> None:
    folder = OutputFolder(str(tmp_path / "out"), purpose="a test")
    shutil.rmtree(tmp_path / "out")
    folder.close()
    OutputFolder(str(tmp_path / "out"), purpose="a test").close()


def test_the_same_names_again(folder: OutputFolder) -> None:
    first = run(folder, "k", ["a.py", "sub/b.py"])
    assert first == {"a.py": "a.py", "sub/b.py": "sub%2Fb.py"}
    assert run(folder, "k", ["a.py", "sub/b.py"]) == first


def test_what_the_last_run_left_is_removed(folder: OutputFolder) -> None:
    run(folder, "k", ["a.py", "b.py"], {"a.py": ["one", "deep/er/two"], "b.py": ["three"]})
    put(folder, "logs/a.py.1.out")
    put(folder, "logs/a.py.1.err")
    folder.finish(
        "k", ["logs/a.py.1.out", "logs/a.py.1.err", "files/a.py/one", "files/a.py/deep/er/two", "files/b.py/three"]
    )
    folder.begin("k", "a-run", ["b.py"])
    assert held(folder) == set()
    assert os.listdir(folder.files) == []
    assert os.listdir(folder.logs) == []


def test_a_folder_nobody_could_look_through_is_removed_whole(folder: OutputFolder) -> None:
    """All of the job's, or one of its folders; another one whose name only differs by a dot is somebody else's."""
    run(folder, "k", ["a.py", "b.py"])
    for path in ("files/a.py/sub./deep/x", "files/b.py/y"):
        put(folder, path)
    folder.finish("k", ["files/a.py/sub./", "files/b.py/./"])
    put(folder, "files/a.py/sub", "mine")
    folder.begin("k", "a-run", ["c.py"])
    assert held(folder) == {"files/a.py/sub"}


def test_names_that_are_not_utf8_are_removed_too(folder: OutputFolder) -> None:
    run(folder, "k", ["\udcff.py"], {"\udcff.py": ["\udcfe\n"]})
    assert len(held(folder)) == 3
    folder.begin("k", "a-run", [])
    assert held(folder) == set()


def test_strangers_files_survive(folder: OutputFolder) -> None:
    strange = ("notes.txt", "logs/notes.out", "logs/a.py", "logs/a.py.3.out", "files/data", "files/a.py/mine", "x/y")
    run(folder, "k", ["a.py"], {"a.py": ["one"]})
    for name in strange:
        put(folder, name, "precious")
    run(folder, "k", ["a.py"], {"a.py": ["two"]})
    folder.begin("k", "a-run", ["a.py"])
    assert set(strange) <= held(folder)
    assert {Path(folder.path, name).read_text() for name in strange} == {"precious"}


def test_a_strangers_log_makes_our_name_another(folder: OutputFolder) -> None:
    strange = put(folder, "logs/a.py.out", "precious")
    file = run(folder, "k", ["a.py"])["a.py"]
    assert file != "a.py"
    assert run(folder, "k", ["a.py"])["a.py"] == file
    assert strange.read_text() == "precious"


def test_a_strangers_log_differs_only_in_case(folder: OutputFolder) -> None:
    put(folder, "logs/A.py.err", "precious")
    assert folder.begin("k", "a-run", ["a.py"])["a.py"] != "a.py"


def test_a_strangers_file_that_looks_like_an_earlier_attempts_log_is_not_overwritten(folder: OutputFolder) -> None:
    strange = put(folder, "logs/a.py.1.out", "precious")
    file = folder.begin("k", "a-run", ["a.py"])["a.py"]
    Path(folder.log(file, "out")).write_text("ours")
    folder.set_aside(file, 1)
    assert strange.read_text() == "precious"


def test_a_strangers_file_that_looks_like_an_earlier_attempts_log_survives_a_run_cut_off(folder: OutputFolder) -> None:
    strange = put(folder, "logs/a.py.1.out", "precious")
    folder.begin("k", "a-run", ["a.py"])
    folder.begin("k", "a-run", ["a.py"])
    assert strange.read_text() == "precious"


def test_a_strangers_folder_survives_a_second_attempt(folder: OutputFolder) -> None:
    strange = put(folder, "files/a.py/mine", "precious")
    file = folder.begin("k", "a-run", ["a.py"])["a.py"]
    folder.set_aside(file, 1)
    assert strange.read_text() == "precious"


def test_a_strangers_folder_survives_a_run_cut_off(folder: OutputFolder) -> None:
    strange = put(folder, "files/a.py/mine", "precious")
    folder.begin("k", "a-run", ["a.py"])
    folder.begin("k", "a-run", ["a.py"])
    assert strange.read_text() == "precious"


def test_other_targets_files_survive(folder: OutputFolder) -> None:
    run(folder, "one", ["a.py"], {"a.py": ["data"]})
    run(folder, "two", ["b.py"], {"b.py": ["data"]})
    before = held(folder)
    run(folder, "one", ["a.py"], {"a.py": ["data"]})
    assert held(folder) == before
    folder.begin("one", "a-run", ["c.py"])
    assert held(folder) == {"logs/b.py.out", "logs/b.py.err", "files/b.py/data"}


def test_two_targets_with_a_job_of_one_name_do_not_destroy_each_others_files(folder: OutputFolder) -> None:
    one = run(folder, "one", ["a.py"], {"a.py": ["data"]})["a.py"]
    two = run(folder, "two", ["a.py"], {"a.py": ["data"]})["a.py"]
    # Whether the second takes the place of the first or goes beside it: what it leaves stays when the first runs again.
    run(folder, "one", ["other.py"])
    assert Path(folder.outputs(two), "data").read_text() == "two"
    assert Path(folder.log(two, "out")).read_text() == "two"
    if one != two:
        assert not Path(folder.log(one, "out")).exists()


def test_a_job_finds_its_folder_empty_whatever_another_target_left_there(folder: OutputFolder) -> None:
    run(folder, "one", ["a.py"], {"a.py": ["data"]})
    file = folder.begin("two", "a-run", ["a.py"])["a.py"]
    # The worker takes what lies there already for somebody else's and leaves it out of the package.
    assert not os.path.exists(folder.outputs(file))


def test_what_a_run_cut_off_left_is_removed(folder: OutputFolder) -> None:
    file = folder.begin("k", "a-run", ["a.py", "b.py"])["a.py"]
    for name in ("a.py.out", "a.py.err", "a.py.1.out", "a.py.1.err", "a.py.12.out", "b.py.out"):
        put(folder, f"logs/{name}")
    put(folder, f"files/{file}/deep/data")
    for stranger in ("logs/a.py.x.out", "logs/c.py.out", "files/c.py/data"):
        put(folder, stranger)
    folder.begin("k", "a-run", ["b.py"])
    assert held(folder) == {"logs/a.py.x.out", "logs/c.py.out", "files/c.py/data"}


def test_a_run_cut_off_is_not_taken_for_another_targets(folder: OutputFolder) -> None:
    folder.begin("one", "a-run", ["a.py"])
    put(folder, "logs/a.py.out")
    run(folder, "two", ["b.py"])
    assert "logs/a.py.out" in held(folder)
    folder.begin("one", "a-run", [])
    assert held(folder) == {"logs/b.py.out", "logs/b.py.err"}


def test_an_earlier_attempt_is_set_aside(folder: OutputFolder) -> None:
    file = folder.begin("k", "a-run", ["a.py"])["a.py"]
    put(folder, "logs/a.py.out", "first")
    put(folder, "logs/a.py.err", "oh")
    put(folder, f"files/{file}/half")
    folder.set_aside(file, 1)
    assert held(folder) == {"logs/a.py.1.out", "logs/a.py.1.err"}
    assert Path(folder.path, "logs/a.py.1.out").read_text() == "first"
    folder.set_aside(file, 2)  # that attempt never wrote anything
    assert held(folder) == {"logs/a.py.1.out", "logs/a.py.1.err"}


def test_a_link_in_the_place_of_an_output_folder_is_not_followed(folder: OutputFolder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "data").write_text("precious")
    run(folder, "k", ["a.py"], {"a.py": ["data", "sub/data"]})
    shutil.rmtree(folder.outputs("a.py"))
    os.symlink(elsewhere, folder.outputs("a.py"))
    folder.begin("k", "a-run", ["a.py"])
    assert (elsewhere / "data").read_text() == "precious"
    os.symlink(elsewhere, folder.outputs("a.py")) if not os.path.lexists(folder.outputs("a.py")) else None
    folder.begin("k", "a-run", ["a.py"])  # cut off
    folder.set_aside("a.py", 1)
    assert (elsewhere / "data").read_text() == "precious"


LIST_OF = '{"format": "buildrunner.output/1", "targets": {"k": %s}}'
DAMAGED = [
    "",
    "{",
    "null",
    "[]",
    "5",
    '"text"',
    "{}",
    '{"format": "buildrunner.output/1"}',
    '{"format": "buildrunner.output/2", "targets": {"k": {"run": "r", "names": [], "open": [], "files": []}}}',
    '{"format": "buildrunner.output/1", "targets": null}',
    '{"format": "buildrunner.output/1", "targets": []}',
    LIST_OF % "null",
    LIST_OF % "5",
    LIST_OF % "{}",
    LIST_OF % '{"run": "r", "names": ["a.py"]}',
    LIST_OF % '{"run": "r", "names": "a.py", "open": [], "files": []}',
    LIST_OF % '{"run": "r", "names": [7], "open": [], "files": [7]}',
    '{"format": "buildrunner.output/1", "targets": {"other": {}}}',
    LIST_OF % '{"run": "r", "names": [".."], "open": [], "files": []}',
    LIST_OF % '{"run": "r", "names": ["../.."], "open": [], "files": []}',
    LIST_OF % '{"run": "r", "names": [], "open": [], "files": ["../outside"]}',
    LIST_OF % '{"run": "r", "names": [], "open": [], "files": ["/gone/out", "files"]}',
    LIST_OF % '{"names": ["a.py"], "open": [], "files": []}',
    LIST_OF % '{"run": 7, "names": ["a.py"], "open": [], "files": []}',
    LIST_OF % '{"run": "r", "names": [], "open": [], "files": ["files/../"]}',
    LIST_OF % '{"run": "r", "names": [], "open": [], "files": ["files/"]}',
    LIST_OF % '{"run": "r", "names": [], "open": [], "files": ["files//"]}',
    LIST_OF % '{"run": "r", "names": [], "open": [], "files": null}',
    LIST_OF % '{"run": "r", "names": [], "open": ["../.."], "files": []}',
    LIST_OF % '{"run": "r", "names": [], "open": "a", "files": []}',
]


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_list_removes_nothing(folder: OutputFolder, text: str) -> None:
    run(folder, "k", ["a.py"], {"a.py": ["data"]})
    outside = put(folder, "../outside", "precious")
    before = held(folder)
    Path(folder.path, LIST).write_text(text)
    file = folder.begin("k", "a-run", ["a.py"])["a.py"]
    assert held(folder) >= before
    assert outside.read_text() == "precious"
    assert file != "a.py"  # what lies there may be anybody's by now
    folder.finish("k", [])


def test_a_list_that_is_not_text_removes_nothing(folder: OutputFolder) -> None:
    run(folder, "k", ["a.py"], {"a.py": ["data"]})
    before = held(folder)
    Path(folder.path, LIST).write_bytes(b"\xff\0")
    folder.begin("k", "a-run", ["b.py"])
    assert held(folder) == before


def test_the_list_is_written_whole_or_not_at_all(folder: OutputFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run(folder, "k", ["a.py"])
    before = Path(folder.path, LIST).read_bytes()

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", no_room)
        with pytest.raises(UsageError, match=r"cannot write in the output folder .*No space left"):
            folder.begin("j", "a-run", ["b.py"])
    assert Path(folder.path, LIST).read_bytes() == before


def test_finishing_what_is_not_in_the_list_changes_nothing(folder: OutputFolder) -> None:
    folder.begin("k", "a-run", ["a.py"])
    before = json.loads(Path(folder.path, LIST).read_text())
    folder.finish("other", ["files/x"])
    assert json.loads(Path(folder.path, LIST).read_text()) == before
