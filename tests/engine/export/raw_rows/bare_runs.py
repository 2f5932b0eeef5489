"""Exported files under bare ONNX Runtime and numpy, beside the predictions files of their jobs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from app.contracts.reports.report import Report
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.wire.orders import DatasetInput
from tests.engine.harness import DATASET, Arrays, EngineHarness, report_of
from workers.engine.common.files import sha256_of
from workers.engine.data.facts import facts_of
from workers.engine.data.reading import read_dataset

Json = dict[str, Any]
ROWS = 160
SPLITS: Json = {"splits": {"fractions": {"train": 0.5, "validation": 0.1, "test": 0.4}}}
TRAINING: Json = {"epochs": 2, "batch_size": 32, "learning_rate": 0.01}


def dataset_of(harness: EngineHarness, path: Path, manifest: Json) -> None:
    """Inspect a file of any format as the dataset of the harness."""
    parsed = DatasetManifest.model_validate_json(json.dumps({"name": "rows", **SPLITS, **manifest}))
    facts = facts_of(read_dataset(path, parsed), parsed)
    harness.data = DatasetInput(id=DATASET, manifest=parsed, facts=facts, path=str(path), sha256=sha256_of(path))


def answers(path: Path, rows: Mapping[str, Any]) -> Arrays:
    """All outputs of the file for raw rows, by name; a single row gives the same."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, dict(rows)), strict=True))
    alone = session.run(None, {name: values[:1] for name, values in rows.items()})
    for name, first in zip(names, alone, strict=True):
        np.testing.assert_allclose(first, found[name][:1], rtol=1e-5, atol=1e-5)
    return found


def stated(path: Path) -> Json:
    """What the file says of itself."""
    found: Json = json.loads(onnx.load(path).metadata_props[0].value)
    return found


def trained(harness: EngineHarness, spec: Json) -> Report:
    """Run a spec with an ONNX export."""
    return report_of(harness.run({"training": TRAINING, "exports": ["onnx"], **spec}))


def check_against_predictions(harness: EngineHarness, raw: Mapping[str, Any]) -> Arrays:
    """The answers for the raw rows of the test split are what its predictions file has; returns them.

    `raw`: all rows of the file, by input.
    """
    with np.load(harness.outputs() / "predictions-test.npz") as file:
        predictions = {name.removeprefix("test/"): file[name] for name in file.files}
    rows = predictions["row"]
    found = answers(harness.outputs() / "student.onnx", {name: values[rows] for name, values in raw.items()})
    for task, output in stated(harness.outputs() / "student.onnx")["outputs"].items():
        expected = predictions[f"{task}/student"]
        if output["kind"] in ("value", "vector"):
            numbers = found[output[output["kind"]]]
            assert numbers.dtype == expected.dtype
            np.testing.assert_allclose(numbers, expected, rtol=0, atol=1e-4 * max(1.0, float(expected.std())))
            continue
        logits, probabilities = found[output["logits"]], found[output["probabilities"]]
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
        if output["kind"] == "class":
            assert (logits.argmax(1) == expected.argmax(1)).all()
            exponentials = np.exp(expected - expected.max(1, keepdims=True))
            np.testing.assert_allclose(probabilities, exponentials / exponentials.sum(1, keepdims=True), atol=1e-5)
        else:
            np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-expected)), atol=1e-5)
    assert len(rows) == rows_of_the_test(harness)
    return found


def rows_of_the_test(harness: EngineHarness) -> int:
    """The number of test rows."""
    assert harness.data is not None
    assert harness.data.facts is not None
    return harness.data.facts.splits["test"]
