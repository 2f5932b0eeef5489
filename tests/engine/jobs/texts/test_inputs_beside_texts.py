"""Texts beside numbers in one dataset: each network reads its own input, and a teacher of one teaches a student of the
other.
"""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from app.contracts.specs.jobs import JOB_SPEC
from app.contracts.wire.orders import TrainingOutcome
from tests.engine.harness import DATASET, TEACHER, EngineHarness, report_of, resolved
from tests.engine.jobs.texts.sentences import BERT, MANIFEST, sentences, written
from tests.engine.jobs.texts.teachers import as_teacher, network, packed

TEXT = MANIFEST["inputs"]["text"]
NUMBERS: dict[str, Any] = {"kind": "array", "columns": ["a", "b"]}
READS_NUMBERS: dict[str, Any] = {"family": "mlp", "hidden": [8], "inputs": ["x"]}
READS_TEXT: dict[str, Any] = {**BERT, "inputs": ["text"]}
TRAINING: dict[str, Any] = {"steps": 8, "batch_size": 32, "learning_rate": 0.01}


def measured(folder: Path, inputs: dict[str, Any]) -> EngineHarness:
    """Sentences with two numbers each, of which one tells the class."""
    draw = random.Random(1)
    rows = [
        {**row, "a": (1.0 if row["label"] == "good" else -1.0) + draw.gauss(0, 0.5), "b": draw.gauss(0, 1)}
        for row in sentences()
    ]
    made = EngineHarness(folder)
    made.file(written(folder, rows), **{**MANIFEST, "inputs": inputs})
    return made


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    made = measured(tmp_path_factory.mktemp("both"), {"text": TEXT, "x": NUMBERS})
    as_teacher(made, packed(tmp_path_factory.mktemp("teacher"), network()))
    return made


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory, harness: EngineHarness) -> EngineHarness:
    """The same rows, of which the texts alone are inputs, and the same teacher."""
    made = measured(tmp_path_factory.mktemp("texts"), {"text": TEXT})
    made.models = dict(harness.models)
    made.tokenizers |= harness.tokenizers
    return made


@pytest.fixture(scope="module")
def of_texts(texts: EngineHarness) -> TrainingOutcome:
    return distil(texts, READS_TEXT, "to texts")


def train(harness: EngineHarness, model: dict[str, Any], job: str) -> TrainingOutcome:
    return harness.run({"kind": "train", "model": model, "training": TRAINING}, job)


def distil(harness: EngineHarness, student: dict[str, Any], job: str, *exports: str) -> TrainingOutcome:
    spec = {"kind": "distill", "teachers": [{"model": TEACHER}], "student": student, "training": TRAINING}
    more = {"distillation": {"allow_chance_teacher": True}, "control": False, "exports": list(exports)}
    return harness.run({**spec, **more}, job)


def same_weights(one: EngineHarness, other: EngineHarness, job: str) -> None:
    weights = other.weights(job)
    assert weights.keys() == one.weights(job).keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in one.weights(job).items())


def test_a_student_of_numbers_is_that_of_a_dataset_without_the_texts(harness: EngineHarness, tmp_path: Path) -> None:
    alone = measured(tmp_path, {"x": NUMBERS})
    for each in (harness, alone):
        train(each, READS_NUMBERS, "numbers")
    same_weights(harness, alone, "numbers")


@pytest.mark.usefixtures("of_texts")
def test_a_student_of_texts_is_that_of_a_dataset_without_the_numbers(
    harness: EngineHarness, texts: EngineHarness
) -> None:
    assert list(distil(harness, READS_TEXT, "to texts").student.inputs) == ["text"]
    same_weights(harness, texts, "to texts")


def test_a_teacher_of_texts_teaches_a_student_of_numbers(harness: EngineHarness, of_texts: TrainingOutcome) -> None:
    made = distil(harness, READS_NUMBERS, "to numbers", "onnx")
    assert list(made.student.inputs) == ["x"]
    assert made.student.export_refused is None
    assert report_of(made).teachers[0].tasks == report_of(of_texts).teachers[0].tasks


def test_a_teacher_of_numbers_teaches_a_student_of_texts(tmp_path: Path) -> None:
    harness = measured(tmp_path, {"text": TEXT, "x": NUMBERS})
    teacher = train(harness, READS_NUMBERS, "teacher")
    harness.teacher(teacher, tmp_path / "teacher" / "attempt-1")
    made = distil(harness, READS_TEXT, "to texts")
    assert list(made.student.inputs) == ["text"]
    assert report_of(made).teachers[0].tasks == {"label": report_of(teacher).student.tasks["label"]}


@pytest.mark.parametrize(
    ("student", "named"),
    [
        ({"family": "mlp"}, "`text` has texts"),
        ({"family": "mlp", "inputs": ["text"]}, "`text` has texts"),
        (BERT, 'name one, such as `"inputs": ["text"]`'),
        ({**BERT, "inputs": ["x"]}, "it reads texts"),
    ],
    ids=["numbers of all", "numbers of the text", "tokens of all", "tokens of the numbers"],
)
def test_a_network_that_reads_the_other_input_is_refused_by_name(
    harness: EngineHarness, student: dict[str, Any], named: str
) -> None:
    assert harness.data is not None
    spec = {"dataset": DATASET, "kind": "train", "model": student}
    (problem,) = resolved(JOB_SPEC.validate_json(json.dumps(spec)), {DATASET: harness.data.facts}, {}).problems
    assert problem.code == "input_mismatch"
    assert named in problem.detail
