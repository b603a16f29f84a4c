"""A process as a descriptor that becomes readable when it ends, where the system has such a thing."""

from __future__ import annotations

import os
from errno import ENOSYS, EPERM


def open_pidfd(pid: int) -> int | None:
    """The descriptor; None without one: Python can have been built on a newer kernel, and sandboxes forbid the call."""
    try:
        return os.pidfd_open(pid)
    except AttributeError:
        return None
    except OSError as exc:
        if exc.errno in (ENOSYS, EPERM):
            return None
        raise
