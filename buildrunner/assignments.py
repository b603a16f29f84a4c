"""What an attempt is given: an id, its environment, where it runs, what it is called with, where its output goes."""

import os
import time
from collections.abc import Callable, Mapping

from buildrunner.errors import PoolError
from buildrunner.interpreters import call
from buildrunner.job import Assignment, Attempt, JobSpec
from buildrunner.machine import thread_variables
from buildrunner.naming import display
from buildrunner.outputfolder import OutputFolder


class AttemptIds:
    """Makes the ids of attempts: UUIDs that sort in the order in which they were made.

    Their time goes on evenly from when this was made, however the wall clock is set meanwhile.
    """

    def __init__(self) -> None:
        self._last = 0
        self._ahead = time.time_ns() - time.monotonic_ns()

    def new(self) -> str:
        """A UUID whose first 48 bits are the time in milliseconds (RFC 9562, version 7)."""
        value = ((self._ahead + time.monotonic_ns()) // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
        value = value & ~(0xF << 76) | 7 << 76
        value = value & ~(0x3 << 62) | 2 << 62
        self._last = max(value, self._last + 1)  # also within a millisecond
        text = f"{self._last:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def environment(environ: Mapping[str, str], *, run: str, parallel: int, threads: str) -> dict[str, str]:
    """What all scripts of a run have in common; what an outer buildrunner set for its own script is left out."""
    common = {name: value for name, value in environ.items() if not name.startswith("BUILDRUNNER_")}
    common |= thread_variables(threads, parallel=parallel, environ=common)
    return common | {"BUILDRUNNER_RUN_ID": run, "BUILDRUNNER_PARALLEL": str(parallel)}


def assigner(
    folder: OutputFolder, directory: str, *, grace: float, resume: str
) -> Callable[[JobSpec, str, Attempt], Assignment]:
    """Makes the assignment of an attempt, given its job's spec and file name; an earlier attempt's logs make way.

    `resume` is the command that carries the run on, for an error to name.
    """

    def assign(spec: JobSpec, file: str, attempt: Attempt) -> Assignment:
        if attempt.number > 1:
            try:
                folder.set_aside(file, attempt.number - 1)
            except OSError as exc:
                raise PoolError(
                    f"the output folder {display(folder.path)} cannot be written: {exc.strerror}; put it right, then "
                    f"`{resume}`"
                ) from exc
        output_dir = folder.outputs(file)
        argv, cwd = call(spec, directory, output_dir)
        return Assignment(
            attempt=attempt.id,
            job=spec.name,
            number=attempt.number,
            argv=argv,
            cwd=cwd,
            env=(
                *spec.env,
                ("BUILDRUNNER_ATTEMPT_ID", attempt.id),
                ("BUILDRUNNER_JOB_NAME", spec.name),
                ("BUILDRUNNER_ATTEMPT_NUMBER", str(attempt.number)),
                ("BUILDRUNNER_OUTPUT_DIR", output_dir),
            ),
            stdout=folder.log(file, "out"),
            stderr=folder.log(file, "err"),
            output_dir=output_dir,
            timeout=spec.timeout,
            grace=grace,
        )

    return assign
