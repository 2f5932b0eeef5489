"""`POST /v1/jobs` when many come at once, and what is remembered between them."""

import asyncio
from pathlib import Path

from sqlalchemy import select

from app.db.rows import IdempotencyRow, SignalRow
from app.queue.keys.quotas import PLENTY_BYTES, PLENTY_JOBS, REMEMBERED_SECONDS, Remembered, Usage
from tests.integration.api.conftest import opened
from tests.integration.api.harness import ApiHarness


async def test_submissions_at_once_are_jobs_of_their_own_in_fewer_transactions(harness: ApiHarness) -> None:
    spec = await harness.train_spec()
    answers = await asyncio.gather(
        *(harness.http.post(f"/v1/jobs?priority={each}", json=spec | {"name": f"job {each}"}) for each in range(12))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert [(answer.json()["name"], answer.json()["priority"]) for answer in answers] == [
        (f"job {each}", each) for each in range(12)
    ]
    for answer in answers:
        assert await harness.get(f"/v1/jobs/{answer.json()['id']}") == answer.json()
    async with harness.services.database.read() as session:
        written = (await session.scalars(select(SignalRow.names))).all()
    assert len([names for names in written if "job_" in names and "work" in names]) < 12


async def test_of_submissions_at_once_a_refused_one_leaves_its_key_free(any_harness: ApiHarness) -> None:
    good = await any_harness.train_spec()
    bad = good | {"dataset": "ds_01900000-0000-7000-8000-000000000000"}
    specs = [bad if each % 3 == 0 else good for each in range(9)]
    posts = (
        any_harness.http.post("/v1/jobs", json=spec, headers={"Idempotency-Key": f"key-{each}"})
        for each, spec in enumerate(specs)
    )
    answers = await asyncio.gather(*posts)
    assert [answer.status_code for answer in answers] == [422 if spec is bad else 202 for spec in specs]
    async with any_harness.services.database.read() as session:
        keys = set(await session.scalars(select(IdempotencyRow.key)))
    assert keys == {f"key-{each}" for each, spec in enumerate(specs) if spec is good}


async def test_two_servers_take_many_keys_at_once_and_each_makes_one_job(database_url: str, tmp_path: Path) -> None:
    """Each server has the requests in another order, and neither waits for the other in a circle."""
    async with opened(database_url, tmp_path / "a") as one, opened(database_url, tmp_path / "b") as other:
        spec = await one.train_spec()

        async def post(server: ApiHarness, number: int) -> tuple[int, str]:
            answer = await server.http.post("/v1/jobs", json=spec, headers=one_key | {"Idempotency-Key": f"k{number}"})
            return answer.status_code, answer.json().get("id", answer.text)

        one_key = {"Authorization": f"Bearer {one.key}"}
        await asyncio.gather(post(one, 8), post(other, 9))  # what the key has is remembered then, without its lock
        posts = [post(one, each) for each in range(8)] + [post(other, each) for each in reversed(range(8))]
        answers = await asyncio.gather(*posts)
    assert {status for status, _ in answers} == {202}
    assert answers[:8] == answers[8:][::-1]


async def test_the_same_bytes_are_checked_against_what_is_there_now(any_harness: ApiHarness) -> None:
    spec = await any_harness.train_spec()
    job = await any_harness.submit(spec)
    await any_harness.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (await any_harness.http.delete(f"/v1/datasets/{spec['dataset']}")).status_code == 204
    for path in ("/v1/jobs", "/v1/jobs?dry_run=true"):
        answer = await any_harness.http.post(path, json=spec)
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_dataset")


async def test_submissions_and_the_deletion_of_their_dataset_at_once(any_harness: ApiHarness) -> None:
    for _ in range(4):
        spec = await any_harness.train_spec()
        path = f"/v1/datasets/{spec['dataset']}"
        posts = [any_harness.http.post("/v1/jobs", json=spec) for _ in range(4)]
        *answers, deleted = await asyncio.gather(*posts, any_harness.http.delete(path))
        statuses = {answer.status_code for answer in answers}
        assert statuses <= {202, 422}
        assert (deleted.status_code == 204) == (202 not in statuses)
        assert (await any_harness.http.get(path)).status_code == (404 if deleted.status_code == 204 else 200)


def test_usage_is_remembered_for_a_second_and_only_far_from_the_limits() -> None:
    now = 0.0
    remembered = Remembered(2 * PLENTY_JOBS, 2 * PLENTY_BYTES, clock=lambda: now)
    assert remembered.usage("a") is None
    remembered.keep("a", Usage(waiting=1, bytes=1))
    remembered.keep("a", Usage(waiting=2, bytes=1))
    assert remembered.usage("a") == Usage(waiting=2, bytes=1)
    assert remembered.usage("b") is None
    now = REMEMBERED_SECONDS
    assert remembered.usage("a") is None, "what was added meanwhile does not prolong it"
    for near in (Usage(waiting=PLENTY_JOBS, bytes=0), Usage(waiting=0, bytes=PLENTY_BYTES)):
        remembered.keep("a", near)
        assert remembered.usage("a") is None
