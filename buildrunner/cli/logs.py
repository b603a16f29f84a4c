"""`buildrunner logs`: what one job printed, also while it runs.

Into a file or a pipe go its bytes. Where people or a CI service look, a terminal and a step's log, they are escaped.
"""

import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import click

from buildrunner.cli.options import option, state_option
from buildrunner.regular import open_regular

_LOOK_EVERY = 0.1  # seconds, while following
_CHUNK = 1 << 16


@click.command("logs")
@click.argument("job")
@option("--run", metavar="RUN", help="Of this run; of the newest when not said.")
@option("--attempt", type=click.IntRange(min=1), metavar="N", help="Of this attempt; of the last when not said.")
@option("--stdout", "only_stdout", is_flag=True, help="Only what it wrote to stdout.")
@option("--stderr", "only_stderr", is_flag=True, help="Only what it wrote to stderr.")
@option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@state_option
def command(
    job: str,
    run: str | None,
    attempt: int | None,
    only_stdout: bool,
    only_stderr: bool,
    follow: bool,
    state: str,
) -> int:
    """Print stdout and stderr of a JOB's last attempt."""
    from buildrunner.errors import UsageError
    from buildrunner.job import JobState
    from buildrunner.ledger import Reader
    from buildrunner.naming import display
    from buildrunner.outputfolder import held
    from buildrunner.reports.words import count, row_ending
    from buildrunner.summary import log_path, real_state

    reader = Reader.open(Path(state))
    try:
        row = reader.run(run)
        result = reader.result(row, job)
        names, why = held(row)
        if result.file not in names:
            raise UsageError(f"the logs of {display(result.name)} in run {row.name} are no longer there: {why}")
        if attempt is not None and attempt > result.attempts:
            raise UsageError(f"{display(result.name)} has {count(result.attempts, 'attempt')} in run {row.name}")
        number = attempt if attempt is not None and attempt < result.attempts else None
        suffixes = [s for s, other in (("out", only_stderr), ("err", only_stdout)) if not other] or [
            "out",
            "err",
        ]
        streams = {s: os.path.join(row.options["directory"], log_path(row, result.file, s, number)) for s in suffixes}

        def ended() -> bool:
            now = reader.result(row, result.name)
            over = now.state not in (JobState.WAITING, JobState.READY, JobState.RUNNING)
            over = over or now.attempts > max(result.attempts, 1)
            return over or real_state(reader, reader.run(row.name)) != "running"

        if not follow and result.attempts == 0:
            click.echo(f"{display(result.name)} has not run yet (it is {row_ending(result)})", err=True)
            return 0
        capped = row.options.get("max_output") is not None
        if not _copy(streams, follow=follow and number is None, ended=ended, capped=capped):
            click.echo(f"the logs of {display(result.name)} in run {row.name} are no longer there", err=True)
    finally:
        reader.close()
    return 0


def _copy(streams: dict[str, str], *, follow: bool, ended: Callable[[], bool], capped: bool) -> bool:
    """Copy the logs to stdout. False when there are none.

    Of `capped` logs the middle may have been given back to the disk while their script still writes.
    """
    files: dict[str, BinaryIO] = {}
    said = ""
    while True:
        last = not follow or ended()  # asked before reading: what was written until then is read below
        for suffix, path in streams.items():
            if suffix not in files:
                try:
                    files[suffix] = open_regular(path)
                except FileNotFoundError:
                    continue
            while chunk := files[suffix].read(_next_data(files[suffix]) if capped else _CHUNK):
                if len(streams) > 1 and suffix != said and (suffix == "err" or said):
                    click.echo(f"--- std{suffix} ---", err=True)
                said = suffix
                _write(chunk)
        sys.stdout.flush()
        if last:
            break
        time.sleep(_LOOK_EVERY)
    for file in files.values():
        file.close()
    return bool(files)


def _next_data(file: BinaryIO) -> int:
    """Go on where there is something to read again, and say what is left out; returns how much can be read there."""
    here, fd = file.tell(), file.fileno()
    if here > os.fstat(fd).st_size:
        here = file.seek(_after_the_cut(fd, here))
    try:
        data = os.lseek(fd, here, os.SEEK_DATA)
        hole = os.lseek(fd, data, os.SEEK_HOLE)
    except OSError:  # at the end
        return 0
    os.lseek(fd, data, os.SEEK_SET)
    if data > here:
        _write(b"\n[buildrunner: %d bytes were left out here, because of --max-output]\n" % (data - here))
    return min(hole - data, _CHUNK)


def _after_the_cut(fd: int, here: int) -> int:
    """Where a log that was cut meanwhile, as its script ended, has what came after the first `here` bytes."""
    import re

    from buildrunner.run.limits import LEFT_OUT

    size = os.fstat(fd).st_size
    if not (line := re.search(re.escape(LEFT_OUT).replace(b"%d", rb"(\d+)"), os.pread(fd, size, 0))):
        return size
    return min(size, max(line.start(), line.end() + here - line.start() - int(line[1])))


def _write(chunk: bytes) -> None:
    if sys.stdout.isatty() or _in_a_steps_log():
        from buildrunner.naming import display_lines

        sys.stdout.write(display_lines(chunk.decode("utf-8", "surrogateescape").replace("\r\n", "\n")))
        sys.stdout.flush()
    else:
        sys.stdout.buffer.write(chunk)


def _in_a_steps_log() -> bool:
    """Whether a CI service reads this, and takes lines of it for commands."""
    from buildrunner.reports import github

    return github.active(os.environ) and not stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
