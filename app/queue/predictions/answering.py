"""The SQL of those who answer."""

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Select, Update, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.wire.predictions import Question, Reply
from app.db.base import JsonText
from app.db.clock import BootId, LeaseClock
from app.db.engine import Database
from app.db.rows import PredictionRow
from app.db.signals import announce
from app.queue.predictions.records import Answered, ClaimedPrediction

MOST_AT_ONCE = 16
"""Requests that are claimed at once: their rows may have 16 MiB each."""

_UNREAD = Reply(
    status=503,
    code="prediction_failed",
    detail="the worker cannot read this request, which an API of another version has written: run one version of both",
)


async def claim(database: Database, owner: str, most: int) -> list[ClaimedPrediction]:
    """Claim the oldest requests that no worker has claimed, `most` and MOST_AT_ONCE at most."""
    most = min(most, MOST_AT_ONCE)
    if database.dialect == "sqlite":
        async with database.read() as session:  # looking at an empty queue must not take the write lock
            if await session.scalar(_claimable(1)) is None:
                return []
    async with database.write() as session:
        rows = (await session.execute(_claim(most), {"owner": owner})).all()
        questions = {identity: _question(question) for identity, _, question, *_ in rows}
        for identity, asker, *_ in rows:
            if questions[identity] is None:
                await _refuse(session, identity, asker)
        shared = await _bodies(session, {holder for *_, holder, _ in rows if holder is not None})
    claimed = [
        ClaimedPrediction(identity, asker, question, shared.get(holder, body), seconds)
        for identity, asker, _, body, holder, seconds in rows
        if (question := questions[identity]) is not None
    ]
    return sorted(claimed, key=lambda each: each.id)


def _question(document: dict[str, Any]) -> Question | None:
    """None where an API of another version has written what this one cannot read."""
    try:
        return Question.model_validate(document, extra="ignore")
    except ValidationError:
        return None


async def _refuse(session: AsyncSession, identity: str, asker: str) -> None:
    """Answer a request that cannot be read: those that were claimed with it are not its concern."""
    query = update(PredictionRow).where(PredictionRow.id == identity)
    await session.execute(query.values(reply=_UNREAD.model_dump(mode="json")))
    announce(session, asker, urgent=True)


async def _bodies(session: AsyncSession, holders: Collection[str]) -> dict[str, bytes]:
    """The rows of requests with which others share them."""
    if not holders:
        return {}
    query = select(PredictionRow.id, PredictionRow.body).where(PredictionRow.id.in_(holders))
    return {row.id: row.body for row in await session.execute(query)}


@cache
def _claimable(most: int) -> Select[str]:
    return (
        select(PredictionRow.id)
        .where(
            PredictionRow.claimed_by.is_(None),
            PredictionRow.reply.is_(None),
            PredictionRow.deadline > LeaseClock(),
            PredictionRow.deadline_boot == BootId(),
        )
        .order_by(PredictionRow.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )


@cache
def _claim(most: int) -> Update:
    """One statement, so that a claim is one exchange with the database."""
    return (
        update(PredictionRow)
        .where(PredictionRow.id.in_(_claimable(most).scalar_subquery()))
        .values(claimed_by=bindparam("owner"), attempt=PredictionRow.attempt + 1)
        .returning(
            PredictionRow.id,
            PredictionRow.asker,
            PredictionRow.question,
            PredictionRow.body,
            PredictionRow.body_of,
            PredictionRow.deadline - LeaseClock(),
        )
        .execution_options(synchronize_session=False)
    )


_ANSWER = (
    update(PredictionRow.__table__)  # type: ignore[arg-type]  # a table, for many rows at once
    .where(PredictionRow.id == bindparam("request"), PredictionRow.claimed_by == bindparam("owner"))
    .values(reply=bindparam("given", type_=JsonText), answer=bindparam("found"))
)


async def answer(database: Database, owner: str, answers: Sequence[tuple[ClaimedPrediction, Answered]]) -> None:
    """Write answers in one transaction. One to a request that another worker has by now is discarded."""
    rows = [
        {
            "request": claimed.id,
            "owner": owner,
            "given": each.reply.model_dump(mode="json", exclude_defaults=True),
            "found": each.body,
        }
        for claimed, each in answers
    ]
    async with database.write() as session:
        await (await session.connection()).execute(_ANSWER, rows)
        announce(session, *{claimed.asker for claimed, _ in answers}, urgent=True)
