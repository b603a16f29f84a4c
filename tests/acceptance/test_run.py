"""`buildrunner run`, as a user and as a program that reads its JSON would see it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from buildrunner.machine import cpus

pytestmark = pytest.mark.acceptance

DOCUMENT = {
    "schema", "run", "target", "state", "jobs", "python", "started", "finished", "wall_seconds", "script_seconds",
    "concurrency", "bound_seconds", "critical_path_seconds", "eta_seconds", "totals", "results", "archive",
}  # fmt: skip
TOTALS = {"jobs", "passed", "failed", "skipped", "cancelled", "cached", "running", "waiting"}
RESULT = {
    "name", "state", "outcome", "exit_code", "signal", "mode", "seconds", "total_seconds", "cpu_seconds",
    "max_rss_bytes", "attempts", "started", "worker", "stdout", "stderr", "outputs", "error",
}  # fmt: skip
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def test_three_scripts_pass_and_everything_adds_up(workspace: Any) -> None:
    workspace.scripts(
        one="print('one')",
        two="import sys; sys.stdout.buffer.write(bytes(range(256)) * 5); sys.stderr.buffer.write(b'\\xff\\xfe\\r\\n')",
        three="import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/made.bin', 'wb').write(b'\\0\\xff' * 999)",
    )
    done = workspace.json("-j", "2")
    document = done.document

    assert set(document) >= DOCUMENT
    assert set(document["totals"]) >= TOTALS
    assert document["schema"] == "buildrunner.run/1"
    assert (document["state"], document["target"], document["jobs"]) == ("finished", "src", 2)
    assert document["python"] == sys.executable
    assert document["eta_seconds"] is None
    assert STAMP.fullmatch(document["started"])
    assert STAMP.fullmatch(document["finished"])
    assert document["started"] < document["finished"]

    totals = document["totals"]
    assert (totals["jobs"], totals["passed"]) == (3, 3)
    assert sum(totals[state] for state in TOTALS - {"jobs"}) == totals["jobs"]
    results = document["results"]
    assert [result["name"] for result in results] == ["one.py", "three.py", "two.py"]
    for result in results:
        assert set(result) >= RESULT
        assert (result["state"], result["outcome"], result["exit_code"]) == ("passed", "ok", 0)
        assert (result["signal"], result["error"], result["attempts"], result["mode"]) == (None, None, 1, "cold")
        assert result["worker"] in (0, 1)
        assert result["seconds"] == result["total_seconds"] > 0
        assert document["started"] <= result["started"] <= document["finished"]
        assert result["stdout"] == f"python_output/logs/{result['name']}.out"
        assert result["stderr"] == f"python_output/logs/{result['name']}.err"
    seconds = [result["total_seconds"] for result in results]
    assert document["script_seconds"] == pytest.approx(sum(seconds), abs=1e-4)
    assert document["critical_path_seconds"] == pytest.approx(max(seconds), abs=1e-4)
    assert document["bound_seconds"] == pytest.approx(max(max(seconds), sum(seconds) / 2), abs=1e-4)
    assert document["wall_seconds"] >= document["bound_seconds"] - 1e-4
    assert document["concurrency"] == pytest.approx(sum(seconds) / document["wall_seconds"], rel=1e-3)

    assert workspace.log("one.py") == b"one\n"
    assert workspace.log("one.py", "err") == b""
    assert workspace.log("two.py") == bytes(range(256)) * 5
    assert workspace.log("two.py", "err") == b"\xff\xfe\r\n"
    assert done.results["three.py"]["outputs"] == ["python_output/files/three.py/made.bin"]

    archive = document["archive"]
    data = (workspace.path / "result.zip").read_bytes()
    assert (archive["path"], archive["sha256"]) == ("result.zip", hashlib.sha256(data).hexdigest())
    with zipfile.ZipFile(workspace.path / "result.zip") as packed:
        assert packed.testzip() is None
        names = packed.namelist()
        assert len(names) == archive["files"]
        assert names == ["manifest.json", *sorted(names[1:])]
        assert packed.read("logs/two.py.out") == bytes(range(256)) * 5
        assert packed.read("files/three.py/made.bin") == b"\0\xff" * 999
        assert {r["name"] for r in json.loads(packed.read("manifest.json"))["results"]} == set(done.results)
    assert "8 files" in workspace.run("verify", "result.zip").out

    left = {path.name for path in workspace.path.iterdir()}
    assert left == {"src", "python_output", "result.zip", ".buildrunner"}


def test_a_failure_is_exit_code_1_and_the_others_run(workspace: Any) -> None:
    workspace.scripts(bad="raise SystemExit('no luck')", good="print(1)")
    done = workspace.run("run", "src", code=1)
    assert "bad.py: exit code 1" in done.out
    assert "| no luck" in done.out
    assert "log: python_output/logs/bad.py.err" in done.out
    assert "alone: buildrunner run --no-zip src/bad.py" in done.out
    assert done.out.index("no luck") > done.out.index("1 passed")  # failures last, where they are seen
    again = workspace.json(code=1).document
    assert (again["state"], again["totals"]["failed"], again["totals"]["passed"]) == ("finished", 1, 1)
    assert workspace.run("verify", "result.zip").code == 0


def test_json_is_the_one_thing_on_stdout(workspace: Any) -> None:
    workspace.scripts(noisy="print('{}'); import sys; print('[]', file=sys.stderr)")
    done = workspace.json("-v")
    assert json.loads(done.out)["totals"]["passed"] == 1
    assert "1 script of src" in done.err
    assert sys.executable in done.err.splitlines()[0]


def test_words_after_two_dashes_reach_every_script(workspace: Any) -> None:
    text = "import json, sys; print(json.dumps(sys.argv[1:]))"
    workspace.scripts(a=text, b=text)
    words = ["-x", "--json", "--", "two words", "", "ü", os.fsdecode(b"\xff")]
    workspace.run("run", "src", "--", *words)
    for name in ("a.py", "b.py"):
        assert json.loads(workspace.log(name)) == words


def test_what_a_script_finds_in_its_environment(workspace: Any) -> None:
    text = (
        "import json, os, sys\n"
        "found = {k: v for k, v in os.environ.items() if k.startswith('BUILDRUNNER_')}\n"
        "found['empty'] = os.listdir(found['BUILDRUNNER_OUTPUT_DIR']) == []\n"
        "open(found['BUILDRUNNER_OUTPUT_DIR'] + '/mine', 'w').write(found['BUILDRUNNER_JOB_NAME'])\n"
        "print(json.dumps(found))\n"
    )
    workspace.scripts(a=text, b=text, c=text)
    done = workspace.json(
        "-j", "2", "--state", "record", env={"BUILDRUNNER_OUTPUT": "out", "BUILDRUNNER_NONSENSE": "1"}
    )
    seen = {name: json.loads(workspace.log(name, output="out")) for name in ("a.py", "b.py", "c.py")}
    for name, found in seen.items():
        assert set(found) == {
            "BUILDRUNNER_RUN_ID", "BUILDRUNNER_JOB_NAME", "BUILDRUNNER_ATTEMPT_ID", "BUILDRUNNER_ATTEMPT_NUMBER",
            "BUILDRUNNER_WORKER_ID", "BUILDRUNNER_PARALLEL", "BUILDRUNNER_OUTPUT_DIR", "empty",
        }  # fmt: skip
        assert found["empty"]
        assert found["BUILDRUNNER_RUN_ID"] == done.document["run"]
        assert found["BUILDRUNNER_JOB_NAME"] == name
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found["BUILDRUNNER_ATTEMPT_ID"])
        assert found["BUILDRUNNER_ATTEMPT_NUMBER"] == "1"
        assert found["BUILDRUNNER_WORKER_ID"] == str(done.results[name]["worker"])
        assert found["BUILDRUNNER_PARALLEL"] == "2"
        assert os.path.isabs(found["BUILDRUNNER_OUTPUT_DIR"])
        assert done.results[name]["outputs"] == [f"out/files/{name}/mine"]
    assert len({found["BUILDRUNNER_OUTPUT_DIR"] for found in seen.values()}) == 3
    assert len({found["BUILDRUNNER_ATTEMPT_ID"] for found in seen.values()}) == 3
    with zipfile.ZipFile(workspace.path / "result.zip") as packed:
        for name in seen:
            assert packed.read(f"files/{name}/mine") == name.encode()


def test_variables_stand_for_options_but_not_inside_a_script(workspace: Any) -> None:
    inner = workspace.path / "inner"
    inner.mkdir()
    (inner / "leaf.py").write_text("print('leaf')")
    workspace.scripts(
        nested=(
            "import json, os, subprocess, sys\n"
            "command = [sys.executable, '-m', 'buildrunner', 'run', 'inner', '--json', '--no-zip']\n"
            "command += ['-o', 'inner_output', '--state', 'inner_state']\n"
            "done = subprocess.run(command, env={**os.environ, 'BUILDRUNNER_JOBS': '7'}, capture_output=True)\n"
            "sys.stderr.buffer.write(done.stderr)\n"
            "print(json.dumps([os.environ.get('BUILDRUNNER_JOBS'), json.loads(done.stdout)['jobs']]))\n"
        )
    )
    outer = workspace.json(env={"BUILDRUNNER_JOBS": "7"})
    assert outer.document["jobs"] == 7
    assert json.loads(workspace.log("nested.py")) == [None, cpus()]
    assert workspace.json("--jobs", "3", env={"BUILDRUNNER_JOBS": "7"}).document["jobs"] == 3
    assert workspace.json("--workers", "auto").document["jobs"] == cpus()


WHERE = "import json, os, sys; print(json.dumps([sys.argv[0], os.getcwd(), sys.path[0]])); open('stray.txt', 'w')"


@pytest.mark.parametrize("cwd", ["invocation", "script", "scratch"])
def test_a_script_finds_itself_where_python_would_put_it(workspace: Any, cwd: str) -> None:
    script = workspace.script("where.py", WHERE)
    elsewhere = workspace.path / "elsewhere"
    elsewhere.mkdir()
    home, argument = {
        "invocation": (workspace.path, "src/where.py"),
        "script": (workspace.source, "where.py"),
        "scratch": (elsewhere, str(script)),
    }[cwd]
    alone = subprocess.run(
        [sys.executable, argument], cwd=home, env=workspace.env, stdout=subprocess.PIPE, check=True, text=True
    )
    (home / "stray.txt").unlink()

    done = workspace.run("run", "src", "--cwd", cwd)
    found = json.loads(workspace.log("where.py"))
    expected = json.loads(alone.stdout)
    if cwd == "scratch":
        own = workspace.path / "python_output" / "files" / "where.py"
        expected[1] = str(own)
        assert (own / "stray.txt").exists()
        assert "stray.txt" not in done.out
        with zipfile.ZipFile(workspace.path / "result.zip") as packed:
            assert "files/where.py/stray.txt" in packed.namelist()
    else:
        stray = {"invocation": "stray.txt", "script": "src/stray.txt"}[cwd]
        assert re.search(rf"not packaged.*: {stray};.*--cwd scratch", done.out)
    assert found == expected


@pytest.mark.parametrize(
    ("options", "variables", "expected"),
    [
        (["-j", "1"], {}, [str(cpus()), str(cpus())]),
        (["-j", "2"], {}, [str(max(1, cpus() // 2))] * 2),
        (["-j", "1"], {"OMP_NUM_THREADS": "5"}, ["5", str(cpus())]),
        (["--threads", "keep"], {}, [None, None]),
        (["--threads", "keep"], {"OMP_NUM_THREADS": "5"}, ["5", None]),
        (["--threads", "3"], {"OMP_NUM_THREADS": "5"}, ["3", "3"]),
    ],
)
def test_threads(workspace: Any, options: list[str], variables: dict[str, str], expected: list[str | None]) -> None:
    text = "import json, os; print(json.dumps([os.environ.get(n + '_NUM_THREADS') for n in ('OMP', 'OPENBLAS')]))"
    workspace.scripts(a=text, b=text)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        workspace.env.pop(name, None)
    workspace.run("run", "src", "--no-zip", *options, env=variables)
    assert json.loads(workspace.log("a.py")) == expected


def test_the_python_asked_for_runs_the_scripts(workspace: Any) -> None:
    wrapper = workspace.path / "my python"
    wrapper.write_text(f'#!/bin/sh\nWRAPPED=yes exec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    workspace.scripts(a="import os; print(os.environ['WRAPPED'])")
    done = workspace.json("--python", "./my python")
    assert done.document["python"] == str(wrapper)
    assert f"{wrapper} (--python)" in done.err
    assert workspace.log("a.py") == b"yes\n"
    missing = workspace.run("run", "src", "--python", "./no-python", code=2)
    assert "./no-python" in missing.err


def test_scripts_of_other_languages(workspace: Any) -> None:
    tools = workspace.path / "bin"
    tools.mkdir()
    present = [tool for tool in ("sh", "perl", "cat") if shutil.which(tool)]
    for tool in present:
        (tools / tool).symlink_to(str(shutil.which(tool)))
    workspace.script("plain.sh", 'echo "plain $1"\n')
    workspace.script("bang.sh", f"#!{tools}/cat\nshown as it is\n")
    workspace.script("env.sh", "#!/usr/bin/env -S sh -e\nfalse\necho not reached\n")
    workspace.script("tool", '#!/bin/sh\necho "tool $1"\n', mode=0o755)
    workspace.script("notes.txt", "no script\n")
    workspace.script("data", "no script either\n", mode=0o755)
    shutil.copy("/bin/true", workspace.source / "elf")
    workspace.script("absent.jl", 'println("hello")\n')
    workspace.script("bad-bang", "#!/no/such/interpreter\n", mode=0o755)
    if "perl" in present:
        workspace.script("hello.pl", 'print "perl $ARGV[0]\\n";\n')

    done = workspace.run("run", "src", "--json", "--", "word", code=1, env={"PATH": str(tools)})
    results = done.results
    expected = {"plain.sh", "bang.sh", "env.sh", "tool", "elf", "absent.jl", "bad-bang", "hello.pl"}
    assert set(results) == (expected if "perl" in present else expected - {"hello.pl"})
    assert workspace.log("plain.sh") == b"plain word\n"
    assert workspace.log("bang.sh").endswith(b"shown as it is\n")
    assert workspace.log("tool") == b"tool word\n"
    assert (results["elf"]["state"], results["elf"]["exit_code"]) == ("passed", 0)
    assert (results["env.sh"]["outcome"], workspace.log("env.sh")) == ("exited", b"")
    if "perl" in present:
        assert workspace.log("hello.pl") == b"perl word\n"
    for name, program in (("absent.jl", "julia"), ("bad-bang", "/no/such/interpreter")):
        assert (results[name]["state"], results[name]["outcome"]) == ("failed", "spawn_error")
        assert (results[name]["exit_code"], results[name]["signal"]) == (None, None)
        assert program in results[name]["error"]
        assert "not found" in results[name]["error"]
    assert workspace.run("verify", "result.zip").code == 0


def test_timeouts(workspace: Any) -> None:
    """The limit leaves every script ample time to get ready for the signal."""
    forever = "import time; time.sleep(60)"
    workspace.scripts(
        handles=f"import signal; signal.signal(signal.SIGTERM, lambda *_: exit(3))\nprint('ready')\n{forever}",
        ignores=f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready')\n{forever}",
        plain=f"print('ready')\n{forever}",
        stopped="import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        quick="print('ready')",
    )
    done = workspace.json("-j", "5", "--timeout", "2s", "--grace", "500ms", code=1)
    ended = {n.removesuffix(".py"): (r["outcome"], r["exit_code"], r["signal"]) for n, r in done.results.items()}
    assert ended == {
        "handles": ("timed_out", 3, None),
        "ignores": ("timed_out", None, 9),
        "plain": ("timed_out", None, 15),
        "stopped": ("timed_out", None, 15),
        "quick": ("ok", 0, None),
    }
    for name, result in done.results.items():
        if name != "quick.py":
            assert result["state"] == "failed"
            assert result["seconds"] >= 2.0
    assert done.results["ignores.py"]["seconds"] >= 2.5
    text = workspace.run("status").out
    assert "timed out, signal 9 (SIGKILL)" in text
    assert "timed out, exit code 3" in text


FLAKY = (
    "import os, sys; n = os.environ['BUILDRUNNER_ATTEMPT_NUMBER']\n"
    "print('try', n); print('words', n, file=sys.stderr)\n"
    "open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/of-' + n, 'w').close()\n"
)


def test_a_retry_that_passes(workspace: Any) -> None:
    workspace.scripts(flaky=FLAKY + "sys.exit(n == '1')", never=FLAKY + "sys.exit(4)", always="print(1)")
    done = workspace.json("--retries", "1", code=1)
    flaky, never = done.results["flaky.py"], done.results["never.py"]
    assert (flaky["state"], flaky["attempts"], flaky["exit_code"]) == ("passed", 2, 0)
    assert (never["state"], never["attempts"], never["exit_code"]) == ("failed", 2, 4)
    assert done.results["always.py"]["attempts"] == 1
    assert flaky["total_seconds"] > flaky["seconds"] > 0
    assert workspace.log("flaky.py") == b"try 2\n"
    assert workspace.log("flaky.py.1") == b"try 1\n"
    assert workspace.log("flaky.py.1", "err") == b"words 1\n"
    assert flaky["outputs"] == ["python_output/files/flaky.py/of-2"]
    assert os.listdir(workspace.path / "python_output/files/flaky.py") == ["of-2"]
    assert "trying again" in done.err

    workspace.scripts(flaky="print('calm')", never="print('mended')")
    after = workspace.json()
    assert after.results["never.py"]["attempts"] == 1
    assert sorted(os.listdir(workspace.path / "python_output/logs")) == [
        f"{name}.py.{suffix}" for name in ("always", "flaky", "never") for suffix in ("err", "out")
    ]


@pytest.mark.parametrize(("options", "ran"), [(["-x"], "ab"), (["--max-fail", "2"], "abc"), ([], "abcde")])
def test_stopping_after_failures(workspace: Any, options: list[str], ran: str) -> None:
    workspace.scripts(a="pass", b="exit(1)", c="exit(1)", d="pass", e="pass")
    done = workspace.json("-j", "1", "--order", "name", *options, code=1)
    states = {name[0]: result["state"] for name, result in done.results.items()}
    for name in "abcde":
        assert states[name] == ("skipped" if name not in ran else "failed" if name in "bc" else "passed")
    for result in done.results.values():
        if result["state"] == "skipped":
            assert (result["attempts"], result["outcome"], result["exit_code"]) == (0, None, None)
            assert (result["stdout"], result["started"]) == (None, None)
            assert "failed" in result["error"]
    assert done.document["state"] == "finished"
    assert done.document["totals"]["skipped"] == 5 - len(ran)


def test_what_runs_is_finished_when_nothing_new_starts(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(
        a=workspace.note("start") + workspace.until("gate") + workspace.note("end"),
        b=workspace.until("fail") + "exit(1)",
        c="pass",
    )
    run = workspace.start("run", "src", "--json", "-j", "2", "--order", "name", "-x")
    wait_until(lambda: workspace.notes("start"))
    workspace.open("fail")
    wait_until(lambda: b"stopping" in run.stderr.readline())
    workspace.open("gate")
    done = workspace.finish(run, code=1)
    assert [r["state"] for r in done.document["results"]] == ["passed", "failed", "skipped"]
    assert len(workspace.notes("end")) == 1


def test_the_order_of_starting(workspace: Any) -> None:
    started = workspace.note("start")
    workspace.scripts(a=started, b=started + "time = __import__('time').sleep(0.4)", c=started, d=started)

    def order(*options: str) -> list[str]:
        (workspace.path / "witness").unlink(missing_ok=True)
        done = workspace.json("-j", "1", "--no-zip", *options)
        stamps = [r["started"] for r in sorted(done.results.values(), key=lambda r: str(r["started"]))]
        assert stamps == sorted(stamps)
        names = [name for name, _, _ in workspace.notes("start")]
        took.update({name: result["seconds"] for name, result in done.results.items()})
        return names

    took: dict[str, float] = {}
    assert order("--order", "name") == ["a.py", "b.py", "c.py", "d.py"]
    longest_first = sorted(took, key=lambda name: -took[name])
    assert order() == longest_first
    assert sorted(order("--order", "random")) == ["a.py", "b.py", "c.py", "d.py"]
    assert order("--order", "shortest")[-1] == "b.py"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["a.py", "b.py"]),
        (["-r"], ["a.py", "b.py", "sub/a.py", "sub/deep/c.py"]),
        (["-r", "--include", "a*"], ["a.py", "sub/a.py"]),
        (["-r", "--include", "sub/*"], ["sub/a.py", "sub/deep/c.py"]),
        (["-r", "--exclude", "a.py"], ["b.py", "sub/deep/c.py"]),
        (["--include", "*.py", "--exclude", "b*"], ["a.py"]),
        (["--include", "a.py", "--include", "b.py"], ["a.py", "b.py"]),
    ],
)
def test_choosing_scripts(workspace: Any, options: list[str], names: list[str]) -> None:
    for name in ("a.py", "b.py", "sub/a.py", "sub/deep/c.py", "__init__.py", "conftest.py", ".hidden.py", ".git/x.py"):
        workspace.script(name, "print(1)")
    workspace.script("venv/pyvenv.cfg", "")
    workspace.script("venv/bin/activate.py", "print(1)")
    done = workspace.json("--no-zip", *options)
    assert [result["name"] for result in done.document["results"]] == names
    assert done.document["archive"] is None
    assert not (workspace.path / "result.zip").exists()


def test_several_targets_and_a_single_script(workspace: Any) -> None:
    workspace.script("a.py", "print('a of src')")
    other = workspace.path / "other"
    other.mkdir()
    (other / "a.py").write_text("print('a of other')")
    (workspace.path / "lone.py").write_text("print('lone')")
    done = workspace.run("run", "src", "other/", "./lone.py", "--json")
    assert set(done.results) == {"src/a.py", "other/a.py", "./lone.py"}
    for result in done.results.values():
        assert result["state"] == "passed"
        assert (workspace.path / result["stdout"]).is_file()
    assert (workspace.path / done.results["other/a.py"]["stdout"]).read_bytes() == b"a of other\n"
    single = workspace.run("run", "lone.py", "--json")
    assert [r["name"] for r in single.document["results"]] == ["lone.py"]
    twice = workspace.run("run", "lone.py", "lone.py", code=2)
    assert "lone.py" in twice.err


def test_quiet_says_only_what_failed(workspace: Any) -> None:
    workspace.scripts(a="print(1)")
    assert workspace.run("run", "src", "-q").stdout == b""
    assert workspace.run("run", "src", "-q").stderr == b""
    workspace.scripts(b="raise SystemExit('the reason')")
    done = workspace.run("run", "src", "-q", code=1)
    assert (done.stderr, "a.py" in done.out) == (b"", False)
    assert "the reason" in done.out


def test_verbose_shows_every_script(workspace: Any) -> None:
    for number in range(25):
        workspace.script(f"s{number:02}.sh", ":")
    done = workspace.run("run", "src")
    assert len(re.findall(r"s\d\d\.sh", done.out)) == 20
    assert "-v" in done.out
    done = workspace.run("run", "src", "-v")
    assert len(set(re.findall(r"s\d\d\.sh", done.out))) == 25
    assert "packaging result.zip" in done.err


def test_colour_and_width(workspace: Any) -> None:
    name = "long_" * 20 + ".py"
    workspace.script(name, "raise SystemExit('sad')")
    plain = workspace.run("run", "src", code=1)
    assert b"\x1b" not in plain.stdout + plain.stderr
    assert b"\r" not in plain.stdout + plain.stderr
    forced = workspace.run("run", "src", code=1, env={"FORCE_COLOR": "1"})
    assert b"\x1b[" in forced.stdout
    colour = re.compile(rb"\x1b\[[0-9;]*\b(3[0-7]|9[0-7])m")
    assert colour.search(forced.stdout)
    assert not colour.search(workspace.run("status", env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).stdout)
    narrow = workspace.run("status", env={"COLUMNS": "60"}).out
    assert max(len(line) for line in narrow.splitlines() if "──" in line) <= 60
    for nonsense in ("0", "1", "-3", "wide"):
        workspace.run("status", env={"COLUMNS": nonsense})
    assert b"\x1b" not in workspace.run("status", env={"TERM": "dumb"}).stdout


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_nobody_reads_what_it_says(workspace: Any, stream: str) -> None:
    """`buildrunner run src | head -1`: the run goes on, quietly, and ends as it would have."""
    workspace.scripts(a="print(1)", b=workspace.note("end"))
    reader, writer = os.pipe()
    os.close(reader)
    run = workspace.start("run", "src", **{stream: writer})
    os.close(writer)
    done = workspace.finish(run)
    assert "Broken" not in done.err
    assert workspace.json().document["state"] == "finished"
    assert len(workspace.notes("end")) == 2
    assert "finished" in workspace.run("history").out
    assert (workspace.path / "result.zip").exists()
    assert done.code == 0


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(workspace: Any, redirection: str) -> None:
    workspace.scripts(a="print(1)", b="print(2)")
    command = f'"{sys.executable}" -m buildrunner run src {redirection}'
    run = subprocess.run(["sh", "-c", command], cwd=workspace.path, env=workspace.env, capture_output=True, check=False)
    assert b"Traceback" not in run.stderr
    assert run.returncode == 0
    assert workspace.log("b.py") == b"2\n"
    assert workspace.run("verify", "result.zip").code == 0


def test_a_terminal_that_knows_only_ascii(workspace: Any) -> None:
    workspace.script("é.py", "raise SystemExit('…')")
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    assert "1 of 1 script did not pass" in workspace.run("run", "src", code=1, env=ascii_only).out
    workspace.run("status", env=ascii_only)
    workspace.run("history", env=ascii_only)


def test_no_terminal_gets_a_scripts_escapes(workspace: Any) -> None:
    evil = "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202e after"
    workspace.scripts(evil=f"import sys; print('{evil}', file=sys.stderr); sys.exit(1)")
    for env in ({}, {"FORCE_COLOR": "1"}):
        done = workspace.run("run", "src", code=1, env=env)
        for raw in ("\x1b]0", "\x07", "\x1b[2J", "\x9b", "\u202e"):
            assert raw not in done.stdout.decode() + done.err
        assert "\\x1b]0;owned\\x07\\x1b[2J" in done.out
        assert b"\x1b]0;owned" in workspace.log("evil.py", "err")


def test_a_second_run_replaces_what_the_first_left_and_nothing_else(workspace: Any) -> None:
    leaves = "import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/{}', 'w').write('x')"
    workspace.scripts(a=leaves.format("old"), gone=leaves.format("file"))
    workspace.run("run", "src")
    output = workspace.path / "python_output"
    (output / "mine.txt").write_text("a stranger's")
    (output / "logs" / "mine.out").write_text("a stranger's")
    (workspace.source / "gone.py").unlink()
    workspace.scripts(a=leaves.format("new"))
    workspace.run("run", "src")
    found = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()} - {
        ".buildrunner-files",
        ".buildrunner-lock",
    }
    assert found == {"mine.txt", "logs/mine.out", "logs/a.py.out", "logs/a.py.err", "files/a.py/new"}


def test_a_link_in_place_of_its_output_folder_leads_nowhere(workspace: Any) -> None:
    """A script that swaps its folder for a link: what lies behind it is no output, and is still there later."""
    precious = workspace.path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    workspace.scripts(
        a=f"import os; d = os.environ['BUILDRUNNER_OUTPUT_DIR']; os.rmdir(d); os.symlink({str(precious)!r}, d)"
    )
    first = workspace.json(code=None)
    with zipfile.ZipFile(workspace.path / "result.zip") as packed:
        assert not [name for name in packed.namelist() if "thesis" in name]
    assert first.results["a.py"]["outputs"] == []
    workspace.json(code=None)
    workspace.json(code=None)
    assert (precious / "thesis.txt").read_text() == "years of work"


LIBRARY = """
import json
from buildrunner import BuildServer

class Ear:
    def __init__(self):
        self.heard = []
    def on_event(self, event):
        self.heard.append(type(event).__name__)

ear = Ear()
summary = BuildServer("src", output_dir="out", workers=2, listeners=[ear], zip="lib.zip", retries=1).run()
document = summary.to_json()
failed = document["totals"]["failed"]
print(json.dumps([ear.heard, summary.passed, summary.exit_code, failed, len(document["results"])]))
"""


def test_use_as_a_library(workspace: Any) -> None:
    workspace.scripts(a="print('a')", b="exit(1)")
    done = workspace.finish(workspace.start_python("-c", LIBRARY), code=0)
    heard, passed, code, failed, results = json.loads(done.out)
    assert heard[0] == "RunStarted"
    assert heard.count("JobEnded") == 3
    assert heard[-1] == "Packaging"
    assert (passed, code, failed, results) == (False, 1, 1, 2)
    assert done.stderr == b""
    assert workspace.run("verify", "lib.zip").code == 0
    assert Path(workspace.path, "out/logs/a.py.out").read_text() == "a\n"


def test_help_names_the_commands(workspace: Any) -> None:
    text = workspace.run("--help").out
    for verb in ("run", "resume", "status", "history", "logs", "package", "verify"):
        assert re.search(rf"^ +{verb} ", text, flags=re.MULTILINE)
        assert "--help" in workspace.run(verb, "--help").out
    assert re.search(r"\d+\.\d+", workspace.run("--version").out)
