"""Files of models and datasets that an inspection has rejected."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.rows import DatasetRow, FileRow, ModelRow


async def delete_rejected_files(session: AsyncSession, before: datetime) -> None:
    """Delete the file rows of what was rejected before that time; their blobs are then collected as unreferenced."""
    for resource, column in ((ModelRow, FileRow.model_id), (DatasetRow, FileRow.dataset_id)):
        rejected = select(resource.id).where(resource.state == "rejected", resource.state_since < before)
        # Waits for a concurrent PATCH, and then sees the new state. In one order, as others may wait here too.
        rejected = rejected.order_by(resource.id).with_for_update()
        await session.execute(delete(FileRow).where(column.in_(rejected)).execution_options(synchronize_session=False))
