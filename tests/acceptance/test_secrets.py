"""What stands in the environment goes to the scripts, and nowhere else.

One value is in a variable, another is a variable's name. They are looked for as bytes in every file a run leaves, also
in what zips hold and in what was printed, plain, in base64 (at each of its three offsets) and in hexadecimal.
"""

import base64
import os
import re
import signal
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

VALUE = "cAnArY-vAlUe-8f1e6b0c27d94"
NAME = "CANARY_NAME_5d0a7c3e91b2"


def forms(secret: str) -> list[re.Pattern[bytes]]:
    """How it may be written down: as it is, hexadecimal, base64, and each of them in any case of its letters."""
    raw = secret.encode()
    found = [raw, raw[::-1], raw.hex().encode(), raw.decode().encode("utf-16-le")]
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + raw)
        found.append(coded[4 if offset else 0 : -4])
    return [re.compile(re.escape(form), re.IGNORECASE) for form in found]


PATTERNS = [*forms(VALUE), *forms(NAME)]


def search(data: bytes, where: str) -> None:
    for pattern in PATTERNS:
        assert not pattern.search(data), f"{where} holds {pattern.pattern!r}"


def search_all(folder: Path) -> set[str]:
    """Look through every file below; returns the names of those that were."""
    seen = set()
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or path.is_symlink():
            continue
        try:
            search(path.read_bytes(), name)
        except FileNotFoundError:  # a run goes on
            continue
        seen.add(name)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                for entry in packed.namelist():
                    search(packed.read(entry), f"{name}: {entry}")
    return seen


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    for number, text in enumerate(
        (VALUE.encode(), NAME.lower().encode(), b"xx" + VALUE.encode().hex().upper().encode(),
         *(base64.b64encode(b"." * n + VALUE.encode() + b"...") for n in range(3)))
    ):  # fmt: skip
        (tmp_path / "found").write_bytes(text)
        with pytest.raises(AssertionError, match="found holds"):
            search_all(tmp_path)
        assert number < 6
    with zipfile.ZipFile(tmp_path / "found", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("inner", VALUE)
    with pytest.raises(AssertionError, match="found: inner holds"):
        search_all(tmp_path)


@pytest.fixture
def secretive(workspace: Any) -> Any:
    """Every script is given both, checks that it was, and tells nobody."""
    workspace.env |= {"DEPLOY_TOKEN": VALUE, NAME: "1", "BUILDRUNNER_JOBS": "2"}
    check = f"import os; assert len(os.environ['DEPLOY_TOKEN']) == {len(VALUE)}\n"
    check += f"assert any(name.startswith({NAME[:9]!r}) for name in os.environ)\n"
    made = "open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/made', 'w').write('made')\n"
    workspace.scripts(
        a=check + made + "print('a')",
        b=check + "raise SystemExit('sad')",
        c=check + workspace.note("start") + workspace.until("gate"),
        d=check + made,
    )
    workspace.script("odd", "#!/nowhere/at/all\n", mode=0o755)
    workspace.script("g.sh", f'test "${{#DEPLOY_TOKEN}}" = {len(VALUE)}\n')
    return workspace


def test_s68_the_environment_is_written_nowhere(secretive: Any, wait_until: Any) -> None:
    """While a run goes on, when it was killed, carried on and finished with failures; then in all that can be asked."""
    place = secretive.path
    ci = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(place / "summary.md")}

    def ask(*arguments: str, code: int | None = 0) -> None:
        done = secretive.run(*arguments, code=code, env=ci)
        search(done.stdout + done.stderr, repr(arguments))

    options = ("--junitxml", "j.xml", "--events", "e.jsonl", "--with-report", "--order", "name")
    run = secretive.start("run", "src", "-v", *options, env=ci)
    wait_until(lambda: secretive.notes("start"))
    workers = secretive.children(run.pid)
    seen = search_all(place)
    assert {".buildrunner/ledger.db", ".buildrunner/ledger.db-wal", ".buildrunner/lock", "e.jsonl"} <= seen
    assert {Path(name).suffix for name in seen if "/runs/" in name} >= {".journal", ".err"}
    os.kill(workers[0], signal.SIGKILL)
    wait_until(lambda: len(secretive.children(run.pid)) == 2 and set(secretive.children(run.pid)) != set(workers))
    os.kill(run.pid, signal.SIGSTOP)
    search_all(place)
    run.kill()
    done = secretive.finish(run, code=-9)
    search(done.stdout + done.stderr, "what the killed run said")
    wait_until(lambda: not secretive.left())
    assert any(".journal" in name for name in search_all(place))

    secretive.open("gate")
    ask("resume", "-v", code=1)
    seen = search_all(place)
    assert {"result.zip", "j.xml", "e.jsonl", "summary.md", "python_output/logs/b.py.err"} <= seen
    with zipfile.ZipFile(place / "result.zip") as packed:
        assert {"manifest.json", "report.json", "files/a.py/made"} <= set(packed.namelist())
    ask("run", "src", "--json", *options, "--retries", "1", code=1)
    for verb in (["status", "--json"], ["history", "--json"], ["why", "b.py"], ["logs", "b.py"], ["plan", "src", "-v"]):
        ask(*verb)
    ask("run", "src", "--order", "no such order", code=2)
    ask("doctor", code=None)
    ask("doctor", "--json", code=None)
    ask("ledger", "export", "-o", "x.jsonl")
    ask("ledger", "check")
    ask("bench", "src", "--include", "[ad].py", "--rounds", "1", "--svg", "b.svg", "--json")
    assert {"x.jsonl", "b.svg"} <= search_all(place)

    with sqlite3.connect(place / ".buildrunner" / "ledger.db") as db:
        search("\n".join(db.iterdump()).encode("utf-8", "surrogateescape"), "the whole record as text")
    db.close()
