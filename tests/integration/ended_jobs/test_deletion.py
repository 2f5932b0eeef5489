"""`DELETE /v1/jobs/{id}`: an ended job goes with all that is its own, unless something else lives by it."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from app.db.base import Base
from app.db.engine import Database, open_database
from app.db.rows import (
    ArtifactRow,
    DatasetRow,
    EventRow,
    JobInputRow,
    JobLabelRow,
    JobRow,
    MetricRow,
    NetworkRow,
    ReportRow,
)
from app.jobs import repository
from app.jobs.repository import StoredJob
from app.queue.ledger import Ledger
from app.queue.transitions import lock
from app.system.retention import blobs
from tests.integration.api.harness import DATASET, MODEL, ApiHarness, npz, safetensors

CHILDREN = (JobInputRow, JobLabelRow, EventRow, MetricRow, ArtifactRow, ReportRow)


async def trained(harness: ApiHarness, spec: dict[str, Any], weights: bytes = b"\1" * 40) -> dict[str, Any]:
    """A job that has succeeded, and left something in every table."""
    job = await harness.submit(spec | {"labels": {"team": "vision"}})
    await harness.work(claim := await harness.begin())
    await harness.succeed(claim, safetensors(weights), {"test": npz("test/row")})
    return await harness.get(f"/v1/jobs/{job['id']}")


async def delete(harness: ApiHarness, job: str) -> httpx.Response:
    return await harness.http.delete(f"/v1/jobs/{job}")


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def tables_with(harness: ApiHarness, job: str) -> list[type[Base]]:
    async with harness.services.database.read() as session:
        return [
            table
            for table in CHILDREN
            if (await session.scalars(select(table.job_id).where(table.job_id == job))).first() is not None
        ]


async def test_an_ended_job_goes_with_everything_that_is_its_own(harness: ApiHarness) -> None:
    spec = await harness.train_spec()
    job, other = await trained(harness, spec), await trained(harness, spec, b"\2" * 40)
    assert await tables_with(harness, job["id"]) == list(CHILDREN)
    async with harness.services.database.read() as session:
        student = await session.get_one(ArtifactRow, (job["id"], "student"))
    assert refusal(await delete(harness, job["id"])) == (409, "has_student")
    assert (await harness.http.delete(f"/v1/models/{job['student']}")).status_code == 204
    assert (await delete(harness, job["id"])).status_code == 204
    assert await tables_with(harness, job["id"]) == []
    for path in ("", "/events", "/metrics", "/report", "/student/weights", "/predictions"):
        assert refusal(await harness.http.get(f"/v1/jobs/{job['id']}{path}")) == (404, "unknown_job")
    assert refusal(await delete(harness, job["id"])) == (404, "unknown_job")
    assert [each["id"] for each in (await harness.get("/v1/jobs"))["data"]] == [other["id"]]
    assert await tables_with(harness, other["id"]) == list(CHILDREN)
    async with harness.services.database.read() as session:
        stale = {sha256 for sha256, _ in await blobs.collectable(session, timedelta())}
    assert stale == {student.sha256}, "its predictions are the other job's too, and stay"


async def test_a_job_that_has_not_ended_is_not_deleted(harness: ApiHarness) -> None:
    spec = await harness.train_spec()
    queued = (await harness.submit(spec))["id"]
    assert refusal(await delete(harness, queued)) == (409, "not_finished")
    claim = await harness.begin()
    assert refusal(running := await delete(harness, queued)) == (409, "not_finished")
    assert "cancel it first" in running.json()["detail"]
    assert (await harness.http.post(f"/v1/jobs/{queued}/cancel")).json()["state"] == "cancelling"
    for refused in (await delete(harness, queued), await harness.http.post(f"/v1/jobs/{queued}/retry", json={})):
        assert refusal(refused) == (409, "not_finished")
        assert "the job is cancelling: wait for its end" in refused.json()["detail"]
    await harness.fail(claim)
    assert (await delete(harness, queued)).status_code == 204


async def test_a_job_that_unfinished_jobs_need_stays_until_they_have_ended(harness: ApiHarness) -> None:
    spec = await harness.train_spec()
    old = (await harness.submit(spec))["id"]
    claim = await harness.begin()
    async with harness.services.database.write() as session:
        await session.execute(update(JobRow).where(JobRow.id == old).values(checkpoint="step-1", checkpoint_step=1))
    await harness.fail(claim)
    retry = (await harness.http.post(f"/v1/jobs/{old}/retry", json={"from_checkpoint": True})).json()
    assert refusal(await delete(harness, old)) == (409, "in_use")
    assert (await harness.http.post(f"/v1/jobs/{retry['id']}/cancel")).status_code == 200
    assert (await delete(harness, old)).status_code == 204
    assert (await harness.get(f"/v1/jobs/{retry['id']}"))["retry_of"] == old
    again = await harness.http.post(f"/v1/jobs/{retry['id']}/retry", json={"from_checkpoint": True})
    assert refusal(again) == (409, "no_checkpoint")


async def test_a_teacher_of_an_unfinished_job_stays(harness: ApiHarness) -> None:
    spec = await harness.train_spec()
    teacher = await harness.submit(spec)
    student = {"kind": "distill", "dataset": spec["dataset"], "teachers": [{"job": teacher["id"]}]}
    taught = await harness.submit(student | {"student": {"family": "mlp", "hidden": [2]}})
    await harness.succeed(await harness.begin(), safetensors())
    model = (await harness.get(f"/v1/jobs/{teacher['id']}"))["student"]
    assert refusal(await delete(harness, teacher["id"])) == (409, "has_student")
    assert refusal(await harness.http.delete(f"/v1/models/{model}")) == (409, "in_use")
    assert (await harness.http.post(f"/v1/jobs/{taught['id']}/cancel")).status_code == 200
    assert (await harness.http.delete(f"/v1/models/{model}")).status_code == 204
    assert (await delete(harness, teacher["id"])).status_code == 204


async def test_a_repeated_submission_is_a_new_one_once_its_job_is_deleted(harness: ApiHarness) -> None:
    spec, once = await harness.train_spec(), {"Idempotency-Key": "once"}
    first = await harness.http.post("/v1/jobs", json=spec, headers=once)
    job = first.json()["id"]
    assert (await harness.http.post(f"/v1/jobs/{job}/cancel")).status_code == 200
    other = await harness.http.post("/v1/jobs", json=spec, headers={"Idempotency-Key": "other"})
    assert (await delete(harness, job)).status_code == 204
    again = await harness.http.post("/v1/jobs", json=spec, headers=once)
    assert (again.status_code, again.headers.get("Idempotency-Replayed")) == (202, None)
    assert (await harness.get(again.headers["Location"]))["id"] == again.json()["id"] != job
    kept = await harness.http.post("/v1/jobs", json=spec, headers={"Idempotency-Key": "other"})
    assert kept.text == other.text, "the answers that name other jobs stay"


@pytest.mark.parametrize("path", ["models", "datasets"])
async def test_a_repeated_upload_is_a_new_one_once_what_it_made_is_deleted(harness: ApiHarness, path: str) -> None:
    manifest, file = {"models": (MODEL, safetensors()), "datasets": (DATASET, npz())}[path]
    once = {"Idempotency-Key": "once"}
    first = (await harness.post(path, manifest, file, **once)).json()["id"]
    assert (await harness.post(path, manifest, file, **once)).json()["id"] == first
    (inspection,) = (await harness.get("/v1/jobs?kind=inspect"))["data"]
    assert (await harness.http.post(f"/v1/jobs/{inspection['id']}/cancel")).status_code == 200
    assert (await harness.http.delete(f"/v1/{path}/{first}")).status_code == 204
    again = await harness.post(path, manifest, file, **once)
    assert (again.status_code, again.headers.get("Idempotency-Replayed")) == (201, None)
    assert (await harness.get(again.headers["Location"]))["id"] != first


async def test_looks_at_a_test_split_are_not_undone(harness: ApiHarness) -> None:
    spec = await harness.train_spec()
    job = await trained(harness, spec)
    await harness.http.delete(f"/v1/models/{job['student']}")
    before = (await harness.http.post("/v1/jobs?dry_run=true", json=spec)).json()["test_looks"]
    assert (await delete(harness, job["id"])).status_code == 204
    assert before == (await harness.http.post("/v1/jobs?dry_run=true", json=spec)).json()["test_looks"] == 1


async def test_an_inspection_goes_unless_it_has_measured_a_network(harness: ApiHarness) -> None:
    dataset = await harness.ready_dataset()
    await harness.ready_model()
    kept, gone = [each["id"] for each in (await harness.get("/v1/jobs?kind=inspect"))["data"]]
    async with harness.services.database.write() as session:
        session.add(NetworkRow(digest="0" * 64, network={}, job_id=kept))
    assert refusal(await delete(harness, kept)) == (409, "keeps_network")
    assert (await delete(harness, gone)).status_code == 204
    assert (await harness.get(f"/v1/datasets/{dataset}"))["state"] == "ready"


@pytest.mark.parametrize("racer", ["retry", "delete"])
async def test_of_a_deletion_and_another_request_at_once_one_comes_first(
    harness: ApiHarness, database_url: str, racer: str
) -> None:
    spec = await harness.train_spec()
    for _ in range(4):
        old = (await harness.submit(spec))["id"]
        assert (await harness.http.post(f"/v1/jobs/{old}/cancel")).status_code == 200
        racing = delete(harness, old) if racer == "delete" else harness.http.post(f"/v1/jobs/{old}/retry")
        deleted, other = await asyncio.gather(delete(harness, old), racing)
        assert {deleted.status_code, other.status_code} <= {204, 404, 202}
        assert 204 in (deleted.status_code, other.status_code)
        if other.status_code == 202:
            assert (await harness.http.post(f"/v1/jobs/{other.json()['id']}/cancel")).status_code == 200


async def test_a_retry_has_not_locked_the_job_while_it_waits_for_a_deletion(
    harness: ApiHarness, database_url: str
) -> None:
    """Each would wait for the other: a deletion locks datasets first."""
    other = open_database(database_url)
    if other.dialect == "sqlite":
        await other.close()
        pytest.skip("SQLite has one writer at a time")
    old = (await harness.submit(await harness.train_spec()))["id"]
    assert (await harness.http.post(f"/v1/jobs/{old}/cancel")).status_code == 200
    async with other.write() as session:
        await session.execute(select(DatasetRow.id).with_for_update())
        retrying = asyncio.create_task(harness.http.post(f"/v1/jobs/{old}/retry"))
        await asyncio.sleep(0.5)
        assert not retrying.done()
        async with asyncio.timeout(5):
            assert await lock(session, old) is not None
    assert (await retrying).status_code == 202
    await other.close()


async def cancelled_and_deleted(database_url: str, job: str) -> None:
    """By another process, in one transaction."""
    other = open_database(database_url)
    ledger = Ledger(other)
    async with other.write() as session:
        await ledger.cancel(session, job)
        assert await ledger.delete(session, job)
    await other.close()


async def waits(harness: ApiHarness) -> None:
    """Until a request waits for a change."""
    async with asyncio.timeout(30):
        while not harness.services.open_waits:  # noqa: ASYNC110 (a request opens it)
            await asyncio.sleep(0.005)


async def test_a_stream_of_a_job_that_is_deleted_ends(harness: ApiHarness, database_url: str) -> None:
    job = (await harness.submit())["id"]
    stream = asyncio.create_task(harness.http.get(f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"}))
    await waits(harness)
    await cancelled_and_deleted(database_url, job)
    assert (await asyncio.wait_for(stream, 30)).status_code == 200


async def test_an_export_that_is_deleted_while_a_request_waits_for_it_leaves_no_file(
    harness: ApiHarness, database_url: str
) -> None:
    model = await harness.ready_model()
    path = f"/v1/models/{model}/weights?format=onnx"
    waiting = asyncio.create_task(harness.http.get(f"{path}&wait=30"))
    await waits(harness)
    (job,) = (await harness.get("/v1/jobs?kind=export"))["data"]
    await cancelled_and_deleted(database_url, job["id"])
    assert refusal(await asyncio.wait_for(waiting, 30)) == (404, "no_such_format")


async def test_a_report_of_a_job_that_is_deleted_meanwhile_is_that_of_no_job(
    harness: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await trained(harness, await harness.train_spec())
    assert (await harness.http.delete(f"/v1/models/{job['student']}")).status_code == 204
    find = repository.find

    async def found_before(database: Database, project_id: str, job_id: str) -> StoredJob | None:
        found = await find(database, project_id, job_id)
        assert (await delete(harness, job_id)).status_code == 204
        return found

    with monkeypatch.context() as patch:
        patch.setattr(repository, "find", found_before)
        answer = await harness.http.get(f"/v1/jobs/{job['id']}/report")
    assert refusal(answer) == refusal(await harness.http.get(f"/v1/jobs/{job['id']}/report")) == (404, "unknown_job")
