"""The live screen of the real program on a pseudo-terminal, as an emulator shows it."""

import json
import os
import re
import signal
import sqlite3
import subprocess
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

MOVES = re.compile(rb"\x1b\[\d*[A-HJKST]")
COLOURS = re.compile(rb"\x1b\[[\d;]*m")
BAR = re.compile(r"^[━─]{20}  ")


def break_record(workspace: Any) -> None:
    """No receipt can be written any more."""
    with sqlite3.connect(workspace.path / ".buildrunner/ledger.db") as db:
        db.execute("CREATE TRIGGER full BEFORE INSERT ON receipts BEGIN SELECT raise(ABORT, 'no room'); END")
    db.close()


def one_block(terminal: Any) -> bool:
    return sum(bool(BAR.match(row)) for row in terminal.rows) == 1


@pytest.fixture
def four(workspace: Any) -> Any:
    """Four scripts of which a.py fails at once; the others wait at gates of their names."""
    workspace.scripts(a="raise SystemExit('sad')", **{name: workspace.until(name) for name in ("b", "c", "d")})
    return workspace


def test_lanes_counts_and_time_left_at_80_by_24(four: Any, terminal: Any, wait_until: Any) -> None:
    t = terminal()
    run = t.start("run", "src", "-j", "2", "--order", "name")
    wait_until(lambda: "worker 0" in t.text and "worker 1" in t.text and "1/4 · 1 failed" in t.text)
    four.open("b")
    wait_until(lambda: "2/4 · 1 failed" in t.text and "d.py" in t.text)
    rows = t.rows
    assert rows[0].startswith("4 scripts of src, 2 at a time, Python ")
    assert "[1/4] a.py: exit code 1, 0." in "\n".join(rows)
    [bar] = [row for row in rows if BAR.match(row)]
    assert re.search(r"2/4 · 1 failed · [\d.,]+/(s|min)$", bar)
    times, *lanes = rows[rows.index(bar) + 1 :]
    assert re.fullmatch(r"[\d.]+ s so far · .* left", times)
    assert [re.sub(r"\s+", " ", re.sub(r"[<\d.]+ s", "N s", lane)) for lane in sorted(lanes, key=lambda r: r[10:])] == [
        f"worker {lanes[0][7] if 'c.py' in lanes[0] else lanes[1][7]} c.py N s, new",
        f"worker {lanes[0][7] if 'd.py' in lanes[0] else lanes[1][7]} d.py N s, new",
    ]
    four.open("c")
    four.open("d")
    t.finish(run, code=1)
    assert not any(BAR.match(row) or row.startswith("worker") for row in t.rows)
    assert t.said.count("finished: 4 scripts, 3 passed, 1 failed, in ") == 1
    assert t.said.index("finished: 4") < t.said.index("1 of 4 scripts did not pass")
    assert t.screen.cursor.x == 0


def test_the_second_run_knows_how_long(four: Any, terminal: Any, wait_until: Any) -> None:
    for gate in "bcd":
        four.open(gate)
    four.run("run", "src", "-q", code=1)
    os.unlink(four.path / "d")
    t = terminal()
    run = t.start("run", "src", "-j", "2")
    wait_until(lambda: re.search(r"worker \d  d\.py .* of about [<\d.]+ s", t.text))
    wait_until(lambda: "slow: d.py has run for" in t.text)
    wait_until(lambda: re.search(r"worker \d  d\.py .* slow", t.text))
    four.open("d")
    t.finish(run, code=1)
    assert t.said.count("slow: d.py") == 1


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 10), (20, 5)])
def test_no_line_wraps_and_the_block_stays_one(
    workspace: Any, terminal: Any, wait_until: Any, columns: int, lines: int
) -> None:
    for number in range(16):
        workspace.script(f"{'long_' * number}{number}.py", workspace.until("gate"))
    t = terminal(columns, lines)
    run = t.start("run", "src", "-j", "12", "--no-zip")
    wait_until(lambda: ("0/16" in t.text and "more" in t.text) or t.text.count("s, new") == 12)
    seen = len(t.written)
    wait_until(lambda: len(re.findall(rb"\r\x1b\[?", t.written[seen:])) > 30)
    rows = t.rows
    assert sum("0/16" in row for row in rows) == 1
    assert "0/16" in rows[t.screen.cursor.y]
    for frame in re.split(rb"\x1b\[\d*A\r", t.written[seen:])[1:-1]:
        drawn = COLOURS.sub(b"", MOVES.sub(b"", frame)).decode().replace("\r", "").split("\n")
        assert len(drawn) < lines
        assert max(map(len, drawn)) < columns
    workspace.open("gate")
    t.finish(run, code=0)


PLAIN = [
    ({"TERM": "dumb"}, ()),
    ({"TERM": ""}, ()),
    ({"CI": "1"}, ()),
    ({}, ("-q",)),
    ({}, ("-v",)),
]


@pytest.mark.parametrize(("env", "options"), PLAIN, ids=str)
def test_plain_lines_where_nothing_may_be_redrawn(
    workspace: Any, terminal: Any, env: dict[str, str], options: tuple[str, ...]
) -> None:
    workspace.scripts(a="exit(3)", b="pass")
    t = terminal()
    t.run("run", "src", *options, code=1, env=env)
    assert not MOVES.search(t.written)
    assert b"\r" not in t.written.replace(b"\r\n", b"")
    progress = "[2/2]" in t.text
    assert progress is ("-q" not in options)
    assert "a.py: exit code 3" in t.text


def test_pipes_get_plain_lines(workspace: Any) -> None:
    workspace.scripts(a="exit(3)", b="pass")
    for env in ({"TERM": "xterm"}, {"TERM": "xterm", "FORCE_COLOR": "1"}):
        done = workspace.run("run", "src", code=1, env=env)
        assert not MOVES.search(done.stderr + done.stdout)
        assert b"[2/2]" in done.stderr
    assert b"\x1b" not in workspace.run("run", "src", code=1, env={"TERM": "xterm"}).stderr


def test_no_color_is_cursor_movement_only(workspace: Any, terminal: Any) -> None:
    workspace.scripts(a="exit(3)", b="pass")
    t = terminal()
    t.run("run", "src", code=1, env={"NO_COLOR": "1"}, stdout=subprocess.DEVNULL)
    assert MOVES.search(t.written)
    assert not COLOURS.search(t.written.removesuffix(b"\0\x1b[0m\0"))
    t = terminal()
    t.run("run", "src", code=1, stdout=subprocess.DEVNULL)
    assert COLOURS.search(t.written.removesuffix(b"\0\x1b[0m\0"))


def test_a_terminal_that_only_knows_ascii(workspace: Any, terminal: Any, wait_until: Any) -> None:
    workspace.script("é" * 60 + ".py", workspace.until("gate"))
    t = terminal()
    run = t.start("run", "src", env={"PYTHONIOENCODING": "ascii"})
    wait_until(lambda: "worker 0" in t.text and ", new" in t.text)
    assert t.written.isascii()
    assert next(row for row in t.rows if row.startswith("worker")).count("\\xe9") > 5
    assert re.search(r"^-{20}  0/1\n.* so far - time left unknown$", t.text, re.MULTILINE)
    workspace.open("gate")
    t.finish(run, code=0)


def test_a_thousand_short_scripts(workspace: Any, terminal: Any) -> None:
    for number in range(1000):
        workspace.script(f"s{number:03}.sh", "exit 3" if number % 100 == 50 else ":")
    t = terminal()
    run = t.start("run", "src", "-j", "4", "--no-zip", "--json", stdout=subprocess.PIPE)
    document = json.loads(t.finish(run, code=1))
    assert document["totals"] == document["totals"] | {"jobs": 1000, "passed": 990, "failed": 10}
    written = t.written
    for number in range(50, 1000, 100):
        assert written.count(b"s%03d.sh: exit code 3" % number) == 1
    frames = written.count(b"\x1b[K\x1b[J")
    assert frames <= document["wall_seconds"] * 10 + 5
    assert "finished: 1,000 scripts, 990 passed, 10 failed, in " in t.text
    assert not any(BAR.match(row) for row in t.rows)


def test_resizing_while_it_runs(workspace: Any, terminal: Any, wait_until: Any) -> None:
    workspace.scripts(**{f"f{n}": workspace.until(f"f{n}") + "exit(3)" for n in range(4)}, z=workspace.until("z"))
    t = terminal()
    run = t.start("run", "src", "-j", "5")
    wait_until(lambda: t.text.count("s, new") == 5)
    for number, size in enumerate([(60, 20), (100, 30), (45, 8), (80, 24)]):
        t.resize(*size)
        workspace.open(f"f{number}")
        wait_until(lambda number=number: f"{number + 1}/5 · {number + 1} failed" in t.text)
        wait_until(lambda: one_block(t))
        assert re.search(rb"\[%d/5\] f%d\.py: exit code 3" % (number + 1, number), t.written)
        assert f"{number + 1}/5" in t.rows[t.screen.cursor.y]
    workspace.open("z")
    t.finish(run, code=1)
    assert len(re.findall(rb"\[\d/5\] f\d\.py: exit code 3", t.written)) == 4


def test_many_workers(workspace: Any, terminal: Any, wait_until: Any) -> None:
    for number in range(40):
        workspace.script(f"s{number:02}.sh", f"until test -e {workspace.path}/gate; do sleep 0.1; done")
    t = terminal()
    run = t.start("run", "src", "-j", "40", "--no-zip")
    wait_until(lambda: re.search(r"^… and 20 more at work$", t.text, re.MULTILINE))
    assert len([row for row in t.rows if re.match(r"worker +\d+  s\d\d\.sh", row)]) == 20
    workspace.open("gate")
    t.finish(run, code=0)


def test_the_terminal_goes_away(four: Any, terminal: Any, wait_until: Any) -> None:
    t = terminal()
    run = t.start("run", "src", "-j", "4")
    wait_until(lambda: "1/4 · 1 failed" in t.text)
    t.hang_up()
    for gate in "bcd":
        four.open(gate)
    assert run.wait(120) == 1
    document = four.run("status", "--json").document
    assert (document["state"], document["totals"]["passed"]) == ("finished", 3)
    assert (four.path / "result.zip").exists()


def test_the_terminal_goes_away_and_the_record_breaks(four: Any, terminal: Any, wait_until: Any) -> None:
    t = terminal()
    run = t.start("run", "src", "-j", "4")
    wait_until(lambda: "1/4 · 1 failed" in t.text)
    break_record(four)
    t.hang_up()
    four.open("b")
    assert run.wait(120) == 3


def test_a_terminal_that_hangs_up_on_its_own_run_stops_it(four: Any, terminal: Any, wait_until: Any) -> None:
    t = terminal()
    run = t.start("run", "src", "-j", "4", controlling=True)
    wait_until(lambda: "1/4 · 1 failed" in t.text)
    t.hang_up()
    assert run.wait(120) == 128 + signal.SIGHUP
    assert four.run("status", "--json").document["state"] == "interrupted"


def test_control_c_typed_on_the_terminal(four: Any, terminal: Any, wait_until: Any) -> None:
    four.scripts(
        b="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + four.note("deaf") + four.until("b")
    )
    t = terminal()
    run = t.start("run", "src", "-j", "2", "--order", "name", "--grace", "60", controlling=True)
    wait_until(lambda: "1/4 · 1 failed" in t.text and four.notes("deaf"))
    t.type(b"\x03")
    wait_until(lambda: "stopping: asked to stop" in t.text and "· stopping" in t.text)
    t.type(b"\x03")
    t.finish(run, code=130)
    assert "carry on with: buildrunner resume" in t.said
    assert "interrupted: 4 scripts, 1 failed, 2 cancelled, 1 waiting" in t.said
    assert t.said.count("stopping: asked to stop; nothing new starts, and what runs is asked to end: Ctrl-C now") == 1
    assert not any(BAR.match(row) for row in t.rows)
    assert (t.screen.cursor.x, t.screen.cursor.y) == (0, len(t.rows))


def test_a_broken_record_leaves_the_terminal_clean(four: Any, terminal: Any, wait_until: Any) -> None:
    t = terminal()
    run = t.start("run", "src", "-j", "4")
    wait_until(lambda: "1/4 · 1 failed" in t.text)
    break_record(four)
    four.open("b")
    t.finish(run, code=3)
    assert "no room" in t.text
    assert not any(BAR.match(row) or row.startswith("worker") for row in t.rows)
    assert t.text.count("a.py: exit code 1") == 2  # when it happened, and in the report
    assert t.screen.cursor.x == 0


@pytest.mark.parametrize("as_json", [True, False])
def test_stdout_piped_and_stderr_a_terminal(workspace: Any, terminal: Any, as_json: bool) -> None:
    workspace.scripts(a="exit(3)", b="pass")
    t = terminal()
    run = t.start("run", "src", *(["--json"] if as_json else []), stdout=subprocess.PIPE)
    out = t.finish(run, code=1)
    assert MOVES.search(t.written)
    assert b"\x1b" not in out
    assert "finished: 2 scripts, 1 passed, 1 failed" in t.text
    assert "did not pass" not in t.text
    if as_json:
        assert json.loads(out)["totals"]["failed"] == 1
    else:
        assert b"1 of 2 scripts did not pass" in out


def test_stderr_piped_and_stdout_a_terminal(workspace: Any, terminal: Any) -> None:
    workspace.scripts(a="pass")
    t = terminal()
    process = t.start("run", "src", stderr=subprocess.PIPE)
    _, err = process.communicate(timeout=120)
    t.finish(process, code=0)
    assert b"\x1b" not in err and b"[1/1] a.py: ok" in err
    assert not MOVES.search(t.written)


def test_names_that_would_move_the_cursor(workspace: Any, terminal: Any, wait_until: Any) -> None:
    names = [
        b"\x1b[2J\x1b[9A.sh",
        b"new\nline\r.sh",
        b"\xff\xfe.sh",
        "漢字".encode() * 20 + b".sh",
        b"x" * 200 + b".sh",
    ]
    for name in names:
        workspace.script(name, f"until test -e {workspace.path}/gate; do sleep 0.1; done; exit 3")
    t = terminal(50, 20)
    run = t.start("run", "src", "-j", "5", "--no-zip")
    wait_until(lambda: t.text.count("s, new") == 5)
    assert sum("0/5" in row for row in t.rows) == 1
    assert "漢字漢" in t.text.replace(" ", "")
    workspace.open("gate")
    t.finish(run, code=1)
    assert set(MOVES.findall(t.written)) <= {b"\x1b[K", b"\x1b[J", *(b"\x1b[%dA" % n for n in range(1, 7))}
    assert b"\xff" not in t.written
