"""What a worker hands down to its scripts beside environment and files: limits, niceness, CPUs.

A script can change that of its worker (prlimit(2), setpriority(2), sched_setaffinity(2)), and not all of it can be
taken back without being root. So a worker that finds itself changed ends, and the server puts a fresh one in its place.
"""

from __future__ import annotations

import os
import resource

TYPE_CHECKING = False  # as in typing, which is too big to import here
if TYPE_CHECKING:
    from typing import Any

_LIMITS = sorted({number for name, number in vars(resource).items() if name.startswith("RLIMIT_")})


def standing() -> tuple[Any, ...]:
    """This process's; equal if and only if nothing of it was changed."""
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    return [resource.getrlimit(limit) for limit in _LIMITS], os.getpriority(os.PRIO_PROCESS, 0), cpus
