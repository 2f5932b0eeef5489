"""`GET /v1/jobs/{id}/student/weights?task=`: one task's cut of a student of several tasks."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.engine.export.test_cuts import cut, exported
from tests.engine.models.sharing.networks import OUTPUTS, SCHEMES, shared, with_running_statistics
from tests.integration.api.harness import ApiHarness


async def finished(harness: ApiHarness, weights: bytes, tasks: tuple[str, ...] = ("left", "right")) -> str:
    """The path of a multitask job that has left these weights."""
    spec: dict[str, Any] = await harness.train_spec()
    named = [{"name": name, "target": "digit"} for name in tasks]
    student = spec.pop("model")
    job = await harness.submit(spec | {"kind": "multitask", "tasks": named, "student": student})
    await harness.succeed(await harness.begin(), weights)
    return f"/v1/jobs/{job['id']}"


class Files(NamedTuple):
    """A student of several tasks, and what its cuts must be."""

    whole: bytes
    cuts: dict[str, bytes]


def files(folder: Path, scheme: str) -> Files:
    path = folder / "whole.safetensors"
    exported(with_running_statistics(shared("convnet", scheme)), path)
    return Files(path.read_bytes(), {task: cut(path, task).read_bytes() for task in OUTPUTS})


@pytest.fixture
def student(tmp_path: Path) -> Files:
    return files(tmp_path, "cgc")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_cut_is_put_together_from_the_students_bytes(harness: ApiHarness, scheme: str, tmp_path: Path) -> None:
    student = files(tmp_path, scheme)
    weights = f"{await finished(harness, student.whole)}/student/weights"
    whole = await harness.http.get(weights)
    assert whole.content == student.whole
    for task in OUTPUTS:
        answer = await harness.http.get(f"{weights}?task={task}")
        assert answer.status_code == 200
        assert answer.content == student.cuts[task]
        assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"' != whole.headers["etag"]
        assert f'-{task}.safetensors"' in answer.headers["content-disposition"]


async def test_a_cut_has_length_ranges_and_conditions_like_every_file(any_harness: ApiHarness, student: Files) -> None:
    path = f"{await finished(any_harness, student.whole)}/student/weights?task=left"
    content = student.cuts["left"]
    head = await any_harness.http.head(path)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(content)), b"")
    for start, end in ((0, 8), (3, 2000), (len(content) - 90, len(content))):
        part = await any_harness.http.get(path, headers={"Range": f"bytes={start}-{end - 1}"})
        assert (part.status_code, part.content) == (206, content[start:end])
    beyond = await any_harness.http.get(path, headers={"Range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416
    again = await any_harness.http.get(path, headers={"If-None-Match": head.headers["etag"]})
    assert again.status_code == 304


async def test_a_task_that_is_not_there_is_404_with_those_that_are(harness: ApiHarness, student: Files) -> None:
    path = f"{await finished(harness, student.whole)}/student/weights"
    for unknown in ("right", "", "left/../x"):
        answer = await harness.http.get(f"{path}?task={unknown}")
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_task")
        assert all(f"`{name}`" in answer.json()["detail"] for name in OUTPUTS)
    assert (await harness.http.get(f"{path}?task={'x' * 65}")).status_code in (400, 422)


async def test_the_one_task_of_a_multitask_job_is_the_whole_student(harness: ApiHarness, tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    exported(with_running_statistics(shared("mlp", "hard", {"left": 3})), path)
    weights = f"{await finished(harness, path.read_bytes(), ('left',))}/student/weights"
    assert (await harness.http.get(f"{weights}?task=left")).content == path.read_bytes()
    assert (await harness.http.get(f"{weights}?task=right")).json()["code"] == "no_such_task"


async def test_a_job_of_another_kind_has_no_cuts(harness: ApiHarness, student: Files) -> None:
    job = await harness.submit()
    await harness.succeed(await harness.begin(), student.whole)
    answer = await harness.http.get(f"/v1/jobs/{job['id']}/student/weights?task=left")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_multitask")
    assert "train" in answer.json()["detail"]


async def test_a_student_that_is_not_there_has_no_cut_either(harness: ApiHarness) -> None:
    path = f"/v1/jobs/{(await harness.submit())['id']}"
    answer = await harness.http.get(f"{path}/student/weights?task=left")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")
    unknown = "job_01890000-0000-7000-8000-000000000000"
    assert (await harness.http.get(f"/v1/jobs/{unknown}/student/weights?task=left")).json()["code"] == "unknown_job"


async def test_a_cut_stays_with_the_job_when_the_student_is_deleted(harness: ApiHarness, student: Files) -> None:
    path = await finished(harness, student.whole)
    model = (await harness.get(path))["student"]
    assert (await harness.http.delete(f"/v1/models/{model}")).status_code == 204
    found = await harness.http.get(f"{path}/student/weights?task=total")
    assert found.content == student.cuts["total"]
