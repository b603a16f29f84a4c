"""The program of one worker: takes assignments from its queue, carries them out, hands back receipts.

    server ──assignments──▶ descriptor 0          journal: a line when an attempt starts,
    server ◀───receipts──── descriptor 1                   a line with the receipt when it ends

It must stay small and single-threaded, and must not outlive its server: the end of file on its queue ends
the running script and then itself. Started with `python -I -S worker.py`.
"""

from __future__ import annotations

import os
import sys
import time
from fcntl import LOCK_EX, LOCK_NB, flock

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from buildrunner.run import attempt, wire
from buildrunner.run.standing import standing

TYPE_CHECKING = False  # as in typing, which is too big to import here
if TYPE_CHECKING:
    from buildrunner.run.group import Group
    from buildrunner.run.limits import Limits

MADE_WAY = 75
"""The exit code of a worker that ended by itself, because of what a script had done to it."""


class Worker:
    """The loop around `attempt.Slot`."""

    slot_type: type[attempt.Slot] = attempt.Slot
    queue, results = 0, 1
    time_enough = 0.005
    """Seconds that a program takes at least to start: one that took less did nothing to its worker."""

    def __init__(self) -> None:
        os.closerange(max(3, self.queue + 1), 1 << 20)  # what our starter inherited is no business of a script
        hello = wire.read_frame(self.queue)
        assert isinstance(hello, dict)
        os.chdir(hello["cwd"])
        self.journal = os.open(hello["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        flock(self.journal, LOCK_EX | LOCK_NB)  # held as long as this process lives: a dead owner is certain
        self.ahead: list[attempt.Assignment] = []
        self.current = ""  # the attempt that runs
        self.closing = False
        self.spoiled = False  # a script changed what this process hands down to others
        self.standing = standing()
        self.slot = self.slot_type(
            self.queue, hello["env"], hello["ready"], hello["worker"], self.take_message,
            *self._control(*hello["groups"], *hello["limits"]),
        )  # fmt: skip
        self.slot.why_cold = hello.get("why_cold")

    def _control(
        self, own: str | None, limited: str | None, memory: int | None, output: int | None
    ) -> tuple[Group | None, Limits | None]:
        """The control group the server has put this process in, and what scripts may use."""
        group = bounds = None
        for path in (own, limited):
            if path:
                self.note("group", path)  # whoever adopts the journal ends what is left in it
        if own:
            from buildrunner.run.group import Group

            group = Group(own)
        if memory is not None or output is not None:
            from buildrunner.run import limits

            bounds = limits.Limits(memory, output, limited)
        return group, bounds

    def take_message(self) -> None:
        """Read one message and act on it."""
        message = wire.read_frame(self.queue)
        assert isinstance(message, tuple)
        verb = message[0]
        if verb == "run":
            self.ahead += message[1]
        elif verb == "recall":
            self.give_back()
        elif verb == "stop":  # ("stop", grace): end what runs, start nothing of what lies here
            self.give_back()
            self.slot.stop("cancelled", message[1])
        elif verb == "end":  # ("end", attempt, grace): end this one, or hand it back if it has not started
            self.end(message[1], message[2])
        elif verb == "close":
            self.closing = True

    def give_back(self) -> None:
        """Return every assignment that has not started."""
        wire.write_frame(self.results, ("returned", [a[0] for a in self.ahead]))
        self.ahead.clear()

    def end(self, attempt: str, grace: float) -> None:
        """End one attempt, wherever it is. One that has ended already is not here any more."""
        waiting = [a for a in self.ahead if a[0] == attempt]
        if waiting:
            self.ahead.remove(waiting[0])
            wire.write_frame(self.results, ("returned", [attempt]))
        elif attempt == self.current:
            self.slot.stop("cancelled", grace)

    def note(self, *values: object) -> bool:
        """Append one line to the journal, whole. False when it cannot: then the record cannot be trusted any more."""
        line = wire.journal_line(values)
        try:
            if os.write(self.journal, line) == len(line):
                return True
            why = "the disk is full"
        except OSError as exc:
            if self.is_spoiled():  # a limit of this process, not of the disk
                raise wire.Closed from None
            why = exc.strerror or str(exc)
        wire.write_frame(self.results, ("broken", f"the worker's journal cannot be written: {why}"))
        return False

    def is_spoiled(self) -> bool:
        """Whether a script changed what this process hands down: then it makes way for a fresh one."""
        self.spoiled = standing() != self.standing
        return self.spoiled

    def leave(self) -> None:
        """The server is gone: say in the journal when that was."""
        try:
            os.write(self.journal, wire.journal_line(("left", time.time())))
        except OSError:
            pass

    def serve(self) -> None:
        """Work until told to close."""
        while True:
            while not self.ahead:
                if self.closing:
                    return
                self.take_message()
            assignment = self.ahead.pop(0)
            if not self.note("start", assignment[0], assignment[1], time.time()):
                return
            self.current = assignment[0]
            began = time.monotonic()
            receipt = self.slot.run(assignment)
            self.current = ""
            if not self.note("end", receipt):
                return
            wire.write_frame(self.results, ("receipt", receipt))
            if time.monotonic() - began > self.time_enough and self.is_spoiled():
                return


def main(worker_type: type[Worker] = Worker) -> None:
    """Run one worker to its end."""
    worker = None
    try:
        worker = worker_type()
        worker.serve()
    except wire.Closed:
        if worker:
            worker.slot.stop("cancelled", 0)
            worker.leave()
    except attempt.Newborn:
        worker = None  # this process is a script now, and nothing of the worker's is its own
        raise
    finally:
        if worker:
            worker.slot.close()
    if worker and worker.spoiled:
        sys.exit(MADE_WAY)


if __name__ == "__main__":
    main()
