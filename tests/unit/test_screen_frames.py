"""The live screen's frames: how wide, how high, how many, and nothing in them that moves a cursor but our own codes."""

import random
import re
from typing import Any

import pytest
from rich.cells import cell_len

from buildrunner.events import JobDropped, Packaging, Stopping
from buildrunner.job import JobState, Outcome

CODES = re.compile(r"\x1b\[[\d;]*[A-Za-z]|\r")


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 10), (20, 5), (10, 2), (120, 40), (79, 3), (39, 4)])
def test_nothing_ever_wraps_or_scrolls_the_block_away(show: Any, columns: int, lines: int) -> None:
    s = show(columns, lines)
    names = [f"{'x' * 30 * (n % 4)}{n}.py" for n in range(40)]
    s.begin(names, workers=12, past={name: [30.0, 20.0] for name in names[::2]})
    for n in range(12):
        s.start(names[n], n, usual=25.0 if n % 2 == 0 else None)
    s.wait(1)
    scrolled, before = len(s.terminal.screen.history.top), len(s.terminal.writes)
    s.wait(12)
    assert len(s.terminal.screen.history.top) == scrolled, "a redraw scrolls nothing"
    frames = s.terminal.writes[before:]
    assert len(frames) >= 10
    for frame in frames:
        drawn = CODES.sub("", frame).split("\n")
        assert len(drawn) < lines
        assert all(cell_len(line) < columns for line in drawn)
    s.end(names[0])
    s.start(names[12], 0)
    s.screen.on_event(Stopping(reason="asked to stop", ends_running=True))
    s.wait(1)
    assert sum("1/40" in row for row in s.rows) == 1, "one block"
    assert "1/40" in s.rows[s.terminal.screen.cursor.y]


def test_a_small_terminal_keeps_what_matters_most(show: Any) -> None:
    s = show(20, 5)
    names = [f"script_{n}.py" for n in range(30)]
    s.begin(names, workers=3, past={name: [5.0] for name in names})
    s.start(names[0], 0, usual=5.0)
    s.end(names[0])
    for n in (1, 2, 3):
        s.start(names[n], n - 1, usual=5.0)
    s.wait(2)
    text = "\n".join(s.rows)
    assert "1/30" in text
    assert "left" in text
    assert "script" in text


def test_many_workers_show_the_longest_running(show: Any) -> None:
    s = show(80, 24)
    names = [f"job{n:02}" for n in range(64)]
    s.begin(names, workers=64)
    order = random.Random(1).sample(range(64), 64)
    for n in order:
        s.start(names[n], n)
        s.now += 0.01
    s.wait(1)
    shown = [int(found[1]) for row in s.rows if (found := re.match(r"worker +(\d+)  job", row))]
    assert shown == sorted(order[: len(shown)])
    assert len(shown) == 20
    assert s.rows[-1] == f"… and {64 - len(shown)} more at work"
    assert len(s.rows) <= 24
    for n in order[:50]:
        s.end(names[n])
    s.wait(1)
    assert "more at work" not in "\n".join(s.rows)
    assert sum(row.startswith("worker") for row in s.rows) == 14


EVIL = [
    "new\nline\r.py", "\x1b[2J\x1b[31mred.py", "\x9b5A.py", "bell\x07\x08\x7f", "\udcff\udc80.py", "漢字" * 40,
    "e\u0301" * 100, "x" * 300, "\u202eyp.gnp", "zero\u200bwidth", "tab\tbed", "[bold]markup[/bold]",
    "👍🏽" * 30, ":smile:", "%s{0}",
]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("name", EVIL, ids=range(len(EVIL)))
def test_no_name_moves_the_cursor_or_breaks_the_width(show: Any, name: str, encoding: str) -> None:
    s = show(60, 12, encoding)
    s.begin([name, "b"], past={name: [0.1]})
    s.start(name, usual=0.1)
    s.wait(1)
    s.end(name, Outcome.EXITED)
    s.start("b", 1)
    s.wait(1)
    s.screen.on_event(JobDropped(job=name, state=JobState.SKIPPED, reason=name, done=1, total=2))
    s.screen.on_event(Packaging(path=name))
    ours = re.compile(r"\x1b\[\d*(;\d+)*[mKJA]|\r\n|\r")
    for write in s.terminal.writes:
        rest = ours.sub("", write)
        assert rest.isprintable(), rest
        last = write.rpartition("\x1b[J")[2]
        assert set(re.findall(r"\x1b\[\d*A", write)) == set(re.findall(r"\x1b\[\d*A", last)), "up only at the end"
    lanes = [w for write in s.terminal.writes for w in write.split("\r\n") if "worker 0" in w]
    assert lanes
    for lane in lanes:
        assert cell_len(ours.sub("", lane)) < 60


def test_a_terminal_that_cannot_say_everything_gets_plain_characters(show: Any) -> None:
    s = show(80, 24, "ascii")
    s.begin(["é" * 70, *map(str, range(9))], workers=40, past={"é" * 70: [9.0]})
    s.start("é" * 70, usual=9.0)
    for n in range(30):
        s.start(f"x{n}", n + 1)
    s.wait(1)
    assert "".join(s.terminal.writes).isascii()
    assert "\\u" not in "".join(row for row in s.rows), "nothing of ours needed escaping"
    assert len(s.rows) <= 24
    assert "... and " in s.rows[-1]
    assert "so far - " in s.lane("so far")
    s.finish()
    assert "".join(s.terminal.writes).isascii()


def test_no_color_means_cursor_movement_only(show: Any) -> None:
    s = show(NO_COLOR="1")
    s.begin(["a", "b"], past={"a": [1.0]})
    s.start("a", usual=1.0)
    s.wait(4)
    s.end("a", Outcome.EXITED)
    s.wait(1)
    s.finish(1, failed=1)
    written = "".join(s.terminal.writes)
    assert set(re.findall(r"\x1b\[[\d;]*([A-Za-z])", written)) == {"A", "J", "K"}
    assert not re.search(r"\x1b[^\[]", written)
    assert "m" in set(re.findall(r"\x1b\[[\d;]*([A-Za-z])", "".join(coloured(show))))


def coloured(show: Any) -> list[str]:
    s = show()
    s.begin(["a", "b"])
    s.wait(1)
    writes: list[str] = s.terminal.writes
    return writes


def test_ten_thousand_jobs_are_few_frames_and_few_bytes(show: Any) -> None:
    """A thousand jobs a second, every tenth of which fails: at most ten frames a second, each failure once."""
    s = show()
    names = [f"job{n:05}" for n in range(10_000)]
    s.begin(names, workers=4, past={name: [0.004] for name in names[::2]})
    for n, name in enumerate(names):
        s.start(name, n % 4, usual=0.004 if n % 2 == 0 else None)
        s.now += 0.001
        s.end(name, Outcome.EXITED if n % 10 == 7 else Outcome.OK, seconds=0.004)
    s.wait(1)
    frames = len(s.terminal.writes)
    assert frames <= 11 / 0.1 + 10
    assert sum(map(len, s.terminal.writes)) < frames * 8 * 80 + 1000 * 60
    said = re.findall(r"(job\d+): exit code 3", s.terminal.everything)
    assert said == names[7::10]
    s.finish(1, passed=9000, failed=1000)
    assert s.rows[-1] == "finished: 10,000 scripts, 9,000 passed, 1,000 failed, in 12.0 s"


def test_a_burst_of_failures_draws_no_frame_each(show: Any) -> None:
    s = show()
    names = [f"job{n}" for n in range(500)]
    s.begin(names)
    before = len(s.terminal.writes)
    for name in names:
        s.start(name)
        s.end(name, Outcome.EXITED)
    s.wait(0.2)
    assert len(s.terminal.writes) - before <= 3
    assert s.terminal.everything.count("exit code 3") == 500


def test_nothing_new_is_drawn_at_most_once_a_second(show: Any) -> None:
    s = show()
    s.begin(["a"], past={"a": [100_000.0]})
    s.start("a", usual=100_000.0)
    s.wait(4000, step=1000)
    before = len(s.terminal.writes)
    s.wait(40)
    assert 30 <= len(s.terminal.writes) - before <= 40
    for size in ((80, 23), (79, 23), (80, 24)):  # the block fits all of them, but who knows what became of it
        s.terminal.resize(*size)
        before = len(s.terminal.writes)
        s.wait(0.2)
        assert len(s.terminal.writes) == before + 1


def test_resizing_leaves_one_block(show: Any) -> None:
    s = show()
    names = [f"job{n}" for n in range(40)]
    s.begin(names, workers=6)
    for n in range(6):
        s.start(names[n], n)
    for step, size in enumerate([(60, 24), (100, 24), (100, 6), (80, 30), (20, 5), (80, 24)]):
        s.terminal.resize(*size)
        s.end(names[step], Outcome.EXITED)
        s.start(names[step + 6], step)
        s.wait(1)
        rows = s.rows
        assert sum(f"{step + 1}/40" in row and "[" not in row for row in rows) == 1
        assert f"{step + 1}/40" in rows[s.terminal.screen.cursor.y]
        assert len(rows) <= size[1]
    for n in range(6):
        assert "".join(s.terminal.writes).count(f"[ {n + 1}/40] job{n}: exit") == 1


def test_columns_makes_it_narrower_never_wider(show: Any) -> None:
    s = show(80, 24, COLUMNS="50")
    s.begin(["a" * 100])
    s.start("a" * 100)
    s.wait(1)
    assert len(s.rows[-1]) == 49
    s = show(80, 24, COLUMNS="500")
    s.begin(["a" * 100])
    s.start("a" * 100)
    s.wait(1)
    assert len(s.rows[-1]) == 79
