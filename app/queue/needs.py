"""Who needs a model or dataset: what stands in the way of deleting it."""

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.states import TERMINAL
from app.db.rows import DatasetRow, JobInputRow, JobRow, ModelRow


async def needed_by(session: AsyncSession, resource_id: str) -> list[str]:
    """Ids of the jobs that have not ended and read this model or dataset, oldest first.

    A student is needed by the jobs that name its job as a teacher, too. The resource's row is locked, so that
    no job can be submitted on it before the caller's write transaction ends: an empty answer stays true until
    the row is deleted. Inspections count; cancel them through the ledger first, or answer 409.
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
