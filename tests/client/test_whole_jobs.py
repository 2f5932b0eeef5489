"""The client against a real service: from arrays to a student, and what goes wrong on the way."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pandas
import pytest
import torch
from stillhouse import (
    Client,
    Conflict,
    Dataset,
    Invalid,
    Job,
    JobCancelled,
    JobFailed,
    NotFound,
    Rejected,
    Timeout,
    Unauthorized,
)

from tests.client.conftest import CLASSES, LONG, NETWORK, SHORT, clouds
from tests.demo.service import Service


def test_a_student_is_distilled_and_its_report_and_curves_are_read(
    client: Client, dataset: Dataset, trained: Job
) -> None:
    job = client.jobs.distill(dataset, NETWORK, teacher=trained, repeats=1, training=SHORT).wait()
    assert_type(job.student_id, str | None)
    assert_type(job.started_at, datetime | None)
    assert_type(dataset.splits, dict[str, int])
    assert (job.kind, job.state, job.ended) == ("distill", "succeeded", True)
    assert job.started_at is not None
    assert job.finished_at is not None
    assert job.started_at <= job.finished_at
    report = job.report
    assert report.verdict == report["verdict"]["kind"]["verdict"]
    assert report.student["tasks"]["kind"]["accuracy"] > 0.9
    assert report.text.startswith("Distilled")
    assert "<svg" in report._repr_html_()
    assert report.markdown.startswith("# ")
    other = client.jobs.distill(dataset, NETWORK, teachers=[{"job": trained}], repeats=1, training=SHORT).wait()
    compared = client.jobs.compare([job, other])
    assert compared.compared == 2
    assert {each["job"] for each in compared.tasks["kind"]["jobs"]} == {job.id, other.id}


def test_curves_are_columns_that_pandas_takes(trained: Job) -> None:
    metrics = trained.metrics()
    frame = pandas.DataFrame(metrics)
    assert list(frame.columns) == ["series", "step", "epoch", "time", "value"]
    assert {"train/loss", "validation/kind/accuracy"} <= set(frame["series"])
    wide = pandas.DataFrame(metrics.wide())
    assert wide["step"].is_monotonic_increasing
    assert wide["train/loss"].dropna().tolist() == frame[frame["series"] == "train/loss"]["value"].tolist()
    assert metrics.latest["train/loss"] == wide["train/loss"].dropna().iloc[-1]
    few = trained.metrics(points=4, series="train/loss", since=5)
    assert set(few["series"]) == {"train/loss"}
    assert 0 < len(few["step"]) <= 4
    assert min(few["step"]) > 5


def test_events_are_numbered_and_end_with_the_job(trained: Job) -> None:
    events = list(trained.events())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.seq for event in trained.past_events()] == [event.seq for event in events]
    assert events[-1].data["state"] == "succeeded"
    states = [event.seq for event in events if event.type == "state"]
    assert [event.seq for event in trained.events(types="state")] == states
    assert [event.seq for event in trained.past_events(types=("state",))] == states
    assert [event.seq for event in trained.events(after=events[-2].seq)] == [events[-1].seq]


def test_a_student_is_downloaded_and_answers_here_as_in_the_service(trained: Job, tmp_path: Path) -> None:
    student = trained.student
    assert student.source["job"] == trained.id
    assert student.download(tmp_path).name == f"{student.id}.safetensors"
    rows = clouds()["x"][:4]
    prediction = student.predict({"x": rows})
    assert prediction["kind"]["class"].tolist() == [0, 1, 2, 0]
    session = student.load_onnx()
    (local,) = session.run(["kind.probabilities"], {"x": rows})
    np.testing.assert_allclose(prediction["kind"]["probabilities"], local, atol=1e-5)
    assert student.predict({"x": rows.tolist()}).json["outputs"].keys() == {"kind"}
    assert student.layers()
    bundle = student.download(tmp_path / "bundle.zip", format="bundle", progress=True)
    assert bundle.read_bytes().startswith(b"PK")
    with np.load(trained.predictions(path=tmp_path / "test.npz")) as arrays:
        assert len(arrays["test/row"]) == 36


def test_lists_go_over_pages_and_take_filters(client: Client, trained: Job) -> None:
    assert trained in list(client.jobs.list(kind="train", state="succeeded", label="team=a"))
    assert list(client.jobs.list(label="team=b")) == []
    assert len(list(client.jobs.list(limit=1))) == 1
    assert trained.student in list(client.models.list(state="ready"))
    assert {each.state for each in client.datasets.list(format="npz", state="ready")} == {"ready"}


def test_a_dry_run_says_what_a_job_would_be_and_a_wrong_spec_where_it_is_wrong(
    client: Client, dataset: Dataset
) -> None:
    spec = {"kind": "train", "dataset": dataset, "model": NETWORK}
    checked = client.jobs.dry_run(spec)
    assert checked.complete
    assert checked.parameters == CLASSES * 4 + 4 + 4 * CLASSES + CLASSES
    before = len(list(client.jobs.list()))
    with pytest.raises(Invalid) as wrong:
        client.jobs.submit({**spec, "model": {"family": "mlp", "hidden": [0]}, "targets": "kind"})
    assert {problem.pointer for problem in wrong.value.errors} == {"/model/hidden/0", "/targets"}
    assert "/model/hidden/0" in str(wrong.value)
    assert len(list(client.jobs.list())) == before


def test_a_preflight_estimates_a_job(client: Client, dataset: Dataset) -> None:
    job = client.jobs.preflight({"kind": "train", "dataset": dataset, "model": NETWORK}).wait()
    assert job.report["would_fail"] == []


def test_a_wrong_key_and_an_unknown_id_are_errors_of_their_own(service: Service, client: Client) -> None:
    with Client(service.url, "wrong-key-of-nobody") as stranger, pytest.raises(Unauthorized) as refused:
        stranger.check()
    assert "wrong-key" not in str(refused.value)
    with pytest.raises(NotFound, match="unknown_job"):
        client.jobs.get("job_none")


def test_a_rejected_dataset_says_why_and_can_be_corrected(client: Client) -> None:
    arrays = clouds()
    with pytest.raises(Rejected) as refused:
        client.datasets.upload(arrays, targets={"kind": {"kind": "class", "classes": 2}})
    assert refused.value.code in str(refused.value)
    assert refused.value.message in str(refused.value)
    dataset = client.datasets.get(refused.value.json["id"])
    assert dataset.state == "rejected"
    dataset.update(targets={"kind": {"kind": "class", "classes": CLASSES}}).wait()
    assert dataset.state == "ready"
    dataset.delete()
    with pytest.raises(NotFound):
        dataset.refresh()


def test_a_failed_job_raises_its_code_and_message(client: Client) -> None:
    arrays = clouds()
    layer = torch.nn.Linear(CLASSES, CLASSES)
    with torch.no_grad():
        layer.weight.copy_(-torch.eye(CLASSES) * 50)  # the wrong way round
    wrong = torch.nn.Sequential(layer)
    dataset = client.datasets.upload(arrays)
    teacher = client.models.upload(wrong, name="wrong", outputs="kind")
    job = client.jobs.distill(dataset, NETWORK, teacher=teacher, training=SHORT, labels={"case": "failed"})
    with pytest.raises(JobFailed) as failed:
        job.wait()
    assert failed.value.code == "teacher_mismatch"
    assert failed.value.message in str(failed.value)
    assert job.wait(check=False).state == "failed"
    with pytest.raises(Conflict, match="wait for its success"):
        print(job.student)
    again = job.retry()
    assert again.retry_of == job.id
    assert again.wait(check=False).state == "failed"


def test_a_wait_ends_after_its_time_and_the_job_goes_on_until_it_is_cancelled(client: Client, dataset: Dataset) -> None:
    job = client.jobs.train(dataset, NETWORK, training=LONG)
    with pytest.raises(Timeout, match="it goes on"):
        job.wait(timeout=0.2)
    assert not job.refresh().ended
    assert job.pause().state in ("pausing", "paused", "queued")
    client.jobs.cancel(job)
    with pytest.raises(JobCancelled):
        job.wait()
    job.delete()


def test_a_module_is_a_teacher_with_its_architecture_read(client: Client) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(CLASSES, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    model = client.models.upload(module, name="mine", outputs="kind", inputs={"x": {}}, licence="MIT")
    assert model.architecture is not None
    assert model.architecture["activation"] == "tanh"
    assert (model.name, model.licence) == ("mine", "MIT")
    rows = torch.randn(3, CLASSES)
    answered = model.predict({"x": rows.numpy()})["kind"]["logits"]
    np.testing.assert_allclose(answered, module(rows).detach().numpy(), atol=1e-5)


def test_unknown_fields_of_an_answer_are_kept_and_missing_ones_are_none(dataset: Dataset) -> None:
    document: dict[str, Any] = {**dataset.json, "colour": "blue"}
    del document["rows"]
    found = Dataset(document, dataset._session)
    assert found.rows is None
    assert found.json["colour"] == "blue"
    assert found == dataset
    assert json.loads(json.dumps(found.json)) == document
