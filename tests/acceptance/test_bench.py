"""`buildrunner bench` as a user runs it. How long anything takes is never judged here: that is the machine's affair."""

import os
import signal
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildrunner.bench import Lap, measure, options
from buildrunner.comparison import Manner

pytestmark = pytest.mark.acceptance

Wait = Callable[..., Any]


@pytest.fixture
def temporary(workspace: Any) -> Path:
    """The folder for temporary files; looked at by every test that wants to know what stayed."""
    folder: Path = workspace.path / "tmp"
    folder.mkdir()
    workspace.env["TMPDIR"] = str(folder)
    return folder


def test_the_document_has_every_promised_field(workspace: Any, temporary: Path) -> None:
    workspace.scripts(b="print('b')", a="print('a')")
    done = workspace.run("bench", "src", "--json", "--rounds", "2", "-j", "2", "--threads", "3")
    document = done.document
    assert document["schema"] == "buildrunner.bench/1"
    assert (document["jobs"], document["rounds"], document["same_results"]) == (2, 2, True)
    assert document["threads"] == {"sequential": "keep", "parallel": 3}
    for arm in ("sequential_seconds", "parallel_seconds"):
        times = document[arm]
        assert len(times["runs"]) == 2
        assert 0 < times["min"] <= times["median"] <= times["max"]
        assert (min(times["runs"]), max(times["runs"])) == (times["min"], times["max"])
    ratio = document["sequential_seconds"]["median"] / document["parallel_seconds"]["median"]
    assert document["speedup"] == pytest.approx(ratio, abs=1e-5)
    assert document["efficiency"] == pytest.approx(ratio / 2, abs=1e-5)
    assert document["reduction_percent"] == pytest.approx(100 - 100 / ratio, abs=1e-3)
    assert 1 <= document["bound_speedup"] <= 2
    assert {"cpus", "serial_fraction"} <= set(document)
    assert [row["name"] for row in document["results"]] == ["a.py", "b.py"]
    assert all(row["sequential_seconds"] > 0 and row["parallel_seconds"] > 0 for row in document["results"])
    lines = done.err.splitlines()
    assert [line.rpartition(":")[0] for line in lines] == [
        "round 1 of 2, one after another",
        "round 1 of 2, in parallel",
        "round 2 of 2, in parallel",
        "round 2 of 2, one after another",
    ]
    assert os.listdir(temporary) == []
    assert sorted(os.listdir(workspace.path)) == ["src", "tmp"]


def test_without_a_target_the_samples_folder_is_meant(workspace: Any, temporary: Path) -> None:
    for verb in ("bench", "run", "plan"):
        said = workspace.run(verb, code=2).err
        assert "no such file or folder: python_source; name a folder or a script to run" in said
    workspace.source.rename(workspace.path / "python_source")
    assert workspace.run("bench", code=5).stdout == b""
    (workspace.path / "python_source" / "a.py").touch()
    assert workspace.run("bench", "--json", "-q", "--rounds", "1").document["target"] == "python_source"


def test_both_arms_see_the_same(workspace: Any, temporary: Path) -> None:
    shown = "HOME CWD BUILDRUNNER_OUTPUT_DIR BUILDRUNNER_JOB_NAME BUILDRUNNER_ATTEMPT_NUMBER MINE BUILDRUNNER_JOBS"
    text = (
        "import os, sys; folder = os.environ['BUILDRUNNER_OUTPUT_DIR']\n"
        f"print([os.environ.get(name) for name in {shown.split()!r}], os.getcwd(), sys.argv, sys.executable)\n"
        "print(os.listdir(folder)); open(folder + '/made', 'w').close(); print(sys.stdin.read())\n"
    )
    for name in ("a.py", "sub/b.py"):
        workspace.script(name, text)
    for cwd in ("invocation", "script", "scratch"):
        done = workspace.run(
            "bench", "src", "-r", "--json", "-q", "--rounds", "2", "--cwd", cwd, "--", "-x", "--", "two words",
            env={"MINE": "yes", "BUILDRUNNER_JOBS": "1"},
        )  # fmt: skip
        document = done.document
        assert document["differences"] == []
        assert (document["jobs"], document["same_results"]) == (1, True)
        assert done.stderr == b""
    assert os.listdir(temporary) == []


def test_a_script_that_prints_something_else_each_time_is_named(workspace: Any, temporary: Path) -> None:
    workspace.scripts(
        same="print('same')",
        other="import os; print('first line'); print('\\x1b[1m', os.urandom(8).hex())",
    )
    done = workspace.run("bench", "src", "--rounds", "1", code=1)
    assert "1 of 2 scripts did not do the same every time" in done.out
    assert "other.py: stdout differs from line 2, byte " in done.out
    assert "first: \\x1b[1m " in done.out
    assert "\x1b" not in done.out
    document = workspace.run("bench", "src", "--rounds", "1", "--json", "-q", code=1).document
    assert document["same_results"] is False
    (difference,) = document["differences"]
    assert (difference["name"], difference["manner"], difference["line"]) == ("other.py", "parallel", 2)


def test_a_script_that_ends_differently_is_named(workspace: Any, temporary: Path) -> None:
    workspace.scripts(a=f"import os; raise SystemExit(os.path.exists({str(workspace.path / 'once')!r}) and 7)")
    workspace.scripts(b=f"open({str(workspace.path / 'once')!r}, 'w').close()")
    done = workspace.run("bench", "src", "--rounds", "1", code=1)
    assert "a.py: exit code 7 (in parallel, round 1), first ok" in done.out
    assert "1 of 2 scripts did not pass" in done.out


def test_failures_that_are_always_the_same_are_still_failures(workspace: Any, temporary: Path) -> None:
    for name, text in {"a": "exit 3", "b": "kill -9 $$", "c": "exec sleep 600", "d": "echo fine"}.items():
        workspace.script(name + ".sh", text)
    workspace.script("e.sh", "#!/no/such/program\n", mode=0o755)
    done = workspace.run("bench", "src", "--rounds", "1", "--json", "-q", "--timeout", "1s", code=1)
    document = done.document
    assert document["same_results"] is True
    endings = {f["name"]: (f["ending"]["outcome"], f["ending"]["exit_code"], f["ending"]["signal"])
               for f in document["failures"]}  # fmt: skip
    assert endings == {
        "a.sh": ("exited", 3, None),
        "b.sh": ("signalled", None, signal.SIGKILL),
        "c.sh": ("timed_out", None, signal.SIGTERM),
        "e.sh": ("spawn_error", None, None),
    }
    assert len(document["results"]) == 5
    assert os.listdir(temporary) == []


HOSTILE = ("<script>&.py", "a|b`c.py", "x\n\x1b[31m.py", b"\xff.py", "-j.py", '"quoted" name.py')


def test_names_of_every_kind_can_be_told_pasted_and_drawn(workspace: Any, temporary: Path) -> None:
    for name in HOSTILE:
        workspace.script(name, "print(1)")
    done = workspace.run("bench", "src", "--rounds", "1", "--markdown", "--svg", "bench.svg")
    rows = [line for line in done.out.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(HOSTILE) + 1
    assert {row.count("|") for row in rows} == {5}
    assert "\x1b" not in done.out
    root = ET.parse(workspace.path / "bench.svg").getroot()
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "<script>&.py" in texts
    assert "x\\n\\x1b[31m.py" in texts
    assert sorted(os.listdir(workspace.path)) == ["bench.svg", "src", "tmp"]
    assert os.listdir(temporary) == []


@pytest.mark.parametrize("place", ["nowhere/bench.svg", "src", "", "/dev/null"])
def test_a_drawing_that_cannot_be_written_is_refused_before_anything_runs(
    workspace: Any, temporary: Path, place: str
) -> None:
    workspace.scripts(a=workspace.note("ran"))
    done = workspace.run("bench", "src", f"--svg={place}", code=2)
    assert "--svg" in done.err
    assert not (workspace.path / "witness").exists()
    assert os.listdir(temporary) == []


@pytest.mark.parametrize(
    "bad",
    [
        ["--rounds", "0"], ["--rounds", "many"], ["--warmup", "-1"], ["-j", "0"], ["-j", "many"], ["--threads", "0"],
        ["--timeout", "soon"], ["--cwd", "moon"], ["--python", "/no/such/python"], ["--json", "--markdown"],
        ["--no-such-option"],
    ],
)  # fmt: skip
def test_bad_options_are_refused_before_anything_runs(workspace: Any, temporary: Path, bad: list[str]) -> None:
    workspace.scripts(a=f"open({str(workspace.path / 'ran')!r}, 'w').close()")
    done = workspace.run("bench", "src", *bad, code=2)
    assert done.stdout == b""
    assert done.stderr
    assert not (workspace.path / "ran").exists()


def test_the_temporary_folder_must_not_lie_among_the_scripts(workspace: Any) -> None:
    workspace.scripts(a="print(1)")
    done = workspace.run("bench", "src", code=2, env={"TMPDIR": str(workspace.source)})
    assert "TMPDIR" in done.err


def test_rounds_to_warm_up_do_not_count(workspace: Any, temporary: Path) -> None:
    workspace.scripts(a="print(1)")
    done = workspace.run("bench", "src", "--rounds", "1", "--warmup", "1", "--json")
    assert done.document["warmup"] == 1
    assert len(done.document["parallel_seconds"]["runs"]) == 1
    assert sorted({line.partition(",")[0] for line in done.err.splitlines()}) == ["round 1 of 1", "warm-up 1 of 1"]


def test_a_module_of_the_users_in_the_working_directory_does_no_harm(workspace: Any, temporary: Path) -> None:
    workspace.scripts(a="print(1)")
    program = "import sys; sys.path.remove(''); from buildrunner.__main__ import main; main()"
    for name in ("click", "json", "sqlite3", "buildrunner"):
        (workspace.path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    process = workspace.start_python("-c", program, "bench", "src", "--rounds", "1", "-q", "--json")
    assert workspace.finish(process, code=0).document["same_results"] is True


def test_what_scripts_make_unreadable_is_removed_as_well(workspace: Any, temporary: Path) -> None:
    workspace.scripts(
        a="import os; os.chdir(os.environ['BUILDRUNNER_OUTPUT_DIR']); os.makedirs('x/y'); os.chmod('x', 0)"
    )
    workspace.run("bench", "src", "--rounds", "1", "-q", "--json", code=None)
    assert os.listdir(temporary) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("manner", ["sequential", "parallel"])
def test_a_signal_leaves_no_process_and_no_file(
    workspace: Any, temporary: Path, wait_until: Wait, number: signal.Signals, manner: str
) -> None:
    here = f"os.environ['BUILDRUNNER_PARALLEL'] == {'1' if manner == 'sequential' else '2'!r}"
    note = str(workspace.path / "running")
    workspace.scripts(
        a=f"import os, time\nif {here}:\n    open({note!r}, 'w').close()\n    time.sleep(600)\n", b="print('b')"
    )
    process = workspace.start("bench", "src", "--rounds", "1", "-j", "2")
    wait_until(lambda: os.path.exists(note))
    process.send_signal(number)
    done = workspace.finish(process, code=128 + number)
    assert done.stdout == b""
    assert "stopped by" in done.err
    assert os.listdir(temporary) == []
    assert workspace.left() == []


def test_a_second_signal_kills_a_script_that_does_not_listen(workspace: Any, temporary: Path, wait_until: Wait) -> None:
    heard = workspace.path / "heard"
    workspace.scripts(
        a=f"import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: open({str(heard)!r}, 'w').close())\n"
        f"open({str(workspace.path / 'running')!r}, 'w').close()\nwhile True: time.sleep(600)\n"
    )
    process = workspace.start("bench", "src", "--rounds", "1")
    wait_until(lambda: (workspace.path / "running").exists())
    process.send_signal(signal.SIGINT)
    wait_until(heard.exists)
    process.send_signal(signal.SIGINT)
    workspace.finish(process, code=130)
    assert os.listdir(temporary) == []
    assert workspace.left() == []


def test_nobody_reading_stdout_or_stderr_is_no_fault(workspace: Any, temporary: Path) -> None:
    workspace.scripts(a="print(1)")
    process = workspace.start("bench", "src", "--rounds", "1", "--svg", "bench.svg")
    process.stderr.close()
    process.stdout.close()
    process.stdout = process.stderr = None
    process.wait(300)
    assert (workspace.path / "bench.svg").exists()
    assert os.listdir(temporary) == []


def test_the_libraries_choose_their_threads_one_after_another(workspace: Any, temporary: Path) -> None:
    book = str(workspace.path / "book")
    workspace.scripts(a=f"import os; print(os.environ.get('OMP_NUM_THREADS'), file=open({book!r}, 'a')); print('same')")
    workspace.env.pop("OMP_NUM_THREADS", None)
    workspace.run("bench", "src", "--rounds", "1", "-q", "--threads", "5")
    assert Path(book).read_text().split() == ["None", "5"]
    workspace.run("bench", "src", "--rounds", "1", "-q", "--threads", "keep")
    assert Path(book).read_text().split()[2:] == ["None", "None"]


def test_from_python_the_measurement_is_a_value(workspace: Any, temporary: Path) -> None:
    workspace.scripts(a="print(1)", b="print(2)")
    laps: list[Lap] = []
    measured = measure(options(targets=(str(workspace.source),), jobs=2), rounds=1, on_lap=laps.append)
    assert [script.name for script in measured.scripts] == ["a.py", "b.py"]
    assert (measured.failures, measured.differences, measured.comparison.jobs) == ((), (), 2)
    assert [lap.manner for lap in laps] == [Manner.SEQUENTIAL, Manner.PARALLEL]
