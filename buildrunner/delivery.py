"""What a run hands over beside its record: its events while it goes on, then the JUnit report and the zip.

Each was asked for by an option that names a file. All places are asked for before anything runs; what cannot be written
in the end is said, and costs the run nothing but its exit code.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from buildrunner.config import Options
from buildrunner.errors import PackageError, UsageError
from buildrunner.ledger import Ledger, RunRow
from buildrunner.naming import display
from buildrunner.outputfolder import replaced

if TYPE_CHECKING:
    from buildrunner.reports.jsonlines import JsonLines


class Delivery:
    """The files that one run was asked to write. `events` listens to the run, while it is there."""

    def __init__(self, options: Options) -> None:
        self._zip = options.zip
        self._with_report = options.with_report
        self._junit = options.junitxml
        self._events = options.events
        self.events: JsonLines | None = None

    def check(self, *, resumed: bool = False) -> None:
        """UsageError when one of the files cannot be written; opens the events."""
        self._check_zip()
        if self._junit:
            from buildrunner.reports import junit

            junit.check_destination(self._junit)
        self.open_events(resumed=resumed)

    def open_events(self, *, resumed: bool) -> None:
        """Open the events file, if there is to be one; of a `resumed` run it is continued."""
        if self._events and not self.events:
            from buildrunner.reports.jsonlines import JsonLines

            self.events = JsonLines(self._events, resumed=resumed)

    def begin(self, run: RunRow, files: Mapping[str, str], *, resumed: bool) -> None:
        """From here on events are those of this run; `files` gives its jobs' names in the output folder."""
        if self.events:
            self.events.begin(run, files, resumed=resumed)

    def close_events(self) -> tuple[str, ...]:
        """No more events come. Returns a sentence when not all of them could be written."""
        events, self.events = self.events, None
        missing = events.close() if events else None
        return (missing,) if missing else ()

    def write_junit(self, ledger: Ledger, run: RunRow) -> tuple[str, ...]:
        """Write the JUnit report if that was asked for; a sentence when it cannot be."""
        if not self._junit:
            return ()
        from buildrunner.reports import junit

        path = os.path.join(run.options["directory"], self._junit)
        with suppress(FileNotFoundError):  # the working directory is gone, and nothing can be seen from there
            path = os.path.relpath(path)
        try:
            junit.write(ledger, run, path)
        except UsageError as exc:
            return (str(exc),)
        except OSError as exc:
            return (f"cannot write the JUnit report {display(path)}: {exc.strerror or exc}",)
        return ()

    def write_junit_late(self, ledger: Ledger, run: RunRow) -> tuple[str, ...]:
        """Write the JUnit report that a finished run still lacks, of its own logs or not at all."""
        path = self._junit
        if not path:
            return ()
        if os.path.isfile(os.path.join(run.options["directory"], path)) and run.exit_code != PackageError.exit_code:
            return ()
        if gone := replaced(ledger, run):
            return (f"the JUnit report {display(path)} cannot be written any more: {gone}",)
        return self.write_junit(ledger, run)

    def write_empty_junit(self, target: str) -> None:
        """Write the JUnit report of a run that had nothing to run. Raises PackageError."""
        if path := self._junit:
            from buildrunner.reports import junit

            try:
                junit.write_empty(target, path)
            except OSError as exc:
                raise PackageError(f"cannot write the JUnit report {display(path)}: {exc.strerror}") from exc

    def package(self, ledger: Ledger, run: RunRow, *, whole: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Make the zip; see `package.package` for what is returned. Raises UsageError or PackageError."""
        from buildrunner.package import package

        assert self._zip
        self._check_zip()  # again: meanwhile a script may have put something there
        return package(ledger, run, self._zip, with_report=self._with_report, whole=whole)

    def _check_zip(self) -> None:
        if self._zip:
            from buildrunner.package import check_destination

            check_destination(self._zip, instead=", or none with --no-zip")
