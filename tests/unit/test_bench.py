"""What a bench compares and how it is told, without running anything."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from buildrunner.bench import call, first_difference, run_arguments
from buildrunner.comparison import Difference, Ending, Failure, Manner, Measurement, ScriptTimes, compare
from buildrunner.config import Options
from buildrunner.job import Cwd, JobSpec, Outcome
from buildrunner.reports.barchart import svg
from buildrunner.reports.bench import conclusion, markdown, warnings


def bench(
    *scripts: tuple[str, float, float],
    sequential: tuple[float, ...] = (8.0, 8.0, 8.0),
    parallel: tuple[float, ...] = (4.0, 4.0, 4.0),
    cpu: float = 1.0,
    span: float | None = None,
    jobs: int = 2,
    cpus: int = 2,
    failures: tuple[Failure, ...] = (),
    differences: tuple[Difference, ...] = (),
) -> Measurement:
    """A measurement; `cpu` in CPU seconds a second."""
    scripts = scripts or (("a.py", 4.0, 4.0), ("b.py", 4.0, 4.0))
    return Measurement(
        target="src",
        python="python3",
        cpus=cpus,
        warmup=0,
        threads=1,
        span=sorted(parallel)[len(parallel) // 2] if span is None else span,
        comparison=compare(sequential, parallel, script_seconds=[s for _, s, _ in scripts], jobs=jobs),
        scripts=tuple(ScriptTimes(name=n, sequential=s, parallel=p, cpu=s * cpu) for n, s, p in scripts),
        failures=failures,
        differences=differences,
    )


def test_a_gain_is_told_in_one_sentence() -> None:
    assert conclusion(bench()) == "In parallel it took 4.00 s instead of 8.00 s: 2.00 × as fast, 50.0 % less time."


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (bench(("a.py", 8.0, 8.0), parallel=(8.1,), sequential=(8.0,)), "only 1 script for 2 workers"),
        (bench(parallel=(8.1,), sequential=(8.0,), jobs=1), "only one script ran at a time, because so it was asked"),
        (bench(parallel=(8.1,), sequential=(8.0,), jobs=1, cpus=1), "this process may use one CPU only"),
        (
            bench(("a", 4.0, 8.0), ("b", 4.0, 8.0), parallel=(8.0,)),
            "slowed each other down: side by side they took 2.00",
        ),
        (bench(("a", 4.0, 8.0), ("b", 4.0, 8.0), parallel=(8.0,), cpu=1.9), "kept 1.9 CPUs busy already"),
        (bench(("a", 4.0, 8.0), ("b", 4.0, 8.0), parallel=(8.0,), cpus=1), "2 scripts at a time had to share 1 CPU"),
        (bench(parallel=(8.0,), span=4.0), "starting and ending buildrunner itself took 4.00 s, 50 %"),
        (bench(("a", 7.9, 7.9), ("b", 0.1, 0.1), parallel=(8.1,)), "a alone is 99 % of the time, so that 1.01 ×"),
        (bench(parallel=(9.0,), span=9.0), "workers had nothing to do for 5.00 s"),
    ],
)
def test_no_gain_is_told_with_its_reason(measured: Measurement, words: str) -> None:
    told = conclusion(measured)
    assert "NOT faster" in told
    assert words in told


def test_a_difference_within_the_scatter_is_no_gain() -> None:
    assert "NOT clearly faster" in conclusion(bench(sequential=(8.0, 8.2, 8.4), parallel=(7.9, 8.1, 8.3)))


def test_what_went_wrong_is_named() -> None:
    failure = Failure(
        name="a.py",
        round=1,
        manner=Manner.SEQUENTIAL,
        ending=Ending(outcome=Outcome.TIMED_OUT, exit_code=None, signal=15),
    )
    other = Difference(name="b\x1b.py", round=2, manner=Manner.PARALLEL, line=7, column=3, expected="x", found="y")
    ended = Difference(
        name="c.py", round=3, manner=Manner.PARALLEL, line=None, column=None, expected="ok", found="exit code 3"
    )
    assert warnings(bench(failures=(failure,), differences=(other, ended))) == [
        "1 of 2 scripts did not pass, so the times mean little:",
        "    a.py: timed out, signal 15 (SIGTERM) (one after another, round 1)",
        "2 of 2 scripts did not do the same every time:",
        "    b\\x1b.py: stdout differs from line 7, byte 3 on (in parallel, round 2)",
        "        first: x",
        "        then:  y",
        "    c.py: exit code 3 (in parallel, round 3), first ok",
    ]


HOSTILE = (
    "<script>alert(1)</script>&.py",
    "a|b`c*d_e.py",
    "x\n\x1b[31m\udcff\ufffe.py",
    '"]]>--',
    "😀" * 60,
    "n" * 300,
)


def test_the_drawing_is_valid_whatever_scripts_are_called() -> None:
    measured = bench(*((name, 2.0, 2.0) for name in HOSTILE))
    root = ET.fromstring(svg(measured))
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    assert root.find(f"{space}title") is not None
    assert root.find(f"{space}desc") is not None
    texts = [element.text or "" for element in root.iter(f"{space}text")]
    assert any(text.startswith("<script>") for text in texts)
    assert max(map(len, texts)) < 120
    assert len(list(root.iter(f"{space}rect"))) == 1 + 2 + 2 + 2 * len(HOSTILE)  # card, legend, totals, scripts


def test_the_drawing_leaves_the_fast_ones_out_when_there_are_very_many() -> None:
    drawn = svg(bench(*((f"s{i}.py", 1.0 + i, 1.0) for i in range(50))))
    assert "the 40 slowest of 50 scripts" in drawn
    assert ">s9.py<" not in drawn
    assert ">s10.py<" in drawn


def test_a_script_that_took_no_time_can_be_told_and_drawn() -> None:
    measured = bench(("a.py", 0.0, 0.0), ("b.py", 0.0, 0.0))
    ET.fromstring(svg(measured))
    assert "| `a.py` | 0.000 s | 0.000 s |  |" in markdown(measured)


def test_a_name_cannot_break_the_markdown_table() -> None:
    text = markdown(bench(*((name, 2.0, 2.0) for name in HOSTILE)))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(HOSTILE) + 1
    assert {row.count("|") for row in rows} == {5}
    assert "<script>" not in text


def test_files_that_are_alike_do_not_differ(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"x\n" * 700_000)
    other.write_bytes(b"x\n" * 700_000)
    assert first_difference(str(one), str(other)) is None
    assert first_difference(str(tmp_path / "none"), str(tmp_path / "nowhere")) is None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (b"a\nb\nc\n", b"a\nB\nc\n", (2, 1, "b", "B")),
        (b"a\nbcd\n", b"a\nbcx\n", (2, 3, "bcd", "bcx")),
        (b"a\n", b"", (1, 1, "a", "nothing: it ends there")),
        (b"a\n", b"a\nb\n", (2, 1, "nothing: it ends there", "b")),
        (b"a\n", b"a", (1, 2, "a and a line end", "a, but no line end")),
        (b"\x1b[1m\xff\n", b"\x1b[2m\xff\n", (1, 3, "\\x1b[1m\\xff", "\\x1b[2m\\xff")),
        (b"-" * 100 + b"1" + b"-" * 100, b"-" * 100 + b"2" + b"-" * 100, (1, 101, None, None)),
        (b"x\n" * 600_000 + b"end 1\n", b"x\n" * 600_000 + b"end 2\n", (600_001, 5, "end 1", "end 2")),
    ],
)
def test_the_first_difference_is_found(
    tmp_path: Path, one: bytes, other: bytes, expected: tuple[int, int, str | None, str | None]
) -> None:
    (tmp_path / "one").write_bytes(one)
    (tmp_path / "other").write_bytes(other)
    found = first_difference(str(tmp_path / "one"), str(tmp_path / "other"))
    assert found is not None
    assert found[:2] == expected[:2]
    if expected[2] is not None:
        assert found[2:] == expected[2:]
    else:
        assert found[2] == "…" + "-" * 30 + "1" + "-" * 29 + "…"


def test_a_script_is_called_as_a_user_would() -> None:
    python = JobSpec(name="a.py", command=("/bin/python",), script="src/a.py", args=("-x",))
    assert call(python, "/home", "/out") == (("/bin/python", "src/a.py", "-x"), None)
    beside = JobSpec(name="a.py", command=("/bin/python",), script="src/-a.py", cwd=Cwd.SCRIPT)
    assert call(beside, "/home", "/out") == (("/bin/python", "./-a.py"), "/home/src")
    apart = JobSpec(name="a", script="src/a", cwd=Cwd.SCRATCH)
    assert call(apart, "/home", "/out") == (("/home/src/a",), "/out")
    itself = JobSpec(name="a", script="a")
    assert call(itself, "/home", "/out") == (("./a",), None)


def test_the_parallel_arm_gets_every_option_that_matters() -> None:
    options = Options(
        targets=("src", "more"),
        jobs=3,
        output="o",
        state="s",
        zip=None,
        recursive=True,
        include=("-a*",),
        exclude=("b*", "c*"),
        python="/bin/python",
        cwd=Cwd.SCRIPT,
        timeout=1.5,
        threads="keep",
        args=("--", "x y"),
    )
    words = run_arguments(options)
    assert words[0] == "run"
    assert {"--no-zip", "--json", "--jobs=3", "--output=o", "--state=s", "--recursive", "--include=-a*"} <= set(words)
    assert {"--exclude=b*", "--exclude=c*", "--cwd=script", "--threads=keep", "--python=/bin/python"} <= set(words)
    assert words[-5:] == ["src", "more", "--", "--", "x y"]
