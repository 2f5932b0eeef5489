"""The states of a job and the one table of what may follow what. Pure; DESIGN.md is its source."""

from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Trigger(StrEnum):
    """What can happen to a job."""

    CLAIM = "claim"  # a supervisor takes it: attempt + 1, a fresh lease
    BEGIN = "begin"  # the child has its inputs and trains
    SUCCEED = "succeed"  # outputs are stored
    FAIL = "fail"  # the user's error, a failed dependency, or crashes without progress
    CANCEL = "cancel"  # the user
    PAUSE = "pause"  # the user
    RESUME = "resume"  # the user
    YIELD = "yield"  # the child stopped as it was told (cancel, pause) after a checkpoint
    LOSE = "lose"  # the lease ran out, or the child crashed
    DRAIN = "drain"  # the worker shuts down cleanly and gives the job back


ModelState = Literal["verifying", "ready", "rejected"]

TERMINAL: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
LEASED: Final = frozenset({JobState.STARTING, JobState.RUNNING, JobState.PAUSING, JobState.CANCELLING})
"""States in which a worker holds the job."""

_S, _T = JobState, Trigger

TRANSITIONS: Final = MappingProxyType(
    {
        (_S.QUEUED, _T.CLAIM): _S.STARTING,
        (_S.QUEUED, _T.FAIL): _S.FAILED,
        (_S.QUEUED, _T.CANCEL): _S.CANCELLED,
        (_S.QUEUED, _T.PAUSE): _S.PAUSED,
        (_S.STARTING, _T.BEGIN): _S.RUNNING,
        (_S.STARTING, _T.FAIL): _S.FAILED,
        (_S.STARTING, _T.CANCEL): _S.CANCELLING,
        (_S.STARTING, _T.PAUSE): _S.PAUSING,
        (_S.STARTING, _T.LOSE): _S.QUEUED,
        (_S.STARTING, _T.DRAIN): _S.QUEUED,
        (_S.RUNNING, _T.SUCCEED): _S.SUCCEEDED,
        (_S.RUNNING, _T.FAIL): _S.FAILED,
        (_S.RUNNING, _T.CANCEL): _S.CANCELLING,
        (_S.RUNNING, _T.PAUSE): _S.PAUSING,
        (_S.RUNNING, _T.LOSE): _S.QUEUED,
        (_S.RUNNING, _T.DRAIN): _S.QUEUED,
        # A job that finishes while it is asked to pause has finished.
        (_S.PAUSING, _T.SUCCEED): _S.SUCCEEDED,
        (_S.PAUSING, _T.FAIL): _S.FAILED,
        (_S.PAUSING, _T.CANCEL): _S.CANCELLING,
        (_S.PAUSING, _T.YIELD): _S.PAUSED,
        (_S.PAUSING, _T.LOSE): _S.PAUSED,
        (_S.PAUSING, _T.DRAIN): _S.PAUSED,
        (_S.PAUSED, _T.RESUME): _S.QUEUED,
        (_S.PAUSED, _T.CANCEL): _S.CANCELLED,
        (_S.PAUSED, _T.FAIL): _S.FAILED,
        # Once cancelling is committed, success is impossible; a failure on the way out is a cancelled job.
        (_S.CANCELLING, _T.YIELD): _S.CANCELLED,
        (_S.CANCELLING, _T.FAIL): _S.CANCELLED,
        (_S.CANCELLING, _T.LOSE): _S.CANCELLED,
        (_S.CANCELLING, _T.DRAIN): _S.CANCELLED,
    }
)
"""(state, trigger) -> next state. What is absent is refused."""


class IllegalTransition(Exception):
    """The trigger means nothing in this state."""

    def __init__(self, state: JobState, trigger: Trigger) -> None:
        super().__init__(f"a {state.value} job cannot {trigger.value}")
        self.state = state
        self.trigger = trigger


def after(state: JobState, trigger: Trigger) -> JobState:
    """The state that follows; raises IllegalTransition where the table has no entry."""
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        raise IllegalTransition(state, trigger) from None
