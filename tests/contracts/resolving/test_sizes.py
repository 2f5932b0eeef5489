"""Warnings of the dry run about the length of a training and the size of a student."""

import json
from typing import Any

import pytest

from app.contracts.resolving.resolve import Resolution, resolve
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts, OutputFacts, TargetFacts
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.resources.manifests import ClassOutput, InputTransform
from app.contracts.specs.families.library import MeasuredTrunk
from app.contracts.specs.jobs import JOB_SPEC, DistillJob, MultitaskJob, TrainJob
from tests.contracts.resolving.test_resolve import DISTILL, DS, TEACHER, TRAIN, dataset, resolved, teacher, warned

OTHER = "mdl_01890a5d-ac96-774b-bcce-b302099a8058"
SPLITS: dict[Any, int] = {"train": 640, "validation": 80, "test": 80}
DIGIT = TargetFacts(kind="class", size=10, labelled=SPLITS)
TOLD = TargetFacts(kind="teacher", size=10, predicts=ClassOutput(kind="class"), labelled=SPLITS)
INPUTS = {"x": InputFacts(shape=(8, 8))}
DATA = DatasetFacts(rows=800, splits=SPLITS, inputs=INPUTS, targets={"digit": DIGIT, "told": TOLD})
STUDENT = (64 + 1) * 16 + (16 + 1) * 10
"""Parameters of the student of DISTILL."""


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"steps": 749}, True),
        ({"epochs": 74, "batch_size": 64}, True),
        ({"recipe": "fast", "steps": 249}, True),
        ({"recipe": "best", "steps": 700}, True),
        ({"steps": 750}, False),
        ({"epochs": 75, "batch_size": 64}, False),
        ({}, False),
        ({"recipe": "fast"}, False),
        ({"recipe": "fast", "steps": 250}, False),
    ],
)
def test_few_steps_are_told_where_the_spec_names_them(training: dict[str, Any], told: bool) -> None:
    found = resolved({**TRAIN, "target": "digit", "training": training}, DATA)
    assert not found.problems
    assert ("few_steps" in warned(found)) == told


def test_few_steps_are_told_as_a_number_also_of_a_preflight() -> None:
    job = {**TRAIN, "dataset": DS, "target": "digit", "training": {"epochs": 2, "batch_size": 64}}
    parsed = JOB_SPEC.validate_json(json.dumps({"kind": "preflight", "job": job}))
    found = resolve(parsed, {DS: DATA}, {}, threads=1)
    (message,) = (each["message"] for each in found.warnings if each["code"] == "few_steps")
    assert "2 epochs, which are 20 optimizer steps, expected 750 or more" in message


def test_a_student_that_starts_from_its_teacher_needs_no_many_steps() -> None:
    """Its weights are not random: few steps of fine-tuning are usual."""
    student = {"family": "mlp", "hidden": [16]}
    architecture = {"family": "mlp", "hidden": [16], "input_shape": [64], "outputs": {"digit": 10}}
    parsed = TrainJob.model_validate_json(json.dumps({"kind": "train", "dataset": DS, "model": architecture}))
    facts = teacher().model_copy(update={"architecture": parsed.model})
    for init, told in ((None, True), ({"from": 0}, False)):
        spec = {**DISTILL, "student": student | ({"init": init} if init else {}), "training": {"steps": 100}}
        found = resolved(spec, dataset(), {TEACHER: facts})
        assert not found.problems
        assert ("few_steps" in warned(found)) == told


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((STUDENT - 1,), True),
        ((400, 700), True),
        ((STUDENT,), False),
        ((100_000,), False),
        ((400, STUDENT), False),
        ((None,), False),
        ((400, None), False),
    ],
)
def test_a_student_with_more_parameters_than_all_of_its_teachers_is_told(
    counts: tuple[int | None, ...], told: bool
) -> None:
    ids = [TEACHER, OTHER][: len(counts)]
    models: dict[str, ModelFacts | None] = {
        each: teacher().model_copy(update={"parameters": n}) for each, n in zip(ids, counts, strict=True)
    }
    found = resolved({**DISTILL, "teachers": [{"model": each} for each in ids]}, DATA, models)
    assert isinstance(found.spec, DistillJob)
    assert not found.problems
    assert ("student_larger_than_teacher" in warned(found)) == told


def test_the_size_of_a_teacher_given_as_columns_or_not_known_yet_is_not_guessed() -> None:
    columns = resolved({**DISTILL, "target": "digit", "teachers": [{"columns": "told"}]}, DATA)
    later = resolved(DISTILL, DATA, {TEACHER: None})
    assert "student_larger_than_teacher" not in warned(columns) | warned(later)


WORDS = TokenEncoding(tokenizer="0" * 64, vocabulary=30_000, padding=0, padding_token="[PAD]", length=32)
TEXTS = DatasetFacts(
    rows=800, splits=SPLITS, inputs={"x": InputFacts(shape=(32,), tokens=WORDS)}, targets={"digit": DIGIT}
)


def of_bert(parameters: int, operations: int, training: dict[str, Any], **student: Any) -> Resolution:
    """A student of transformers that is measured so, and a teacher of 22 million parameters."""
    spec = {"target": "digit", "student": {"family": "huggingface", "name": "bert", **student}, "training": training}
    parsed = JOB_SPEC.validate_json(json.dumps({"dataset": DS, **DISTILL, **spec}))
    output = OutputFacts(spec=ClassOutput(kind="class"), size=10)
    reads = {"x": InputTransform(tokens=WORDS)}
    theirs = ModelFacts(
        architecture=None, input_shape=(32,), inputs=reads, outputs={"digit": output}, parameters=22_000_000
    )
    trunk = MeasuredTrunk(
        library="transformers 5", features=768, parameters=parameters, flops=operations, depth=73, normalized=True,
        classifier="classifier", layers=(), processing=None,
    )  # fmt: skip
    open_ones = resolve(parsed, {DS: TEXTS}, {TEACHER: theirs}, threads=1).unmeasured
    trunks = {each.trunk_digest(each.input_shape or ()): trunk for each in open_ones}
    return resolve(parsed, {DS: TEXTS}, {TEACHER: theirs}, threads=1, trunks=trunks)


@pytest.mark.parametrize(
    ("operations", "training", "told"),
    [
        (5_400_000_000, {}, True),
        (5_400_000_000, {"steps": 400, "batch_size": 64}, False),
        (5_400_000_000, {"epochs": 60, "batch_size": 64}, True),
        (1_700_000_000, {}, False),
    ],
    ids=["86 million", "few steps", "epochs", "half as wide"],
)
def test_a_training_that_takes_hours_on_a_cpu_is_told(operations: int, training: dict[str, Any], told: bool) -> None:
    """5.4e9 are those of the default BERT on 32 tokens; the recipe takes 1500 steps of 64 rows."""
    found = of_bert(86_000_000, operations, training)
    assert not found.problems
    assert ("long_training" in warned(found)) == told
    assert "student_larger_than_teacher" in warned(found), "of the 22 million parameters"


def test_a_long_training_names_parameters_and_the_ways_out() -> None:
    (message,) = (
        each["message"] for each in of_bert(86_000_000, 5_400_000_000, {}).warnings if each["code"] == "long_training"
    )
    for part in ("of 86,007,690 parameters", "about 1.6e+15", "about 9 hours of a core", "`config`", "`from_teacher`"):
        assert part in message


def test_a_teacher_of_two_tasks_is_counted_once() -> None:
    """The student has 2 heads, the teacher is smaller than it and larger than half of it."""
    ref = [{"model": TEACHER, "output": "digit"}]
    tasks = [{"name": name, "target": "digit", "teachers": ref} for name in ("a", "b")]
    spec = {"kind": "multitask", "student": {"family": "mlp", "hidden": [16]}, "tasks": tasks}
    small = teacher().model_copy(update={"parameters": STUDENT})
    found = resolved(spec, DATA, {TEACHER: small})
    assert isinstance(found.spec, MultitaskJob)
    assert not found.problems
    (message,) = (each["message"] for each in found.warnings if each["code"] == "student_larger_than_teacher")
    assert f"{STUDENT + 17 * 10:,} parameters, expected no more than the {STUDENT:,}" in message


@pytest.mark.parametrize(
    ("labelled", "told"),
    [
        ({"train": 640, "validation": 80}, 1),
        ({"train": 64}, 2),
        ({"train": 640, "validation": 80, "test": 80}, 0),
        ({"train": 1, "validation": 1, "test": 1}, 0),
    ],
)
def test_splits_without_labels_to_measure_are_told_before_anything_is_trained(
    labelled: dict[Any, int], told: int
) -> None:
    data = DATA.model_copy(update={"targets": {"digit": DIGIT.model_copy(update={"labelled": labelled})}})
    found = resolved({**TRAIN, "target": "digit"}, data)
    assert not found.problems
    assert [each["code"] for each in found.warnings].count("no_labels_to_measure") == told


def test_splits_that_are_not_there_need_no_labels() -> None:
    """Nothing is expected to be measured there; without labels at all other words are said."""
    alone: dict[Any, int] = {"train": 640}
    data = DATA.model_copy(update={"splits": alone, "targets": {"digit": DIGIT.model_copy(update={"labelled": alone})}})
    assert "no_labels_to_measure" not in warned(resolved({**TRAIN, "target": "digit"}, data))
