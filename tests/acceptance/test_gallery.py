"""The gallery example: what its backend for matplotlib saves, and what its set-up says where it cannot work.

The backend is tested with the real matplotlib, in any Python of ours that has one.
"""

import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[2]
GALLERY = ROOT / "examples" / "gallery"
GALLERYS_OWN = GALLERY / ".venv" / "bin" / "python"

SCRIPTS = {
    "two.py": """
plt.figure(figsize=(1, 1))
plt.show()
plt.figure(figsize=(2, 1))
plt.show()
assert not plt.get_fignums()
""",
    "several.py": """
for width in (3, 1, 2):
    plt.figure(figsize=(width, 1))
plt.show()
plt.show()
""",
    "none.py": """
plt.show()
plt.figure()
plt.close()
plt.show()
""",
    "unshown.py": """
plt.figure(figsize=(1, 1))
plt.show()
plt.figure(figsize=(2, 1))
""",
    "clash.py": """
with open(os.path.join(folder, "figure-2.png"), "w") as file:
    file.write("the script's own")
for width in (1, 2):
    plt.figure(figsize=(width, 1))
plt.show()
""",
    "unblocked.py": """
figure = plt.figure(figsize=(1, 1))
plt.show(block=False)
assert plt.get_fignums() == [1]
figure.set_size_inches(2, 1)
plt.show()
assert not plt.get_fignums()
""",
    "interactive.py": """
plt.ion()
plt.figure(figsize=(1, 1))
plt.show()
assert plt.get_fignums() == [1]
""",
    "one_of_two.py": """
plt.figure(figsize=(1, 1))
plt.figure(figsize=(2, 1)).show()
assert plt.get_fignums() == [1, 2]
""",
    "saved.py": """
plt.figure(figsize=(1, 1))
plt.savefig(os.path.join(folder, "own.png"), dpi=300)
plt.show()
""",
    "moved.py": """
plt.figure(figsize=(1, 1))
plt.show()
os.chdir("/")
plt.figure(figsize=(2, 1))
plt.show()
""",
}
BEGIN = "import os\nimport matplotlib.pyplot as plt\nfolder = os.environ['BUILDRUNNER_OUTPUT_DIR']\n"

# The widths of the pictures in the order of their numbers; each is as wide as its figure, at 100 pixels an inch.
PICTURES = {
    "files/two.py/figure-1.png": 100,
    "files/two.py/figure-2.png": 200,
    "files/several.py/figure-1.png": 300,
    "files/several.py/figure-2.png": 100,
    "files/several.py/figure-3.png": 200,
    "files/unshown.py/figure-1.png": 100,
    "files/clash.py/figure-1.png": 100,
    "files/clash.py/figure-2.png": None,
    "files/clash.py/figure-3.png": 200,
    "files/unblocked.py/figure-1.png": 100,
    "files/unblocked.py/figure-2.png": 200,
    "files/interactive.py/figure-1.png": 100,
    "files/one_of_two.py/figure-1.png": 200,
    "files/saved.py/figure-1.png": 100,
    "files/saved.py/own.png": 300,
    "files/moved.py/figure-1.png": 100,
    "files/moved.py/figure-2.png": 200,
}


@pytest.fixture(scope="module")
def python() -> str:
    """A Python that has matplotlib."""
    if importlib.util.find_spec("matplotlib"):
        return sys.executable
    if GALLERYS_OWN.exists():
        return str(GALLERYS_OWN)
    pytest.skip("matplotlib is missing: neither the tests' Python nor examples/gallery/.venv (made by run.sh) has it")


@pytest.fixture
def environment(workspace: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the gallery's run.sh sets, beside the tests' own; matplotlib's list of fonts is made once."""
    settings = tmp_path_factory.getbasetemp() / "matplotlib"
    settings.mkdir(exist_ok=True)
    return {
        "MPLBACKEND": "module://saving_backend",
        "PYTHONPATH": os.pathsep.join([workspace.env["PYTHONPATH"], str(GALLERY)]),
        "MPLCONFIGDIR": str(settings),
    }


def width(picture: bytes) -> int | None:
    """Of a PNG file, by its header; None for anything else."""
    return struct.unpack(">I", picture[16:20])[0] if picture.startswith(b"\x89PNG\r\n\x1a\n") else None


def test_every_show_leaves_its_pictures_in_the_zip(workspace: Any, environment: dict[str, str], python: str) -> None:
    for name, text in SCRIPTS.items():
        workspace.script(name, BEGIN + text)
    archives = []
    for _ in range(2):
        done = workspace.json("--python", python, env=environment, code=0)
        archives.append(done.document["archive"]["sha256"])
    with zipfile.ZipFile(workspace.path / "result.zip") as packed:
        files = {name: packed.read(name) for name in packed.namelist() if name.startswith("files/")}
    assert {name: width(content) for name, content in files.items()} == PICTURES
    assert files["files/clash.py/figure-2.png"] == b"the script's own"
    for name in SCRIPTS:
        assert workspace.log(name, "err") == b""

    assert archives[0] == archives[1]
    versions = {name: b"Software" in content for name, content in files.items()}
    assert [name for name, found in versions.items() if found] == ["files/saved.py/own.png"]


def test_a_picture_that_cannot_be_saved_fails_the_script(
    workspace: Any, environment: dict[str, str], python: str
) -> None:
    workspace.script("a.py", BEGIN + "plt.figure()\nos.rmdir(folder)\nplt.show()\n")
    done = workspace.json("--python", python, env=environment, code=1)
    assert done.results["a.py"]["outputs"] == []
    assert b"FileNotFoundError" in workspace.log("a.py", "err")


def test_alone_a_script_saves_where_it_runs_and_says_so(
    workspace: Any, environment: dict[str, str], python: str
) -> None:
    text = "import matplotlib.pyplot as plt\nfor _ in range(2):\n    plt.figure()\n    plt.show()\n"
    script = workspace.script("a.py", text)
    here = workspace.path / "here"
    here.mkdir()
    done = subprocess.run(
        [python, script], cwd=here, env=workspace.env | environment, capture_output=True, text=True, check=True
    )
    assert sorted(os.listdir(here)) == ["figure-1.png", "figure-2.png"]
    assert done.stderr == f"saving_backend: no $BUILDRUNNER_OUTPUT_DIR, so pictures go to {here}\n"


@pytest.mark.parametrize("script", ["run.sh", "compare.sh"])
def test_set_up_says_so_when_every_python_is_too_new(tmp_path: Path, script: str) -> None:
    """In a copy of the example, with a PATH that holds one Python only."""
    project, tools = tmp_path / "a project", tmp_path / "bin"
    copy = project / "examples" / "gallery"
    copy.mkdir(parents=True)
    for name in ("setup.sh", "requirements.txt", script):
        shutil.copy(GALLERY / name, copy)
    setup, newer = project / "scripts" / "setup.sh", tools / "python3"
    setup.parent.mkdir()
    tools.mkdir()
    setup.write_text("#!/bin/sh\n")
    pretend = "import sys; sys.version_info = (3, 12, 0); exec(sys.argv.pop())"
    newer.write_text(f"#!/bin/sh\nexec {sys.executable} -I -S -c '{pretend}' \"$4\"\n")  # called with -I -S -c TEXT
    for stand_in in (setup, newer):
        stand_in.chmod(0o755)
    for tool in ("sh", "cat", "cksum", "dirname", "mkdir"):
        found = shutil.which(tool)
        assert found
        (tools / tool).symlink_to(found)
    done = subprocess.run(
        [copy / script], env={"PATH": str(tools)}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "python3 is Python 3.12.0: not for scikit-learn 1.2.2." in done.stderr
    assert "PYTHON=/path/to/python3.11" in done.stderr
    assert not (copy / ".venv").exists()
