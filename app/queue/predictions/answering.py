"""The SQL of those who answer."""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from sqlalchemy import Select, func, select, update

from app.contracts.wire.predictions import MOST_BYTES, Question
from app.db.clock import BootId, LeaseClock
from app.db.engine import Database
from app.db.rows import PredictionRow
from app.db.signals import announce
from app.queue.predictions.records import Answered, ClaimedPrediction

_MOST_BYTES = 2 * MOST_BYTES
"""Most bytes of rows that are claimed at once, where it is more than one request."""


async def claim(database: Database, owner: str, most: int) -> list[ClaimedPrediction]:
    """Claim the oldest requests that nobody has, `most` at most."""
    query = _claimable(most)
    if database.dialect == "sqlite":
        async with database.read() as session:  # looking at an empty queue must not take the write lock
            if not (await session.execute(query)).all():
                return []
    async with database.write() as session:
        found = await session.execute(query.with_for_update(skip_locked=True))
        rows = [(str(identity), int(size)) for identity, size in found]
        totals = accumulate(size for _, size in rows)
        few = [identity for (identity, _), total in zip(rows, totals, strict=True) if total < _MOST_BYTES]
        chosen = few or [identity for identity, _ in rows[:1]]
        taken = (
            update(PredictionRow)
            .where(PredictionRow.id.in_(chosen))
            .values(claimed_by=owner, attempt=PredictionRow.attempt + 1)
            .execution_options(synchronize_session=False)
        )
        await session.execute(taken)
        left = PredictionRow.deadline - LeaseClock()
        claimed = await session.execute(
            select(PredictionRow.id, PredictionRow.asker, PredictionRow.question, PredictionRow.body, left)
            .where(PredictionRow.id.in_(chosen))
            .order_by(PredictionRow.id)
        )
        return [
            ClaimedPrediction(identity, asker, Question.model_validate(question), body, seconds)
            for identity, asker, question, body, seconds in claimed
        ]


def _claimable(most: int) -> Select[Any]:
    return (
        select(PredictionRow.id, func.length(PredictionRow.body))
        .where(
            PredictionRow.claimed_by.is_(None),
            PredictionRow.reply.is_(None),
            PredictionRow.deadline > LeaseClock(),
            PredictionRow.deadline_boot == BootId(),
        )
        .order_by(PredictionRow.id)
        .limit(most)
    )


async def answer(database: Database, owner: str, answers: Iterable[tuple[ClaimedPrediction, Answered]]) -> None:
    """Write answers in one transaction. One to a request that another worker has by now is discarded."""
    async with database.write() as session:
        for claimed, each in answers:
            await session.execute(
                update(PredictionRow)
                .where(PredictionRow.id == claimed.id, PredictionRow.claimed_by == owner)
                .values(reply=each.reply.model_dump(mode="json", exclude_defaults=True), answer=each.body)
                .execution_options(synchronize_session=False)
            )
            announce(session, claimed.asker, urgent=True)
