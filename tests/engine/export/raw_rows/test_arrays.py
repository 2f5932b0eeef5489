"""Rows of npz files as they were uploaded -> the ONNX student in bare ONNX Runtime -> what the predictions file has."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_wine

from app.contracts.reports.report import Report
from tests.engine.export.raw_rows.bare_runs import (
    ROWS,
    SPLITS,
    Json,
    answers,
    check_against_predictions,
    dataset_of,
    stated,
    trained,
)
from tests.engine.harness import DATASET, OTHER, Arrays, EngineHarness, blobs, made_once
from tests.engine.models.sharing.networks import STUDENTS, TASKS
from tests.exhaustive import sample
from workers.engine.data.tables import uploaded

THIRD = "ds_01890a5d-ac96-774b-bcce-b302099a8059"
CLASSES: Json = {"y": {"kind": "class", "classes": ["low", "middle", "high"]}}
DRAW = np.random.default_rng(3)
PIXELS = DRAW.integers(0, 256, size=(ROWS, 8, 8), dtype=np.uint8)
COLOURS = DRAW.integers(0, 256, size=(ROWS, 8, 6, 3), dtype=np.uint8)
SCALES = DRAW.normal(size=(ROWS, 5)) * [1, 10, 100, 1000, 1] + [0, 50, -300, 8000, 5]
GAPS = np.where(DRAW.random((ROWS, 5)) < 0.2, np.nan, SCALES)
SECONDS = 1_700_000_000 + DRAW.uniform(0.0, 50.0, size=(ROWS, 4))
DATES = np.datetime64("2024-01-31T12:00:00") + DRAW.integers(0, 90, size=(ROWS, 2)).astype("timedelta64[s]")
IMAGES: Json = {"family": "convnet", "channels": [4]}
FLAT: Json = {"family": "mlp", "hidden": [8]}

Case = tuple[NDArray[Any], Json, Json]
CASES: dict[str, Case] = {
    "pixels": (PIXELS, {"shape": [1, 8, 8], "scale": 1 / 255}, IMAGES),
    "pixels, standardised by the recipe": (PIXELS, {"shape": [1, 8, 8]}, IMAGES),
    "flat pixels of a convnet": (PIXELS.reshape(ROWS, 64), {"standardize": True}, {**IMAGES, "input_shape": [1, 8, 8]}),
    "colours, channels last": (
        COLOURS,
        {"layout": "channels_last", "standardize": True},
        {"family": "resnet", "depth": 8, "stem": 4},
    ),
    "a series": (DRAW.normal(size=(ROWS, 2, 20)).astype(np.float32) * 40, {"standardize": True}, IMAGES),
    "tokens of a transformer": (
        DRAW.normal(size=(ROWS, 4, 3)) * 40,
        {"standardize": True},
        {"family": "transformer", "width": 8, "depth": 1, "heads": 2},
    ),
    "columns of other scales": (SCALES, {"standardize": True}, FLAT),
    "half precision": (SCALES.astype(np.float16), {"standardize": True}, FLAT),
    "whole numbers": (DRAW.integers(-500, 40_000, size=(ROWS, 5)), {"standardize": True, "scale": 0.5}, FLAT),
    "small whole numbers": (DRAW.integers(0, 9, size=(ROWS, 5), dtype=np.uint16), {}, FLAT),
    "booleans": (DRAW.random((ROWS, 5)) < 0.5, {}, FLAT),
    "one number a row": (SCALES[:, 3].copy(), {"standardize": True}, FLAT),
    "seconds far from zero": (SECONDS, {"standardize": True}, FLAT),
    "gaps filled by the mean": (GAPS, {"missing": "mean", "standardize": True}, FLAT),
    "gaps with indicators": (
        GAPS.astype(np.float32),
        {"missing": "indicator", "standardize": True, "scale": 0.1},
        FLAT,
    ),
    "gaps of images": (
        np.where(DRAW.random((ROWS, 8, 6, 3)) < 0.1, np.nan, COLOURS),
        {"missing": "median", "layout": "channels_last", "standardize": True},
        IMAGES,
    ),
    "indicators of whole numbers": (PIXELS.reshape(ROWS, 64), {"missing": "indicator", "standardize": True}, FLAT),
}
KEPT = [
    "colours, channels last",
    "whole numbers",
    "one number a row",
    "seconds far from zero",
    "gaps with indicators",
    "gaps of images",
]


def labelled(x: NDArray[Any]) -> Arrays:
    """Classes that the rows tell."""
    sums = np.nan_to_num(x.astype(np.float64)).reshape(len(x), -1).sum(1)
    thirds = np.quantile(sums, [1 / 3, 2 / 3])
    return {"x": x, "y": np.array(["low", "middle", "high"])[np.digitize(sums, thirds)]}


@made_once
def case(harness: EngineHarness, name: str) -> None:
    """The rows of a case, and the job that trained its model and exported it."""
    x, spec, model = CASES[name]
    harness.dataset(labelled(x), inputs={"x": {"kind": "array", **spec}}, targets=CLASSES, **SPLITS)
    trained(harness, {"kind": "train", "model": model})


@pytest.mark.parametrize("name", sample(CASES, KEPT))
def test_a_file_of_rows_gives_the_predictions_of_its_job(name: str, harness: EngineHarness) -> None:
    case(harness, name)
    x = CASES[name][0]
    report = Report.model_validate_json((harness.outputs() / "report.json").read_bytes())
    assert report.export["onnx"].rows == len(x) * 0.4
    assert report.export["onnx"].classes_changed == 0
    found = check_against_predictions(harness, {"x": x})
    assert list(found) == ["y.logits", "y.probabilities"]


def test_on_real_wine_the_file_is_right_as_often_as_the_report_says(harness: EngineHarness) -> None:
    """Its columns have scales from 0.1 to 1000: a graph that began after the transform was right about a third."""
    x, y = load_wine(return_X_y=True)
    harness.dataset({"x": x, "y": y}, inputs={"x": {"kind": "array"}}, targets={"y": {"kind": "class", "classes": 3}})
    training = {"epochs": 60, "batch_size": 32, "learning_rate": 0.01}
    report = trained(harness, {"kind": "train", "model": FLAT, "training": training})
    found = check_against_predictions(harness, {"x": x})
    with np.load(harness.outputs() / "predictions-test.npz") as file:
        rows = file["test/row"]
    accuracy = float((found["y.probabilities"].argmax(1) == y[rows]).mean())
    assert accuracy == pytest.approx(report.student.tasks["y"]["accuracy"])
    assert accuracy > 0.9


def test_dates_are_seconds(harness: EngineHarness) -> None:
    """No graph takes numpy's dates: seconds since 1970 take their place, as the file says."""
    arrays = {**labelled(DATES.astype("datetime64[s]").astype(np.int64)), "x": DATES}
    harness.dataset(arrays, inputs={"x": {"kind": "array", "standardize": True}}, targets=CLASSES, **SPLITS)
    trained(harness, {"kind": "train", "model": FLAT})
    check_against_predictions(harness, {"x": DATES.astype("datetime64[s]").astype(np.float64)})
    assert "seconds since 1970-01-01 UTC" in stated(harness.outputs() / "student.onnx")["card"]


def test_the_file_says_what_it_takes_and_what_its_classes_are(harness: EngineHarness) -> None:
    case(harness, "colours, channels last")
    path = harness.outputs() / "student.onnx"
    session = onnxruntime.InferenceSession(path)
    (source,) = session.get_inputs()
    assert (source.name, source.type, source.shape) == ("x", "tensor(uint8)", ["batch", 8, 6, 3])
    assert [output.shape for output in session.get_outputs()] == [["batch", 3], ["batch", 3]]
    document = stated(path)
    assert (document["version"], document["opset"]) == (2, 18)
    assert (document["inputs"]["x"]["dtype"], document["inputs"]["x"]["shape"]) == ("uint8", ["batch", 8, 6, 3])
    assert document["outputs"]["y"]["classes"] == ["low", "middle", "high"]
    assert "`x`: uint8 [batch, 8, 6, 3]" in document["card"]
    assert "## Quality on the test split" in document["card"]


@pytest.mark.parametrize("family", ["mlp", "convnet"])
def test_rows_that_a_dataset_may_not_have_get_no_answer(family: str, harness: EngineHarness) -> None:
    """Whatever the layers between make of them, such as the maximum of a pool."""
    x = SCALES if family == "mlp" else PIXELS.astype(np.float32)[:, None]
    model = FLAT if family == "mlp" else IMAGES
    harness.dataset(labelled(x), inputs={"x": {"kind": "array"}}, targets=CLASSES, **SPLITS)
    trained(harness, {"kind": "train", "model": model})
    holed = x[:5].copy()
    for row, number in ((1, np.nan), (2, np.inf), (3, -np.inf)):
        holed[row].flat[1] = number
    check_unanswered(harness, holed, [1, 2, 3])


def test_a_gap_is_filled_and_what_float32_cannot_hold_is_refused(harness: EngineHarness) -> None:
    """As in the rows of a dataset, in which infinity is no missing number."""
    inputs: Json = {"x": {"kind": "array", "missing": "indicator"}, "tokens": {"kind": "array"}}
    arrays: Arrays = {**labelled(GAPS), "tokens": PIXELS.reshape(ROWS, 64)}
    harness.dataset(arrays, inputs=inputs, targets=CLASSES, **SPLITS)
    trained(harness, {"kind": "train", "model": FLAT})
    holed = SCALES[:5].copy()
    for row, number in ((1, np.nan), (2, np.inf), (3, -np.inf), (4, 1e39)):
        holed[row, 1] = number
    check_unanswered(harness, holed, [2, 3, 4], tokens=arrays["tokens"][:5])


def check_unanswered(harness: EngineHarness, x: NDArray[Any], rows: list[int], **others: NDArray[Any]) -> None:
    """These rows have answers of NaN, and the others numbers."""
    found = answers(harness.outputs() / "student.onnx", {"x": x, **others})
    for values in found.values():
        assert np.flatnonzero(np.isnan(values).all(1)).tolist() == rows
        assert np.flatnonzero(np.isfinite(values).all(1)).tolist() == [i for i in range(len(x)) if i not in rows]


@pytest.mark.parametrize("scheme", sample(["hard", *STUDENTS], ["mtan"]))
def test_every_task_of_a_shared_student_answers(scheme: str, harness: EngineHarness) -> None:
    arrays = blobs(ROWS, features=16)
    harness.dataset(arrays, inputs={"x": {"kind": "array", "standardize": True}}, **SPLITS)
    student = STUDENTS.get(scheme, FLAT)
    trained(harness, {"kind": "multitask", "tasks": TASKS, "student": student})
    found = check_against_predictions(harness, {"x": arrays["x"]})
    assert set(found) == {"label.logits", "label.probabilities", "side.logits", "side.probabilities", "size.value"}


def test_numbers_labels_and_vectors_are_in_their_own_units(harness: EngineHarness) -> None:
    """Among them values so far from zero that float32 has no digits left for them."""
    x = SCALES.astype(np.float32)
    arrays: Arrays = {
        "x": x,
        "when": 1_700_000_000 + x[:, 0].astype(np.float64),
        "traits": (x[:, :3] > 0).astype(np.float32),
        "place": x[:, 1:3] * 7 + 1000,
    }
    targets: Json = {
        "when": {"kind": "value"},
        "traits": {"kind": "multilabel"},
        "place": {"kind": "vector"},
    }
    harness.dataset(arrays, inputs={"x": {"kind": "array", "standardize": True}}, targets=targets, **SPLITS)
    tasks = [{"name": name} for name in targets]
    trained(harness, {"kind": "multitask", "tasks": tasks, "student": FLAT})
    found = check_against_predictions(harness, {"x": x})
    assert found["when.value"].dtype == np.float64
    assert abs(float(found["when.value"].mean()) - 1_700_000_000) < 100
    assert abs(float(found["place.vector"].mean()) - arrays["place"].mean()) < arrays["place"].std()


def test_several_inputs_go_in_by_their_names_and_types(harness: EngineHarness) -> None:
    tokens = DRAW.integers(0, 9, size=(ROWS, 3), dtype=np.int32)
    inputs: Json = {
        "pixels": {"kind": "array", "scale": 1 / 255},
        "seconds": {"kind": "array", "standardize": True},
        "tokens": {"kind": "array"},
        "gaps": {"kind": "array", "missing": "indicator"},
        "unread": {"kind": "array"},
    }
    arrays: Arrays = {
        "pixels": PIXELS.reshape(ROWS, 64),
        "seconds": SECONDS,
        "tokens": tokens,
        "gaps": GAPS,
        "unread": SCALES,
    }
    harness.dataset({**arrays, "unread": SCALES, "y": labelled(PIXELS)["y"]}, inputs=inputs, targets=CLASSES, **SPLITS)
    read = ["pixels", "seconds", "tokens", "gaps"]
    trained(harness, {"kind": "train", "model": {**FLAT, "inputs": read}})
    check_against_predictions(harness, {name: arrays[name] for name in read})


def test_rows_of_several_files_are_checked_where_they_are_alike(harness: EngineHarness) -> None:
    """A file of bytes and one of whole numbers: the graph takes what both have."""
    inputs: Json = {"x": {"kind": "array", "scale": 1 / 255}}
    small, wide = PIXELS.reshape(ROWS, 64), PIXELS.reshape(ROWS, 64).astype(np.int32)
    harness.dataset(labelled(small), inputs=inputs, targets=CLASSES, **SPLITS)
    harness.another(labelled(wide), inputs=inputs, targets=CLASSES, **SPLITS)
    both = [{"dataset": DATASET}, {"dataset": OTHER}]
    report = trained(harness, {"kind": "train", "datasets": both, "model": FLAT})
    assert report.export["onnx"].rows == 2 * ROWS * 0.4
    assert report.export["onnx"].unchecked_datasets == ()
    with np.load(harness.outputs() / "predictions-test.npz") as file:
        rows, logits = file["test/row"], file["test/y/student"]
    found = answers(harness.outputs() / "student.onnx", {"x": wide[rows]})
    np.testing.assert_allclose(found["y.logits"], logits, rtol=0, atol=1e-4)


def test_files_of_other_shapes_and_precisions_are_no_rows_of_the_graph(harness: EngineHarness) -> None:
    """The first file is rounded to float32, the second is not: rows in the graph are as exact as the second's, and
    its images are no flat rows. The check is on invented rows.
    """
    inputs: Json = {"x": {"kind": "array", "standardize": True, "shape": [1, 2, 2]}}
    harness.dataset(labelled(SCALES[:, :4]), inputs=inputs, targets=CLASSES, **SPLITS)
    harness.another(labelled(SECONDS.reshape(ROWS, 1, 2, 2)), inputs=inputs, targets=CLASSES, **SPLITS)
    both = [{"dataset": DATASET}, {"dataset": OTHER}]
    report = trained(harness, {"kind": "train", "datasets": both, "model": IMAGES})
    assert report.export["onnx"].rows == 64
    assert report.export["onnx"].unchecked_datasets == (DATASET, OTHER)
    (warning,) = [each for each in report.warnings if each["code"] == "rows_not_checked"]
    assert f"rows of {DATASET}, {OTHER} stand in another shape" in warning["message"]
    assert answers(harness.outputs() / "student.onnx", {"x": SCALES[:, :4]})["y.logits"].shape == (ROWS, 3)


def test_a_dataset_of_another_shape_is_named_and_the_others_are_checked_in_equal_shares(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploaded, "MOST_KEPT", 50)
    inputs: Json = {"x": {"kind": "array", "shape": [1, 8, 8]}}
    harness.dataset(labelled(PIXELS.reshape(ROWS, 64)), inputs=inputs, targets=CLASSES, **SPLITS)
    harness.another(labelled(PIXELS.reshape(ROWS, 64)[:40]), inputs=inputs, targets=CLASSES, **SPLITS)
    harness.another(labelled(PIXELS), THIRD, inputs=inputs, targets=CLASSES, **SPLITS)
    all_three = [{"dataset": DATASET}, {"dataset": OTHER}, {"dataset": THIRD}]
    spec: Json = {"kind": "train", "datasets": all_three, "model": IMAGES, "exports": ["onnx"]}
    report = trained(harness, spec)
    assert report.export["onnx"].unchecked_datasets == (THIRD,)
    assert report.export["onnx"].rows == 50
    told = [each for each in report.warnings if each["code"] == "rows_not_checked"]
    assert told == [each for each in harness.order(spec).warnings if each["code"] == "rows_not_checked"]
    assert f"rows of {THIRD} stand" in told[0]["message"]


def test_an_input_that_the_student_does_not_read_leaves_no_dataset_unchecked(harness: EngineHarness) -> None:
    inputs: Json = {"x": {"kind": "array"}, "unread": {"kind": "array", "shape": [4]}}
    alike, flat = labelled(SCALES), np.ones((ROWS, 4), np.float32)
    harness.dataset({**alike, "unread": flat}, inputs=inputs, targets=CLASSES, **SPLITS)
    harness.another({**alike, "unread": flat.reshape(ROWS, 2, 2)}, inputs=inputs, targets=CLASSES, **SPLITS)
    both = [{"dataset": DATASET}, {"dataset": OTHER}]
    spec: Json = {"kind": "train", "datasets": both, "model": {**FLAT, "inputs": ["x"]}, "exports": ["onnx"]}
    report = trained(harness, spec)
    assert report.export["onnx"].unchecked_datasets == ()
    assert report.export["onnx"].rows == 2 * ROWS * 0.4
    assert "rows_not_checked" not in {each["code"] for each in report.warnings}
    unread = {**spec, "model": FLAT}
    assert "rows_not_checked" in {each["code"] for each in harness.order(unread).warnings}


def test_gaps_of_two_datasets_that_one_graph_cannot_fill_are_told_before_the_training(harness: EngineHarness) -> None:
    inputs: Json = {"x": {"kind": "array", "missing": "mean"}}
    harness.dataset(labelled(GAPS), inputs=inputs, targets=CLASSES, **SPLITS)
    harness.another(labelled(GAPS + 7), inputs=inputs, targets=CLASSES, **SPLITS)
    both = [{"dataset": DATASET}, {"dataset": OTHER}]
    spec: Json = {"kind": "train", "datasets": both, "model": FLAT, "exports": ["onnx"]}
    (warning,) = [each for each in harness.order(spec).warnings if each["code"] == "rows_not_exportable"]
    assert f"missing numbers of {OTHER} are filled from its own training rows" in warning["message"]
    report = trained(harness, spec)
    assert report.export == {}
    (failed,) = [each for each in report.warnings if each["code"] == "export_failed"]
    assert failed["message"] == f"the student has no ONNX file (rows_not_exportable): {warning['message']}"
    harness.another(labelled(SCALES + 7), inputs=inputs, targets=CLASSES, **SPLITS)
    assert "rows_not_exportable" not in {each["code"] for each in harness.order(spec).warnings}


def test_without_a_test_split_rows_of_the_training_split_are_checked(harness: EngineHarness, tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, **labelled(SCALES))  # type: ignore[arg-type]  # the stub takes them for allow_pickle
    fractions = {"splits": {"fractions": {"train": 0.8, "validation": 0.2}}}
    manifest: Json = {"format": "npz", "inputs": {"x": {"kind": "array"}}, "targets": CLASSES, **fractions}
    dataset_of(harness, path, manifest)
    assert trained(harness, {"kind": "train", "model": FLAT}).export["onnx"].rows == ROWS * 0.8
