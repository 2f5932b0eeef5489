"""The SQL that reads metric points, all of them or thinned."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from sqlalchemy import CTE, ColumnElement, Integer, bindparam, case, func, literal, select, tuple_, union

from app.db.engine import Database
from app.db.reads import Query, padded
from app.db.rows import MetricRow

_PAGE: Final = 2000
_NOT_FINITE: Final = 1.7976931348623157e308
"""Stands for NULL where extremes are sought: a value that was not finite is a largest one."""
FEWEST_POINTS: Final = 4
"""The first, the last, and the extremes of one stretch."""


class StoredPoint(NamedTuple):
    """One point of a series."""

    series: str
    step: int
    epoch: int
    time: datetime
    value: float | None


_COLUMNS: Final = [getattr(MetricRow, name) for name in StoredPoint._fields]


@dataclass(frozen=True)
class Wanted:
    """Which points of a job: of these series (all without names), after a step, and how many of each at most."""

    series: tuple[str, ...] = ()
    since: int = -1
    points: int | None = None


async def read(database: Database, job_id: str, wanted: Wanted) -> AsyncIterator[list[StoredPoint]]:
    """Pages of points, in the order of series and step."""
    names = {f"series_{place}": name for place, name in enumerate(padded(wanted.series))}
    given: dict[str, str | int] = {"job_id": job_id, "since": wanted.since, **names}
    if wanted.points is not None:
        thinned = _thinned(len(names))
        yield await database.fetch(thinned, points=wanted.points, stretches=(wanted.points - 2) // 2, **given)
        return
    place = ("", -1)
    while True:
        page = await database.fetch(_following(len(names)), last_series=place[0], last_step=place[1], **given)
        yield page
        if len(page) < _PAGE:
            return
        place = (page[-1].series, page[-1].step)


def _of_job(series: int) -> list[ColumnElement[bool]]:
    found = [MetricRow.job_id == bindparam("job_id"), MetricRow.step > bindparam("since")]
    if series:
        found.append(MetricRow.series.in_([bindparam(f"series_{place}") for place in range(series)]))
    return found


@lru_cache(maxsize=128)
def _following(series: int) -> Query[StoredPoint]:
    """The next page, of so many series (of all for 0)."""
    place = tuple_(bindparam("last_series", type_=MetricRow.series.type), bindparam("last_step", type_=Integer))
    query = select(*_COLUMNS).where(*_of_job(series), tuple_(MetricRow.series, MetricRow.step) > place)
    return Query(StoredPoint._make, query.order_by(MetricRow.series, MetricRow.step).limit(_PAGE))


@lru_cache(maxsize=128)
def _thinned(series: int) -> Query[StoredPoint]:
    """The first and last point of each series, and of each of equal stretches of its steps the smallest and the
    largest, the earliest where several are; every point of a series that has no more than `points`.
    """
    extremes = _extremes(series)
    stretch = extremes.c.series, extremes.c.stretch
    is_least, is_most = (extremes.c.value == extremes.c[name] for name in ("least", "most"))
    ends = [extremes.c.step == extremes.c[name] for name in ("low", "high")]
    first = select(extremes.c.series, func.min(extremes.c.step)).group_by(*stretch)
    kept = [first.where(which) for which in (is_least, is_most)]
    steps = union(*kept, *(select(extremes.c.series, extremes.c.step).where(which) for which in ends))
    wanted = tuple_(MetricRow.series, MetricRow.step).in_(steps)
    query = select(*_COLUMNS).where(MetricRow.job_id == bindparam("job_id"), wanted)
    return Query(StoredPoint._make, query.order_by(MetricRow.series, MetricRow.step))


def _extremes(series: int) -> CTE:
    """Every point with the least and the most of its stretch, and with the first and last step of its series.

    By windows, without a join: new points are not in the database's statistics, by which it would choose a slow one.
    """
    step, series_of = MetricRow.step, MetricRow.series
    ranges = (each.over(partition_by=series_of) for each in (func.min(step), func.max(step), func.count()))
    low, high, count = (each.label(name) for each, name in zip(ranges, ("low", "high", "count"), strict=True))
    value = func.coalesce(MetricRow.value, literal(_NOT_FINITE)).label("value")
    ranged = select(MetricRow.series, step, value, low, high, count).where(*_of_job(series)).cte("ranged").c
    equal = (ranged.step - ranged.low) * bindparam("stretches", type_=step.type) // (ranged.high - ranged.low + 1)
    stretch = case((ranged["count"] <= bindparam("points", type_=Integer), ranged.step), else_=equal).label("stretch")
    placed = select(ranged.series, ranged.step, ranged.value, ranged.low, ranged.high, stretch).cte("placed")
    together = placed.c.series, placed.c.stretch
    least, most = (each(placed.c.value).over(partition_by=together) for each in (func.min, func.max))
    return select(placed, least.label("least"), most.label("most")).cte("extremes")
