"""The live screen: what it says of what happens in a run, driven by made-up events and a clock that stands still."""

import re
from typing import Any

import pytest

from buildrunner.events import JobReturned, Packaging, Stopping, Tick, WorkerLost
from buildrunner.job import Outcome


def test_what_stands_on_it(show: Any) -> None:
    s = show()
    s.begin(["a.py", "b.py", "c.py", "d.py"], past={"a.py": [30.0, 30.0], "b.py": [4.0]})
    s.start("a.py", 0, usual=30.0)
    s.start("b.py", 1, usual=4.0)
    s.wait(4.0)
    s.end("b.py", seconds=4.0)
    s.start("c.py", 1)
    s.wait(2.0)
    bar, times, first, second = s.rows[-4:]
    assert re.fullmatch(r"━{5}─{15}  1/4 · 10/min", bar)
    assert re.fullmatch(r"6\.0 s so far · (\d+ s ±|perhaps up to) [\d.]+ s left", times)
    assert re.fullmatch(r"worker 0  a\.py +6\.0 s of about 30 s", first)
    assert re.fullmatch(r"worker 1  c\.py +2\.0 s, new", second)
    assert first.index("6.0 s") == second.index("2.0 s")
    assert s.terminal.screen.cursor.x == 0
    assert s.rows[s.terminal.screen.cursor.y] == bar, "the cursor rests at the block's beginning"


def test_time_left_unknown(show: Any) -> None:
    s = show()
    s.begin(["a", "b"])
    s.start("a")
    s.wait(1)
    assert "time left unknown" in s.lane("so far")
    s.end("a")
    s.wait(1)
    assert re.search(r"\d s left$", s.lane("so far"))


def test_failures_and_retries_stand_above_the_block(show: Any) -> None:
    s = show()
    s.begin(["a", "b", "c"])
    s.start("a", 0)
    s.start("b", 1)
    s.end("a", Outcome.EXITED)
    s.start("a", 0, number=2)
    s.end("b", Outcome.EXITED, final=False)
    s.start("b", 1, number=2)
    s.wait(0.4)
    said = [row for row in s.rows if "exit code" in row]
    assert said == ["[1/3] a: exit code 3, 1.00 s", "[1/3] b: exit code 3, trying again, 1.00 s"]
    assert "1/3 · 1 failed" in s.lane("1/3 ·")
    assert "attempt 2" in s.lane("worker 1")
    assert s.rows.index(said[1]) < s.rows.index(s.lane("1/3 ·"))
    s.end("b")
    s.wait(0.4)
    assert [row for row in s.rows if "exit code" in row] == said


@pytest.mark.parametrize(
    ("usual", "just_before", "at"),
    [(2.0, 5.8, 6.0), (10.0, 29.8, 30.0), (0.5, 1.3, 1.5), (0.2, 0.8, 1.0), (0.0, 0.8, 1.0), (None, 1e5, 1e6)],
)
def test_slow_is_said_once_at_three_times_the_usual(
    show: Any, usual: float | None, just_before: float, at: float
) -> None:
    s = show()
    s.begin(["a", "b"], past={} if usual is None else {"a": [usual]})
    s.start("a", usual=usual)

    def tick(since: float) -> str:
        s.now = 1000.0 + since
        s.screen.on_event(Tick())
        text: str = s.terminal.everything
        return text

    assert "slow" not in tick(just_before)
    warned = tick(at)
    if usual is None:
        assert "slow" not in warned
        return
    assert warned.count("slow: a has run for") == 1
    assert s.lane("worker 0").endswith("slow")
    for later in range(20):
        assert tick(at * 2 + later).count("slow: a") == 1
    s.end("a", seconds=at * 3)
    s.start("a", usual=usual, number=2)
    assert tick(at * 2 + 19.5).count("slow: a") == 1, "another attempt begins anew"


def test_an_attempt_that_lies_behind_another_has_not_begun(show: Any) -> None:
    s = show()
    s.begin(["a.py", "b.py", "c.py"], past={f"{n}.py": [1.0] for n in "abc"})
    for name in ("a.py", "b.py", "c.py"):
        s.start(name, usual=1.0)
    s.wait(2.8)
    assert "a.py" in s.lane("worker 0")
    s.screen.on_event(JobReturned(job="b.py", attempt="b.py/1"))
    s.end("a.py", seconds=2.8)
    s.wait(2.8)
    assert re.search(r"c\.py  +2\.8 s of about 1\.0 s$", s.lane("worker 0"))
    assert "slow" not in s.terminal.everything
    s.screen.on_event(JobReturned(job="c.py", attempt="c.py/1"))
    s.wait(0.2)
    assert not any("worker 0" in row for row in s.rows)


def test_a_worker_that_dies(show: Any) -> None:
    s = show()
    s.begin(["a", "b"], past={"a": [10.0], "b": [10.0]})
    s.start("a", 0, usual=10.0)
    s.end("a", Outcome.LOST, 0.0, final=False)
    s.screen.on_event(WorkerLost(worker=0, pid=77, lost=1))
    s.wait(0.2)
    assert "worker 0 (process 77) died and was replaced" in s.rows
    assert "a: lost with its worker, trying again" in "\n".join(s.rows)
    # What was cut off says nothing about how long scripts take today.
    [left] = re.findall(r"(?:([\d.]+) s ±|perhaps up to ([\d.]+) s)", s.lane("so far"))
    assert 8 <= float(left[0] or left[1]) <= 20


def test_what_an_earlier_server_left_is_no_throughput_of_this_one(show: Any) -> None:
    s = show()
    s.begin(["a", "b"], past={"b": [10.0]})
    s.at["gone"] = "gone/1"
    s.end("gone", seconds=500.0)
    s.wait(0.4)
    assert "/min" not in s.lane("1/2") and "/s" not in s.lane("1/2")


def test_the_end_is_one_line_and_no_block(show: Any) -> None:
    s = show()
    s.begin(["a", "b"])
    s.start("a")
    s.start("b", 1)
    s.end("a")
    s.end("b", Outcome.EXITED)
    s.screen.on_event(Packaging(path="out/result.zip"))
    assert s.rows[-1] == "packaging out/result.zip"
    assert "left" not in "\n".join(s.rows)
    s.finish(1, passed=1, failed=1)
    assert s.rows[-2:] == ["[2/2] b: exit code 3, 1.00 s", "finished: 2 scripts, 1 passed, 1 failed, in 12.0 s"]
    assert "━" not in "\n".join(s.rows)
    assert (s.terminal.screen.cursor.x, s.terminal.screen.cursor.y) == (0, len(s.rows))
    before = len(s.terminal.writes)
    s.screen.close()
    s.screen.close()
    assert len(s.terminal.writes) == before


def test_a_server_that_cannot_go_on_leaves_no_block_and_no_failure_unsaid(show: Any) -> None:
    s = show()
    s.begin(["a", "b"])
    s.start("a")
    s.end("a", Outcome.EXITED)
    s.screen.close()
    assert s.rows[-1] == "[1/2] a: exit code 3, 1.00 s"
    assert (s.terminal.screen.cursor.x, s.terminal.screen.cursor.y) == (0, len(s.rows))


@pytest.mark.parametrize("ends_running", [True, False])
def test_stopping_is_said_and_stays_said(show: Any, ends_running: bool) -> None:
    s = show()
    s.begin(["a", "b"], past={"a": [5.0], "b": [5.0]})
    s.start("a", usual=5.0)
    s.screen.on_event(Stopping(reason="the deadline has passed", ends_running=ends_running))
    s.wait(0.2)
    bar = s.lane("so far")
    assert bar.endswith("stopping")
    assert ("Ctrl-C now kills" in "\n".join(s.rows)) is ends_running
    s.finish(130, "interrupted", waiting=2)
    assert "stopping: the deadline has passed" in "\n".join(s.rows)
    assert s.rows[-1] == "interrupted: 2 scripts, 2 waiting, in 12.0 s"


def test_a_terminal_that_is_gone_disturbs_nobody(show: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s = show()
    s.begin(["a", "b"])
    s.start("a")

    def gone(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(s.terminal, "write", gone)
    monkeypatch.setattr(s.terminal, "flush", gone)
    s.end("a", Outcome.EXITED)
    s.wait(1)
    s.finish(1)
    s.screen.close()
