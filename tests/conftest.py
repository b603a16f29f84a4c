"""What tests share that drive the program from outside: a workspace with scripts, and a look for what stayed behind.

Nothing here sleeps and hopes: `wait_until` waits for a condition, with a limit that no healthy machine comes near.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from buildrunner.removal import remove_tree

ROOT = Path(__file__).resolve().parents[1]
MARK = "WORKSPACE_OF_A_TEST"
"""Environment variable that everything started in a workspace inherits, and by which it is found again."""

WITHOUT_GROUPS = """\
import sys
from pathlib import Path
from buildrunner import machine
machine._GROUPS = Path("/nowhere")
from buildrunner.__main__ import main
sys.exit(main())
"""

T = TypeVar("T")

for _number in (signal.SIGINT, signal.SIGHUP):  # what a background shell ignores, programs started below would too
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler)


SCENARIO = re.compile(r"_s\d\d_")
SCENARIO_SECONDS = 120
"""What a test that bears a scenario's number may take, unless it says otherwise itself."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nothing hangs: every scenario has a deadline."""
    for item in items:
        if SCENARIO.search(item.name.partition("[")[0]) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SCENARIO_SECONDS))


def wait_until(condition: Callable[[], T], seconds: float = 120.0, what: str = "") -> T:
    """The condition's value once it is true; fails the test when that takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain{' for ' + what if what else ''}")
        time.sleep(0.01)
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How the program ended and what it said."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def err(self) -> str:
        return self.stderr.decode(errors="backslashreplace")

    @property
    def document(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.stdout)
        return value

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        return {result["name"]: result for result in self.document["results"]}


class Workspace:
    """A folder with a source folder `src`, the program run in it, and what the test controls of its scripts."""

    def __init__(self, path: Path, caches: Path) -> None:
        self.path = path
        self.source = path / "src"
        self.source.mkdir()
        self.started: list[subprocess.Popen[bytes]] = []
        self.groups = True  # whether the program finds control groups, which do what other means do elsewhere
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("BUILDRUNNER_", "PYTHON"))}
        for name in ("VIRTUAL_ENV", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "CI", "GITHUB_ACTIONS", "SOURCE_DATE_EPOCH"):
            inherited.pop(name, None)
        self.env = {**inherited, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(caches), MARK: str(path)}

    # scripts

    def script(self, name: str | bytes, text: str | bytes, *, mode: int = 0o644) -> Path:
        """Write a script into the source folder; its name may be any bytes."""
        path = Path(os.fsdecode(os.path.join(os.fsencode(self.source), os.fsencode(name))))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return path

    def scripts(self, **texts: str) -> None:
        """Python scripts by keyword: `a="print(1)"` is a.py."""
        for name, text in texts.items():
            self.script(name + ".py", text)

    def until(self, gate: str) -> str:
        """A line of Python that waits until the test opens the gate, or for five minutes."""
        path = str(self.path / gate)
        return f"import os, time; [time.sleep(0.02) for _ in range(15_000) if not os.path.exists({path!r})]\n"

    def open(self, gate: str) -> None:
        """Let the scripts that wait at this gate go on."""
        (self.path / gate).touch()

    def note(self, word: str, book: str = "witness") -> str:
        """A line of Python that appends `word`, the job's name and the attempt's id to a file outside our code."""
        path = str(self.path / book)
        return (
            f"import os; os.write(os.open({path!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "
            f"({word!r} + ' ' + os.environ['BUILDRUNNER_JOB_NAME'] + ' ' + "
            "os.environ['BUILDRUNNER_ATTEMPT_ID'] + ' ' + str(os.getpid()) + '\\n').encode())\n"
        )

    def notes(self, word: str, book: str = "witness") -> list[tuple[str, str, int]]:
        """What scripts noted so far: job, attempt, process."""
        with suppress(FileNotFoundError):
            lines = [line.split() for line in (self.path / book).read_text().splitlines()]
            return [(job, attempt, int(pid)) for found, job, attempt, pid in lines if found == word]
        return []

    # the program

    def start(self, *arguments: str | bytes | Path, env: dict[str, str] | None = None, **popen: Any) -> Any:
        """Start the program; the test's end kills it if nothing else did."""
        how = ("-m", "buildrunner") if self.groups else ("-c", WITHOUT_GROUPS)
        return self.start_python(*how, *arguments, env=env, **popen)

    def start_python(self, *arguments: str | bytes | Path, env: dict[str, str] | None = None, **popen: Any) -> Any:
        """Start Python with any arguments, in the workspace."""
        settings: dict[str, Any] = {
            "cwd": self.path,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, *arguments], env={**self.env, **(env or {})}, **{**settings, **popen}
        )
        self.started.append(process)
        return process

    def finish(self, process: Any, *, code: int | None = None, seconds: float = 300.0) -> Done:
        """Wait for a started program's end, and for this exit code if one is given."""
        stdout, stderr = process.communicate(timeout=seconds)
        done = Done(code=process.returncode, stdout=stdout or b"", stderr=stderr or b"")
        assert b"Traceback" not in done.stderr.replace(b"    | Traceback", b""), done.err
        if code is not None:
            assert done.code == code, f"exit code {done.code}\n{done.out}\n{done.err}"
        return done

    def run(
        self, *arguments: str | bytes | Path, code: int | None = 0, env: dict[str, str] | None = None, **popen: Any
    ) -> Done:
        """Run the program to its end; it must not show a traceback of its own."""
        return self.finish(self.start(*arguments, env=env, **popen), code=code)

    def json(self, *options: str | bytes | Path, code: int | None = 0, env: dict[str, str] | None = None) -> Done:
        """`run src --json` with further options."""
        return self.run("run", "src", "--json", *options, code=code, env=env)

    def log(self, name: str, suffix: str = "out", output: str = "python_output") -> bytes:
        """A log's bytes."""
        return (self.path / output / "logs" / f"{name}.{suffix}").read_bytes()

    def packaging(self) -> bool:
        """Whether a part of a zip is being written; probes of its place come and go."""
        with suppress(FileNotFoundError):
            return any(p.stat().st_size > 1_000_000 for p in self.path.glob(".buildrunner-*"))
        return False

    # its processes

    def children(self, pid: int) -> list[int]:
        """Child processes: of a server, its workers; of a worker, its script."""
        with suppress(OSError):
            return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def left(self) -> list[int]:
        """Processes of this workspace that live: by the variable they inherited, or by their working directory."""
        mark = f"{MARK}={self.path}".encode()
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            with suppress(OSError):
                here = os.readlink(f"/proc/{entry}/cwd").startswith(str(self.path))
                if here or mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    found.append(int(entry))
        return [pid for pid in found if alive(pid)]


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in (b"Z", b"X")


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled modules of the many interpreters the tests start, kept out of the project."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture
def deep_folder() -> Iterator[Path]:
    """A folder to nest deeply in; pytest's own clean-up would choke on what an interrupted test left in `tmp_path`."""
    path = tempfile.mkdtemp(prefix="deep-")
    yield Path(path)
    remove_tree(path)


@pytest.fixture
def workspace(tmp_path: Path, caches: Path) -> Iterator[Workspace]:
    """A place to run the program in. No process of it may outlive the test."""
    place = Workspace(tmp_path, caches)
    yield place
    for process in place.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    deadline = time.monotonic() + 30.0
    while (left := place.left()) and time.monotonic() < deadline:
        time.sleep(0.01)
    shown = []
    for pid in left:
        with suppress(OSError):
            shown.append(f"{pid}: {Path(f'/proc/{pid}/cmdline').read_bytes()!r}")
            os.kill(pid, signal.SIGKILL)
    assert not shown, "left running: " + ", ".join(shown)


@pytest.fixture(scope="session")
def killed_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a ledger whose server was killed: much of it is only in its log. To be copied, not changed."""
    from tests.contract.damage import make

    folder = tmp_path_factory.mktemp("killed")
    make(folder / "state", folder / "files")
    return folder / "files"


@pytest.fixture
def without_groups(workspace: Workspace) -> None:
    """The program finds no control groups, before other fixtures start it."""
    workspace.groups = False


@pytest.fixture(name="wait_until", scope="session")
def _wait_until() -> Callable[..., Any]:
    """The function above, for tests that cannot import this file."""
    return wait_until


@pytest.fixture(name="alive", scope="session")
def _alive() -> Callable[[int], bool]:
    """The function above, for tests that cannot import this file."""
    return alive
