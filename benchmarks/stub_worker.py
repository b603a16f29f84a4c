"""A worker whose every script has ended before it began: queues, journal and receipts are real, nothing is started.

WorkerPool starts it in place of buildrunner/run/worker.py, in the same way: `python -I -S stub_worker.py`.
"""

from __future__ import annotations

import os
import sys
import time

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from buildrunner.run import attempt, worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class StubSlot(attempt.Slot):
    """Hands back a receipt of an attempt that passed."""

    def run(self, a: attempt.Assignment) -> tuple[Any, ...]:
        """The receipt's fields in order."""
        id_, job, number = a[:3]
        return (id_, job, number, self.worker, "cold", "ok", 0, None, time.time(), 0.0, 0.0, None, (), (), None)


class StubWorker(worker.Worker):
    """The real loop around that slot."""

    slot_type = StubSlot


if __name__ == "__main__":
    worker.main(StubWorker)
