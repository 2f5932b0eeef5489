"""The whole state machine as one table, written down a second time by hand."""

import itertools

import pytest

from app.contracts.states import LEASED, TERMINAL, TRANSITIONS, IllegalTransition, JobState, Trigger, after

TABLE = """
state       claim     begin    succeed    fail       cancel      pause    resume  yield      lose       drain
queued      starting  -        -          failed     cancelled   paused   -       -          -          -
starting    -         running  -          failed     cancelling  pausing  -       -          queued     queued
running     -         -        succeeded  failed     cancelling  pausing  -       -          queued     queued
pausing     -         -        succeeded  failed     cancelling  -        -       paused     paused     paused
paused      -         -        -          failed     cancelled   -        queued  -          -          -
cancelling  -         -        -          cancelled  -           -        -       cancelled  cancelled  cancelled
succeeded   -         -        -          -          -           -        -       -          -          -
failed      -         -        -          -          -           -        -       -          -          -
cancelled   -         -        -          -          -           -        -       -          -          -
"""
HEAD, *ROWS = [line.split() for line in TABLE.split("\n") if line]
EXPECTED = {(row[0], trigger): cell for row in ROWS for trigger, cell in zip(HEAD[1:], row[1:], strict=True)}


@pytest.mark.parametrize(("state", "trigger"), list(EXPECTED))
def test_every_pair_of_state_and_trigger_is_as_the_table_says(state: str, trigger: str) -> None:
    if EXPECTED[state, trigger] == "-":
        with pytest.raises(IllegalTransition, match=f"a {state} job cannot {trigger}"):
            after(JobState(state), Trigger(trigger))
    else:
        assert after(JobState(state), Trigger(trigger)) == EXPECTED[state, trigger]


def test_the_table_above_leaves_no_state_and_no_trigger_out() -> None:
    assert set(EXPECTED) == {(s.value, t.value) for s, t in itertools.product(JobState, Trigger)}
    assert len(TRANSITIONS) == sum(cell != "-" for cell in EXPECTED.values())


def test_nothing_leaves_a_terminal_state() -> None:
    assert not [pair for pair in TRANSITIONS if pair[0] in TERMINAL]


def test_once_cancelling_is_committed_success_is_impossible() -> None:
    reachable, frontier = {JobState.CANCELLING}, [JobState.CANCELLING]
    while frontier:
        state = frontier.pop()
        following = {new for (old, _), new in TRANSITIONS.items() if old is state} - reachable
        reachable |= following
        frontier += following
    assert reachable == {JobState.CANCELLING, JobState.CANCELLED}


def test_every_state_can_still_end() -> None:
    ends = set(TERMINAL)
    while grown := {old for (old, _), new in TRANSITIONS.items() if new in ends} - ends:
        ends |= grown
    assert ends == set(JobState)


def test_a_worker_can_lose_every_job_that_it_can_hold() -> None:
    assert {state for state, trigger in TRANSITIONS if trigger is Trigger.LOSE} == LEASED
