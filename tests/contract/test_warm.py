"""Warm workers: what they do not start warm, what of theirs no script gets, and that they outlive what they import."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from buildrunner.job import Assignment
from buildrunner.pool import Received, WorkerPool
from buildrunner.preloading import Preloading
from buildrunner.receipt import Receipt
from buildrunner.run import fork, preload, shadow

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has warm scripts")

Ran = Callable[..., tuple[Receipt, str]]
START = "import os, sys\nprint(sorted(os.listdir('/proc/self/fd'), key=int)[:-1], sys.flags.isolated)\n"
"""Shows what a script has open, the descriptor of looking aside, and an option."""


@contextmanager
def worker(folder: Path, modules: dict[str, str], *, preload: Sequence[str] = (), **env: str) -> Iterator[Ran]:
    """Has scripts carried out by a pool of one warm worker, whose Python finds these modules."""
    library = folder / "library"
    library.mkdir()
    for name, text in modules.items():
        (library / f"{name}.py").write_text(text)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables = {**inherited, "PYTHONPATH": str(library), "PYTHONDONTWRITEBYTECODE": "1", "TZ": "UTC", **env}

    def hello(worker: int) -> dict[str, Any]:
        return {"env": variables, "cwd": str(folder), "ready": str(folder / "ready")}

    pool = WorkerPool(1, folder=str(folder), hello=hello, warm=sys.executable, preloading=Preloading(preload))

    def run(text: str | bytes, *argv: str, **env: str) -> tuple[Receipt, str]:
        attempt = str(uuid.uuid4())  # by which it is found on the whole machine
        path = folder / f"{attempt}.py"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        assignment = Assignment(
            attempt=attempt, job=path.name, number=1, argv=(*(argv or (sys.executable,)), str(path)), cwd=None,
            env=(("BUILDRUNNER_ATTEMPT_ID", attempt), *env.items()), stdout=f"{path}.out", stderr=f"{path}.err",
            output_dir=f"{path}.dir", timeout=60, grace=0.0,
        )  # fmt: skip
        pool.send(0, [assignment])
        for _ in range(100):  # the pool wakes up also for what becomes of a worker that is only getting ready
            for event in pool.wait(60.0):
                if isinstance(event, Received):
                    assert event.receipt.exit_code == 0, Path(f"{path}.err").read_text()
                    return event.receipt, Path(f"{path}.out").read_text()
                pool.send(0, [assignment])
        pytest.fail("nothing happens")

    pool.start()
    try:
        yield run
    finally:
        pool.stop(0)
        pool.close()


def test_what_is_started_cold_has_nothing_of_its_workers(tmp_path: Path) -> None:
    with worker(tmp_path, {"asking": "import os\nSET = os.environ.get('SETTING')\n"}, preload=["asking"]) as run:

        def ran(*what: Any, **env: str) -> tuple[str, str | None, str]:
            receipt, said = run(*what, **env)
            return receipt.mode, receipt.why_cold, said

        nothing = "['0', '1', '2'] 0\n"
        assert ran(START) == ("warm", None, nothing)
        assert ran(START, NOBODY_ASKS="1", TZ="UTC") == ("warm", None, nothing)
        for name in ("TZ", "OMP_NUM_THREADS", "PYTHONHASHSEED", "SETTING"):
            mode, why, said = ran(START, **{name: "61"})
            assert (mode, said) == ("cold", nothing)
            assert why and f"has a {name} of its own" in why
        options = "Python is given options of its own for it"
        assert ran(START, sys.executable, "-I") == ("cold", options, nothing.replace("0\n", "1\n"))
        mode, why, said = ran(b"# coding: latin-1\n# \xfc\n" + START.encode())
        assert (mode, said) == ("cold", nothing)
        assert why and "Python itself has to read it" in why


@pytest.mark.parametrize(
    ("at_start", "env", "told"),
    [
        ("", {"PYTHONDEVMODE": "1"}, "told to inspect, to debug or to be verbose"),
        ("", {"PYTHONPROFILEIMPORTTIME": "1"}, "PYTHONPROFILEIMPORTTIME is set"),
        ("", {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, "file names are not read as UTF-8"),
        ("import sys; sys.setprofile(lambda *_: None)", {}, "traces, profiles"),
        ("print('hello')", {}, "says something when it starts"),
        ("import sys; sys.stderr.write('hello')", {}, "says something when it starts"),
        ("import _thread, time; _thread.start_new_thread(time.sleep, (600,))", {}, "has threads"),
        ("FILE = open('/dev/null')", {}, "opens files"),
        ("import opcode; opcode.opmap['RESUME'] = 0", {}, "shows who runs a script"),
    ],
)
def test_a_python_that_cannot_be_shared_runs_every_script_cold_and_says_why(
    tmp_path: Path, at_start: str, env: dict[str, str], told: str
) -> None:
    with worker(tmp_path, {"sitecustomize": at_start}, **env) as run:
        receipt, _ = run("pass")
    assert receipt.mode == "cold"
    assert told in (receipt.why_cold or "")


def test_a_worker_is_looked_at_after_every_script_however_short(tmp_path: Path) -> None:
    """A fork takes less than a millisecond, in which it can do to its worker what any other script can."""
    with worker(tmp_path, {}) as run:
        for _ in range(6):
            run("import os\nos.setpriority(os.PRIO_PROCESS, os.getppid(), os.nice(0) + 1)")
            _, said = run("import os\nprint(os.nice(0))")
            assert said == f"{os.nice(0)}\n"


def test_a_script_that_leads_no_session_yet_can_be_ended() -> None:
    """Between its fork and its first own doing it is in the worker's group, which must not be hit."""
    slot = fork.ForkSlot.__new__(fork.ForkSlot)
    slot.mode = "warm"
    with subprocess.Popen(["sleep", "600"]) as process:
        slot.pid = process.pid
        slot._signal(signal.SIGKILL)
        try:
            assert process.wait(10) == -signal.SIGKILL
        finally:
            process.kill()


def test_a_folder_that_was_written_to_just_now_is_looked_at_again(tmp_path: Path) -> None:
    """A file system may note times so coarsely that what came after the look changed nothing that shows."""
    shadows = shadow.Shadows(["spam"])
    about = tmp_path.stat()
    assert shadows.of(f"{tmp_path}/a.py") is None
    (tmp_path / "spam.py").touch()
    os.utime(tmp_path, ns=(about.st_atime_ns, about.st_mtime_ns))
    why = shadows.of(f"{tmp_path}/a.py")
    assert why and "spam.py lies beside it" in why


def test_a_worker_outlives_the_time_that_its_imports_may_take() -> None:
    program = (
        "import signal\nfrom buildrunner.run import preload\n"
        "assert preload.preload(['json'], elsewhere=False, flush=lambda: None, report=lambda *_: None) is not None\n"
        "assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)\n"
    )
    folder = Path(preload.__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, cwd=folder, timeout=60)
