"""`--events FILE`: every event as a line of JSON, whatever FILE is, and whatever happens to it."""

import json
import os
import re
import resource
import signal
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from buildrunner import events
from buildrunner.job import JobState, Outcome
from buildrunner.ledger import RunRow
from buildrunner.receipt import OutputFile, Receipt
from buildrunner.reports.jsonlines import JsonLines, name_of

pytestmark = pytest.mark.acceptance

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "events.md"
KINDS = [kind for kind in events.Event.__args__ if kind is not events.Tick]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def names(path: Path) -> list[str]:
    return [event["event"] for event in read(path)]


def numbered(found: list[dict[str, Any]]) -> bool:
    return [event["seq"] for event in found] == list(range(1, len(found) + 1))


def test_a_run_is_told_in_order_and_in_full(workspace: Any) -> None:
    workspace.scripts(good="print(1)")
    workspace.script("bad\udcff.sh".encode(errors="surrogateescape"), "exit 3")
    done = workspace.json("--events", "events.jsonl", "--retries", "1", "-j1", "--order", "name", code=1)
    told = read(workspace.path / "events.jsonl")
    assert numbered(told)
    assert [event["event"] for event in told] == [
        "run_started", "job_started", "job_ended", "job_started", "job_ended", "job_started", "job_ended", "packaging",
        "packaged", "run_ended",
    ]  # fmt: skip
    assert {event["run"] for event in told} == {done.document["run"]}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"]) for event in told)
    ended = [event for event in told if event["event"] == "job_ended"]
    assert [(e["job"], e["final"], e["receipt"]["state"]) for e in ended] == [
        ("bad\udcff.sh", False, "waiting"),
        ("bad\udcff.sh", True, "failed"),
        ("good.py", True, "passed"),
    ]
    assert {e["attempt"] for e in ended} == {e["attempt"] for e in told if e["event"] == "job_started"}
    for event in ended[1:]:  # what `run --json` says of the job, in the same words
        assert event["receipt"].items() <= done.results[event["job"]].items()
    assert set(done.results["good.py"]) - set(ended[2]["receipt"]) == {"total_seconds", "lost", "changed"}
    assert (workspace.path / ended[0]["receipt"]["stdout"]).exists()
    assert told[-2]["sha256"] == done.document["archive"]["sha256"]
    assert (told[-1]["exit_code"], told[-1]["totals"]) == (1, done.document["totals"])


def test_a_line_is_there_as_soon_as_it_happened(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a="pass", b=workspace.until("gate"))
    run = workspace.start("run", "src", "-j1", "--order", "name", "--events", "events.jsonl", "--no-zip")
    path = workspace.path / "events.jsonl"
    wait_until(lambda: path.exists() and path.read_bytes().count(b'"job_started"') == 2)
    assert path.read_bytes().endswith(b"}\n")
    assert names(path) == ["run_started", "job_started", "job_ended", "job_started"]
    workspace.open("gate")
    workspace.finish(run, code=0)
    assert names(path)[-1] == "run_ended"


def test_each_line_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: written.append(bytes(data)) or write(fd, data))
    lines = begun(tmp_path / "events")
    for event in SAMPLES.values():
        lines.on_event(event)
    lines.close()
    assert len(written) == len(KINDS)
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in written)


@pytest.mark.parametrize("torn", [b"", b'{"schema": "buildrunner.events/1", "se'])
def test_a_resumed_run_goes_on_in_its_file(workspace: Any, wait_until: Any, torn: bytes) -> None:
    workspace.scripts(a="pass", b=workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "-j1", "--order", "name", "--events", "events.jsonl")
    wait_until(lambda: workspace.notes("start"))
    run.kill()
    run.wait()
    path = workspace.path / "events.jsonl"
    before = path.read_bytes()
    with path.open("ab") as file:
        file.write(torn)
    workspace.open("gate")
    workspace.run("resume")
    after = path.read_bytes()
    assert after.startswith(before + torn + (b"\n" if torn else b""))
    told = [json.loads(line) for line in after.splitlines() if line != torn]
    assert numbered(told)
    assert [(e["resumed"], e["done"]) for e in told if e["event"] == "run_started"] == [(False, 0), (True, 1)]
    assert told[-1]["event"] == "run_ended"
    assert len({e["run"] for e in told}) == 1


def test_a_new_run_replaces_events_and_nothing_else(workspace: Any) -> None:
    workspace.scripts(a="pass")
    path = workspace.path / "events.jsonl"
    workspace.run("run", "src", "--events", "events.jsonl")
    first = read(path)
    workspace.run("run", "src", "--events", "events.jsonl")
    assert numbered(read(path))
    assert first[0]["run"] not in path.read_text()
    path.write_text('{"schema": "somebody else\'s"}\n')
    done = workspace.run("run", "src", "--events", "events.jsonl", code=2)
    assert "cannot write the events events.jsonl: what is there is none of ours; name another with --events" in done.err
    assert path.read_text() == '{"schema": "somebody else\'s"}\n'


def test_an_old_run_that_is_resumed_does_not_go_on_counting_in_a_newer_ones_file(
    workspace: Any, wait_until: Any
) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "--events", "events.jsonl", "-o", "one")
    wait_until(lambda: workspace.notes("start"))
    run.kill()
    run.wait()
    old = read(workspace.path / "events.jsonl")[0]["run"]
    workspace.open("gate")
    workspace.run("run", "src", "--events", "events.jsonl", "-o", "two")
    workspace.run("resume", old)
    told = read(workspace.path / "events.jsonl")
    assert numbered(told)
    assert {e["run"] for e in told} == {old}


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nowhere/e", "No such file or directory; name another with --events FILE"),
        ("src", "it is a folder"),
        ("src/a.py", "none of ours"),
        ("/dev/fd/77", "Bad file descriptor"),
        ("", "--events without a name"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_before_anything_runs(workspace: Any, path: str, why: str) -> None:
    workspace.scripts(a=workspace.note("ran"))
    assert why in workspace.run("run", "src", "--events", path, code=2).err
    assert not workspace.notes("ran")
    assert not (workspace.path / ".buildrunner").exists()


def test_a_descriptor_for_reading_is_refused(workspace: Any) -> None:
    workspace.scripts(a="pass")
    with open(os.devnull) as nothing:
        done = workspace.run("run", "src", "--events", "/dev/stdin", code=2, stdin=nothing)
    assert "it is open for reading only" in done.err


def test_no_descriptor_of_our_own_is_taken_for_the_callers(workspace: Any) -> None:
    """Whatever the program has open itself, its record above all."""
    workspace.scripts(a="pass")
    program = (
        "import os, sys; fd = os.open('secret', os.O_RDWR | os.O_CREAT); sys.argv[1:] = ['run', 'src', '--events', "
        "f'/dev/fd/{fd}']; from buildrunner.__main__ import main; main()"
    )
    done = workspace.finish(workspace.start_python("-c", program), code=2)
    assert "the caller opened no such descriptor" in done.err
    assert (workspace.path / "secret").read_bytes() == b""


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/stderr", "/dev/fd/{}", "fifo"])
def test_pipes_get_every_line(workspace: Any, place: str) -> None:
    workspace.scripts(a="pass", b="pass")
    os.mkfifo(workspace.path / "fifo")
    options = ["run", "src", "-q", "--no-zip", "--events"]
    if place == "fifo":
        run = workspace.start(*options, place)
        text = (workspace.path / "fifo").read_bytes()  # comes later than the run, and waits for it
        workspace.finish(run, code=0)
    elif place == "/dev/fd/{}":
        reader, writer = os.pipe()
        run = workspace.start(*options, place.format(writer), pass_fds=[writer])
        os.close(writer)
        with open(reader, "rb") as file:
            text = file.read()
        workspace.finish(run, code=0)
    else:
        done = workspace.run(*options, place)
        text = done.stdout if place == "/dev/stdout" else done.stderr
    told = [json.loads(line) for line in text.splitlines()]
    assert numbered(told)
    assert told[-1]["event"] == "run_ended"


def test_a_file_that_is_standard_output_is_written_where_it_is(workspace: Any) -> None:
    workspace.scripts(a="pass")
    with (workspace.path / "log").open("wb") as log:
        log.write(b"what was there before\n")
        log.flush()
        workspace.run("run", "src", "-q", "--no-zip", "--events", "/dev/stdout", stdout=log)
    first, *rest = (workspace.path / "log").read_text().splitlines()
    assert first == "what was there before"
    assert json.loads(rest[-1])["event"] == "run_ended"


def test_two_kinds_of_json_do_not_meet_on_standard_output(workspace: Any) -> None:
    workspace.scripts(a="pass")
    done = workspace.run("run", "src", "--json", "--events", "/dev/stdout", code=2)
    assert (done.stdout, "--json" in done.err) == (b"", True)


def test_a_full_disk_ends_the_events_and_nothing_else(workspace: Any) -> None:
    workspace.scripts(a="pass")
    done = workspace.run("run", "src", "--events", "/dev/full", code=0)
    assert "the events in /dev/full are incomplete from number 1 (run_started) on: No space left" in done.out
    assert (workspace.path / "result.zip").exists()


def test_a_line_that_did_not_fit_leaves_no_half_behind(tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    lines = begun(tmp_path / "events")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        lines.on_event(SAMPLES[events.Packaging])
        whole = (tmp_path / "events").read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, limit[1]))
        lines.on_event(SAMPLES[events.Packaged])
        lines.on_event(SAMPLES[events.RunEnded])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "events").read_bytes() == whole
    assert "incomplete from number 2 (packaged) on: File too large" in (lines.close() or "")


def test_a_reader_that_goes_away_hurts_nothing(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"), b="pass")
    reader, writer = os.pipe()
    run = workspace.start("run", "src", "-j1", "--order", "name", "--events", f"/dev/fd/{writer}", pass_fds=[writer])
    os.close(writer)
    wait_until(lambda: workspace.notes("start"))
    os.close(reader)
    workspace.open("gate")
    done = workspace.finish(run, code=0)
    assert re.search(r"incomplete from number 3 \(job_ended\) on: Broken pipe", done.out)


def test_a_reader_that_does_not_read_holds_nothing_up(workspace: Any) -> None:
    for number in range(150):
        workspace.script(f"{'long' * 40}{number}.sh", ":")
    reader, writer = os.pipe()
    run = workspace.start("run", "src", "--events", f"/dev/fd/{writer}", pass_fds=[writer])
    os.close(writer)
    began = time.monotonic()
    done = workspace.finish(run, code=0, seconds=120)
    assert time.monotonic() - began < 100
    assert re.search(r"incomplete from number \d+ \(job_\w+\) on: nobody reads them", done.out)
    with open(reader, "rb") as file:
        *whole, _ = file.read().split(b"\n")
    assert numbered([json.loads(line) for line in whole])


def test_a_slow_reader_gets_everything(workspace: Any) -> None:
    for number in range(150):
        workspace.script(f"{'long' * 40}{number}.sh", ":")
    os.mkfifo(workspace.path / "fifo")
    run = workspace.start("run", "src", "--no-zip", "-q", "--events", "fifo")
    with (workspace.path / "fifo").open("rb") as file:
        first = file.readline()
        while "finished" not in workspace.run("status", code=None).out:
            time.sleep(0.05)
        told = [json.loads(line) for line in (first, *file)]
    assert numbered(told)
    assert told[-1]["event"] == "run_ended"
    workspace.finish(run, code=0)


def test_a_named_pipe_nobody_reads_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from buildrunner.errors import UsageError
    from buildrunner.reports import jsonlines

    monkeypatch.setattr(jsonlines, "_READER_COMES_WITHIN", 0.1)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="nobody reads this pipe"):
        JsonLines(str(tmp_path / "fifo"))


def test_a_run_begun_with_a_descriptor_can_be_resumed_without_it(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "--events", "/dev/fd/9", preexec_fn=lambda: os.dup2(2, 9), close_fds=False)
    wait_until(lambda: workspace.notes("start"))
    run.kill()
    run.wait()
    workspace.open("gate")
    assert "belonged to the process that was interrupted" in workspace.run("resume").out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_its_events(workspace: Any, wait_until: Any, number: int) -> None:
    workspace.scripts(a=workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "--events", "events.jsonl", "--no-zip")
    wait_until(lambda: workspace.notes("start"))
    run.send_signal(number)
    workspace.finish(run, code=128 + number)
    last = read(workspace.path / "events.jsonl")[-1]
    assert (last["event"], last["state"], last["exit_code"]) == ("run_ended", "interrupted", 128 + number)


def test_a_zip_made_late_is_told_too(workspace: Any, wait_until: Any) -> None:
    big = "import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/big', 'wb').write(os.urandom(60_000_000))"
    workspace.scripts(a=big)
    run = workspace.start("run", "src", "--events", "events.jsonl")
    wait_until(lambda: workspace.packaging())
    run.kill()
    run.wait()
    assert names(workspace.path / "events.jsonl")[-1] == "packaging"
    workspace.run("resume")
    told = read(workspace.path / "events.jsonl")
    assert numbered(told)
    assert [event["event"] for event in told][-3:] == ["packaging", "packaged", "run_ended"]


def test_the_interface_for_python_writes_them_too(workspace: Any) -> None:
    workspace.scripts(a="pass")
    program = "from buildrunner import BuildServer; s = BuildServer('src', events='e'); s.run(); s.run()"
    workspace.finish(workspace.start_python("-c", program), code=0)
    assert numbered(read(workspace.path / "e"))


def test_a_listener_that_fails_costs_nobody_the_run(workspace: Any) -> None:
    workspace.scripts(a="pass", b="pass")
    program = """
from buildrunner import BuildServer
class Bad:
    heard = 0
    def on_event(self, event):
        self.heard += 1
        raise ValueError("a mistake\\x1b[2J")
    def close(self):
        raise ValueError
class Good:
    heard = []
    def on_event(self, event):
        self.heard.append(type(event).__name__)
bad, good = Bad(), Good()
summary = BuildServer("src", listeners=[bad, good], events="e").run()
print(summary.exit_code, bad.heard, good.heard[-1], *summary.notices)
"""
    done = workspace.finish(workspace.start_python("-c", program), code=0)
    said = "the listener Bad failed and heard no more of the run: ValueError: a mistake\\x1b[2J"
    assert done.out == f"0 1 RunEnded {said}\n"
    assert numbered(read(workspace.path / "e"))


def test_seconds_are_those_of_the_document(workspace: Any) -> None:
    workspace.scripts(a="pass")
    document = workspace.json("--events", "e").document
    assert read(workspace.path / "e")[-1]["wall_seconds"] == document["wall_seconds"]


# the page

RECEIPT = Receipt(
    attempt="id", job="a.py", number=1, worker=0, mode="cold", outcome=Outcome.OK, exit_code=0, started=1.0,
    outputs=(OutputFile(path="x", size=1, sha256="0"),),
)  # fmt: skip
VALUES: dict[str, Any] = {"receipt": RECEIPT, "state": JobState.PASSED, "totals": {"jobs": 1}}
SAMPLES: dict[Any, Any] = {kind: kind(**{f.name: VALUES.get(f.name, "x") for f in fields(kind)}) for kind in KINDS}


def begun(path: Path) -> JsonLines:
    """A listener in the middle of a run."""
    row = RunRow(
        id=1, name="r", state="running", target="src", key="k", args=(), options={"output": "out"}, jobs=1, python="p",
        started=0.0, finished=None, wall=0.0, session=None, exit_code=None, archive=None,
    )  # fmt: skip
    lines = JsonLines(str(path))
    lines.begin(row, {"a.py": "a.py"}, resumed=False)
    return lines


def documented() -> dict[str, list[str]]:
    """Every heading's fields on the page; a job_ended's second table under `receipt`."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in PAGE.read_text().splitlines():
        if match := re.fullmatch(r"#+ (.+)", line):
            heading = match[1]
        elif line.startswith("A `receipt` has"):
            heading = "receipt"
        elif match := re.match(r"\| `(\w+)` \|", line):
            found.setdefault(heading, []).append(match[1])
    return found


def test_the_page_names_every_event_and_field_and_no_other(tmp_path: Path) -> None:
    lines = begun(tmp_path / "events")
    for event in SAMPLES.values():
        lines.on_event(event)
    lines.close()
    page = documented()
    common = page.pop("Every line")
    receipt = page.pop("receipt")
    assert set(page) == {name_of(kind) for kind in KINDS}
    for told in read(tmp_path / "events"):
        assert list(told)[: len(common)] == common
        own = [field for field in told if field not in common or field in page[told["event"]]]
        assert sorted(page[told["event"]]) == sorted(own), told["event"]
        if told["event"] == "job_ended":
            assert receipt == list(told["receipt"])
