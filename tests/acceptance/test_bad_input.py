"""What cannot be meant gets a sentence and an exit code; odd names and broken scripts hurt only themselves."""

import ctypes
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from buildrunner.errors import UsageError
from buildrunner.server import BuildServer

pytestmark = pytest.mark.acceptance

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24


def refused(done: Any, *words: str, code: int = 2) -> None:
    """The program said what is wrong with these words, on stderr alone, and in few lines."""
    assert (done.code, done.stdout) == (code, b""), done.err
    for word in words:
        assert word in done.err
    assert len(done.err.splitlines()) <= 5


def test_s38_nothing_to_run(workspace: Any) -> None:
    workspace.script("notes.txt", "no script")
    workspace.script("below/a.py", "pass")
    for verb in (["run"], ["run", "-n"], ["plan"], ["bench"]):
        refused(workspace.run(*verb, "src", code=5), "no scripts in src", "*.py", "*.sh", "#!", "-r", code=5)
    refused(workspace.run("run", "src", "-r", "--include", "c*", code=5), "c*", code=5)
    (workspace.path / "empty").mkdir()
    refused(workspace.run("run", "empty", "--json", code=5), "no scripts in empty", code=5)
    assert sorted(os.listdir(workspace.path)) == ["empty", "src"]


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


def test_s47_what_cannot_be_read_or_written(workspace: Any) -> None:
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
    assert done.results["secret.py"]["error"].startswith("missing: its script was not there, or not to be read")
    assert run("run", "src", "-q", code=1).out.count("secret.py: exit code 2") == 1
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


SOURCES: dict[str, bytes] = {
    "syntax.py": b"def broken(:\n    pass\n",
    "tabs.py": b"if True:\n\tprint(1)\n        print(2)\n",
    "nul.py": b"print(1)\0print(2)\n",
    "latin.py": b"# \xe9\nprint('no coding given')\n",
    "cookie.py": b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))\n",
    "cookie_in_line_2.py": b"#!/usr/bin/env python3\n# vim: set fileencoding=cp1252 :\nprint(ascii('\x80'))\n",
    "no_such_cookie.py": b"# coding: klingon\nprint(1)\n",
    "bom.py": b"\xef\xbb\xbfprint('bom')\r\n",
    "bom_and_cookie.py": b"\xef\xbb\xbf# coding: latin-1\nprint(1)\n",
    "crlf.py": b'text = """a\r\nb"""\r\nif text:\r\n    print(ascii(text))\r\n',
    "cr.py": b"print(1)\rprint(2)\r",
    "utf16.py": "print(1)\n".encode("utf-16"),
    "empty.py": b"",
    "no_line_end.py": b"print('end')",
    "form_feed.py": b"\x0cprint(1)\x1a\n",
}


def by_hand(workspace: Any, name: str, *, env: dict[str, str] | None = None) -> tuple[int, bytes, bytes]:
    """What `python src/NAME` comes to."""
    done = subprocess.run(
        [sys.executable, f"src/{name}"],
        cwd=workspace.path, env={**workspace.env, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_s39_s40_a_source_is_read_as_python_reads_it(workspace: Any) -> None:
    """Whatever is in the file: the ending and every byte said are those of `python src/NAME`, and nobody else's."""
    for name, text in SOURCES.items():
        workspace.script(name, text)
    done = workspace.run("run", "src", code=1)
    assert "syntax.py: exit code 1" in done.out
    assert "SyntaxError" in done.out
    results = workspace.run("status", "--json").results
    assert set(results) == set(SOURCES)
    for name, result in results.items():
        assert result["outcome"] in ("ok", "exited")
        ran = (result["exit_code"], workspace.log(name), workspace.log(name, "err"))
        assert ran == by_hand(workspace, name), name
    states = {name: result["state"] for name, result in results.items()}
    assert states.pop("nul.py") == ("passed" if sys.version_info < (3, 11, 4) else "failed")
    passed = {name for name, state in states.items() if state == "passed"}
    assert passed >= {"cookie.py", "cookie_in_line_2.py", "bom.py", "crlf.py", "empty.py", "no_line_end.py"}
    assert not passed & {"syntax.py", "tabs.py", "latin.py", "no_such_cookie.py", "bom_and_cookie.py", "utf16.py"}
    assert workspace.log("cookie.py") == b"'\\xe9'\n"
    assert workspace.log("crlf.py") == b"'a\\nb'\n"


STANDARD = ("random", "json", "os", "signal", "select", "marshal", "click", "sqlite3", "hashlib", "multiprocessing")


def test_s49_scripts_named_like_modules_are_nobodys_modules_but_their_neighbours(workspace: Any) -> None:
    """Ours never imports them, also when the program is started beside them; neighbours do as they would by hand."""
    for name in STANDARD:
        workspace.script(f"{name}.py", f"print('this is {name}.py')\n")
    workspace.script("uses.py", "import random, json\nprint(random.__file__, hasattr(json, 'dumps'))\n")
    workspace.script("alone.py", "import sys; print(sys.path[0])\n")
    results = workspace.json("-j", "2").results
    assert {result["state"] for result in results.values()} == {"passed"}
    for name in results:
        hand = by_hand(workspace, name)
        assert (0, workspace.log(name), workspace.log(name, "err")) == hand
    assert workspace.log("uses.py").startswith(b"this is random.py\nthis is json.py\n")

    beside = {"cwd": workspace.source}
    done = workspace.run("run", ".", "--json", "-o", "../out", "--state", "../state", "--zip", "../x.zip", **beside)
    assert done.document["totals"]["passed"] == len(STANDARD) + 2
    assert "this is" not in done.out + done.err
    for verb in (["status"], ["history"], ["logs", "random.py"], ["why", "random.py"], ["ledger", "check"]):
        said = workspace.run(*verb, "--state", "../state", **beside)
        assert said.out.count("this is") == (1 if verb[0] == "logs" else 0)
    workspace.run("verify", "../x.zip", **beside)


def test_s50_times_before_any_zip_knows(workspace: Any) -> None:
    """Scripts and outputs of 1970, of before, and of far ahead."""
    text = (
        "import os, sys\n"
        "os.chdir(os.environ['BUILDRUNNER_OUTPUT_DIR'])\n"
        "for n, when in enumerate((0, 1, -86400, 2**33)):\n"
        "    open(f'{n}', 'w').close(); os.utime(f'{n}', (when, when))\n"
        "os.utime('.', (0, 0)); print('made')\n"
    )
    for number, when in enumerate((0, 1, -86_400, 2**33)):
        os.utime(workspace.script(f"s{number}.py", text), (when, when))
    os.utime(workspace.source, (0, 0))
    zips = []
    for _ in range(2):
        done = workspace.json("--junitxml", "j.xml", "--events", "e.jsonl")
        assert [r["state"] for r in done.document["results"]] == ["passed"] * 4
        assert [len(r["outputs"]) for r in done.document["results"]] == [4] * 4
        assert "changed" not in done.err
        workspace.run("verify", "result.zip")
        zips.append((workspace.path / "result.zip").read_bytes())
    assert zips[0] == zips[1]
    with zipfile.ZipFile(workspace.path / "result.zip") as packed:
        assert {entry.date_time[0] for entry in packed.infolist()} == {1980}
        assert packed.testzip() is None


def test_s43_s44_links_pipes_and_folders_that_look_like_scripts(workspace: Any) -> None:
    """Links to files are scripts wherever they lead, linked folders are not entered; what is passed over is said."""
    workspace.scripts(a="print('a')")
    outside = workspace.path / "outside"
    outside.mkdir()
    (outside / "far.py").write_text("import sys; print('far', sys.argv[0])")
    (workspace.source / "folder.py" / "deep").mkdir(parents=True)
    workspace.script("folder.py/inner.py", "print('inner')")
    for name, to in {
        "loop.py": "loop.py", "one.py": "two.py", "two.py": "one.py", "gone.py": "nowhere", "notes": "nowhere",
        "link.py": "../outside/far.py", "absolute.py": str(outside / "far.py"), "out": "../outside", "here": ".",
        "folder.py/deep/up": "../..", "dir.py": "../outside",
    }.items():  # fmt: skip
        (workspace.source / name).symlink_to(to)
    os.mkfifo(workspace.source / "pipe.py")
    os.mkfifo(workspace.source / "pipe")

    done = workspace.run("run", "src", "--json")
    assert set(done.results) == {"a.py", "absolute.py", "link.py"}
    assert workspace.log("link.py") == b"far src/link.py\n"
    [note] = [line for line in done.err.splitlines() if line.startswith("note: passed over")]
    nowhere = [f"{name} (a link that leads nowhere)" for name in ("gone.py", "loop.py", "one.py")]
    assert note == "note: passed over: " + ", ".join(
        [*nowhere, "pipe.py (not a file)", "two.py (a link that leads nowhere)"]
    )

    done = workspace.run("run", "src", "-r")
    assert set(workspace.run("status", "--json").results) == {"a.py", "absolute.py", "link.py", "folder.py/inner.py"}
    assert "passed over" in done.out
    for linked in ("dir.py", "here", "out", "folder.py/deep/up"):
        assert f"{linked} (a linked folder)" in done.out
    assert "notes" not in done.out
    for verb in (["plan"], ["run", "-n"]):
        assert "note: passed over: dir.py (a linked folder), " in workspace.run(*verb, "src", "-r").out
    assert "pipe (" not in done.out
    assert "passed over" not in workspace.run("run", "src", "--exclude", "[glopt]*.py", "-v").out


def test_s45_s46_deleted_or_changed_after_the_scan(workspace: Any) -> None:
    workspace.scripts(
        a="import os; os.unlink('src/b.py'); os.rename('src/d.sh', 'gone'); open('src/c.py', 'w').write('print(2)')",
        b="pass", c="pass", e="pass",
    )  # fmt: skip
    workspace.script("d.sh", "true")
    done = workspace.json("-j", "1", "--order", "name", code=1)
    states = {name: result["state"] for name, result in done.results.items()}
    assert states == {"a.py": "passed", "b.py": "failed", "c.py": "passed", "d.sh": "failed", "e.py": "passed"}
    errors = {name: result["error"] for name, result in done.results.items()}
    missing = "missing: its script was not there, or not to be read, when it was to start"
    assert errors == {"a.py": None, "b.py": missing, "c.py": None, "d.sh": missing, "e.py": None}
    assert b"b.py" in workspace.log("b.py", "err")
    assert workspace.log("c.py") == b"2\n"
    said = "changed after the run had begun: src/b.py (gone), src/c.py (changed), src/d.sh (gone); the record says"
    assert f"note: {said}" in done.err
    assert "missing: " in workspace.run("why", "b.py").out
    rows = [json.loads(line) for line in workspace.run("ledger", "export").stdout.splitlines()]
    assert {row["name"] for row in rows if row["error"] == missing} == {"b.py", "d.sh"}
    with zipfile.ZipFile(workspace.path / "result.zip") as packed:
        hashes = {row["name"]: row["script_sha256"] for row in json.loads(packed.read("manifest.json"))["results"]}
    assert hashes["c.py"] == hashlib.sha256(b"print(2)").hexdigest()
    assert hashes["b.py"] is None
    workspace.scripts(a="pass", b="pass")
    workspace.script("d.sh", "true")
    workspace.run("ledger", "check")
    assert "changed after" not in workspace.json().err


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


def test_s41_s42_names_of_any_bytes(workspace: Any) -> None:
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
    strict = {"PYTHONIOENCODING": "utf-8:strict", "LC_ALL": "C.UTF-8"}
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
    for verb in (["status", "-v"], ["history"], ["plan", "src"], ["why", os.fsdecode(b"not\xffutf8.py")]):
        text = workspace.run(*verb, env=strict).stdout.decode("utf-8", "strict")
        assert not {c for c in text if not c.isprintable()} - {"\n"}
    assert "[red]markup.py" in workspace.run("status", "-v").out


def test_s41_failures_with_odd_names_are_shown_safely(workspace: Any) -> None:
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


def test_s42_names_that_look_like_each_others_logs(workspace: Any) -> None:
    names = (
        "a",
        "a.out",
        "a.err",
        "a.1",
        "a.1.out",
        "a.out.out",
        "A",
        "b/c",
        "b%2Fc",
        "B/C",
        "b%252Fc",
        "b?c",
        "b%3Fc",
    )
    for name in names:
        workspace.script(
            name,
            '#!/bin/sh\nprintf %s "$BUILDRUNNER_JOB_NAME"\necho made > "$BUILDRUNNER_OUTPUT_DIR/it"\n'
            '[ "$BUILDRUNNER_ATTEMPT_NUMBER" = 2 ]\n',
            mode=0o755,
        )
    for _ in range(2):
        done = workspace.json("-r", "--retries", "1")
        assert len({result["stdout"].casefold() for result in done.results.values()}) == len(names)
        for name, result in done.results.items():
            assert (result["state"], result["attempts"]) == ("passed", 2)
            assert (workspace.path / result["stdout"]).read_bytes() == name.encode()
            assert len(result["outputs"]) == 1
        workspace.run("verify", "result.zip")
    for name in ("a", "a.1", "A"):
        assert workspace.run("logs", name, "--attempt", "1").stdout == name.encode()
    assert len(list(Path(workspace.path, "python_output", "logs").iterdir())) == len(names) * 2 * 2


def test_a_script_whose_mode_changed_is_the_same_script(workspace: Any) -> None:
    workspace.scripts(a="import os; os.chmod('src/b.py', 0o755); os.link('src/b.py', 'other')", b="pass")
    done = workspace.json("-j", "1", "--order", "name")
    assert "changed after the run had begun" not in done.err


@pytest.mark.parametrize("option", ["memory", "max_output"])
@pytest.mark.parametrize("value", ["1G", 1e9, -1])
def test_a_limit_that_is_no_number_of_bytes_is_refused(option: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')}"):
        BuildServer("tests", **{option: value})
