"""Thinned metric series: 500 points of each of 5 series of 20,000, on SQLite and on PostgreSQL. The bar: 300 ms."""

import json
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, insert
from sqlalchemy.pool import NullPool

from app.db.rows import MetricRow
from app.db.urls import sync_url
from tests.benchmarks.figures import line, say
from tests.benchmarks.requests.test_side_by_side import job_spec, service_on

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
SERIES, STEPS, ROUNDS = 5, 20_000, 7


def test_thinned_series_of_a_hundred_thousand_points(database_url: str, tmp_path: Path) -> None:
    with service_on(database_url, tmp_path) as service:
        headers = {"Authorization": f"Bearer {service.key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=60) as http:
            job = http.post("/v1/jobs", json=json.loads(job_spec(service, tmp_path))).json()["id"]
            own = f"sqlite:///{tmp_path / 'data' / 'stillhouse.db'}"
            url = own if database_url.startswith("sqlite") else database_url
            with create_engine(sync_url(url)[1], poolclass=NullPool).begin() as connection:
                for series in range(SERIES):
                    connection.execute(
                        insert(MetricRow),
                        [
                            {"job_id": job, "series": f"s{series}", "step": step, "epoch": 1, "value": step % 97 / 97}
                            for step in range(1, STEPS + 1)
                        ],
                    )
            say(f"{SERIES * STEPS} points on {database_url.partition('+')[0].partition(':')[0]}")
            for name, query in (("500 points of each series", "points=500"), ("the last ten", f"since={STEPS - 10}")):
                times = []
                for _ in range(ROUNDS):
                    began = time.perf_counter()
                    found = http.get(f"/v1/jobs/{job}/metrics?{query}").raise_for_status().json()["series"]
                    times.append(time.perf_counter() - began)
                assert len(found) == SERIES
                line(name, times)
