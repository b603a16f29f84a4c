"""Scripts that were changed after their run had begun: noticed at its end, and named.

What ran is what the record's SHA-256 of each attempt says; this says that the file was written or exchanged meanwhile.
"""

import os
import time
from collections.abc import Iterable

from buildrunner.job import JobSpec
from buildrunner.ledger import Reader, RunRow
from buildrunner.naming import display
from buildrunner.sources import Sources

_SHOWN = 10


class Edits:
    """Remembers when it was made, and looks at the scripts when asked."""

    def __init__(self, directory: str, specs: Iterable[JobSpec]) -> None:
        self._directory = directory
        self._specs = [spec for spec in specs if spec.script]
        self._since = time.time()

    def notices(self, reader: Reader, run: RunRow) -> tuple[str, ...]:
        """One sentence that names what was changed or is gone; empty when nothing was."""
        found = [
            (spec.script, how)
            for spec in self._specs
            if spec.script and (how := self._how(reader, run, spec.name, spec.script))
        ]
        if not found:
            return ()
        shown = ", ".join(f"{display(script)} ({how})" for script, how in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
        return (f"changed after the run had begun: {shown}{more}; the record says by its SHA-256 which text ran",)

    def _how(self, reader: Reader, run: RunRow, name: str, script: str) -> str:
        try:
            about = os.stat(os.path.join(self._directory, script))
        except FileNotFoundError:
            return "gone"
        except OSError:
            return ""
        if about.st_ctime <= self._since:
            return ""
        # Something about it was changed. Of what was not written since, only its content tells: a mode is no text.
        ran = reader.result(run, name).script_sha256
        is_other = ran is not None and Sources(self._directory).of(script)[0] != ran
        return "changed" if is_other or about.st_mtime > self._since else ""
