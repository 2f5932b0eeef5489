"""Quantized files as parties of a job's report: every figure is that of the very file, on raw rows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from app.contracts.reports.quantized import QuantizedCandidate
from app.contracts.reports.report import QuantizedParty, Report
from tests.engine.export.quantized.aware_jobs import AWARE, DISTILL, Json, taught
from tests.engine.export.raw_rows.bare_runs import SPLITS, dataset_of, stated
from tests.engine.harness import EngineHarness, report_of
from tests.engine.jobs.test_recomputed_figures import MEASURES, log_softmax
from workers.engine.common.files import sha256_of
from workers.engine.evaluation.verdict.intervals import newcombe_interval
from workers.engine.jobs.exports.quantized_students import best

ROWS = 300
PARTIES = ["student_int8", "student_fp16"]
TASKS = ["label", "traits", "size", "place"]
DRAW = np.random.default_rng(8)
X = DRAW.normal(size=(ROWS, 4)) * [1.0, 10.0, 0.1, 1.0] + [0.0, 500.0, 0.0, -3.0]
GAPS = DRAW.random((ROWS, 4)) < 0.1
COLOURS = np.array(["red", "green", "blue", ""])[DRAW.choice(4, p=[0.4, 0.3, 0.2, 0.1], size=ROWS)]
STANDARD = (X - X.mean(0)) / X.std(0)
SCORES = STANDARD @ DRAW.normal(size=(4, 8)) + (COLOURS == "red")[:, None]
LABELS: dict[str, NDArray[Any]] = {
    "label": SCORES[:, :3].argmax(1),
    "traits": (SCORES[:, 3:5] > 0).astype(np.float32),
    "size": 1000.0 + 50.0 * SCORES[:, 5],
    "place": SCORES[:, 6:8],
}
TARGETS: Json = {
    "label": {"kind": "class", "classes": 3},
    "traits": {"kind": "multilabel", "size": 2},
    "size": {"kind": "value"},
    "place": {"kind": "vector", "size": 2},
}
COLUMNS = ["a", "b", "c", "d"]
INPUTS: Json = {
    "numbers": {"kind": "array", "columns": COLUMNS, "missing": "mean", "standardize": True},
    "words": {"kind": "category", "columns": ["colour"]},
}


@dataclass(frozen=True)
class Ran:
    """A finished job: its report, its files, and the predictions of the test rows."""

    harness: EngineHarness
    report: Report
    predictions: Mapping[str, NDArray[Any]]
    bytes: Mapping[str, int]

    def party(self, name: str) -> QuantizedParty:
        return self.report.quantized[name]

    def column(self, task: str, party: str) -> NDArray[Any]:
        return self.predictions[f"test/{task}/{party}"]


def ran(harness: EngineHarness, spec: Json) -> Ran:
    outcome = harness.run(spec)
    with np.load(harness.outputs() / "predictions-test.npz") as file:
        predictions = dict(file)
    return Ran(harness, report_of(outcome), predictions, {file.role: file.bytes for file in outcome.files})


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Four kinds of tasks, numbers with gaps and categories, in all formats."""
    harness = EngineHarness(tmp_path_factory.mktemp("mixed"))
    path = harness.folder / "rows.jsonl"
    rows = (
        {name: None if GAPS[i, k] else X[i, k] for k, name in enumerate(COLUMNS)}
        | {"colour": str(COLOURS[i]) or None}
        | {name: each[i].tolist() for name, each in LABELS.items()}
        for i in range(ROWS)
    )
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    dataset_of(harness, path, {"format": "jsonl", "inputs": INPUTS, "targets": TARGETS, **SPLITS})
    return ran(
        harness,
        {
            "kind": "multitask",
            "tasks": [{"name": name} for name in TASKS],
            "student": {"family": "mlp", "hidden": [64, 48]},
            "training": {"epochs": 6, "batch_size": 32, "learning_rate": 0.01},
            "baselines": False,
            "exports": ["onnx", "int8", "fp16"],
        },
    )


@pytest.fixture(scope="module")
def aware(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A student that is trained for the rounding, without a word of int8 in `exports`."""
    harness = taught(tmp_path_factory.mktemp("aware"))
    return ran(harness, {**DISTILL, **AWARE, "student": {"family": "mlp", "hidden": [48, 48]}, "control": False})


def answers(ran: Ran, party: str, raw: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Those of a party's file for raw rows, one at a time where they depend on the rows beside them."""
    path = ran.harness.outputs() / f"student.{ran.party(party).format}.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names, count = [each.name for each in session.get_outputs()], len(next(iter(raw.values())))
    size = 1 if ran.party(party).method == "dynamic" else count
    blocks = [
        session.run(names, {name: values[i : i + size] for name, values in raw.items()}) for i in range(0, count, size)
    ]
    return {name: np.concatenate([block[i] for block in blocks]) for i, name in enumerate(names)}


@pytest.mark.parametrize("party", PARTIES)
def test_the_predictions_of_a_party_are_what_its_file_answers_on_raw_rows(mixed: Ran, party: str) -> None:
    rows = mixed.predictions["test/row"]
    numbers = np.where(GAPS, np.nan, X)[rows]
    found = answers(mixed, party, {"numbers": numbers, "words": COLOURS.astype(object)[rows, None]})
    label, expected = found["label.logits"], mixed.column("label", party)
    assert len(rows) == len(label) > 100
    np.testing.assert_array_equal(label.argmax(1), expected.argmax(1))
    for name, task in (("label.logits", "label"), ("traits.logits", "traits"), ("place.vector", "place")):
        np.testing.assert_allclose(found[name], mixed.column(task, party), atol=1e-4)
    np.testing.assert_allclose(found["size.value"], mixed.column("size", party), atol=1e-4 * 50.0, rtol=1e-6)
    np.testing.assert_allclose(found["label.probabilities"], np.exp(log_softmax(expected)), atol=1e-5)
    assert not np.array_equal(expected, mixed.column("label", "student"))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("party", PARTIES)
def test_every_metric_of_a_party_follows_from_its_predictions(mixed: Ran, party: str, task: str) -> None:
    values, labels = mixed.column(task, party), mixed.column(task, "label")
    expected = {**MEASURES[task](values, labels, "logits"), "rows": float(len(labels))}
    found = mixed.party(party).tasks[task]
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("party", PARTIES)
def test_fidelity_and_verdict_follow_from_the_predictions(mixed: Ran, party: str) -> None:
    labels = mixed.column("label", "label")
    ours, whole = (mixed.column("label", name).argmax(1) for name in (party, "student"))
    found = mixed.party(party)
    assert found.fidelity["label"].agreement == pytest.approx((ours == whole).mean())
    verdict = found.verdict["label"]
    first, second = ours == labels, whole == labels
    expected = newcombe_interval(torch.from_numpy(first), torch.from_numpy(second))
    assert verdict.interval == pytest.approx(expected)
    assert verdict.difference == pytest.approx(first.mean() - second.mean())
    assert found.verdict.keys() == set(TASKS)
    assert {each.verdict for each in found.verdict.values()} <= {"keeps", "undecided", "loses"}
    assert found.simulated == {}


@pytest.mark.parametrize("party", PARTIES)
def test_bytes_and_ratio_are_those_of_the_files(mixed: Ran, party: str) -> None:
    found = mixed.party(party)
    path = mixed.harness.outputs() / f"student.{found.format}.onnx"
    assert found.bytes == mixed.bytes[found.format] == path.stat().st_size
    assert found.digest == sha256_of(path)
    assert found.ratio == found.bytes / mixed.bytes["onnx"]
    assert found.ratio < {"int8": 0.5, "fp16": 0.7}[found.format]
    assert stated(path)["quantization"] == {
        "format": found.format,
        "method": found.method,
        "weights_sha256": mixed.report.student.digest,
    }
    assert mixed.report.export.keys() == {"onnx", "int8", "fp16"}
    assert found.runtime.keys() == {"onnxruntime"}


def test_the_better_candidate_is_exported_and_the_report_has_all(mixed: Ran, aware: Ran) -> None:
    candidates = {each.method: each for each in mixed.party("student_int8").candidates}
    assert candidates.keys() == {"static", "dynamic"}
    method = mixed.party("student_int8").method
    assert method == best(list(candidates.values())).method
    warned = [warning["code"] for warning in mixed.report.warnings]
    assert ("answers_depend_on_batch" in warned) == (method == "dynamic")
    assert [each.method for each in mixed.party("student_fp16").candidates] == ["half"]
    assert [each.method for each in aware.party("student_int8").candidates] == ["aware"]
    for each in (*candidates.values(), *aware.party("student_int8").candidates):
        assert each.split == "validation"
        assert each.score is not None
        assert abs(each.score) < 2.0, "an error in the units of the labels is relative to the student's"
        assert each.deviation is not None
        assert each.bytes > 0
    assert mixed.party("student_fp16").simulated == mixed.party("student_int8").simulated == {}


def candidate(method: Any, score: float | None, deviation: float | None = 1.0) -> QuantizedCandidate:
    return QuantizedCandidate(method=method, score=score, deviation=deviation, bytes=1)


@pytest.mark.parametrize(
    ("static", "dynamic", "expected"),
    [
        ((0.9, 1.0), (0.9005, 0.1), "static"),
        ((0.9, 1.0), (0.902, 1.0), "dynamic"),
        ((0.9, 1.0), (None, 0.1), "static"),
        ((None, 1.0), (0.5, 1.0), "dynamic"),
        ((None, 1.0), (None, 0.6), "static"),
        ((None, 1.0), (None, 0.4), "dynamic"),
        ((None, None), (None, 5.0), "dynamic"),
        ((None, None), (None, None), "static"),
    ],
)
def test_dynamic_answers_depend_on_the_batch_so_they_must_be_better_by_more_than_a_thousandth(
    static: tuple[float | None, float | None], dynamic: tuple[float | None, float | None], expected: str
) -> None:
    assert best([candidate("static", *static), candidate("dynamic", *dynamic)]).method == expected


def test_training_for_the_rounding_exports_int8_with_the_arithmetic_that_was_trained(aware: Ran) -> None:
    assert aware.report.quantized.keys() == {"student_int8"}
    assert "int8" in aware.bytes
    assert "onnx" not in aware.bytes
    party = aware.party("student_int8")
    assert party.method == "aware"
    assert party.simulated["label"].agreement == 1.0
    assert party.simulated["label"].kl is not None
    assert party.simulated["label"].kl < 1e-4
    assert party.runtime.keys() == {"onnxruntime"}
    assert aware.report.student.epoch is not None
    assert aware.report.student.epoch > 2
    rows = aware.predictions["test/row"]
    assert aware.harness.data is not None
    with np.load(aware.harness.data.path) as file:
        found = answers(aware, "student_int8", {"x": file["x"][rows]})["label.logits"]
    expected = aware.column("label", "student_int8")
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_without_a_validation_split_candidates_are_measured_on_training_rows_and_say_so(
    harness: EngineHarness,
) -> None:
    harness.dataset(splits={"fractions": {"train": 0.7, "test": 0.3}})
    spec: Json = {"kind": "train", "target": "label", "model": {"family": "mlp", "hidden": [48, 48]}}
    report = report_of(harness.run({**spec, "training": {"epochs": 1}, "exports": ["int8"]}))
    assert {each.split for each in report.quantized["student_int8"].candidates} == {"train"}


def test_a_tiny_network_keeps_no_larger_file_and_the_warning_says_why(harness: EngineHarness) -> None:
    harness.dataset()
    spec: Json = {"kind": "train", "target": "label", "model": {"family": "mlp", "hidden": []}}
    outcome = harness.run({**spec, "training": {"epochs": 1}, "exports": ["int8", "fp16"]})
    messages = [each["message"] for each in report_of(outcome).warnings if each["code"] == "not_quantized"]
    assert harness.log.warnings.count("not_quantized") == len(messages) == 2
    for wanted, message in zip(("int8", "fp16"), messages, strict=True):
        assert message.startswith(f"the student has no {wanted} file (not_smaller): ")
        assert "bytes" in message
    assert report_of(outcome).quantized == {}
    assert {file.role for file in outcome.files}.isdisjoint({"int8", "fp16", "onnx"})
