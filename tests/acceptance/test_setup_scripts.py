"""The shell scripts a fresh clone is set up and checked with. Setting up itself is what runs these tests."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[2]
SHELL_SCRIPTS = [
    *sorted((ROOT / "scripts").glob("*.sh")),
    *sorted((ROOT / "examples").glob("*/*.sh")),
    ROOT / ".ci" / "run",
]


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda script: str(script.relative_to(ROOT)))
def test_script_is_executable_posix_shell(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", script], check=True)


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("run", "scripts/run.sh -q"),
        ("test", "scripts/test.sh -q"),
        ("bench", "scripts/bench.sh -q"),
        ("soak", "scripts/test.sh -m soak --timeout=0 -q"),
        ("guards", "scripts/guards.sh -q"),
        ("lint", "scripts/lint.sh"),
        ("types", "scripts/types.sh"),
        ("clean", "scripts/clean.sh"),
    ],
)
def test_make_calls_the_script(target: str, command: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "-C", ROOT, target, "ARGS=-q"],
        env=inherited,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("&&")[-1].strip() == command


def test_setup_says_so_when_there_is_no_suitable_python(tmp_path: Path) -> None:
    """In a copy of the project, with a PATH that holds no Python but an old one."""
    project, tools = tmp_path / "a project", tmp_path / "bin"
    (project / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup.sh", project / "scripts")
    (project / "pyproject.toml").touch()
    tools.mkdir()
    for tool in ("sh", "dirname", "cksum"):
        found = shutil.which(tool)
        assert found
        (tools / tool).symlink_to(found)
    old = tools / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)

    done = subprocess.run(
        [project / "scripts" / "setup.sh"],
        env={"PATH": str(tools), "PYTHON": "python9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(r"needs Python 3\.11 or newer", done.stderr)
    assert not (project / ".venv").exists()
