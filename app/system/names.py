"""Names of models, datasets and jobs by their ids, many at once."""

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.rows import DatasetRow, JobRow, ModelRow
from app.system.schemas import Named

_ROWS: Final[Mapping[str, type[ModelRow] | type[DatasetRow] | type[JobRow]]] = {
    "mdl_": ModelRow,
    "ds_": DatasetRow,
    "job_": JobRow,
}


async def read_names(session: AsyncSession, project_id: str, ids: Collection[str]) -> dict[str, Named]:
    """Those of the project's resources that have one of these ids."""
    found: dict[str, Named] = {}
    for prefix, row in _ROWS.items():
        wanted = [identity for identity in ids if identity.startswith(prefix)]
        if wanted:
            query = select(row.id, row.name, row.state).where(row.id.in_(wanted), row.project_id == project_id)
            rows = (await session.execute(query)).all()
            found |= {each.id: Named.model_validate({"name": each.name, "state": each.state}) for each in rows}
    return found
