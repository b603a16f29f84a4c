"""The benchmarks, tiny: that they fit the program, count what they run, and put their tables where they belong."""

import importlib
import json
import subprocess
import sys
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import ROOT

BENCHMARKS = ROOT / "benchmarks"


def bench(name: str, *arguments: str, place: Path) -> dict[str, Any]:
    """What a benchmark measures."""
    file = place / "result.json"
    argv = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--rounds", "1", "--json", str(file), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A benchmark as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.mark.skipif(sys.platform != "linux", reason="warm mode and page faults are shown on Linux only")
def test_every_step_of_a_warm_script_is_stamped(tmp_path: Path) -> None:
    drawing = tmp_path / "where.svg"
    result = bench("where", "--scripts", "5", "--svg", str(drawing), place=tmp_path)
    steps = {step["what"]: step for step in result["steps"]}
    assert all(step["us"] >= 0 for step in steps.values())
    assert steps["the script"]["from_us"] > steps["fork, as the worker sees it"]["from_us"]
    faults = sum(step["faults"] for step in steps.values() if step["who"] == "script's process")
    assert 20 < faults < 5000
    assert all(escape(what) in drawing.read_text() for what in steps)


@pytest.mark.skipif(sys.platform != "linux", reason="warm mode is shown on Linux only")
def test_cold_and_warm_run_each_script_once(tmp_path: Path) -> None:
    arms = ["buildrunner run", "buildrunner run --mode warm"]
    options = [word for arm in arms for word in ("--arms", arm)]
    result = bench("peers", "--scripts", "2", "--workload", "pass", *options, place=tmp_path)["pass"]
    assert sorted(result["arms"]) == arms
    assert all(arm["beyond_ms_per_script"]["median"] > 0 for arm in result["arms"].values())


def test_a_part_measured_again_leaves_the_others_as_they_were(load: Any, tmp_path: Path) -> None:
    every, known = load("all"), tmp_path / "results.json"

    def measured(title: str) -> Any:
        return every.Part(
            title=title, measure=None, quick=lambda _: {"of": title}, markdown=lambda result: f"{result['of']}\n"
        )

    def run(*arguments: str) -> Any:
        every.main(["--quick", "--output", str(tmp_path), *arguments])
        return json.loads(known.read_text())

    every.PARTS = {"one": measured("first"), "two": measured("second")}
    assert {name: run()[name] for name in every.PARTS} == {"one": {"of": "first"}, "two": {"of": "second"}}
    every.PARTS["one"] = measured("again")
    assert {name: run("--only", "one")[name] for name in every.PARTS} == {
        "one": {"of": "again"},
        "two": {"of": "second"},
    }
    page = (tmp_path / "RESULTS.md").read_text()
    assert page.index("## again\n") < page.index("## second\n")
    known.write_text("{}")  # of another version: nothing in it is known
    assert "two" not in run("--only", "one")


def test_tables_are_replaced_by_their_heads(load: Any) -> None:
    page = "# Page\n\n| a | b |\n| --- | ---: |\n\nstays\n\n| c | d |\n| --- | ---: |\n| 1 | 2 |\n"
    results = "| a | b |\n| --- | ---: |\n| 3 | 4 |\n| 5 | 6 |\n\n| e |\n| --- |\n| 7 |\n"
    wanted = page.replace("| a | b |\n| --- | ---: |\n", "| a | b |\n| --- | ---: |\n| 3 | 4 |\n| 5 | 6 |\n")
    assert load("all").replace_tables(page, results) == wanted


def test_an_aim_that_was_not_measured_is_not_reached(load: Any) -> None:
    aims = load("aims")
    warm = {"times_xargs": {"median": 0.3}, "times_parallel": {"median": 0.1}}
    result = {"peers": {"pass": {"arms": {"buildrunner run --mode warm": warm}}}}
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:4] for line in aims.markdown(result).splitlines()}
    assert rows["`pass`, warm: × xargs"] == ["0.30", "0.28", "no"]
    assert rows["`pass`, warm: × GNU parallel --joblog --results"] == ["0.10", "0.17", "yes"]
    assert rows["numpy, warm with auto preload: × xargs"] == ["–", "0.10", "not measured"]
