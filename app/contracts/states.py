"""The states of a job and the table of allowed transitions."""

from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal


class JobState(StrEnum):
    """State of a job."""

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
    """Events that change the state of a job."""

    CLAIM = "claim"  # a supervisor takes it: attempt + 1, a new lease
    BEGIN = "begin"  # the child has its inputs and trains
    SUCCEED = "succeed"  # outputs are stored
    FAIL = "fail"  # the user's error, a failed dependency, or crashes without progress
    CANCEL = "cancel"  # the user
    PAUSE = "pause"  # the user
    RESUME = "resume"  # the user
    YIELD = "yield"  # the child stopped on request (cancel, pause) after a checkpoint
    LOSE = "lose"  # the lease expired, or the child crashed
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
        # A job that finishes before it can pause has succeeded.
        (_S.PAUSING, _T.SUCCEED): _S.SUCCEEDED,
        (_S.PAUSING, _T.FAIL): _S.FAILED,
        (_S.PAUSING, _T.CANCEL): _S.CANCELLING,
        (_S.PAUSING, _T.YIELD): _S.PAUSED,
        (_S.PAUSING, _T.LOSE): _S.PAUSED,
        (_S.PAUSING, _T.DRAIN): _S.PAUSED,
        (_S.PAUSED, _T.RESUME): _S.QUEUED,
        (_S.PAUSED, _T.CANCEL): _S.CANCELLED,
        (_S.PAUSED, _T.FAIL): _S.FAILED,
        # Once cancelling is committed, success is impossible; a failure while cancelling is a cancelled job.
        (_S.CANCELLING, _T.YIELD): _S.CANCELLED,
        (_S.CANCELLING, _T.FAIL): _S.CANCELLED,
        (_S.CANCELLING, _T.LOSE): _S.CANCELLED,
        (_S.CANCELLING, _T.DRAIN): _S.CANCELLED,
    }
)
"""(state, trigger) -> next state. Other pairs are refused."""


class IllegalTransition(Exception):
    """The trigger is not allowed in this state."""

    def __init__(self, state: JobState, trigger: Trigger) -> None:
        super().__init__(f"a {state.value} job cannot {trigger.value}")
        self.state = state
        self.trigger = trigger


def after(state: JobState, trigger: Trigger) -> JobState:
    """The next state. Raises IllegalTransition where the table has no entry."""
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        raise IllegalTransition(state, trigger) from None
