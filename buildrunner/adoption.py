"""Taking up an interrupted run: what its journals hold, what was lost, what is left to do."""

import fcntl
import os
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from buildrunner import groups
from buildrunner.errors import LedgerBusy
from buildrunner.job import JobSpec
from buildrunner.ledger import Ledger, RunRow
from buildrunner.loop import Loop
from buildrunner.pool import Journal, read_journal
from buildrunner.processes import kill_attempts

_WORKERS_END_WITHIN = 15.0  # seconds after their server's death


def adopt(loop: Loop, journals: Path, running: dict[str, str]) -> None:
    """Hand the loop what the workers of the dead server wrote, and end what they left running."""
    paths = _abandoned(journals)
    read = [read_journal(str(path)) for path in paths]
    _end(read, running)
    loop.adopt(running, read)
    for path in paths:
        path.unlink()


def end_leftovers(ledger: Ledger, run: RunRow) -> int:
    """End what a dead server's scripts left running; returns how many processes that were."""
    paths = _abandoned(ledger.state / "runs" / run.name)
    return _end([read_journal(str(path)) for path in paths], ledger.running(run))


def _end(journals: Iterable[Journal], running: Collection[str]) -> int:
    """End what is left of these attempts, and in the control groups of those workers."""
    ended = kill_attempts(running)
    return ended + sum(groups.remove(group) for journal in journals for group in journal.groups)


def _abandoned(journals: Path) -> list[Path]:
    """The journals of a dead server's workers, once these are dead too."""
    paths = sorted(journals.glob("*.journal"))
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
    fd = os.open(journal, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise LedgerBusy(
                        f"a worker of the interrupted run still writes {journal}; end it, then resume again"
                    ) from None
                time.sleep(0.02)
    finally:
        os.close(fd)
