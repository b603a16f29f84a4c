"""Warm is cold for scripts that were not written for us: folders that machines have, or can have, for other reasons."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest

from buildrunner import config
from tests.conformance.cases import Case, Setting, alone, of_folder
from tests.conformance.compare import State, compare, faults, summary

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(7200),
    pytest.mark.skipif("warm" not in config.MODES, reason="this version has no --mode warm"),
]

ROOT = Path(__file__).resolve().parents[2]
SECONDS, SECONDS_OF_PICTURES = 10.0, 60.0
"""What a script may take; those that take longer are passed over."""

DEBIANS = Path("/usr/share/doc/python3.11/examples")
SKIMAGES = Path("/usr/share/doc/python-skimage-doc/html/_downloads")
LIBRARYS = Path(os.__file__).parent / "test"
GALLERY = Path(os.environ.get("CONFORMANCE_GALLERY") or ROOT / "examples" / "gallery")

NOT_FOR_US: Mapping[str, str] = {
    "ssl/multissltests.py": "fetches and builds OpenSSL",
    "scripts/run_tests.py": "runs the whole of the library's tests",
    "test_regrtest": "runs the library's tests itself",
    "test_ensurepip": "changes the environment's packages",
}

Show = Callable[[str], None]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """Say what came of a folder also when all is well: it is what a soak is run for."""

    def say(text: str) -> None:
        with capsys.disabled():
            print("\n" + text)

    return say


def wanted(case: Case) -> bool:
    return not any(fnmatch(case.name, "*" + name) for name in NOT_FOR_US)


def judge(base: Path, cases: Sequence[Case], least: int, python: str, show: Show, seconds: float = SECONDS) -> None:
    chosen = [case for case in cases if wanted(case)]
    verdicts = compare(base, chosen, python=python, timeout=seconds)
    show(summary(verdicts))
    if wrong := faults(verdicts):
        pytest.fail(f"{len(wrong)} differences, shown above", pytrace=False)
    same = [v for v in verdicts if v.state is State.SAME and v.mode == "warm"]
    assert len(same) >= least, f"only {len(same)} were compared"


def test_debians_examples_of_python(tmp_path: Path, show: Show) -> None:
    if not DEBIANS.is_dir():
        pytest.skip(f"{DEBIANS} is missing: install the Debian package python3.11-examples")
    copy = tmp_path / "examples"
    shutil.copytree(DEBIANS, copy)
    judge(tmp_path / "base", list(of_folder(copy)), 120, sys.executable, show)


def test_the_librarys_own_tests(tmp_path: Path, show: Show) -> None:
    scripts = sorted(LIBRARYS.glob("test_*.py"))
    if len(scripts) < 100:
        pytest.skip(f"{LIBRARYS} is incomplete: this Python came without its tests (libpython3-testsuite in Debian)")
    runnable = [alone(path) for path in scripts if b"unittest.main(" in path.read_bytes()]
    judge(tmp_path, runnable, 200, sys.executable, show)


def gallery() -> tuple[str, dict[str, str]]:
    """The Python of the gallery's examples, and the environment they run in."""
    python, cache = GALLERY / ".venv" / "bin" / "python", GALLERY / ".cache"
    if not python.exists():
        pytest.skip(f"{python} is missing: examples/gallery/run.sh makes it (or CONFORMANCE_GALLERY names another)")
    return str(python), {
        "MPLBACKEND": "module://saving_backend",
        "PYTHONPATH": str(GALLERY),
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "SCIKIT_LEARN_DATA": str(cache / "data"),
        "XDG_CACHE_HOME": str(cache / "xdg"),
    }


def test_the_gallery_of_scikit_learn(tmp_path: Path, show: Show) -> None:
    python, env = gallery()
    examples = GALLERY / ".cache" / "examples"
    if not examples.is_dir():
        pytest.skip(f"{examples} is missing: examples/gallery/run.sh fetches it")
    copy = tmp_path / "examples"
    shutil.copytree(examples, copy)
    setting = Setting(options=("--cwd", "scratch"), env=env)
    judge(
        tmp_path / "base",
        [replace(case, setting=setting) for case in of_folder(copy)],
        120,
        python,
        show,
        SECONDS_OF_PICTURES,
    )


def test_the_gallery_of_scikit_image(tmp_path: Path, show: Show) -> None:
    if not SKIMAGES.is_dir():
        pytest.skip(f"{SKIMAGES} is missing: install the Debian package python-skimage-doc")
    python, env = gallery()
    setting = Setting(options=("--cwd", "scratch"), env=env)
    scripts = [alone(path, setting=setting) for path in sorted(SKIMAGES.glob("*/plot_*.py"))]
    judge(tmp_path, scripts, 60, python, show, SECONDS_OF_PICTURES)
