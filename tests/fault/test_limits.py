"""What a script may use: memory, room for its output, processes, open files. No other script must feel it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.fault, pytest.mark.skipif(sys.platform != "linux", reason="limits are kept on Linux")]

MIB = 1 << 20
HUNGRY = "x = []\nwhile True: x.append(bytearray(b'x') * (1 << 20))\n"
PROCESSES = Path("/sys/fs/cgroup/pids")


# output


def test_s14_endless_output_keeps_its_beginning_and_its_end(workspace: Any, wait_until: Any) -> None:
    """The disk is spared while it runs, and what is left out is told in log, receipt, JSON, report and `why`."""
    workspace.scripts(
        endless="import itertools, os, sys\n"
        "for n in itertools.count():\n"
        "    print(n)\n"
        f"    if n % 1000 == 0 and os.path.exists({str(workspace.path / 'gate')!r}): break\n"
        "print('the end', flush=True)\n"
        "print(os.lseek(1, 0, os.SEEK_END), file=sys.stderr)\n",
        other="print('fine')",
    )
    run = workspace.start("run", "src", "--json", "-j", "2", "--max-output", "64K")
    log = workspace.path / "python_output/logs/endless.py.out"
    wait_until(lambda: log.exists() and log.stat().st_size > 4 * MIB)
    wait_until(lambda: log.stat().st_blocks * 512 < log.stat().st_size / 2, what="room given back to the disk")
    workspace.open("gate")
    done = workspace.finish(run, code=0)
    result = done.results["endless.py"]
    assert (result["state"], done.results["other.py"]["truncated"]) == ("passed", {})
    text = log.read_bytes()
    assert len(text) < (64 << 10) + 100
    assert text.startswith(b"0\n1\n2\n")
    assert text.endswith(b"\nthe end\n")
    head, _, rest = text.partition(b"[buildrunner: ")
    line, _, tail = rest.partition(b"\n")
    written, gone = int(workspace.log("endless.py", "err")), result["truncated"]["stdout"]
    assert line == b"%d bytes were left out here, because of --max-output]" % gone
    assert len(head) + gone + len(tail) == written
    numbers = [int(n) for n in (head + tail).split(b"\n")[:-2]]
    assert numbers == [*range(len(head.split())), *range(numbers[-1] - len(tail.split()) + 3, numbers[-1] + 1)]
    assert "the end of what these printed was kept (--max-output): endless.py" in done.err
    assert f"{gone:,} bytes of stdout" in workspace.run("why", "endless.py").out
    workspace.run("verify", "result.zip")
    workspace.run("ledger", "check")
    assert b'""stdout"": %d' % gone in workspace.run("ledger", "export", "--format", "csv").stdout


def test_s14_output_that_is_ended_by_a_time_limit_is_capped_too(workspace: Any) -> None:
    workspace.scripts(a="while True: print('again and again')")
    result = workspace.json("--max-output", "8K", "--timeout", "1s", "--grace", "0", code=1).results["a.py"]
    assert (result["outcome"], list(result["truncated"])) == ("timed_out", ["stdout"])
    assert len(workspace.log("a.py")) < 9000


@pytest.mark.parametrize("option", ["--memory", "--max-output"])
@pytest.mark.parametrize("value", ["much", "-1", "0", "1", ""])
def test_a_limit_that_makes_no_sense_is_refused(workspace: Any, option: str, value: str) -> None:
    workspace.scripts(a="pass")
    assert option in workspace.run("run", "src", f"{option}={value}", code=2).err
    assert not (workspace.path / ".buildrunner").exists()


# memory


def test_s21_a_script_that_takes_too_much_memory_is_ended_and_no_other(workspace: Any) -> None:
    workspace.scripts(
        hungry=HUNGRY,
        modest="x = bytearray(b'x') * (40 << 20)",
        sharing=f"import os\nx = bytearray(b'x') * ({90 * MIB})\n"
        "for _ in range(4):\n    if os.fork() == 0:\n        time = __import__('time'); time.sleep(1); os._exit(0)\n"
        "for _ in range(4): os.wait()",
        family="import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n"
        f"        x = bytearray(b'x') * ({40 * MIB}); time.sleep(600)\ntime.sleep(600)",
    )
    done = workspace.json("--memory", "200M", "-j", "2", code=1)
    outcomes = {name: (r["outcome"], r["signal"]) for name, r in done.results.items()}
    killed = ("out_of_memory", 9)
    assert outcomes == {"hungry.py": killed, "modest.py": ("ok", None), "sharing.py": ("ok", None), "family.py": killed}
    assert "--memory allows" in done.results["hungry.py"]["error"]
    assert done.results["hungry.py"]["max_rss_bytes"] < 600 * MIB  # it was noticed in time
    assert workspace.left() == []
    assert "out of memory" in workspace.run("why", "hungry.py").out


def test_s21_too_much_memory_spends_a_retry_and_the_next_attempt_may_pass(workspace: Any) -> None:
    first = "import os\nif os.environ['BUILDRUNNER_ATTEMPT_NUMBER'] != '1': exit()\n"
    workspace.scripts(a=first + HUNGRY)
    result = workspace.json("--memory", "100M", "--retries", "1").results["a.py"]
    assert (result["outcome"], result["attempts"]) == ("ok", 2)


# processes


@pytest.fixture
def few_processes() -> Iterator[Path]:
    """A control group for the program that may hold few processes at once."""
    group = PROCESSES / f"few-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as exc:
        pytest.skip(f"no control group that limits processes can be made here: {exc}")
    yield group
    group.rmdir()


def start_in(workspace: Any, group: Path, *arguments: str) -> Any:
    enter = (
        f"import os, sys; open('{group}/cgroup.procs', 'w').write(str(os.getpid())); "
        "os.execv(sys.executable, [sys.executable, '-m', 'buildrunner', *sys.argv[1:]])"
    )
    return workspace.start_python("-c", enter, *arguments)


@pytest.mark.parametrize("escaping", [False, True], ids=["in its session", "escaping"])
def test_s31_a_fork_bomb_ends_with_its_attempt(workspace: Any, few_processes: Path, escaping: bool) -> None:
    (few_processes / "pids.max").write_text("60")
    leave = "os.setsid()" if escaping else "pass"
    workspace.scripts(
        bomb=f"import os\nwhile True:\n    try:\n        if os.fork() == 0: {leave}\n    except OSError: pass\n",
        other="print('fine')",
    )
    run = start_in(workspace, few_processes, "run", "src", "--json", "-j", "2", "--timeout", "2s", "--grace", "0")
    done = workspace.finish(run, code=1)
    assert done.results["bomb.py"]["outcome"] == "timed_out"
    assert done.results["other.py"]["outcome"] == "ok"
    assert "max 0" not in (few_processes / "pids.events").read_text()
    assert workspace.left() == []


def test_s33_a_script_waits_for_room_for_one_more_process(workspace: Any, few_processes: Path, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"), b="print('late')", c="print('later')")
    run = start_in(workspace, few_processes, "run", "src", "--json", "-j", "1", "--order", "name")
    wait_until(lambda: workspace.notes("start"))
    # As many as there will be once the first script has ended: for a second one there is then no room.
    room = int((few_processes / "pids.current").read_text()) - 1
    (few_processes / "pids.max").write_text(str(room))
    workspace.open("gate")
    wait_until(lambda: "max 0" not in (few_processes / "pids.events").read_text(), what="a start that was refused")
    cancel = workspace.run("cancel", "--job", "b.py")
    assert "gone" in cancel.out + cancel.err
    (few_processes / "pids.max").write_text("max")
    done = workspace.finish(run, code=1)
    found = {name: (r["outcome"], r["attempts"]) for name, r in done.results.items()}
    assert found == {"a.py": ("ok", 1), "b.py": ("cancelled", 1), "c.py": ("ok", 1)}


# open files


def test_s32_too_few_open_files_are_named_before_anything_runs(workspace: Any) -> None:
    workspace.scripts(**{f"a{n}": "pass" for n in range(8)})
    few = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32)); "
        "os.execv(sys.executable, [sys.executable, '-m', 'buildrunner', *sys.argv[1:]])"
    )
    refused = workspace.finish(workspace.start_python("-c", few, "run", "src", "-j", "8"), code=2)
    assert "only 32 files" in refused.err
    assert "`ulimit -n 48`" in refused.err
    assert "-j 2" in refused.err
    assert not (workspace.path / ".buildrunner").exists()
    workspace.finish(workspace.start_python("-c", few, "run", "src", "-j", "2"), code=0)


def test_s32_as_many_open_files_as_are_asked_for_are_enough(workspace: Any) -> None:
    """With a file of events, a report, a package and somebody who asks: the number in the message is no guess."""
    workspace.scripts(**{f"a{n}": f"import time; time.sleep(0.2); open('{n}', 'w')" for n in range(16)})
    few = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48)); "
        "os.execv(sys.executable, [sys.executable, '-m', 'buildrunner', *sys.argv[1:]])"
    )
    options = ("-j", "8", "--events", "e.jsonl", "--junitxml", "j.xml", "--cwd", "scratch", "--memory", "1G")
    workspace.finish(workspace.start_python("-c", few, "run", "src", *options), code=0)


def test_logs_of_a_capped_script_say_what_is_left_out_while_it_runs(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a="for n in range(400000): print(n)\nprint('last', flush=True)\n" + workspace.until("gate"))
    run = workspace.start("run", "src", "--max-output", "64K")
    log = workspace.path / "python_output/logs/a.py.out"
    wait_until(lambda: log.exists() and log.read_bytes().endswith(b"last\n"))
    wait_until(lambda: log.stat().st_blocks * 512 < log.stat().st_size / 2, what="room given back to the disk")
    shown = workspace.run("logs", "a.py")
    assert b"\0" not in shown.stdout
    assert shown.stdout.startswith(b"0\n1\n")
    assert shown.stdout.endswith(b"last\n")
    assert shown.stdout.count(b" bytes were left out here, because of --max-output]\n") == 1
    workspace.open("gate")
    workspace.finish(run, code=0)


def test_following_a_capped_script_shows_its_last_words(workspace: Any, wait_until: Any) -> None:
    """Its log is cut as it ends, while somebody follows: what was written last is then at another place."""
    workspace.scripts(
        a="for n in range(400000): print(n)\nprint('nearly', flush=True)\n"
        + workspace.until("gate")
        + "\nfor n in range(5): print('last', n)\n"
    )
    run = workspace.start("run", "src", "--max-output", "64K")
    log = workspace.path / "python_output/logs/a.py.out"
    wait_until(lambda: log.exists() and log.read_bytes().endswith(b"nearly\n"))
    follower = workspace.start("logs", "-f", "a.py", "--stdout")
    seen = follower.stdout.readline()
    while seen and not seen.endswith(b"nearly\n"):
        seen = follower.stdout.readline()
    workspace.open("gate")
    assert workspace.finish(follower, code=0).stdout == b"".join(b"last %d\n" % n for n in range(5))
    workspace.finish(run, code=0)
    assert log.stat().st_size < 1 << 18  # it was cut


# the size of files


@pytest.mark.parametrize("limit", [0, 4096, 65536])
def test_a_limit_on_the_size_of_files_is_told_for_what_it_is(workspace: Any, limit: int) -> None:
    """SQLite would say that the disk gave an error, and nobody looks for `ulimit -f` then."""
    for number in range(20):
        workspace.script(f"{number:02}.py", "")
    limited = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY)); "
        "from buildrunner.cli import main; main()"
    )
    done = workspace.finish(workspace.start_python("-c", limited, "run", "src", "-j", "1"))
    assert done.code == (3 if limit else 2)
    said = " ".join((done.out + done.err).split())
    assert f"no file may have more than {limit:,} bytes here (`ulimit -f unlimited` raises that limit)" in said
    assert "disk I/O error" not in said
    if limit == 65536:
        assert "raise it, then `buildrunner resume`" in said
        assert workspace.run("resume", "--json").document["totals"]["passed"] == 20
