"""Figures and endings as short words, the same in every report."""

import os
import shlex
import signal

from buildrunner.estimate import Rule
from buildrunner.events import JobEnded, RunStarted, Stopping, WorkerLost
from buildrunner.forecast import Remaining
from buildrunner.job import JobState, Outcome
from buildrunner.ledger import ResultRow, RunRow
from buildrunner.naming import display

LIKE = {
    Rule.MEDIAN: "as long as the median of the others",
    Rule.FOLDER: "as long as the median of its folder",
    Rule.NEIGHBOURS: "like those with the next numbers in their names",
    Rule.TREND: "as the number in its name and those of the others say",
}
"""What a script is taken to last that never ran."""


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


def lasted(outcome: Outcome | None, value: float | None) -> str:
    """How long an attempt took; empty where nobody knows, because it has not ended or its end was not seen.

    >>> lasted(Outcome.OK, 9.1), lasted(Outcome.LOST, 0.0)
    ('9.10 s', '')
    """
    return "" if outcome is Outcome.LOST else seconds(value)


def joined(*parts: str) -> str:
    """What there is to say, with commas.

    >>> joined("lost", "", "worker 1")
    'lost, worker 1'
    """
    return ", ".join(filter(None, parts))


def about(value: float) -> str:
    """A duration as a person would say it.

    >>> about(0.01), about(0.2), about(12.3), about(200), about(4000)
    ('<0.1 s', '0.2 s', '12 s', '3 min 20 s', '1 h 06 min')
    """
    if value < 0.05:
        return "<0.1 s"
    if value < 9.95:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 99.5 else seconds(value)


def time_left(left: Remaining, sign: str = "±") -> str:
    """How long it will go on, and how sure that is.

    >>> time_left(Remaining(seconds=200, plus_minus=12.3)), time_left(Remaining(seconds=2, plus_minus=3))
    ('3 min 20 s ± 12 s left', 'perhaps up to 5.0 s left')
    """
    if left.plus_minus >= left.seconds:
        return f"perhaps up to {about(left.seconds + left.plus_minus)} left"
    return f"{about(left.seconds)} {sign} {about(left.plus_minus)} left"


def rate(value: float) -> str:
    """Jobs by time, in the unit that gives the handiest figure.

    >>> rate(1.94), rate(0.3), rate(0.002), rate(5000)
    ('1.9/s', '18/min', '7/h', '5,000/s')
    """
    for unit, per in (("s", 1), ("min", 60), ("h", 3600)):
        if value * per >= 1 or unit == "h":
            return f"{value * per:.1f}/s" if unit == "s" and value < 10 else f"{value * per:,.0f}/{unit}"
    raise AssertionError


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


def exact_size(count: int) -> str:
    """Bytes as an option takes them, in the largest unit that says them exactly.

    >>> exact_size(157286400), exact_size(2 << 30), exact_size(1000)
    ('150M', '2G', '1000')
    """
    for power, unit in enumerate("TGMK"):
        if count and not count % (step := 1024 ** (4 - power)):
            return f"{count // step}{unit}"
    return str(count)


_SIZES = ("memory", "max_output")
_DURATIONS = ("timeout", "deadline", "grace")


def option_text(name: str, value: object) -> str:
    """An option's value as a user would write it.

    >>> option_text("memory", 157286400), option_text("timeout", 90.0), option_text("retries", 2)
    ('150M', '90s', '2')
    """
    if isinstance(value, int | float) and name in _DURATIONS:
        return f"{value:g}s"
    return exact_size(value) if isinstance(value, int) and name in _SIZES else str(value)


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


def run_line(event: RunStarted) -> str:
    """What is about to run, and how."""
    which = f" ({event.choice})" if event.choice else ""
    which += f", {event.done:,} of them done before" if event.done else ""
    return (
        f"{count(event.total, 'script')} of {display(event.target)}{which}, {event.workers} at a time, "
        f"Python {display(event.python)} ({event.python_why}), run {event.run}"
    )


def ended_line(event: JobEnded) -> str:
    """How an attempt ended, and how far the run is."""
    receipt = event.receipt
    width = len(f"{event.total:,}")
    how = ending(receipt.outcome, receipt.exit_code, receipt.signal)
    told = joined(how, "" if event.final else "trying again", lasted(receipt.outcome, receipt.seconds))
    return f"[{event.done:>{width},}/{event.total:,}] {display(receipt.job)}: {told}"


def worker_line(event: WorkerLost) -> str:
    """What became of a worker."""
    who = f"worker {event.worker} (process {event.pid})"
    if event.made_way:
        return f"{who} made way for a fresh one: a script had changed its limits, niceness or CPUs"
    return f"{who} died and was replaced"


def stopping_line(event: Stopping) -> str:
    """Why the run stops, and what becomes of what runs."""
    hint = ", and what runs is asked to end: Ctrl-C now kills it" if event.ends_running else ""
    return f"stopping: {event.reason}; nothing new starts{hint}"


def row_ending(row: ResultRow) -> str:
    """How a job's last attempt ended, or where the job is."""
    if row.state in (JobState.SKIPPED, JobState.RUNNING, JobState.WAITING):
        return str(row.state)
    told = ending(row.outcome, row.exit_code, row.signal, row.state)
    return f"{told}, changed since" if row.outdated else told


def command(run: RunRow, verb: str, *words: str, option: str = "") -> str:
    """What to type to go on with a run, which the verb takes as an argument or by this option."""
    state = [] if run.options["state"] == ".buildrunner" else ["--state", run.options["state"]]
    named = [*words, option, run.name] if option else [run.name, *words]
    return shell(["buildrunner", verb, *named, *state])


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
