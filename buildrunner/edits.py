"""Scripts that were changed after their run had begun: noticed at its end, and named.

What ran is what the record's SHA-256 of each attempt says; this only says that the file was touched meanwhile.
"""

import os
import time
from collections.abc import Iterable

from buildrunner.job import JobSpec
from buildrunner.naming import display

_SHOWN = 10


class Edits:
    """Remembers when it was made, and looks at the scripts when asked."""

    def __init__(self, directory: str, specs: Iterable[JobSpec]) -> None:
        self._directory = directory
        self._scripts = [spec.script for spec in specs if spec.script]
        self._since = time.time()

    def notices(self) -> tuple[str, ...]:
        """One sentence that names what was changed or is gone; empty when nothing was."""
        found = [(script, how) for script in self._scripts if (how := self._how(script))]
        if not found:
            return ()
        shown = ", ".join(f"{display(script)} ({how})" for script, how in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
        return (f"changed after the run had begun: {shown}{more}; the record says by its SHA-256 which text ran",)

    def _how(self, script: str) -> str:
        try:
            # Not the time of its last change, which anybody can set: this one is the file system's own.
            touched = os.stat(os.path.join(self._directory, script)).st_ctime
        except FileNotFoundError:
            return "gone"
        except OSError:
            return ""
        return "changed" if touched > self._since else ""
