"""Taking up an interrupted run: what its journals hold, what was lost, what is left to do."""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from buildrunner import groups
from buildrunner.errors import LedgerBusy
from buildrunner.job import UNSPENT, JobSpec
from buildrunner.journal import Journal, read_journal
from buildrunner.ledger import Ledger, Reader, RunRow, journals, lock
from buildrunner.loop import Loop
from buildrunner.outputfolder import reserved
from buildrunner.processes import kill_attempts

_WORKERS_END_WITHIN = 15.0  # seconds after their server's death


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """What a dead server left of a run: the attempts that were running (id → job), and its workers' journals."""

    running: Mapping[str, str]
    journals: Mapping[Path, Journal]

    @property
    def ended(self) -> set[str]:
        """The attempts of these that ended unseen, by themselves or their time limit."""
        receipts = (receipt for journal in self.journals.values() for receipt in journal.receipts)
        return {r.attempt for r in receipts if r.attempt in self.running and r.outcome not in UNSPENT}

    def kill(self) -> int:
        """End what is left of these attempts, and in the control groups of those workers; how many processes it was."""
        # The groups first: what dies by its id stays in its group for a moment, and would be counted twice.
        ended = sum(groups.remove(group) for journal in self.journals.values() for group in journal.groups)
        return ended + kill_attempts(self.running)


def look(reader: Reader, run: RunRow, *, wait: bool = True) -> Leftovers:
    """What there is to adopt; whoever is going to do that must `wait` for the end of those who wrote it."""
    folder = journals.folder(reader.state, run.name)
    paths = _abandoned(folder) if wait else sorted(folder.glob("*.journal"))
    return Leftovers(running=reader.running(run), journals={path: read_journal(str(path)) for path in paths})


def adopt(loop: Loop, left: Leftovers, again: Mapping[str, str]) -> None:
    """Hand the loop what the workers of the dead server wrote, and end what they left running.

    `again` are jobs to be run again whatever they came to.
    """
    left.kill()
    loop.adopt(left.running, list(left.journals.values()), again)
    for path in left.journals:
        path.unlink()


def end_leftovers(ledger: Ledger, run: RunRow) -> int:
    """End what a dead server's scripts left running; returns how many processes that were.

    LedgerBusy when the run goes on all the same: in another record, of which this one is a copy.
    """
    with reserved(run, purpose="buildrunner cancel"):
        return look(ledger, run).kill()


def _abandoned(folder: Path) -> list[Path]:
    """The journals of a dead server's workers, once these are dead too."""
    paths = sorted(folder.glob("*.journal"))
    for path in paths:
        _await_owner(path)
    return paths


def without_finished(specs: Iterable[JobSpec], left: set[str]) -> Iterator[JobSpec]:
    """The specs, waiting only for what is itself left to do."""
    for spec in specs:
        after = tuple(name for name in spec.after if name in left)
        yield spec if after == spec.after else replace(spec, after=after)


def _await_owner(journal: Path) -> None:
    """Wait until the worker that writes this journal is dead for certain."""
    deadline = time.monotonic() + _WORKERS_END_WITHIN
    fd = os.open(journal, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if time.monotonic() > deadline:
                    who = lock.of_file(journal)
                    named = f", {who}," if who else ""
                    raise LedgerBusy(
                        f"a worker of the interrupted run{named} still writes {journal}; end it, then resume again"
                    ) from None
                time.sleep(0.02)
    finally:
        os.close(fd)
