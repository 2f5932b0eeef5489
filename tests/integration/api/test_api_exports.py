"""`POST /v1/models/{id}/exports`: once, for ready models, and named where a file is missing."""

import asyncio
import io
import json
import zipfile

from app.contracts.problems import JobError
from app.contracts.resources.facts import InputFacts
from app.contracts.wire.orders import InspectionOutcome
from tests.integration.api.harness import DATASET_FACTS, MODEL_FACTS, ApiHarness, safetensors

ONNX = {"format": "onnx"}
INT8 = {"format": "int8"}
DATASET = "ds_01890a5d-ac96-774b-bcce-b302099a8057"


async def test_the_missing_file_names_the_way_and_the_way_is_taken_once(any_harness: ApiHarness) -> None:
    http = any_harness.http
    model = await any_harness.ready_model()
    missing = await http.get(f"/v1/models/{model}/weights", params=ONNX)
    assert (missing.status_code, missing.json()["code"]) == (404, "no_such_format")
    assert f"POST /v1/models/{model}/exports" in missing.json()["detail"]
    first = await http.post(f"/v1/models/{model}/exports", json=ONNX)
    again = await http.post(f"/v1/models/{model}/exports", json=ONNX)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["Location"] == f"/v1/jobs/{first.json()['id']}"
    assert first.json()["spec"] == {"kind": "export", "name": None, "model": model, "format": "onnx", "labels": {}}
    listed = await http.get("/v1/jobs", params={"kind": "export"})
    assert [job["id"] for job in listed.json()["data"]] == [first.json()["id"]]
    refused = await http.get(f"/v1/jobs/{first.json()['id']}/report")
    assert refused.status_code == 404


async def test_with_wait_the_missing_file_is_made_and_a_failure_says_why(any_harness: ApiHarness) -> None:
    http, ledger = any_harness.http, any_harness.services.ledger
    model = await any_harness.ready_model()
    late = await http.get(f"/v1/models/{model}/weights", params={**ONNX, "wait": 0.1})
    assert (late.status_code, late.json()["code"]) == (409, "not_exported")
    claim = await any_harness.claim("inspect")
    assert claim.job_id in late.json()["detail"]
    error = JobError.model_validate({"code": "export_too_large", "class": "user", "message": "above 2 GB"})
    waiting = asyncio.create_task(http.get(f"/v1/models/{model}/weights", params={**ONNX, "wait": 30}))
    await asyncio.sleep(0.3)
    assert await ledger.fail(claim, error)
    failed = await waiting
    assert (failed.status_code, failed.json()["code"]) == (409, "not_exported")
    assert "above 2 GB" in failed.json()["detail"]


async def test_a_failed_export_is_made_again(any_harness: ApiHarness) -> None:
    http = any_harness.http
    model = await any_harness.ready_model()
    first = (await http.post(f"/v1/models/{model}/exports", json=ONNX)).json()["id"]
    assert (await http.post(f"/v1/jobs/{first}/cancel")).json()["state"] == "cancelled"
    assert (await http.post(f"/v1/models/{model}/exports", json=ONNX)).json()["id"] != first
    assert (await http.post(f"/v1/jobs/{first}/retry")).status_code == 202


async def test_what_cannot_be_exported_is_refused_by_name(any_harness: ApiHarness) -> None:
    http = any_harness.http
    unknown = "mdl_01890a5d-ac96-774b-bcce-b302099a8057"
    verifying = (await any_harness.upload("models"))["id"]
    for model, body, expected in (
        (unknown, ONNX, (404, "unknown_model")),
        (verifying, ONNX, (409, "not_ready")),
        (verifying, INT8, (422, "invalid_request")),
    ):
        answer = await http.post(f"/v1/models/{model}/exports", json=body)
        assert (answer.status_code, answer.json()["code"]) == expected
    await any_harness.inspect(InspectionOutcome(model=MODEL_FACTS))


async def test_a_quantized_export_names_rows_of_the_model(any_harness: ApiHarness) -> None:
    """Each mistake is named with its place; without one the job is that of the model, format and dataset."""
    http = any_harness.http
    model = await any_harness.ready_model()
    path = f"/v1/models/{model}/exports"
    for body, pointer, code in (
        (INT8, "/dataset", "dataset_required"),
        ({**INT8, "dataset": None}, "/dataset", "dataset_required"),
        ({**ONNX, "dataset": DATASET}, "/dataset", "needs_no_dataset"),
        ({**INT8, "dataset": DATASET}, "/dataset", "unknown_dataset"),
        ({**INT8, "dataset": model}, "/dataset", "bad_format"),
        ({"format": "int4"}, "/format", "unknown_value"),
    ):
        answer = await http.post(path, json=body)
        assert answer.status_code == 422, answer.text
        problems = [(each["pointer"], each["code"]) for each in answer.json()["errors"]]
        assert problems == [(pointer, code)], body
    rejected = await http.post(path, json={**INT8, "dataset": await any_harness.rejected("datasets")})
    assert rejected.status_code == 422, "as one without training rows is"
    assert [(each["pointer"], each["code"]) for each in rejected.json()["errors"]] == [("/dataset", "rejected_input")]
    inspected = (await any_harness.upload("datasets"))["id"]
    made = await http.post(path, json={**INT8, "dataset": inspected})
    assert (made.status_code, made.json()["state"]) == (202, "queued"), "it waits for the inspection"
    assert made.json()["spec"].items() >= {"format": "int8", "dataset": inspected}.items()
    await any_harness.inspect(InspectionOutcome(dataset=DATASET_FACTS))
    again = await http.post(path, json={**INT8, "dataset": inspected})
    assert again.json()["id"] == made.json()["id"]
    half = await http.post(path, json={"format": "fp16"})
    assert (half.status_code, half.json()["id"] != made.json()["id"]) == (202, True)
    other = (await any_harness.upload("datasets"))["id"]
    refused = await http.post(path, json={**INT8, "dataset": other})
    assert (refused.status_code, refused.json()["code"]) == (409, "already_there"), "its ranges are of other rows"
    assert made.json()["id"] in refused.json()["detail"]
    measured = await http.post(path, json={"format": "fp16", "dataset": inspected})
    assert measured.status_code == 202
    assert measured.json()["id"] != half.json()["id"], "the same file, with figures"
    verifying = (await any_harness.upload("models"))["id"]
    early = await http.post(f"/v1/models/{verifying}/exports", json={**INT8, "dataset": inspected})
    assert (early.status_code, early.json()["code"]) == (409, "not_ready")


async def test_rows_that_the_model_does_not_read_are_refused_at_once(any_harness: ApiHarness) -> None:
    """With the code that the job would end with."""
    http = any_harness.http
    model = await any_harness.ready_model()
    other = (await any_harness.upload("datasets"))["id"]
    wide = {"inputs": {"x": InputFacts(shape=(5,))}}
    await any_harness.inspect(InspectionOutcome(dataset=DATASET_FACTS.model_copy(update=wide)))
    for wanted in ("int8", "fp16"):
        refused = await http.post(f"/v1/models/{model}/exports", json={"format": wanted, "dataset": other})
        assert refused.status_code == 422, refused.text
        assert [(e["pointer"], e["code"]) for e in refused.json()["errors"]] == [("/dataset", "shape_mismatch")]


async def test_a_missing_quantized_file_names_the_way_to_it(any_harness: ApiHarness) -> None:
    http = any_harness.http
    model = await any_harness.ready_model()
    for params, way in ((INT8, '{"format": "int8", "dataset": "ds_…"}'), ({"format": "fp16"}, "?format=fp16&wait=60")):
        missing = await http.get(f"/v1/models/{model}/weights", params=params)
        assert (missing.status_code, missing.json()["code"]) == (404, "no_such_format")
        assert way in missing.json()["detail"]
    waited = await http.get(f"/v1/models/{model}/weights", params={**INT8, "wait": 5})
    assert (waited.status_code, waited.json()["code"]) == (404, "no_such_format"), (
        "no dataset is known to measure it on"
    )


async def test_a_bundle_is_made_of_stored_files_once_there_is_a_graph(any_harness: ApiHarness) -> None:
    http = any_harness.http
    model = await any_harness.ready_model()
    path = f"/v1/models/{model}/bundle"
    missing = await http.get(path)
    assert (missing.status_code, missing.json()["code"]) == (404, "no_such_format")
    assert "`?wait=60`" in missing.json()["detail"]
    late = await http.get(path, params={"wait": 0.1})
    assert (late.status_code, late.json()["code"]) == (409, "not_exported")
    waiting = asyncio.create_task(http.get(path, params={"wait": 30}))
    claim = await any_harness.claim("inspect")
    assert await any_harness.services.ledger.begin(claim, json.loads(claim.spec))
    files = [
        await any_harness.published("onnx", "model.onnx", b"a graph"),
        await any_harness.published("invented_rows", "reference.npz", b"some rows"),
    ]
    assert await any_harness.services.ledger.finish_export(claim, files)
    made = await waiting
    assert made.status_code == 200, made.text
    with zipfile.ZipFile(io.BytesIO(made.content)) as archive:
        assert archive.read("student.onnx") == b"a graph"
        assert archive.read("reference.npz") == b"some rows"
        assert archive.read("student.safetensors") == safetensors()
        assert "invented rows" in archive.read("README.md").decode()
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    again = await http.get(path)
    assert (again.content, again.headers["etag"]) == (made.content, made.headers["etag"])
    head = await http.head(path)
    assert (head.headers["content-length"], head.content) == (str(len(made.content)), b"")


async def test_only_a_ready_model_of_a_family_has_a_bundle_and_exports(any_harness: ApiHarness) -> None:
    http = any_harness.http
    verifying = (await any_harness.upload("models"))["id"]
    await any_harness.inspect(InspectionOutcome(model=MODEL_FACTS.model_copy(update={"architecture": None})))
    graph = await http.get(f"/v1/models/{verifying}/bundle", params={"wait": 5})
    assert (graph.status_code, graph.json()["code"]) == (409, "no_architecture")
    assert f"/v1/models/{verifying}/weights" in graph.json()["detail"]
    export = await http.post(f"/v1/models/{verifying}/exports", json={"format": "onnx"})
    assert (export.status_code, export.json()["code"]) == (409, "no_architecture")
    verifying = (await any_harness.upload("models"))["id"]
    refused = await http.get(f"/v1/models/{verifying}/bundle")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_ready")
    unknown = await http.get("/v1/models/mdl_01890a5d-ac96-774b-bcce-b302099a8057/bundle")
    assert unknown.status_code == 404
