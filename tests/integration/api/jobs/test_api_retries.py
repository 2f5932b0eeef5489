"""`POST /v1/jobs/{id}/retry`, and what a job that was stopped says is left of it."""

import asyncio

import pytest

from app.contracts.wire.events import CheckpointEvent
from tests.integration.api.harness import ApiHarness, safetensors

NAME = "step-00000002-a1"
KEPT = {"name": NAME, "step": 2, "sha256": "ab" * 32}


async def stopped(harness: ApiHarness, *, checkpoint: bool = True) -> str:
    """The id of a job that was cancelled while it ran."""
    job = await harness.submit()
    claim = await harness.begin()
    await harness.work(claim)
    if checkpoint:
        assert await harness.services.ledger.record(claim, [CheckpointEvent(step=2, name=NAME, sha256="ab" * 32)])
    await harness.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert await harness.services.ledger.yield_(claim)
    return str(job["id"])


async def test_a_cancelled_job_says_what_is_kept(any_harness: ApiHarness) -> None:
    job = await any_harness.get(f"/v1/jobs/{await stopped(any_harness)}")
    assert (job["state"], job["checkpoint"], job["outputs"], job["student"]) == ("cancelled", KEPT, [], None)
    assert (job["retry_of"], job["checkpoint_from"]) == (None, None)
    bare = await any_harness.get(f"/v1/jobs/{await stopped(any_harness, checkpoint=False)}")
    assert bare["checkpoint"] is None


async def test_a_retry_is_a_new_job_that_says_where_it_came_from(any_harness: ApiHarness) -> None:
    old = await any_harness.get(f"/v1/jobs/{await stopped(any_harness)}")
    answer = await any_harness.http.post(f"/v1/jobs/{old['id']}/retry")
    new = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{new['id']}"
    assert (new["state"], new["retry_of"], new["checkpoint_from"]) == ("queued", old["id"], None)
    begun = (await any_harness.http.post(f"/v1/jobs/{old['id']}/retry", json={"from_checkpoint": True})).json()
    assert (begun["retry_of"], begun["checkpoint_from"], begun["checkpoint"]) == (old["id"], old["id"], None)
    assert begun["spec"] == old["spec"]
    assert await any_harness.get(f"/v1/jobs/{begun['id']}") == begun
    assert await any_harness.get(f"/v1/jobs/{old['id']}") == old


async def test_a_failed_job_is_retried_as_well(any_harness: ApiHarness) -> None:
    job = await any_harness.submit()
    await any_harness.fail(await any_harness.begin())
    answer = await any_harness.http.post(f"/v1/jobs/{job['id']}/retry", json={})
    assert (answer.status_code, answer.json()["retry_of"]) == (202, job["id"])


async def test_a_key_makes_one_retry_however_many_racers(any_harness: ApiHarness) -> None:
    path = f"/v1/jobs/{await stopped(any_harness)}/retry"
    headers = {"Idempotency-Key": "once"}
    answers = await asyncio.gather(*(any_harness.http.post(path, json={}, headers=headers) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = await any_harness.http.post(path, json={"from_checkpoint": True}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_what_cannot_be_retried_is_reported_with_a_code(any_harness: ApiHarness) -> None:
    async def code(job_id: str, **body: bool) -> tuple[int, str]:
        answer = await any_harness.http.post(f"/v1/jobs/{job_id}/retry", json=body)
        return answer.status_code, answer.json()["code"]

    done = (await any_harness.submit())["id"]
    claim = await any_harness.begin()
    assert await code(done) == (409, "not_finished")
    assert await code(done, from_checkpoint=True) == (409, "not_finished")
    await any_harness.succeed(claim, safetensors())
    assert await code(done) == (409, "succeeded")
    bare = await stopped(any_harness, checkpoint=False)
    assert await code(bare, from_checkpoint=True) == (409, "no_checkpoint")
    inspection = (await any_harness.get("/v1/jobs?kind=inspect"))["data"][0]["id"]
    assert await code(inspection) == (409, "inspection")
    assert await code("job_01890000-0000-7000-8000-000000000000") == (404, "unknown_job")


async def test_an_input_that_has_gone_is_reported(any_harness: ApiHarness) -> None:
    old = await any_harness.get(f"/v1/jobs/{await stopped(any_harness)}")
    assert (await any_harness.http.delete(f"/v1/datasets/{old['spec']['dataset']}")).status_code == 204
    answer = await any_harness.http.post(f"/v1/jobs/{old['id']}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "unusable_input")
    assert "/dataset" in answer.json()["detail"]
    assert len((await any_harness.get("/v1/jobs"))["data"]) == 1


@pytest.mark.parametrize("body", [{"from_checkpoint": 1}, {"from_checkpoint": "yes"}, {"training": {}}, []])
async def test_only_what_is_described_is_taken(harness: ApiHarness, body: object) -> None:
    answer = await harness.http.post(f"/v1/jobs/{await stopped(harness)}/retry", json=body)
    assert answer.status_code == 422
