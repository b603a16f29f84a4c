"""What may differ between two runs of one script: declared here and nowhere else, each with its reason."""

import re

NOISE: tuple[tuple[bytes, bytes, str], ...] = (
    (rb"\b0x[0-9a-f]{6,16}\b", b"0x...", "addresses: the kernel places each process anew"),
    (rb"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", b"UUID", "an attempt's id"),
    (rb"\b\d{8}-\d{6}-[0-9a-f]{4}\b", b"RUN", "a run's name"),
    (rb"(BUILDRUNNER_WORKER_ID\W+)\d+", rb"\1N", "which worker is free"),
    (rb"\b(pid|PID|started|ident|daemon|tid|native_id)([ =:]+)\d{2,}\b", rb"\1\2N", "ids of processes and threads"),
    (rb"\b(subprocess )\d+( is still running)", rb"\1N\2", "the same, in the words of the library"),
    (rb"\b(Ran \d+ tests? in )\d+\.\d+s", rb"\1T s", "unittest's stopwatch"),
    (rb"\btmp[a-z0-9_]{8}\b", b"tmpNAME", "names tempfile has drawn"),
    (rb"\b(pymp|wnsm|psm|listener|sem|mp|loky)[-_][a-z0-9_]{6,8}\b", rb"\1-NAME", "names multiprocessing has drawn"),
    (rb"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.,]\d+)?", b"DATE", "the time of day"),
)  # fmt: skip

_COMPILED = tuple((re.compile(pattern), to) for pattern, to, _ in NOISE)


def without_noise(data: bytes) -> bytes:
    """The same with what is declared above put on one footing."""
    for pattern, to in _COMPILED:
        data = pattern.sub(to, data)
    return data
