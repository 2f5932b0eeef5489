"""Jobs whose teacher is a file of predictions: joined by id, they are the teacher that its columns would be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.engine.harness import DATASET, MANIFEST, OTHER, PREDICTED, STUDENT, Arrays, EngineHarness, blobs, report_of
from tests.engine.jobs.datasets.test_images import as_archive, in_order_of_paths, pictures, splits
from tests.engine.jobs.preflight.test_preflight import failures, preflight
from workers.engine.data.joining import read_datasets

ROWS = 240
CLASSES = {"kind": "class", "output": "probabilities"}
TRAINING: dict[str, Any] = {"epochs": 3, "batch_size": 64}
IDS = np.array([f"row-{7 * i:05d}" for i in range(ROWS)])
SHUFFLED = np.random.default_rng(3).permutation(ROWS)


def probabilities(labels: Any, classes: int = 3, seed: int = 5) -> Any:
    """A teacher that is mostly right, float32 [N, classes]."""
    scores = np.eye(classes)[labels] * 3.0 + np.random.default_rng(seed).normal(size=(len(labels), classes))
    exponentials = np.exp(scores)
    return (exponentials / exponentials.sum(1, keepdims=True)).astype(np.float32)


def rows(**more: Any) -> Arrays:
    return {**blobs(ROWS), "id": IDS, **more}


def write(folder: Path, ids: Any, **columns: Any) -> Path:
    path = folder / "predictions.npz"
    np.savez(path, id=ids, **columns)
    return path


def spec(**teacher: Any) -> dict[str, Any]:
    named = teacher or {"predictions": PREDICTED}
    return {"kind": "distill", "target": "label", "teachers": [named], "student": STUDENT, "training": TRAINING}


def test_a_student_of_predictions_is_that_of_the_same_numbers_in_columns(harness: EngineHarness) -> None:
    told = probabilities(blobs(ROWS)["label"])
    targets = {**MANIFEST["targets"], "told": {"kind": "teacher", "predicts": CLASSES}}
    harness.dataset(rows(told=told), targets=targets)
    path = write(harness.folder, IDS[SHUFFLED], label=told[SHUFFLED])
    harness.predictions(path, file_format="npz", outputs={"label": {"predicts": CLASSES}})
    columns = report_of(harness.run(spec(columns="told"), "columns"))
    predictions = report_of(harness.run(spec(), "predictions"))
    assert harness.digest("predictions") == harness.digest("columns")
    assert predictions.teachers[0].tasks == columns.teachers[0].tasks
    assert predictions.fidelity == columns.fidelity
    assert (predictions.teachers[0].name, predictions.targets[0].teacher) == ("elsewhere", "elsewhere")
    assert predictions.targets[0].store == "columns"


def test_the_preflight_measures_predictions_by_name(harness: EngineHarness) -> None:
    harness.dataset(rows())
    path = write(harness.folder, IDS, label=probabilities(blobs(ROWS)["label"]))
    harness.predictions(path, file_format="npz", outputs={"label": {"predicts": CLASSES}})
    report = preflight(harness, spec())
    assert report.would_fail == ()
    assert [(each.name, each.output) for each in report.teachers] == [("elsewhere", "label")]
    assert report.teachers[0].accuracy is not None
    assert report.teachers[0].accuracy > 0.6


def test_predictions_at_chance_end_the_job_as_any_teacher_does(harness: EngineHarness) -> None:
    harness.dataset(rows())
    path = write(harness.folder, IDS, label=probabilities(np.random.default_rng(1).integers(0, 3, ROWS)))
    harness.predictions(path, file_format="npz", outputs={"label": {"predicts": CLASSES}})
    assert failures(preflight(harness, spec())) == ["teacher_mismatch"]


def test_rows_that_the_file_lacks_have_no_teacher_and_are_counted(harness: EngineHarness) -> None:
    harness.dataset(rows(), splits={"fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}, "shuffle": False})
    known = np.arange(20, ROWS - 10)
    path = write(harness.folder, IDS[known], label=probabilities(blobs(ROWS)["label"])[known])
    facts = harness.predictions(path, file_format="npz", outputs={"label": {"predicts": CLASSES}})
    assert (facts.rows, facts.of) == (len(known), DATASET)
    assert facts.splits == {"train": 100, "validation": 60, "test": 50}
    (warning,) = facts.warnings
    assert warning.code == "teacher_rows_missing"
    assert "20 of 120 train, 10 of 60 test" in warning.message
    report = report_of(harness.run(spec()))
    assert report.teachers[0].tasks["label"]["rows"] == 50
    assert "teacher_rows_missing" in [each["code"] for each in report.warnings]


def test_each_task_of_a_multitask_job_has_its_output(harness: EngineHarness) -> None:
    data = blobs(ROWS)
    harness.dataset(rows())
    path = write(
        harness.folder, IDS[SHUFFLED], a=probabilities(data["label"])[SHUFFLED], size=data["size"][SHUFFLED] + 0.5
    )
    outputs = {"label": {"columns": ["a"], "predicts": CLASSES}, "size": {"predicts": {"kind": "value"}}}
    harness.predictions(path, file_format="npz", outputs=outputs)
    tasks = [{"name": name, "teachers": [{"predictions": PREDICTED}]} for name in ("label", "size")]
    report = report_of(harness.run({"kind": "multitask", "tasks": tasks, "student": STUDENT, "training": TRAINING}))
    assert [party.task for party in report.teachers] == ["label", "size"]
    assert report.teachers[1].tasks["size"]["rmse"] == pytest.approx(0.5, rel=1e-3)


def test_predictions_teach_the_rows_of_their_own_dataset_among_several(harness: EngineHarness) -> None:
    harness.dataset(rows())
    second = blobs(120, seed=1)
    ids = np.arange(120)
    harness.another({**second, "key": ids})
    told = probabilities(second["label"])
    path = write(harness.folder, ids[::-1], label=told[::-1])
    harness.predictions(path, file_format="npz", of=OTHER, of_column="key", outputs={"label": {"predicts": CLASSES}})
    job = spec() | {"datasets": [{"dataset": DATASET}, {"dataset": OTHER}]}
    order = harness.order(job)
    joined = read_datasets(order, order.spec.dataset_refs())  # type: ignore[union-attr]
    column = joined.targets[f"{PREDICTED}/label"]
    assert column.labelled.tolist() == [False] * ROWS + [True] * 120
    assert torch.equal(column.values[ROWS:], torch.from_numpy(told))
    assert report_of(harness.run(job)).teachers[0].tasks["label"]["rows"] == len(joined.splits["test"]) - 36


def test_rows_without_labels_learn_what_predictions_say(harness: EngineHarness) -> None:
    data = rows()
    harness.dataset({"x": data["x"], "id": IDS}, targets={})
    path = write(harness.folder, IDS, mood=probabilities(data["label"]))
    harness.predictions(path, file_format="npz", outputs={"mood": {"predicts": CLASSES}})
    job = {key: value for key, value in spec().items() if key != "target"}
    assert list(report_of(harness.run(job)).fidelity) == ["mood"]


def as_csv(path: Path, columns: dict[str, Any]) -> None:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")


def as_jsonl(path: Path, columns: dict[str, Any]) -> None:
    lines = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def as_parquet(path: Path, columns: dict[str, Any]) -> None:
    pq.write_table(pa.table(columns), path)


def as_npz(path: Path, columns: dict[str, Any]) -> None:
    np.savez(path, **{name: np.array(values) for name, values in columns.items()})  # type: ignore[arg-type]


WRITERS = {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet, "npz": as_npz}


@pytest.mark.parametrize("fmt", WRITERS)
@pytest.mark.parametrize("ids", ["text", "numbers", "rows"])
def test_ids_match_whatever_the_format_writes_them_as(harness: EngineHarness, fmt: str, ids: str) -> None:
    """Whole numbers are text in a csv, integers in parquet and float64 in JSON lines."""
    numbers = np.arange(ROWS) * 3 + 5
    harness.dataset(rows(number=numbers))
    told = probabilities(blobs(ROWS)["label"])
    keys = {"text": IDS, "numbers": numbers, "rows": np.arange(ROWS)}[ids]
    columns = {"key": keys[SHUFFLED].tolist()} | {f"p{i}": told[SHUFFLED, i].astype(float).tolist() for i in range(3)}
    path = harness.folder / f"file.{fmt}"
    WRITERS[fmt](path, columns)
    ways: dict[str, dict[str, Any]] = {
        "text": {"of_column": "id"},
        "numbers": {"of_column": "number"},
        "rows": {"row_numbers": True},
    }
    outputs = {"label": {"columns": ["p0", "p1", "p2"], "predicts": CLASSES}}
    facts = harness.predictions(path, file_format=fmt, id="key", outputs=outputs, **ways[ids])
    assert sum(facts.splits.values()) == ROWS
    order = harness.order(spec())
    found = read_datasets(order, order.spec.dataset_refs())  # type: ignore[union-attr]
    assert torch.allclose(found.targets[f"{PREDICTED}/label"].values, torch.from_numpy(told))
    assert not facts.warnings


@pytest.mark.parametrize("fmt", ["csv", "jsonl", "parquet"])
def test_the_likeliest_classes_by_name_teach_with_the_rest_spread_evenly(harness: EngineHarness, fmt: str) -> None:
    """As the answers of a language model: names and log-probabilities, in another order of classes than the data."""
    names, order = ["good", "bad", "mixed"], ["mixed", "good", "bad"]
    harness.dataset(rows(), targets={"label": {"kind": "class", "classes": names}})
    told = probabilities(blobs(ROWS)["label"])
    likeliest = told.argsort(1)[:, ::-1]
    columns: dict[str, Any] = {"id": IDS.tolist()}
    for i in range(2):
        columns[f"class{i}"] = [names[place] for place in likeliest[:, i]]
        columns[f"log{i}"] = np.log(np.take_along_axis(told, likeliest[:, i : i + 1], 1)[:, 0]).astype(float).tolist()
    path = harness.folder / f"file.{fmt}"
    WRITERS[fmt](path, columns)
    predicts = {"kind": "class", "output": "log_probabilities", "classes": order}
    pairs = {"classes": ["class0", "class1"], "scores": ["log0", "log1"]}
    harness.predictions(path, file_format=fmt, outputs={"label": {"top_k": pairs, "predicts": predicts}})
    found = harness.order(spec())
    column = read_datasets(found, found.spec.dataset_refs()).targets[f"{PREDICTED}/label"]  # type: ignore[union-attr]
    expected = torch.from_numpy(told)[:, [names.index(name) for name in order]]
    assert torch.allclose(column.values, expected, atol=1e-6)
    assert "classes_matched_by_name" in [each["code"] for each in found.warnings]
    report = report_of(harness.run(spec()))
    assert report.teachers[0].tasks["label"]["accuracy"] == pytest.approx(
        float((told.argmax(1) == blobs(ROWS)["label"])[order_of_test(harness)].mean())
    )


def test_images_are_matched_by_the_names_of_their_files(harness: EngineHarness) -> None:
    images = pictures(60)
    as_archive(harness, images)
    order = in_order_of_paths(images)
    names = [f"{split}/{'cat' if i < 30 else 'dog'}/{i:03}.png" for i, split in enumerate(splits(60))]
    told = probabilities(np.arange(60) // 30, classes=2)
    path = write(harness.folder, np.array(names)[::-1], label=told[::-1])
    harness.predictions(path, file_format="npz", of_column="file_name", outputs={"label": {"predicts": CLASSES}})
    found = harness.order({**spec(), "student": {"family": "convnet", "channels": [4]}})
    column = read_datasets(found, found.spec.dataset_refs()).targets[f"{PREDICTED}/label"]  # type: ignore[union-attr]
    assert torch.equal(column.values, torch.from_numpy(told[order]))


def order_of_test(harness: EngineHarness) -> Any:
    order = harness.order(spec())
    return read_datasets(order, order.spec.dataset_refs()).splits["test"].numpy()  # type: ignore[union-attr]
