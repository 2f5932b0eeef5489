"""Metric series: thinned on the server, after a step, and as they are stored."""

import json
from typing import Any

import pytest

from app.contracts.wire.events import MetricPoint, MetricsEvent
from app.jobs.schemas import Metrics
from tests.integration.api.harness import ApiHarness

POINTS = 400


@pytest.fixture
async def job(any_harness: ApiHarness) -> str:
    """A running job: a noisy series with one peak and one trough, one with a value that was not finite, a flat one."""
    job = await any_harness.submit()
    claim = await any_harness.begin()

    def value(step: int) -> float:
        return {137: 99.0, 211: -99.0}.get(step, (step * 7919 % 101) / 101)

    points = [MetricPoint(series="noisy", step=step, epoch=1, value=value(step)) for step in range(1, POINTS + 1)]
    odd = [MetricPoint(series="odd", step=3 * n, epoch=1, value=None if n == 70 else 0.5) for n in range(1, 201)]
    few = [MetricPoint(series="few", step=step, epoch=1, value=0.25) for step in (0, 1, 2, 1000)]
    assert await any_harness.services.ledger.record(claim, [MetricsEvent(points=(*points, *odd, *few))])
    return str(job["id"])


def _steps(series: list[dict[str, Any]]) -> list[int]:
    return [point["step"] for point in series]


async def test_thinning_keeps_the_ends_the_extremes_and_what_was_not_finite(any_harness: ApiHarness, job: str) -> None:
    whole = await any_harness.get(f"/v1/jobs/{job}/metrics")
    thinned = await any_harness.get(f"/v1/jobs/{job}/metrics?points=20")
    assert thinned["latest"] == whole["latest"]
    for name, points in thinned["series"].items():
        assert len(points) <= 20
        assert all(point in whole["series"][name] for point in points)
        assert _steps(points) == sorted(set(_steps(points)))
    noisy = thinned["series"]["noisy"]
    assert {1, 137, 211, POINTS} <= set(_steps(noisy))
    assert {3, 210, 600} <= set(_steps(thinned["series"]["odd"]))
    assert thinned["series"]["few"] == whole["series"]["few"]


async def test_every_stretch_of_a_thinned_series_has_its_smallest_and_largest_value(
    any_harness: ApiHarness, job: str
) -> None:
    whole = (await any_harness.get(f"/v1/jobs/{job}/metrics?series=noisy"))["series"]["noisy"]
    thinned = (await any_harness.get(f"/v1/jobs/{job}/metrics?series=noisy&points=42"))["series"]["noisy"]
    for stretch in range(20):
        values = [[p["value"] for p in each if (p["step"] - 1) * 20 // POINTS == stretch] for each in (whole, thinned)]
        assert (min(values[1]), max(values[1])) == (min(values[0]), max(values[0]))


async def test_points_after_a_step_are_those_that_follow_it(any_harness: ApiHarness, job: str) -> None:
    found = await any_harness.get(f"/v1/jobs/{job}/metrics?series=noisy&series=few&since=390")
    assert {name: _steps(points) for name, points in found["series"].items()} == {
        "few": [1000],
        "noisy": list(range(391, POINTS + 1)),
    }
    assert (await any_harness.get(f"/v1/jobs/{job}/metrics?since=1000"))["series"] == {}


async def test_metrics_are_of_their_schema_and_csv_has_the_same_points(any_harness: ApiHarness, job: str) -> None:
    for query in ("series=noisy", "series=odd&points=8&since=9"):
        answer = await any_harness.http.get(f"/v1/jobs/{job}/metrics?{query}")
        assert json.loads(Metrics.model_validate_json(answer.content).model_dump_json()) == answer.json()
        csv = (await any_harness.http.get(f"/v1/jobs/{job}/metrics?format=csv&{query}")).text.splitlines()[1:]
        ((_, points),) = answer.json()["series"].items()
        assert [int(line.split(",")[1]) for line in csv] == _steps(points)


@pytest.mark.parametrize("query", ["points=3", "points=10001", "since=-1", "points=x"])
async def test_limits_of_thinning_are_refused(any_harness: ApiHarness, job: str, query: str) -> None:
    answer = await any_harness.http.get(f"/v1/jobs/{job}/metrics?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
