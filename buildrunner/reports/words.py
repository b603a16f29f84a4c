"""Figures and endings as short words, the same in every report."""

import os
import shlex
import signal

from buildrunner.job import JobState, Outcome
from buildrunner.ledger import ResultRow, RunRow


def seconds(value: float | None) -> str:
    """A duration to three significant digits or so.

    >>> seconds(0.0123), seconds(9.1), seconds(200), seconds(4000)
    ('0.012 s', '9.10 s', '3 min 20 s', '1 h 06 min')
    """
    if value is None:
        return ""
    if value < 0.9995:
        return f"{value:.3f} s"
    if value < 99.95:
        return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: int | None) -> str:
    """Bytes in units of 1024.

    >>> size(13721600), size(None)
    ('13.1 MiB', '')
    """
    if count is None:
        return ""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1023.95:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def count(number: int, noun: str) -> str:
    """A number and its noun.

    >>> count(1, "script"), count(2000, "script")
    ('1 script', '2,000 scripts')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def ending(
    outcome: Outcome | None, exit_code: int | None, signal_number: int | None, state: JobState | None = None
) -> str:
    """How an attempt ended, in words.

    >>> ending(Outcome.EXITED, 3, None), ending(Outcome.SIGNALLED, None, 9)
    ('exit code 3', 'signal 9 (SIGKILL)')
    """
    match outcome:
        case None:
            return str(state) if state else ""
        case Outcome.OK:
            return "ok"
        case Outcome.EXITED:
            return f"exit code {exit_code}"
        case Outcome.SIGNALLED:
            return _signal(signal_number)
        case Outcome.TIMED_OUT:
            how = _signal(signal_number) if signal_number else f"exit code {exit_code}"
            return f"timed out, {how}"
        case Outcome.SPAWN_ERROR:
            return "could not start"
        case Outcome.LOST:
            return "lost with its worker"
        case _:
            return str(outcome).replace("_", " ")


def row_ending(row: ResultRow) -> str:
    """How a job's last attempt ended, or where the job is."""
    if row.state in (JobState.SKIPPED, JobState.RUNNING, JobState.WAITING):
        return str(row.state)
    return ending(row.outcome, row.exit_code, row.signal, row.state)


def command(run: RunRow, verb: str, *words: str) -> str:
    """What to type to go on with a run."""
    state = [] if run.options["state"] == ".buildrunner" else ["--state", run.options["state"]]
    return shell(["buildrunner", verb, run.name, *words, *state])


def shell(words: list[str]) -> str:
    r"""A command line to paste into bash or zsh; bytes no terminal should get are written as `$'…'`.

    >>> shell(["run", "a b.py"]), shell(["x\n.py"])
    ("run 'a b.py'", "$'x\\n.py'")
    """
    return " ".join(shlex.quote(w) if w.isprintable() else _ansi_c(w) for w in words)


def _ansi_c(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + "".join(c if c.isprintable() else _bytes(c) for c in escaped) + "'"


def _bytes(char: str) -> str:
    return "\\n" if char == "\n" else "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))


def _signal(number: int | None) -> str:
    try:
        return f"signal {number} ({signal.Signals(number or 0).name})"
    except ValueError:
        return f"signal {number}"
