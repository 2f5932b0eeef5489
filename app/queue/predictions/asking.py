"""The SQL of those who ask."""

from collections.abc import Collection, Mapping

from sqlalchemy import Double, bindparam, delete, or_, select
from sqlalchemy import insert as insert_into
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.wire.predictions import Reply
from app.db.clock import BootId, LeaseClock
from app.db.rows import PredictionRow
from app.db.signals import announce
from app.db.writes import rows_changed
from app.queue.predictions.records import PREDICTIONS, Answered, NewPrediction

_KEPT_SECONDS = 30.0
"""How long a row stays after its deadline: its asker deletes it, unless it died."""


_INSERT = insert_into(PredictionRow.__table__).values(  # type: ignore[arg-type]  # a table, for many rows at once
    deadline=LeaseClock() + bindparam("seconds", type_=Double), deadline_boot=BootId()
)


async def insert(session: AsyncSession, asker: str, new: Mapping[str, NewPrediction], seconds: float) -> None:
    """Insert requests by their ids, for workers to claim within so many seconds."""
    rows = [
        {
            "id": identity,
            "project_id": each.project_id,
            "asker": asker,
            "question": each.question.model_dump(mode="json", exclude_defaults=True),
            "body": each.body,
            "body_of": each.body_of,
            "seconds": seconds,
        }
        for identity, each in new.items()
    ]
    await (await session.connection()).execute(_INSERT, rows)
    announce(session, PREDICTIONS, urgent=True)


async def answered(session: AsyncSession, asker: str, but: Collection[str]) -> dict[str, Answered]:
    """The answered requests of an asker by id, without those that it has read already."""
    query = select(PredictionRow.id, PredictionRow.reply, PredictionRow.answer).where(
        PredictionRow.asker == asker, PredictionRow.reply.is_not(None), PredictionRow.id.not_in(but)
    )
    return {
        identity: Answered(Reply.model_validate(reply), answer or b"")
        for identity, reply, answer in await session.execute(query)
    }


async def remove(session: AsyncSession, identities: Collection[str]) -> None:
    """Delete requests whose client has gone or has its answer."""
    await session.execute(delete(PredictionRow).where(PredictionRow.id.in_(identities)))


async def remove_expired(session: AsyncSession) -> int:
    """Delete requests whose asker died: it would have deleted them. How many there were."""
    late = PredictionRow.deadline + _KEPT_SECONDS < LeaseClock()
    expired = select(PredictionRow.id).where(or_(late, PredictionRow.deadline_boot != BootId()))
    # Others that sweep, ask or answer are not waited for: a row that is locked now is deleted by the next sweep.
    free = expired.with_for_update(skip_locked=True)
    gone = delete(PredictionRow).where(PredictionRow.id.in_(free)).execution_options(synchronize_session=False)
    return rows_changed(await session.execute(gone))
