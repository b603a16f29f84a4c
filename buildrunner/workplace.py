"""The folders a run needs as long as it goes on, and whether one of them is why a script could not start or failed.

Then that is no verdict on the script. Nothing is looked at before an attempt has failed; the output folder also before
it is packaged.
"""

import errno
import os
from collections.abc import Iterator

from buildrunner.job import JobSpec, Outcome
from buildrunner.ledger import RunRow
from buildrunner.naming import display
from buildrunner.outputfolder import OutputFolder
from buildrunner.receipt import Receipt
from buildrunner.reports.words import command
from buildrunner.run.attempt import UNREADABLE

_DOUBTFUL = frozenset({Outcome.SPAWN_ERROR, Outcome.EXITED, Outcome.SIGNALLED})
_OF_DISKS = frozenset({errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENODEV})
"""What a script cannot be read for through no fault of its own, although its folder is there."""


class Workplace:
    """Where a run was started, where its scripts lie, and its output folder."""

    def __init__(self, run: RunRow, folder: OutputFolder) -> None:
        self._run = run
        self._directory: str = run.options["directory"]
        self._folder = folder

    def fault(self, spec: JobSpec, receipt: Receipt) -> str | None:
        """Which folder made the attempt end as it did, and the remedy; None when that was the script's own doing."""
        outcome = receipt.outcome
        if outcome not in _DOUBTFUL and UNREADABLE not in receipt.skipped_outputs:
            return None
        if why := self._of_scripts(spec):
            return f"{why}: put it back, then `{command(self._run, 'resume')}`; {_UNDECIDED}"
        if why := self.of_outputs(writing=outcome is Outcome.SPAWN_ERROR):
            again = f"put it back as it was, then `{command(self._run, 'resume')}`, else start a new run"
            return f"{why}: {again}; {_UNDECIDED}"
        return None

    def of_outputs(self, *, writing: bool = False) -> str | None:
        """What is wrong with the output folder, if for `writing` with that too; None when nothing is."""
        found = self._folder.fault(writing=writing)
        if found is None:
            return None
        below, why = found
        return f"the output folder {display(os.path.join(self._run.options['output'], below).rstrip('/'))} {why}"

    def of_way(self) -> str | None:
        """Why the output folder is not found by the path that is recorded, although it is there; None when it is."""
        if os.path.isdir(os.path.join(self._directory, self._run.options["output"])):
            return None
        return f"the folder {display(self._directory)} the run was started in is gone, from where its paths lead"

    def _of_scripts(self, spec: JobSpec) -> str | None:
        """What is wrong with the folders that the script is read from; None when it can be read, or alone cannot."""
        broken = None
        if spec.script is not None:
            try:
                fd = os.open(os.path.join(self._directory, spec.script), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    os.read(fd, 1)
                finally:
                    os.close(fd)
            except OSError as exc:
                broken = exc
        for what, folder in self._folders(spec):
            try:
                os.stat(os.path.join(folder, "."))
                if broken is None:  # then only the folder it was started in, which is the first, may be missed by it
                    return None
                if broken.errno == errno.ENOENT and next(os.scandir(folder), None) is None:
                    return f"{what} is empty: its disk is gone, or somebody emptied it"
            except FileNotFoundError:
                return f"{what} is gone"
            except OSError as exc:
                return f"{what} cannot be used: {exc.strerror}"
        if broken is not None and broken.errno in _OF_DISKS:
            return f"{display(str(spec.script))} cannot be read: {broken.strerror}"
        return None

    def _folders(self, spec: JobSpec) -> Iterator[tuple[str, str]]:
        yield f"the folder {display(self._directory)} the run was started in", self._directory
        script = os.path.normpath(os.path.join(self._directory, spec.script or ""))
        for target in self._run.options["targets"]:
            place = os.path.normpath(os.path.join(self._directory, target))
            if script == place:  # a script given by itself
                target, place = os.path.dirname(target), os.path.dirname(place)
            if script.startswith(os.path.join(place, "")):
                yield f"the folder {display(target)} of the scripts", place
                if (own := os.path.dirname(script)) != place:
                    yield f"the folder {display(os.path.dirname(str(spec.script)))} of the scripts", own


_UNDECIDED = "scripts that ended for want of it are undecided"
