"""`buildrunner ledger`: the record checked, exported and made smaller, beside runs and after them."""

import csv
import io
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance


@pytest.fixture
def recorded(workspace: Any) -> Any:
    """Two runs: all kinds of endings, attempts, outputs and names."""
    workspace.scripts(
        a="import os; d = os.environ['BUILDRUNNER_OUTPUT_DIR']; open(d + '/x', 'w').write('x'); os.mkfifo(d + '/p')",
        b="exit(7)",
        slow="import time; time.sleep(60)",
    )
    workspace.script("=cmd().py", "print(1)")
    workspace.script("-dash, and 'quotes'\n.py", "print(1)")
    workspace.script(b"\xff.py", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    workspace.script("missing.sh", "#!/no/such/program\n")
    workspace.json("--retries", "1", "--timeout", "1s", code=1)
    (workspace.source / "slow.py").unlink()
    workspace.json("--retries", "1", code=1)
    return workspace


def edit(workspace: Any, sql: str) -> None:
    db = sqlite3.connect(workspace.path / ".buildrunner" / "ledger.db")
    assert db.execute(sql).rowcount > 0
    db.commit()
    db.close()


# check


def test_a_sound_record(recorded: Any) -> None:
    done = recorded.run("ledger", "check")
    assert "sound" in done.out
    assert "2 runs, 13 jobs, 18 attempts, 18 receipts" in done.out
    document = recorded.run("ledger", "check", "--json").document
    assert (document["schema"], document["ok"], document["problems"]) == ("buildrunner.ledger-check/1", True, [])
    assert (document["runs"], document["jobs"], document["attempts"], document["receipts"]) == (2, 13, 18, 18)


def test_an_edited_receipt_is_named_with_run_and_job(recorded: Any) -> None:
    run = recorded.run("status", "--json").document["run"]
    edit(recorded, "UPDATE receipts SET exit_code = 0 WHERE exit_code = 7")
    done = recorded.run("ledger", "check", code=3)
    assert done.out == ""
    assert f"run {run}, job b.py: receipt 2 has another checksum" in done.err
    assert "cannot be trusted: 4 problems" in done.err
    document = recorded.run("ledger", "check", "--json", code=3).document
    assert document["ok"] is False
    assert {(p["run"] == run, p["job"]) for p in document["problems"]} == {(True, "b.py"), (False, "b.py")}


def test_a_deleted_receipt_and_a_cut_file(recorded: Any) -> None:
    edit(recorded, "DELETE FROM receipts WHERE attempt = (SELECT attempt FROM jobs WHERE name = 'a.py' LIMIT 1)")
    assert "job a.py: attempt 1 has no receipt" in recorded.run("ledger", "check", code=3).err
    path = recorded.path / ".buildrunner" / "ledger.db"
    os.truncate(path, path.stat().st_size - 4096)
    done = recorded.run("ledger", "check", "--json", code=3)
    assert done.document["problems"]
    os.truncate(path, 0)
    assert "is empty" in recorded.run("ledger", "check", code=3).err


def test_checking_beside_a_run(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a="pass", b=workspace.note("start") + workspace.until("gate"))
    run = workspace.start("run", "src", "-q", "-j", "1", "--order", "name")
    wait_until(lambda: workspace.notes("start"))
    document = workspace.run("ledger", "check", "--json").document
    assert (document["ok"], document["attempts"], document["receipts"]) == (True, 2, 1)
    busy = workspace.run("ledger", "vacuum", code=2)
    assert f"in use by process {run.pid}" in busy.err
    assert "buildrunner run src" in busy.err
    workspace.open("gate")
    workspace.finish(run, code=0)
    workspace.run("ledger", "check")


def test_a_record_whose_server_was_killed_is_sound(workspace: Any, wait_until: Any) -> None:
    """Also before and after what resume makes of it."""
    workspace.scripts(a="pass", b=workspace.note("start") + workspace.until("gate"), c="pass")
    run = workspace.start("run", "src", "-q", "-j", "1", "--order", "name")
    wait_until(lambda: workspace.notes("start"))
    run.kill()
    workspace.finish(run)
    workspace.run("ledger", "check")
    wait_until(lambda: not workspace.left())
    [state] = {r["state"] for r in _rows(workspace.run("ledger", "export").stdout) if r["name"] == "b.py"}
    assert state == "waiting"  # nothing runs it
    workspace.open("gate")
    workspace.run("resume", "-q")
    workspace.run("ledger", "check")
    rows = [r for r in _rows(workspace.run("ledger", "export").stdout) if r["name"] == "b.py"]
    assert [(r["attempt"], r["outcome"], r["state"]) for r in rows] == [(1, "lost", "passed"), (2, "ok", "passed")]


def test_an_interrupted_run_is_sound(workspace: Any, wait_until: Any) -> None:
    workspace.scripts(a="pass", b=workspace.note("start") + workspace.until("gate"), c="pass")
    run = workspace.start("run", "src", "-q", "-j", "1", "--order", "name")
    wait_until(lambda: workspace.notes("start"))
    run.terminate()
    workspace.finish(run, code=143)
    workspace.run("ledger", "check")
    workspace.open("gate")
    workspace.run("resume", "-q")
    workspace.run("ledger", "check")


def test_a_run_that_stopped_after_failures_is_sound(workspace: Any) -> None:
    workspace.scripts(a="exit(1)", b="pass", c="pass")
    workspace.run("run", "src", "-q", "-x", "-j", "1", "--order", "name", code=1)
    workspace.run("ledger", "check")


# export


def _rows(text: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_attempt_is_a_line_with_the_fields_of_the_document(recorded: Any) -> None:
    document = recorded.run("status", "--json").document
    everything = _rows(recorded.run("ledger", "export").stdout)
    assert len(everything) == 18
    rows = [row for row in everything if row["run"] == document["run"]]
    assert rows == _rows(recorded.run("ledger", "export", "--run", document["run"][:-2]).stdout)
    last = {row["name"]: row for row in rows}
    assert len(last) == 6
    for result in document["results"]:
        row = last[result["name"]]
        shared = set(row) & set(result)
        assert shared >= {"outcome", "exit_code", "signal", "seconds", "cpu_seconds", "max_rss_bytes", "started"}
        assert {key: row[key] for key in shared} == {key: result[key] for key in shared}
        assert row["attempt"] == result["attempts"]
    assert [row["attempt"] for row in rows if row["name"] == "b.py"] == [1, 2]
    first = next(row for row in rows if row["name"] == "b.py")
    assert Path(recorded.path, first["stdout"]).name == "b.py.1.out"
    assert os.fsencode(last["\udcff.py"]["name"]) == b"\xff.py"


def test_s67_csv_loses_nothing_and_starts_no_formula(recorded: Any) -> None:
    exact = _rows(recorded.run("ledger", "export").stdout)
    text = recorded.run("ledger", "export", "--format", "csv").stdout.decode()
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(table) == len(exact)
    names = {row["name"] for row in table}
    assert {"'=cmd().py", "'-dash, and 'quotes'\n.py", '"\\udcff.py"'} <= names
    for cells, row in zip(table, exact, strict=True):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells.values())
        for field, value in row.items():
            cell = cells[field]
            if isinstance(value, str):
                assert (json.loads(cell) if cell.startswith('"') else cell.removeprefix("'")) == value
            else:
                assert cell == ("" if value is None else json.dumps(value))


def test_an_export_file_is_whole_or_not_there_and_nobody_elses(recorded: Any) -> None:
    for form, name in (("jsonl", "out.jsonl"), ("csv", "out.csv")):
        printed = recorded.run("ledger", "export", "--format", form).stdout
        for _ in range(2):  # the second time what is there is ours
            recorded.run("ledger", "export", "--format", form, "-o", name)
            assert (recorded.path / name).read_bytes() == printed
    (recorded.path / "mine.txt").write_text("my thesis")
    assert "none of ours" in recorded.run("ledger", "export", "-o", "mine.txt", code=2).err
    assert "no/such" in recorded.run("ledger", "export", "-o", "no/such/folder.csv", code=2).err
    assert (recorded.path / "mine.txt").read_text() == "my thesis"
    before = (recorded.path / "out.csv").read_bytes()
    path = recorded.path / ".buildrunner" / "ledger.db"
    data = path.read_bytes()
    path.write_bytes(data[:8192] + bytes(len(data) - 8192))
    assert "ledger.db" in recorded.run("ledger", "export", "--format", "csv", "-o", "out.csv", code=3).err
    assert (recorded.path / "out.csv").read_bytes() == before
    assert not list(recorded.path.glob(".buildrunner-*"))


def test_an_export_needs_no_more_memory_for_more_rows(workspace: Any) -> None:
    workspace.scripts(a="pass")
    workspace.run("run", "src", "-q")
    program = (
        "import resource, sys\nfrom buildrunner.cli import main\nsys.argv = ['buildrunner', 'ledger', 'export']\n"
        "try:\n    main()\nfinally:\n    sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))\n"
    )
    few = workspace.finish(workspace.start_python("-c", program), code=0)
    db = sqlite3.connect(workspace.path / ".buildrunner" / "ledger.db")
    numbers = "WITH RECURSIVE n(i) AS (VALUES (2) UNION ALL SELECT i + 1 FROM n WHERE i < 30001) "
    db.execute(
        f"INSERT INTO jobs (id, run, name, file, spec, state, attempt, attempts) {numbers}"
        "SELECT i, 1, 'job-' || i, 'job-' || i, '{}', 'passed', 'attempt-' || i, 1 FROM n"
    )
    db.execute(f"INSERT INTO attempts {numbers} SELECT 'attempt-' || i, i, 1, 0, NULL, NULL FROM n")
    db.execute(
        f"INSERT INTO receipts {numbers} SELECT 'attempt-' || i, i, 1, 0, 'cold', 'ok', 0, NULL, 1.0, 1.0, 1.0, NULL, "
        "NULL, NULL, NULL, '', 0, NULL, NULL FROM n"
    )
    db.commit()
    db.close()
    many = workspace.finish(workspace.start_python("-c", program), code=0)
    assert len(many.stdout.splitlines()) == 30_001
    assert int(many.err) < int(few.err) + 12_000  # KiB; all rows at once would take some 60 MiB


def test_a_reader_that_has_seen_enough(recorded: Any) -> None:
    process = recorded.start("ledger", "export")
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    recorded.finish(process, code=0)


# vacuum and the group


def test_vacuum_says_how_many_bytes(recorded: Any) -> None:
    edit(recorded, "DELETE FROM receipts")
    before = recorded.run("ledger", "export").stdout.count(b"\n")
    done = recorded.run("ledger", "vacuum")
    size = (recorded.path / ".buildrunner" / "ledger.db").stat().st_size
    assert f"{size:,} after" in done.out
    assert recorded.run("ledger", "export").stdout.count(b"\n") == before


@pytest.mark.parametrize("verb", ["check", "export", "vacuum"])
def test_where_nothing_was_run_nothing_is_made(workspace: Any, verb: str) -> None:
    done = workspace.run("ledger", verb, code=2)
    assert "--state DIR" in done.err
    assert sorted(os.listdir(workspace.path)) == ["src"]


def test_an_unknown_part_of_the_group_is_named(workspace: Any) -> None:
    assert "chekc" in workspace.run("ledger", "chekc", code=2).err
    assert "export" in workspace.run("ledger", "--help").out
