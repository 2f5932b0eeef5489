"""The jobs that need a model or dataset, which therefore cannot be deleted."""

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.states import TERMINAL
from app.db.rows import DatasetRow, JobInputRow, JobRow, ModelRow


async def needed_by(session: AsyncSession, resource_id: str) -> list[str]:
    """Ids of the unfinished jobs that read this model or dataset, oldest first.

    A student is also needed by jobs that name its job as a teacher. The resource's row is locked, so that no job can be
    submitted on it before the caller's write transaction ends. Inspections count.
    """
    resource = ModelRow if resource_id.startswith("mdl_") else DatasetRow
    await session.execute(select(resource.id).where(resource.id == resource_id).with_for_update())
    makers = select(JobRow.id).where(JobRow.student_id == resource_id)
    reads = or_(
        JobInputRow.model_id == resource_id,
        JobInputRow.dataset_id == resource_id,
        JobInputRow.upstream_id.in_(makers),
    )
    query = (
        select(JobRow.id)
        .join(JobInputRow, JobInputRow.job_id == JobRow.id)
        .where(reads, JobRow.state.not_in(TERMINAL))
        .distinct()
        .order_by(JobRow.id)
    )
    return list(await session.scalars(query))
