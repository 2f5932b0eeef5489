"""`/v1/jobs` on several datasets: checked together at submission, all awaited, none deleted while the job needs it."""

from typing import Any

from app.contracts.problems import Rejection
from app.contracts.resources.facts import DatasetFacts, InputFacts, TargetFacts
from app.contracts.wire.orders import InspectionOutcome
from tests.integration.api.harness import DATASET, ApiHarness

SECOND: dict[str, Any] = DATASET | {"name": "sizes", "targets": {"size": {"kind": "value"}}}
SECOND_FACTS = DatasetFacts(
    rows=50,
    splits={"train": 50},
    inputs={"x": InputFacts(shape=(4,))},
    targets={"size": TargetFacts(kind="value", size=1, labelled={"train": 50}, mean=3.0, std=2.0)},
)
NO_DATASET = "ds_01890000-0000-7000-8000-000000000000"


def job(*datasets: str, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "multitask",
        "datasets": [{"dataset": each} for each in datasets],
        "tasks": [{"name": "digit"}, {"name": "size"}],
        "student": {"family": "mlp", "hidden": [3]},
        **changes,
    }


async def second(harness: ApiHarness, facts: DatasetFacts | None = SECOND_FACTS) -> str:
    """The id of a second dataset, inspected unless there are no facts."""
    made = await harness.upload("datasets", SECOND)
    if facts is not None:
        await harness.inspect(InspectionOutcome(dataset=facts))
    return str(made["id"])


async def test_a_dry_run_resolves_a_job_on_two_datasets(harness: ApiHarness) -> None:
    first, other = await harness.ready_dataset(), await second(harness)
    answer = await harness.http.post("/v1/jobs?dry_run=true", json=job(first, other))
    found = answer.json()
    assert answer.status_code == 200, found
    assert found["complete"] is True
    assert found["spec"]["student"]["outputs"] == {"digit": 2, "size": 1}
    assert found["spec"]["datasets"] == [{"dataset": first, "weight": 1.0}, {"dataset": other, "weight": 1.0}]


async def test_datasets_that_do_not_agree_are_refused_by_pointer(harness: ApiHarness) -> None:
    first = await harness.ready_dataset()
    wide = SECOND_FACTS.model_copy(update={"inputs": {"x": InputFacts(shape=(5,))}})
    other = await second(harness, wide)
    for query in ("", "?dry_run=true"):
        answer = await harness.http.post(f"/v1/jobs{query}", json=job(first, other))
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["pointer"], error["code"]) == ("/datasets/1", "shape_mismatch")
        assert first in error["detail"]
        assert other in error["detail"]
    assert (await harness.get("/v1/jobs?kind=multitask"))["data"] == []


async def test_an_unknown_dataset_and_one_that_is_named_twice_are_refused(harness: ApiHarness) -> None:
    first = await harness.ready_dataset()
    answer = await harness.http.post("/v1/jobs", json=job(first, NO_DATASET))
    assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [("/datasets/1/dataset", "unknown_dataset")]
    answer = await harness.http.post("/v1/jobs", json=job(first, first))
    assert [e["code"] for e in answer.json()["errors"]] == ["duplicate_name"]
    answer = await harness.http.post("/v1/jobs", json=job(*[NO_DATASET] * 9))
    assert answer.status_code == 422


async def test_a_job_waits_until_all_its_datasets_are_ready(any_harness: ApiHarness) -> None:
    first, other = await any_harness.ready_dataset(), await second(any_harness, None)
    made = await any_harness.submit(job(first, other))
    assert await any_harness.services.ledger.claim("stand-in", "train", "cpu") is None
    await any_harness.inspect(InspectionOutcome(dataset=SECOND_FACTS))
    claim = await any_harness.claim("train")
    assert claim.job_id == made["id"]
    inputs = await any_harness.services.ledger.inputs_of(claim)
    assert set(inputs.datasets) == {first, other}


async def test_a_job_fails_when_one_of_its_datasets_is_rejected(any_harness: ApiHarness) -> None:
    first, other = await any_harness.ready_dataset(), await second(any_harness, None)
    made = await any_harness.submit(job(first, other))
    await any_harness.inspect(InspectionOutcome(rejection=Rejection(code="ragged", message="row 3")))
    found = await any_harness.get(f"/v1/jobs/{made['id']}?wait=5")
    assert (found["state"], found["error"]["code"]) == ("failed", "invalid_input")


async def test_none_of_its_datasets_is_deleted_before_its_end(any_harness: ApiHarness) -> None:
    both = await any_harness.ready_dataset(), await second(any_harness)
    made = await any_harness.submit(job(*both))
    for each in both:
        answer = await any_harness.http.delete(f"/v1/datasets/{each}")
        assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
    await any_harness.http.post(f"/v1/jobs/{made['id']}/cancel")
    for each in both:
        assert (await any_harness.http.delete(f"/v1/datasets/{each}")).status_code == 204
