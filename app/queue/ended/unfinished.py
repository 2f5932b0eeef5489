"""What is said of a job that has not ended, by what needs it to."""

from app.contracts.states import JobState


def unfinished(state: JobState) -> str:
    """What was found, and the way out: a job that is being cancelled already only has to be waited for."""
    if state is JobState.CANCELLING:
        return f"the job is {state.value}: wait for its end, `?wait=60` on it does"
    return f"the job is {state.value}: cancel it first, or wait for its end"
