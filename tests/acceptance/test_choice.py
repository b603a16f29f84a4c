"""`--shard`, `--last-failed` and `--keep-runs`: runs of a part of the scripts, and records of earlier versions."""

import json
import re
import signal
import sqlite3
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance


@pytest.fixture
def six(workspace: Any) -> Any:
    """Six scripts that note that they ran; `c` and `e` fail as long as there is a file `broken`."""
    for name in "abcdef":
        check = "import os, sys; sys.exit(os.path.exists('broken'))" if name in "ce" else ""
        workspace.scripts(**{name: workspace.note("ran") + check})
    workspace.open("broken")
    return workspace


def names(done: Any) -> str:
    return "".join(sorted(name[0] for name in done.results))


def snapshot(workspace: Any) -> dict[str, bytes]:
    """The zip and everything in the output folder."""
    files = [workspace.path / "result.zip", *(workspace.path / "python_output").rglob("*")]
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in files}


# Shards


def test_shards_are_everything_once_and_each_is_a_whole_run(six: Any) -> None:
    six.run("run", "src", code=1)
    planned = [names_planned(six.run("plan", "src", "--shard", f"{n}/3", "--json").document) for n in (1, 2, 3)]
    runs = [six.json("--shard", f"{number}/3", code=None) for number in (1, 2, 3)]
    assert [names(run) for run in runs] == planned
    assert sorted("".join(map(names, runs))) == list("abcdef")
    assert len({re.findall(r"plan (\w{8})", run.err)[0] for run in runs}) == 1
    for run in runs:
        assert (run.document["state"], run.code) == ("finished", 1 if set(names(run)) & set("ce") else 0)
        assert run.document["archive"]
    assert "shard 3/3 (plan " in six.run("history").out + six.run("why", names(runs[2])[0]).out


def test_shards_in_one_place_say_that_one_replaces_the_other(six: Any) -> None:
    assert "note: shard" not in six.run("run", "src", "--shard", "1/2", code=None).out
    said = six.run("run", "src", "--shard", "2/2", code=None).out
    assert "note: shard 2/2 is in python_output and result.zip now, where shard 1/2 was: give each its own" in said
    said = six.run("run", "src", "--shard", "1/2", "-o", "one", code=None).out
    assert "note: shard 1/2 is in result.zip now, where shard 2/2 was: give each its own" in said
    assert "note: shard" not in six.run("run", "src", "--shard", "2/2", "-o", "two", "--no-zip", code=None).out


def test_a_new_division_is_said(six: Any) -> None:
    six.scripts(a=six.note("ran") + "import time; time.sleep(0.8)")  # nothing is known of it before it has run
    for number in (1, 2):
        assert "shared out anew" not in six.run("run", "src", "--shard", f"{number}/2", code=None).out
    again = six.run("run", "src", "--shard", "2/2", code=None)
    plan, before = re.findall(r"shard 2/2 \(plan (\w{8}), before it was (\w{8})\)", again.err)[0]
    assert f"note: the scripts were shared out anew (plan {plan}, before {before}): run every shard again" in again.out


def names_planned(document: dict[str, Any]) -> str:
    return "".join(sorted(script["name"][0] for script in document["scripts"]))


def test_an_empty_shard_is_well_and_touches_nothing(six: Any) -> None:
    six.run("run", "src", code=1)
    before = (snapshot(six), six.run("history", "--json").out)
    done = six.run("run", "src", "--shard", "7/7")
    assert "shard 7/7" in done.err
    assert "has no scripts" in done.err
    assert (snapshot(six), six.run("history", "--json").out) == before


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_shard_that_is_none_is_refused(six: Any, shard: str) -> None:
    for verb in ("run", "plan"):
        assert f"--shard {shard}: give K/N" in six.run(verb, "src", "--shard", shard, code=2).err
    assert not (six.path / ".buildrunner").exists()


def test_shards_of_a_part(six: Any) -> None:
    """The other options say what is shared out; `--last-failed` what is left of each share."""
    six.script("sub/g.py", six.note("ran"))
    six.script("sub/a.py", six.note("ran"))
    for options, expected in (
        (["-r"], ["a.py", "b.py", "c.py", "d.py", "e.py", "f.py", "sub/a.py", "sub/g.py"]),
        (["--include", "[a-d].py"], ["a.py", "b.py", "c.py", "d.py"]),
        (["-r", "--exclude", "a.py", "--exclude", "[b-f].py"], ["sub/g.py"]),
        (["-r", "--last-failed"], ["c.py", "e.py"]),
    ):
        found = []
        for number in (1, 2):
            done = six.json(*options, "--shard", f"{number}/2", code=None)
            found += list(done.results) if done.stdout else []
        assert sorted(found) == expected, options


# What failed last


def test_what_failed_last_is_run_until_nothing_is_left(six: Any) -> None:
    first = six.json(code=1).document["run"]
    failed = six.json("--last-failed", code=1)
    assert names(failed) == "ce"
    assert "what did not pass last time" in failed.err
    (six.path / "broken").unlink()
    assert names(six.json("--last-failed", "--include", "c.py")) == "c"
    assert names(six.json("--last-failed")) == "e"
    before = (snapshot(six), six.run("history", "--json").out)
    done = six.run("run", "src", "--last-failed")
    assert "all of src passed the last time" in done.err
    assert (snapshot(six), six.run("history", "--json").out) == before
    assert six.run("status", first, "--json").document["totals"]["failed"] == 2


def test_a_failed_script_that_was_deleted(six: Any) -> None:
    six.run("run", "src", code=1)
    (six.source / "c.py").unlink()
    assert names(six.json("--last-failed", code=1)) == "e"
    (six.source / "e.py").unlink()
    six.run("run", "src", "--last-failed")


def test_what_failed_where_nothing_was_run(six: Any) -> None:
    done = six.json("--last-failed", code=1)
    assert names(done) == "abcdef"
    assert "no earlier run of them is recorded" in done.err


def test_what_was_broken_off_or_never_ran_did_not_pass(six: Any, wait_until: Any) -> None:
    six.run("run", "src", code=1)
    six.scripts(a=six.note("held") + six.until("gate"))
    run = six.start("run", "src", "--json", "-j", "1", "--order", "name")
    wait_until(lambda: six.notes("held"))
    run.send_signal(signal.SIGINT)
    six.finish(run, code=130)
    six.open("gate")
    assert names(six.json("--last-failed", code=1)) == "abcdef"
    six.script("g.py", six.note("ran"))
    assert names(six.json("--last-failed", code=1)) == "ceg"


def test_after_a_fail_fast_run_the_rest_did_not_pass(six: Any) -> None:
    six.run("run", "src", "-x", "-j", "1", "--order", "name", code=1)
    (six.path / "broken").unlink()
    assert names(six.json("--last-failed")) == "cdef"


def test_repeating_what_failed_leaves_the_others_durations_known(six: Any) -> None:
    six.run("run", "src", code=1)
    for _ in range(6):
        six.run("run", "src", "--last-failed", code=1)
    scripts = six.run("plan", "src", "--json").document["scripts"]
    assert {script["name"][0]: len(script["past_seconds"]) for script in scripts} == {
        "a": 1, "b": 1, "c": 5, "d": 1, "e": 5, "f": 1
    }  # fmt: skip


# Keeping runs


def test_old_runs_are_forgotten(six: Any) -> None:
    runs = [six.json("--no-zip", "--keep-runs", "2", code=1).document["run"] for _ in range(4)]
    kept = [entry["run"] for entry in json.loads(six.run("history", "--json").out)]
    assert kept == runs[:1:-1]
    assert "no run is called" in six.run("status", runs[0], code=2).err
    assert list((six.path / ".buildrunner" / "runs").iterdir()) == []


def test_an_interrupted_run_among_those_kept_can_be_resumed(six: Any, wait_until: Any) -> None:
    six.scripts(a=six.note("held") + six.until("gate"))
    run = six.start("run", "src", "--json", "-j", "1", "--order", "name", "-o", "first", "--no-zip")
    wait_until(lambda: six.notes("held"))
    run.kill()
    run.wait()
    wait_until(lambda: not six.left())
    six.open("gate")
    for _ in range(2):
        six.json("--keep-runs", "3", "--include", "b.py", "-o", "second", "--no-zip")
    *_, oldest = json.loads(six.run("history", "--json").out)
    assert oldest["state"] == "interrupted"
    assert six.run("resume", oldest["run"], "--json", code=1).document["totals"]["passed"] == 4


def test_one_that_cannot_be_carried_on_is_forgotten(six: Any, wait_until: Any) -> None:
    six.scripts(a=six.note("held") + six.until("gate"))
    for output in ("one", "two"):
        run = six.start("run", "src", "-j1", "--order", "name", "-o", output)
        wait_until(lambda output=output: len(six.notes("held")) == 1 + (output == "two"))
        run.send_signal(signal.SIGINT)
        six.finish(run, code=130)
    six.open("gate")
    for _ in range(2):
        six.run("run", "src", "-q", "--keep-runs", "1", "-o", "two", code=1)
    states = [entry["state"] for entry in json.loads(six.run("history", "--json").out)]
    assert states == ["finished", "interrupted"], "the one whose output folder nobody has used since"


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_keeping_no_run_is_refused(six: Any, number: str) -> None:
    assert "--keep-runs" in six.run("run", "src", "--keep-runs", number, code=2).err
    assert not (six.path / ".buildrunner").exists()


# Records of earlier versions

NEW = ("deadline", "shard", "last_failed", "keep_runs", "events", "junitxml", "choice", "shard_round")


def make_old(workspace: Any) -> None:
    """Let the record look as if an earlier version had written it."""
    db = sqlite3.connect(workspace.path / ".buildrunner" / "ledger.db")
    for id_, text in db.execute("SELECT id, options FROM runs").fetchall():
        options = json.loads(text)
        old = {key: value for key, value in options.items() if key not in NEW}
        assert len(options) == len(old) + len(NEW)
        db.execute("UPDATE runs SET options = ? WHERE id = ?", (json.dumps(old), id_))
    db.commit()
    db.close()


def test_a_record_of_an_earlier_version(six: Any) -> None:
    run = six.json(code=1).document
    make_old(six)
    assert six.run("status", "--json").document == run
    assert "finished" in six.run("status").out
    assert "finished" in six.run("history").out
    assert "is finished" in six.run("cancel").out
    for verb in (["logs", "a.py"], ["why", "c.py"], ["package"], ["plan", "src"]):
        six.run(*verb)
    assert "is complete" in six.run("resume", code=1).out
    shards = "".join(names(six.json("--shard", f"{number}/2", code=None)) for number in (1, 2))
    assert sorted(shards) == list("abcdef")
    planned = six.run("plan", "src", "--last-failed", "--json").document
    assert names_planned(planned) == "ce"
    assert names(six.json("--last-failed", code=1)) == "ce"


def test_an_interrupted_run_of_an_earlier_version(six: Any, wait_until: Any) -> None:
    six.scripts(a=six.note("held") + six.until("gate"))
    run = six.start("run", "src", "--json", "-j", "1", "--order", "name")
    wait_until(lambda: six.notes("held"))
    run.kill()
    run.wait()
    wait_until(lambda: not six.left())
    make_old(six)
    assert six.run("status", "--json").document["state"] == "interrupted"
    assert "nothing of it runs" in six.run("cancel").out
    (six.path / "broken").unlink()
    six.open("gate")
    assert six.json("-j", "1", "--order", "name", "--resume").document["totals"]["passed"] == 6
