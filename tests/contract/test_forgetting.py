"""A ledger that forgets old runs: nothing of them stays, nothing of the others goes, and the file does not grow."""

import threading
from pathlib import Path

import pytest

from buildrunner.errors import LedgerError
from buildrunner.job import JobState, Outcome
from buildrunner.ledger import Ledger, Reader, journals, store
from buildrunner.removal import remove_tree
from tests.contract.ledgers import add_run, ran, receipt, record, start


def everything(ledger: Ledger) -> dict[str, int]:
    """How many rows each table has."""
    return {
        table: ledger.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("runs", "jobs", "attempts", "receipts")
    }


def orphans(ledger: Ledger) -> int:
    """Rows that belong to nothing."""
    return sum(
        ledger.db.execute(f"SELECT count(*) FROM {table} WHERE {column} NOT IN (SELECT id FROM {other})").fetchone()[0]
        for table, column, other in (
            ("jobs", "run", "runs"), ("attempts", "job", "jobs"), ("receipts", "job", "jobs"),
            ("receipts", "attempt", "attempts"),
        )
    )  # fmt: skip


def eventful(ledger: Ledger, name: str) -> None:
    """A run with everything a run can have: retries, a late receipt, an attempt without one, jobs that never ran."""
    run = add_run(ledger, "a", "b", "c", "d", name=name)
    for number, outcome in ((1, Outcome.EXITED), (2, Outcome.LOST), (3, Outcome.OK)):
        id_ = start(ledger, run, "a", f"{name}-a{number}", number)
        record(ledger, id_, receipt(f"{name}-a{number}", outcome=outcome, number=number), JobState.READY)
    start(ledger, run, "b", f"{name}-b1")
    id_ = start(ledger, run, "b", f"{name}-b2", 2)
    record(ledger, id_, receipt(f"{name}-b1", "b"), JobState.PASSED)
    id_ = start(ledger, run, "c", f"{name}-c1")
    with ledger.transaction():
        ledger.give_back(id_, f"{name}-c1")
    folder = ledger.state / "runs" / name
    folder.mkdir(parents=True)
    (folder / "worker-1.journal").touch()


def test_a_runs_journals_go_before_its_rows(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in between, it leaves rows without a folder; a folder without rows is a run that was lost."""
    for number in range(3):
        eventful(ledger, f"r{number}")

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    monkeypatch.setattr(ledger, "transaction", kill)
    with pytest.raises(Killed):
        ledger.forget(1)
    assert [run.name for run in ledger.runs()] == ["r2", "r1", "r0"]
    assert journals.listed(ledger.state) < {"r0", "r1", "r2"}
    monkeypatch.undo()
    ledger.forget(1)
    assert [run.name for run in ledger.runs()] == ["r2"]
    assert journals.listed(ledger.state) == {"r2"}


def test_who_reads_beside_runs_that_come_and_go_misses_none(ledger: Ledger) -> None:
    """A run's folder is there only while its row is: whoever looks at both in turn must not take one for lost."""
    over = threading.Event()
    seen: list[LedgerError] = []

    def look() -> None:
        while not over.is_set():
            try:
                Reader.open(ledger.state).close()
            except LedgerError as exc:
                seen.append(exc)

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(300):
        journals.folder(ledger.state, add_run(ledger, "a", name=f"r{number}").name).mkdir(parents=True)
        ledger.forget(1)
    over.set()
    reader.join()
    assert seen == []


def test_what_was_forgotten_meanwhile_is_not_lost(ledger: Ledger) -> None:
    for number in range(2):
        eventful(ledger, f"r{number}")
    folders = journals.listed(ledger.state)
    ledger.forget(1)
    store.refuse_lost(ledger.state, folders, ledger.db)
    journals.folder(ledger.state, "r0").mkdir()
    with pytest.raises(LedgerError, match="run r0 is not in it"):
        store.refuse_lost(ledger.state, folders, ledger.db)


def test_a_run_whose_journals_cannot_be_removed_is_not_forgotten(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        eventful(ledger, f"r{number}")
    monkeypatch.setattr(journals, "remove_tree", lambda path: path.endswith("r0") or remove_tree(path))
    ledger.forget(1)
    assert [run.name for run in ledger.runs()] == ["r2", "r0"]
    Reader.open(ledger.state).close()
    monkeypatch.undo()
    ledger.forget(1)
    assert [run.name for run in ledger.runs()] == ["r2"]


def test_journals_go_when_their_run_has_ended_and_stay_while_it_can_be_carried_on(ledger: Ledger) -> None:
    """A server killed between the end of its run and the removal of its journals leaves them."""
    for number, state in enumerate(("finished", "interrupted", "cancelled")):
        eventful(ledger, f"r{number}")
        ledger.set_run(ledger.run(f"r{number}"), state=state)
    ledger.forget_journals()
    assert sorted(path.name for path in (ledger.state / "runs").iterdir()) == ["r1", "r2"]


@pytest.mark.parametrize("keep", [1, 3, 6, 100])
def test_what_is_forgotten_is_gone_from_everywhere(ledger: Ledger, keep: int) -> None:
    for number in range(6):
        eventful(ledger, f"r{number}")
    before = everything(ledger)
    assert orphans(ledger) == 0
    kept = min(keep, 6)
    left = [ledger.run(f"r{number}") for number in range(6 - kept, 6)]
    results = [list(ledger.results(run)) for run in left]
    ledger.forget(keep)
    assert list(ledger.runs()) == left[::-1]
    assert [list(ledger.results(run)) for run in left] == results
    assert everything(ledger) == {table: number // 6 * kept for table, number in before.items()}
    assert orphans(ledger) == 0
    assert sorted(path.name for path in (ledger.state / "runs").iterdir()) == [run.name for run in left]


def test_what_is_to_be_spared_stays(ledger: Ledger) -> None:
    for number in range(4):
        eventful(ledger, f"r{number}")
    ledger.forget(1, spare=lambda run: run.name == "r1")
    assert [run.name for run in ledger.runs()] == ["r3", "r1"]
    assert orphans(ledger) == 0


def test_a_ledger_that_forgets_does_not_grow(state: Path) -> None:
    sizes = []
    for number in range(60):
        with Ledger(state, purpose="a test") as ledger:
            run = add_run(ledger, *map(str, range(10)), name=f"r{number}")
            for name in range(10):
                ran(ledger, run, str(name), 1.0)
            ledger.forget(3)
        sizes.append((state / "ledger.db").stat().st_size)
    assert max(sizes[10:]) <= 1.5 * sizes[5]
