"""Files that appear in the scripts' working directories during a run: noticed, and named as not packaged."""

import os
from collections.abc import Sequence

from buildrunner.config import Options
from buildrunner.job import Cwd, JobSpec
from buildrunner.naming import display

_SHOWN = 10
_EXPECTED = frozenset({"__pycache__"})


class Strays:
    """Looks at the working directories when made, and again when asked."""

    def __init__(self, directory: str, options: Options, specs: Sequence[JobSpec]) -> None:
        self._directory, folders = directory, set[str]()
        for spec in specs:
            if spec.cwd is Cwd.INVOCATION:
                folders.add(directory)
            elif spec.cwd is Cwd.SCRIPT and spec.script:
                folders.add(os.path.dirname(os.path.join(directory, spec.script)))
        ours = (options.output, options.state, *([options.zip] if options.zip else []))
        self._ours = {os.path.realpath(os.path.join(directory, path)) for path in ours}
        self._before = {folder: _names(folder) for folder in sorted(folders)}

    def notices(self) -> tuple[str, ...]:
        """One sentence that names what appeared, and the remedy; empty when nothing did."""
        new = [
            os.path.join(folder, name)
            for folder, before in self._before.items()
            for name in sorted(_names(folder) - before - _EXPECTED)
            if os.path.realpath(os.path.join(folder, name)) not in self._ours
        ]
        if not new:
            return ()
        shown = ", ".join(display(os.path.relpath(path, self._directory)) for path in new[:_SHOWN])
        more = f" and {len(new) - _SHOWN} more" if len(new) > _SHOWN else ""
        return (
            f"not packaged, because written to the working directory: {shown}{more}; "
            "write to $BUILDRUNNER_OUTPUT_DIR, or run with --cwd scratch",
        )


def _names(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
