"""`/v1/jobs`: submitted once, watched, stopped, and what they leave."""

import asyncio
import base64
import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from app.contracts.problems import Rejection
from app.contracts.reports.document.text import render
from app.contracts.resources.splits import SplitName
from app.contracts.wire.events import MetricPoint, MetricsEvent
from app.contracts.wire.orders import InspectionOutcome
from app.db.rows import ArtifactRow
from app.queue.blobs import mark_stored
from tests.integration.api.harness import DATASET_FACTS, REPORT, ApiHarness, npz, safetensors

NO_MODEL = "mdl_01890000-0000-7000-8000-000000000000"
NO_DATASET = "ds_01890000-0000-7000-8000-000000000000"
NO_JOB = "job_01890000-0000-7000-8000-000000000000"


def distill(dataset: str, *teachers: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "distill",
        "dataset": dataset,
        "teachers": list(teachers),
        "student": {"family": "mlp", "hidden": [2]},
    }


async def test_a_job_is_accepted_and_queued(any_harness: ApiHarness) -> None:
    spec = await any_harness.train_spec()
    answer = await any_harness.http.post("/v1/jobs", json=spec | {"name": "first", "labels": {"team": "vision"}})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["object"], job["kind"], job["state"], job["name"]) == ("job", "train", "queued", "first")
    assert (job["attempt"], job["student"], job["error"], job["labels"]) == (0, None, None, {"team": "vision"})
    assert job["spec"]["training"]["batch_size"] is None, "what the recipe chooses is frozen by the first attempt"
    assert await any_harness.get(f"/v1/jobs/{job['id']}") == job


async def test_a_dry_run_resolves_and_writes_nothing(any_harness: ApiHarness) -> None:
    answer = await any_harness.http.post("/v1/jobs?dry_run=true", json=await any_harness.train_spec())
    found = answer.json()
    assert answer.status_code == 200
    assert found["complete"] is True
    assert found["spec"]["model"]["input_shape"] == [4]
    assert found["spec"]["target"] == "digit"
    assert found["spec"]["training"]["steps"] == found["chosen"]["/training/steps"]["value"] == 1500
    assert found["parameters"] == 4 * 3 + 3 + 3 * 2 + 2
    assert found["flops"] == 2 * (4 * 3 + 3 * 2)
    assert (await any_harness.get("/v1/jobs"))["data"] == []


async def test_a_job_on_a_verifying_input_is_accepted_and_waits(any_harness: ApiHarness) -> None:
    dataset = (await any_harness.upload("datasets"))["id"]
    spec = {"kind": "train", "dataset": dataset, "model": {"family": "mlp"}}
    dry = (await any_harness.http.post("/v1/jobs?dry_run=true", json=spec)).json()
    assert (dry["complete"], dry["parameters"], dry["flops"]) == (False, None, None)
    job = await any_harness.submit(spec)
    assert await any_harness.services.ledger.claim("stand-in", "train", "cpu") is None
    await any_harness.inspect(InspectionOutcome(dataset=DATASET_FACTS))
    assert (await any_harness.claim("train")).job_id == job["id"]


async def test_a_job_fails_when_its_input_is_rejected(any_harness: ApiHarness) -> None:
    dataset = (await any_harness.upload("datasets"))["id"]
    job = await any_harness.submit({"kind": "train", "dataset": dataset, "model": {"family": "mlp"}})
    await any_harness.inspect(InspectionOutcome(rejection=Rejection(code="ragged", message="row 3")))
    found = await any_harness.get(f"/v1/jobs/{job['id']}?wait=5")
    assert (found["state"], found["error"]["code"], found["error"]["class"]) == ("failed", "invalid_input", "user")


async def test_unknown_inputs_are_reported_by_pointer(any_harness: ApiHarness) -> None:
    dataset = await any_harness.ready_dataset()
    spec = distill(NO_DATASET, {"model": NO_MODEL}, {"job": NO_JOB})
    for query in ("", "?dry_run=true"):
        answer = await any_harness.http.post(f"/v1/jobs{query}", json=spec)
        assert answer.status_code == 422
        assert {(e["pointer"], e["code"]) for e in answer.json()["errors"]} == {
            ("/dataset", "unknown_dataset"),
            ("/teachers/0/model", "unknown_model"),
            ("/teachers/1/job", "unknown_job"),
        }
    tasks = [{"name": "digit"}, {"name": "b", "target": "digit", "teachers": [{"model": NO_MODEL}]}]
    multitask = {"kind": "multitask", "dataset": dataset, "tasks": tasks, "student": {"family": "mlp"}}
    answer = await any_harness.http.post("/v1/jobs", json=multitask)
    assert [e["pointer"] for e in answer.json()["errors"]] == ["/tasks/1/teachers/0/model"]


async def test_rejected_and_failed_inputs_are_refused(any_harness: ApiHarness) -> None:
    dataset, model = await any_harness.ready_dataset(), await any_harness.rejected("models")
    failed = await any_harness.submit({"kind": "train", "dataset": dataset, "model": {"family": "mlp"}})
    await any_harness.http.post(f"/v1/jobs/{failed['id']}/cancel")
    answer = await any_harness.http.post("/v1/jobs", json=distill(dataset, {"model": model}, {"job": failed["id"]}))
    assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [
        ("/teachers/0/model", "rejected_input"),
        ("/teachers/1/job", "failed_input"),
    ]


async def test_an_inspection_cannot_be_a_teacher(harness: ApiHarness) -> None:
    dataset = await harness.ready_dataset()
    inspection = (await harness.get("/v1/jobs?kind=inspect"))["data"][0]["id"]
    answer = await harness.http.post("/v1/jobs", json=distill(dataset, {"job": inspection}))
    assert answer.json()["code"] == "unknown_job"


async def test_what_does_not_fit_the_data_is_reported_by_pointer(harness: ApiHarness) -> None:
    spec = await harness.train_spec()
    answer = await harness.http.post("/v1/jobs", json=spec | {"target": "colour"})
    assert answer.status_code == 422
    assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [("/target", "unknown_target")]
    assert (await harness.get("/v1/jobs"))["data"] == []


async def test_a_key_makes_one_job_however_many_racers(any_harness: ApiHarness) -> None:
    spec = await any_harness.train_spec()
    headers = {"Idempotency-Key": "once"}
    answers = await asyncio.gather(*(any_harness.http.post("/v1/jobs", json=spec, headers=headers) for _ in range(12)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 11
    assert len((await any_harness.get("/v1/jobs"))["data"]) == 1
    other = await any_harness.http.post("/v1/jobs", json=spec | {"name": "other"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_the_first_answer_is_replayed_even_when_the_input_is_gone(any_harness: ApiHarness) -> None:
    spec = await any_harness.train_spec()
    headers = {"Idempotency-Key": "once"}
    first = await any_harness.http.post("/v1/jobs", json=spec, headers=headers)
    await any_harness.http.post(f"/v1/jobs/{first.json()['id']}/cancel")
    assert (await any_harness.http.delete(f"/v1/datasets/{spec['dataset']}")).status_code == 204
    again = await any_harness.http.post("/v1/jobs", json=spec, headers=headers)
    assert (again.status_code, again.text) == (202, first.text)


async def test_a_refused_job_leaves_its_key_free(any_harness: ApiHarness) -> None:
    spec = await any_harness.train_spec()
    headers = {"Idempotency-Key": "once"}
    bad = await any_harness.http.post("/v1/jobs", json=spec | {"dataset": NO_DATASET}, headers=headers)
    assert bad.status_code == 422
    assert (await any_harness.http.post("/v1/jobs", json=spec, headers=headers)).status_code == 202


async def test_the_content_of_a_key_is_the_meaning_not_the_spelling(harness: ApiHarness) -> None:
    spec = await harness.train_spec()
    headers = {"Idempotency-Key": "once", "Content-Type": "application/json"}
    first = await harness.http.post("/v1/jobs", content=json.dumps(spec), headers=headers)
    reordered = json.dumps(dict(reversed(spec.items())), indent=3)
    assert (await harness.http.post("/v1/jobs", content=reordered, headers=headers)).json() == first.json()


async def test_a_priority_belongs_to_the_submission_and_not_to_the_spec(harness: ApiHarness) -> None:
    spec = await harness.train_spec()
    headers = {"Idempotency-Key": "once"}
    first = await harness.http.post("/v1/jobs", json=spec, headers=headers)
    urgent = await harness.http.post("/v1/jobs?priority=100", json=spec)
    assert (first.json()["priority"], urgent.json()["priority"]) == (0, 100)
    assert urgent.json()["spec"] == first.json()["spec"]
    assert (await harness.claim("train")).job_id == urgent.json()["id"]
    again = await harness.http.post("/v1/jobs?priority=0", json=spec, headers=headers)
    assert again.text == first.text, "the default, said or not, is the same request"
    other = await harness.http.post("/v1/jobs?priority=1", json=spec, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    for priority in ("-101", "101", "high"):
        refused = await harness.http.post(f"/v1/jobs?priority={priority}", json=spec)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_parameter")


async def test_queued_jobs_pause_resume_and_cancel_at_once(any_harness: ApiHarness) -> None:
    path = f"/v1/jobs/{(await any_harness.submit())['id']}"
    states = []
    for action in ("pause", "pause", "resume", "cancel", "cancel"):
        answer = await any_harness.http.post(f"{path}/{action}")
        assert answer.status_code == 200
        states.append(answer.json()["state"])
    assert states == ["paused", "paused", "queued", "cancelled", "cancelled"]


async def test_a_running_job_receives_the_request_to_stop(any_harness: ApiHarness) -> None:
    path = f"/v1/jobs/{(await any_harness.submit())['id']}"
    claim = await any_harness.begin()
    assert (await any_harness.http.post(f"{path}/pause")).json()["state"] == "pausing"
    assert (await any_harness.http.post(f"{path}/cancel")).json()["state"] == "cancelling"
    assert await any_harness.services.ledger.yield_(claim)
    assert (await any_harness.get(f"{path}?wait=1"))["state"] == "cancelled"


async def test_what_a_state_does_not_allow_is_409(harness: ApiHarness) -> None:
    path = f"/v1/jobs/{(await harness.submit())['id']}"
    assert (await harness.http.post(f"{path}/resume")).json()["code"] == "illegal_transition"
    await harness.http.post(f"{path}/cancel")
    for action in ("pause", "resume"):
        answer = await harness.http.post(f"{path}/{action}")
        assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert (await harness.http.post(f"/v1/jobs/{NO_JOB}/cancel")).status_code == 404


async def test_an_inspection_can_be_cancelled_and_its_upload_deleted(harness: ApiHarness) -> None:
    """So that other requests do not wait for an upload whose inspection is slow."""
    identity = (await harness.upload("models"))["id"]
    inspection = (await harness.get("/v1/jobs?kind=inspect"))["data"][0]["id"]
    for action in ("pause", "resume"):
        answer = await harness.http.post(f"/v1/jobs/{inspection}/{action}")
        assert (answer.status_code, answer.json()["code"]) == (409, "inspection")
    assert (await harness.http.delete(f"/v1/models/{identity}")).json()["code"] == "in_use"
    assert (await harness.http.post(f"/v1/jobs/{inspection}/cancel")).status_code == 200
    model = await harness.get(f"/v1/models/{identity}")
    assert (model["state"], model["rejection"]["code"]) == ("rejected", "inspection_cancelled")
    assert (await harness.http.delete(f"/v1/models/{identity}")).status_code == 204


async def test_jobs_are_listed_by_state_kind_and_label(any_harness: ApiHarness) -> None:
    spec = await any_harness.train_spec()
    labels: list[dict[str, str]] = [{"team": "a", "run": "1"}, {"team": "a"}, {"team": "b"}, {}]
    ids = [(await any_harness.submit(spec | {"labels": each}))["id"] for each in labels]
    await any_harness.http.post(f"/v1/jobs/{ids[1]}/pause")

    async def listed(query: str) -> list[str]:
        return [job["id"] for job in (await any_harness.get(f"/v1/jobs?{query}"))["data"]]

    assert await listed("") == ids[::-1]
    assert await listed("label=team%3Da") == [ids[1], ids[0]]
    assert await listed("label=team") == [ids[2], ids[1], ids[0]]
    assert await listed("label=team%3Da&label=run%3D1") == [ids[0]]
    assert await listed("state=paused") == [ids[1]]
    assert await listed("kind=distill") == []
    assert len(await listed("kind=inspect")) == 1


async def test_a_wait_ends_as_soon_as_the_job_does(any_harness: ApiHarness) -> None:
    path = f"/v1/jobs/{(await any_harness.submit())['id']}"
    waiting = asyncio.create_task(any_harness.get(f"{path}?wait=60"))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await any_harness.http.post(f"{path}/cancel")
    assert (await asyncio.wait_for(waiting, 10))["state"] == "cancelled"


async def test_a_wait_that_is_over_answers_with_what_is_there(harness: ApiHarness) -> None:
    path = f"/v1/jobs/{(await harness.submit())['id']}"
    assert (await harness.get(f"{path}?wait=0.2"))["state"] == "queued"
    for wait in ("61", "-1", "nan", "inf", "x"):
        answer = await harness.http.get(f"{path}?wait={wait}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")


async def test_a_hundred_waiters_hold_no_database_session(harness: ApiHarness) -> None:
    path = f"/v1/jobs/{(await harness.submit())['id']}"
    waiting = [asyncio.create_task(harness.get(f"{path}?wait=60")) for _ in range(100)]
    await asyncio.sleep(0.5)
    assert (await harness.get(path))["state"] == "queued"  # more readers wait than the pool has connections
    await harness.http.post(f"{path}/cancel")
    assert {job["state"] for job in await asyncio.wait_for(asyncio.gather(*waiting), 20)} == {"cancelled"}


async def test_shutdown_ends_a_wait(harness: ApiHarness) -> None:
    path = f"/v1/jobs/{(await harness.submit())['id']}"
    waiting = asyncio.create_task(harness.get(f"{path}?wait=60"))
    await asyncio.sleep(0.2)
    harness.services.closing.set()
    assert (await asyncio.wait_for(waiting, 10))["state"] == "queued"


async def test_events_are_a_list_without_gaps(any_harness: ApiHarness) -> None:
    path = f"/v1/jobs/{(await any_harness.submit())['id']}"
    claim = await any_harness.begin()
    await any_harness.work(claim)
    await any_harness.fail(claim)
    whole = (await any_harness.get(f"{path}/events"))["data"]
    assert [event["seq"] for event in whole] == list(range(1, len(whole) + 1))
    states = [event["data"]["state"] for event in whole if event["type"] == "state"]
    assert states == ["queued", "starting", "running", "failed"]
    page = await any_harness.get(f"{path}/events?limit=2")
    rest = await any_harness.get(f"{path}/events?after={page['next']}")
    assert page["data"] + rest["data"] == whole


def frames(text: str) -> list[dict[str, Any]]:
    """The events of an SSE stream."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "data" in fields:
            found.append({"id": int(fields["id"]), "event": fields["event"], **json.loads(fields["data"])})
    return found


async def test_events_stream_until_the_end_and_resume_from_the_last_id(any_harness: ApiHarness) -> None:
    path = f"/v1/jobs/{(await any_harness.submit())['id']}"
    stream = {"Accept": "text/event-stream"}
    reading = asyncio.create_task(any_harness.http.get(f"{path}/events", headers=stream))
    claim = await any_harness.begin()
    await any_harness.work(claim)
    await any_harness.fail(claim)
    answer = await asyncio.wait_for(reading, 20)
    assert answer.headers["content-type"].startswith("text/event-stream")
    whole = frames(answer.text)
    assert [event["id"] for event in whole] == [
        event["seq"] for event in (await any_harness.get(f"{path}/events"))["data"]
    ]
    assert whole[-1]["data"]["state"] == "failed"
    middle = whole[2]["id"]
    resumed = await any_harness.http.get(f"{path}/events", headers=stream | {"Last-Event-ID": str(middle)})
    assert frames(resumed.text) == whole[3:]
    over = await any_harness.http.get(f"{path}/events", headers=stream | {"Last-Event-ID": str(whole[-1]["id"])})
    assert over.status_code == 204


async def test_metrics_come_as_json_and_csv(any_harness: ApiHarness) -> None:
    path = f"/v1/jobs/{(await any_harness.submit())['id']}"
    await any_harness.work(await any_harness.begin())
    found = await any_harness.get(f"{path}/metrics")
    assert [(point["step"], point["value"]) for point in found["series"]["train/loss"]] == [
        (1, 1.0),
        (2, 0.5),
        (3, 1 / 3),
    ]
    assert found["series"]["validation/digit/nll"][0]["value"] is None
    assert found["latest"]["train/loss"]["step"] == 3
    only = await any_harness.get(f"{path}/metrics?series=train/loss")
    assert list(only["series"]) == ["train/loss"]
    answer = await any_harness.http.get(f"{path}/metrics?format=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [float(row["value"]) for row in rows if row["series"] == "train/loss"] == [1.0, 0.5, 1 / 3]
    assert {row["value"] for row in rows if row["series"] == "validation/digit/nll"} == {""}


PREDICTIONS: dict[SplitName, bytes] = {
    "test": npz("test/row", "test/digit/student"),
    "train": npz("train/row", "train/digit/student", "train/digit/label"),
}


async def finished(harness: ApiHarness) -> str:
    """The path of a job that has succeeded."""
    job = await harness.submit()
    await harness.succeed(await harness.begin(), safetensors(b"\1" * 64), PREDICTIONS)
    return f"/v1/jobs/{job['id']}"


async def test_a_finished_job_leaves_a_report_and_a_student_that_is_a_model(any_harness: ApiHarness) -> None:
    path = await finished(any_harness)
    job = await any_harness.get(path)
    assert (job["state"], job["progress"]["percent"]) == ("succeeded", 100.0)
    assert job["outputs"] == [{"role": "student", "model": job["student"]}]
    assert await any_harness.get(f"{path}/report") == REPORT
    student = await any_harness.get(f"/v1/models/{job['student']}")
    assert (student["state"], student["source"]) == ("ready", {"type": "job", "job": job["id"]})
    weights = await any_harness.http.get(f"{path}/student/weights")
    assert weights.content == safetensors(b"\1" * 64)
    assert weights.headers["etag"] == f'"{hashlib.sha256(weights.content).hexdigest()}"'
    assert (await any_harness.http.get(f"/v1/models/{job['student']}/weights")).content == weights.content


async def test_a_job_can_be_the_teacher_before_and_after_it_ends(any_harness: ApiHarness) -> None:
    spec = await any_harness.train_spec()
    teacher = await any_harness.submit(spec)
    student = await any_harness.submit(distill(spec["dataset"], {"job": teacher["id"]}))
    await any_harness.succeed(await any_harness.begin(), safetensors())
    assert (await any_harness.claim("train")).job_id == student["id"]
    dry = await any_harness.http.post("/v1/jobs?dry_run=true", json=distill(spec["dataset"], {"job": teacher["id"]}))
    assert dry.json()["complete"] is True


async def test_each_split_of_the_predictions_is_served_as_the_file_that_the_worker_left(
    any_harness: ApiHarness,
) -> None:
    path = await finished(any_harness)
    for split, content in PREDICTIONS.items():
        asked = f"{path}/predictions?split={split}"
        answer = await any_harness.http.get(asked)
        assert (answer.status_code, answer.content) == (200, content)
        digest = hashlib.sha256(content)
        assert answer.headers["content-length"] == str(len(content))
        assert answer.headers["etag"] == f'"{digest.hexdigest()}"'
        assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
        assert f"{path.rpartition('/')[2]}-{split}.npz" in answer.headers["content-disposition"]
        for start, end in ((0, 10), (30, 400), (len(content) - 90, len(content))):
            part = await any_harness.http.get(asked, headers={"Range": f"bytes={start}-{end - 1}"})
            assert (part.status_code, part.content) == (206, content[start:end])
        same = await any_harness.http.get(asked, headers={"If-None-Match": answer.headers["etag"]})
        assert same.status_code == 304
    assert (await any_harness.http.get(f"{path}/predictions")).content == PREDICTIONS["test"]
    missing = await any_harness.http.get(f"{path}/predictions?split=validation")
    assert (missing.status_code, missing.json()["code"]) == (404, "no_such_split")
    assert "['test', 'train']" in missing.json()["detail"]


async def test_predictions_of_an_earlier_version_are_served_with_every_split(any_harness: ApiHarness) -> None:
    path = await finished(any_harness)
    job = path.rpartition("/")[2]
    whole = await any_harness.published("predictions-test", "predictions.npz", npz("test/row", "train/row"))
    async with any_harness.services.database.write() as session:
        await session.execute(delete(ArtifactRow).where(ArtifactRow.role.startswith("predictions-")))
        await mark_stored(session, [whole.sha256])
        session.add(
            ArtifactRow(job_id=job, role="predictions", name=whole.name, bytes=whole.bytes, sha256=whole.sha256)
        )
    for split in PREDICTIONS:
        answer = await any_harness.http.get(f"{path}/predictions?split={split}")
        assert (answer.status_code, answer.content) == (200, npz("test/row", "train/row"))
        assert f'filename="{job}.npz"' in answer.headers["content-disposition"]


async def test_a_report_is_shown_as_a_page_as_markdown_and_as_text(any_harness: ApiHarness) -> None:
    """The page has the curves of the job and the students of other jobs on the same data."""
    report = json.loads((Path(__file__).parents[2] / "golden" / "report.json").read_text())
    spec = await any_harness.train_spec()
    for job_spec in (spec, spec | {"name": "student | <b>"}):
        job = await any_harness.submit(job_spec)
        claim = await any_harness.begin()
        points = tuple(MetricPoint(series="train/loss", step=step, epoch=1, value=1.0 / step) for step in (1, 2, 3))
        await any_harness.services.ledger.record(claim, [MetricsEvent(points=points)])
        await any_harness.succeed(claim, safetensors(), report=report)
    path = f"/v1/jobs/{job['id']}/report"
    assert await any_harness.get(f"{path}?format=json") == await any_harness.get(path)
    shown = {each: await any_harness.http.get(f"{path}?format={each}") for each in ("html", "markdown", "text")}
    assert {each: answer.headers["content-type"] for each, answer in shown.items()} == {
        "html": "text/html; charset=utf-8",
        "markdown": "text/markdown; charset=utf-8",
        "text": "text/plain; charset=utf-8",
    }
    assert shown["text"].text == render(report)
    assert shown["markdown"].text.startswith("# student \\| \\<b\\> (train)\n\nTrained a student")
    html = shown["html"]
    assert "default-src 'none'" in html.headers["content-security-policy"]
    assert "<h1>student | &lt;b&gt; (train)</h1>" in html.text
    assert "train/loss by step" in html.text
    assert "other jobs" in html.text
    wrong = await any_harness.http.get(f"{path}?format=pdf")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_parameter")


@pytest.mark.parametrize("part", ["report", "student/weights", "predictions"])
async def test_what_a_job_leaves_is_there_once_it_has_succeeded(harness: ApiHarness, part: str) -> None:
    path = f"/v1/jobs/{(await harness.submit())['id']}"
    answer = await harness.http.get(f"{path}/{part}")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")
    await harness.http.post(f"{path}/cancel")
    assert (await harness.http.get(f"{path}/{part}")).json()["code"] == "not_succeeded"


async def test_the_weights_stay_with_the_job_when_the_student_is_deleted(harness: ApiHarness) -> None:
    path = await finished(harness)
    student = (await harness.get(path))["student"]
    assert (await harness.http.delete(f"/v1/models/{student}")).status_code == 204
    assert (await harness.get(path))["student"] is None
    assert (await harness.http.get(f"{path}/student/weights")).content == safetensors(b"\1" * 64)
    spec = distill(await harness.ready_dataset(), {"job": path.rpartition("/")[2]})
    for dry_run in ("true", "false"):
        refusal = (await harness.http.post(f"/v1/jobs?dry_run={dry_run}", json=spec)).json()
        assert (refusal["code"], "was deleted" in refusal["detail"]) == ("student_deleted", True)
