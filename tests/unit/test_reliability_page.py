"""docs/reliability.md against the tests: each scenario's row names the tests that bear its number, and no other."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
SCENARIOS = range(1, 72)
OPEN = frozenset({69, 70})
"""Scenarios that no test shows yet; their rows say why. One that is shown must leave this set."""

ROW = re.compile(r"^\| (\d+) \|(.*)\|$", re.MULTILINE)
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
HOW = re.compile(r"(for real|emulated by|stands in the way:)(?=\W|$)")


def numbers(name: str) -> set[int]:
    """The scenarios a test's name bears.

    >>> sorted(numbers("test_s07_s13_a_daemon_s9")), numbers("test_this_s1_x")
    ([7, 13], set())
    """
    return {int(number) for number in re.findall(r"(?<=_)s(\d\d)(?=_)", name)}


def rows(text: str) -> dict[int, list[str]]:
    """The cells of each scenario's row: what happens, what is promised, tests, how."""
    found: dict[int, list[str]] = {}
    for number, cells in ROW.findall(text):
        assert int(number) not in found, f"scenario {number} has two rows"
        found[int(number)] = [cell.strip() for cell in re.split(r"(?<!\\)\|", cells)]
    return found


def scenario_tests() -> dict[tuple[str, str], set[int]]:
    """Every test function with a scenario in its name, by file and name."""
    found = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        path = str(file.relative_to(ROOT / "tests"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and numbers(node.name):
                found[path, node.name] = numbers(node.name)
    return found


@pytest.fixture(scope="module")
def page() -> dict[int, list[str]]:
    return rows(PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def bearers() -> dict[tuple[str, str], set[int]]:
    return scenario_tests()


def test_every_scenario_has_one_row_and_all_of_it(page: dict[int, list[str]]) -> None:
    assert sorted(page) == list(SCENARIOS)
    for number, cells in page.items():
        assert len(cells) == 4, number
        assert all(cells), number
        shown_by, how = cells[2:]
        said = HOW.match(how)
        assert said, f"row {number} does not say whether that is for real"
        if number in OPEN:
            assert (shown_by, said[0]) == ("–", "stands in the way:"), f"{number} is shown: take it out of OPEN"
        else:
            assert TEST.search(shown_by), f"scenario {number} is shown by nothing"


def test_every_test_a_row_names_is_there_and_bears_the_number(
    page: dict[int, list[str]], bearers: dict[tuple[str, str], set[int]]
) -> None:
    for number, cells in page.items():
        for test in TEST.findall(cells[2]):
            assert number in bearers.get(test, set()), f"row {number} names {'::'.join(test)}"
        rest = TEST.sub("", cells[2]).replace("<br>", "").strip()
        assert rest in ("", "–"), f"row {number} holds what is no test: {rest}"


def test_every_test_that_bears_a_number_is_named_in_its_row(
    page: dict[int, list[str]], bearers: dict[tuple[str, str], set[int]]
) -> None:
    missing = [
        f"row {number} lacks {path}::{name}"
        for (path, name), scenarios in bearers.items()
        for number in sorted(scenarios)
        if number not in page or (path, name) not in TEST.findall(page[number][2])
    ]
    assert not missing, "\n".join(missing)


def test_the_page_can_be_read_wrong(bearers: dict[tuple[str, str], set[int]]) -> None:
    assert rows("| 3 | a | b | `unit/test_x.py::test_s03_y` | for real |\n") == {
        3: ["a", "b", "`unit/test_x.py::test_s03_y`", "for real"]
    }
    with pytest.raises(AssertionError, match="two rows"):
        rows("| 3 | a | b | c | d |\n| 3 | a | b | c | d |\n")
    assert bearers["acceptance/test_bad_input.py", "test_s38_nothing_to_run"] == {38}
