"""A bench in words: as text for a person, and as markdown to paste."""

import re
from collections.abc import Sequence
from heapq import nlargest

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from buildrunner.comparison import Arm, Cause, Loss, Manner, Measurement, ScriptTimes, Verdict, verdict
from buildrunner.naming import display
from buildrunner.reports.words import count, ending, seconds

_ROWS = 40
_NAMED = 20  # failures and differences
_WORTH_NAMING = 0.02  # of the parallel run's time: what cost less explains nothing
MANNERS = {Manner.SEQUENTIAL: "one after another", Manner.PARALLEL: "in parallel"}


# in words


def print_bench(out: Console, m: Measurement) -> None:
    """The table, the figures, what they mean, and what went wrong."""
    c = m.comparison
    out.print()
    out.print(f"{subject(m)}; {conditions(m)}", soft_wrap=True)
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("script", overflow="fold")
    for heading in (*MANNERS.values(), "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = slowest(m.scripts)
    for row in rows:
        table.add_row(display(row.name), seconds(row.sequential), seconds(row.parallel), _ratio(row))
    table.add_section()
    table.add_row(
        "all scripts", seconds(c.sequential.median), seconds(c.parallel.median), f"{c.speedup:.2f} ×", style="bold"
    )
    out.print(table)
    if len(rows) < len(m.scripts):
        out.print(f"the {len(rows)} slowest of {len(m.scripts):,}; --json has all", soft_wrap=True)
    for line in figures(m):
        out.print(line, soft_wrap=True)
    out.print()
    out.print(Text(conclusion(m), style="bold"), soft_wrap=True)
    for warning in warnings(m):
        out.print(Text(warning, style="bold red" if not warning.startswith(" ") else ""), soft_wrap=True)


def conditions(m: Measurement) -> str:
    """What the figures hold for."""
    threads = "as many threads as they like" if m.threads is None else count(m.threads, "thread") + " each"
    return (
        f"medians of {count(m.rounds, 'round')}{f' after {m.warmup} to warm up' if m.warmup else ''}, "
        f"{m.comparison.jobs} at a time on {count(m.cpus, 'CPU')}, numerical libraries {threads} in parallel"
    )


def figures(m: Measurement) -> list[str]:
    """Times with their range, and the ratios."""
    c = m.comparison
    lines = [
        f"{label}: {seconds(arm.median)} ({seconds(min(arm.runs))} to {seconds(max(arm.runs))})"
        for label, arm in arms(m)
    ]
    lines.append(
        f"speed-up {c.speedup:.2f} × (no schedule of these scripts on {count(c.jobs, 'worker')} gets beyond "
        f"{c.bound_speedup:.2f} ×), efficiency {100 * c.efficiency:.0f} %"
    )
    if m.rounds + m.warmup < 3:
        lines.append("so few rounds say little: files not yet in memory slow the first one; try --rounds 3 --warmup 1")
    return lines


def conclusion(m: Measurement) -> str:
    """How much faster, or that it was not, and why."""
    c = m.comparison
    one, other = seconds(c.sequential.median), seconds(c.parallel.median)
    causes = [loss for loss in m.losses if loss.seconds >= _WORTH_NAMING * c.parallel.median or _alone(loss)]
    match verdict(c):
        case Verdict.FASTER:
            text = (
                f"In parallel it took {other} instead of {one}: {c.speedup:.2f} × as fast, "
                f"{c.reduction_percent:.1f} % less time."
            )
            if causes and c.jobs > 1:
                text += f" Most of what kept it from {c.jobs} ×: {because(m, causes[0])}."
            return text
        case Verdict.UNCLEAR:
            doubt = "single rounds differ by as much" if m.rounds > 1 else "a single round may be off by as much"
            text = (
                f"Running in parallel was NOT clearly faster: {other} against {one} one after another "
                f"({c.speedup:.2f} ×), and {doubt}"
            )
        case Verdict.NOT_FASTER:
            text = f"Running in parallel was NOT faster: {other} against {one} one after another ({c.speedup:.2f} ×)"
    return f"{text}. {_reasons(m, causes)}"


def _reasons(m: Measurement, causes: Sequence[Loss]) -> str:
    if not causes:
        return "Nothing measured here explains it; more rounds may."
    return "The reason: " + "; also, ".join(because(m, loss) for loss in causes[:2]) + "."


def because(m: Measurement, loss: Loss) -> str:
    """A cause in words, with the measurements that show it."""
    jobs, names = m.comparison.jobs, len(m.scripts)
    total, shared = sum(s.sequential for s in m.scripts), sum(s.parallel for s in m.scripts)
    slower = f"side by side they took {shared / total if total else 1.0:.2f} × as long as alone"
    match loss.cause:
        case Cause.ONE_WORKER:
            why = "this process may use one CPU only" if m.cpus == 1 else "so it was asked for"
            return f"only one script ran at a time, because {why}"
        case Cause.FEW_SCRIPTS:
            return f"there {'is' if names == 1 else 'are'} only {count(names, 'script')} for {jobs} workers"
        case Cause.LONGEST_SCRIPT:
            longest = max(m.scripts, key=lambda s: s.sequential)
            return (
                f"{display(longest.name)} alone is {100 * longest.sequential / total:.0f} % of the time, "
                f"so that {total / longest.sequential:.2f} × is the most that any number of workers can reach"
            )
        case Cause.FEW_CPUS:
            return f"{min(jobs, names)} scripts at a time had to share {count(m.cpus, 'CPU')} ({slower})"
        case Cause.THREADS:
            used = sum(s.cpu for s in m.scripts) / total if total else 0.0
            return (
                f"one after another the scripts kept {used:.1f} CPUs busy already, with threads of their own ({slower})"
            )
        case Cause.SHARING:
            return f"the scripts slowed each other down: {slower}"
        case Cause.IDLE:
            return (
                f"workers had nothing to do for {seconds(loss.seconds)}, between scripts or waiting for the last ones"
            )
        case Cause.START:
            share = 100 * loss.seconds / m.comparison.parallel.median
            return (
                f"starting and ending buildrunner itself took {seconds(loss.seconds)}, {share:.0f} % of the parallel "
                f"run, while the scripts take {seconds(total)} in all"
            )


def warnings(m: Measurement) -> list[str]:
    """Scripts that did not pass, and those that did not do the same every time; details are indented."""
    lines = []
    if m.failures:
        lines.append(
            f"{len(m.failures):,} of {count(len(m.scripts), 'script')} did not pass, so the times mean little:"
        )
        for failure in m.failures[:_NAMED]:
            how = ending(failure.ending.outcome, failure.ending.exit_code, failure.ending.signal)
            lines.append(f"    {display(failure.name)}: {how} ({MANNERS[failure.manner]}, round {failure.round})")
        lines += _more(len(m.failures))
    if m.differences:
        lines.append(f"{len(m.differences):,} of {count(len(m.scripts), 'script')} did not do the same every time:")
        for d in m.differences[:_NAMED]:
            where = f"{MANNERS[d.manner]}, round {d.round}"
            if d.line is None:
                lines.append(f"    {display(d.name)}: {d.found} ({where}), first {d.expected}")
            else:
                lines.append(f"    {display(d.name)}: stdout differs from line {d.line}, byte {d.column} on ({where})")
                lines += [f"        first: {d.expected}", f"        then:  {d.found}"]
        lines += _more(len(m.differences))
    return lines


def _more(number: int) -> list[str]:
    return [f"    … and {number - _NAMED:,} more; --json names them"] if number > _NAMED else []


def slowest(scripts: Sequence[ScriptTimes]) -> list[ScriptTimes]:
    """The slowest scripts that a report has room for, in their own order."""
    kept = nlargest(_ROWS, range(len(scripts)), key=lambda i: max(scripts[i].sequential, scripts[i].parallel))
    return [scripts[i] for i in sorted(kept)]


def _alone(loss: Loss) -> bool:
    return loss.cause is Cause.ONE_WORKER


def arms(m: Measurement) -> tuple[tuple[str, Arm], ...]:
    """The two arms with their names."""
    return tuple(zip(MANNERS.values(), (m.comparison.sequential, m.comparison.parallel), strict=True))


def _ratio(row: ScriptTimes) -> str:
    return f"{row.sequential / row.parallel:.2f} ×" if row.parallel > 0 else ""


def subject(m: Measurement) -> str:
    """What was measured."""
    return f"{count(len(m.scripts), 'script')} of {display(m.target)}"


# as markdown


def markdown(m: Measurement) -> str:
    """A table and the figures, as GitHub and most others read it."""
    c = m.comparison
    lines = [
        f"{count(len(m.scripts), 'script')} of {_code(m.target)}; {conditions(m)}.",
        "",
        "| script | one after another | in parallel | ratio |",
        "|---|--:|--:|--:|",
    ]
    rows = slowest(m.scripts)
    for row in rows:
        lines.append(f"| {_code(row.name)} | {seconds(row.sequential)} | {seconds(row.parallel)} | {_ratio(row)} |")
    lines.append(
        f"| **all scripts** | **{seconds(c.sequential.median)}** | **{seconds(c.parallel.median)}** "
        f"| **{c.speedup:.2f} ×** |"
    )
    lines.append("")
    if len(rows) < len(m.scripts):
        lines += [f"The {len(rows)} slowest of {len(m.scripts):,} scripts.", ""]
    lines += [f"- {_plain(line)}" for line in figures(m)]
    lines += ["", _plain(conclusion(m))]
    if told := warnings(m):
        lines += [""]
        for line in told:
            lines.append(f"{' ' * ((len(line) - len(line.lstrip())) // 2)}- {_plain(line.strip())}")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    shown = display(text)
    if re.fullmatch(r"[\w./ -]*[\w./-]", shown) and not shown.startswith(" "):
        return f"`{shown}`"
    return f"<code>{_plain(shown)}</code>"


def _plain(text: str) -> str:
    """Text in which nothing is markup: every character that could be is written as an entity."""
    return re.sub(r"[\\`*_{}\[\]<>#|~&$@]|:(?! )", lambda match: f"&#{ord(match[0])};", text)
