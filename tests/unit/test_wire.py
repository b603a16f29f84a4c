"""The worker's wire: journal lines survive anything or are not there; frames are those of multiprocessing."""

import marshal
import os
import socket
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buildrunner.run import outputs, wire
from buildrunner.run.wire import journal_line, parse_journal_line

names = st.binary(max_size=20).map(os.fsdecode)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=8,
)
values = st.lists(plain, min_size=1, max_size=4).map(tuple)

END = (
    "end",
    ("0190-a", "sub/ä\n\udcff.py", 1, 0, "cold", "ok", 0, None, 1.7e9, 0.5, 0.25, None, (("x", 3, "ab"),), ()),
)


@given(values)
@example(END)
@example(("a\nb\r\x0b\x85\u2028", "\udc80'\"\\"))
def test_a_journal_line_comes_back_as_it_was(content: tuple[object, ...]) -> None:
    line = journal_line(content)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert parse_journal_line(line) == content


def test_a_line_cut_short_anywhere_is_none() -> None:
    line = journal_line(END)
    assert [n for n in range(len(line)) if parse_journal_line(line[:n]) is not None] == []


def test_a_line_with_any_other_byte_anywhere_is_none_or_says_the_same() -> None:
    line = journal_line(("start", "é\n", 1.5))
    for at in range(len(line)):
        for byte in range(256):
            damaged = line[:at] + bytes([byte]) + line[at + 1 :]
            # The checksum's own digits may be written in another way (`A` for `a`); nothing else is forgiven.
            assert parse_journal_line(damaged) in (None, ("start", "é\n", 1.5)), (at, byte)
            assert damaged == line or at < 8 or parse_journal_line(damaged) is None, (at, byte)


@pytest.mark.parametrize(
    "line", [b"", b"\n", b" \n", b"00000000 \n", b"zzzzzzzz ()\n", b"\0" * 64, b"\xff" * 40 + b"\n"]
)
def test_what_never_was_a_line_is_none(line: bytes) -> None:
    assert parse_journal_line(line) is None


def test_two_lines_run_together_are_none() -> None:
    assert parse_journal_line(journal_line(("a",))[:-1] + journal_line(("b",))) is None


# Frames


@pytest.fixture
def ends() -> Iterator[tuple[Connection, int]]:
    """The server's end as it is in the pool, and the worker's plain descriptor."""
    ours, theirs = socket.socketpair()
    connection = Connection(ours.detach())
    descriptor = theirs.detach()
    yield connection, descriptor
    for close in (connection.close, lambda: os.close(descriptor)):
        try:
            close()
        except OSError:
            pass


MESSAGES = [
    ("close",),
    ("run", [("id", "a\udcff.py", 1, ("python", "a.py"), None, (("K", "v"),), "o", "e", "d", None, 5.0)]),
    {"cwd": "/", "env": {"A": "\udcff"}},
    ("receipt", END[1]),
    ("big", "x" * 3_000_000),
    ("bytes", b"\0" * 70_000),
]


@pytest.mark.parametrize("message", MESSAGES, ids=[str(m)[:12] for m in MESSAGES])
def test_the_worker_reads_what_a_connection_sends(ends: tuple[Connection, int], message: object) -> None:
    connection, descriptor = ends
    sender = threading.Thread(target=connection.send_bytes, args=(marshal.dumps(message),))
    sender.start()
    assert wire.read_frame(descriptor) == message
    sender.join()


@pytest.mark.parametrize("message", MESSAGES, ids=[str(m)[:12] for m in MESSAGES])
def test_a_connection_reads_what_the_worker_sends(ends: tuple[Connection, int], message: object) -> None:
    connection, descriptor = ends
    sender = threading.Thread(target=wire.write_frame, args=(descriptor, message))
    sender.start()
    assert marshal.loads(connection.recv_bytes()) == message
    sender.join()


def test_many_frames_keep_their_borders(ends: tuple[Connection, int]) -> None:
    connection, descriptor = ends
    for number in range(100):
        connection.send_bytes(marshal.dumps(number))
        wire.write_frame(descriptor, -number)
    assert [wire.read_frame(descriptor) for _ in range(100)] == list(range(100))
    assert [marshal.loads(connection.recv_bytes()) for _ in range(100)] == [-n for n in range(100)]


def test_a_frame_that_says_its_length_in_eight_bytes() -> None:
    # As multiprocessing writes one of 2 GiB or more; nothing forbids it for a short one.
    reader, writer = os.pipe()
    data = marshal.dumps("x")
    os.write(writer, b"\xff\xff\xff\xff" + len(data).to_bytes(8, "big") + data)
    os.close(writer)
    assert wire.read_frame(reader) == "x"
    with pytest.raises(wire.Closed):
        wire.read_frame(reader)
    os.close(reader)


@pytest.mark.parametrize("sent", [b"", b"\0", b"\0\0\0\5", b"\0\0\0\5abc"])
def test_a_frame_that_breaks_off_means_that_the_other_end_is_gone(sent: bytes) -> None:
    reader, writer = os.pipe()
    os.write(writer, sent)
    os.close(writer)
    with pytest.raises(wire.Closed):
        wire.read_frame(reader)
    os.close(reader)


def test_writing_to_nobody_means_that_the_other_end_is_gone(ends: tuple[Connection, int]) -> None:
    connection, descriptor = ends
    connection.close()
    with pytest.raises(wire.Closed):
        wire.write_frame(descriptor, "x" * 1_000_000)


# What the hashing child sends is a wire of its own.


def hashed(folder: str) -> bytes:
    pid, reader = outputs.start_hashing(folder)
    with open(reader, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    return data


@settings(deadline=None)
@given(st.data())
def test_a_hashing_child_that_died_while_it_spoke_vouches_for_nothing(data: st.DataObject) -> None:
    whole = marshal.dumps(((("a", 1, "ab" * 32), ("b", 2, "cd" * 32)), ("pipe",)))
    length = data.draw(st.integers(0, len(whole) - 1))
    assert outputs.finish_hashing(whole[:length]) == ((), ("./",))


def test_a_missing_folder_holds_nothing(tmp_path: pytest.TempPathFactory) -> None:
    assert outputs.finish_hashing(hashed(f"{tmp_path}/nowhere")) == ((), ())
