"""Operations inside a caller's session."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.states import Trigger
from app.db.rows import JobRow
from app.db.signals import WORK
from app.db.transactions import Last, Steps, in_session
from app.queue.ends import change
from app.queue.records import NewJob
from app.queue.submission.locks import lock_inputs
from app.queue.submission.rows import NewRows, inserts, new_rows
from app.queue.transitions import lock


async def submit(session: AsyncSession, job: NewJob) -> JobRow:
    """Insert a job with its inputs, labels and first event."""
    new = new_rows(job)
    await in_session(session, _steps(job.project_id, new))
    return await session.get_one(JobRow, new.id)


def _steps(project_id: str, new: NewRows) -> Steps[None]:
    locked, _ = yield from lock_inputs(project_id, [new.inputs])
    error = locked.unusable(new.inputs)
    if error is not None:
        raise error
    yield Last(inserts(new), [WORK, new.id], new.proof)


async def act(session: AsyncSession, job_id: str, trigger: Trigger) -> JobRow | None:
    """Cancel, pause or resume; None if there is no such job. Raises IllegalTransition."""
    job = await lock(session, job_id)
    if job is not None:
        await change(session, job, trigger)
    return job
