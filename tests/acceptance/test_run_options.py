"""The options of `buildrunner run`: where and how scripts run, which, in what order, and when no more start."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from typing import Any

import pytest

from buildrunner.machine import cpus

pytestmark = pytest.mark.acceptance

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


def test_s10_s28_timeouts(workspace: Any) -> None:
    """The limit leaves every script ample time to get ready for the signal: a shell needs a millisecond or two."""
    forever = "while :; do sleep 0.1; done"
    scripts = {
        "handles": f"trap 'exit 3' TERM; echo ready; {forever}",
        "ignores": f"trap '' TERM; echo ready; {forever}",
        "plain": f"echo ready; {forever}",
        "stopped": "kill -STOP $$",
        "quick": "echo ready",
    }
    for name, text in scripts.items():
        workspace.script(name + ".sh", text)
    done = workspace.json("-j", "5", "--timeout", "2s", "--grace", "500ms", code=1)
    ended = {n.removesuffix(".sh"): (r["outcome"], r["exit_code"], r["signal"]) for n, r in done.results.items()}
    assert ended == {
        "handles": ("timed_out", 3, None),
        "ignores": ("timed_out", None, 9),
        "plain": ("timed_out", None, 15),
        "stopped": ("timed_out", None, 15),
        "quick": ("ok", 0, None),
    }
    for name, result in done.results.items():
        if name != "quick.sh":
            assert result["state"] == "failed"
            assert result["seconds"] >= 2.0
    assert done.results["ignores.sh"]["seconds"] >= 2.5
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
