"""Options from `buildrunner.toml` and `pyproject.toml`: below the environment, above what is built in."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance


@pytest.fixture
def place(workspace: Any) -> Any:
    """A workspace with two scripts."""
    workspace.scripts(a="import os; print(os.environ['BUILDRUNNER_PARALLEL'])", b="pass")
    return workspace


def settings(place: Any, text: str | bytes, name: str = "buildrunner.toml") -> None:
    (place.path / name).write_bytes(text if isinstance(text, bytes) else text.encode())


BOTH = pytest.mark.parametrize(("file", "head"), [("buildrunner.toml", ""), ("pyproject.toml", "[tool.buildrunner]\n")])


@BOTH
def test_every_kind_of_value(place: Any, file: str, head: str) -> None:
    settings(
        place,
        head + 'jobs = 1\ntimeout = "5m"\ngrace = 2.5\ninclude = ["a*", "c*"]\nno-zip = true\noutput = "out"\n'
        'state = "record"\nthreads = 3\nrecursive = true\norder = "name"\njson = true\n',
        file,
    )
    document = place.run("run", "src").document
    assert (document["jobs"], document["archive"]) == (1, None)
    assert [r["name"] for r in document["results"]] == ["a.py"]
    assert sorted(os.listdir(place.path)) == sorted([file, "out", "record", "src"])
    # Verbs that have the options take them too.
    assert place.run("status").document["run"] == document["run"]
    assert place.run("logs", "a.py").out == "1\n"


def test_precedence(place: Any) -> None:
    def jobs(*options: str, **env: str) -> int:
        number: int = place.json("--no-zip", *options, env=env).document["jobs"]
        return number

    settings(place, "jobs = 3\n")
    assert jobs() == 3
    assert jobs(BUILDRUNNER_JOBS="2") == 2
    assert jobs("-j", "1", BUILDRUNNER_JOBS="2") == 1
    settings(place, "workers = 4\n")  # the option's other name
    assert jobs() == 4
    settings(place, 'jobs = "auto"\n')
    assert jobs() == len(os.sched_getaffinity(0))


def test_the_nearest_place_has_all_values_of_a_repeated_option(place: Any) -> None:
    settings(place, 'include = ["a*"]\n')
    assert list(place.json().results) == ["a.py"]
    assert list(place.json("--include", "b*").results) == ["b.py"]
    assert list(place.json(env={"BUILDRUNNER_INCLUDE": "b*"}).results) == ["b.py"]


def test_of_two_that_contradict_each_other_the_nearer_one_counts(place: Any) -> None:
    settings(place, "no-zip = true\nfail-fast = true\n")
    assert place.json().document["archive"] is None
    assert place.json("--zip", "mine.zip").document["archive"]["path"] == "mine.zip"
    assert place.json(env={"BUILDRUNNER_ZIP": "its.zip"}).document["archive"]["path"] == "its.zip"
    settings(place, 'zip = "file.zip"\n')
    assert place.json().document["archive"]["path"] == "file.zip"
    assert place.json("--no-zip").document["archive"] is None
    settings(place, "fail-fast = true\njobs = 1\n")
    place.scripts(a="exit(1)", b="exit(1)", c="pass")
    assert place.json("--order", "name", code=1).document["totals"]["skipped"] == 2
    assert place.json("--order", "name", "--max-fail", "2", code=1).document["totals"]["skipped"] == 1


def test_of_modules_in_advance_and_cold_the_nearer_one_counts(place: Any) -> None:
    def modes(*options: str, **env: str) -> set[str]:
        return {result["mode"] for result in place.json("--no-zip", *options, env=env).results.values()}

    settings(place, 'preload = ["auto"]\n')
    assert modes("--mode", "cold") == modes(BUILDRUNNER_MODE="cold") == {"cold"}
    settings(place, 'mode = "cold"\n')
    warm = {"warm"} if sys.platform == "linux" else {"cold"}
    assert modes("--preload", "json") == modes(BUILDRUNNER_PRELOAD="json") == warm
    assert modes() == {"cold"}


CONTRADICTION = "--mode cold and --preload: only warm scripts can have modules in advance; leave out one of the two\n"


def test_modules_in_advance_and_cold_from_one_place_are_told_with_it(place: Any) -> None:
    env = {"BUILDRUNNER_MODE": "cold", "BUILDRUNNER_PRELOAD": "json"}
    variables = "environment variable BUILDRUNNER_MODE and environment variable BUILDRUNNER_PRELOAD: "
    assert place.run("run", "src", env=env, code=2).err == f"buildrunner: {variables}{CONTRADICTION}"
    done = place.run("run", "src", "--preload", "json", "--mode", "cold", code=2)
    assert done.err == f"buildrunner: {CONTRADICTION}"
    settings(place, 'preload = ["json"]\nmode = "cold"\n')
    lines = "buildrunner.toml, line 2 and buildrunner.toml, line 1: "
    assert place.run("run", "src", code=2).err == f"buildrunner: {lines}{CONTRADICTION}"


FROM_A_VARIABLE = {
    "MODE=x": "Invalid value for '--mode' (environment variable BUILDRUNNER_MODE): 'x' is not one of",
    "RETRIES=x": "Invalid value for '--retries' (environment variable BUILDRUNNER_RETRIES): 'x' is not a valid integer",
    "WORKERS=x": "'--workers' (environment variable BUILDRUNNER_WORKERS): 'x' is no number of jobs",
    "JOBS=0": "buildrunner: environment variable BUILDRUNNER_JOBS: --jobs 0: give a number",
    "PRELOAD=1x": "buildrunner: environment variable BUILDRUNNER_PRELOAD: --preload 1x: give the name of a module",
}


@pytest.mark.parametrize("said", FROM_A_VARIABLE)
def test_a_variables_wrong_value_is_told_with_its_name(place: Any, said: str) -> None:
    name, _, value = said.partition("=")
    assert FROM_A_VARIABLE[said] in place.run("run", "src", env={f"BUILDRUNNER_{name}": value}, code=2).err
    option = "--" + name.lower()
    nearer = place.run("run", "src", option, value, env={f"BUILDRUNNER_{name}": value}, code=2)
    assert "variable" not in nearer.err


def test_a_flag_can_be_switched_off_for_once(place: Any) -> None:
    place.script("below/c.py", "pass")
    settings(place, "recursive = true\n")
    assert len(place.json().results) == 3
    assert len(place.json(env={"BUILDRUNNER_RECURSIVE": "false"}).results) == 2


WRONG = {
    "jbos = 1": "line 2: there is no option jbos; did you mean jobs?",
    "max_fail = 1": "line 2: there is no option max_fail; write max-fail",
    "xyzzy = 1": "line 2: there is no option xyzzy; `buildrunner COMMAND --help` lists them",
    'jobs = "x"': "line 2: jobs = \"x\": 'x' is no number of jobs; give a number or auto",
    "jobs = 4.5": "line 2: jobs = 4.5: '4.5' is no number of jobs",
    "jobs = true": "line 2: jobs = true: it takes text or a number",
    "jobs = 0": "line 2: --jobs 0: give a number from 1 to",
    "jobs = 0xffffffffffffffffffffffff": "line 2: jobs = 0xffffffffffffffffffffffff: that number is too large",
    "jobs = [1]": "line 2: jobs = [1]: it takes one value, no list",
    "jobs = 1979-05-27": "line 2: jobs = 1979-05-27: it takes text or a number",
    'timeout = "5 parsecs"': "line 2: timeout = \"5 parsecs\": '5 parsecs' is no duration; write 90s, 5m",
    "timeout = inf": "line 2: timeout = inf: 'inf' is no duration",
    "retries = 1.7": "line 2: retries = 1.7: '1.7' is not a valid integer",
    "retries = -1": "line 2: --retries -1: give 0 or more",
    'recursive = "yes"': 'line 2: recursive = "yes": it is on or off; write true or false',
    'include = "a*"': 'line 2: include = "a*": write a list: include = ["a*"]',
    "include = [true]": "line 2: include = [true]: it takes a list of texts",
    "zip = false": "line 2: zip = false: write no-zip = true",
    'targets = ["src"]': "line 2: targets is not an option: TARGETs are named on the command line",
    'args = ["x"]': "line 2: args is not an option: what scripts are passed stands behind --",
    'order = "best"': "line 2: order = \"best\": 'best' is not one of 'longest'",
    'python = "/no/such"': "line 2: --python /no/such: no such program",
    'output = "a\\u0000"': "no option takes the character NUL",
    'output = "src/inside"': "lies inside the source folder",
    "[run]\njobs = 1": "line 2: run is a table; options stand without one",
    "jobs = 1\nworkers = 1": "line 3: workers and jobs are the same; keep one of them",
    "jobs = 1\njobs = 2": "at line 3, column 9",
    "jobs = = 1": "at line 2, column 8",
    "jobs = " + "[" * 20_000: "nested too deeply",
    "jobs = " + "9" * 5000: "thousands of digits",
    '"\\u001b[31m" = 1': "there is no option \\x1b[31m",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:30])
def test_a_mistake_is_told_with_file_line_and_remedy(place: Any, text: str) -> None:
    settings(place, "# settings\n" + text + "\n")
    done = place.run("run", "src", code=2)
    assert WRONG[text] in done.err
    assert "lies inside" in done.err or done.err.startswith("buildrunner: buildrunner.toml")
    assert "\x1b" not in done.err
    assert sorted(os.listdir(place.path)) == ["buildrunner.toml", "src"]


def test_the_place_in_a_pyproject(place: Any) -> None:
    settings(place, '[project]\njobs = "x"\n\n[ tool . "buildrunner" ]\n\njobs = "x"\n', "pyproject.toml")
    assert "pyproject.toml [tool.buildrunner], line 6: jobs = " in place.run("run", "src", code=2).err
    settings(place, "[tool.buildrunner.run]\njobs = 2\n", "pyproject.toml")
    assert "line 1: run is a table" in place.run("run", "src", code=2).err
    settings(place, "[tool]\nbuildrunner = 3\n", "pyproject.toml")
    assert "write it as [tool.buildrunner]" in place.run("run", "src", code=2).err


def test_a_value_set_nearer_is_not_blamed_on_the_file(place: Any) -> None:
    settings(place, "jobs = 2\n")
    done = place.run("run", "src", "-j", "0", code=2)
    assert "--jobs 0" in done.err
    assert "buildrunner.toml" not in done.err


def test_both_files_are_one_too_many(place: Any) -> None:
    settings(place, "jobs = 1\n")
    settings(place, "[tool.buildrunner]\njobs = 2\n", "pyproject.toml")
    done = place.run("run", "src", code=2)
    assert "both buildrunner.toml and pyproject.toml [tool.buildrunner] hold settings; keep one" in done.err
    settings(place, "[tool.other]\nname = 'buildrunner'\n", "pyproject.toml")
    assert place.json().document["jobs"] == 1


def test_a_foreign_pyproject_need_not_be_sound(place: Any) -> None:
    settings(place, b"not \xff toml", "pyproject.toml")
    place.run("run", "src", "-q")
    settings(place, "[tool.buildrunner\n", "pyproject.toml")
    assert "pyproject.toml" in place.run("run", "src", code=2).err


def test_files_that_cannot_be_read(place: Any) -> None:
    path = place.path / "buildrunner.toml"
    settings(place, b'# \xc3\xa9\njobs = "\xff"\n')
    assert "buildrunner.toml, line 2: it is not UTF-8" in place.run("status", code=2).err
    path.unlink()
    os.mkfifo(path)
    assert "is no file" in place.run("status", code=2).err
    path.unlink()
    path.mkdir()
    assert "is no file" in place.run("status", code=2).err
    path.rmdir()
    path.symlink_to("nowhere")
    assert "a link to nothing" in place.run("status", code=2).err
    path.unlink()
    path.symlink_to("buildrunner.toml")
    assert "cannot read the settings in buildrunner.toml" in place.run("status", code=2).err


def test_help_and_version_need_no_settings(place: Any) -> None:
    settings(place, "jbos = 1\n")
    for words in (["--version"], ["--help"], ["run", "--help"], ["run", "src", "-h"]):
        place.run(*words)
    assert "jbos" in place.run("run", "src", "--", "--help", code=2).err
    assert "jbos" in place.run("ledger", "check", code=2).err


def test_the_parts_of_a_group_take_settings_too(place: Any) -> None:
    settings(place, 'state = "record"\noutput = "out"\nformat = "csv"\n')
    place.run("run", "src", "-q")
    assert "sound" in place.run("ledger", "check").out
    # `output` is the folder of logs and files, and no name for an export.
    assert place.run("ledger", "export").out.startswith("run,target,")
    settings(place, 'state = "record"\nformat = "xml"\n')
    assert "line 2: format = " in place.run("ledger", "export", code=2).err


def test_inside_a_script_the_folders_settings_count_and_the_runs_environment_does_not(workspace: Any) -> None:
    settings(workspace, 'state = "record"\nno-zip = true\n')
    inner = workspace.path / "inner"
    inner.mkdir()
    (inner / "x.py").write_text("pass")
    (inner / "buildrunner.toml").write_text("jobs = 3\nno-zip = true\n")
    workspace.scripts(
        a="import subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'buildrunner', 'run', 'x.py', '--json'], check=True, "
        f"cwd={str(inner)!r})"
    )
    workspace.json(env={"BUILDRUNNER_JOBS": "2"})
    done = workspace.run("status", "--json", cwd=inner)
    assert done.document["jobs"] == 3
    assert (workspace.path / "record").is_dir()


def test_without_a_file_nothing_is_loaded_for_one(place: Any) -> None:
    program = (
        "import sys\nfrom buildrunner.cli import main\nsys.argv = ['buildrunner', 'history']\n"
        "try:\n    main()\nfinally:\n    print('tomllib' in sys.modules, 'buildrunner.cli.settings' in sys.modules)\n"
    )
    place.run("run", "src", "-q")
    assert place.finish(place.start_python("-c", program), code=0).out.endswith("False False\n")
    settings(place, "[project]\nname = 'other'\n", "pyproject.toml")
    assert place.finish(place.start_python("-c", program), code=0).out.endswith("False True\n")
    settings(place, "[tool.buildrunner]\n", "pyproject.toml")
    assert place.finish(place.start_python("-c", program), code=0).out.endswith("True True\n")


def test_the_examples_of_the_manual(place: Any) -> None:
    manual = (Path(__file__).parents[2] / "docs/how-to/settings.md").read_text()
    first, second = (part.partition("```")[0] for part in manual.split("```toml\n")[1:])
    place.script("sim_a.py", "pass")
    settings(place, first)
    document = place.json().document
    assert (document["jobs"], document["archive"]) == (4, None)
    assert [r["name"] for r in document["results"]] == ["sim_a.py"]
    (place.path / "buildrunner.toml").unlink()
    settings(place, second, "pyproject.toml")
    assert place.json().document["jobs"] == 4
