"""The receipt: how one attempt ended. Nothing else carries results.

    worker ──journal line──▶ (adopted after a crash) ─┐
           ──result queue──▶ server ──▶ ledger ───────┴─▶ report, JSON, manifest

The worker builds a receipt as a plain tuple in the order of `Receipt`'s fields, because it imports nothing of
ours; `Receipt.from_wire` is the other end of that.
"""

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any

from buildrunner.errors import ReceiptError
from buildrunner.job import Outcome


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
    the output folder that are no regular files.
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

    @property
    def passed(self) -> bool:
        """Whether the attempt did what was asked."""
        return self.outcome is Outcome.OK

    @classmethod
    def from_wire(cls, values: tuple[Any, ...]) -> "Receipt":
        """Build a receipt from a worker's tuple; ReceiptError when it has another shape."""
        try:
            data = dict(zip(_FIELDS, values, strict=True))
            data["outcome"] = Outcome(data["outcome"])
            if data["outputs"]:
                data["outputs"] = tuple(OutputFile(path=p, size=n, sha256=h) for p, n, h in data["outputs"])
            return cls(**data)
        except (TypeError, ValueError) as exc:
            raise ReceiptError(f"a worker sent something that is no receipt: {exc}") from exc

    def checksum(self) -> str:
        """SHA-256 of the receipt's values as one JSON list, in hex: equal if and only if the receipts are.

        >>> r = Receipt(attempt="a", job="x.py", number=1, worker=0, mode="cold", outcome=Outcome.OK)
        >>> len(r.checksum())
        64
        """
        values = [getattr(self, name) for name in _PLAIN]
        values.append([(o.path, o.size, o.sha256) for o in self.outputs])
        return hashlib.sha256(_encode(values).encode("ascii")).hexdigest()


_FIELDS = tuple(f.name for f in fields(Receipt))
_PLAIN = tuple(name for name in _FIELDS if name != "outputs")
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode
