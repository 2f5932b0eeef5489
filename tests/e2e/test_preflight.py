"""A preflight through a real service: submitted by HTTP, run by a worker, with a report of its own."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Client

TRAINING: dict[str, Any] = {"epochs": 10, "batch_size": 25, "threads": 1}
TEACHER: dict[str, Any] = {
    "kind": "train",
    "target": "y1",
    "model": {"family": "mlp", "hidden": [20]},
    "training": {**TRAINING, "batch_size": 100, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.01},
}
"""Ten small steps on random labels: it knows nothing."""
PARAMETERS = 10 * 8 + 8 + 8 * 10 + 10


def distillation(article: dict[str, Any], teacher: str, *, allow: bool) -> dict[str, Any]:
    return {
        "kind": "distill",
        "dataset": article["id"],
        "target": "y1",
        "teachers": [{"job": teacher}],
        "student": {"family": "mlp", "hidden": [8]},
        "distillation": {"allow_chance_teacher": allow},
        "training": TRAINING,
        "repeats": 2,
    }


@pytest.fixture(scope="module")
def teacher(client: Client, article: dict[str, Any]) -> str:
    """The id of a job that trains a teacher of random labels; not waited for."""
    made: str = client.submit({**TEACHER, "dataset": article["id"]})["id"]
    return made


@pytest.fixture(scope="module")
def allowed(client: Client, article: dict[str, Any], teacher: str) -> dict[str, Any]:
    """A finished preflight of a job on that teacher, which may be at chance level."""
    return client.finish({"kind": "preflight", "job": distillation(article, teacher, allow=True)})


def test_a_preflight_succeeds_without_a_student_and_tells_what_the_job_would_cost(
    client: Client, allowed: dict[str, Any]
) -> None:
    report = client.report(allowed)
    assert (allowed["student"], allowed["outputs"], allowed["progress"]["percent"]) == (None, [], 100.0)
    assert report["would_fail"] == []
    assert report["parameters"] == PARAMETERS
    assert report["steps"] == 2 * 10 * 4
    assert report["memory"]["parameters"] == 2 * PARAMETERS * 4, "student and control"
    assert report["memory"]["activations"] > 0
    assert report["seconds"]["training"] > 0
    assert [stage["name"] for stage in report["stages"]] == ["student", "repeats"]
    assert report["spec"]["job"]["distillation"]["soft_targets"][0]["method"] == "kd"


def test_its_report_is_what_the_openapi_document_says(client: Client, allowed: dict[str, Any]) -> None:
    document = client.get("/openapi.json")
    schema = {"$ref": "#/components/schemas/PreflightReport", "components": document["components"]}
    Draft202012Validator(schema).validate(client.report(allowed))


def test_it_leaves_no_model_and_no_file_but_the_report(client: Client, allowed: dict[str, Any]) -> None:
    for part in ("student/weights", "predictions"):
        answer = client.http.get(f"/v1/jobs/{allowed['id']}/{part}")
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_file")
    sources = [model["source"] for model in client.get("/v1/models?limit=200")["data"]]
    assert allowed["id"] not in [source.get("job") for source in sources]
    assert client.get(f"/v1/jobs/{allowed['id']}/metrics")["series"] == {}


def test_a_teacher_at_chance_level_is_reported_and_the_preflight_succeeds(
    client: Client, article: dict[str, Any], teacher: str
) -> None:
    spec = distillation(article, teacher, allow=False)
    report = client.report(client.finish({"kind": "preflight", "job": spec}))
    (found,) = report["teachers"]
    assert (found["rows"], found["at_chance"]) == (100, True)
    assert found["accuracy"] <= found["chance"] < 0.3
    job = client.get(f"/v1/jobs/{client.submit(spec)['id']}?wait=60")
    assert job["state"] == "failed"
    error = {"code": job["error"]["code"], "message": job["error"]["message"]}
    assert report["would_fail"] == [error], "word for word what the job fails by"
    assert error["code"] == "teacher_mismatch"


def test_the_job_finds_the_soft_targets_that_its_preflight_made(
    client: Client, article: dict[str, Any], teacher: str, allowed: dict[str, Any]
) -> None:
    report = client.report(client.finish(distillation(article, teacher, allow=True)))
    assert [(use["store"], use["passes"]) for use in report["targets"]] == [("hit", 0)]
    assert report["student"]["steps"] == client.report(allowed)["stages"][0]["steps"]
