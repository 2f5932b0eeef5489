"""The SQL that reads the events of a job, of all types or of some."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Integer, bindparam, func, select

from app.contracts.wire.events import EventType
from app.db.engine import Database
from app.db.reads import Query, padded
from app.db.rows import EventRow, JobRow


class StoredEvent(NamedTuple):
    """An event of a job."""

    seq: int
    type: str
    time: datetime
    data: dict[str, Any]


_LAST: Final[Query[tuple[int]]] = Query(tuple, select(JobRow.last_seq).where(JobRow.id == bindparam("job_id")))
_COLUMNS: Final = [getattr(EventRow, name) for name in StoredEvent._fields]


async def last(database: Database, job_id: str) -> int:
    """The number of the newest event; 0 for a job that is gone."""
    found = await database.fetch(_LAST, job_id=job_id)
    return found[0][0] if found else 0


async def events_after(
    database: Database, job_id: str, seq: int, limit: int, types: Sequence[EventType] = ()
) -> list[StoredEvent]:
    """The events that follow `seq`, in order; of these types, or of all without any."""
    query = _following(len(names := _names(types)))
    return await database.fetch(query, job_id=job_id, seq=seq, limit=limit, **names)


async def sampled(
    database: Database, job_id: str, seq: int, most: int, types: Sequence[EventType] = ()
) -> list[StoredEvent]:
    """So many events at most, spread evenly over all of these types that follow `seq`, the newest among them."""
    query = _spread(len(names := _names(types)))
    return await database.fetch(query, job_id=job_id, seq=seq, most=most, **names)


def _names(types: Sequence[EventType]) -> dict[str, str]:
    return {f"type_{place}": name for place, name in enumerate(padded(types))}


def _of_job(types: int) -> list[ColumnElement[bool]]:
    found = [EventRow.job_id == bindparam("job_id"), EventRow.seq > bindparam("seq")]
    if types:
        found.append(EventRow.type.in_([bindparam(f"type_{place}") for place in range(types)]))
    return found


@lru_cache(maxsize=16)
def _following(types: int) -> Query[StoredEvent]:
    query = select(*_COLUMNS).where(*_of_job(types))
    return Query(StoredEvent._make, query.order_by(EventRow.seq).limit(bindparam("limit", type_=Integer)))


@lru_cache(maxsize=16)
def _spread(types: int) -> Query[StoredEvent]:
    """Of `count` events the one at `place` is kept where `place * most / count` comes to another whole number than one
    place before: at the last one always, `most` times in all, and every time where there are fewer than `most`.
    """
    place = func.row_number().over(order_by=EventRow.seq).label("place")
    placed = select(*_COLUMNS, place, func.count().over().label("count")).where(*_of_job(types)).cte("placed").c
    most = bindparam("most", type_=EventRow.seq.type)
    is_kept = placed.place * most // placed["count"] > (placed.place - 1) * most // placed["count"]
    columns = [placed[name] for name in StoredEvent._fields]
    return Query(StoredEvent._make, select(*columns).where(is_kept).order_by(placed.seq))
