"""The GitHub action: its steps are run here as the runner would, with files that stand for the runner's."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed"),
]

FOLDER = Path(__file__).resolve().parents[2] / ".github" / "actions" / "buildrunner"
ACTION: dict[str, Any] = yaml.safe_load((FOLDER / "action.yml").read_text())
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")


@dataclass
class Job:
    """What the runner holds while it carries the action out."""

    inputs: dict[str, str]
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    code: int = 0
    log: str = ""
    uploads: dict[str, str] | None = None

    def value(self, expression: str) -> str:
        kind, _, rest = expression.strip().partition(".")
        if kind == "inputs":
            return self.inputs[rest]
        assert kind == "steps", expression
        step, _, name = rest.partition(".outputs.")
        return self.outputs.get(step, {}).get(name, "")

    def text(self, text: str) -> str:
        return EXPRESSION.sub(lambda match: self.value(match[1]), text)

    def holds(self, condition: str) -> bool:
        condition = condition.removeprefix("${{").removesuffix("}}")
        if "always()" not in condition and self.code:
            return False
        condition = condition.replace("always()", "True").replace("&&", "and").replace("||", "or")
        return bool(eval(re.sub(r"(?:inputs|steps)\.[\w.-]+", lambda match: repr(self.value(match[0])), condition)))

    @property
    def result(self) -> dict[str, str]:
        return {name: self.text(output["value"]) for name, output in ACTION["outputs"].items()}


def carry_out(workspace: Any, **inputs: str) -> Job:
    """The action in a workspace; `install` is none unless said, and the program on PATH is this one."""
    given = {name: str(settings.get("default", "")) for name, settings in ACTION["inputs"].items()}
    given |= {"install": "none", "target": "src"} | {name.replace("_", "-"): text for name, text in inputs.items()}
    assert set(given) == set(ACTION["inputs"])
    job = Job(given)
    temp = workspace.path / "runner-temp"
    programs = workspace.path / "programs"
    temp.mkdir(exist_ok=True)
    programs.mkdir(exist_ok=True)
    for name, options in (("buildrunner", "-m buildrunner"), ("python3", "")):
        program = programs / name
        if not program.exists():
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {options} "$@"\n')
            program.chmod(0o755)
    for step in STEPS:
        if not job.holds(step.get("if", "True")):
            continue
        if "run" in step:
            assert step["shell"] == "bash"
            job.code = run_step(workspace, job, step, temp, programs) or job.code
        elif step["uses"].startswith("actions/upload-artifact@"):
            job.uploads = {name: job.text(text) for name, text in step["with"].items()}
    return job


def run_step(workspace: Any, job: Job, step: dict[str, Any], temp: Path, programs: Path) -> int:
    output = temp / f"output-{step['id']}"
    output.write_text("")
    (temp / "script.sh").write_text(step["run"])
    env = {
        **workspace.env,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "GITHUB_ACTIONS": "true",
        "GITHUB_ACTION_PATH": str(FOLDER),
        "GITHUB_OUTPUT": str(output),
        "GITHUB_STEP_SUMMARY": str(temp / "summary.md"),
        "GITHUB_WORKSPACE": str(workspace.path),
        "RUNNER_TEMP": str(temp),
        **{name: job.text(text) for name, text in step.get("env", {}).items()},
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", temp / "script.sh"],
        cwd=workspace.path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        timeout=300, check=False,
    )  # fmt: skip
    job.log += done.stdout.decode(errors="backslashreplace")
    job.outputs[step["id"]] = read_outputs(output.read_text(errors="surrogateescape"))
    return done.returncode


def read_outputs(text: str) -> dict[str, str]:
    """GITHUB_OUTPUT as the runner reads it: `name=value`, or `name<<END`, lines, `END`."""
    found = {}
    lines = iter(text.splitlines())
    for line in lines:
        name, mark, rest = line.partition("<<")
        if mark and "=" not in name:
            value = []
            while (line := next(lines)) != rest:
                value.append(line)
            found[name] = "\n".join(value)
        elif line:
            name, equals, value_ = line.partition("=")
            assert equals
            found[name] = value_
    return found


def test_no_input_is_part_of_a_scripts_text() -> None:
    for step in STEPS:
        assert "${{" not in step.get("run", "")
        for text in step.get("env", {}).values():
            assert EXPRESSION.fullmatch(text)
    used = set(re.findall(r"inputs\.([\w-]+)", (FOLDER / "action.yml").read_text()))
    assert used == set(ACTION["inputs"])
    assert all(settings["description"] for settings in [*ACTION["inputs"].values(), *ACTION["outputs"].values()])


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.sh")), ids=lambda script: script.name)
def test_the_shell_scripts_can_be_read(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


def test_a_run_that_passes(workspace: Any) -> None:
    workspace.scripts(a="import sys; print(sys.argv[1:], sys.executable)", b="pass")
    job = carry_out(workspace, script_arguments="one 'two words' $HOME")
    assert job.code == 0, job.log
    zipped, report = workspace.path / "result.zip", workspace.path / "buildrunner-junit.xml"
    assert {**job.result, "run": "", "zip-sha256": ""} == {
        "exit-code": "0", "run": "", "zip": str(zipped), "zip-sha256": "", "junitxml": str(report),
        "jobs": "2", "passed": "2", "failed": "0", "skipped": "0", "cancelled": "0",
    }  # fmt: skip
    document = workspace.run("status", "--json").document
    assert (job.result["run"], job.result["zip-sha256"]) == (document["run"], document["archive"]["sha256"])
    assert job.uploads
    assert job.uploads["path"].split() == [str(zipped), str(report)]
    assert workspace.log("a.py").decode().startswith("['one', 'two words', '$HOME'] ")
    assert [p.name for p in (workspace.path / "runner-temp").iterdir() if p.is_dir()] == []


def test_a_run_that_fails_still_says_everything(workspace: Any) -> None:
    workspace.scripts(a="import os; print(sorted(k for k in os.environ if k.startswith('INPUT_')))", b="1/0")
    job = carry_out(workspace, arguments="--retries 1", jobs="1")
    assert job.code == 1
    assert (job.result["exit-code"], job.result["passed"], job.result["failed"]) == ("1", "1", "1")
    assert "::error file=src/b.py,line=1,title=b.py%3A exit code 1 after 2 attempts" in job.log
    assert job.uploads, "also then"
    assert workspace.log("a.py") == b"[]\n"
    assert "1 of 2 scripts did not pass" in (workspace.path / "runner-temp" / "summary.md").read_text()


EVIL = [
    "$(touch pwned)`touch pwned`; touch pwned #${IFS}touch${IFS}pwned",
    "'; touch pwned; '\"; touch pwned; \"",
    "x\ntouch pwned\n--zip=x -x",
]


@pytest.mark.parametrize("evil", EVIL)
def test_no_input_is_run_by_the_shell(workspace: Any, evil: str) -> None:
    workspace.scripts(a="pass")
    for name in (
        "target",
        "jobs",
        "arguments",
        "script_arguments",
        "working_directory",
        "zip",
        "junitxml",
        "events",
        "artifact",
    ):
        job = carry_out(workspace, **{name: evil})
        assert job.result["exit-code"] in ("", "0", "2"), job.log
    assert not list(workspace.path.rglob("pwned"))


def test_a_name_cannot_forge_an_output(workspace: Any) -> None:
    workspace.scripts(a="raise SystemExit(1)")
    job = carry_out(workspace, zip="x\nexit-code=0\npassed<<EOF\n9\nEOF")
    assert (job.result["exit-code"], job.result["passed"]) == ("1", "0")
    assert job.result["zip"] == str(workspace.path / "x\nexit-code=0\npassed<<EOF\n9\nEOF")


def test_several_targets_elsewhere_without_zip_or_report(workspace: Any) -> None:
    for name in ("one", "-two"):
        (workspace.path / "deep" / name).mkdir(parents=True)
        (workspace.path / "deep" / name / "a.py").write_text("pass")
    job = carry_out(
        workspace, target="one\n-two\n", working_directory="deep", zip="none", junitxml="", events="e.jsonl"
    )
    assert job.code == 0, job.log
    assert (job.result["jobs"], job.result["zip"], job.result["junitxml"]) == ("2", "", "")
    assert job.uploads is None
    assert (workspace.path / "deep" / "e.jsonl").exists()


def test_nothing_left_and_nothing_meant(workspace: Any) -> None:
    workspace.scripts(a="pass")
    carry_out(workspace, events="e.jsonl")
    job = carry_out(workspace, arguments="--last-failed", events="e.jsonl")
    assert (job.code, job.result["exit-code"], job.result["jobs"]) == (0, "0", "0")
    assert job.result["run"] == job.result["zip"] == "", "not what the run before has left"
    assert job.result["junitxml"]
    job = carry_out(workspace, arguments="--nonsense", upload="false")
    assert (job.code, job.result["exit-code"], job.uploads) == (2, "2", None)
    assert job.result["junitxml"] == ""
    assert re.search(r"^::error title=buildrunner::No such option.*--nonsense", job.log, re.MULTILINE)


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ({"arguments": "--include 'a b"}, "::arguments cannot be read: No closing quotation"),
        ({"script_arguments": "it's"}, "script-arguments cannot be read: No closing quotation"),
        ({"arguments": "-- x"}, "arguments may hold no --: that is the input script-arguments"),
        ({"arguments": "--junitxml=x.xml"}, "arguments may hold no --junitxml: that is the input junitxml"),
        ({"working_directory": "nowhere"}, "working-directory cannot be entered"),
        ({"arguments": "--retries -1"}, "--retries -1: give 0 or more"),
        ({"target": "nowhere"}, "nowhere"),
    ],
)
def test_a_mistake_is_annotated(workspace: Any, inputs: dict[str, str], what: str) -> None:
    workspace.scripts(a="pass")
    job = carry_out(workspace, **inputs)
    assert job.code == 2
    [annotation] = [line for line in job.log.splitlines() if line.startswith("::error")]
    assert what in annotation


def test_what_the_repository_sets_counts_where_the_step_says_nothing(workspace: Any) -> None:
    workspace.scripts(a="pass", b="pass", c="pass")
    (workspace.path / "buildrunner.toml").write_text('jobs = 3\nzip = "own.zip"\n')
    job = carry_out(workspace)
    assert job.result["zip"] == str(workspace.path / "own.zip")
    assert workspace.run("status", "--json").document["jobs"] == 3
    job = carry_out(workspace, zip="other.zip", jobs="1")
    assert job.result["zip"] == str(workspace.path / "other.zip")
    assert workspace.run("status", "--json").document["jobs"] == 1


def test_an_interrupted_run_is_carried_on(workspace: Any) -> None:
    workspace.scripts(a="import time; time.sleep(60 if __import__('os').path.exists('hold') else 0)")
    (workspace.path / "hold").touch()
    job = carry_out(workspace, arguments="--deadline 8s")
    assert job.code == 1
    assert "\n::error title=buildrunner::the run was interrupted with 1 script left to run\n" in job.log
    (workspace.path / "hold").unlink()
    job = carry_out(workspace, arguments="--deadline 8s --resume")
    assert (job.code, job.result["passed"]) == (0, "1"), job.log


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ({"install": ""}, str(FOLDER.parents[2])),
        ({"install": "x @ https://a.invalid/$(touch pwned)"}, "x @ https://a.invalid/$(touch pwned)"),
        ({"install": "--index-url=https://a.invalid"}, "--index-url=https://a.invalid"),
    ],
)
def test_what_is_installed(workspace: Any, inputs: dict[str, str], what: str) -> None:
    """With a Python that makes environments of nothing and writes down what pip is asked for."""
    workspace.scripts(a="pass")
    programs = workspace.path / "programs"
    programs.mkdir()
    fake = programs / "python3"
    fake.write_text(
        "#!/bin/bash\n"
        'if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$(dirname "$0")/buildrunner" '
        '"$3/bin/"; exit; fi\n'
        'if [ "$1 $2" = "-m pip" ]; then printf "%s\\n" "$@" >asked; exit; fi\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    fake.chmod(0o755)
    job = carry_out(workspace, **inputs)
    assert job.code == 0, job.log
    asked = (workspace.path / "asked").read_text().splitlines()
    assert asked[-2:] == ["--", what]
    command = job.outputs["install"]["command"]
    assert command.startswith(str(workspace.path / "runner-temp"))
    assert (Path(command).parents[1] / "buildrunner-alone").is_file(), "else scripts would get this environment"
    assert job.result["passed"] == "1"
    assert not list(workspace.path.rglob("pwned"))
