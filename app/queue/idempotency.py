"""Answers stored for repeated requests (`Idempotency-Key`).

A job takes its key in its own transaction:

    async with database.write() as session:
        answer = await idempotency.find(session, owner, key, fingerprint)
        if answer is None:
            job = await ledger.submit(session, …)
            await idempotency.remember(session, owner, key, fingerprint, Answer(202, body, location))

A concurrent request with the same key waits in `find` (PostgreSQL on the unique index, SQLite on the write lock) until
the first has committed, and then gets its answer. A rollback, as for a 4xx, stores nothing.

An upload takes longer than a transaction may. It first commits a `hold`, during which other requests get InFlight, and
passes the hold's token to `remember` in the transaction that makes the upload visible.
"""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import BindParameter, bindparam, delete, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.db.clock import BootId, LeaseClock, utcnow
from app.db.reads.pipeline import Call
from app.db.reads.query import Query, Statement, Value
from app.db.rows import DEFAULT_PROJECT, IdempotencyRow
from app.db.writes import rows_changed, upsert

RETENTION = timedelta(hours=24)
_SLACK = timedelta(hours=2)
"""Additional time that answers are kept, because the clocks of different processes may differ."""


@dataclass(frozen=True)
class Answer:
    """The first answer, as it was sent."""

    status: int
    body: str
    location: str | None = None


class KeyReused(Exception):
    """The key was used with other content; a 422."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used with other content: use a new key for a new request")


class InFlight(Exception):
    """An upload with this key is in progress; a 409."""

    def __init__(self) -> None:
        super().__init__("an upload with this Idempotency-Key is in progress: wait for its end, then repeat")


class HoldLost(Exception):
    """The upload took longer than its hold, and another request took over the key; a 409."""

    def __init__(self) -> None:
        super().__init__("the hold on this Idempotency-Key expired: repeat the upload")


async def find(
    session: AsyncSession, owner: str, key: str, fingerprint: str, project_id: str = DEFAULT_PROJECT
) -> Answer | None:
    """The answer given before, or None: then the key is this transaction's, which must `remember` or roll back.

    Raises KeyReused and InFlight.
    """
    row = await _take(session, owner, key, fingerprint=fingerprint, project_id=project_id)
    if row is None:
        return None
    if row.status is not None:
        return answer_of(row, fingerprint)
    if await _take_over(session, owner, key, fingerprint=fingerprint, hold_token=None):
        return None
    raise InFlight


async def hold(
    session: AsyncSession, owner: str, key: str, seconds: float, project_id: str = DEFAULT_PROJECT
) -> str | IdempotencyRow:
    """Take the key for an upload: a token, or the row of the answer given before.

    The content is known only when it has been read: then call `answer_of(row, fingerprint)`. Raises InFlight.
    """
    token = str(uuid.uuid4())
    lease = {"hold_token": token, "hold_expires": LeaseClock() + seconds, "hold_boot": BootId()}
    row = await _take(session, owner, key, project_id=project_id, **lease)
    if row is not None and row.status is not None:
        return row
    if row is None or await _take_over(session, owner, key, **lease):
        return token
    raise InFlight


class Found(NamedTuple):
    """What is stored of a key; no status while something else holds it."""

    status: int | None
    fingerprint: str | None
    body: str | None
    location: str | None


def taken(owner: str, key: str, fingerprint: str, answer: Answer, project_id: str) -> list[Call]:
    """The statements that store the answer unless the key is taken, and that find what is stored then (`Found`): by its
    location it is this answer, or another.
    """
    mine: dict[str, Value] = {"new_owner": owner, "new_key": key}
    values: dict[str, Value] = {"new_project_id": project_id, "new_fingerprint": fingerprint}
    values |= {"new_status": answer.status, "new_body": answer.body, "new_location": answer.location}
    return [(_STORE, {**mine, **values, "new_created_at": utcnow()}), (_FIND, mine)]


def given_back(owner: str, key: str, answer: Answer) -> Call:
    """The statement that deletes what `taken` has stored in the same transaction."""
    return _GIVE_BACK, {"new_owner": owner, "new_key": key, "new_location": answer.location}


def _parameter(column: InstrumentedAttribute[Any]) -> BindParameter[Any]:
    return bindparam(f"new_{column.key}", type_=column.type)


_STORED: Final = (
    *(IdempotencyRow.owner, IdempotencyRow.key, IdempotencyRow.project_id, IdempotencyRow.fingerprint),
    *(IdempotencyRow.status, IdempotencyRow.body, IdempotencyRow.location, IdempotencyRow.created_at),
)
_MINE: Final = (
    IdempotencyRow.owner == _parameter(IdempotencyRow.owner),
    IdempotencyRow.key == _parameter(IdempotencyRow.key),
)
_STORE: Final = Statement(
    postgresql.insert(IdempotencyRow)
    .values({column.key: _parameter(column) for column in _STORED})
    .on_conflict_do_nothing()
)
_FIND: Final = Query(
    Found._make,
    select(IdempotencyRow.status, IdempotencyRow.fingerprint, IdempotencyRow.body, IdempotencyRow.location).where(
        *_MINE
    ),
)
_GIVE_BACK: Final = Statement(
    delete(IdempotencyRow).where(*_MINE, IdempotencyRow.location == _parameter(IdempotencyRow.location))
)


async def extend(session: AsyncSession, owner: str, key: str, token: str, seconds: float) -> None:
    """Hold the key for `seconds` from now. Raises HoldLost."""
    await _guarded(session, owner, key, token, hold_expires=LeaseClock() + seconds, hold_boot=BootId())


async def release(session: AsyncSession, owner: str, key: str, token: str) -> None:
    """Release the hold of a failed upload. No effect if it is lost already."""
    mine = (IdempotencyRow.owner == owner, IdempotencyRow.key == key, IdempotencyRow.hold_token == token)
    await session.execute(delete(IdempotencyRow).where(*mine, IdempotencyRow.status.is_(None)))


async def remember(
    session: AsyncSession, owner: str, key: str, fingerprint: str, answer: Answer, token: str | None = None
) -> None:
    """Store the answer under the key taken by `find` (no token) or `hold`. Raises HoldLost."""
    await _guarded(
        session,
        owner,
        key,
        token,
        fingerprint=fingerprint,
        status=answer.status,
        body=answer.body,
        location=answer.location,
        hold_token=None,
        hold_expires=None,
        hold_boot=None,
        created_at=utcnow(),
    )


async def forget(session: AsyncSession, location: str) -> None:
    """Delete the answers that name what is at this location, in the transaction that deletes it."""
    gone = delete(IdempotencyRow).where(IdempotencyRow.location == location)
    await session.execute(gone.execution_options(synchronize_session=False))


def answer_of(row: IdempotencyRow, fingerprint: str) -> Answer:
    """The answer in a row found by `hold`, for a request of this content. Raises KeyReused."""
    if row.fingerprint != fingerprint:
        raise KeyReused
    assert row.status is not None
    assert row.body is not None
    return Answer(row.status, row.body, row.location)


async def purge(session: AsyncSession, retention: timedelta = RETENTION) -> int:
    """Delete answers that are older than `retention` by any clock; how many there were."""
    oldest = utcnow() - retention - _SLACK
    expired = select(IdempotencyRow.owner, IdempotencyRow.key).where(IdempotencyRow.created_at < oldest)
    # A row that a request uses now is not waited for: two that wait for each other's rows would be a deadlock.
    free = expired.with_for_update(skip_locked=True)
    gone = delete(IdempotencyRow).where(tuple_(IdempotencyRow.owner, IdempotencyRow.key).in_(free))
    return rows_changed(await session.execute(gone.execution_options(synchronize_session=False)))


async def _take(session: AsyncSession, owner: str, key: str, **values: object) -> IdempotencyRow | None:
    """None if the key was free and is now this transaction's, else its row, locked.

    On PostgreSQL the insert waits for a concurrent transaction that has inserted the key. That one may have released
    the key before the select here: then the insert is repeated.
    """
    entry = {"owner": owner, "key": key, "created_at": utcnow(), **values}
    insert = upsert(session, IdempotencyRow).values(entry).on_conflict_do_nothing().returning(IdempotencyRow.key)
    mine = select(IdempotencyRow).where(IdempotencyRow.owner == owner, IdempotencyRow.key == key)
    locked = mine.with_for_update().execution_options(populate_existing=True)
    while await session.scalar(insert) is None:
        row = await session.scalar(locked)
        if row is not None:
            return row
    return None


async def _take_over(session: AsyncSession, owner: str, key: str, **lease: object) -> bool:
    expired = or_(IdempotencyRow.hold_expires < LeaseClock(), IdempotencyRow.hold_boot != BootId())
    mine = update(IdempotencyRow).where(IdempotencyRow.owner == owner, IdempotencyRow.key == key, expired)
    return rows_changed(await session.execute(mine.values(lease))) == 1


async def _guarded(session: AsyncSession, owner: str, key: str, token: str | None, **values: object) -> None:
    mine = (
        IdempotencyRow.owner == owner,
        IdempotencyRow.key == key,
        IdempotencyRow.hold_token.is_not_distinct_from(token),
        IdempotencyRow.status.is_(None),
    )
    statement = update(IdempotencyRow).where(*mine).values(values).execution_options(synchronize_session=False)
    if rows_changed(await session.execute(statement)) != 1:
        raise HoldLost
