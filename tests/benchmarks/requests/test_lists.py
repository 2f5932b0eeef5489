"""Pages of lists beside 100,000 jobs, on SQLite and on PostgreSQL: none may be slow, whatever it is filtered by."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, insert, select
from sqlalchemy.pool import NullPool

from app.contracts.states import JobState
from app.db.rows import JobRow
from app.db.urls import sync_url
from app.http.pages import encode_cursor
from tests.benchmarks.figures import line, say
from tests.benchmarks.requests.test_side_by_side import job_spec, service_on

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
JOBS, ROUNDS = 100_000, 15
PAGES: dict[str, dict[str, Any]] = {
    "the newest 50": {},
    "50 in the middle": {"after": encode_cursor(f"job_{JOBS // 2:032d}")},
    "50 that failed, one in 1000": {"state": "failed"},
    "50 preflights, one in 10,000": {"kind": "preflight"},
    "50 with a text in their names, one in 1000": {"text": "rare"},
    "a text that is nowhere": {"text": "nowhere"},
}


def _fill(url: str, job: str) -> None:
    """Copies of a job, most of them ended."""
    engine = create_engine(sync_url(url)[1], poolclass=NullPool)
    with engine.begin() as connection:
        given = dict(connection.execute(select(JobRow.__table__).where(JobRow.id == job)).one()._mapping)
        for first in range(0, JOBS, 5000):
            connection.execute(
                insert(JobRow),
                [
                    given
                    | {
                        "id": f"job_{number:032d}",
                        "state": JobState.FAILED if number % 1000 == 0 else JobState.SUCCEEDED,
                        "kind": "preflight" if number % 10_000 == 0 else "train",
                        "name": f"{'rare' if number % 1000 == 1 else 'digits'} {number}",
                    }
                    for number in range(first, first + 5000)
                ],
            )


def test_pages_of_a_hundred_thousand_jobs(database_url: str, tmp_path: Path) -> None:
    with service_on(database_url, tmp_path) as service:
        headers = {"Authorization": f"Bearer {service.key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=60) as http:
            spec = json.loads(job_spec(service, tmp_path))
            own = f"sqlite:///{tmp_path / 'data' / 'stillhouse.db'}"
            _fill(own if database_url.startswith("sqlite") else database_url, _submitted(http, spec))
            say(f"{JOBS} jobs on {database_url.partition('+')[0].partition(':')[0]}")
            for name, params in PAGES.items():
                line(name, _times(http, "/v1/jobs", params))
            line("/v1/queue", _times(http, "/v1/queue", {}))


def _submitted(http: httpx.Client, spec: Any) -> str:
    return str(http.post("/v1/jobs", json=spec).json()["id"])


def _times(http: httpx.Client, path: str, params: dict[str, Any]) -> list[float]:
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        http.get(path, params=params).raise_for_status()
        found.append(time.perf_counter() - began)
    return found
