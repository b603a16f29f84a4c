"""The socket by which a living run is asked to end: who may ask, what garbage does, what is left of it."""

import errno
import json
import os
import select
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from buildrunner.control import Control, Unreachable, ask


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's runtime folder, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture
def server(state: Path, runtime: Path) -> Iterator[Control]:
    """The server's end of a run called `now`."""
    state.mkdir()
    with Control(state) as server:
        yield server


@pytest.fixture
def client(server: Control, state: Path, runtime: Path) -> Iterator[Callable[[bytes], None]]:
    """Sends bytes to the server; `client.recv` on the same socket has the answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.bind(str(runtime / "client"))
        own.settimeout(30)
        own.connect((state / "control").read_text())
        yield own  # type: ignore[misc]


def test_what_is_asked_and_answered(server: Control, client: Any) -> None:
    client.send(b'{"run": "now", "jobs": ["a*", "b.py"]}')
    client.send(b'{"run": "now", "jobs": null}')
    some, whole = server.requests("now")
    assert [some.wants(name) for name in ("abc", "sub/a.py", "sub/b.py", "ba", "B.py")] == [
        True, True, True, False, False
    ]  # fmt: skip
    assert (whole.jobs, whole.wants("a")) == (None, False)
    some.matched, some.dropped, some.kept = 25, [f"d{number}" for number in range(23)], {"c\udcff": "passed"}
    some.answer({"id": "c\udcff"})
    answer = json.loads(client.recv(1 << 18))
    assert (answer["matched"], len(answer["dropped"]), answer["more"]) == (25, 20, 3)
    assert (answer["ended"], answer["kept"]) == ({"id": "c\udcff"}, {"c\udcff": "passed"})
    assert server.requests("now") == []


GARBAGE = [
    b"", b"\0", b"\xff\xfe", b"{", b"[]", b"7", b"null", b'"run"', b"{}", b'{"run": "now"}', b'{"jobs": null}',
    b'{"run": "now", "jobs": 5}', b'{"run": "now", "jobs": true}', b"[" * 100_000, b'{"run":' * 20_000,
    os.urandom(5000), b'{"run": "now", "jobs": null' + b" " * 150_000, b"9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_answered_and_changes_nothing(server: Control, client: Any, data: bytes) -> None:
    client.send(data)
    assert server.requests("now") == []
    assert json.loads(client.recv(1 << 18)) == {"error": "that was no request"}
    client.send(b'{"run": "now", "jobs": null}')
    assert [request.jobs for request in server.requests("now")] == [None]


def test_a_request_for_another_run_is_refused_and_names_the_one(server: Control, client: Any) -> None:
    client.send(b'{"run": "then", "jobs": null}')
    assert server.requests("now") == []
    assert json.loads(client.recv(1 << 18)) == {"error": "run then is not the one that goes on: that is now"}


def test_who_cannot_be_answered_is_not_heard(server: Control, state: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
        nameless.sendto(b'{"run": "now", "jobs": null}', (state / "control").read_text())
        nameless.sendto(b"garbage", (state / "control").read_text())
        assert server.requests("now") == []


def test_who_went_away_is_not_waited_for(server: Control, client: Any, runtime: Path) -> None:
    client.send(b'{"run": "now", "jobs": null}')
    client.send(b"garbage")
    (runtime / "client").unlink()
    client.close()
    [request] = server.requests("now")
    request.answer({})


def test_one_who_never_stops_does_not_keep_the_server(server: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    class Flooded:
        read = 0

        def recvfrom(self, size: int) -> tuple[bytes, str]:
            self.read += 1
            assert self.read < 10_000
            return b"garbage", "/nobody/any/more"

        def sendto(self, data: bytes, receiver: str) -> None:
            raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr(server, "_socket", Flooded())
        assert server.requests("now") == []


def test_only_this_user_can_ask(server: Control, state: Path, runtime: Path) -> None:
    path = Path((state / "control").read_text())
    assert path.parent == runtime / "buildrunner"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_left_at_the_end(state: Path, runtime: Path) -> None:
    state.mkdir()
    with Control(state):
        assert [path.name for path in state.iterdir()] == ["control"]
        assert len(list((runtime / "buildrunner").iterdir())) == 1
    assert list(state.iterdir()) == []
    assert not (runtime / "buildrunner").exists()


def test_what_was_removed_meanwhile_is_not_missed(state: Path, runtime: Path) -> None:
    state.mkdir()
    with Control(state):
        Path((state / "control").read_text()).unlink()
        (state / "control").unlink()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_where_others_may_write_is_refused(state: Path, runtime: Path, mode: int) -> None:
    state.mkdir()
    place = runtime / "buildrunner"
    place.mkdir()
    place.chmod(mode)
    with pytest.raises(PermissionError, match="others may write there"):
        Control(state)
    assert list(state.iterdir()) == list(place.iterdir()) == []


def test_a_link_to_somebodys_folder_is_refused(state: Path, runtime: Path, tmp_path: Path) -> None:
    state.mkdir()
    (runtime / "buildrunner").symlink_to(tmp_path)
    with pytest.raises(PermissionError):
        Control(state)


@pytest.mark.parametrize("runtime_folder", ["", "no/such/folder", "/etc/passwd", "open"])
def test_without_a_runtime_folder_of_ones_own_the_temporary_one_serves(
    state: Path, monkeypatch: pytest.MonkeyPatch, runtime: Path, runtime_folder: str
) -> None:
    state.mkdir()
    (runtime / "open").mkdir()
    (runtime / "open").chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime_folder and str(runtime / runtime_folder))
    monkeypatch.setenv("TMPDIR", str(runtime))
    with Control(state):
        assert Path((state / "control").read_text()).parent == runtime / f"buildrunner-{os.getuid()}"


def test_a_path_too_long_for_a_socket_is_an_oserror_and_leaves_nothing(
    state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state.mkdir()
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with pytest.raises(OSError, match="too long"):
        Control(state)
    assert list(state.iterdir()) == []


def test_folders_of_any_bytes(state: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state.mkdir()
    folder = runtime / "\udcff"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    with Control(state) as server:
        assert asked(server, state, lambda request: request.answer({})) is not None


def test_a_folder_named_from_here_is_found_from_elsewhere(
    state: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.mkdir()
    monkeypatch.chdir(runtime)
    monkeypatch.setenv("XDG_RUNTIME_DIR", ".")
    with Control(state) as server:
        monkeypatch.chdir("/")
        assert asked(server, state, lambda request: request.answer({})) is not None


def asked(server: Control, state: Path, react: Callable[[Any], None], **settings: Any) -> dict[str, Any] | None:
    """What `ask` returns while a server in another thread reacts to the first request."""

    def serve() -> None:
        while not (found := server.requests("now")):
            select.select([server], [], [], 30)
        react(found[0])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        return ask(state, "now", None, **{"seconds": 30.0, "alive": lambda: True, **settings})
    finally:
        thread.join(30)


def test_asking_leaves_nothing_behind(server: Control, state: Path, runtime: Path) -> None:
    answer = asked(server, state, lambda request: request.answer({"id": "a"}))
    assert answer
    assert answer["ended"] == {"id": "a"}
    assert len(list((runtime / "buildrunner").iterdir())) == 1


def test_who_asks_learns_that_the_server_closed(server: Control, state: Path) -> None:
    assert asked(server, state, lambda _: server.close()) is None


def test_who_asks_learns_that_the_server_died(server: Control, state: Path) -> None:
    assert asked(server, state, lambda _: None, alive=lambda: False) is None


def test_last_words_are_heard(server: Control, state: Path) -> None:
    def answers_and_closes(request: Any) -> None:
        request.answer({"id": "a"})
        server.close()

    answer = asked(server, state, answers_and_closes)
    assert answer
    assert answer["ended"] == {"id": "a"}


def test_who_asks_a_server_that_says_nothing_gives_up(server: Control, state: Path, runtime: Path) -> None:
    with pytest.raises(TimeoutError):
        ask(state, "now", None, seconds=0.1, alive=lambda: True)
    assert len(list((runtime / "buildrunner").iterdir())) == 1


def test_where_nobody_listens(state: Path, runtime: Path) -> None:
    state.mkdir()
    with pytest.raises(Unreachable, match="run now cannot be asked: No such file"):
        ask(state, "now", None, seconds=30, alive=lambda: True)
    (state / "control").write_text("")
    with pytest.raises(Unreachable):
        ask(state, "now", None, seconds=30, alive=lambda: True)


@pytest.fixture
def dead(state: Path, runtime: Path) -> Path:
    """The socket of a server that was killed; the state folder still names it."""
    state.mkdir()
    killed = Control(state)
    killed._socket.close()
    return Path((state / "control").read_text())


def test_a_dead_servers_socket_is_no_server(dead: Path, state: Path) -> None:
    with pytest.raises(Unreachable, match=os.strerror(errno.ECONNREFUSED)):
        ask(state, "now", None, seconds=30, alive=lambda: True)
    assert list(dead.parent.iterdir()) == [dead]


def test_the_next_server_removes_it(dead: Path, state: Path) -> None:
    with Control(state):
        assert not dead.exists()
    assert not dead.parent.exists()


def test_what_else_the_note_may_name_is_left_alone(state: Path, runtime: Path, server: Control, tmp_path: Path) -> None:
    """A state folder that was copied names a socket that is somebody else's; a damaged one anything."""
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "control").write_bytes((state / "control").read_bytes())
    with Control(copy):
        assert asked(server, state, lambda request: request.answer({})) is not None
    precious = tmp_path / "precious"
    precious.touch()
    (copy / "control").write_text(str(precious))
    with Control(copy):
        assert precious.exists()


def test_a_state_folder_that_cannot_be_written_leaves_no_socket(state: Path, runtime: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Control(state)
    assert not (runtime / "buildrunner").exists()


def test_the_socket_is_no_wider_open_than_it_should_be_while_it_is_made(
    state: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.mkdir()
    before = os.umask(0)
    try:
        with Control(state):
            assert stat.S_IMODE(Path((state / "control").read_text()).stat().st_mode) & 0o077 == 0
        assert os.umask(0) == 0
    finally:
        os.umask(before)
