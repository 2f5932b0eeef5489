"""Quantized files of ready models, measured on the rows of a dataset: uploads, and what does not go together."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.contracts.problems import UserError
from app.contracts.reports.report import ExportReport
from app.contracts.specs.jobs import ExportJob
from app.contracts.specs.quantization import Export
from app.contracts.wire.orders import ExportOutcome, ModelInput, Order
from tests.engine.export.raw_rows.bare_runs import Json, answers, dataset_of
from tests.engine.export.raw_rows.test_failed_checks import traced_otherwise
from tests.engine.export.raw_rows.test_ready_models import CATEGORIES, architecture_of, uploaded
from tests.engine.harness import DATASET, TEACHER, EngineHarness, StopAtStep, blobs
from tests.engine.jobs.datasets.forms.photos import photos, with_photos
from tests.engine.jobs.inspection.onnx_graphs import graph, inspected, onnx_manifest
from workers.engine.common.files import sha256_of
from workers.engine.export import onnx as writer
from workers.engine.jobs.exports import ready_quantized
from workers.engine.jobs.exports.invented_rows import CHECKED_ROWS
from workers.engine.models import build, initialise
from workers.engine.run import execute

ROWS = 240
CHANNELS_LAST: Json = {
    "architecture": {"family": "mlp", "input_shape": [4, 4, 3], "hidden": [60], "outputs": {"y": 3, "z": 2}},
    "inputs": {"x": {"scale": 0.1, "mean": [1.0, 2.0, 3.0], "std": 2.0, "layout": "channels_last"}},
    "outputs": {"y": {"kind": "class", "output": "energies"}, "z": {"kind": "multilabel"}},
}
IMAGES = np.random.default_rng(0).integers(0, 100, size=(ROWS, 4, 4, 3)).astype(np.float32)
LAST: Json = {"inputs": {"x": {"kind": "array", "layout": "channels_last"}}}


def export(harness: EngineHarness, model: ModelInput, wanted: Export, folder: str = "export") -> ExportOutcome:
    """Run the export of a model, with the dataset of the harness if it has one."""
    path, data = str(harness.folder / folder), harness.data
    spec = ExportJob(model=TEACHER, format=wanted, dataset=None if data is None else DATASET)
    order = Order(
        job="export", attempt=1, spec=spec, models={TEACHER: model}, datasets={} if data is None else {DATASET: data},
        device="cpu", threads=1, attempt_dir=path, checkpoints_dir=path, cache_dir=path, cache_bytes=0,
    )  # fmt: skip
    outcome = execute(order, harness.log.emit, StopAtStep(1 << 60))
    assert isinstance(outcome, ExportOutcome)
    return outcome


def energies(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of the uploaded network for raw images, the lowest of which is the class."""
    network = build(architecture_of(CHANNELS_LAST))
    initialise(network, seed=1)
    standard = (x * 0.1 - np.array([1.0, 2.0, 3.0])) / 2.0
    with torch.no_grad():
        return np.asarray(network(torch.from_numpy(standard).float())["y"])


def test_an_upload_is_quantized_and_measured_on_the_rows_of_a_dataset(harness: EngineHarness) -> None:
    model = uploaded(harness, CHANNELS_LAST)
    scores = energies(IMAGES)
    told = {"x": IMAGES, "y": scores.argmin(1), "mean": IMAGES.mean((1, 2, 3))}
    targets = {"y": {"kind": "class", "classes": 3}, "mean": {"kind": "value"}}
    harness.dataset(told, targets=targets, **LAST, splits={"fractions": {"train": 0.5, "validation": 0.1, "test": 0.4}})
    outcome = export(harness, model, "int8")
    report = ExportReport.model_validate(outcome.report)
    assert (report.model, report.dataset, report.party.name) == (TEACHER, DATASET, "model_int8")
    accuracy = report.party.tasks["y"]["accuracy"]
    assert accuracy is not None
    assert 0.9 < accuracy == report.party.fidelity["y"].agreement, "its labels are the answers of the network"
    assert report.party.verdict["y"].student == 1.0
    assert report.party.verdict["z"].verdict == "not_applicable"
    assert set(report.not_measured) == {"z"}
    assert "no labels for the output `z`" in report.not_measured["z"]
    (file,) = outcome.files
    assert (file.role, file.bytes, file.sha256) == ("int8", report.party.bytes, report.party.digest)
    assert report.party.ratio < 0.5
    assert {each.split for each in report.party.candidates} == {"validation"}
    assert report.export["int8"].rows > 0
    assert report.party.runtime["onnxruntime"].latency["1"].keys() == {"1", "64"}
    if report.party.method == "static":
        logits = answers(harness.folder / "export" / "outputs" / file.path, {"x": IMAGES})["y.logits"]
        assert (logits.argmax(1) == scores.argmin(1)).mean() > 0.9
        assert float(np.abs(logits + scores).max()) < 0.2 * float(scores.std())


@pytest.mark.parametrize(
    ("names", "measured"),
    [(["c", "a", "b"], True), (["2", "0", "1"], True), (["c", "a", "d"], False)],
    ids=["in another order", "numbers", "others"],
)
def test_classes_of_labels_are_matched_to_those_of_a_model_by_name(
    names: list[str], measured: bool, harness: EngineHarness
) -> None:
    best = energies(IMAGES).argmin(1)
    if names[0] == "c":
        labels: NDArray[Any] = np.array([["c", "a", "b"][place] for place in best])
        target: Json = {"kind": "class", "classes": ["a", "b", "c"]}
    else:
        labels, target = np.array([int(names[place]) for place in best]), {"kind": "class", "classes": 3}
    harness.dataset({"x": IMAGES, "y": labels}, targets={"y": target}, **LAST)
    outputs = {**CHANNELS_LAST["outputs"], "y": {"kind": "class", "output": "energies", "classes": names}}
    report = ExportReport.model_validate(
        export(harness, uploaded(harness, {**CHANNELS_LAST, "outputs": outputs}), "fp16").report
    )
    assert ("y" not in report.not_measured) == measured
    if measured:
        found = report.party.tasks["y"]["accuracy"]
        assert found is not None
        assert found > 0.9, "the labels are the answers of the network, under its own names"


def test_a_measurement_that_fails_costs_no_file(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no such session")

    monkeypatch.setattr(ready_quantized, "measure", fails)
    harness.dataset({"x": IMAGES, "y": np.arange(ROWS) % 3}, targets={"y": {"kind": "class", "classes": 3}}, **LAST)
    outcome = export(harness, uploaded(harness, CHANNELS_LAST), "fp16")
    report = ExportReport.model_validate(outcome.report)
    assert [file.role for file in outcome.files] == ["fp16"]
    assert report.party.runtime == {}
    assert report.not_measured["runtime"] == "the measurement failed (RuntimeError: no such session)"


def refused(harness: EngineHarness, model: ModelInput) -> UserError:
    with pytest.raises(UserError) as error:
        export(harness, model, "int8")
    assert not list(harness.folder.glob("export/outputs/*"))
    return error.value


def test_rows_of_another_shape_are_refused(harness: EngineHarness) -> None:
    harness.dataset(
        {"x": IMAGES[:, :3], "y": np.arange(ROWS) % 3}, targets={"y": {"kind": "class", "classes": 3}}, **LAST
    )
    error = refused(harness, uploaded(harness, CHANNELS_LAST))
    assert error.code == "shape_mismatch"
    assert "3, 4" in error.message


def test_texts_are_no_numbers_though_a_row_has_as_many_tokens(harness: EngineHarness) -> None:
    path = harness.folder / "rows.jsonl"
    path.write_text('{"x": [1, 2, 3, 4], "y": 0}\n{"x": [4, 3], "y": 1}\n' * 60)
    inputs = {"x": {"kind": "tokens", "vocabulary": 12}}
    targets = {"y": {"kind": "class", "classes": 2}}
    dataset_of(harness, path, {"format": "jsonl", "inputs": inputs, "targets": targets})
    assert harness.data is not None
    assert harness.data.facts is not None
    width = harness.data.facts.inputs["x"].shape[0]
    plain = {"family": "mlp", "input_shape": [width], "hidden": [48], "outputs": {"y": 2}}
    model = uploaded(harness, {"architecture": plain, "outputs": {"y": {"kind": "class"}}})
    assert refused(harness, model).code == "input_mismatch"


@pytest.mark.parametrize(
    "categories",
    [{"a": ["red"], "b": ["2", "1"]}, {"a": ["blue"], "b": ["1", "2"]}],
    ids=["another order", "another name"],
)
def test_rows_of_other_categories_are_refused(categories: Json, harness: EngineHarness) -> None:
    path = harness.folder / "rows.csv"
    path.write_text("a,b,y\n" + "red,1,0\nblue,2,1\nred,2,2\n" * 40)
    words = {"kind": "category", "columns": ["a", "b"], "categories": categories}
    targets = {"y": {"kind": "class", "classes": 3}}
    dataset_of(harness, path, {"format": "csv", "inputs": {"x": words}, "targets": targets})
    error = refused(harness, uploaded(harness, CATEGORIES))
    assert error.code == "category_mismatch"
    assert "list the `categories`" in error.message


def test_numbers_are_no_categories(harness: EngineHarness) -> None:
    harness.dataset(
        {"x": np.ones((ROWS, 5), np.float32), "y": np.arange(ROWS) % 3}, targets={"y": {"kind": "class", "classes": 3}}
    )
    error = refused(harness, uploaded(harness, CATEGORIES))
    assert error.code == "category_mismatch"
    assert "list the `categories`" in error.message


@pytest.mark.parametrize("wanted", ["int8", "fp16"])
def test_an_uploaded_graph_is_its_own_export(wanted: Export, harness: EngineHarness, tmp_path: Path) -> None:
    facts, path = inspected(graph(), tmp_path), tmp_path / "model.onnx"
    model = ModelInput(id=TEACHER, manifest=onnx_manifest(), facts=facts, path=str(path), sha256=sha256_of(path))
    harness.dataset(
        {"x": np.ones((ROWS, 4), np.float32), "y": np.arange(ROWS) % 2}, targets={"y": {"kind": "class", "classes": 2}}
    )
    with pytest.raises(UserError) as error:
        export(harness, model, wanted)
    assert error.value.code == "no_architecture"


@pytest.mark.parametrize("with_rows", [True, False], ids=["with a dataset", "without"])
def test_a_ready_model_is_not_quantized_from_a_graph_that_differs(
    with_rows: bool, harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_traced", traced_otherwise)
    if with_rows:
        targets = {"y": {"kind": "class", "classes": 3}}
        harness.dataset({"x": IMAGES, "y": np.arange(ROWS) % 3}, targets=targets, **LAST)
    with pytest.raises(UserError) as error:
        export(harness, uploaded(harness, CHANNELS_LAST), "int8" if with_rows else "fp16")
    assert error.value.code == "export_mismatch"
    assert "differs from the engine's" in error.value.message
    assert not list(harness.folder.glob("export/outputs/*"))


def with_gaps(seed: int, offset: float) -> dict[str, NDArray[Any]]:
    """Rows with missing numbers, whose mean is that of the rows and of `offset`."""
    arrays, draw = blobs(seed=seed), np.random.default_rng(seed)
    arrays["x"] = arrays["x"] + np.float32(offset)
    arrays["x"][draw.random(arrays["x"].shape) < 0.2] = np.nan
    return arrays


def student_of_gaps(harness: EngineHarness) -> ModelInput:
    """A student that fills missing numbers with the means of the rows that it was trained on."""
    harness.dataset(with_gaps(0, 0.0), inputs=GAPS)
    network = {"family": "mlp", "hidden": [48, 48]}
    outcome = harness.run({"kind": "train", "target": "size", "model": network, "training": {"epochs": 2}}, "trained")
    return harness.teacher(outcome, harness.folder / "trained" / "attempt-1")


GAPS: Json = {"x": {"kind": "array", "missing": "mean"}}


def test_figures_on_rows_with_gaps_are_those_of_the_file_which_fills_them_as_the_model_was_trained(
    harness: EngineHarness,
) -> None:
    model = student_of_gaps(harness)
    arrays = with_gaps(1, 5.0)
    split = np.where(np.arange(ROWS) % 2 == 0, "train", "test")
    harness.dataset({**arrays, "split": split}, inputs=GAPS, splits={"column": "split"})
    outcome = export(harness, model, "fp16")
    report = ExportReport.model_validate(outcome.report)
    raw = {"x": arrays["x"][split == "test"]}
    found = answers(harness.folder / "export" / "outputs" / outcome.files[0].path, raw)["size.value"].ravel()
    expected = float(np.sqrt(np.mean((found - arrays["size"][split == "test"]) ** 2)))
    assert report.party.tasks["size"]["rmse"] == pytest.approx(expected, rel=1e-5)
    assert {each.split for each in report.party.candidates} == {"train"}, "there is no validation split"
    check = report.export["fp16"]
    assert (check.rows, check.unchecked_datasets) == (ROWS // 2, ()), (
        "the rows of the dataset as they stand in the file"
    )


def test_a_file_is_checked_on_invented_rows_where_those_of_the_dataset_stand_in_another_form(
    harness: EngineHarness,
) -> None:
    model = student_of_gaps(harness)
    arrays = blobs(seed=1)
    harness.dataset({**arrays, "x": arrays["x"].reshape(ROWS, 2, 3)}, inputs={"x": {"kind": "array", "shape": [6]}})
    check = ExportReport.model_validate(export(harness, model, "fp16").report).export["fp16"]
    assert (check.rows, check.unchecked_datasets) == (CHECKED_ROWS, (DATASET,))


@pytest.mark.parametrize(
    ("missing", "size"), [("mean", 6), ("indicator", 3)], ids=["filled", "numbers that would be indicators"]
)
def test_gaps_that_the_file_does_not_fill_are_refused(missing: str, size: int, harness: EngineHarness) -> None:
    arrays = with_gaps(0, 0.0)
    inputs = {"x": {"kind": "array", "missing": missing}}
    harness.dataset({**arrays, "x": arrays["x"][:, :size]}, inputs=inputs)
    plain = {"family": "mlp", "input_shape": [6], "hidden": [48], "outputs": {"label": 3}}
    model = uploaded(harness, {"architecture": plain, "outputs": {"label": {"kind": "class"}}})
    error = refused(harness, model)
    assert error.code == "missing_mismatch"
    assert f'`missing` null and `x` of the dataset has "{missing}"' in error.message


def test_an_upload_is_not_quantized_on_rows_by_another_form_than_its_own(harness: EngineHarness) -> None:
    arch = {"family": "mlp", "input_shape": [3, 4, 4], "hidden": [60], "outputs": {"label": 3}}
    inputs = {"photo": {"form": {"size": [4, 4], "filter": "bicubic"}}}
    manifest = {"architecture": arch, "inputs": inputs, "outputs": {"label": {"kind": "class"}}}
    with_photos(harness, photos(15), size=[4, 4])
    model = uploaded(harness, manifest)
    with pytest.raises(UserError, match="name a dataset whose input is described as the model's `form`") as caught:
        export(harness, model, "fp16")
    assert caught.value.code == "shape_mismatch"
    with_photos(harness, photos(15), size=[4, 4], filter="bicubic")
    assert export(harness, model, "fp16", "again").report is not None
