"""What a run says in GitHub Actions, read by a model of the runner, and by what renders the step's summary."""

import json
import re
import unicodedata
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from buildrunner.reports import github

pytestmark = pytest.mark.acceptance

KNOWN = {
    "add-mask", "add-matcher", "add-path", "debug", "echo", "endgroup", "error", "group", "notice", "remove-matcher",
    "save-state", "set-env", "set-output", "stop-commands", "warning",
}  # fmt: skip


@dataclass
class Command:
    name: str
    data: str
    properties: dict[str, str] = field(default_factory=dict)


class Runner:
    """How the runner finds commands in a step's output, a little more eager than it is.

    It reads line by line (CR ends one too), takes `::name …::` after leading white space, else the first `##[name …]`
    anywhere. It compares as a culture does, so characters that stand for nothing are passed over.
    """

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.stopped: str | None = None

    def read(self, text: str) -> "Runner":
        for line in re.split(r"\r\n|\n|\r", text):
            for seen in (line, "".join(c for c in line if unicodedata.category(c) not in ("Cf", "Cc", "Mn"))):
                if command := self._newer(seen) or self._older(seen):
                    self._obey(command)
                    break
        return self

    def _obey(self, command: Command) -> None:
        if self.stopped is None:
            self.commands.append(command)
            if command.name == "stop-commands":
                self.stopped = command.data.lower()
        elif command.name == self.stopped:
            self.stopped = None

    def _newer(self, line: str) -> Command | None:
        line = line.lstrip()
        if not line.startswith("::") or "::" not in line[2:]:
            return None
        info, _, data = line[2:].partition("::")
        name, _, given = info.partition(" ")
        if not self._knows(name):
            return None
        pairs = (pair.partition("=") for pair in given.strip().split(",") if pair)
        return Command(name.lower(), _plain(data), {key: _plain(value, ":,") for key, _, value in pairs})

    def _older(self, line: str) -> Command | None:
        if "##[" not in line or "]" not in line.partition("##[")[2]:
            return None
        info, _, data = line.partition("##[")[2].partition("]")
        return Command(info.partition(" ")[0].lower(), data) if self._knows(info.partition(" ")[0]) else None

    def _knows(self, name: str) -> bool:
        return name.lower() in KNOWN or name.lower() == self.stopped


def _plain(text: str, further: str = "") -> str:
    for char in "\r\n" + further + "%":
        text = text.replace(f"%{ord(char):02X}", char)
    return text


HOSTILE = [
    "::error::forged", "  ::error file=x::forged", "::set-output name=x::forged", "::add-mask::a", "::endgroup::",
    "::stop-commands::forged", "::ERROR::forged", "text ##[error]forged", "##[add-mask]a", "##[command]rm",
    "##[group]x", "a\r::error::forged", "a\u2028::error::forged", "\u2028::error::forged", "\u00a0::error::forged",
    "\ufe0f::error::forged", ":\u034f:error::forged", "#\ufe0f#\u034f[error]forged", "\u200b::error::forged",
    "\x1b[31m::error::forged", "\x85::error::forged", "::::error::forged", "\t::debug::forged", "\0::error::forged",
    "%0A::error::forged", "| a | b |", "</code></pre><script>alert(1)</script>", "[x](javascript:alert(1))",
    "``` \n::error::forged", "![x](http://evil.invalid/x.png) <img src=x onerror=alert(1)> @everyone &lt;b&gt;",
]  # fmt: skip

ACTIONS = {"GITHUB_ACTIONS": "true"}


def actions(workspace: Any, **more: str) -> dict[str, str]:
    """What the runner tells a step of itself."""
    return {**ACTIONS, "GITHUB_WORKSPACE": str(workspace.path), "GITHUB_STEP_SUMMARY": "summary.md", **more}


def test_the_model_sees_what_the_runner_would() -> None:
    seen = Runner().read("::error file=a%2Cb,line=3::x%0Ay\n a ##[warning]z\n::unknown::x ##[nothing]\n").commands
    assert seen == [Command("error", "x\ny", {"file": "a,b", "line": "3"}), Command("warning", "z")]
    forged = [
        line for line in HOSTILE if any(c.data in ("forged", "a", "rm", "x", "") for c in Runner().read(line).commands)
    ]
    assert len(forged) > 18
    stopped = Runner().read("::stop-commands::t\n::error::x\n##[t]\n::error::y")
    assert [c.data for c in stopped.commands] == ["t", "y"]


@pytest.mark.parametrize("line", HOSTILE)
def test_no_line_is_a_command_once_it_is_inert(line: str) -> None:
    assert Runner().read(github.inert(line)).commands == []


def test_pieces_are_no_command_either(tmp_path: Path) -> None:
    for cut in range(1, 12):
        out = github.Inert.instead_of((tmp_path / "out").open("w", encoding="utf-8", newline="\n"))
        for text in HOSTILE:
            for at in range(0, len(text), cut):
                out.write(text[at : at + cut])
            out.write("\n")
        out.command("notice", "100%\n", title="a:b,c%")
        out.close()
        written = (tmp_path / "out").read_bytes().decode()
        assert written == "".join(github.inert(text + "\n") for text in HOSTILE) + (
            "::notice title=a%3Ab%2Cc%25::100%25%0A\n"
        )
        assert Runner().read(written).commands == [Command("notice", "100%\n", {"title": "a:b,c%"})]


def test_json_stays_the_same_json() -> None:
    document = json.dumps(HOSTILE, indent=1)
    assert json.loads(github.inert(document)) == HOSTILE
    assert Runner().read(github.inert(document)).commands == []


def hostile_scripts(workspace: Any) -> int:
    """Scripts whose names and output are hostile; how many do not pass."""
    (workspace.path / "hostile").write_bytes("\n".join(HOSTILE).encode())
    names = {line.replace("/", "_").replace("\0", "_")[:60] for line in HOSTILE}
    for name in names:
        workspace.script(f"{name}.sh".encode(), "cat hostile hostile >&2\nexit 1\n")
    workspace.script("::warning::\udcff.py".encode(errors="surrogateescape"), "print(open('hostile', 'rb').read())")
    workspace.script("quiet.sh", "cat hostile; exit 1\n")
    return len(names) + 1


@pytest.mark.parametrize("options", [["-v"], ["--json"], ["-q"], ["-v", "--", "::error::forged", "##[error]forged"]])
def test_the_only_commands_are_ours(workspace: Any, options: list[str]) -> None:
    failures = hostile_scripts(workspace)
    events = ["--events", "events.jsonl", "--retries", "1", "--junitxml", "j.xml"]
    done = workspace.run("run", "src", *events, *options, code=1, env=actions(workspace))
    out, err = done.stdout.decode(), done.stderr.decode()
    ours, others = (err, out) if "--json" in options else (out, err)
    assert Runner().read(others).commands == []
    commands = Runner().read(ours).commands
    shown = min(failures, 50)
    assert [c.name for c in commands] == ["group", "endgroup"] * shown + ["error"] * 10 + ["notice"]
    assert Runner().read((workspace.path / "events.jsonl").read_text()).commands == []
    for command in commands[2 * shown : -1]:
        assert set(command.properties) == {"file", "line", "title"}
        assert "exit code 1 after 2 attempts" in command.properties["title"]
        assert Runner().read(command.data).commands == []
    assert f"{failures - 10} more scripts did not pass" in commands[-1].data
    if "--json" in options:
        assert len(done.document["results"]) == failures + 1
        assert {r["name"] for r in done.document["results"]} >= {"quiet.sh", "::error::forged.sh"}
    last = [line for line in ours.splitlines() if line.strip()][-failures:]
    assert all(line.startswith("- ") and "exit code 1" in line for line in last), "failures are restated last"


@pytest.mark.parametrize(
    "verb", [["status", "-v"], ["history"], ["status", "--json"], ["resume"], ["run", "::error::x"]]
)
def test_other_verbs_say_no_commands_either(workspace: Any, verb: list[str]) -> None:
    hostile_scripts(workspace)
    target = workspace.path / "::error::forged ##[error]forged"
    workspace.source.rename(target)
    workspace.run("run", target.name, "--no-zip", code=1)
    done = workspace.run(*verb, code=None, env=ACTIONS)
    commands = Runner().read(done.stdout.decode()).commands + Runner().read(done.stderr.decode()).commands
    if verb[0] == "run":  # a mistake is annotated, by us
        assert [(c.name, c.properties) for c in commands] == [("error", {"title": "buildrunner"})]
    else:
        assert {c.name for c in commands} <= ({"group", "endgroup", "error", "notice"} if verb == ["resume"] else set())


class Page(HTMLParser):
    """What the summary is, once rendered."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))
        self.rows = [[cell.strip() for cell in row] for row in self.rows]

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


SAFE = {
    "h3", "p", "code", "details", "summary", "pre", "table", "thead", "tbody", "tr", "th", "td", "b",
}  # fmt: skip


def test_s65_s66_the_summary_is_a_table_whatever_the_names_are(workspace: Any) -> None:
    failures = hostile_scripts(workspace)
    (workspace.path / "summary.md").write_text("what an earlier step wrote")
    done = workspace.run("run", "src", "--retries", "1", code=1, env=actions(workspace))
    page = Page((workspace.path / "summary.md").read_text())
    assert set(page.tags) <= SAFE
    assert len(page.rows) == failures + 2
    assert {len(row) for row in page.rows} == {5}
    assert all(row[1] == "exit code 1 after 2 attempts" for row in page.rows[1:-1]), "failures first"
    assert page.rows[-1][1] == "ok"
    names = {row[0] for row in page.rows}
    assert {"| a | b |.sh", "::error::forged.sh", "::warning::\\xff.py", "[x](javascript:alert(1)).sh"} <= names
    assert page.text.startswith("what an earlier step wrote")
    assert f"{failures} of {failures + 1} scripts did not pass, finished" in page.text
    assert "estimated speed-up" in page.text
    sha = re.search(r"sha256 ([0-9a-f]{64})", done.out)
    assert sha and sha[1] in page.text


def test_the_summary_is_cut_below_its_limit(workspace: Any) -> None:
    workspace.script("bad.sh", "exit 1")
    for number in range(150):
        workspace.script(f"{'|' * 80}{number}.sh", ":")
    path = workspace.path / "summary.md"
    path.write_bytes(b"x" * (github.SUMMARY_LIMIT - 30_000))
    workspace.run("run", "src", "--no-zip", code=1, env=actions(workspace))
    assert github.SUMMARY_LIMIT - 2000 < path.stat().st_size <= github.SUMMARY_LIMIT
    text = path.read_text()
    page = Page(text)
    assert page.rows[1][0] == "bad.sh"
    left = re.search(r"(\d+) more scripts did not fit in here\n$", text)
    assert left and len(page.rows) - 1 + int(left[1]) == 151
    path.write_bytes(b"x" * (github.SUMMARY_LIMIT - 100))
    done = workspace.run("run", "src", "--no-zip", code=1, env=actions(workspace))
    assert path.stat().st_size == github.SUMMARY_LIMIT - 100
    assert "note: the step's summary has no room for this run" in done.out


def test_a_summary_that_cannot_be_written_is_a_note(workspace: Any) -> None:
    workspace.scripts(a="pass")
    done = workspace.run("run", "src", env=actions(workspace, GITHUB_STEP_SUMMARY="nowhere/x"))
    assert "note: cannot write the step's summary: No such file or directory" in done.out


@pytest.mark.parametrize("cwd", ["invocation", "script", "scratch"])
def test_an_annotation_points_at_the_line_of_the_script(workspace: Any, cwd: str) -> None:
    workspace.script(
        "sub/deep.py",
        "import json\n\n\ndef f():\n    json.loads('nonsense')\n\n\ntry:\n    f()\nexcept ValueError:\n    f()\n",
    )
    workspace.script("syntax.py", "x = 1\nif\n")
    workspace.script("forged.py", "import sys\nsys.exit('  File \"/etc/passwd\", line 7, in x')\n")
    workspace.script("plain.sh", "exit 1\n")
    done = workspace.run("run", "src", "-r", "--cwd", cwd, code=1, env=actions(workspace))
    errors = {c.properties["file"]: c for c in Runner().read(done.out).commands if c.name == "error"}
    lines = {file: error.properties["line"] for file, error in errors.items()}
    assert lines == {"src/sub/deep.py": "5", "src/syntax.py": "2", "src/forged.py": "1", "src/plain.sh": "1"}
    assert "JSONDecodeError" in errors["src/sub/deep.py"].data
    assert errors["src/plain.sh"].data == "exit code 1"


def test_a_file_outside_the_workspace_is_not_named_as_one_inside(workspace: Any) -> None:
    workspace.scripts(a="raise SystemExit(1)")
    done = workspace.run("run", "src", code=1, env={**ACTIONS, "GITHUB_WORKSPACE": str(workspace.path / "elsewhere")})
    (error,) = [c for c in Runner().read(done.out).commands if c.name == "error"]
    assert set(error.properties) == {"title"}


def test_what_passed_says_no_commands(workspace: Any) -> None:
    workspace.scripts(a="print(1)")
    done = workspace.run("run", "src", env=actions(workspace))
    assert Runner().read(done.out + done.err).commands == []
    assert "### buildrunner: 1 script, finished" in (workspace.path / "summary.md").read_text()


def test_elsewhere_and_inside_a_script_nothing_is_said(workspace: Any) -> None:
    workspace.scripts(a="raise SystemExit(1)")
    for env in ({}, {"GITHUB_ACTIONS": "false"}, {**actions(workspace), "BUILDRUNNER_ATTEMPT_ID": "x"}):
        done = workspace.run("run", "src", code=1, env=env)
        assert Runner().read(done.out + done.err).commands == []
    assert not (workspace.path / "summary.md").exists()


def test_the_runs_of_a_bench_are_no_runs_of_the_step(workspace: Any) -> None:
    workspace.scripts(a="raise SystemExit(1)")
    done = workspace.run("bench", "src", "--rounds", "1", code=None, env=actions(workspace))
    assert Runner().read(done.out + done.err).commands == []
    assert not (workspace.path / "summary.md").exists()


def test_logs_that_are_another_runs_are_not_shown(workspace: Any) -> None:
    workspace.scripts(a="raise SystemExit('the first reason')")
    workspace.run("run", "src", "--no-zip", code=1)
    first = workspace.run("status", "--json").document["run"]
    workspace.scripts(a="raise SystemExit('the second reason')")
    workspace.run("run", "src", "--no-zip", code=1)
    done = workspace.run("resume", first, code=1, env=actions(workspace))
    assert "its logs are no longer there" in done.out
    assert "the second reason" not in done.out + (workspace.path / "summary.md").read_text()
