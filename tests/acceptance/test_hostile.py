"""Names, arguments and output that want to do something to whoever looks: every verb shows them, and nothing happens.

The payloads are what terminals, CI services, browsers and spreadsheets act on. Only `logs` into a pipe, and the log
files themselves, hold a script's bytes as they are: these were asked for.
"""

import os
import re
import sys
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

PAYLOADS = [
    b"\x1b[38;5;201mcoloured\x1b[2Jcleared",
    b"\x1b]0;titled\x07",
    b"\x1b]8;;evil:link\x1b\\linked\x1b]8;;\x1b\\",
    b"\x1b]52;c;Y2xpcGJvYXJk\x07",
    b"\x1bP$qdevice\x1b\\",
    "c1\u009b31m\u009d0;x\u009c\u0085next".encode(),
    b"raw c1 \x9b31m \x85 \xff",
    b"new\nline",
    b"back\rreturn",
    b"\x08\x08erased\x7f",
    b"tab\there\x0b\x0c",
    "bidi \u202egnp.\u202c \u2066x\u2069 \u200f".encode(),
    "hidden\u200b\u2060\ufeff\u2028\u2029\U000e0041".encode(),
    b"::error file=x::forged",
    b"##[error]forged",
    b"\n::stop-commands::forged\n::add-mask::a",
    b"| a | b |\n| - | - |",
    b"[x](javascript:alert(1)) ![y](http:evil.png) `code` <b>@everyone",
    b"<script>alert(1)<!-- --> ]]> &amp; &#27;",
    b"=cmd('calc')!A1",
]
"""None holds a slash or a zero byte, so that each can be a file's name."""

RAW = [b"\x1b[38;5;201m", b"\x1b[2J", b"\x1b]", b"\x1bP", b"\x07", b"\x08", b"\x7f", b"\x0b", b"\x0c", b"\xc2\x9b"]
RAW += [b"\xc2\x9d", b"\xc2\x85", b"\xff", *(c.encode() for c in "\u202e\u2066\u200f\u200b\u2028\U000e0041")]
OWN = re.compile(r"\x1b\[[\d;]*[mAKJ]|\x1b\[\?25[hl]|\x1b\[\?2026[hl]|\r")
"""What the live screen and the report write to a terminal themselves: colours, moves, the end of a line."""


def safe(data: bytes, where: str, *, terminal: bool = False) -> str:
    """The text; it has nothing in it but characters that are seen, and line ends."""
    text = data.decode("utf-8", "strict")
    for raw in RAW:
        assert raw not in data, (where, raw)
    shown = OWN.sub("", text) if terminal else text
    odd = {c for c in shown if not c.isprintable()} - {"\n"}
    assert not odd, (where, odd, [line for line in shown.split("\n") if odd & set(line)][:3])
    return text


def no_commands(text: str, where: str) -> None:
    """No line is anything to a CI service. Wherever it stands, `::error` must be the program's own."""
    for line in text.splitlines():
        own = re.fullmatch(r"::(group|endgroup|error|notice)(?: [^:]*)?::(.*)", line)
        assert not re.match(r"\s*::\w", line) or own, (where, line)
        assert not (own and own[2] in ("forged", "a")), (where, line)
        assert "##[" not in line, (where, line)


@pytest.fixture
def hostile(workspace: Any) -> Any:
    """A folder of a hostile name with a script for every payload, which says all of them and fails or passes."""
    said = workspace.path / "said"
    said.write_bytes(b"\n".join(PAYLOADS) + b"\n" + PAYLOADS[0])
    for number, payload in enumerate(PAYLOADS):
        text = 'cat said >&2; cat said; cp said "$BUILDRUNNER_OUTPUT_DIR/$(printf "\\033]0;out\\007")"\n'
        workspace.script(payload + b".sh", text + ("exit 1\n" if number % 2 else ""))
    os.rename(workspace.source, os.path.join(os.fsencode(workspace.path), TARGET))
    return workspace


TARGET = b"src \x1b]0;target\x07\n\xc2\x9b::error::forged \xff"
OUT = b"out\x1b]0;o\x07\n::error::forged"
ZIP = b"zip\x1b]0;z\x07\n::error::forged.zip"


def test_s65_no_verb_lets_anything_through(hostile: Any, tmp_path: Path) -> None:
    """Everything that prints, into pipes: plain lines, reports, documents, tables, errors, the files beside them."""
    ci = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "GITHUB_WORKSPACE": str(tmp_path),
    }
    places = ("-o", OUT, "--zip", ZIP)
    options = (*places, "--junitxml", "j.xml", "--events", "e.jsonl", "--with-report")
    words = ("--", *PAYLOADS)

    def ask(*arguments: bytes | str, code: int | None = 0, env: dict[str, str] | None = None) -> str:
        done = hostile.run(*arguments, code=code, env=env)
        where = repr(arguments[:3])
        text = safe(done.stdout.replace(b"\r\n", b"\n"), where + " stdout")
        errors = safe(done.stderr, where + " stderr")
        if env:
            no_commands(text, where)
            no_commands(errors, where)
        return text + errors

    everything = ask("run", TARGET, "-v", *options, *words, code=1)
    assert "\\x1b]0;target\\x07\\n\\x9b::error::forged \\xff" in everything
    assert "\\x1b[38;5;201mcoloured\\x1b[2Jcleared.sh: ok" in everything
    ask("run", TARGET, "--json", *options, *words, code=1, env=ci)
    ask("run", TARGET, "-q", *places, *words, code=1)
    ask("run", TARGET, *options, *words, code=1, env=ci)
    for name in ("j.xml", "e.jsonl", "summary.md"):
        safe((tmp_path / name).read_bytes(), name)
    no_commands((tmp_path / "e.jsonl").read_text(), "events, which may be a step's output")
    for element in ET.parse(tmp_path / "j.xml").iter():
        for text in (element.text or "", *element.attrib.values()):
            assert all(c.isprintable() or c == "\n" for c in text)
    with zipfile.ZipFile(os.path.join(os.fsencode(tmp_path).decode(), os.fsdecode(ZIP))) as packed:
        for name in packed.namelist():
            assert name.isprintable()
            if name in ("manifest.json", "report.json"):
                safe(packed.read(name), name)

    some = [payload + b".sh" for payload in (PAYLOADS[1], PAYLOADS[6])]
    for verb in (["run", "-n"], ["plan", "--json"]):
        ask(*verb, TARGET, *words, env=ci)
    for verb in (["status", "-v"], ["status", "--json"], ["history"]):
        ask(*verb, env=ci)
    ask("resume", code=1, env=ci)
    ask("doctor", code=None, env=ci)
    ask("verify", ZIP, env=ci)
    ask("package", "--zip", ZIP, env=ci)
    for verb in (["check"], ["export"], ["export", "--format", "csv"], ["vacuum"]):
        ask("ledger", *verb, env=ci)
    for name in some:
        assert "last words" in ask("why", name, env=ci) or PAYLOADS.index(name[:-3]) % 2 == 0
    ask("logs", some[0], env=ci)
    said = b"\n".join(PAYLOADS) + b"\n" + PAYLOADS[0]
    assert hostile.run("logs", some[1], "--stdout").stdout == said
    with open(tmp_path / "copy", "w+b") as copy:
        hostile.run("logs", some[1], "--stdout", env=ci, stdout=copy)
        assert (tmp_path / "copy").read_bytes() == said


def test_s65_no_error_lets_anything_through(hostile: Any) -> None:
    """Mistakes repeat what was typed, and what stands in files and variables: it is shown, not done."""
    hostile.run("run", TARGET, "--no-zip", "-q", code=1)
    (hostile.path / "forged.zip").write_bytes(b"PK\x03\x04" + b"\x1b]0;x\x07" * 99)
    payload = b"".join(PAYLOADS[n] for n in (1, 5, 6, 11, 15))
    for arguments in (
        (payload,),
        ("run", b"no" + payload),
        ("run", TARGET, b"--" + payload),
        ("run", TARGET, "--order", payload),
        ("run", TARGET, "--python", payload),
        ("run", TARGET, "--zip", payload + b"/x"),
        ("logs", b"no" + payload),
        ("why", b"no" + payload, "--run", payload),
        ("status", payload),
        ("cancel", payload),
        ("cancel", "--job", payload),
        ("verify", payload),
        ("status", "--state", payload),
    ):
        done = hostile.run(*arguments, code=None)
        assert done.code in (2, 3, 5) or "--job" in arguments, (arguments, done.code, done.err)
        safe(done.stdout + done.stderr, repr(arguments))
    (hostile.path / "buildrunner.toml").write_bytes(b'"\\u001b]0;x\\u0007\\u009b" = "\\u001b]0;x\\u0007"\n')
    safe(hostile.run("run", TARGET, code=2).stderr, "settings: key")
    (hostile.path / "buildrunner.toml").write_bytes(b'order = "\\u001b]0;x\\u0007\\u009b"\n')
    safe(hostile.run("run", TARGET, code=2).stderr, "settings: value")
    (hostile.path / "buildrunner.toml").write_bytes(b"order = \x1b]0;x\x07\n")
    safe(hostile.run("run", TARGET, code=2).stderr, "settings: no TOML")
    (hostile.path / "buildrunner.toml").unlink()
    variables = {"BUILDRUNNER_ORDER": "\x1b]0;x\x07\u009b"}
    safe(hostile.run("run", TARGET, code=2, env=variables).stderr, "variable")
    names = ("VIRTUAL_ENV", "TMPDIR", "XDG_RUNTIME_DIR", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE")
    variables = dict.fromkeys(names, "/x\x1b]0;x\x07\u009b\u202e\n::error::forged") | {"GITHUB_ACTIONS": "true"}
    for verb in (["doctor"], ["run", TARGET, "--no-zip"], ["run", TARGET, "--no-zip", "--python", sys.executable]):
        done = hostile.run(*verb, code=None, env=variables)
        no_commands(safe(done.stdout, repr(verb)) + safe(done.stderr, repr(verb)), repr(verb))
    safe(hostile.run("verify", "forged.zip", code=None).stderr, "verify")


def test_s65_on_a_terminal(hostile: Any, terminal: Any, wait_until: Any) -> None:
    """The live screen while scripts run, the report after it, a cancelled run, and `logs`, which is escaped there."""
    gate = os.fsencode(hostile.path / "gate")
    slow = b"\x1b]0;slow\x07\xc2\x9b31m \xff::error::x.sh"
    source = os.path.join(os.fsencode(hostile.path), TARGET)
    Path(os.fsdecode(source), os.fsdecode(slow)).write_bytes(
        b"cat said; until test -e " + gate + b"; do sleep 0.1; done"
    )
    t = terminal(120, 50)
    run = t.start("run", TARGET, "-j", "2", "--no-zip", "--", *PAYLOADS)
    wait_until(lambda: "slow\\x07" in t.text and "20/21" in t.text)
    follow = terminal(120, 50)
    following = follow.start("logs", "-f", slow)
    wait_until(lambda: "coloured" in follow.text)
    hostile.open("gate")
    t.finish(run, code=1)
    follow.finish(following, code=0)
    mark = b"\0\x1b[0m\0"
    assert "\\x1b[38;5;201mcoloured\\x1b[2Jcleared" in follow.said
    assert "20/21" in t.said
    for shown, where in ((t, "run"), (follow, "logs -f")):
        safe(shown.written.replace(mark, b""), where, terminal=True)

    (hostile.path / "gate").unlink()
    for verb in (["status", "-v"], ["history"], ["why", PAYLOADS[1] + b".sh"], ["logs", PAYLOADS[6] + b".sh"]):
        t = terminal(120, 50)
        t.run(*verb)
        safe(t.written.replace(mark, b""), repr(verb), terminal=True)
    t = terminal(120, 50)
    run = t.start("run", TARGET, "-j", "2", "--no-zip", "-v")
    wait_until(lambda: "[20/21]" in t.said)
    done = hostile.run("cancel", "--job", b"*slow*")
    safe(done.stdout + done.stderr, "cancel --job")
    t.finish(run, code=1)
    safe(t.written.replace(mark, b""), "run -v, cancelled", terminal=True)


def test_s65_s66_a_comparison_and_its_drawing(workspace: Any) -> None:
    """What `bench` prints and draws: in an SVG, too, a name is text."""
    for number in (0, 2, 5, 6, 11, 13, 18):
        workspace.script(PAYLOADS[number] + b".sh", "printf '\\033]0;x\\007'\n")
    for form in (["--markdown", "--svg", "b.svg"], ["--json"], []):
        done = workspace.run("bench", "src", "--rounds", "1", *form, "--", *PAYLOADS, env={"GITHUB_ACTIONS": "true"})
        text = safe(done.stdout, f"bench {form}")
        no_commands(text + safe(done.stderr, f"bench {form}"), f"bench {form}")
        if "--markdown" in form:
            assert "<script" not in text
    drawing = safe((workspace.path / "b.svg").read_bytes(), "svg")
    tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(drawing).iter()}
    assert not tags & {"script", "a", "image", "foreignObject", "use", "iframe"}
    assert any("<script>" in (element.text or "") for element in ET.fromstring(drawing).iter())
    assert not re.search(r"\bon\w+=|href", drawing)
