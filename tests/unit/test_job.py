"""The table of how a job's state may change, written out a second time, and an assignment on the wire."""

from dataclasses import fields
from itertools import product

import pytest

from buildrunner.job import (
    FINAL_STATES,
    TRANSITIONS,
    Assignment,
    IllegalTransition,
    Job,
    JobEvent,
    JobSpec,
    JobState,
    Outcome,
    advance,
)

#             release  start    return  pass    fail    retry  skip     cancel     revive   rerun
EXPECTED = """
waiting       ready    -        -       -       -       -      skipped  cancelled  waiting  -
ready         -        running  -       -       -       -      skipped  cancelled  waiting  -
running       -        -        ready   passed  failed  ready  -        cancelled  -        -
passed        -        -        -       -       -       -      -        -          -        waiting
failed        -        -        -       -       -       -      -        -          -        waiting
skipped       -        -        -       -       -       -      -        -          -        waiting
cancelled     -        -        -       -       -       -      -        -          waiting  -
"""
EVENTS = ("release", "start", "return", "pass", "fail", "retry", "skip", "cancel", "revive", "rerun")
TABLE = {
    (state, event): after
    for state, *row in map(str.split, EXPECTED.strip().splitlines())
    for event, after in zip(EVENTS, row, strict=True)
}


def test_the_table_here_is_complete() -> None:
    assert set(TABLE) == set(product(map(str, JobState), map(str, JobEvent)))


@pytest.mark.parametrize(("state", "event"), list(product(JobState, JobEvent)))
def test_every_pair_of_state_and_event(state: JobState, event: JobEvent) -> None:
    expected = TABLE[state, event]
    if expected == "-":
        with pytest.raises(IllegalTransition, match=f"{event} cannot happen to a job that is {state}"):
            advance(state, event)
    else:
        assert advance(state, event) is JobState(expected)


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_the_only_way_out_of_a_final_state_is_a_changed_script(state: JobState) -> None:
    assert [event for (before, event) in TRANSITIONS if before is state] == [JobEvent.RERUN]


def test_every_state_can_be_reached_and_every_other_one_left() -> None:
    reached, todo = {JobState.WAITING}, [JobState.WAITING]
    while todo:
        state = todo.pop()
        nearby = {after for (before, _), after in TRANSITIONS.items() if before is state}
        todo += nearby - reached
        reached |= nearby
    assert reached == set(JobState)
    assert {before for before, event in TRANSITIONS if event is not JobEvent.RERUN} == set(JobState) - FINAL_STATES


def test_nobody_can_change_the_table() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[JobState.PASSED, JobEvent.START] = JobState.RUNNING  # type: ignore[index]


def test_state_and_outcome_are_told_apart() -> None:
    # What a job is and how an attempt ended share only the word for a stop that somebody asked for.
    assert set(map(str, JobState)) & set(map(str, Outcome)) == {"cancelled"}


def test_a_new_job_waits_and_has_no_attempts() -> None:
    job = Job(spec=JobSpec(name="a"))
    assert (job.state, job.attempts, job.lost, job.spent) == (JobState.WAITING, 0, 0, 0)


def test_an_assignment_goes_down_the_wire_in_the_order_of_its_fields() -> None:
    values = {
        "attempt": "id",
        "job": "a.py",
        "number": 2,
        "argv": ("/usr/bin/python3", "a.py"),
        "cwd": None,
        "env": (("A", "1"),),
        "stdout": "a.py.out",
        "stderr": "a.py.err",
        "output_dir": "files/a.py",
        "timeout": 1.5,
        "grace": 5.0,
    }
    assert tuple(values) == tuple(f.name for f in fields(Assignment))
    assert Assignment(**values).to_wire() == tuple(values.values())
