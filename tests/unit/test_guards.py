"""The table of guards: each can still be taken out, and has a test that is there to notice."""

from pathlib import Path

import pytest

from tests import guards


@pytest.mark.parametrize("guard", guards.GUARDS, ids=lambda guard: guard.name.replace(" ", "-"))
def test_a_guard_can_be_taken_out_and_has_its_test(guard: guards.Guard, tmp_path: Path) -> None:
    assert guards.faults(guard) == []
    file = tmp_path / guard.file
    file.parent.mkdir(parents=True)
    file.write_text((guards.ROOT / guard.file).read_text())
    guards.take_out(guard, tmp_path)  # what is left is still Python
    assert file.read_text() != (guards.ROOT / guard.file).read_text()


def test_no_two_guards_have_one_name() -> None:
    names = [guard.name for guard in guards.GUARDS]
    assert len(set(names)) == len(names)


def test_what_cannot_be_tested_any_more_is_said(tmp_path: Path) -> None:
    guard = guards.Guard(name="x", file="a.py", old="guard()", new="", test="t.py::it_is_noticed")
    assert len(guards.faults(guard, tmp_path)) == 2
    (tmp_path / "a.py").write_text("guard()\nguard()\n")
    (tmp_path / "t.py").write_text("def test_it_is_noticed_otherwise() -> None: ...\n")
    assert guards.faults(guard, tmp_path) == [
        "its text stands 2 times in a.py, and must stand there once",
        "there is no test t.py::it_is_noticed",
    ]
    (tmp_path / "a.py").write_text("guard()\n")
    (tmp_path / "t.py").write_text("def test_s01_s22_it_is_noticed() -> None: ...\n")
    assert guards.faults(guard, tmp_path) == []
    assert guards.node_id(guard, tmp_path) == "t.py::test_s01_s22_it_is_noticed"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_guard_is_missed_by_its_test() -> None:
    said: list[str] = []
    assert guards.main(say=said.append) == 0, "\n".join(said)
