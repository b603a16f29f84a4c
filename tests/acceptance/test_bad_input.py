"""What cannot be meant gets a sentence and an exit code; odd names and broken scripts hurt only themselves."""

import ctypes
import fcntl
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24


def refused(done: Any, *words: str, code: int = 2) -> None:
    """The program said what is wrong with these words, on stderr alone, and in few lines."""
    assert (done.code, done.stdout) == (code, b""), done.err
    for word in words:
        assert word in done.err
    assert len(done.err.splitlines()) <= 5


def test_nothing_to_run(workspace: Any) -> None:
    workspace.script("notes.txt", "no script")
    workspace.script("below/a.py", "pass")
    refused(workspace.run("run", "src", code=5), "no scripts in src", "*.py", "*.sh", "#!", "-r", code=5)
    refused(workspace.run("run", "src", "-r", "--include", "c*", code=5), "c*", code=5)
    assert not (workspace.path / "python_output").exists()


def test_targets_that_are_none(workspace: Any) -> None:
    workspace.script("notes.txt", "no script")
    os.mkfifo(workspace.source / "pipe.py")
    refused(workspace.run("run", "nowhere", code=2), "nowhere")
    refused(workspace.run("run", "src", "nowhere/a.py", code=2), "nowhere/a.py")
    refused(workspace.run("run", "src/notes.txt", code=2), "src/notes.txt", "not a script")
    refused(workspace.run("run", "src/pipe.py", code=2), "src/pipe.py")
    refused(workspace.run("run", "", code=2))
    refused(workspace.run("run", "no\x1b[31mwhere\n", code=2), "no\\x1b[31mwhere\\n")
    refused(workspace.run("run", os.fsdecode(b"no\xffwhere"), code=2), "no\\xffwhere")
    assert workspace.run("run", code=2).stdout == b""
    assert not (workspace.path / ".buildrunner").exists()


def bound_by_modes() -> None:
    """In the child, before it becomes the program: file modes are to hold for root as well."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


def test_what_cannot_be_read_or_written(workspace: Any) -> None:
    def run(*arguments: str, code: int | None) -> Any:
        try:
            return workspace.run(*arguments, code=code, preexec_fn=bound_by_modes)
        except subprocess.SubprocessError:
            pytest.skip("this system does not let go of the rights that override file modes")

    workspace.script("a.py", "print('a')")
    workspace.script("secret.py", "print('secret')", mode=0o200)
    done = run("run", "src", "--json", "-q", code=1)
    assert [r["state"] for r in done.document["results"]] == ["passed", "failed"]
    assert b"Permission denied" in workspace.log("secret.py", "err")
    refused(run("run", "src/secret.py", code=2), "src/secret.py", "permission denied")

    workspace.source.chmod(0o300)
    refused(run("run", "src", code=2), "src", "Permission denied")
    workspace.source.chmod(0o755)
    closed = workspace.path / "closed"
    closed.mkdir(mode=0o555)
    refused(run("run", "src", "-o", "closed/out", code=2), "closed/out", "-o")
    refused(run("run", "src", "--state", "closed/state", code=2), "closed/state", "--state")
    refused(run("run", "src", "--zip", "closed/x.zip", code=2), "closed/x.zip", "--zip")
    assert os.listdir(closed) == []

    ledger = workspace.path / ".buildrunner" / "ledger.db"
    ledger.chmod(0o000)
    assert "ledger.db" in run("status", code=3).err
    ledger.chmod(0o644)
    for place in (workspace.path / ".buildrunner", workspace.path / "python_output"):
        place.chmod(0o555)
        stopped = run("run", "src", code=None)
        assert (stopped.code in (2, 3), place.name in stopped.err) == (True, True), stopped.err
        place.chmod(0o755)


@pytest.mark.parametrize("output", ["src", "src/out", "./src/../src/x/y", "link/out"])
def test_the_output_folder_must_lie_outside_the_source_folder(workspace: Any, output: str) -> None:
    workspace.scripts(a="pass")
    (workspace.path / "link").symlink_to("src")
    refused(workspace.run("run", "src", "-o", output, code=2), output, "src", "-o")
    assert os.listdir(workspace.source) == ["a.py"]


def test_a_zip_that_cannot_be_written_is_refused_before_anything_runs(workspace: Any) -> None:
    workspace.scripts(a=workspace.note("ran"))
    (workspace.path / "folder").mkdir()
    (workspace.path / "file").touch()
    for place in ("missing/x.zip", "folder", "file/x.zip", "folder/"):
        refused(workspace.run("run", "src", "--zip", place, code=2), place.rstrip("/"), "--zip")
    assert workspace.notes("ran") == []


def test_output_and_state_that_are_files(workspace: Any) -> None:
    workspace.scripts(a=workspace.note("ran"))
    (workspace.path / "file").write_text("precious")
    refused(workspace.run("run", "src", "-o", "file", code=2), "file", "-o")
    refused(workspace.run("run", "src", "--state", "file", code=2), "file", "--state")
    assert (workspace.path / "file").read_text() == "precious"
    (workspace.path / ".buildrunner").mkdir(exist_ok=True)
    (workspace.path / ".buildrunner" / "ledger.db").write_bytes(b"this is no database" * 100)
    for verb in ("run", "status", "resume"):
        done = workspace.run(verb, *(["src"] if verb == "run" else []), code=3)
        assert "ledger.db" in done.err
    assert workspace.notes("ran") == []


def test_s57_a_second_run_names_the_first(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    first = workspace.start("run", "src")
    wait_until(lambda: workspace.notes("start"))
    refused(workspace.run("run", "src", code=2), str(first.pid), "--state")
    refused(workspace.run("resume", code=2), str(first.pid))
    refused(workspace.run("package", code=2), "still going on")
    other_record = workspace.run("run", "src", "--state", "another", code=2)
    refused(other_record, str(first.pid), "python_output", "-o")
    workspace.scripts(b="print('elsewhere')")
    apart = workspace.run("run", "src/b.py", "--state", "another", "-o", "elsewhere", "--zip", "other.zip", "--json")
    assert apart.document["totals"]["passed"] == 1
    workspace.open("gate")
    workspace.finish(first, code=0)
    assert len(workspace.notes("start")) == 1
    workspace.run("run", "src")


def test_a_dead_runs_lock_file_is_in_nobodys_way(workspace: Any) -> None:
    workspace.scripts(a="pass")
    workspace.run("run", "src")
    lock = workspace.path / ".buildrunner" / "lock"
    assert json.loads(lock.read_text())["pid"]
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused(workspace.run("run", "src", code=2), "in use by")
    lock.write_text("nonsense")
    workspace.run("run", "src")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-j", "-1"], ["-1"]),
        (["-j", "0"], ["0"]),
        (["-j", "1000000"], ["1000000"]),
        (["-j", "abc"], ["abc", "auto"]),
        (["-j", ""], []),
        (["-j", "1.5"], ["1.5"]),
        (["--jbs", "2"], ["--jbs", "--jobs"]),
        (["--order", "fastest"], ["fastest", "longest"]),
        (["--timeout", "soon"], ["soon", "90s"]),
        (["--timeout", "0"], ["0"]),
        (["--timeout", "-5s"], ["-5s"]),
        (["--timeout", "nan"], ["nan"]),
        (["--grace", "1y"], ["1y"]),
        (["--retries", "-1"], ["-1"]),
        (["--retries", "many"], ["many"]),
        (["--max-fail", "0"], ["0"]),
        (["--threads", "none"], ["none", "keep"]),
        (["--threads", "0"], ["0"]),
        (["--cwd", "home"], ["home", "scratch"]),
        (["--mode", "boiling"], ["boiling", "cold"]),
    ],
)
def test_option_values_that_make_no_sense(workspace: Any, options: list[str], words: list[str]) -> None:
    workspace.scripts(a=workspace.note("ran"))
    refused(workspace.run("run", "src", *options, code=2), *words)
    assert workspace.notes("ran") == []


def test_an_unknown_command_suggests_the_nearest(workspace: Any) -> None:
    refused(workspace.run("stauts", code=2), "stauts", "status")


def test_a_bad_value_in_the_environment_is_named(workspace: Any) -> None:
    workspace.scripts(a="pass")
    refused(workspace.run("run", "src", code=2, env={"BUILDRUNNER_JOBS": "lots"}), "lots")


def test_scripts_that_are_no_python(workspace: Any) -> None:
    workspace.script("syntax.py", "def broken(:\n    pass\n")
    workspace.script("nul.py", b"print(1)\0print(2)\n")
    workspace.script("latin.py", b"# \xe9\nprint('no coding given')\n")
    workspace.script("cookie.py", b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))\n")
    workspace.script("bom.py", b"\xef\xbb\xbfprint('bom')\r\n")
    workspace.script("empty.py", b"")
    workspace.script("random.py", "import json; print('mine')")
    done = workspace.run("run", "src", code=1)
    assert "syntax.py: exit code 1" in done.out
    assert "SyntaxError" in done.out
    results = workspace.run("status", "--json").results
    states = {name: result["state"] for name, result in results.items()}
    assert states.pop("nul.py") == ("passed" if sys.version_info < (3, 11, 4) else "failed")
    assert states == {
        "syntax.py": "failed", "latin.py": "failed", "cookie.py": "passed", "bom.py": "passed",
        "empty.py": "passed", "random.py": "passed",
    }  # fmt: skip
    assert workspace.log("cookie.py") == b"'\\xe9'\n"
    assert workspace.log("bom.py") == b"bom\n"


ODD_NAMES = [
    b"two words.py",
    b" blanks .py",
    b"new\nline.py",
    b"-dash.py",
    b"--json.py",
    b"not\xffutf8.py",
    b"esc\x1b[31m.py",
    b"quo'te\"s$(x)`y`.py",
    b"per%41cent.py",
    b"back\\slash:*?<>|.py",
    "ünï.py".encode(),
    "u\u0308.py".encode(),
    "\u00fc.py".encode(),
    b"Case.py",
    b"case.py",
    b"x" * 252 + b".py",
    b"x" * 251 + b"y.py",
    b"=cmd().py",
    b"[red]markup.py",
    b"a.1.py",
    b"a.py",
]


def test_names_of_any_bytes(workspace: Any) -> None:
    text = (
        "import os, sys\n"
        "sys.stdout.buffer.write(os.environb[b'BUILDRUNNER_JOB_NAME'])\n"
        "open(os.environb[b'BUILDRUNNER_OUTPUT_DIR'] + b'/not\\xff\\nutf8', 'wb').write(b'made')\n"
        "sys.exit(sys.argv[0] != 'src/' + os.environ['BUILDRUNNER_JOB_NAME'])\n"
    )
    for name in ODD_NAMES:
        workspace.script(name, text)
    done = workspace.json("--retries", "1")
    results = done.results
    assert {os.fsencode(name) for name in results} == set(ODD_NAMES)
    assert {result["state"] for result in results.values()} == {"passed"}
    assert {result["attempts"] for result in results.values()} == {1}
    for name, result in results.items():
        assert (workspace.path / result["stdout"]).read_bytes() == os.fsencode(name)
        [output] = result["outputs"]
        assert (workspace.path / output).read_bytes() == b"made"
    folded = [result["stdout"].casefold() for result in results.values()]
    assert len(set(folded)) == len(folded)
    for raw in ("\x1b", "\udcff"):
        assert raw not in done.err
    assert "not\\xffutf8.py: ok" in done.err
    assert "new\\nline.py: ok" in done.err

    assert "files, all as packaged" in workspace.run("verify", "result.zip").out
    with zipfile.ZipFile(workspace.path / "result.zip") as packed:
        packed.testzip()
        for entry in packed.namelist():
            assert entry.isprintable()
        manifest = json.loads(packed.read("manifest.json"))
        assert {os.fsencode(row["name"]) for row in manifest["results"]} == set(ODD_NAMES)
        for row in manifest["results"]:
            assert packed.read(row["stdout"]) == os.fsencode(row["name"])

    for name in (b"new\nline.py", b"not\xffutf8.py", b"x" * 252 + b".py", b"case.py"):
        assert workspace.run("logs", os.fsdecode(name), "--stdout").stdout == name
    for text in (workspace.run("status", "-v").out, workspace.run("history").out):
        assert "\x1b" not in text
        assert "\udcff" not in text
    assert "[red]markup.py" in workspace.run("status", "-v").out


def test_failures_with_odd_names_are_shown_safely(workspace: Any) -> None:
    for name in (b"new\nline.py", b"not\xffutf8.py", b"esc\x1b[31m.py", b"-dash.py"):
        workspace.script(name, "raise SystemExit('sad')")
    done = workspace.run("run", "src", code=1)
    assert "\x1b" not in done.out + done.err
    assert "new\\nline.py: exit code 1" in done.out
    commands = [line.split("alone: ")[1] for line in done.out.splitlines() if "alone: " in line]
    assert len(commands) == 4
    for command in commands:
        shell = command.replace("buildrunner", f"{sys.executable} -m buildrunner", 1)
        alone = subprocess.run(
            ["bash", "-c", shell + " --json"], cwd=workspace.path, env=workspace.env, capture_output=True, check=False
        )
        assert alone.returncode == 1, alone.stderr
        [result] = json.loads(alone.stdout)["results"]
        assert result["outcome"] == "exited"


def test_names_that_look_like_each_others_logs(workspace: Any) -> None:
    for name in ("a", "a.out", "a.err", "a.1", "a.1.out", "a.out.out", "A"):
        workspace.script(
            name,
            '#!/bin/sh\nprintf %s "$BUILDRUNNER_JOB_NAME"\necho made > "$BUILDRUNNER_OUTPUT_DIR/it"\n'
            '[ "$BUILDRUNNER_ATTEMPT_NUMBER" = 2 ]\n',
            mode=0o755,
        )
    for _ in range(2):
        done = workspace.json("--retries", "1")
        assert len({result["stdout"] for result in done.results.values()}) == 7
        for name, result in done.results.items():
            assert (result["state"], result["attempts"]) == ("passed", 2)
            assert (workspace.path / result["stdout"]).read_bytes() == name.encode()
            assert len(result["outputs"]) == 1
        workspace.run("verify", "result.zip")
    for name in ("a", "a.1", "A"):
        assert workspace.run("logs", name, "--attempt", "1").stdout == name.encode()
    assert len(list(Path(workspace.path, "python_output", "logs").iterdir())) == 7 * 2 * 2
