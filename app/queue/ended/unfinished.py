"""The end of an error where a job must have ended and has not."""

from app.contracts.states import JobState


def unfinished(state: JobState) -> str:
    """What was found, and the way out: a job that is being cancelled already only has to be waited for."""
    if state is JobState.CANCELLING:
        return f"the job is {state.value}: wait for its end, `?wait=60` on it does"
    return f"the job is {state.value}: cancel it first, or wait for its end"
