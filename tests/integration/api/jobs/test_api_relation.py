"""`GET /v1/jobs/{id}/relation`: while a job runs, from the metrics so far."""

from typing import Any

import pytest

from app.contracts.wire.events import MetricPoint, MetricsEvent
from tests.integration.api.harness import ApiHarness

STUDENT: dict[str, Any] = {"family": "mlp", "hidden": [3]}


async def submitted(harness: ApiHarness, relation: dict[str, Any] | None) -> str:
    spec = {
        "kind": "multitask",
        "dataset": await harness.ready_dataset(),
        "tasks": [{"name": "a", "target": "digit"}, {"name": "b", "target": "digit"}],
        "student": STUDENT,
        "relation": relation,
    }
    return f"/v1/jobs/{(await harness.submit(spec))['id']}/relation"


async def test_a_job_that_runs_tells_its_relation_over_time_cosines_and_conflicts(any_harness: ApiHarness) -> None:
    path = await submitted(any_harness, {"estimate": "tag", "every": 5})
    before = await any_harness.get(path)
    assert (before["source"], before["apply"], before["final"]) == ("estimated", "rows", False)
    assert before["matrix"] == [[1.0, 0.0], [0.0, 1.0]]
    claim = await any_harness.begin()
    for step, share, cosine in ((0, 0.0, -0.5), (5, 0.25, 0.1), (10, 0.5, 0.1)):
        values_by_series = {"relation/a/a": 1 - share, "relation/a/b": share, "relation/b/a": 0.0, "relation/b/b": 1.0}
        values_by_series |= {"gradient/a/b/cosine": cosine, "affinity/a/b": 0.01}
        points = tuple(
            MetricPoint(series=name, step=step, epoch=1, value=value) for name, value in values_by_series.items()
        )
        assert await any_harness.services.ledger.record(claim, [MetricsEvent(points=points)])
    found = await any_harness.get(path)
    assert found["matrix"] == [[0.5, 0.5], [0.0, 1.0]]
    assert [(point["step"], point["matrix"][0]) for point in found["history"]] == [
        (0, [1.0, 0.0]),
        (5, [0.75, 0.25]),
        (10, [0.5, 0.5]),
    ]
    assert found["affinity"] == [[None, pytest.approx(0.01)], [None, None]]
    assert found["cosine"][0][1] == found["cosine"][1][0] == pytest.approx(-0.1)
    assert found["conflicts"][0][1] == pytest.approx(1 / 3)
    assert (found["measured"], found["method"]) == (3, "tag")


async def test_a_relation_that_was_given_is_shown_normalised(any_harness: ApiHarness) -> None:
    found = await any_harness.get(await submitted(any_harness, {"matrix": [[3, 1], [0, 2]]}))
    assert (found["source"], found["apply"]) == ("given", "rows")
    assert found["matrix"] == [[0.75, 0.25], [0.0, 1.0]]


async def test_a_job_of_one_task_has_no_relation(any_harness: ApiHarness) -> None:
    job = await any_harness.submit()
    answer = await any_harness.http.get(f"/v1/jobs/{job['id']}/relation")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_relation")
