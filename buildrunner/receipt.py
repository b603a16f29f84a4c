"""The receipt: how one attempt ended. Nothing else carries results.

    worker ──journal line──▶ (adopted after a crash) ─┐
           ──result queue──▶ server ──▶ ledger ───────┴─▶ report, JSON, manifest

The worker builds a receipt as a plain tuple in the order of `Receipt`'s fields, because it imports nothing of
ours; `Receipt.from_wire` is the other end of that.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from buildrunner.errors import ReceiptError
from buildrunner.job import Outcome

_LATE: tuple[Any, ...] = ((), None)  # what is left out at a receipt's end


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file the script left: path relative to its output folder, bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """How one attempt ended.

    `started` is UTC in seconds since the epoch; `seconds` is wall time on a monotonic clock; `cpu_seconds` is
    user plus system time of the script and everything it waited for. `max_rss_bytes` is the largest resident
    set of any one of those processes; None where it cannot be known because it stayed below the worker's own.
    `exit_code` is None when a signal ended it, `signal` is None when none did. `skipped_outputs` are things in
    the output folder that are no regular files. `truncated` names each log whose middle was cut out, with the
    bytes that are gone. `why_cold` is why it ran `cold` where others of its run were started `warm`.
    """

    attempt: str
    job: str
    number: int
    worker: int | None
    mode: str
    outcome: Outcome
    exit_code: int | None = None
    signal: int | None = None
    started: float | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    max_rss_bytes: int | None = None
    outputs: tuple[OutputFile, ...] = ()
    skipped_outputs: tuple[str, ...] = ()
    error: str | None = None
    truncated: tuple[tuple[str, int], ...] = ()
    why_cold: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the attempt did what was asked."""
        return self.outcome is Outcome.OK

    @classmethod
    def from_wire(cls, values: tuple[Any, ...]) -> "Receipt":
        """Build a receipt from a worker's tuple; ReceiptError when it has another shape."""
        try:
            (attempt, job, number, worker, mode, outcome, exit_code, signal, started, seconds, cpu_seconds,
             max_rss_bytes, outputs, skipped_outputs, error, *late) = values  # fmt: skip
            truncated, why_cold = [*late, *_LATE[len(late) :]]
            if not isinstance(why_cold, str | None):
                raise TypeError(why_cold)
            return cls(
                attempt=attempt,
                job=job,
                number=number,
                worker=worker,
                mode=mode,
                outcome=Outcome(outcome),
                exit_code=exit_code,
                signal=signal,
                started=started,
                seconds=seconds,
                cpu_seconds=cpu_seconds,
                max_rss_bytes=max_rss_bytes,
                outputs=tuple(OutputFile(path=p, size=n, sha256=h) for p, n, h in outputs) if outputs else (),
                skipped_outputs=skipped_outputs or (),
                error=error,
                truncated=tuple((stream, int(count)) for stream, count in truncated) if truncated else (),
                why_cold=why_cold,
            )
        except (TypeError, ValueError) as exc:
            raise ReceiptError(f"a worker sent something that is no receipt: {exc}") from exc

    def to_wire(self) -> tuple[Any, ...]:
        """The plain values a worker would have sent; the last ones only where there is something to say."""
        values = (
            self.attempt, self.job, self.number, self.worker, self.mode, self.outcome.value, self.exit_code,
            self.signal, self.started, self.seconds, self.cpu_seconds, self.max_rss_bytes,
            tuple((o.path, o.size, o.sha256) for o in self.outputs) if self.outputs else (),
            self.skipped_outputs, self.error,
        )  # fmt: skip
        if self.why_cold:
            return (*values, self.truncated, self.why_cold)
        return (*values, self.truncated) if self.truncated else values

    def checksum(self) -> str:
        """SHA-256, in hex, of the text a journal keeps it as: equal if and only if the receipts are.

        >>> r = Receipt(attempt="a", job="x.py", number=1, worker=0, mode="cold", outcome=Outcome.OK)
        >>> len(r.checksum())
        64
        """
        return hashlib.sha256(ascii(self.to_wire()).encode("ascii")).hexdigest()
