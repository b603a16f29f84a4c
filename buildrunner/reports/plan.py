"""What would run: the order, what each script is expected to take and how that is known, and how long all take."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from buildrunner.choice import Choice
from buildrunner.config import Options
from buildrunner.estimate import Estimate
from buildrunner.forecast import Makespan, Paces, makespan
from buildrunner.job import JobSpec
from buildrunner.machine import cpus
from buildrunner.naming import display
from buildrunner.plan import Order, Plan
from buildrunner.reports.words import LIKE, count, seconds

SCHEMA = "buildrunner.plan/1"
_ROWS = 40


def in_order(choice: Choice, options: Options) -> list[JobSpec]:
    """The jobs as the plan would hand them out, if each one passed."""
    plan = Plan(choice.batch.jobs, durations=choice.durations, order=options.order, workers=options.slots)
    found = []
    while spec := plan.take():
        found.append(spec)
        plan.finished(spec.name, passed=True)
    return found


def makespans(choice: Choice, options: Options, paces: Paces) -> list[Makespan]:
    """For 1, 2, 4 … workers up to the CPUs there are, and for those asked for; empty when nothing is known."""
    numbers = {min(options.slots, len(choice.batch.jobs)), options.slots}
    number = 1
    while number <= max(cpus(), options.slots, 4) and number < 2 * len(choice.batch.jobs):
        numbers.add(number)
        number *= 2
    durations = choice.durations
    found = (
        makespan(choice.batch.jobs, durations, number, order=options.order, pace=paces.of(number))
        for number in sorted(n for n in numbers if 1 <= n <= len(choice.batch.jobs))
    )
    return [one for one in found if one]


def how_known(choice: Choice, name: str, estimate: Estimate | None) -> str:
    """Where a job's expected time comes from; `estimate` is what others say about one that never ran."""
    times = choice.past.get(name)
    if not times:
        return "no run of it ended yet" + (f": {LIKE[estimate.rule]}" if estimate else "")
    if len(times) == 1:
        return "its last run"
    return f"median of its last {len(times)} runs, {seconds(min(times))} to {seconds(max(times))}"


def print_plan(
    out: Console,
    choice: Choice,
    options: Options,
    paces: Paces,
    python: str,
    why: str,
    *,
    elsewhere: str | None,
    verbose: bool,
) -> None:
    """The scripts in the order in which they would start, and the predicted times.

    `paces` are how its runs went. `elsewhere` is where the record knows targets of the same names, if not here.
    """
    specs = in_order(choice, options)
    plan = Plan(choice.batch.jobs, durations=choice.durations, order=options.order, workers=options.slots)
    which = f" ({choice.words})" if choice.words else ""
    out.print(
        f"{count(len(specs), 'script')} of {display(choice.batch.target)}{which}, {options.slots} at a time, "
        f"order: {_ORDERS[options.order]}, Python {display(python)} ({why})",
        soft_wrap=True,
    )
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("script", overflow="fold")
    table.add_column("expected", justify="right", no_wrap=True)
    table.add_column("how that is known", overflow="fold")
    shown = specs if verbose else specs[:_ROWS]
    for number, spec in enumerate(shown, start=1):
        expected = plan.estimate(spec.name)
        table.add_row(
            str(number),
            display(spec.name),
            seconds(expected) or "?",
            how_known(choice, spec.name, plan.estimated(spec.name)),
        )
    out.print(table)
    if len(shown) < len(specs):
        out.print(f"the first {len(shown)} of {len(specs):,}; -v shows all\n", soft_wrap=True)
    if choice.batch.passed_over:
        out.print(f"note: {choice.batch.passed_over}", soft_wrap=True)
    spans = makespans(choice, options, paces)
    if not spans:
        out.print("nothing is known about their times yet: the first run will tell", soft_wrap=True)
        if elsewhere:
            out.print(
                f"the record knows runs of {display(elsewhere)}; what it knows goes by the absolute path",
                soft_wrap=True,
            )
        return
    for span in spans:
        asked = "  ◀ this is what would run" if span.workers == min(options.slots, len(specs)) else ""
        out.print(
            f"{count(span.workers, 'worker'):>10}: {seconds(span.seconds)} "
            f"(no order needs less than {seconds(span.bound_seconds)}){asked}",
            soft_wrap=True,
        )
    if strangers := sum(spec.name not in choice.past for spec in specs):
        out.print(
            f"{count(strangers, 'script')} of which no run ended yet: expected to take what the others speak for",
            soft_wrap=True,
        )


def plan_document(choice: Choice, options: Options, paces: Paces, python: str) -> dict[str, Any]:
    """The `plan --json` document."""
    specs: Sequence[JobSpec] = in_order(choice, options)
    plan = Plan(choice.batch.jobs, durations=choice.durations, order=options.order, workers=options.slots)
    return {
        "schema": SCHEMA,
        "target": choice.batch.target,
        "choice": choice.words or None,
        "jobs": options.slots,
        "order": options.order.value,
        "python": python,
        "scripts": [
            {
                "name": spec.name,
                "expected_seconds": plan.estimate(spec.name),
                "past_seconds": list(choice.past.get(spec.name, ())),
                "estimated_by": estimate.rule if (estimate := plan.estimated(spec.name)) else None,
            }
            for spec in specs
        ],
        "makespans": [asdict(span) for span in makespans(choice, options, paces)],
    }


_ORDERS = {
    Order.LONGEST: "longest first",
    Order.NAME: "by name",
    Order.SHORTEST: "shortest first",
    Order.RANDOM: "random, another one each time",
}
