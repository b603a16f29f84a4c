"""A system whose Python knows pidfd_open(2) and whose kernel, or sandbox, does not."""

import sys
from typing import Any

import pytest

pytestmark = [pytest.mark.fault, pytest.mark.skipif(sys.platform != "linux", reason="pidfd and seccomp are Linux's")]

# A seccomp filter that answers pidfd_open, number 434 on every architecture, with ENOSYS, and lets the rest through.
WITHOUT_PIDFD = """\
import ctypes, errno, os, sys

class Step(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]

class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(Step))]

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
steps = (Step * 4)((LOAD, 0, 0, 0), (EQUAL, 0, 1, 434), (RETURN, 0, 0, ERRNO | errno.ENOSYS), (RETURN, 0, 0, ALLOW))
libc = ctypes.CDLL(None, use_errno=True)
for call in ((38, 1, 0, 0, 0), (22, 2, ctypes.byref(Program(4, steps)))):  # NO_NEW_PRIVS, SECCOMP with a filter
    if libc.prctl(*call):
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
try:
    os.pidfd_open(os.getpid())
except OSError as exc:
    assert exc.errno == errno.ENOSYS
else:
    sys.exit("the filter lets pidfd_open through")
os.execv(sys.executable, [sys.executable, "-m", "buildrunner", *sys.argv[1:]])
"""


@pytest.fixture
def without_pidfd(workspace: Any) -> Any:
    """Runs the program in such a system."""

    def run(*arguments: str, code: int) -> Any:
        process = workspace.start_python("-c", WITHOUT_PIDFD, *arguments)
        done = workspace.finish(process)
        if done.code == 1 and done.err.startswith("no filter"):
            pytest.skip(f"this system lets no process filter its own calls: {done.err.strip()}")
        assert done.code == code, done.err
        return done

    return run


def test_a_run_works_without_pidfd(workspace: Any, without_pidfd: Any) -> None:
    workspace.scripts(a="print('a')", b="exit(3)", c="import time; time.sleep(600)")
    done = without_pidfd("run", "src", "--json", "--timeout", "1s", "--grace", "0", code=1)
    outcomes = {name: result["outcome"] for name, result in done.results.items()}
    assert outcomes == {"a.py": "ok", "b.py": "exited", "c.py": "timed_out"}
    how = {(result["mode"], result["why_cold"]) for result in done.results.values()}
    assert how == {("cold", "the system has no pidfd_open")}  # warm they would see our handler of SIGCHLD


def test_a_killed_worker_is_noticed_without_pidfd(workspace: Any, without_pidfd: Any) -> None:
    workspace.scripts(
        a="import os, signal\nif os.environ['BUILDRUNNER_ATTEMPT_NUMBER'] == '1': os.kill(os.getppid(), signal.SIGKILL)"
    )
    done = without_pidfd("run", "src", "--json", code=0)
    assert (done.results["a.py"]["attempts"], done.results["a.py"]["lost"]) == (2, 1)


def test_bench_works_without_pidfd(workspace: Any, without_pidfd: Any) -> None:
    workspace.scripts(a="pass", b="pass")
    done = without_pidfd("bench", "src", "--rounds", "1", "--json", code=0)
    assert done.document["same_results"] is True
