"""Students and teachers of texts: training, tokenizers, files, and what cannot be asked of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.contracts.problems import UserError
from app.contracts.resources.manifests import ClassOutput
from app.contracts.specs.families.library import HuggingFace
from app.contracts.specs.jobs import DatasetRef
from app.contracts.wire.orders import TrainingOutcome
from tests.engine.harness import DATASET, OTHER, TEACHER, EngineHarness, StopAtStep, report_of
from tests.engine.jobs.texts.sentences import BERT, MANIFEST, TRAINING, sentences, with_sentences, written
from tests.engine.jobs.texts.teachers import CLASSES, as_teacher, network, packed, words_alone
from workers.engine.common.stop import Stopped
from workers.engine.data.joining import read_datasets
from workers.engine.teachers.teacher import open_teacher

TRAIN: dict[str, Any] = {"kind": "train", "model": BERT, "training": TRAINING}
DISTILL: dict[str, Any] = {
    "kind": "distill",
    "teachers": [{"model": TEACHER}],
    "student": BERT,
    "training": {**TRAINING, "steps": 8},
    "distillation": {"allow_chance_teacher": True},
    "control": False,
}

REFS = (DatasetRef(dataset=DATASET),)


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    """A dataset of sentences and a teacher with a tokenizer of its own."""
    made = with_sentences(tmp_path_factory.mktemp("texts"))
    as_teacher(made, packed(tmp_path_factory.mktemp("teacher"), network()))
    return made


@pytest.fixture(scope="module")
def trained(harness: EngineHarness) -> TrainingOutcome:
    return harness.run({**TRAIN, "exports": ["onnx"]}, job="trained")


def problems(harness: EngineHarness, spec: dict[str, Any]) -> dict[str, str]:
    """Pointers and codes of what a dry run refuses."""
    return {each.pointer: each.code for each in harness.dry_run(spec).problems}


def test_a_student_learns_words_by_the_tokenizer_of_its_dataset(trained: TrainingOutcome) -> None:
    assert (report_of(trained).student.tasks["label"]["accuracy"] or 0.0) > 0.95
    (transform,) = trained.student.inputs.values()
    assert transform.tokens is not None
    assert trained.student.architecture is not None
    assert trained.student.architecture.input_shape == (transform.tokens.length,)
    assert trained.student.export_refused is None, "its file gives the engine's answers"
    assert [each.role for each in trained.files].count("tokenizer") == 1


def test_the_same_seed_gives_the_same_student_also_after_an_interruption(harness: EngineHarness) -> None:
    harness.run(TRAIN, job="whole")
    changes: dict[str, Any] = {"checkpoint_seconds": 0.0}
    with pytest.raises(Stopped):
        harness.run(TRAIN, job="parts", stop=StopAtStep(40), **changes)
    harness.run(TRAIN, job="parts", attempt=2, **changes)
    assert harness.digest("whole") == harness.digest("parts", attempt=2)


def test_a_teacher_reads_the_texts_by_its_own_tokenizer_as_transformers_does(harness: EngineHarness) -> None:
    order = harness.order(DISTILL, job="teacher")
    dataset = read_datasets(order, REFS)
    assert len(dataset.inputs) == 2, "the same texts by two tokenizers"
    teacher = open_teacher(harness.models[TEACHER], torch.device("cpu"), 1, dataset.layout)
    ours = teacher.predict(dataset.raw[:])["label"]
    made = words_alone()([row["text"] for row in sentences()], padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        theirs = network()(input_ids=made["input_ids"], attention_mask=made["attention_mask"]).logits
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)


def test_what_a_teacher_says_does_not_depend_on_the_tokenizer_of_the_student(
    harness: EngineHarness, tmp_path: Path
) -> None:
    found = []
    for student in (BERT, {**BERT, "tokenizer": TEACHER}):
        order = harness.order({**DISTILL, "student": student}, job="other")
        dataset = read_datasets(order, REFS)
        teacher = open_teacher(harness.models[TEACHER], torch.device("cpu"), 1, dataset.layout)
        found.append((len(dataset.inputs), teacher.predict(dataset.raw[:])["label"]))
    (two, one), (first, second) = [each for each, _ in found], [each for _, each in found]
    assert (two, one) == (2, 1), "a student with the teacher's tokenizer reads the same rows"
    np.testing.assert_allclose(first.numpy(), second.numpy(), atol=1e-6)


@pytest.mark.parametrize("student", [BERT, {**BERT, "tokenizer": TEACHER}], ids=["own", "of the teacher"])
def test_a_student_is_distilled_with_a_tokenizer_of_its_own_or_the_teachers(
    harness: EngineHarness, student: dict[str, Any]
) -> None:
    job = "distilled" + str("tokenizer" in student)
    exports = ["onnx"] if "tokenizer" in student else []
    outcome = harness.run({**DISTILL, "student": student, "exports": exports}, job=job)
    (tokens,) = (each.tokens for each in outcome.student.inputs.values())
    assert tokens is not None
    facts = harness.models[TEACHER].facts
    assert facts is not None
    theirs = facts.inputs["text"].tokens
    assert theirs is not None
    assert (tokens.tokenizer == theirs.tokenizer) is ("tokenizer" in student)
    assert outcome.student.export_refused is None


def test_a_student_of_texts_is_a_teacher_for_others(harness: EngineHarness, trained: TrainingOutcome) -> None:
    harness.teacher(trained, harness.folder / "trained" / "attempt-1", model=OTHER_MODEL)
    spec = {**DISTILL, "teachers": [{"model": OTHER_MODEL}], "distillation": {}}
    outcome = harness.run(spec, job="chained")
    assert (report_of(outcome).teachers[0].tasks["label"]["accuracy"] or 0.0) > 0.95


OTHER_MODEL = "mdl_01890a5d-ac96-774b-bcce-b302099a8058"


def test_several_datasets_are_read_by_the_tokenizer_of_the_first(harness: EngineHarness, tmp_path: Path) -> None:
    made = EngineHarness(tmp_path)
    made.file(written(tmp_path, sentences()), **MANIFEST)
    inputs = {"text": {"kind": "text", "tokenizer": {"size": 300, "lowercase": False}}}
    longer = [{**row, "text": f"{row['text']} " + "and so on " * 8} for row in sentences(60, seed=4)]
    made.others[OTHER] = made.inspected(OTHER, written(tmp_path, longer, "more.jsonl"), {**MANIFEST, "inputs": inputs})
    as_teacher(made, packed(tmp_path, network()))
    spec = {**DISTILL, "datasets": [{"dataset": DATASET}, {"dataset": OTHER}]}
    outcome = made.run(spec)
    (tokens,) = (each.tokens for each in outcome.student.inputs.values())
    assert made.data is not None
    assert made.data.facts is not None
    own = made.data.facts.inputs["text"].tokens
    assert own is not None
    assert tokens is not None
    assert tokens.tokenizer == own.tokenizer
    assert tokens.length > own.length, "as wide as the longest text of both"


def test_texts_that_are_longer_than_a_teacher_reads_are_told(tmp_path: Path) -> None:
    made = EngineHarness(tmp_path)
    rows = [{**row, "text": f"{row['text']} " + "and so on " * 8} for row in sentences(60, seed=4)]
    made.file(written(tmp_path, rows), **MANIFEST)
    as_teacher(made, packed(tmp_path, network()))
    made.run({**DISTILL, "training": {**TRAINING, "steps": 2}})
    assert "texts_cut" in made.log.warnings
    made.run({**TRAIN, "training": {**TRAINING, "steps": 2}}, job="own")
    assert "texts_cut" not in made.log.warnings, "its own tokenizer reads all of them"
    student = {**BERT, "tokenizer": TEACHER}
    report = report_of(made.run({**DISTILL, "student": student, "training": {**TRAINING, "steps": 2}}, job="theirs"))
    (cut,) = (each["message"] for each in report.warnings if each["code"] == "texts_cut")
    assert "have 20 tokens or more, and the student reads no further" in cut


def test_what_its_own_tokenizer_cuts_is_told_of_students_that_read_by_it(
    harness: EngineHarness, tmp_path: Path
) -> None:
    made = EngineHarness(tmp_path)
    inputs = {"text": {"kind": "text", "length": 8, "tokenizer": {"size": 400}}}
    made.file(written(tmp_path, sentences(60)), **{**MANIFEST, "inputs": inputs})
    made.models = harness.models
    told = {}
    for name, student in STUDENTS.items():
        found = made.dry_run({**DISTILL, "student": student})
        assert not found.problems, name
        told[name] = "texts_cut" in {each["code"] for each in found.warnings}
    assert told == {"own": True, "of the teacher": False, "the teacher's network": False}
    made.tokenizers |= harness.tokenizers
    outcome = made.run({**DISTILL, "student": STUDENTS["of the teacher"], "training": {**TRAINING, "steps": 2}})
    assert "texts_cut" not in {each["code"] for each in report_of(outcome).warnings}


STUDENTS: dict[str, dict[str, Any]] = {
    "own": BERT,
    "of the teacher": {**BERT, "tokenizer": TEACHER},
    "the teacher's network": {"from_teacher": {"teacher": 0}},
}


def test_pairs_of_texts_have_types_of_their_own(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "other": f"number {i}", "label": row["label"]} for i, row in enumerate(sentences())]
    made = EngineHarness(tmp_path)
    made.file(
        written(tmp_path, rows),
        **{**MANIFEST, "inputs": {"pair": {"kind": "text", "columns": ["text", "other"], "tokenizer": {"size": 400}}}},
    )
    outcome = made.run({**TRAIN, "exports": ["onnx"]})
    assert (report_of(outcome).student.tasks["label"]["accuracy"] or 0.0) > 0.95
    assert isinstance(outcome.student.architecture, HuggingFace)
    assert outcome.student.architecture.config["sep_token_id"] == 3


def _refused() -> Iterator[tuple[str, dict[str, Any], str, str]]:
    layer = "trunk.bert.encoder.layer.0"
    of_layers = {"features": [{"method": "similarity", "teacher_layer": layer, "student_layer": layer}]}
    yield "numbers", {**DISTILL, "student": {"family": "mlp"}}, "/student/family", "input_mismatch"
    yield (
        "views",
        {**DISTILL, "training": {**TRAINING, "views": {"transforms": [{"kind": "noise", "std": 0.1}]}}},
        ("/training/views/transforms/0"),
        "view_undefined",
    )
    yield "images", {**DISTILL, "student": {"family": "timm", "name": "test_vit"}}, "/student/family", "input_mismatch"
    config = {**BERT["config"], "vocab_size": 10}
    yield (
        "vocabulary",
        {**DISTILL, "student": {**BERT, "config": config}},
        ("/student/config/vocab_size"),
        "unsupported_config",
    )
    config = {**BERT["config"], "pad_token_id": 7}
    yield (
        "padding",
        {**DISTILL, "student": {**BERT, "config": config}},
        ("/student/config/pad_token_id"),
        "unsupported_config",
    )
    yield "rows", {**DISTILL, "student": {**BERT, "input_shape": [1000]}}, "/student/input_shape", "shape_mismatch"
    yield "half", {**DISTILL, "exports": ["int8", "fp16"]}, "/exports/1", "half_undefined"
    yield "layers", {**DISTILL, "distillation": of_layers}, "", "shape_mismatch"


@pytest.mark.parametrize(("spec", "pointer", "code"), [each[1:] for each in _refused()], ids=[e[0] for e in _refused()])
def test_what_texts_cannot_do_is_refused_before_any_work(
    harness: EngineHarness, spec: dict[str, Any], pointer: str, code: str
) -> None:
    found = problems(harness, spec)
    assert code in [each for place, each in found.items() if place.startswith(pointer)], found


@pytest.mark.parametrize(("key", "value"), [("type_vocab_size", 0), ("num_attention_heads", 0), ("layer_norm_eps", 0)])
def test_sizes_of_nothing_are_refused_when_a_network_is_measured(harness: EngineHarness, key: str, value: int) -> None:
    config = {**BERT["config"], key: value}
    with pytest.raises(UserError, match=f"`{key}` is {value}, expected") as error:
        problems(harness, {**DISTILL, "student": {**BERT, "config": config}})
    assert error.value.code == "unsupported_config"


def test_a_teacher_of_texts_is_refused_for_rows_of_numbers(harness: EngineHarness, tmp_path: Path) -> None:
    made = EngineHarness(tmp_path)
    made.dataset()
    made.models = harness.models
    spec = {**DISTILL, "target": "label", "student": {"family": "mlp"}}
    assert problems(made, spec)["/teachers/0"] == "input_mismatch"


def test_classes_of_a_folder_are_those_of_its_configuration(harness: EngineHarness) -> None:
    facts = harness.models[TEACHER].facts
    assert facts is not None
    spec = facts.outputs["label"].spec
    assert isinstance(spec, ClassOutput)
    assert spec.classes == CLASSES
