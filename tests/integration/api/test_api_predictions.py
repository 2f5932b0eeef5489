"""`/v1/datasets` of format `predictions`, and jobs that name them as teachers."""

from typing import Any

import pytest

from app.contracts.problems import Rejection
from app.contracts.resources.facts import DatasetFacts, TargetFacts
from app.contracts.resources.manifests import ClassOutput
from app.contracts.wire.orders import InspectionOutcome
from app.contracts.wire.predictions import Question
from app.db.rows import ModelRow
from app.models.predictions.teachers import teachers_of
from app.queue.predictions.sources import source_of
from tests.integration.api.harness import DATASET_FACTS, ApiHarness, npz, safetensors

NO_DATASET = "ds_01890000-0000-7000-8000-000000000000"
CLASS = {"kind": "class", "output": "probabilities"}
STUDENT = {"family": "mlp", "hidden": [3]}
SPLITS = {"train": 70, "validation": 15, "test": 15}


def manifest(of: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": "a teacher elsewhere",
        "format": "predictions",
        "file_format": "npz",
        "of": of,
        "id": "id",
        "outputs": {"digit": {"predicts": CLASS}},
        **changes,
    }


def facts(of: str, *outputs: str, **labelled: int) -> DatasetFacts:
    told = TargetFacts.model_validate(
        {"kind": "teacher", "size": 2, "predicts": ClassOutput(kind="class"), "labelled": {**SPLITS, **labelled}}
    )
    return DatasetFacts(rows=100, splits=told.labelled, inputs={}, of=of, targets=dict.fromkeys(outputs, told))


def job(dataset: str, **teacher: Any) -> dict[str, Any]:
    return {"kind": "distill", "dataset": dataset, "target": "digit", "teachers": [teacher], "student": STUDENT}


async def ready(harness: ApiHarness, of: str, *outputs: str, **labelled: int) -> str:
    """The id of predictions that are ready."""
    made = await harness.upload("datasets", manifest(of), npz("id", "digit"))
    await harness.inspect(InspectionOutcome(dataset=facts(of, *(outputs or ("digit",)), **labelled)))
    return str(made["id"])


async def problems(harness: ApiHarness, spec: dict[str, Any]) -> list[tuple[str, str]]:
    answer = await harness.http.post("/v1/jobs?dry_run=true", json=spec)
    assert answer.status_code == 422, answer.text
    return [(each["pointer"], each["code"]) for each in answer.json()["errors"]]


async def test_predictions_are_inspected_with_their_dataset_and_teach_a_job(any_harness: ApiHarness) -> None:
    dataset = await any_harness.ready_dataset()
    made = await any_harness.upload("datasets", manifest(dataset), npz("id", "digit"))
    assert (made["state"], made["format"], made["of"], made["dealt"]) == ("verifying", "predictions", dataset, None)
    assert made["outputs"]["digit"]["predicts"]["output"] == "probabilities"
    claim = await any_harness.claim("inspect")
    inputs = await any_harness.services.ledger.inputs_of(claim)
    assert (set(inputs.datasets), set(inputs.predictions)) == ({dataset}, {made["id"]})
    assert await any_harness.services.ledger.begin(claim, {})
    outcome = InspectionOutcome(dataset=facts(dataset, "digit", train=60))
    assert await any_harness.services.ledger.finish_inspection(claim, outcome)
    found = await any_harness.get(f"/v1/datasets/{made['id']}")
    assert (found["state"], found["splits"]) == ("ready", {**SPLITS, "train": 60})

    spec = job(dataset, predictions=made["id"])
    answer = await any_harness.http.post("/v1/jobs?dry_run=true", json=spec)
    dry = answer.json()
    assert (answer.status_code, dry["complete"]) == (200, True), dry
    (teacher,) = dry["spec"]["teachers"]
    assert (teacher["predictions"], teacher["output"]) == (made["id"], "digit")
    assert "teacher_rows_missing" in [each["code"] for each in dry["warnings"]]
    await any_harness.submit(spec)
    inputs = await any_harness.services.ledger.inputs_of(await any_harness.begin())
    assert (set(inputs.datasets), set(inputs.predictions)) == ({dataset}, {made["id"]})
    answer = await any_harness.http.delete(f"/v1/datasets/{made['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")


async def test_their_inspection_waits_for_the_dataset_and_a_job_for_both(any_harness: ApiHarness) -> None:
    dataset = (await any_harness.upload("datasets"))["id"]
    predictions = (await any_harness.upload("datasets", manifest(dataset), npz("id", "digit")))["id"]
    made = await any_harness.submit(job(dataset, predictions=predictions))
    first = await any_harness.claim("inspect")
    assert await any_harness.services.ledger.claim("stand-in", "inspect", "cpu") is None
    assert await any_harness.services.ledger.begin(first, {})
    assert await any_harness.services.ledger.finish_inspection(first, InspectionOutcome(dataset=DATASET_FACTS))
    assert await any_harness.services.ledger.claim("stand-in", "train", "cpu") is None
    await any_harness.inspect(InspectionOutcome(dataset=facts(dataset, "digit")))
    assert (await any_harness.claim("train")).job_id == made["id"]


async def test_predictions_whose_dataset_is_rejected_are_rejected_and_their_jobs_fail(any_harness: ApiHarness) -> None:
    dataset = (await any_harness.upload("datasets"))["id"]
    predictions = (await any_harness.upload("datasets", manifest(dataset), npz("id", "digit")))["id"]
    other = await any_harness.upload("datasets")
    made = await any_harness.submit(job(other["id"], predictions=predictions))
    await any_harness.inspect(InspectionOutcome(rejection=Rejection(code="ragged", message="row 3")))
    found = await any_harness.get(f"/v1/datasets/{predictions}")
    assert (found["state"], found["rejection"]["code"]) == ("rejected", "invalid_input")
    found = await any_harness.get(f"/v1/jobs/{made['id']}?wait=5")
    assert (found["state"], found["error"]["code"]) == ("failed", "invalid_input")


async def test_the_dataset_is_not_deleted_while_predictions_are_inspected(any_harness: ApiHarness) -> None:
    dataset = await any_harness.ready_dataset()
    await any_harness.upload("datasets", manifest(dataset), npz("id", "digit"))
    assert (await any_harness.http.delete(f"/v1/datasets/{dataset}")).status_code == 409
    await any_harness.inspect(InspectionOutcome(dataset=facts(dataset, "digit")))
    assert (await any_harness.http.delete(f"/v1/datasets/{dataset}")).status_code == 204


async def test_the_dataset_of_predictions_is_checked_at_the_upload(harness: ApiHarness) -> None:
    dataset = await harness.ready_dataset()
    predictions = await ready(harness, dataset)
    refused = await harness.rejected("datasets")
    for of, code in ((NO_DATASET, "unknown_dataset"), (refused, "rejected_input"), (predictions, "not_a_dataset")):
        answer = await harness.post("datasets", manifest(of), npz("id", "digit"))
        assert answer.status_code == 422
        assert [(each["pointer"], each["code"]) for each in answer.json()["errors"]] == [("/of", code)]
    assert (await harness.get("/v1/datasets?format=predictions"))["data"][0]["id"] == predictions


async def test_a_rejected_file_gets_a_better_manifest(harness: ApiHarness) -> None:
    dataset = await harness.ready_dataset()
    made = await harness.upload("datasets", manifest(dataset), npz("id", "digit"))
    await harness.inspect(InspectionOutcome(rejection=Rejection(code="no_matching_id", message="name `of_column`")))
    answer = await harness.http.patch(f"/v1/datasets/{made['id']}", json={"of_column": "uid", "inputs": {}})
    assert [(each["pointer"], each["code"]) for each in answer.json()["errors"]] == [("/inputs", "unknown_field")]
    answer = await harness.http.patch(f"/v1/datasets/{made['id']}", json={"of_column": "uid"})
    assert (answer.status_code, answer.json()["state"]) == (200, "verifying")
    inputs = await harness.services.ledger.inputs_of(await harness.claim("inspect"))
    assert inputs.predictions[made["id"]].manifest.of_column == "uid"
    assert set(inputs.datasets) == {dataset}


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"file_format": "images"}, "/file_format", "unknown_value"),
    ({"file_format": "parquet"}, "/file_format", "format_mismatch"),
    ({"file_format": None}, "/file_format", "unknown_value"),
    ({"id": ""}, "/id", "too_short"),
    ({"of": "digits"}, "/of", "bad_format"),
    ({"outputs": {}}, "/outputs", "too_short"),
    ({"inputs": {"x": {"kind": "array"}}}, "/inputs", "unknown_field"),
    ({"row_numbers": True, "of_column": "uid"}, "", "invalid_value"),
    ({"csv": {"delimiter": ";"}}, "", "invalid_value"),
    ({"outputs": {"digit": {"predicts": {"kind": "class", "output": "odds"}}}}, "/outputs/digit/predicts/output", ""),
    ({"outputs": {"digit": {"predicts": {**CLASS, "classes": ["a", "b"]}, "size": 3}}}, "/outputs/digit", ""),
]
PAIRS = {"classes": ["c"], "scores": ["s"]}
BAD_PAIRS: list[dict[str, Any]] = [
    {"top_k": PAIRS, "predicts": CLASS},
    {"top_k": PAIRS, "size": 9, "columns": ["p"], "predicts": CLASS},
    {"top_k": PAIRS, "size": 9, "predicts": {"kind": "class", "output": "logits"}},
    {"top_k": PAIRS, "size": 9, "predicts": {"kind": "multilabel"}},
    {"top_k": {"classes": ["c"], "scores": ["s", "t"]}, "size": 9, "predicts": CLASS},
]


@pytest.mark.parametrize(("changes", "pointer", "code"), BAD)
async def test_a_wrong_manifest_is_refused_by_pointer(
    harness: ApiHarness, changes: dict[str, Any], pointer: str, code: str
) -> None:
    dataset = await harness.ready_dataset()
    answer = await harness.post("datasets", manifest(dataset) | changes, npz("id", "digit"))
    found = [(each["pointer"], each["code"]) for each in answer.json()["errors"]]
    assert answer.status_code == 422
    assert len(found) == 1
    assert found[0][0] == pointer
    assert code in ("", found[0][1])


@pytest.mark.parametrize("output", BAD_PAIRS)
async def test_pairs_that_do_not_say_every_probability_are_refused(harness: ApiHarness, output: dict[str, Any]) -> None:
    answer = await harness.post("datasets", manifest(NO_DATASET, outputs={"digit": output}), npz("id"))
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"].startswith("/outputs/digit")
    assert error["code"] == "invalid_value"


async def test_jobs_that_name_other_predictions_are_refused_by_pointer(harness: ApiHarness) -> None:
    dataset, other = await harness.ready_dataset(), await harness.ready_dataset()
    two = await ready(harness, dataset, "left", "right")
    of_other, none = await ready(harness, other), await ready(harness, dataset, train=0)
    place = "/teachers/0/predictions"
    assert await problems(harness, job(dataset, predictions=two)) == [("/teachers/0/output", "output_needed")]
    assert await problems(harness, job(dataset, predictions=two, output="up")) == [
        ("/teachers/0/output", "unknown_output")
    ]
    assert await problems(harness, job(dataset, predictions=of_other)) == [(place, "predictions_of_another")]
    assert await problems(harness, job(dataset, predictions=other)) == [(place, "not_predictions")]
    assert await problems(harness, job(dataset, predictions=NO_DATASET)) == [(place, "unknown_dataset")]
    assert await problems(harness, job(dataset, predictions=none)) == [(place, "teacher_without_outputs")]
    assert await problems(harness, job(two, predictions=two)) == [("/dataset", "not_a_dataset")]
    assert await problems(harness, {"kind": "preflight", "job": job(dataset, predictions=of_other)}) == [
        (f"/job{place}", "predictions_of_another")
    ]
    both = await problems(harness, job(dataset, predictions=two, columns="told"))
    assert [code for _, code in both] == ["invalid_value"]


async def test_a_model_is_not_exported_on_predictions(harness: ApiHarness) -> None:
    model, dataset = await harness.ready_model(), await harness.ready_dataset()
    predictions = await ready(harness, dataset)
    answer = await harness.http.post(f"/v1/models/{model}/exports", json={"format": "int8", "dataset": predictions})
    assert [(each["pointer"], each["code"]) for each in answer.json()["errors"]] == [("/dataset", "not_a_dataset")]


async def test_a_dry_run_is_incomplete_while_predictions_are_inspected(harness: ApiHarness) -> None:
    dataset = await harness.ready_dataset()
    predictions = (await harness.upload("datasets", manifest(dataset), npz("id", "digit")))["id"]
    answer = await harness.http.post("/v1/jobs?dry_run=true", json=job(dataset, predictions=predictions))
    assert (answer.status_code, answer.json()["complete"]) == (200, False)


async def test_a_student_of_predictions_answers_rows_of_its_dataset_alone(any_harness: ApiHarness) -> None:
    """Its dataset is that of its rows, also once that is deleted, and no teacher answers beside it."""
    dataset = await any_harness.ready_dataset()
    predictions = await ready(any_harness, dataset)
    made = await any_harness.submit(job(dataset, predictions=predictions))
    await any_harness.succeed(await any_harness.begin(), safetensors())
    student = (await any_harness.get(f"/v1/jobs/{made['id']}"))["student"]
    async with any_harness.services.database.read() as session:
        row = await session.get(ModelRow, student)
        assert row is not None
        (teacher,) = await teachers_of(session, row)
    assert teacher.missing is not None
    assert (teacher.missing.code, "predictions" in teacher.missing.message) == ("columns_only", True)
    question = Question(model=student, format="json")
    found = await source_of(any_harness.services.database, question)
    assert found is not None
    assert found.dataset is not None
    assert (await any_harness.http.delete(f"/v1/datasets/{dataset}")).status_code == 204
    found = await source_of(any_harness.services.database, question)
    assert found is not None
    assert found.dataset is None
