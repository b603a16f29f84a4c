"""Randomness is science: what scripts draw without a seed differs between the forks of one worker as it does cold."""

import sys
from dataclasses import fields
from pathlib import Path

import pytest

from buildrunner import config
from tests.conformance.arms import WARM, Arm, observe
from tests.conformance.cases import Case, Setting, alone

SCRIPTS = 100
DRAWS_FEW = "import os, random\nprint(random.random(), random.Random().random(), os.urandom(9).hex())\n"
DRAWS = """\
import os, random, secrets, tempfile, uuid
print(random.random(), random.getrandbits(64), random.SystemRandom().random(), secrets.token_hex(9), uuid.uuid4().hex,
      uuid.uuid1().hex, "n" + next(tempfile._get_candidate_names()), os.urandom(9).hex(), random.Random().random())
"""
AT_START = "import random, secrets, tempfile\nprint(end=secrets.token_hex()[:0])\n"
DRAWS_NUMPY = """\
import numpy
print(numpy.random.random(), numpy.random.default_rng().random(), numpy.random.RandomState().randint(1 << 62),
      numpy.random.mtrand._rand.bytes(9).hex(), numpy.random.SeedSequence().entropy)
"""


def different(base: Path, text: str, arm: Arm, *, start: Path | None = None) -> int:
    """Run the text a hundred times; every column must have a hundred values. Returns how many ran in the arm's mode."""
    script = base / "draws.py"
    script.write_text(text)
    setting = Setting(start=start)
    cases: list[Case] = [alone(script, name=f"draw{number}", setting=setting) for number in range(SCRIPTS)]
    seen = observe(base / "base", cases, arm, python=sys.executable)[:SCRIPTS]
    assert all(not one.parts["stderr"] for one in seen), seen[0].parts["stderr"].decode()
    columns = zip(*(one.parts["stdout"].split() for one in seen), strict=True)
    assert [len(set(column)) for column in columns] == [SCRIPTS] * len(seen[0].parts["stdout"].split())
    return sum(one.mode == arm.mode for one in seen)


@pytest.mark.skipif("warm" not in config.MODES, reason="this version has no --mode warm")
def test_a_hundred_forked_scripts_draw_a_hundred_different_numbers(tmp_path: Path) -> None:
    assert different(tmp_path, DRAWS_FEW, WARM) == SCRIPTS


@pytest.mark.skipif("warm" not in config.MODES, reason="this version has no --mode warm")
def test_they_do_where_what_they_draw_with_was_imported_as_python_started(tmp_path: Path) -> None:
    (start := tmp_path / "at_start.py").write_text(AT_START)
    assert different(tmp_path, DRAWS, WARM, start=start) == SCRIPTS


@pytest.mark.skipif(
    "preload" not in {field.name for field in fields(config.Options)}, reason="this version has no --preload"
)
def test_a_hundred_scripts_draw_different_numbers_from_a_preloaded_numpy(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    arm = Arm(mode="warm", options=("--preload", "numpy"))
    assert different(tmp_path, DRAWS_NUMPY, arm) == SCRIPTS


@pytest.mark.skipif("warm" not in config.MODES, reason="this version has no --mode warm")
def test_numbers_drawn_once_for_all_of_a_workers_scripts_would_be_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"\[2\] == \[100\]"):
        different(tmp_path, "import os; print(os.getppid())", WARM)
