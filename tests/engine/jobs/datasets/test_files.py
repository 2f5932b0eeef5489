"""Jobs on a dataset of several files: the student is that of the same rows in one file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.contracts.resources.facts import DatasetFacts
from app.contracts.specs.jobs import DatasetRef
from app.contracts.wire.orders import DataFile, DatasetInput, digest_of_files
from tests.engine.harness import DATASET, PREDICTED, STUDENT, Arrays, EngineHarness, blobs, report_of
from workers.engine.common.files import sha256_of
from workers.engine.data.facts import facts_of
from workers.engine.data.joining import read_datasets
from workers.engine.data.reading import read_dataset

ROWS = 240
CUTS = {"test": range(60), "train": range(60, 200), "validation": range(200, ROWS)}
BY_FILE: dict[str, Any] = {"files": {f"{name}.npz": name for name in CUTS}}
CLASSES = {"kind": "class", "output": "probabilities"}
TRAINING: dict[str, Any] = {"epochs": 2, "batch_size": 64}


def split(harness: EngineHarness, arrays: Arrays, whole: DatasetInput) -> DatasetInput:
    """The rows of a dataset in a file for each split, inspected by the same manifest."""
    files, digests = [], []
    for name, rows in CUTS.items():
        path = harness.folder / f"{name}.npz"
        np.savez(path, **{key: values[rows] for key, values in arrays.items()})  # type: ignore[arg-type]
        files.append(DataFile(name=path.name, path=str(path)))
        digests.append(sha256_of(path))
    facts = facts_of(read_dataset(files, whole.manifest), whole.manifest)
    changes = {"files": tuple(files), "path": files[0].path, "sha256": digest_of_files(digests), "facts": facts}
    return whole.model_copy(update=changes)


def in_files(harness: EngineHarness, arrays: Arrays) -> DatasetFacts:
    """Make the harness's dataset one of several files with a split each; its facts."""
    whole = harness.dataset(arrays)
    assert whole.facts is not None
    manifest = type(whole.manifest).model_validate({**dict(whole.manifest), "splits": BY_FILE})
    harness.data = split(harness, arrays, whole.model_copy(update={"manifest": manifest}))
    assert harness.data.facts is not None
    return harness.data.facts


def told(rows: Any) -> Any:
    return np.eye(3, dtype=np.float32)[blobs(ROWS)["label"][rows]] * 0.7 + np.float32(0.1)


def test_a_student_of_several_files_is_that_of_one(harness: EngineHarness) -> None:
    spec = {"kind": "train", "target": "label", "model": STUDENT, "training": TRAINING}
    arrays = {**blobs(ROWS), "s": np.concatenate([[name] * len(rows) for name, rows in CUTS.items()])}
    whole = harness.dataset(arrays, splits={"column": "s"})
    one = report_of(harness.run(spec, "one"))
    facts = in_files(harness, arrays)
    assert whole.facts is not None
    assert (facts.splits, facts.targets) == (whole.facts.splits, whole.facts.targets)
    several = report_of(harness.run(spec, "several"))
    weights = harness.weights("several")
    assert all(torch.equal(weights[name], tensor) for name, tensor in harness.weights("one").items())
    assert several.student.tasks == one.student.tasks
    assert "splits_by_name" in {each["code"] for each in several.warnings}
    assert harness.data is not None
    inputs = harness.order(spec).inputs()
    assert {Path(file.path) for file in harness.data.files} <= set(inputs)


def test_predictions_in_several_files_are_joined_with_rows_of_several_files(harness: EngineHarness) -> None:
    in_files(harness, blobs(ROWS))
    rows = np.random.default_rng(0).permutation(ROWS)
    paths = [harness.folder / f"part-{i}.npz" for i in range(2)]
    for path, part in zip(paths, np.split(rows, 2), strict=True):
        np.savez(path, row=part, label=told(part))
    outputs = {"label": {"predicts": CLASSES}}
    harness.predictions(paths[0], file_format="npz", id="row", row_numbers=True, outputs=outputs)
    given, facts = harness.predicted[PREDICTED]
    files = tuple(DataFile(name=path.name, path=str(path)) for path in paths)
    given = given.model_copy(update={"files": files})
    harness.predicted[PREDICTED] = (given, facts)
    spec: dict[str, Any] = {"kind": "distill", "target": "label", "teachers": [{"predictions": PREDICTED}]}
    order = harness.order({**spec, "student": STUDENT, "training": TRAINING})
    targets = read_datasets(order, [DatasetRef(dataset=DATASET)]).targets
    (column,) = [each for each in targets.values() if each.kind == "teacher"]
    np.testing.assert_array_equal(column.values.numpy(), told(range(ROWS)))
    assert facts.splits == {"train": int(np.isin(rows[:120], CUTS["train"]).sum()), **{
        name: int(np.isin(rows[:120], CUTS[name]).sum()) for name in ("validation", "test")
    }}  # fmt: skip
