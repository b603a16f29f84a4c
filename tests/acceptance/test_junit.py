"""`--junitxml FILE`: read back as the readers of JUnit files do."""

import os
import signal
import tracemalloc
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import junitparser
import pytest

from buildrunner.ledger import Reader
from buildrunner.reports import junit

pytestmark = pytest.mark.acceptance


def read(path: Path) -> dict[str, junitparser.TestCase]:
    """Every test by its name, read by a common reader; the figures above them must be true."""
    document = junitparser.JUnitXml.fromfile(str(path))
    (suite,) = document
    cases = list(suite)
    kinds = [type(result) for case in cases for result in case.result]
    for element in (document, suite):
        assert element.tests == len(cases)
        assert element.failures == kinds.count(junitparser.Failure)
        assert element.errors == kinds.count(junitparser.Error)
        assert element.skipped == kinds.count(junitparser.Skipped)
    return {case.name: case for case in cases}


def kinds(path: Path) -> dict[str, str]:
    return {name: type(case.result[0]).__name__ if case.result else "" for name, case in read(path).items()}


def test_every_ending_is_the_element_readers_expect(workspace: Any) -> None:
    workspace.scripts(
        good="import os; print(os.environ['BUILDRUNNER_ATTEMPT_NUMBER'])",
        bad="import sys; print('out'); sys.exit('the reason')",
        killed="import os; os.kill(os.getpid(), 9)",
        slow="import time; time.sleep(60)",
    )
    workspace.script("odd", "#!/nowhere/at/all\n", mode=0o755)
    workspace.run("run", "src", "--junitxml", "report.xml", "--timeout", "1", "--retries", "1", code=1)
    path = workspace.path / "report.xml"
    assert kinds(path) == {
        "good.py": "", "bad.py": "Failure", "killed.py": "Failure", "slow.py": "Error", "odd": "Error",
    }  # fmt: skip
    cases = read(path)
    assert {case.classname for case in cases.values()} == {"src"}
    (failure,) = cases["bad.py"].result
    assert (failure.message, failure.type) == ("exit code 1 after 2 attempts", "exited")
    assert "the reason" in failure.text
    assert "log: python_output/logs/bad.py.err" in failure.text
    assert (cases["bad.py"].system_out, cases["bad.py"].system_err) == ("out\n", "the reason\n")
    assert cases["slow.py"].result[0].type == "timed_out"
    assert cases["odd"].result[0].type == "spawn_error"
    assert 0.9 < cases["slow.py"].time < 30
    root = ElementTree.parse(path).getroot()
    elements = {case.get("name"): case for case in root.iter("testcase")}
    assert elements["bad.py"].get("file") == "src/bad.py"
    assert elements["bad.py"].find("properties/property").attrib == {"name": "attempts", "value": "2"}
    assert elements["good.py"].find("properties") is None


def test_nothing_in_it_tells_two_runs_apart_but_times(workspace: Any) -> None:
    workspace.scripts(a="print(1)", b="raise SystemExit(1)")
    shapes = []
    for workers in ("1", "2"):
        workspace.run("run", "src", "--junitxml", "report.xml", "-j", workers, code=1)
        root = ElementTree.parse(workspace.path / "report.xml").getroot()
        for element in root.iter():
            element.attrib.pop("time", None)
            element.attrib.pop("timestamp", None)
        shapes.append(ElementTree.tostring(root))
    assert shapes[0] == shapes[1]


def test_s65_what_no_xml_may_hold_is_shown(workspace: Any) -> None:
    evil = b"\x1b[31mred\x1b[0m  \xff ]]> <script>&amp; \xed\xa0\x80 \xef\xbf\xbe \xe2\x80\xa8"
    evil += b" caf\xc3\xa9\r\nnext\x0b\tend"
    workspace.script("evil.sh", b"cat <<'EOF'\n" + evil + b"\nEOF\nprintf '\\000' >&2\nexit 1\n")
    name = b'a"b<c>&\x1b\xff\n]]>.sh'
    workspace.script(name, b":")
    workspace.run("run", "src", "--junitxml", "report.xml", code=1)
    cases = read(workspace.path / "report.xml")
    assert set(cases) == {"evil.sh", 'a"b<c>&\\x1b\\xff\\n]]>.sh'}
    assert cases["evil.sh"].system_out == (
        "\\x1b[31mred\\x1b[0m  \\xff ]]> <script>&amp; \\xed\\xa0\\x80 \\ufffe \\u2028 café\nnext\\x0b    end\n"
    )
    assert cases["evil.sh"].system_err == "\\x00"


def test_long_logs_are_cut_in_the_middle_and_say_so(workspace: Any) -> None:
    line = "é" * 49 + "\n"
    workspace.scripts(
        long=f"import sys; [print('{line[:-1]}') for _ in range(10_000)]; print('last')",
        wide="print('x' * 200_000)",
    )
    workspace.run("run", "src", "--junitxml", "report.xml")
    cases = read(workspace.path / "report.xml")
    for name in ("long.py", "wide.py"):
        size = len(workspace.log(name))
        text = cases[name].system_out
        head, _, rest = text.partition("\n[")
        note, _, end = rest.partition("]\n")
        kept = len(head.encode()) + 1 + len(end.encode())
        assert junit.MOST_OF_A_LOG * 0.9 < kept <= junit.MOST_OF_A_LOG + 1
        assert note.startswith(f"{size - kept:,} bytes left out" if name == "long.py" else f"{size - kept + 1:,} bytes")
        assert f"python_output/logs/{name}.out" in note
        assert "\\x" not in text
    assert cases["long.py"].system_out.endswith("last\n")


def test_it_is_written_job_by_job(workspace: Any) -> None:
    for number in range(100):
        workspace.script(f"s{number}.sh", "head -c 65536 /dev/zero | tr '\\0' x")
    workspace.run("run", "src", "--no-zip")
    reader = Reader.open(workspace.path / ".buildrunner")
    try:
        tracemalloc.start()
        junit.write(reader, reader.run(), str(workspace.path / "report.xml"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        reader.close()
    assert (workspace.path / "report.xml").stat().st_size > 6_500_000
    assert peak < 1_500_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_has_a_report_and_the_resumed_one_the_whole(
    workspace: Any, wait_until: Any, number: int
) -> None:
    workspace.scripts(a="print('first')", b=workspace.note("start") + workspace.until("gate"), c="pass")
    run = workspace.start("run", "src", "-j1", "--order", "name", "--junitxml", "report.xml")
    wait_until(lambda: workspace.notes("start"))
    run.send_signal(number)
    workspace.finish(run, code=128 + number)
    path = workspace.path / "report.xml"
    assert kinds(path) == {"a.py": "", "b.py": "Error", "c.py": "Skipped"}
    assert read(path)["b.py"].result[0].message == "cancelled: asked to stop"
    assert read(path)["c.py"].result[0].message == "not run: the run was interrupted"
    workspace.open("gate")
    workspace.run("resume")
    assert kinds(path) == {"a.py": "", "b.py": "", "c.py": ""}
    assert read(path)["a.py"].system_out == "first\n"


def test_a_run_that_ran_out_of_time_or_failed_too_often_has_a_report(workspace: Any) -> None:
    workspace.scripts(a="raise SystemExit(1)", b="import time; time.sleep(60)")
    options = ("run", "src", "-j1", "--order", "name", "--junitxml", "report.xml")
    workspace.run(*options, "--deadline", "2s", code=None)
    assert kinds(workspace.path / "report.xml") == {"a.py": "Failure", "b.py": "Error"}
    workspace.run(*options, "-x", code=1)
    assert kinds(workspace.path / "report.xml") == {"a.py": "Failure", "b.py": "Skipped"}
    assert "a script failed" in read(workspace.path / "report.xml")["b.py"].result[0].message


def test_a_zip_that_cannot_be_made_takes_no_report_along(workspace: Any) -> None:
    workspace.scripts(a="import os; os.mkdir('zips/result.zip')")
    (workspace.path / "zips").mkdir()
    workspace.run("run", "src", "--zip", "zips/result.zip", "--junitxml", "report.xml", code=3)
    assert kinds(workspace.path / "report.xml") == {"a.py": ""}


def test_a_report_that_cannot_be_written_is_said_and_nothing_else_is_lost(workspace: Any) -> None:
    workspace.scripts(a="import os; os.path.exists('xml') or os.mkdir('xml')")
    done = workspace.json("--junitxml", "xml", code=3)
    assert "note: cannot write the JUnit report xml: it is a folder" in done.err
    assert done.document["archive"]
    assert done.results["a.py"]["state"] == "passed"
    workspace.run("resume", code=3)
    (workspace.path / "xml").rmdir()
    workspace.run("resume", code=0)
    assert kinds(workspace.path / "xml") == {"a.py": ""}


def test_no_late_report_is_made_of_another_runs_logs(workspace: Any) -> None:
    workspace.scripts(a="print('first')")
    workspace.run("run", "src", "--junitxml", "report.xml")
    first = workspace.run("status", "--json").document["run"]
    (workspace.path / "report.xml").unlink()
    workspace.run("run", "src")
    assert "cannot be written any more" in workspace.run("resume", first, code=3).out
    assert not (workspace.path / "report.xml").exists()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nowhere/x.xml", "No such file or directory; name another with --junitxml FILE"),
        ("theirs.xml", "what is there is none of ours"),
        ("src", "it is a folder"),
        ("", "--junitxml without a name"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_before_anything_runs(workspace: Any, path: str, why: str) -> None:
    workspace.scripts(a=workspace.note("ran"))
    (workspace.path / "theirs.xml").write_text("<testsuites/>")
    assert why in workspace.run("run", "src", "--junitxml", path, code=2).err
    assert not workspace.notes("ran")
    assert (workspace.path / "theirs.xml").read_text() == "<testsuites/>"


@pytest.mark.parametrize("what", ["link", "pipe"])
def test_a_log_that_a_script_replaced_is_not_followed(workspace: Any, what: str) -> None:
    """Neither out of the folder nor into a pipe nobody writes to."""
    (workspace.path / "secret").write_text("the secret")
    make = "os.symlink(os.getcwd() + '/secret', log)" if what == "link" else "os.mkfifo(log)"
    workspace.scripts(a=f"import os; log = 'python_output/logs/a.py.out'; os.unlink(log); {make}; raise SystemExit(1)")
    workspace.run("run", "src", "--no-zip", "--junitxml", "report.xml", code=1)
    assert "secret" not in (workspace.path / "report.xml").read_text()
    assert kinds(workspace.path / "report.xml") == {"a.py": "Failure"}


@pytest.mark.parametrize("choice", ["--last-failed", "--shard=2/2"])
def test_nothing_left_to_do_is_a_report_and_a_document_too(workspace: Any, choice: str) -> None:
    workspace.scripts(a="pass")
    whole = workspace.json().document
    done = workspace.json(choice, "--junitxml", "report.xml", code=0)
    assert set(done.document) == set(whole)
    assert (done.document["run"], done.document["results"]) == (None, [])
    assert done.document["schema"] == whole["schema"]
    assert set(done.document["totals"]) == set(whole["totals"])
    assert read(workspace.path / "report.xml") == {}
    assert "src" in done.err
    os.unlink(workspace.path / "report.xml")
    assert workspace.run("run", "src", choice, "--junitxml", "report.xml").stdout == b""
    assert read(workspace.path / "report.xml") == {}
