"""What other terminals may ask, during a run and after it: status, history, logs, package, verify, resume."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance


@pytest.fixture
def running(workspace: Any, wait_until: Any) -> Any:
    """A run in whose midst: `done.py` has passed, `held.py` waits at a gate, `later.py` waits for a worker."""
    workspace.scripts(
        done="print('all of it')",
        held="import sys\nprint('first words', flush=True)\nprint('a complaint', file=sys.stderr, flush=True)\n"
        + workspace.note("start")
        + workspace.until("gate")
        + "print('last words')",
        later="print('later')",
    )
    run = workspace.start("run", "src", "--json", "-j", "1", "--order", "name")
    wait_until(lambda: workspace.notes("start"))
    return run


def test_status_while_it_runs(workspace: Any, running: Any) -> None:
    document = workspace.run("status", "--json").document
    assert (document["state"], document["finished"], document["archive"]) == ("running", None, None)
    states = {result["name"]: result["state"] for result in document["results"]}
    assert states == {"done.py": "passed", "held.py": "running", "later.py": "waiting"}
    totals = document["totals"]
    assert (totals["jobs"], totals["passed"], totals["running"], totals["waiting"]) == (3, 1, 1, 1)
    held = document["results"][1]
    assert (held["outcome"], held["exit_code"], held["attempts"]) == (None, None, 1)
    assert Path(workspace.path, held["stdout"]).read_bytes() == b"first words\n"

    text = workspace.run("status").out
    assert "running" in text
    assert "held.py" in text
    assert "running" in workspace.run("history").out
    [entry] = json.loads(workspace.run("history", "--json").out)
    assert (entry["run"], entry["state"]) == (document["run"], "running")
    assert "results" not in entry

    workspace.open("gate")
    final = workspace.finish(running, code=0)
    assert workspace.run("status", "--json").document == final.document
    assert workspace.run("status", document["run"], "--json").document == final.document
    assert workspace.run("status", document["run"][:-2], "--json").document == final.document
    assert json.loads(workspace.run("history", "--json").out)[0]["state"] == "finished"


def test_logs_while_it_runs(workspace: Any, running: Any) -> None:
    assert workspace.run("logs", "held.py", "--stdout").stdout == b"first words\n"
    assert workspace.run("logs", "held.py", "--stderr").stdout == b"a complaint\n"
    both = workspace.run("logs", "held")
    assert b"first words\n" in both.stdout
    assert b"a complaint\n" in both.stdout
    waiting = workspace.run("logs", "later.py")
    assert (waiting.stdout, "has not run yet" in waiting.err) == (b"", True)

    follower = workspace.start("logs", "-f", "held.py", "--stdout")
    assert follower.stdout.readline() == b"first words\n"
    late = workspace.start("logs", "-f", "later.py", "--stdout")
    assert follower.poll() is None
    workspace.open("gate")
    assert workspace.finish(follower, code=0).stdout == b"last words\n"
    assert workspace.finish(late, code=0).stdout == b"later\n"
    workspace.finish(running, code=0)


def test_following_ends_when_the_server_is_killed(workspace: Any, running: Any) -> None:
    follower = workspace.start("logs", "-f", "held.py", "--stdout")
    assert follower.stdout.readline() == b"first words\n"
    running.kill()
    workspace.finish(follower, code=0)


def test_asking_does_not_keep_a_run_from_starting(workspace: Any) -> None:
    """`logs -f` looks at the lock again and again; whoever only looks must be in nobody's way."""
    workspace.scripts(a="pass")
    workspace.run("run", "src", "-q")
    program = (
        "from pathlib import Path; from buildrunner.ledger.lock import held\n"
        "print('looking', flush=True)\n"
        "while True: held(Path('.buildrunner/lock'))"
    )
    looker = workspace.start_python("-c", program)
    try:
        assert looker.stdout.readline() == b"looking\n"
        for _ in range(3):
            workspace.run("run", "src", "-q")
    finally:
        looker.kill()


def test_logs_of_earlier_attempts(workspace: Any) -> None:
    workspace.scripts(
        flaky="import os, sys; n = os.environ['BUILDRUNNER_ATTEMPT_NUMBER']; print('attempt', n); sys.exit(n != '3')"
    )
    workspace.run("run", "src", "--retries", "2")
    assert workspace.run("logs", "flaky.py").stdout == b"attempt 3\n"
    for number in ("1", "2", "3"):
        assert workspace.run("logs", "flaky.py", "--attempt", number).stdout == f"attempt {number}\n".encode()
    too_far = workspace.run("logs", "flaky.py", "--attempt", "4", code=2)
    assert "3 attempts" in too_far.err
    assert workspace.run("logs", "flaky.py", "--attempt", "0", code=2).stdout == b""


def test_logs_give_the_bytes(workspace: Any) -> None:
    workspace.scripts(a="import sys; sys.stdout.buffer.write(bytes(range(256)))")
    workspace.run("run", "src")
    assert workspace.run("logs", "a.py", "--stdout").stdout == bytes(range(256))


def test_an_unknown_job_or_run_is_named_with_what_is_near(workspace: Any) -> None:
    workspace.script("sub/Prime.py", "print(1)")
    workspace.script("sub/Matrix.py", "print(2)")
    workspace.run("run", "src", "-r")
    assert workspace.run("logs", "Prime.py").stdout == b"1\n"
    near = workspace.run("logs", "sub/Prine.py", code=2)
    assert "sub/Prine.py" in near.err
    assert "did you mean 'sub/Prime.py'" in near.err
    assert "nonsense" in workspace.run("logs", "nonsense", code=2).err
    for verb in ("status", "resume", "package"):
        wrong = workspace.run(verb, "2000", code=2)
        assert "2000" in wrong.err
        assert "history" in wrong.err


ODD = [b"two\nlines.py", b"by\xff.py", b"a\x1b[31m.py", b"back\\slash.py", b"it's\t.py", b"plain.py"]


@pytest.mark.parametrize("name", ODD)
def test_what_is_suggested_can_be_typed(workspace: Any, name: bytes) -> None:
    """A name is shown escaped where a terminal would act on it; typed so it is none, and shown so it says nothing."""
    workspace.script(name, "print(1)")
    workspace.run("run", "src")
    [row] = [line for line in workspace.run("status").out.splitlines() if line.startswith(" ") and ".py" in line]
    shown = row.split("  ")[0].strip()
    typed = shown if shown.encode() != name else shown.replace("p", "q", 1)
    said = workspace.run("logs", typed, code=2).err
    hint = re.search(r"did you mean (.*)\?$", said)
    assert hint, said
    assert f"no job '{typed}'" in said
    word = subprocess.run(["bash", "-c", f"printf %s {hint[1]}"], capture_output=True, check=True).stdout
    assert word == name
    assert workspace.run("logs", word).stdout == b"1\n"
    assert hint[1] in workspace.run("cancel", "--job", typed, code=2).err


@pytest.mark.parametrize("verb", ["status", "history", "logs", "resume", "package"])
def test_where_nothing_was_run(workspace: Any, verb: str) -> None:
    done = workspace.run(verb, *(["a.py"] if verb == "logs" else []), code=2)
    assert "--state" in done.err
    assert not (workspace.path / ".buildrunner").exists()


def test_packaging_again_gives_the_same_bytes(workspace: Any) -> None:
    workspace.scripts(
        a="import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/x', 'w').write('x' * 5000)", b="exit(3)"
    )
    archive = workspace.json(code=1).document["archive"]
    first = (workspace.path / "result.zip").read_bytes()
    os.unlink(workspace.path / "result.zip")
    done = workspace.run("package")
    assert archive["sha256"] in done.out
    assert (workspace.path / "result.zip").read_bytes() == first
    workspace.run("package", "--zip", "other.zip")
    assert (workspace.path / "other.zip").read_bytes() == first
    assert hashlib.sha256(first).hexdigest() == archive["sha256"]

    assert workspace.json("-j", "1", code=1).document["archive"]["sha256"] == archive["sha256"]
    workspace.run("package", "--with-report", "--zip", "report.zip")
    assert "report.json" in zipfile.ZipFile(workspace.path / "report.zip").namelist()
    workspace.run("verify", "report.zip")


def test_verify_tells_whole_damaged_and_foreign_apart(workspace: Any) -> None:
    workspace.scripts(a="import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/x', 'w').write('hello ' * 50)")
    workspace.run("run", "src")
    whole = (workspace.path / "result.zip").read_bytes()
    document = workspace.run("verify", "result.zip", "--json").document
    assert (document["ok"], document["files"], document["problems"]) == (True, 4, [])

    damaged = workspace.path / "damaged.zip"
    flag_bits = whole.index(b"PK\x01\x02") + 8  # says "encrypted" when its lowest bit is set
    middle = len(whole) // 2
    for name, data in {
        "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "encrypted": whole[:flag_bits] + bytes([whole[flag_bits] ^ 1]) + whole[flag_bits + 1 :],
        "cut": whole[:-100],
        "longer": whole + b"\0",
        "in the manifest": whole[:60] + bytes([whole[60] ^ 0x55]) + whole[61:],
    }.items():
        damaged.write_bytes(data)
        done = workspace.run("verify", "damaged.zip", code=None)
        assert (done.code, done.out) == (1, ""), name
        assert "damaged.zip: " in done.err
    assert workspace.run("verify", "damaged.zip", "--json", code=1).document["ok"] is False

    with zipfile.ZipFile(workspace.path / "foreign.zip", "w") as foreign:
        foreign.writestr("readme", "not ours")
    (workspace.path / "text.zip").write_text("no zip at all")
    (workspace.path / "empty.zip").touch()
    for name in ("foreign.zip", "text.zip", "empty.zip", "missing.zip", "src"):
        assert name in workspace.run("verify", name, code=2).err


def test_resume_of_a_complete_run_says_so_and_exits_as_it_did(workspace: Any) -> None:
    workspace.scripts(a=workspace.note("end"), b="exit(1)")
    workspace.run("run", "src", code=1)
    done = workspace.run("resume", code=1)
    assert "complete" in done.out + done.err
    assert len(workspace.notes("end")) == 1
    assert workspace.run("resume", "--json", code=1).document["state"] == "finished"
    (workspace.source / "b.py").unlink()
    workspace.run("run", "src")
    assert workspace.run("resume").code == 0
    assert len(workspace.notes("end")) == 2


def test_resume_runs_what_an_interruption_left(workspace: Any, running: Any) -> None:
    running.send_signal(signal.SIGINT)
    document = workspace.finish(running, code=130).document
    assert (document["state"], document["totals"]["passed"]) == ("interrupted", 1)
    assert "interrupted" in workspace.run("history").out
    assert f"buildrunner resume {document['run']}" in workspace.run("status").out
    workspace.open("gate")
    after = workspace.run("resume", "--json").document
    assert (after["run"], after["state"], after["totals"]["passed"]) == (document["run"], "finished", 3)
    assert len(json.loads(workspace.run("history", "--json").out)) == 1
    workspace.run("verify", "result.zip")


def test_resume_elsewhere_names_the_place(workspace: Any, running: Any) -> None:
    running.send_signal(signal.SIGINT)
    workspace.finish(running, code=130)
    elsewhere = workspace.path / "elsewhere"
    elsewhere.mkdir()
    done = workspace.run("resume", "--state", "../.buildrunner", code=2, cwd=elsewhere)
    assert str(workspace.path) in done.err


def test_resume_with_other_options_mixes_nothing(workspace: Any, running: Any) -> None:
    """`run --resume -o OTHER`: refused, or done as recorded; never half here and half there."""
    running.send_signal(signal.SIGINT)
    workspace.finish(running, code=130)
    workspace.open("gate")
    done = workspace.run("run", "src", "--resume", "--json", "-o", "other", "--", "word", code=None)
    if done.code == 2:
        return
    assert done.code == 0
    for result in done.document["results"]:
        if result["name"] == "held.py":
            assert (workspace.path / result["stdout"]).read_bytes() == b"first words\nlast words\n"
            with zipfile.ZipFile(workspace.path / "result.zip") as packed:
                assert packed.read("logs/held.py.out") == b"first words\nlast words\n"


def test_resume_after_a_later_run_of_the_same_target_packs_no_strangers_files(workspace: Any, running: Any) -> None:
    """The output folder shows the later run: an older one that is carried on must not pass its files off as its own."""
    running.send_signal(signal.SIGINT)
    first = workspace.finish(running, code=130).document["run"]
    workspace.open("gate")
    workspace.scripts(done="print('of the second run')")
    workspace.run("run", "src", "--no-zip")
    done = workspace.run("resume", first, "--json", code=None)
    if done.code == 0:
        with zipfile.ZipFile(workspace.path / "result.zip") as packed:
            assert "logs/done.py.out" not in packed.namelist() or (packed.read("logs/done.py.out") == b"all of it\n"), (
                "the log of another run, packaged as this one's"
            )
    else:
        assert done.code in (1, 2)
        assert done.err


def test_a_record_that_moved_with_its_folder_still_answers(workspace: Any, tmp_path: Path) -> None:
    workspace.scripts(a="print('here')")
    workspace.run("run", "src")
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in (".buildrunner", "python_output", "src"):
        shutil.move(tmp_path / name, moved / name)
    assert workspace.run("status", "--json", cwd=moved).document["state"] == "finished"
    assert "finished" in workspace.run("history", cwd=moved).out


def test_what_a_record_knows_of_a_folder_that_moved_is_not_guessed_but_said(workspace: Any) -> None:
    workspace.scripts(a="pass")
    workspace.run("run", "src")
    (workspace.path / "deep").mkdir()
    shutil.move(workspace.source, workspace.path / "deep" / "src")
    said = workspace.run("plan", "deep/src").out
    assert f"the record knows runs of {workspace.source}; what it knows goes by the absolute path" in said
    (workspace.path / "new").mkdir()
    (workspace.path / "new" / "a.py").touch()
    assert "the record knows" not in workspace.run("plan", "new").out


def test_history_tells_no_speed_up_where_nothing_ran_beside_another(workspace: Any) -> None:
    workspace.scripts(a="pass", b="exit(1)", c="pass")
    workspace.run("run", "src", "-q", "-j", "1", code=1)
    workspace.run("run", "src/a.py", "-q", "-j", "4")
    workspace.run("run", "src", "-q", "-j", "2", code=1)
    rows = [line for line in workspace.run("history").out.splitlines() if " finished " in line]
    assert [" ×" in row for row in rows] == [True, False, False]


def test_history_tells_how_many_are_left(workspace: Any, running: Any) -> None:
    workspace.run("cancel")
    workspace.finish(running)
    assert re.search(r" cancelled +1 of 3 ", workspace.run("history").out)


def test_a_zip_is_not_made_again_from_files_that_are_gone(workspace: Any) -> None:
    workspace.scripts(a="print('words')")
    workspace.run("run", "src")
    before = (workspace.path / "result.zip").read_bytes()
    (workspace.path / "python_output" / "logs" / "a.py.out").unlink()
    assert "logs/a.py.out" in workspace.run("package", code=3).err
    assert (workspace.path / "result.zip").read_bytes() == before


def test_a_run_without_a_zip_is_packaged_only_where_one_says(workspace: Any) -> None:
    workspace.scripts(a="pass")
    workspace.run("run", "src", "--no-zip")
    assert "--zip FILE" in workspace.run("package", code=2).err
    workspace.run("package", "--zip", "later.zip")
    workspace.run("verify", "later.zip")


def test_nowhere_to_write_is_told_without_a_traceback(workspace: Any) -> None:
    workspace.scripts(a="pass")
    with open("/dev/full", "wb") as full:
        done = workspace.run("run", "src", "--json", code=3, stdout=full)
    assert "No space left on device" in done.err
    assert workspace.run("status", "--json").code == 0
