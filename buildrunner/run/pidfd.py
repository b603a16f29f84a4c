"""A process as a descriptor that becomes readable when it ends, where the system has such a thing."""

from __future__ import annotations

import os


def open_pidfd(pid: int) -> int | None:
    """The descriptor; None without one: Python can have been built on a newer kernel, and sandboxes forbid the call."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
