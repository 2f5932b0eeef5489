"""`/v1/jobs` of kind `preflight`: asked like a job, answered with a report, without a student."""

from typing import Any

import pytest

from app.contracts.wire.orders import InspectionOutcome
from tests.integration.api.harness import DATASET_FACTS, ApiHarness

NO_MODEL = "mdl_01890000-0000-7000-8000-000000000000"
NO_DATASET = "ds_01890000-0000-7000-8000-000000000000"
REPORT: dict[str, Any] = {"kind": "preflight", "would_fail": [], "steps": 40, "memory": {"total": 12}}


def preflight(job: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"kind": "preflight", "job": job, **changes}


async def finished(harness: ApiHarness, job: dict[str, Any]) -> str:
    """The path of a preflight that a worker has carried out."""
    path = f"/v1/jobs/{(await harness.submit(preflight(job)))['id']}"
    claim = await harness.begin()
    file = await harness.published("report", "report.json", b"{}")
    assert await harness.services.ledger.finish_report(claim, [file], REPORT)
    return path


async def test_a_preflight_is_accepted_with_its_job_inside(any_harness: ApiHarness) -> None:
    spec = await any_harness.train_spec()
    job = await any_harness.submit(preflight(spec, name="a look", labels={"team": "vision"}))
    assert (job["kind"], job["state"], job["name"], job["labels"]) == (
        "preflight",
        "queued",
        "a look",
        {"team": "vision"},
    )
    assert job["spec"]["job"]["kind"] == "train"
    assert job["spec"]["job"]["training"]["recipe"] == "default"
    plain = await any_harness.submit(spec)
    listed = [each["id"] for each in (await any_harness.get("/v1/jobs?kind=preflight"))["data"]]
    assert listed == [job["id"]]
    assert {each["id"] for each in (await any_harness.get("/v1/jobs"))["data"]} == {job["id"], plain["id"]}


async def test_a_dry_run_of_a_preflight_resolves_its_job_and_writes_nothing(harness: ApiHarness) -> None:
    answer = await harness.http.post("/v1/jobs?dry_run=true", json=preflight(await harness.train_spec()))
    found = answer.json()
    assert answer.status_code == 200
    assert found["complete"] is True
    assert found["spec"]["job"]["model"]["input_shape"] == [4]
    assert found["parameters"] == 4 * 3 + 3 + 3 * 2 + 2
    assert (await harness.get("/v1/jobs"))["data"] == []


async def test_what_is_wrong_with_its_job_is_reported_below_the_job(harness: ApiHarness) -> None:
    spec = await harness.train_spec()
    for query in ("", "?dry_run=true"):
        answer = await harness.http.post(f"/v1/jobs{query}", json=preflight(spec | {"target": "colour"}))
        assert answer.status_code == 422
        assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [("/job/target", "unknown_target")]
        distill = {
            "kind": "distill",
            "dataset": NO_DATASET,
            "teachers": [{"model": NO_MODEL}],
            "student": {"family": "mlp"},
        }
        answer = await harness.http.post(f"/v1/jobs{query}", json=preflight(distill))
        assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [
            ("/job/dataset", "unknown_dataset"),
            ("/job/teachers/0/model", "unknown_model"),
        ]
    assert (await harness.get("/v1/jobs"))["data"] == []


async def test_its_report_is_served_and_it_has_no_student(any_harness: ApiHarness) -> None:
    path = await finished(any_harness, await any_harness.train_spec())
    job = await any_harness.get(f"{path}?wait=5")
    assert (job["state"], job["student"], job["outputs"], job["error"]) == ("succeeded", None, [], None)
    assert await any_harness.get(f"{path}/report") == REPORT
    for part in ("student/weights", "predictions"):
        answer = await any_harness.http.get(f"{path}/{part}")
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_file")
    assert (await any_harness.get("/v1/models"))["data"] == []


@pytest.mark.parametrize("part", ["report", "student/weights", "predictions"])
async def test_before_its_end_there_is_nothing(harness: ApiHarness, part: str) -> None:
    path = f"/v1/jobs/{(await harness.submit(preflight(await harness.train_spec())))['id']}"
    assert (await harness.http.get(f"{path}/{part}")).json()["code"] == "not_finished"
    assert (await harness.http.post(f"{path}/cancel")).json()["state"] == "cancelled"
    assert (await harness.http.get(f"{path}/{part}")).json()["code"] == "not_succeeded"


async def test_a_preflight_cannot_be_a_teacher(any_harness: ApiHarness) -> None:
    spec = await any_harness.train_spec()
    path = await finished(any_harness, spec)
    queued = await any_harness.submit(preflight(spec))
    teachers = [{"job": path.rpartition("/")[2]}, {"job": queued["id"]}]
    student = {"kind": "distill", "dataset": spec["dataset"], "teachers": teachers, "student": {"family": "mlp"}}
    answer = await any_harness.http.post("/v1/jobs", json=student)
    assert answer.status_code == 422
    assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [
        ("/teachers/0/job", "no_student"),
        ("/teachers/1/job", "no_student"),
    ]


async def test_what_it_reads_is_not_deleted_before_its_end(any_harness: ApiHarness) -> None:
    spec = await any_harness.train_spec()
    job = await any_harness.submit(preflight(spec))
    path = f"/v1/datasets/{spec['dataset']}"
    assert (await any_harness.http.delete(path)).status_code == 409
    await any_harness.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (await any_harness.http.delete(path)).status_code == 204


async def test_it_waits_for_an_upload_that_is_being_inspected(any_harness: ApiHarness) -> None:
    dataset = (await any_harness.upload("datasets"))["id"]
    job = await any_harness.submit(preflight({"kind": "train", "dataset": dataset, "model": {"family": "mlp"}}))
    assert await any_harness.services.ledger.claim("stand-in", "train", "cpu") is None
    await any_harness.inspect(InspectionOutcome(dataset=DATASET_FACTS))
    assert (await any_harness.claim("train")).job_id == job["id"]


async def test_the_report_of_a_preflight_has_a_schema_of_its_own(harness: ApiHarness) -> None:
    document = (await harness.http.get("/openapi.json")).json()
    answer = document["paths"]["/v1/jobs/{job_id}/report"]["get"]["responses"]["200"]
    names = [each["$ref"].rpartition("/")[2] for each in answer["content"]["application/json"]["schema"]["oneOf"]]
    assert names == ["Report", "PreflightReport", "ExportReport"]
    schemas = document["components"]["schemas"]
    assert schemas["PreflightReport"]["properties"]["kind"]["const"] == "preflight"
