"""`buildrunner run`, as a user and as a program that reads its JSON would see it."""

import hashlib
import json
import os
import re
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
        assert (result["signal"], result["error"], result["attempts"], result["mode"]) == (None, None, 1, "warm")
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
    assert heard[-3:] == ["Packaging", "Packaged", "RunEnded"]
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


def test_the_command_that_runs_one_again_says_sizes_as_a_user_would(workspace: Any) -> None:
    workspace.scripts(a="raise SystemExit(1)")
    done = workspace.run("run", "src", "--memory", "150M", "--max-output", "10000", "--timeout", "90s", code=1)
    assert "alone: buildrunner run --no-zip --timeout=90s --memory=150M --max-output=10000 src/a.py" in done.out
