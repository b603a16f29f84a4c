"""`buildrunner plan` and `run --dry-run`: what would run, said without running or writing anything."""

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance


def listing(path: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below with size and time of change, so that anything written shows."""
    found = {}
    for folder, _, files in os.walk(path):
        for entry in [folder, *(os.path.join(folder, file) for file in files)]:
            stat = os.lstat(entry)
            found[entry] = (stat.st_size, 0 if entry.endswith("-shm") else stat.st_mtime_ns)  # SQLite's readers' locks
    return found


def names(document: dict[str, Any]) -> list[str]:
    return [script["name"] for script in document["scripts"]]


@pytest.fixture
def sleepers(workspace: Any) -> Any:
    """Scripts that take known times, in an order that is not that of their names, and note when they start."""
    for name, seconds in (("a", 0.1), ("b", 0.5), ("c", 0.3)):
        workspace.scripts(**{name: workspace.note("start") + f"import time; time.sleep({seconds})"})
    return workspace


@pytest.mark.parametrize(
    "command", [("plan", "src"), ("plan", "src", "--json"), ("run", "src", "-n"), ("run", "src", "--dry-run", "-q")]
)
def test_nothing_is_run_and_nothing_written(sleepers: Any, command: tuple[str, ...]) -> None:
    before = listing(sleepers.path)
    assert "b.py" in sleepers.run(*command).out
    assert listing(sleepers.path) == before
    sleepers.run("run", "src", "-q")
    before = listing(sleepers.path)
    ran = len(sleepers.notes("start"))
    assert "b.py" in sleepers.run(*command).out
    assert listing(sleepers.path) == before
    assert len(sleepers.notes("start")) == ran


@pytest.mark.parametrize("order", ["longest", "shortest", "name"])
def test_the_order_is_that_in_which_one_worker_starts_them(sleepers: Any, order: str) -> None:
    took = {name: result["seconds"] for name, result in sleepers.json("-j", "1").results.items()}
    took["new.sh"] = sorted(took.values())[1]  # the median
    sleepers.script("new.sh", f"echo start new.sh x 1 >> {sleepers.path}/witness")
    planned = names(sleepers.run("plan", "src", "-j", "1", "--order", order, "--json").document)
    before = len(sleepers.notes("start"))
    sleepers.run("run", "src", "-q", "-j", "1", "--order", order)
    assert [job for job, _, _ in sleepers.notes("start")[before:]] == planned
    keys = {"longest": lambda name: (-took[name], name), "shortest": lambda name: (took[name], name), "name": str}
    assert planned == sorted(took, key=keys[order])


def test_a_random_order_is_not_promised(sleepers: Any) -> None:
    assert "order: random, another one each time" in sleepers.run("plan", "src", "--order", "random").out


def test_the_predicted_makespan_comes_true(sleepers: Any) -> None:
    sleepers.run("run", "src", "-q", "-j", "1")
    [span] = [m for m in sleepers.run("plan", "src", "-j", "2", "--json").document["makespans"] if m["workers"] == 2]
    assert 0.5 <= span["bound_seconds"] <= span["seconds"]
    document = sleepers.json("-j", "2").document
    assert document["bound_seconds"] <= document["wall_seconds"]
    assert 0.3 * span["seconds"] <= document["wall_seconds"] <= span["seconds"] + 20


def test_the_document(sleepers: Any) -> None:
    sleepers.run("run", "src", "-q", "-j", "2")
    sleepers.scripts(new="pass")
    document = sleepers.run("run", "src", "-n", "--json", "-j", "2").document
    assert document == sleepers.run("plan", "src", "--json", "-j", "2").document
    assert {k: document[k] for k in ("schema", "target", "choice", "jobs", "order")} == {
        "schema": "buildrunner.plan/1",
        "target": "src",
        "choice": None,
        "jobs": 2,
        "order": "longest",
    }
    scripts = {script["name"]: script for script in document["scripts"]}
    assert scripts["new.py"]["past_seconds"] == []
    assert scripts["new.py"]["expected_seconds"] == scripts["c.py"]["expected_seconds"], "the median of the known"
    assert scripts["b.py"]["past_seconds"] == [scripts["b.py"]["expected_seconds"]]
    assert (scripts["new.py"]["estimated_by"], scripts["b.py"]["estimated_by"]) == ("median", None)
    assert [m["workers"] for m in document["makespans"]] == [1, 2, 4]
    one = document["makespans"][0]
    assert 0 < one["between_seconds"] < 1
    alone = sum(s["expected_seconds"] for s in document["scripts"])
    assert one["seconds"] == pytest.approx(alone + 3 * one["between_seconds"])
    assert one["seconds"] == pytest.approx(one["bound_seconds"])


def test_what_people_read(sleepers: Any) -> None:
    first = sleepers.run("plan", "src").out
    assert "nothing is known about their times yet" in first
    assert first.count("no run of it ended yet") == 3
    for _ in range(2):
        sleepers.run("run", "src", "-q", "-j", "1")
    sleepers.scripts(new="pass")
    text = sleepers.run("plan", "src", "-j", "2").out
    assert "4 scripts of src, 2 at a time, order: longest first, Python " in text
    assert text.count("median of its last 2 runs") == 3
    assert "no run of it ended yet: as long as the median of the others" in text
    [asked] = [line for line in text.splitlines() if "◀ this is what would run" in line]
    assert asked.strip().startswith("2 workers: ")
    assert "1 script of which no run ended yet: expected to take what the others speak for" in text


def test_long_plans_are_cut_and_shown_whole_when_asked(workspace: Any) -> None:
    for number in range(45):
        workspace.script(f"s{number:02}.sh", ":")
    text = workspace.run("plan", "src", "-j", "1").out
    assert "the first 40 of 45; -v shows all" in text
    assert ("s39.sh" in text, "s40.sh" in text) == (True, False)
    assert "s44.sh" in workspace.run("plan", "src", "-v").out


def test_shards_what_failed_and_globs_together(workspace: Any) -> None:
    for number in range(8):  # s1 takes longer than all others together: one shard has it, the other s3 and s5
        workspace.script(f"s{number}.sh", "sleep 1; exit 1" if number == 1 else "exit 1" if number % 2 else ":")
    workspace.run("run", "src", "-q", "-j", "1", code=1)
    options = ("--include", "s*.sh", "--exclude", "s7.sh", "--last-failed")
    assert sorted(names(workspace.run("plan", "src", "--json", *options).document)) == ["s1.sh", "s3.sh", "s5.sh"]
    shards = [workspace.run("plan", "src", "--json", *options, "--shard", f"{k}/2").document for k in (1, 2)]
    assert sorted(names(shards[0]) + names(shards[1])) == ["s1.sh", "s3.sh", "s5.sh"]
    assert "shard 1/2" in shards[0]["choice"] and "what did not pass last time" in shards[0]["choice"]
    ran = workspace.json(*options, "--shard", "1/2", code=1).document
    assert sorted(r["name"] for r in ran["results"]) == sorted(names(shards[0]))


def test_a_shard_of_which_nothing_failed_says_so_of_itself(workspace: Any) -> None:
    workspace.script("a.sh", ":")
    workspace.script("b.sh", "exit 1")
    workspace.run("run", "src", "-q", code=1)
    options = ("--last-failed", "--shard")
    found = [workspace.run("plan", "src", "--json", *options, f"{k}/2").document for k in (1, 2)]
    [empty] = [k for k, document in enumerate(found, start=1) if not document["scripts"]]
    assert found[empty - 1]["choice"] == f"all of shard {empty}/2 of src passed the last time"
    assert f"all of shard {empty}/2 of src passed" in workspace.run("run", "src", *options, f"{empty}/2").err


def test_nothing_left_to_do(workspace: Any) -> None:
    workspace.scripts(a="pass")
    workspace.run("run", "src", "-q")
    done = workspace.run("plan", "src", "--last-failed")
    assert "all of src passed the last time" in done.err
    document = workspace.run("plan", "src", "--shard", "2/2", "--json").document
    assert (document["scripts"], document["choice"] is None) == ([], False)


def test_no_scripts(workspace: Any) -> None:
    for command in (("plan", "src"), ("plan", "src", "--json"), ("run", "src", "-n")):
        done = workspace.run(*command, code=5)
        assert (done.stdout, "no scripts in src" in done.err) == (b"", True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--shard", "3/2"), "--shard 3/2"),
        (("--shard", "x"), "--shard x"),
        (("-j", "0"), "--jobs 0"),
        (("--order", "fast"), "fast"),
        (("--timeout", "soon"), "soon"),
        (("--nonsense",), "--nonsense"),
        (("--python", "/no/such/python"), "/no/such/python"),
        (("missing",), "missing"),
    ],
    ids=str,
)
def test_bad_options(workspace: Any, options: tuple[str, ...], said: str) -> None:
    workspace.scripts(a="pass")
    done = workspace.run("plan", "src", *options, code=2)
    assert (done.stdout, said in done.err) == (b"", True)
    assert said in workspace.run("run", "-n", "src", *options, code=2).err


def test_variables_mirror_options(workspace: Any) -> None:
    workspace.scripts(a="pass", b="pass", c="pass")
    env = {"BUILDRUNNER_JOBS": "3", "BUILDRUNNER_ORDER": "name", "BUILDRUNNER_EXCLUDE": "c.py"}
    document = workspace.run("plan", "src", "--json", env=env).document
    assert (document["jobs"], document["order"], names(document)) == (3, "name", ["a.py", "b.py"])
    assert workspace.run("plan", "src", "--json", "-j", "1", env=env).document["jobs"] == 1
    assert "b.py" in workspace.run("run", "src", env={"BUILDRUNNER_DRY_RUN": "1"}).out
    assert not (workspace.path / "python_output").exists()


def test_times_are_known_for_the_same_arguments_only(workspace: Any) -> None:
    workspace.scripts(a="pass")
    workspace.run("run", "src", "-q", "--", "--fast")
    for arguments, known in ((("--", "--fast"), True), (("--", "--slow"), False), ((), False)):
        [script] = workspace.run("plan", "src", "--json", *arguments).document["scripts"]
        assert bool(script["past_seconds"]) is known


def test_names_with_escapes(workspace: Any) -> None:
    workspace.script(b"\x1b[2J\xff.sh", ":")
    out = workspace.run("plan", "src").out
    assert "\x1b" not in out
    assert "\\x1b[2J\\xff.sh" in out
    assert names(workspace.run("plan", "src", "--json").document) == ["\x1b[2J\udcff.sh"]


def test_a_damaged_record_is_a_sentence(workspace: Any) -> None:
    workspace.scripts(a="pass")
    state = workspace.path / ".buildrunner"
    state.mkdir()
    (state / "ledger.db").write_bytes(b"no database" * 1000)
    assert "ledger" in workspace.run("plan", "src", code=3).err
