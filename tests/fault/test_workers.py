"""Workers that die, and scripts that do what no script should: the others and the record must not suffer."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.fault

MIB = 1 << 20
ROOT = Path(__file__).resolve().parents[2]


def worker_of(workspace: Any, server: int, script: int) -> int:
    """The worker that started a script."""
    [worker] = [w for w in workspace.children(server) if script in workspace.children(w)]
    return worker


def test_s02_a_killed_worker_takes_its_script_along_and_the_job_is_run_again(
    workspace: Any, wait_until: Any, alive: Any
) -> None:
    workspace.scripts(
        held=workspace.note("start") + "print('here', flush=True)\n" + workspace.until("gate"),
        other="print('other')",
    )
    run = workspace.start("run", "src", "--json", "-j", "2")
    [(_, first, script)] = wait_until(lambda: workspace.notes("start"))
    worker = worker_of(workspace, run.pid, script)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not alive(worker) and not alive(script), 30.0, "the script's end")
    wait_until(lambda: len(workspace.notes("start")) == 2, what="the second attempt")
    workspace.open("gate")
    done = workspace.finish(run, code=0)
    held = done.results["held.py"]
    assert (held["state"], held["outcome"], held["attempts"], held["lost"]) == ("passed", "ok", 2, 1)
    assert done.results["other.py"]["state"] == "passed"
    assert workspace.notes("start")[1][1] != first
    assert workspace.log("held.py") == workspace.log("held.py.1") == b"here\n"
    assert "replaced" in done.err
    workspace.run("verify", "result.zip")


def test_a_lost_attempt_spends_no_retry(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(
        flaky=workspace.note("start")
        + "import sys\nif len(open('witness').readlines()) == 1:\n    "
        + workspace.until("never").replace("\n", "")
        + "\nsys.exit(os.environ['BUILDRUNNER_ATTEMPT_NUMBER'] == '2')"
    )
    run = workspace.start("run", "src", "--json", "--retries", "1", "-j", "1")
    [(_, _, script)] = wait_until(lambda: workspace.notes("start"))
    os.kill(worker_of(workspace, run.pid, script), signal.SIGKILL)
    result = workspace.finish(run, code=0).results["flaky.py"]
    assert (result["state"], result["attempts"], result["lost"]) == ("passed", 3, 1)


def test_s02_a_job_whose_worker_dies_every_time_fails_in_the_end(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("never"), b="print(1)")
    run = workspace.start("run", "src", "--json", "--retries", "9", "-j", "2")
    for number in range(1, 5):
        wait_until(lambda number=number: len(workspace.notes("start")) == number)
        os.kill(worker_of(workspace, run.pid, workspace.notes("start")[-1][2]), signal.SIGKILL)
    done = workspace.finish(run, code=1)
    a = done.results["a.py"]
    assert (a["state"], a["outcome"], a["attempts"], a["lost"]) == ("failed", "lost", 4, 4)
    assert (a["exit_code"], a["signal"]) == (None, None)
    assert "worker" in a["error"]
    assert done.results["b.py"]["state"] == "passed"


def test_idle_workers_may_die_too(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    workspace.scripts(b=workspace.note("start") + workspace.until("first"))
    run = workspace.start("run", "src", "--json", "-j", "2")
    wait_until(lambda: len(workspace.notes("start")) == 2)
    by_job = {job: pid for job, _, pid in workspace.notes("start")}
    idle = worker_of(workspace, run.pid, by_job["b.py"])
    workspace.open("first")
    wait_until(lambda: b"b.py: ok" in run.stderr.readline())
    os.kill(idle, signal.SIGKILL)
    wait_until(lambda: b"replaced" in run.stderr.readline())
    workspace.open("gate")
    done = workspace.finish(run, code=0)
    assert [r["attempts"] for r in done.document["results"]] == [1, 1]


def test_s29_scripts_that_kill_their_parent(workspace: Any) -> None:
    """More of them than workers: each fails as lost, and everybody else runs."""
    for number in range(3):
        workspace.script(f"killer{number}.py", "import os, time; os.kill(os.getppid(), 9); time.sleep(600)")
        workspace.script(f"z{number}.py", "print('fine')")
    done = workspace.json("-j", "2", "--order", "name", code=1)
    for name, result in done.results.items():
        if name.startswith("killer"):
            assert (result["state"], result["outcome"], result["lost"]) == ("failed", "lost", 4)
        else:
            assert (result["state"], result["lost"]) == ("passed", 0)
    assert done.document["state"] == "finished"


def test_s09_a_stopped_worker_goes_on_when_continued(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate") + workspace.note("end"))
    run = workspace.start("run", "src", "--json")
    [(_, _, script)] = wait_until(lambda: workspace.notes("start"))
    worker = worker_of(workspace, run.pid, script)
    os.kill(worker, signal.SIGSTOP)
    workspace.open("gate")
    wait_until(lambda: workspace.notes("end"))
    assert run.poll() is None
    os.kill(worker, signal.SIGCONT)
    assert workspace.finish(run, code=0).results["a.py"]["attempts"] == 1


@pytest.mark.parametrize("how", ["INT", "deadline", "cancel"])
def test_s09_a_run_whose_worker_is_stopped_can_be_ended(workspace: Any, wait_until: Any, how: str) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("never"))
    run = workspace.start("run", "src", "-q", *(["--deadline", "3s"] if how == "deadline" else []))
    [(_, _, script)] = wait_until(lambda: workspace.notes("start"))
    os.kill(worker_of(workspace, run.pid, script), signal.SIGSTOP)
    if how == "INT":
        run.send_signal(signal.SIGINT)
    elif how == "cancel":
        assert "its processes are gone" in workspace.run("cancel").out
    workspace.finish(run, code={"INT": 130, "deadline": 1, "cancel": 1}[how])
    assert workspace.left() == []


DIES_BEFORE_IT_SENDS = """
import os, sys

sys.path.append({root!r})
from buildrunner.run import wire, worker

write = wire.write_frame

def write_or_die(fd, message):
    if message[0] == "receipt" and not os.path.exists("died"):
        os.close(os.open("died", os.O_CREAT))
        os.kill(os.getpid(), 9)
    write(fd, message)

wire.write_frame = write_or_die
worker.main()
"""
WITH_WORKER_PROGRAM = """
import json
from buildrunner import BuildServer
from buildrunner.pool import WorkerPool

init = WorkerPool.__init__
WorkerPool.__init__ = lambda self, *a, **k: init(self, *a, **{**k, "program": "worker_program.py"})
print(json.dumps(BuildServer("src", workers=1, order="name", mode="cold").run().to_json()))
"""


def test_s02_what_a_dead_workers_journal_holds_is_adopted(workspace: Any) -> None:
    """Killed between the receipt's line and its sending: the script is not run again, and the other one is run."""
    (workspace.path / "worker_program.py").write_text(DIES_BEFORE_IT_SENDS.format(root=str(ROOT)))
    workspace.scripts(a=workspace.note("end") + "exit(3)", b=workspace.note("end"))
    done = workspace.finish(workspace.start_python("-c", WITH_WORKER_PROGRAM), code=0)
    assert (workspace.path / "died").exists()
    a, b = done.results["a.py"], done.results["b.py"]
    assert (a["state"], a["exit_code"], a["attempts"], a["lost"]) == ("failed", 3, 1, 0)
    assert (b["state"], b["attempts"], b["lost"]) == ("passed", 1, 0)
    assert [job for job, _, _ in workspace.notes("end")] == ["a.py", "b.py"]


ENDINGS: dict[str, tuple[str, tuple[str, int | None, int | None]]] = {
    "kills_itself": ("import os; os.kill(os.getpid(), 9)", ("signalled", None, 9)),
    "os_exit": ("import os; os._exit(7)", ("exited", 7, None)),
    "segfault": ("import ctypes; ctypes.string_at(0)", ("signalled", None, 11)),
    "aborts": ("import os; os.abort()", ("signalled", None, 6)),
    "interrupts": ("raise KeyboardInterrupt", ("signalled", None, 2)),
    "pipe": (
        "import os, signal; signal.signal(13, signal.SIG_DFL)\nos.kill(os.getpid(), 13)",
        ("signalled", None, 13),
    ),
    "exit_text": ("import sys; sys.exit('text')", ("exited", 1, None)),
    "exit_none": ("import sys; sys.exit(None)", ("ok", 0, None)),
    "exit_true": ("import sys; sys.exit(True)", ("exited", 1, None)),
    "exit_300": ("import sys; sys.exit(300)", ("exited", 44, None)),
    "exit_256": ("import sys; sys.exit(256)", ("ok", 0, None)),
    "exit_minus_1": ("import sys; sys.exit(-1)", ("exited", 255, None)),
    "exit_124": ("import sys; sys.exit(124)", ("exited", 124, None)),
    "exit_137": ("import sys; sys.exit(137)", ("exited", 137, None)),
    "raises": ("raise ValueError('no')", ("exited", 1, None)),
    "raises_in_atexit": ("import atexit; atexit.register(lambda: 1 / 0)", ("ok", 0, None)),
    "recursion": ("def f(): f()\nf()", ("exited", 1, None)),
    "closes_all": ("import os; os.closerange(0, 256); os._exit(3)", ("exited", 3, None)),
    "reads_stdin": (
        "import os, sys; assert sys.stdin.read() == ''; assert os.read(0, 1) == b''",
        ("ok", 0, None),
    ),
    "no_terminal": (
        "import os\ntry:\n    os.open('/dev/tty', os.O_RDWR)\nexcept OSError:\n    pass\nelse:\n    exit(9)",
        ("ok", 0, None),
    ),
    "kills_group": ("import os, signal; os.kill(0, signal.SIGTERM); os.abort()", ("signalled", None, 15)),
    "forged": (
        "import os; b = b'end [1]' * 999; [os.write(1, b) for _ in range(9)]; "
        "[os.write(n, b) for n in range(3, 64) if os.path.exists(f'/proc/self/fd/{n}')]",
        ("ok", 0, None),
    ),
    "inherits_nothing": (
        "import os; left = [n for n in os.listdir('/proc/self/fd') if int(n) > 2]; assert len(left) <= 1, left",
        ("ok", 0, None),
    ),
    "fresh_signals": (
        "import signal; assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
        "ignored = {s for s in signal.valid_signals() if signal.getsignal(s) == signal.SIG_IGN}\n"
        "assert ignored <= {signal.SIGPIPE, signal.SIGXFSZ}, ignored",
        ("ok", 0, None),
    ),
    "leads_its_session": ("import os; assert os.getsid(0) == os.getpgid(0) == os.getpid()", ("ok", 0, None)),
}


def test_s03_s16_s18_s19_s20_s22_s23_s26_s27_every_way_of_ending(workspace: Any) -> None:
    """All of them through the same two workers, twice the same mess before and after a decent script."""
    for name, (text, _) in ENDINGS.items():
        workspace.script(f"{name}.py", text)
    done = workspace.json("-j", "2", code=1)
    ended = {n.removesuffix(".py"): (r["outcome"], r["exit_code"], r["signal"]) for n, r in done.results.items()}
    assert ended == {name: ending for name, (_, ending) in ENDINGS.items()}
    for name, result in done.results.items():
        assert (result["state"] == "passed") == (result["outcome"] == "ok"), name
        assert (result["attempts"], result["lost"]) == (1, 0)
    assert b"ZeroDivisionError" in workspace.log("raises_in_atexit.py", "err")
    workspace.run("verify", "result.zip")


def test_s17_what_one_script_does_to_itself_the_next_does_not_feel(workspace: Any) -> None:
    ask = (
        "import json, os, resource, signal; m = os.umask(0)\n"
        "print(json.dumps([os.getcwd(), m, resource.getrlimit(resource.RLIMIT_NOFILE), os.nice(0), dict(os.environ)"
        ".get('STAINED'), sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))]))"
    )
    spoil = (
        "import os, resource, signal; os.chdir('/'); os.umask(0o777); os.nice(5); os.environ['STAINED'] = 'yes'\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)); signal.pthread_sigmask(signal.SIG_BLOCK, [15])"
    )
    workspace.scripts(a=ask, b=spoil, c=ask)
    workspace.run("run", "src", "-j", "1", "--order", "name")
    before, after = (json.loads(workspace.log(name)) for name in ("a.py", "c.py"))
    assert before == after
    assert before[0] == str(workspace.path)


def test_a_grandchild_in_the_scripts_group_is_gone_when_the_script_is(workspace: Any, alive: Any) -> None:
    workspace.scripts(
        a="import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid)",
        b="print(1)",
    )
    done = workspace.json()
    assert done.results["a.py"]["state"] == "passed"
    assert not alive(int(workspace.log("a.py")))


DAEMON = """
import os, signal, sys, time
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    print("daemon", os.getpid(), *(os.readlink(f"/proc/self/fd/{n}") for n in (1, 2)), flush=True)
    os.write(writer, b"x")
    os.closerange(3, 64)
    time.sleep(600)
    os._exit(0)
os.read(reader, 1)
"""


def test_s13_a_daemon_in_a_session_of_its_own_outlives_neither_attempt_nor_run(
    workspace: Any, wait_until: Any, alive: Any
) -> None:
    """It still holds the script's stdout and stderr, too: the attempt ends when the script does."""
    workspace.groups = False  # which would do it too
    workspace.scripts(a=DAEMON, b=workspace.until("gate"))
    run = workspace.start("run", "src", "--json", "-j", "2")
    wait_until(lambda: b"a.py: ok" in run.stderr.readline())
    _, daemon, *held = workspace.log("a.py").decode().split()
    assert [Path(path).name for path in held] == ["a.py.out", "a.py.err"]
    wait_until(lambda: not alive(int(daemon)), 30.0, "the daemon's end while the run goes on")
    workspace.open("gate")
    done = workspace.finish(run, code=0)
    assert done.results["a.py"]["state"] == "passed"
    assert done.results["a.py"]["seconds"] < 300


@pytest.mark.parametrize("ending", ["timeout", "interrupt"])
def test_s13_a_daemon_ends_with_a_script_that_is_ended(
    workspace: Any, wait_until: Any, alive: Any, ending: str
) -> None:
    workspace.scripts(a=DAEMON + workspace.note("start") + "time.sleep(600)")
    run = workspace.start("run", "src", "--json", "--timeout", "2s" if ending == "timeout" else "60s", "--grace", "1s")
    wait_until(lambda: workspace.notes("start"))
    if ending == "interrupt":
        run.send_signal(signal.SIGINT)
    workspace.finish(run, code=1 if ending == "timeout" else 130)
    assert not alive(int(workspace.log("a.py").split()[1]))


def test_a_script_that_leaves_many_processes(workspace: Any) -> None:
    workspace.scripts(
        a="import os, time\nfor n in range(20):\n    if os.fork() == 0:\n"
        "        n % 2 and os.setpgid(0, 0)\n        time.sleep(600)\n        os._exit(0)"
    )
    assert workspace.json().results["a.py"]["state"] == "passed"
    assert workspace.left() == []


def test_s25_multiprocessing_in_a_script(workspace: Any, alive: Any) -> None:
    """Every way to start a process: a pool that is closed, and a process, a queue and helpers that are not."""
    methods = ("fork", "spawn", "forkserver")
    for method in methods:
        workspace.script(
            f"{method}.py",
            "import multiprocessing as mp, os, time\n\ndef double(x):\n    return 2 * x\n\n"
            "def stay(queue):\n    queue.put(os.getpid())\n    time.sleep(600)\n\n"
            f"if __name__ == '__main__':\n    context = mp.get_context('{method}')\n"
            "    with context.Pool(2) as pool:\n        print(pool.map(double, range(4)))\n"
            "    queue = context.Queue()\n    leaked = context.Process(target=stay, args=(queue,))\n"
            "    leaked.start()\n    print(queue.get(), flush=True)\n    os._exit(0)\n",
        )
    done = workspace.json("-j", "2")
    for method in methods:
        first, leaked = workspace.log(f"{method}.py").decode().splitlines()
        assert first == "[0, 2, 4, 6]"
        assert not alive(int(leaked)), method
        assert done.results[f"{method}.py"]["seconds"] < 300
    assert workspace.left() == []


@pytest.mark.parametrize("library", [False, True])
def test_peak_memory_is_the_scripts_own(workspace: Any, library: bool) -> None:
    workspace.scripts(big=f"held = bytearray(b'x') * (300 * {MIB})", small="pass")
    if library:
        program = (
            f"held = bytearray(b'x') * (400 * {MIB})\nimport json\nfrom buildrunner import BuildServer\n"
            "print(json.dumps(BuildServer('src', workers=1).run().to_json()))"
        )
        done = workspace.finish(workspace.start_python("-c", program), code=0)
    else:
        done = workspace.json("-j", "1")
    big, small = (done.results[name]["max_rss_bytes"] for name in ("big.py", "small.py"))
    assert 290 * MIB < big < 360 * MIB
    assert small is None or 2 * MIB < small < 40 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has warm scripts")
def test_peak_memory_is_neither_the_workers_nor_a_siblings(workspace: Any) -> None:
    """Also where a module that was imported for all of them took much for a while, and a script much to compile."""
    (workspace.path / "greedy.py").write_text(f"held = bytearray(b'x') * (100 * {MIB})\ndel held\n")
    workspace.env["PYTHONPATH"] += f":{workspace.path}"
    workspace.scripts(a="pass", b=f"import sys\nheld = b'x' * (200 * {MIB})\nprint('greedy' in sys.modules)", c="pass",
                      f="x = [" + "1," * 15_000 + "]")  # fmt: skip
    for name in ("d.sh", "g.sh"):
        workspace.script(name, "sleep 0.05\n")
    for preloaded in (["--preload", "greedy"], []):
        done = workspace.json("-j", "1", "--order", "name", "--no-zip", *preloaded)
        peak = {name: result["max_rss_bytes"] for name, result in done.results.items()}
        assert {name for name, result in done.results.items() if result["mode"] == "cold"} == {"d.sh", "g.sh"}
        assert workspace.log("b.py") == f"{bool(preloaded)}\n".encode()
        assert 200 * MIB < peak["b.py"] < 250 * MIB
        assert 2 * MIB < peak["a.py"] < 40 * MIB and 2 * MIB < peak["c.py"] < 40 * MIB, peak
        assert all(peak[name] is None or peak[name] < 8 * MIB for name in ("d.sh", "g.sh")), peak


def test_s36_outputs_that_are_no_files_are_skipped_and_listed(workspace: Any) -> None:
    workspace.scripts(
        a="import os, socket; os.chdir(os.environ['BUILDRUNNER_OUTPUT_DIR']); os.mkfifo('pipe'); os.mkdir('empty')\n"
        "os.symlink('/etc/passwd', 'link'); os.symlink('.', 'loop'); socket.socket(socket.AF_UNIX).bind('sock')\n"
        "open('file', 'w').write('x'); os.mkdir('deep'); os.symlink('/etc', 'deep/etc'); open('closed', 'w').close()\n"
        "os.chmod('closed', 0)\ntry:\n    os.mknod('device', 0o666 | 0o020000, os.makedev(1, 5))\n"
        "except PermissionError:\n    print('no device')"
    )
    result = workspace.json().results["a.py"]
    folder = "python_output/files/a.py/"
    assert f"{folder}file" in result["outputs"]
    skipped = {"pipe", "link", "loop", "sock", "deep/etc"}
    if not workspace.log("a.py"):  # only root makes devices
        skipped.add("device")
    assert {f"{folder}{name}" for name in skipped} <= set(result["skipped_outputs"])
    workspace.run("verify", "result.zip")
    workspace.scripts(a="pass")
    workspace.json()
    left = Path(workspace.path, folder)
    assert not left.exists() or not [path for path in left.rglob("*") if not path.is_dir()]


def test_a_script_that_removes_the_folders_it_is_given(workspace: Any) -> None:
    workspace.scripts(
        a="import os; os.rmdir(os.environ['BUILDRUNNER_OUTPUT_DIR'])",
        b="import os; d = os.environ['BUILDRUNNER_OUTPUT_DIR']; os.rmdir(d); open(d, 'w').write('a file')",
        c="import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/x', 'w').write('c')",
        d="import os, shutil; os.unlink('python_output/logs/' + os.environ['BUILDRUNNER_JOB_NAME'] + '.out')",
    )
    for _ in range(2):
        done = workspace.json("-j", "1", "--order", "name")
        assert {result["state"] for result in done.results.values()} == {"passed"}
        assert done.results["c.py"]["outputs"] == ["python_output/files/c.py/x"]
    workspace.run("verify", "result.zip")


def test_the_whole_output_folder_vanishes_during_the_run(workspace: Any) -> None:
    workspace.scripts(
        a="import shutil; shutil.rmtree('python_output')",
        b="print('b')",
        c="print('c')",
    )
    done = workspace.json("-j", "1", "--order", "name", code=None)
    assert done.code in (1, 3), done.err
    assert "python_output" in done.out + done.err
    assert workspace.run("status", "--json").document["totals"]["running"] == 0


def test_s02_many_short_scripts_with_workers_dying_among_them(workspace: Any, wait_until: Any) -> None:
    """The witness lies outside our code: every job ended once as recorded, whatever was killed."""
    for number in range(120):
        workspace.script(f"s{number:03}.sh", 'echo "end $BUILDRUNNER_JOB_NAME $BUILDRUNNER_ATTEMPT_ID $$" >> witness\n')
    run = workspace.start("run", "src", "--json", "-j", "2", "--order", "name")
    for share in (20, 60, 90):
        wait_until(lambda share=share: len(workspace.notes("end")) >= share or run.poll() is not None)
        for worker in workspace.children(run.pid)[:1]:
            try:
                os.kill(worker, signal.SIGKILL)
            except ProcessLookupError:
                continue
    done = workspace.finish(run, code=0)
    assert done.document["totals"]["passed"] == 120
    ended: dict[str, int] = {}
    for job, _, _ in workspace.notes("end"):
        ended[job] = ended.get(job, 0) + 1
    for name, result in done.results.items():
        assert 1 <= ended[name] <= 1 + result["lost"]
        assert result["attempts"] == 1 + result["lost"]


OWN_CHILDREN = """
import subprocess, sys
from buildrunner import BuildServer

class Starter:
    child = None
    def on_event(self, event):
        if type(event).__name__ == "JobEnded" and self.child is None:
            self.child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

starter = Starter()
assert BuildServer("src", workers=1, listeners=[starter]).run().passed
assert starter.child.poll() is None, starter.child.poll()
starter.child.kill()
starter.child.communicate()
"""


@pytest.mark.parametrize("variables", [{}, {"BUILDRUNNER_ATTEMPT_ID": "of-a-run-around-this-one"}])
def test_a_programs_own_children_are_none_of_ours(workspace: Any, variables: dict[str, str]) -> None:
    """Also when that program is itself a script of another run."""
    workspace.scripts(a="pass", b=DAEMON, c="pass")
    workspace.finish(workspace.start_python("-c", OWN_CHILDREN, env=variables), code=0)


BROKEN_WORKERS = """
from buildrunner import BuildServer, BuildrunnerError
from buildrunner.pool import WorkerPool

open("broken.py", "w").write("raise SystemExit('worn out')")
init = WorkerPool.__init__
WorkerPool.__init__ = lambda self, *a, **k: init(self, *a, **{**k, "program": "broken.py"})
try:
    BuildServer("src", workers=2, mode="cold").run()
except BuildrunnerError as exc:
    print(type(exc).__name__, exc)
"""


def test_a_worker_program_that_cannot_start_ends_the_run_with_its_words(workspace: Any) -> None:
    workspace.scripts(a="pass")
    done = workspace.finish(workspace.start_python("-c", BROKEN_WORKERS), code=0)
    assert done.out.startswith("PoolError")
    words = Path(done.out.split()[-1])
    assert "worn out" in words.read_text()


def test_a_new_worker_costs_no_descriptor(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("never"))
    run = workspace.start("run", "src", "-j", "1")
    counts = []
    for number in range(1, 5):
        wait_until(lambda number=number: len(workspace.notes("start")) == number)
        counts.append(len(os.listdir(f"/proc/{run.pid}/fd")))
        os.kill(worker_of(workspace, run.pid, workspace.notes("start")[-1][2]), signal.SIGKILL)
    workspace.finish(run, code=1)
    assert len(set(counts)) == 1, counts
