"""How many jobs of a key may wait, and how many bytes it may store: counted in the transaction that adds them."""

import asyncio
from datetime import timedelta
from functools import partial

from sqlalchemy import select, update

from app.contracts.wire.orders import InspectionOutcome
from app.db.ids import new_id
from app.db.rows import FileRow, JobRow
from app.queue.keys import quotas
from app.resources.uploads import OVERHEAD_BYTES
from app.system.retention import blobs
from tests.integration.api.harness import DATASET, DATASET_FACTS, MODEL, ApiHarness, Unread, npz, safetensors
from tests.integration.keys.conftest import Opening
from tests.integration.keys.test_limits_of_requests import another_key, refused


async def stored(harness: ApiHarness) -> int:
    async with harness.services.database.read() as session:
        key_id = await session.scalar(select(FileRow.key_id).where(FileRow.key_id.is_not(None)).limit(1))
        assert key_id is not None
        return (await quotas.usage(session, key_id, 1)).bytes


async def test_of_many_submissions_at_once_as_many_pass_as_may_wait(any_limited: Opening) -> None:
    async with any_limited(queued_jobs_per_key=4) as harness:
        spec = await harness.train_spec()
        answers = await asyncio.gather(*(harness.http.post("/v1/jobs", json=spec) for _ in range(12)))
        passed = [answer for answer in answers if answer.status_code == 202]
        assert len(passed) == 4
        assert {refused(answer) for answer in answers if answer not in passed} == {(429, "too_many_queued_jobs", True)}
        assert (await harness.http.post("/v1/jobs", json=spec, headers=await another_key(harness))).status_code == 202
        paused = passed[0].json()["id"]
        assert (await harness.http.post(f"/v1/jobs/{paused}/pause")).status_code == 200
        assert (await harness.http.post("/v1/jobs", json=spec)).status_code == 429, "a paused job still waits"
        for path, body in ((f"jobs/{paused}/retry", {}), ("models/mdl_1/exports", {"format": "onnx"})):
            assert refused(await harness.http.post(f"/v1/{path}", json=body))[1] == "too_many_queued_jobs"
        upload = await harness.post("datasets", DATASET, npz())
        assert refused(upload)[1] == "too_many_queued_jobs"
        assert "so does the inspection of each upload" in upload.json()["detail"]
        await harness.begin()
        assert (await harness.http.post("/v1/jobs", json=spec)).status_code == 202


async def test_a_submission_that_is_repeated_gets_its_first_answer_also_at_the_limit(limited: Opening) -> None:
    async with limited(queued_jobs_per_key=1) as harness:
        spec, once = await harness.train_spec(), {"Idempotency-Key": "once"}
        first = await harness.http.post("/v1/jobs", json=spec, headers=once)
        again = await harness.http.post("/v1/jobs", json=spec, headers=once)
        assert (again.status_code, again.text) == (202, first.text)


async def test_bytes_of_uploads_and_of_outputs_count_until_they_are_deleted(any_limited: Opening) -> None:
    weights, predictions = safetensors(b"\1" * 400), npz("test/row")
    async with any_limited() as harness:
        collect = partial(blobs.collect, harness.services.database, harness.services.store, timedelta(seconds=-1))
        spec = await harness.train_spec()
        model = await harness.ready_model()
        assert await stored(harness) == len(npz()) + len(safetensors())
        await harness.submit(spec)
        await harness.succeed(await harness.begin(), weights, {"test": predictions})
        everything = len(npz()) + len(safetensors()) + len(weights) + len(predictions)
        assert await stored(harness) == everything, "the student's own file is an output, and counts once"
        assert (await harness.http.delete(f"/v1/models/{model}")).status_code == 204
        assert await stored(harness) == everything, "its bytes are in the store until they are collected"
        assert await collect() == 1
        assert await stored(harness) == everything - len(safetensors())


async def test_uploading_and_deleting_over_and_over_takes_no_more_of_the_disk_than_a_key_may(
    any_limited: Opening,
) -> None:
    """Whether the uploads are deleted, or refused when their bytes are in the store already."""
    most = 4 * len(npz("x", "digit00"))
    of_none = {
        "name": "predictions",
        "format": "predictions",
        "file_format": "npz",
        "of": new_id("ds"),
        "id": "x",
        "outputs": {"digit": {"predicts": {"kind": "class", "output": "probabilities"}}},
    }
    async with any_limited(bytes_per_key=most) as harness:
        store, codes = harness.services.settings.data_dir / "blobs", []
        for i in range(8):
            answer = await harness.post("datasets", DATASET if i % 2 else of_none, npz("x", f"digit{i:02}"))
            codes.append(answer.status_code)
            if answer.status_code == 201:
                await harness.inspect(InspectionOutcome(dataset=DATASET_FACTS))
                assert (await harness.http.delete(f"/v1/datasets/{answer.json()['id']}")).status_code == 204
            assert sum(each.stat().st_size for each in store.rglob("*") if each.is_file()) <= most
        assert codes == [422, 201, 422, 201, 429, 429, 429, 429]


async def test_an_upload_beyond_the_bytes_of_its_key_is_refused_before_it_is_read(any_limited: Opening) -> None:
    most = len(npz()) + 10
    async with any_limited(bytes_per_key=most) as harness:
        await harness.ready_dataset()
        headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(most + OVERHEAD_BYTES)}
        answer = await harness.http.post("/v1/models", content=Unread(), headers=headers)
        assert refused(answer) == (429, "too_many_bytes", False)
        assert refused(await harness.post("models", MODEL, safetensors()))[1] == "too_many_bytes"
        assert (await harness.post("models", MODEL, safetensors(), **await another_key(harness))).status_code == 201


async def test_a_key_that_has_stored_too_much_submits_no_jobs(limited: Opening) -> None:
    async with limited(bytes_per_key=10_000) as harness:
        spec = await harness.train_spec()
        job = (await harness.submit(spec))["id"]
        async with harness.services.database.write() as session:
            await session.execute(update(JobRow).where(JobRow.id == job).values(output_bytes=10_001))
        dry = await harness.http.post("/v1/jobs?dry_run=true", json=spec)
        assert refused(dry) == (429, "too_many_bytes", False), "waiting does not help"
        assert "found 10" in dry.json()["detail"]
        assert "more" not in dry.json()["detail"]
        assert refused(await harness.http.post("/v1/jobs", json=spec)) == (429, "too_many_bytes", False)
