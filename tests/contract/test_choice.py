"""Which scripts a run has: shards that together are everything, whatever happens between them, and what failed last."""

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from buildrunner.choice import Choice, choose
from buildrunner.config import Options
from buildrunner.errors import NothingLeft, UsageError
from buildrunner.job import Batch, JobSpec, JobState, Outcome
from buildrunner.ledger import Ledger, Reader
from tests.contract.ledgers import add_run, ran, receipt, record, start

NAMES = [f"s{number:02}" for number in range(30)]


def batch(names: Sequence[str]) -> Batch:
    return Batch(target="src", key="/src", jobs=tuple(JobSpec(name=name) for name in names))


def chosen(choice: Choice) -> list[str]:
    return [spec.name for spec in choice.batch.jobs]


Run = Callable[..., list[str]]


@pytest.fixture
def run(ledger: Ledger) -> Run:
    """Chooses, records the run with random times (`failed` fail), and returns the names that it had."""
    rng = random.Random(7)
    number = 0

    def run(names: Sequence[str] = NAMES, failed: str | Sequence[str] = (), **options: Any) -> list[str]:
        nonlocal number
        asked = Options(targets=("src",), **options)
        choice = choose(ledger, asked, batch(names))
        number += 1
        recorded = asked.to_json() | {"workers": 2, "shard_round": choice.round}
        row = add_run(ledger, *choice.batch.jobs, name=f"r{number:03}", options=recorded, args=asked.args)
        for name in chosen(choice):
            seconds = rng.expovariate(1 / 10)
            if name in failed:
                fail(ledger, row, name, seconds)
            else:
                ran(ledger, row, name, seconds)
        return chosen(choice)

    return run


def fail(ledger: Ledger, row: Any, name: str, seconds: float = 1.0) -> None:
    id_ = start(ledger, row, name, f"{row.name}-{name!a}")
    r = receipt(f"{row.name}-{name!a}", name, Outcome.EXITED, exit_code=1, seconds=seconds)
    record(ledger, id_, r, state=JobState.FAILED)


def are_parts(parts: Sequence[Sequence[str]], names: Sequence[str] = NAMES) -> bool:
    """Whether nothing is twice, and nothing missing."""
    return sorted(name for part in parts for name in part) == sorted(names)


# Shards


@pytest.mark.parametrize("count", [1, 2, 3, 7, 30])
def test_without_a_record_shards_are_everything_once(count: int) -> None:
    def shard(number: int) -> list[str]:
        return chosen(choose(None, Options(targets=("src",), shard=f"{number}/{count}"), batch(NAMES)))

    parts = [shard(number) for number in range(1, count + 1)]
    assert are_parts(parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_after_another_in_one_folder_they_are_everything_once(run: Run) -> None:
    """Each of them adds durations, by which the next would have been made in another way."""
    run()
    for order in ([1, 2, 3], [3, 1, 2], [2, 3, 1]):
        assert are_parts([run(shard=f"{number}/3") for number in order]), order


def test_a_new_round_goes_by_what_the_last_one_took(run: Run, ledger: Ledger) -> None:
    first = [run(shard=f"{number}/2") for number in (1, 2)]
    assert first == [NAMES[::2], NAMES[1::2]]  # nothing was known
    second = [run(shard=f"{number}/2") for number in (1, 2)]
    assert are_parts(second)
    assert second != first
    for row in ledger.runs():
        assert row.options["shard_round"]["base"] == {"r001": 0, "r002": 0, "r003": 2, "r004": 2}[row.name]


def test_a_round_ends_also_when_the_record_keeps_fewer_runs_than_it_has_shards(run: Run, ledger: Ledger) -> None:
    rounds: list[str] = []
    for _ in range(2):
        parts = []
        for number in (1, 2, 3):
            parts.append(run(shard=f"{number}/3"))
            ledger.forget(1)
        assert are_parts(parts)
        kept = ledger.run().options["shard_round"]
        rounds.append(kept["plan"])
        assert kept["replaces"] == (rounds[0] if len(rounds) > 1 else None)
    assert rounds[0] != rounds[1]


def test_shards_take_about_as_long_as_one_another(run: Run, ledger: Ledger) -> None:
    for _ in range(3):
        run()
    asked = [Options(targets=("src",), shard=f"{number}/3") for number in (1, 2, 3)]
    choices = [choose(ledger, options, batch(NAMES)) for options in asked]
    loads = [sum(choice.durations[name] for name in chosen(choice)) for choice in choices]
    assert max(loads) / min(loads) <= 4 / 3
    assert are_parts([chosen(choice) for choice in choices])


def test_with_the_same_record_they_are_the_same_on_every_machine(run: Run, ledger: Ledger, tmp_path: Path) -> None:
    run()
    ledger.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(ledger.state, tmp_path / "copy")
    here = [run(shard=f"{number}/2") for number in (1, 2)]
    reader = Reader.open(tmp_path / "copy")
    choices = [choose(reader, Options(targets=("src",), shard=f"{k}/2"), batch(NAMES)) for k in (1, 2)]
    reader.close()
    assert [chosen(choice) for choice in choices] == here
    [_, second] = [row.options["shard_round"]["plan"] for row in list(ledger.runs())[:2]]
    assert [choice.words for choice in choices] == [f"shard {number}/2 (plan {second})" for number in (1, 2)]


def test_a_shard_again_before_the_round_is_over_is_the_same_again(run: Run) -> None:
    run()
    first = run(shard="1/2")
    assert run(shard="1/2") == first
    assert are_parts([first, run(shard="2/2")])


def test_a_shard_that_was_broken_off_keeps_its_round(run: Run, ledger: Ledger) -> None:
    run()
    first = run(shard="1/2")
    ledger.set_run(ledger.run("r002"), state="interrupted")
    second = run(shard="2/2")
    assert are_parts([first, second])
    for _ in range(2):  # the next nights, in the same order
        nights = [run(shard="1/2"), run(shard="2/2")]
        assert are_parts(nights)
    assert nights != [first, second], "by then a new round has begun"


def test_that_a_shard_was_broken_off_outlives_its_run(run: Run, ledger: Ledger) -> None:
    run()
    first = run(shard="1/2")
    ledger.set_run(ledger.run("r002"), state="interrupted")
    second = run(shard="2/2")
    ledger.forget(1)
    assert run(shard="2/2") == second
    ledger.forget(1)
    assert run(shard="1/2") == first


def test_an_earlier_run_that_is_resumed_breaks_no_round(run: Run, ledger: Ledger) -> None:
    row = add_run(ledger, *map(str, NAMES), name="broken off", options={"workers": 2})
    for name in NAMES[:10]:
        ran(ledger, row, name, 3.0)
    first = run(shard="1/2")
    for name in NAMES[10:]:
        ran(ledger, row, name, float(name[1:]) ** 2 % 17)
    assert are_parts([first, run(shard="2/2")])


def test_other_runs_in_between_break_no_round(run: Run) -> None:
    run()
    first = run(shard="1/2")
    run()
    run(shard="1/3")
    run(shard="2/2", args=("-x",))
    run(NAMES[:10], shard="2/2")  # as with --include
    assert are_parts([first, run(shard="2/2")])
    assert are_parts([run(shard="1/2"), run(shard="2/2")])


def test_repeating_what_failed_breaks_no_round_and_is_all_of_it(run: Run) -> None:
    for _ in range(3):  # the first shard fails nowhere, so its repetition is no run
        halves = [run(shard="1/2"), run(shard="2/2", failed=NAMES)]
        assert are_parts(halves)
        with pytest.raises(NothingLeft):
            run(shard="1/2", last_failed=True)
        assert run(shard="2/2", last_failed=True) == halves[1]
    run(failed=NAMES)
    first = run(shard="1/2")
    run(shard="2/2", last_failed=True)
    assert are_parts([first, run(shard="2/2")])
    run(failed=NAMES)
    for _ in range(2):
        assert are_parts([run(shard=f"{k}/2", last_failed=True, failed=NAMES) for k in (1, 2)])


def test_fewer_scripts_than_shards(run: Run, ledger: Ledger) -> None:
    few = NAMES[:2]
    assert [run(few, shard="1/4"), run(few, shard="2/4")] == [["s00"], ["s01"]]
    for number in (3, 4):
        with pytest.raises(NothingLeft, match=rf"shard {number}/4 .* of src has no scripts: there are fewer than 4"):
            run(few, shard=f"{number}/4")
    run(few, shard="1/4")
    assert ledger.run().options["shard_round"]["base"] == 2  # the round before was over
    names = NAMES[:8]  # the next rounds are whole ones again
    for order in ([4, 1, 2, 3], [1, 2, 3, 4]):
        assert are_parts([run(names, shard=f"{number}/4") for number in order], names)


def test_names_of_any_bytes(run: Run) -> None:
    odd = ["\udcff", "é", "a\n", "'", "x" * 255]
    run(odd)
    assert are_parts([run(odd, shard="1/2"), run(odd, shard="2/2")], odd)


@pytest.mark.parametrize(
    "shard", ["0/2", "3/2", "1", "a/b", "1/0", "", "/", "1/", "/2", "-1/2", "1/-2", "1.0/2", "1/2/3", "1/9999999999"]
)
def test_nonsense_is_refused(shard: str) -> None:
    with pytest.raises(UsageError, match=r"^--shard .*: give K/N with K from 1 to N"):
        Options(targets=("src",), shard=shard)


# What failed last


def test_what_failed_when_it_last_ran(run: Run) -> None:
    run(NAMES[:6], failed=["s00", "s01", "s02"])
    run(NAMES[:2], failed=["s01"])
    run(NAMES[4:6], failed=["s05"])
    assert run(NAMES[:6], last_failed=True, failed=["s02"]) == ["s01", "s02", "s05"]
    assert run(NAMES[:8], last_failed=True) == ["s02", "s06", "s07"]
    with pytest.raises(NothingLeft, match="all of src passed the last time"):
        run(NAMES[:8], last_failed=True)


def test_what_failed_in_a_run_that_began_earlier_but_went_on_later(run: Run, ledger: Ledger) -> None:
    first = add_run(ledger, "a", "b", name="1", options={"workers": 2})
    second = add_run(ledger, "a", "b", name="2", options={"workers": 2})
    fail(ledger, second, "a")
    ran(ledger, second, "b", 1.0)
    resumed = first  # its attempts' names begin with 1, but ids say when an attempt began
    for name, state, outcome in (("a", JobState.PASSED, Outcome.OK), ("b", JobState.FAILED, Outcome.EXITED)):
        id_ = start(ledger, resumed, name, f"3-{name}")
        record(ledger, id_, receipt(f"3-{name}", name, outcome), state)
    assert run(["a", "b"], last_failed=True) == ["b"]


def test_what_was_broken_off_or_skipped_did_not_pass(run: Run, ledger: Ledger) -> None:
    run(["a", "b", "c"])
    row = add_run(ledger, "a", "b", name="r900", options={"workers": 2})
    id_ = start(ledger, row, "a", "r900-a")
    record(ledger, id_, receipt("r900-a", "a", Outcome.CANCELLED), JobState.CANCELLED)
    with ledger.transaction():
        ledger.set_states([ledger.job_ids(row)["b"]], JobState.SKIPPED)
    assert run(["a", "b", "c"], last_failed=True) == ["a", "b"]


def test_a_failed_script_that_is_gone(run: Run) -> None:
    run(["a", "b", "c"], failed=["a", "b"])
    assert run(["b", "c"], last_failed=True) == ["b"]
    with pytest.raises(NothingLeft):
        run(["c"], last_failed=True)


def test_without_a_record_it_is_all_of_them(ledger: Ledger) -> None:
    options = Options(targets=("src",), last_failed=True)
    for reader in (None, ledger):
        choice = choose(reader, options, batch(["a", "b"]))
        assert (chosen(choice), choice.words) == (["a", "b"], "all, because no earlier run of them is recorded")
