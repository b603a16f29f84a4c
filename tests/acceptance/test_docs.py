"""The documentation: every command shown is run, every command named exists, every link leads somewhere.

The `sh` blocks of a page are one bash script, run in the page's order in a folder of its own; a line that ends in
`# exits N` must exit with N, every other with 0. Inline code that begins with `buildrunner` is only held against the
verbs and options there are. Every check is also shown to find what it is there to find.
"""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from buildrunner.cli import cli

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / "docs" / "README.md"
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*/*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
]
_GALLERY = "fetches a package of Debian's and installs scikit-learn; test_gallery.py tests the set-up and the backend"
PASSED_OVER = {
    ("README.md", "make run"): "sets up .venv; test_setup_scripts.py sees that it calls scripts/run.sh",
    ("README.md", "make test"): "runs all tests; test_setup_scripts.py sees that it calls scripts/test.sh",
    ("docs/gallery.md", "examples/gallery/run.sh"): _GALLERY,
    ("docs/gallery.md", "examples/gallery/compare.sh --rounds 1 --markdown FILE"): _GALLERY,
    ("examples/gallery/README.md", "examples/gallery/run.sh"): _GALLERY,
    ("examples/gallery/README.md", "examples/gallery/run.sh -j 4"): _GALLERY,
    ("examples/gallery/README.md", "examples/gallery/run.sh --include 'cluster/*'"): _GALLERY,
    ("examples/gallery/README.md", "examples/gallery/run.sh -q"): _GALLERY,
    (
        "examples/gallery/README.md",
        "PYTHONPATH=examples/gallery MPLBACKEND=module://saving_backend buildrunner run plots --python env/bin/python",
    ): "needs matplotlib; test_gallery.py runs the backend where there is one",
}
"""Page and command of what no test of this file runs, and why."""

LANGUAGES = {"sh", "text", "json", "python", "toml", "yaml", "xml", ""}
"""Of blocks. Commands are in `sh` blocks, so that none goes unnoticed."""

WITH_CODE = re.compile(r"^(?P<command>.*\S)\s+# exits (?P<code>\d+)$")
LIMIT = 240  # seconds a page may take on the busiest machine; on an idle one none takes 15
MARK = "READER_OF_A_PAGE"
"""Environment variable that all that a page starts inherits, and by which it is found again."""

NOT_OURS = {"VIRTUAL_ENV", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "CI", "GITHUB_ACTIONS", "SOURCE_DATE_EPOCH"}
"""Variables of whoever runs the tests that change what the program shows."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


# what a page holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: its language, the number of its first line, its lines."""

    language: str
    start: int
    lines: tuple[str, ...]


def blocks(text: str) -> Iterator[Block]:
    fence, language, start = "", "", 0
    held: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        mark = re.match(r"(`{3,}|~{3,})(.*)", line)
        if not fence and mark:
            fence, language, start, held = mark[1], mark[2].strip(), number + 1, []
        elif fence and line.rstrip() == fence:
            yield Block(language=language, start=start, lines=tuple(held))
            fence = ""
        elif fence:
            held.append(line)
    assert not fence, f"the block that begins before line {start} has no end"


def prose(text: str) -> str:
    """The page without its blocks, every line in its place."""
    lines = text.split("\n")
    for block in blocks(text):
        for at in range(block.start - 2, block.start + len(block.lines)):
            lines[at] = ""
    return "\n".join(lines)


def code_spans(text: str) -> Iterator[tuple[int, str]]:
    """Line number and content of inline code. A bar in a table's cell is written with a backslash there."""
    for number, line in enumerate(prose(text).split("\n"), start=1):
        for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", line):
            yield number, span.replace("\\|", "|")


def command_of(line: str) -> str:
    return re.sub(r"\s+#.*", "", line)


def shell_script(text: str, page: str = "") -> str:
    """The page's commands as one script, each in the line where it stands on the page."""
    script = [""] * (text.count("\n") + 1)
    for block in blocks(text):
        if block.language == "sh":
            for at, line in enumerate(block.lines, start=block.start - 1):
                if expected := WITH_CODE.match(line):
                    line = f"{expected['command']} && __code=0 || __code=$?; __expect {expected['code']}"
                script[at] = "" if (page, command_of(line)) in PASSED_OVER else line
    assert not script[0], "a page begins with its title"
    script[0] = (
        '__expect() { [ $1 = $__code ] || { echo "line $BASH_LINENO: exit code $__code, not $1" >&2; exit 1; }; }; '
        "trap 'echo \"line $LINENO: exit code $?\" >&2' ERR"
    )
    return "\n".join(script) + "\n"


# the commands of blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """How a reader who types in all of a page ends up: the exit code and all that was said."""

    code: int
    said: str


def type_in(text: str, page: str, place: Path, caches: Path, *, patience: float = 3.0) -> Read:
    """Run a page's commands in a fresh folder. Nothing that they start may stay for longer than `patience` seconds."""
    programs, folder, script = (place / name for name in ("bin", "reader", "page.sh"))
    programs.mkdir()
    folder.mkdir()
    (programs / "buildrunner").write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from buildrunner.__main__ import main\nmain()\n"
    )
    (programs / "buildrunner").chmod(0o755)
    script.write_text(shell_script(text, page))
    path = (str(programs), os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("BUILDRUNNER_", "PYTHON")) and k not in NOT_OURS}
    env |= {"PATH": os.pathsep.join(path), "HOME": str(folder), "PYTHONPYCACHEPREFIX": str(caches), MARK: str(place)}
    with open(place / "said", "w+b") as said:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", script],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            code = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            code = -1
        left = end_what_is_left(place, patience)
        process.wait()
        said.seek(0)
        told = said.read().decode(errors="backslashreplace")
    if left:
        return Read(code=code or -1, said=f"{told}\nleft running: {', '.join(left)}")
    return Read(code=code, said=told)


def end_what_is_left(place: Path, patience: float) -> list[str]:
    """Kill what a page left running; returns the command lines of that. What is just ending is given a moment."""
    mark = f"{MARK}={place}".encode()
    deadline = time.monotonic() + patience
    while True:
        found = {}
        for entry in os.listdir("/proc"):
            with suppress(OSError):
                if entry.isdigit() and mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    found[int(entry)] = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        if not found or time.monotonic() > deadline:
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return list(found.values())
        time.sleep(0.02)


@pytest.fixture
def read(tmp_path: Path, caches: Path) -> Callable[[str], Read]:
    """What types in a page's commands."""
    return lambda text: type_in(text, "", tmp_path, caches, patience=0.2)


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    """What types in pages and makes those of the reference; a few at a time, because pages also wait."""
    with ThreadPoolExecutor(3) as pool:
        yield pool
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def readings(
    request: pytest.FixtureRequest, pool: ThreadPoolExecutor, tmp_path_factory: pytest.TempPathFactory, caches: Path
) -> dict[Path, "Future[Read]"]:
    """Every page that is to be tested, typed in; the longest first, beside the making of the reference."""
    items: list[Any] = request.session.items
    if any("making" in item.fixturenames for item in items):
        request.getfixturevalue("making")
    asked = [item.callspec.params["page"] for item in items if "readings" in item.fixturenames]
    return {
        page: pool.submit(type_in, page.read_text(), name_of(page), tmp_path_factory.mktemp("page"), caches)
        for page in sorted(asked, key=lambda page: -len(shell_script(page.read_text()).replace("\n", "")))
    }


@pages
def test_every_command_works(readings: Any, page: Path) -> None:
    done = readings[page].result()
    assert done.code == 0, f"{name_of(page)}, {done.said}"


@pytest.mark.parametrize(
    ("commands", "complaint"),
    [
        ("true\nfalse", "line 4: exit code 1"),
        ("false | true", "line 3: exit code 1"),
        ("echo $unset", "unset: unbound variable"),
        ("(exit 3)  # exits 1", "line 3: exit code 3, not 1"),
        ("true  # exits 1", "line 3: exit code 0, not 1"),
        ("buildrunner run nothing-there", "line 3: exit code 2"),
        ("buildrunner \\\n  run nothing-there  # exits 5", "exit code 2, not 5"),
        ('sleep 100 & until grep -qx sleep "/proc/$!/comm"; do true; done', "left running: sleep 100"),
    ],
)
def test_a_command_that_does_not_work_is_found(read: Any, commands: str, complaint: str) -> None:
    done = read(f"# Page\n```sh\n{commands}\n```\n")
    assert done.code != 0
    assert complaint in done.said


def test_commands_of_a_page_share_a_shell_and_a_fresh_folder(read: Any) -> None:
    first, second = "mkdir a; cd a\nx=1\n(exit 2)  # exits 2", "[ $x = 1 ]; pwd"
    done = read(f"# Page\n```sh\n{first}\n```\n```text\nfalse\n```\n```sh\n{second}\n```\n")
    assert (done.code, done.said.endswith("/reader/a\n")) == (0, True), done.said


def test_what_is_passed_over_is_there() -> None:
    for page, command in PASSED_OVER:
        lines = [command_of(line) for block in blocks((ROOT / page).read_text()) for line in block.lines]
        assert command in lines, f"{page} does not show {command!r} any more"


def hidden_commands(text: str) -> list[str]:
    """What shows commands in such a way that no test of this file sees them."""
    found = []
    for block in blocks(text):
        if block.language not in LANGUAGES:
            found.append(f"line {block.start - 1}: a block of {block.language!r}; commands are in `sh` blocks")
        elif block.language == "":
            found += [
                f"line {number}: {line!r} is shown and not run"
                for number, line in enumerate(block.lines, start=block.start)
                if line.startswith(("$ ", "buildrunner "))
            ]
    for number, line in enumerate(prose(text).split("\n"), start=1):
        if line.count("`") % 2:
            found.append(f"line {number}: inline code goes on in another line")
    return found


@pages
def test_no_command_hides(page: Path) -> None:
    assert hidden_commands(page.read_text()) == []


def test_a_hidden_command_is_found() -> None:
    assert len(hidden_commands("```bash\nls\n```\n```\n$ ls\nbuildrunner run\n```\n```text\nbuildrunner run\n```")) == 3
    assert len(hidden_commands("Type `buildrunner\nrun` or `this`.")) == 2


# the commands of prose


def misspelt(span: str) -> str | None:
    """What is wrong with inline code as a command of ours; None when it could be typed, or is none of ours.

    CAPITALS stand for what a user fills in, brackets for what may be left out, bars for a choice.
    """
    words = re.sub(r"[\[\]…]", " ", span).split()
    if not words or words.pop(0) != "buildrunner":
        return None
    command: click.Command = cli
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        verbs = words.pop(0).split("|")
        if verbs == ["COMMAND"]:
            return None if words in ([], ["--help"]) else f"{span!r}: COMMAND stands for any, so only for --help"
        with click.Context(command) as ctx:
            known = command.list_commands(ctx)
            if unknown := [verb for verb in verbs if verb not in known]:
                return f"{span!r}: there is no {unknown[0]!r} among {', '.join(known)}"
            found = command.get_command(ctx, verbs[0])
            assert found is not None
            command = found
    with click.Context(command) as ctx:
        options = {o for param in command.get_params(ctx) for o in (*param.opts, *param.secondary_opts)}
    for word in words:
        if word == "--":
            break
        for option in word.split("|"):
            name = option.split("=")[0] if option.startswith("--") else option[:2]
            if option.startswith("-") and name not in options:
                return f"{span!r}: {command.name} has no option {name}"
    return None


@pages
def test_commands_in_prose_exist(page: Path) -> None:
    wrong = [f"line {number}: {found}" for number, span in code_spans(page.read_text()) if (found := misspelt(span))]
    assert wrong == []


@pytest.mark.parametrize(
    "span",
    [
        "buildrunner frobnicate",
        "buildrunner run F --nope",
        "buildrunner history -x",
        "buildrunner logs|nope",
        "buildrunner run --jobs=4 -Z",
    ],
)
def test_a_command_that_does_not_exist_is_found(span: str) -> None:
    [(number, found)] = code_spans(f"# A page\n\nType `{span}` to see.")
    assert number == 3
    assert misspelt(found) is not None


@pytest.mark.parametrize(
    "span",
    [
        "buildrunner run F -j4 --timeout=5m -- --nope",
        "buildrunner --version",
        "buildrunner cancel [RUN] [--job GLOB]",
        "buildrunner status|history --json",
        "builder run --nope",
    ],
)
def test_a_command_that_exists_is_none(span: str) -> None:
    assert misspelt(span) is None


# links


def anchors(text: str) -> set[str]:
    """The names by which a page's headings can be linked to."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", prose(text), flags=re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = stem = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        number = 0
        while name in found:
            number += 1
            name = f"{stem}-{number}"
        found.add(name)
    return found


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Line number and target of every link and picture that leads to a file or a heading of ours."""
    for number, line in enumerate(prose(page.read_text()).split("\n"), start=1):
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
            if not re.match(r"[a-z]+:", target):
                yield number, target


def broken(page: Path) -> list[str]:
    """Links of a page that lead nowhere."""
    found = []
    for number, target in links(page):
        path, _, anchor = target.partition("#")
        there = page if not path else page.parent / path
        if not there.exists():
            found.append(f"line {number}: there is no {path}")
        elif anchor and there.suffix == ".md" and anchor not in anchors(there.read_text()):
            found.append(f"line {number}: {path or page.name} has no heading #{anchor}")
    return found


def unreachable(index: Path, pages: Iterable[Path]) -> set[Path]:
    """Pages that no chain of links from the index leads to."""
    seen, todo = {index}, [index]
    while todo:
        page = todo.pop()
        for _, target in links(page):
            there = (page.parent / target.partition("#")[0]).resolve()
            if there.suffix == ".md" and there.exists() and there not in seen:
                seen.add(there)
                todo.append(there)
    return set(pages) - seen


@pages
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_every_page_can_be_reached() -> None:
    assert unreachable(INDEX, PAGES) == set()


def test_broken_links_and_lost_pages_are_found(tmp_path: Path) -> None:
    index, other, lost = (tmp_path / name for name in ("README.md", "other.md", "lost.md"))
    index.write_text("# A `b` c\n[o](other.md#two-words) [me](#a-b-c) `[no](link)` [web](https://example.org/x)\n")
    other.write_text("# Two words\n[x](nowhere.md) [y](README.md#nothing)\n```text\n# no heading [z](block.md)\n```\n")
    lost.write_text("# Lost\n[up](README.md) [no](other.md#no-heading)\n")
    assert broken(index) == []
    assert broken(other) == ["line 2: there is no nowhere.md", "line 2: README.md has no heading #nothing"]
    assert broken(lost) == ["line 2: other.md has no heading #no-heading"]
    assert unreachable(index, [index, other, lost]) == {lost}


# the pages made from the program


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def making(generate: Any, pool: ThreadPoolExecutor) -> "Future[dict[str, str]]":
    """The pages, as they are being made."""
    return pool.submit(generate.pages)


@pytest.fixture(scope="module")
def made(making: "Future[dict[str, str]]") -> dict[str, str]:
    """The pages as they would be written now."""
    return making.result()


def test_reference_is_up_to_date(generate: Any, made: dict[str, str]) -> None:
    assert generate.out_of_date(generate.PAGES, made) == [], "run python docs/generate.py"


def test_check_names_the_page_that_is_out_of_date(
    generate: Any, made: dict[str, str], tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setattr(generate, "pages", lambda: made)
    monkeypatch.setattr(generate, "PAGES", tmp_path)
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    capsys.readouterr()
    page = tmp_path / "json.md"
    page.write_text(page.read_text() + " ")
    (tmp_path / "commands.md").unlink()
    assert generate.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "commands.md" in said and "json.md" in said and "scripts.md" not in said
    assert not (tmp_path / "commands.md").exists()


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"a": 1, "b": {"c": "x"}, "d": []}, "not described in descriptions.toml: d"),
        ({"a": 1, "b": {"c": "x", "new": 1}}, "not described in descriptions.toml: b.new"),
        ({"a": 1, "b": {}}, "there is no such thing: b.c"),
        ({"a": None, "b": {"c": "x"}}, "a is None, and described as whole"),
        ({"a": True, "b": {"c": "x"}}, "a is True, and described as whole"),
    ],
)
def test_a_field_without_a_description_and_the_reverse_are_found(
    generate: Any, document: dict[str, Any], complaint: str
) -> None:
    fields = {"a": {"type": "whole"}, "b": {"type": "object"}, "b.c": {"type": "text|null"}}
    generate.check("sound", [{"a": 1, "b": {"c": None}}], fields)
    with pytest.raises(generate.Wrong, match=re.escape(complaint)):
        generate.check("broken", [document], fields)


def test_a_changing_figure_without_an_example_is_found(generate: Any) -> None:
    fields = {"a": {"type": "list"}, "a[].b": {"type": "number"}}
    with pytest.raises(generate.Wrong, match=re.escape("a[].b")):
        generate.normal({"a": [{"b": 0.25}]}, fields)


def test_what_doctor_finds_is_described_by_topic(generate: Any) -> None:
    entry = {"topics": ["a"], "fields": {"n": {"type": "whole|null", "means": "", "example": 2}}}
    document = {"name": "doctor", "findings": [entry | {"shown": {"text": "2"}}, {"topics": ["b"], "fields": {}}]}
    first, second = {"topic": "a", "text": "7", "facts": {"n": 7}}, {"topic": "b", "text": "x", "facts": {}}
    assert "| `a` | `n` | whole number, null |" in generate.facts_table(document, [{"findings": [first, second]}])
    told = generate.shown(document, {"ok": True, "findings": [first, second]})
    assert told == {"ok": True, "findings": [{"topic": "a", "text": "2", "facts": {"n": 2}}]}
    with pytest.raises(generate.Wrong, match=r"facts of b: not described in .*: m"):
        generate.facts_table(document, [{"findings": [first, second | {"facts": {"m": 1}}]}])
    with pytest.raises(generate.Wrong, match="there is no such thing: b"):
        generate.facts_table(document, [{"findings": [first]}])


def test_lines_of_a_help_text_stay_lines(generate: Any) -> None:
    command = click.Command("x", help="Says\n    a_b.\n\n    \b\n    one  a_b\n    two\n    ")
    assert list(generate.help_text(command)) == ["Says a\\_b.", "    one  a_b\n    two"]


def test_commands_are_found_wherever_they_are(generate: Any, monkeypatch: Any, tmp_path: Path) -> None:
    """Also in groups within groups; a document that nobody described is an error that names the command."""
    nested = click.Command("look", params=[click.Option(["--json"], is_flag=True)])
    inner = click.Group("inner", commands={"look": nested})
    outer = click.Group("outer", commands={"inner": inner, "secret": click.Command("secret", hidden=True)})
    assert [name for name, _ in generate.commands(outer)] == ["inner", "inner look"]
    known = list(generate.commands())
    assert {"run", "verify"} <= {name for name, _ in known}
    monkeypatch.setattr(generate, "commands", lambda: [*known, ("inner look", nested)])
    with pytest.raises(generate.Wrong, match=re.escape("not described in descriptions.toml: inner look")):
        generate.json_page(None)
