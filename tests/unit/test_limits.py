"""Cutting the middle out of logs, and counting the memory of a tree of processes."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from buildrunner.run import attempt, limits

MOST = 8192


def lines(*lengths: int) -> bytes:
    """A log whose lines have these lengths and begin with their number."""
    return b"".join(b"%06d" % number + b"." * max(0, n - 7) + b"\n" for number, n in enumerate(lengths))


def left_of(path: Path) -> tuple[bytes, int, bytes]:
    """The log's beginning, the bytes said to be gone, and its end."""
    head, found, rest = path.read_bytes().partition(b"[buildrunner: ")
    assert found
    said, _, tail = rest.partition(b"\n")
    count, _, words = said.partition(b" ")
    assert words == b"bytes were left out here, because of --max-output]"
    return head, int(count), tail


@given(st.lists(st.integers(7, 9000), min_size=30, max_size=300), st.booleans())
@example([100] * 2000, True)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cut_log_is_its_beginning_and_its_end(tmp_path: Path, lengths: list[int], early: bool) -> None:
    path, text = tmp_path / "log", lines(*lengths)
    path.write_bytes(text)
    if early:
        limits.give_back(str(path), MOST)
        assert path.stat().st_size == len(text)
    gone = limits.cut(str(path), MOST)
    if not gone:
        assert path.read_bytes() == text
        assert len(text) < MOST + 4096
        return
    head, said, tail = left_of(path)
    kept = head if text.startswith(head) else head[:-1]  # a line that was cut in two ends where it was cut
    assert gone == said == len(text) - len(kept) - len(tail)
    assert text.startswith(kept)
    assert text.endswith(tail)
    assert len(kept) + len(tail) <= MOST
    assert not max(lengths) < 4096 or (kept.endswith(b"\n") and tail[:6].isdigit())  # whole lines where they are short


def test_a_log_without_lines_is_cut_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a" * 100_000 + b"b" * 100_000)
    assert limits.cut(str(path), MOST) == 200_000 - MOST
    head, _, tail = left_of(path)
    assert (head, tail) == (b"a" * (MOST // 2) + b"\n", b"b" * (MOST // 2))


def test_the_middle_is_given_back_while_the_script_goes_on_writing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open(path, "ab", buffering=0) as script:  # as the worker opens it for a script
        for _ in range(64):
            script.write(lines(*[1024] * 256))
        before = path.stat()
        limits.give_back(str(path), 1 << 16)
        after = path.stat()
        assert after.st_size == before.st_size == 64 << 18
        if after.st_blocks == before.st_blocks:
            pytest.skip("this file system cannot give back the middle of a file")
        assert after.st_blocks * 512 < 1 << 18
        script.write(b"the end\n")
    limits.cut(str(path), 1 << 16)
    head, _, tail = left_of(path)
    assert head.startswith(b"000000.")
    assert tail.endswith(b"\nthe end\n")
    assert b"\0" not in path.read_bytes()


@pytest.mark.parametrize("kind", ["link", "pipe", "missing", "folder"])
def test_what_a_script_put_in_the_place_of_its_log_is_not_touched(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "log", tmp_path / "other"
    other.write_bytes(b"x" * 200_000)
    if kind == "link":
        path.symlink_to(other)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    limits.give_back(str(path), MOST)
    assert limits.cut(str(path), MOST) == 0
    assert other.read_bytes() == b"x" * 200_000


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    """A process with 60 MiB that has two children, which share them."""
    program = (
        "import os, time\nbig = bytearray(b'x') * (60 << 20)\n"
        "for _ in range(2):\n    if os.fork() == 0: time.sleep(600)\nprint('ready', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout
    process.stdout.readline()
    yield process
    os.killpg(process.pid, 9)
    process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what processes use")
def test_what_processes_share_is_counted_once(parent: subprocess.Popen[bytes]) -> None:
    def members() -> Iterator[int]:
        return limits.family(parent.pid)

    assert len(list(members())) == 3

    def over(most: int) -> bool:
        watch = limits.Watch(limits.Limits(most, None), parent.pid, members, {})
        watch.next = 0.0
        return watch.over()

    assert sum(map(limits._resident, members())) > 150 << 20
    assert not over(120 << 20)
    assert over(50 << 20)


def test_a_script_that_waits_for_room_does_not_start_once_it_was_told_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    monkeypatch.chdir(tmp_path)
    tries = []

    def told() -> None:
        os.read(reader, 1)
        slot.stop("cancelled", 0.0)

    def no_room(*_: object, **__: object) -> int:
        tries.append(os.write(writer, b"!"))
        raise BlockingIOError(errno.EAGAIN, "no room")

    slot = attempt.Slot(reader, {}, str(tmp_path / "ready"), 0, told)
    monkeypatch.setattr(os, "posix_spawn", no_room)
    receipt = slot.run(("id", "a", 1, ("/bin/true",), None, (), "out", "err", str(tmp_path / "files"), None, 0.0))
    slot.close()
    os.close(reader)
    os.close(writer)
    assert len(tries) == 1
    assert receipt[5:8] == ("cancelled", None, None)
