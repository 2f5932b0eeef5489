"""`/v1/models` and `/v1/datasets`: uploaded, inspected, listed, updated, deleted."""

import hashlib
from typing import Any

import pytest

from app.contracts.wire.orders import InspectionOutcome
from tests.integration.api.harness import (
    ARCHITECTURE,
    DATASET,
    DATASET_FACTS,
    MODEL,
    MODEL_FACTS,
    ApiHarness,
    npz,
    safetensors,
)


async def test_an_upload_is_verified_and_then_ready(any_harness: ApiHarness) -> None:
    answer = await any_harness.post("models", MODEL, safetensors())
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/models/{made['id']}"
    assert (made["object"], made["state"], made["rejection"]) == ("model", "verifying", None)
    assert made["source"] == {"type": "upload"}
    await any_harness.inspect(InspectionOutcome(model=MODEL_FACTS))
    found = await any_harness.get(f"/v1/models/{made['id']}?wait=5")
    assert (found["state"], found["parameters"], found["sizes"]) == ("ready", 23, {"digit": 2})
    assert found["architecture"]["hidden"] == ARCHITECTURE["hidden"]
    file = found["files"][0]
    assert file["sha256"] == hashlib.sha256(safetensors()).hexdigest()
    assert file["bytes"] == len(safetensors())


async def test_a_dataset_is_verified_and_then_ready(any_harness: ApiHarness) -> None:
    made = await any_harness.upload("datasets")
    assert (made["object"], made["state"], made["rows"], made["splits"]) == ("dataset", "verifying", None, {})
    await any_harness.inspect(InspectionOutcome(dataset=DATASET_FACTS))
    found = await any_harness.get(f"/v1/datasets/{made['id']}")
    assert (found["state"], found["rows"]) == ("ready", 100)
    assert found["splits"] == {"train": 70, "validation": 15, "test": 15}
    assert found["targets"]["digit"]["classes"] == 2


async def test_a_rejected_model_says_why_and_takes_a_better_manifest(any_harness: ApiHarness) -> None:
    identity = await any_harness.rejected("models")
    found = await any_harness.get(f"/v1/models/{identity}")
    assert found["state"] == "rejected"
    assert found["rejection"] == {"code": "missing_parameters", "message": "layers.1 is missing"}
    answer = await any_harness.http.patch(
        f"/v1/models/{identity}", json={"rename": {"fc1": "layers.0"}, "name": "better"}
    )
    updated = answer.json()
    assert answer.status_code == 200
    assert (updated["state"], updated["name"], updated["rename"]) == ("verifying", "better", {"fc1": "layers.0"})
    assert updated["rejection"] is None
    assert updated["architecture"]["hidden"] == ARCHITECTURE["hidden"]
    await any_harness.inspect(InspectionOutcome(model=MODEL_FACTS))
    assert (await any_harness.get(f"/v1/models/{identity}"))["state"] == "ready"


async def test_a_manifest_that_does_not_fit_the_bytes_or_itself_is_refused_in_a_patch(harness: ApiHarness) -> None:
    identity = await harness.rejected("models")
    for changes, code in (
        ({"format": "onnx"}, "invalid_request"),
        ({"format": "state_dict"}, "format_mismatch"),
        ({"format": "pickle"}, "refused_format"),
        ({"outputs": {}}, "invalid_request"),
        ({"rename": None, "nme": "x"}, "invalid_request"),
        ([1], "wrong_type"),
    ):
        answer = await harness.http.patch(f"/v1/models/{identity}", json=changes)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert (await harness.get(f"/v1/models/{identity}"))["state"] == "rejected"


async def test_only_a_rejected_resource_takes_a_better_manifest(harness: ApiHarness) -> None:
    for path, identity in (("models", await harness.ready_model()), ("datasets", await harness.ready_dataset())):
        answer = await harness.http.patch(f"/v1/{path}/{identity}", json={"name": "x"})
        assert (answer.status_code, answer.json()["code"]) == (409, "not_rejected")


async def test_lists_are_newest_first_in_pages_with_filters(any_harness: ApiHarness) -> None:
    ids = [(await any_harness.upload("models", MODEL | {"name": f"m{i}"}))["id"] for i in range(5)]
    await any_harness.inspect(InspectionOutcome(model=MODEL_FACTS))
    seen: list[str] = []
    after = ""
    while True:
        page = await any_harness.get(f"/v1/models?limit=2{after}")
        seen += [model["id"] for model in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after={page['next']}"
    assert page["next"] is None
    assert seen == ids[::-1]
    assert [m["id"] for m in (await any_harness.get("/v1/models?state=ready"))["data"]] == ids[:1]
    assert (await any_harness.get("/v1/models?format=onnx"))["data"] == []


@pytest.mark.parametrize("after", ["x", "!!", "MQ", "%F0%9F%98%80", "MjphYmM"])
async def test_a_cursor_that_is_none_is_refused(harness: ApiHarness, after: str) -> None:
    answer = await harness.http.get(f"/v1/models?after={after}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_a_deleted_model_is_gone(any_harness: ApiHarness) -> None:
    identity = await any_harness.ready_model()
    assert (await any_harness.http.delete(f"/v1/models/{identity}")).status_code == 204
    assert (await any_harness.http.get(f"/v1/models/{identity}")).status_code == 404
    assert (await any_harness.http.delete(f"/v1/models/{identity}")).status_code == 404


async def test_what_an_unfinished_job_needs_cannot_be_deleted(any_harness: ApiHarness) -> None:
    spec = await any_harness.train_spec()
    job = await any_harness.submit(spec)
    path = f"/v1/datasets/{spec['dataset']}"
    answer = await any_harness.http.delete(path)
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
    assert job["id"] in answer.json()["detail"]
    await any_harness.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (await any_harness.http.delete(path)).status_code == 204
    assert (await any_harness.get(f"/v1/jobs/{job['id']}"))["state"] == "cancelled"


async def test_an_upload_under_inspection_cannot_be_deleted(harness: ApiHarness) -> None:
    made = await harness.upload("models")
    assert (await harness.http.delete(f"/v1/models/{made['id']}")).json()["code"] == "in_use"


async def test_weights_come_with_length_digest_and_ranges(any_harness: ApiHarness) -> None:
    identity = await any_harness.ready_model()
    path, content = f"/v1/models/{identity}/weights", safetensors()
    whole = await any_harness.http.get(path)
    assert whole.content == content
    assert whole.headers["content-length"] == str(len(content))
    assert whole.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert whole.headers["repr-digest"].startswith("sha-256=:")
    part = await any_harness.http.get(path, headers={"Range": "bytes=8-15"})
    assert (part.status_code, part.content) == (206, content[8:16])
    assert part.headers["content-range"] == f"bytes 8-15/{len(content)}"
    assert part.headers["repr-digest"] == whole.headers["repr-digest"]
    beyond = await any_harness.http.get(path, headers={"Range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{len(content)}"
    assert beyond.json()["code"] == "range_not_satisfiable"
    stale = await any_harness.http.get(path, headers={"Range": "bytes=8-15", "If-Range": '"other"'})
    assert (stale.status_code, stale.content) == (200, content)
    known = await any_harness.http.get(path, headers={"If-None-Match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    head = await any_harness.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(content))


async def test_weights_of_another_format_are_404_with_the_formats_there_are(harness: ApiHarness) -> None:
    identity = await harness.ready_model()
    assert (await harness.http.get(f"/v1/models/{identity}/weights?format=safetensors")).status_code == 200
    answer = await harness.http.get(f"/v1/models/{identity}/weights?format=onnx")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_format")
    assert "safetensors" in answer.json()["detail"]


async def test_weights_and_layers_wait_for_the_inspection(harness: ApiHarness) -> None:
    made = await harness.upload("models")
    for part in ("weights", "layers"):
        answer = await harness.http.get(f"/v1/models/{made['id']}/{part}")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")


async def test_weights_and_layers_of_a_rejected_model_say_where_the_reason_is(harness: ApiHarness) -> None:
    identity = await harness.rejected("models")
    for part in ("weights", "layers"):
        answer = await harness.http.get(f"/v1/models/{identity}/{part}")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
        assert "refused this model" in answer.json()["detail"]
        assert "wait=60" not in answer.json()["detail"]


async def test_layers_name_what_a_feature_term_may_tap(harness: ApiHarness) -> None:
    found = await harness.get(f"/v1/models/{await harness.ready_model()}/layers")
    assert found["data"] == [{"name": "layers.0", "kind": "linear", "shape": [3], "parameters": 15}]


@pytest.mark.parametrize("path", ["models", "datasets", "jobs"])
async def test_another_projects_ids_do_not_exist_here(harness: ApiHarness, path: str) -> None:
    prefix = {"models": "mdl", "datasets": "ds", "jobs": "job"}[path]
    for identity in (f"{prefix}_01890000-0000-7000-8000-000000000000", "x", "..%2f..%2fetc", "a" * 500):
        answer = await harness.http.get(f"/v1/{path}/{identity}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


async def test_the_same_key_and_content_replay_the_first_upload(any_harness: ApiHarness) -> None:
    first = await any_harness.post("datasets", DATASET, npz(), **{"Idempotency-Key": "k1"})
    second = await any_harness.post("datasets", DATASET, npz(), **{"Idempotency-Key": "k1"})
    assert (second.status_code, second.json()) == (201, first.json())
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["idempotency-replayed"] == "true"
    assert len((await any_harness.get("/v1/datasets"))["data"]) == 1


async def test_the_same_key_with_another_content_is_refused(any_harness: ApiHarness) -> None:
    assert (await any_harness.post("datasets", DATASET, npz(), **{"Idempotency-Key": "k1"})).status_code == 201
    others: list[tuple[Any, bytes]] = [(DATASET | {"name": "other"}, npz()), (DATASET, npz("x", "digit", "more"))]
    for manifest, file in others:
        answer = await any_harness.post("datasets", manifest, file, **{"Idempotency-Key": "k1"})
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    model = await any_harness.post("models", MODEL, safetensors(), **{"Idempotency-Key": "k1"})
    assert model.status_code == 422


async def test_an_error_is_not_remembered_under_its_key(any_harness: ApiHarness) -> None:
    bad = await any_harness.post("datasets", DATASET | {"inputs": {}}, npz(), **{"Idempotency-Key": "k1"})
    assert bad.status_code == 422
    good = await any_harness.post("datasets", DATASET, npz(), **{"Idempotency-Key": "k1"})
    assert good.status_code == 201
