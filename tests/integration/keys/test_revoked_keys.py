"""What a key began before it was revoked ends with it."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import repository
from app.db.engine import open_database
from app.db.rows import IdempotencyRow, JobRow
from app.http.errors import Unauthorized
from app.http.services import Caller
from app.jobs import service as jobs
from app.jobs.events.streams import server_sent
from app.queue import idempotency
from app.queue.idempotency import Answer
from app.queue.keys.quotas import KeyRevoked
from tests.integration.api.harness import MODEL, ApiHarness, safetensors
from tests.integration.keys.conftest import Opening
from tests.integration.keys.test_limits_of_requests import another_key

SOON = 30.0


async def revoke(harness: ApiHarness, key: dict[str, str], *, elsewhere: bool) -> None:
    """Revoke a key in this process, or as another one does: by a database of its own."""
    services = harness.services
    database = open_database(services.settings.database) if elsewhere else services.database
    async with database.write() as session:
        row = await repository.find(session, key["Authorization"].removeprefix("Bearer "))
        assert row is not None
        assert await repository.revoke(session, row.id) == 1
    if elsewhere:
        await database.close()


async def open_waits(harness: ApiHarness, count: int) -> None:
    async with asyncio.timeout(SOON):
        while sum(harness.services.open_waits.values()) < count:  # noqa: ASYNC110 (the requests open them)
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another process"])
async def test_long_polls_and_streams_of_a_revoked_key_end_at_once_and_those_of_others_go_on(
    any_limited: Opening, elsewhere: bool
) -> None:
    async with any_limited() as harness:
        job, model = (await harness.submit())["id"], (await harness.upload("models"))["id"]
        key, stream = await another_key(harness), {"Accept": "text/event-stream"}
        asked = {
            f"jobs/{job}?wait=60": key,
            f"models/{model}?wait=60": key,
            f"jobs/{job}/events": key | stream,
        }
        waits = [asyncio.create_task(harness.http.get(f"/v1/{path}", headers=has)) for path, has in asked.items()]
        other = asyncio.create_task(harness.http.get(f"/v1/jobs/{job}?wait=60"))
        await open_waits(harness, 4)
        await revoke(harness, key, elsewhere=elsewhere)
        *polls, events = await asyncio.wait_for(asyncio.gather(*waits), SOON)
        assert {(poll.status_code, poll.json()["code"]) for poll in polls} == {(401, "revoked_key")}
        assert events.text.count("event: state") == 1, "it ended after the events before the revocation"
        assert (await harness.http.get(f"/v1/jobs/{job}/events", headers=key | stream)).status_code == 401
        assert not other.done()
        await harness.http.post(f"/v1/jobs/{job}/cancel")
        assert (await asyncio.wait_for(other, SOON)).json()["state"] == "cancelled"


async def test_a_wait_whose_key_was_revoked_before_it_is_watched_does_not_begin(limited: Opening) -> None:
    async with limited() as harness:
        services, job, key = harness.services, (await harness.submit())["id"], await another_key(harness)
        async with services.database.read() as session:
            row = await repository.find(session, key["Authorization"].removeprefix("Bearer "))
        assert row is not None
        await revoke(harness, key, elsewhere=True)
        caller = Caller(row.id, row.project_id)
        with pytest.raises(Unauthorized):
            await asyncio.wait_for(jobs.get(services, caller, job, wait=60.0), SOON)
        async with asyncio.timeout(SOON):
            assert [piece async for piece in server_sent(services, caller, job, 0)] == [b"retry: 1000\n\n"]


async def test_an_upload_whose_key_is_revoked_while_it_arrives_leaves_nothing(any_limited: Opening) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        request = httpx.Request(
            "POST",
            "http://localhost",
            headers={"Content-Type": "multipart/form-data; boundary=frontier"},
            files={"manifest": (None, json.dumps(MODEL).encode()), "file": ("m.bin", safetensors())},
        )
        whole = request.read()
        yield whole[:300]
        begun.set()
        await go_on.wait()
        yield whole[300:]

    async with any_limited() as harness:
        key = await another_key(harness)
        headers = key | {"Content-Type": "multipart/form-data; boundary=frontier"}
        upload = asyncio.create_task(harness.http.post("/v1/models", content=body(), headers=headers))
        await asyncio.wait_for(begun.wait(), SOON)
        await revoke(harness, key, elsewhere=True)
        go_on.set()
        answer = await asyncio.wait_for(upload, SOON)
        assert (answer.status_code, answer.json()["code"]) == (401, "revoked_key")
        assert (await harness.get("/v1/models"))["data"] == []
        assert not harness.staged()


@pytest.mark.parametrize("named", [False, True], ids=["without", "with Idempotency-Key"])
@pytest.mark.parametrize("remembered", [False, True], ids=["counted", "remembered"])
async def test_a_job_whose_key_is_revoked_while_its_spec_arrives_is_not_submitted(
    any_limited: Opening, remembered: bool, named: bool
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def body(whole: bytes) -> AsyncIterator[bytes]:
        yield whole[:10]
        begun.set()
        await go_on.wait()
        yield whole[10:]

    async with any_limited() as harness:
        spec, key = await harness.train_spec(), await another_key(harness)
        name = {"Idempotency-Key": "job-1"} if named else {}
        if remembered:  # what the key has is not counted again for a second, and its row not locked
            assert (await harness.http.post("/v1/jobs", json=spec, headers=key)).status_code == 202
        before = len((await harness.get("/v1/jobs"))["data"])
        sent = harness.http.post("/v1/jobs", content=body(json.dumps(spec).encode()), headers=key | name)
        submission = asyncio.create_task(sent)
        await asyncio.wait_for(begun.wait(), SOON)
        await revoke(harness, key, elsewhere=True)
        go_on.set()
        answer = await asyncio.wait_for(submission, SOON)
        assert (answer.status_code, answer.json()["code"]) == (401, "revoked_key")
        assert len((await harness.get("/v1/jobs"))["data"]) == before
        async with harness.services.database.read() as session:
            assert not (await session.scalars(select(IdempotencyRow.key))).all()


async def test_the_first_answer_is_not_repeated_to_a_revoked_key(any_limited: Opening) -> None:
    async with any_limited() as harness:
        services, key = harness.services, await another_key(harness)
        async with services.database.write() as session:
            row = await repository.find(session, key["Authorization"].removeprefix("Bearer "))
            assert row is not None
            assert await idempotency.find(session, row.id, "job-1", "content") is None
            answer = Answer(202, "{}", "/v1/jobs/first")
            await idempotency.remember(session, row.id, "job-1", "content", answer)

        async def never(session: AsyncSession) -> JobRow:
            raise AssertionError("the key is revoked, or has an answer")

        async def repeated() -> Response:
            return await jobs.create_once(services, Caller(row.id, row.project_id), "job-1", "content", never)

        assert (await repeated()).headers["location"] == "/v1/jobs/first"
        await revoke(harness, key, elsewhere=True)
        with pytest.raises(KeyRevoked):
            await repeated()
