"""Metric series as JSON or CSV, read a page at a time, so that a slow client holds no connection."""

import csv
import io
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping

from app.http.services import Services
from app.jobs import points
from app.jobs.points import StoredPoint, Wanted
from app.jobs.schemas import json_string, json_time


async def series_of(services: Services, job_id: str, wanted: Wanted) -> Mapping[str, list[StoredPoint]]:
    """The points by series."""
    found: dict[str, list[StoredPoint]] = defaultdict(list)
    async for page in points.read(services.database, job_id, wanted):
        for point in page:
            found[point.series].append(point)
    return found


async def as_json(services: Services, job_id: str, wanted: Wanted) -> str:
    """The points as `Metrics`."""
    found: dict[str, list[str]] = defaultdict(list)
    async for page in points.read(services.database, job_id, wanted):
        for point in page:
            found[point.series].append(_point(point))
    names = {name: json_string(name) for name in found}
    series = ",".join(f"{names[name]}:[{','.join(each)}]" for name, each in found.items())
    latest = ",".join(f"{names[name]}:{each[-1]}" for name, each in found.items())
    return f'{{"series":{{{series}}},"latest":{{{latest}}}}}'


def _point(point: StoredPoint) -> str:
    value = "null" if point.value is None else repr(point.value)
    return f'{{"step":{point.step},"epoch":{point.epoch},"time":{json_time(point.time)},"value":{value}}}'


async def as_csv(services: Services, job_id: str, wanted: Wanted) -> AsyncIterator[bytes]:
    """The same as CSV; values that were not finite are empty."""
    yield b"series,step,epoch,time,value\r\n"
    async for page in points.read(services.database, job_id, wanted):
        text = io.StringIO()
        writer = csv.writer(text)
        for point in page:
            value = "" if point.value is None else repr(point.value)
            writer.writerow((point.series, point.step, point.epoch, point.time.isoformat(), value))
        yield text.getvalue().encode()
