"""Tagging: students that answer for each token, learn it from labels and teachers, and ignore padding."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from app.contracts.resources.manifests import ClassOutput, TokenClassOutput
from app.contracts.specs.distillation import DkdTerm, JsdTerm, KdTerm, LogitMseTerm, LogitTerm, ReverseKlTerm
from app.contracts.specs.jobs import JOB_SPEC, DatasetRef
from app.contracts.wire.orders import TrainingOutcome
from tests.engine.harness import DATASET, OTHER, TEACHER, EngineHarness, StopAtStep, report_of, resolved
from tests.engine.jobs.preflight.test_preflight import preflight
from tests.engine.jobs.texts.sentences import with_sentences
from tests.engine.jobs.texts.tags import (
    BERT,
    MANIFEST,
    TAGS,
    TRAINING,
    VOCABULARY,
    as_teacher,
    tagged,
    tagger,
    with_tags,
    with_words,
    written,
)
from tests.engine.models.library.folders import packed
from workers.engine.common.stop import Stopped
from workers.engine.data.dataset import PADDING, TargetColumn
from workers.engine.data.joining import read_datasets
from workers.engine.data.rows.columns import Rows
from workers.engine.evaluation.parties import EvaluatedTask
from workers.engine.evaluation.verdict.judge import judge
from workers.engine.jobs.exports.quantized_students import Comparison
from workers.engine.losses.label_losses import position_loss
from workers.engine.losses.soft_target_losses import PositionSoftTargets
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.losses.teacher_mix import TeacherEnsemble, TeacherOutputs
from workers.engine.losses.term import TermInputs
from workers.engine.teachers.teacher import open_teacher

CPU = torch.device("cpu")
SPEC = TokenClassOutput(kind="token_class")
TRAIN: dict[str, Any] = {"kind": "train", "model": BERT, "training": TRAINING}
SHORT: dict[str, Any] = {**TRAINING, "steps": 12}
DISTILL: dict[str, Any] = {
    "kind": "distill",
    "teachers": [{"model": TEACHER}],
    "student": BERT,
    "training": TRAINING,
    "control": False,
}


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    return with_tags(tmp_path_factory.mktemp("tags"))


@pytest.fixture(scope="module")
def trained(harness: EngineHarness) -> TrainingOutcome:
    """A student, and the teacher of others."""
    outcome = harness.run({**TRAIN, "exports": ["onnx", "int8"]}, job="trained")
    harness.teacher(outcome, harness.folder / "trained" / "attempt-1", model=TEACHER)
    return outcome


def problems(harness: EngineHarness, spec: dict[str, Any]) -> dict[str, str]:
    """Pointers and codes of what a dry run refuses."""
    return {each.pointer: each.code for each in harness.dry_run(spec, [OTHER]).problems}


def test_a_student_learns_a_rule_of_tokens(trained: TrainingOutcome) -> None:
    tasks = report_of(trained).student.tasks["tag"]
    assert (tasks["accuracy"] or 0.0) > 0.95
    assert (tasks["macro_f1"] or 0.0) > 0.95
    assert trained.student.export_refused is None, "its file gives the engine's answers"


def test_a_file_of_8_bits_is_a_party_of_the_report(trained: TrainingOutcome) -> None:
    (party,) = report_of(trained).quantized.values()
    assert party.format == "int8"
    assert party.ratio < 0.7
    assert (party.tasks["tag"]["accuracy"] or 0.0) > 0.95
    assert (party.fidelity["tag"].agreement or 0.0) > 0.95
    assert party.fidelity["tag"].rows == 40, "rows of the test split, of which the tokens are compared"
    assert party.verdict["tag"].metric == "accuracy"
    assert {each.method for each in party.candidates} == {"static", "dynamic"}


def test_candidates_of_8_bits_are_not_compared_by_what_they_answer_for_padding() -> None:
    labels = labelled(6)
    task = EvaluatedTask("tag", SPEC, column(labels), ())
    student, other = numbers(6, 0), numbers(6, 0).clone()
    other[labels == PADDING] += 9.0
    compared = Comparison([task], torch.arange(3), lambda rows: {"tag": student[rows]})
    assert compared.of("dynamic", lambda rows: {"tag": other[rows]}, 1).deviation == 0.0
    assert (compared.of("dynamic", lambda rows: {"tag": student[rows] + 1.0}, 1).deviation or 0.0) > 0.5


def test_a_student_is_distilled_token_by_token(harness: EngineHarness, trained: TrainingOutcome) -> None:
    report = report_of(harness.run({**DISTILL, "control": True}, job="distilled"))
    assert (report.student.tasks["tag"]["accuracy"] or 0.0) > 0.95
    assert (report.fidelity["tag"].agreement or 0.0) > 0.95
    assert report.fidelity["tag"].rows == 40, "rows of the test split, not tokens"
    assert "bootstrap over test rows" in report.verdict["tag"].method
    assert report.targets[0].rows == 200
    assert sum(each.support for each in report.per_class["tag"]) > 40, "classes of tokens"


def test_a_student_learns_of_a_teacher_without_labels(trained: TrainingOutcome, harness: EngineHarness) -> None:
    rows = [{**row, "tag": None} if i % 10 < 8 else row for i, row in enumerate(tagged(seed=3))]
    made = with_tags(harness.folder / "unlabelled", rows)
    made.teacher(trained, harness.folder / "trained" / "attempt-1", model=TEACHER)
    report = report_of(made.run({**DISTILL, "distillation": {"supervised": {"weight": 0.0}}}))
    assert (report.student.tasks["tag"]["accuracy"] or 0.0) > 0.95


def test_the_same_seed_gives_the_same_student_also_after_an_interruption(
    harness: EngineHarness, trained: TrainingOutcome
) -> None:
    spec = {**DISTILL, "training": SHORT}
    harness.run(spec, job="whole")
    changes: dict[str, Any] = {"checkpoint_seconds": 0.0}
    with pytest.raises(Stopped):
        harness.run(spec, job="parts", stop=StopAtStep(6), **changes)
    harness.run(spec, job="parts", attempt=2, **changes)
    assert harness.digest("whole") == harness.digest("parts", attempt=2)


def test_a_student_of_words_learns_them_by_the_tokenizer_of_its_dataset(tmp_path: Any) -> None:
    harness = with_words(tmp_path)
    outcome = harness.run({**TRAIN, "training": {**TRAINING, "select_by": "entity_f1"}}, job="words")
    tasks = report_of(outcome).student.tasks["tag"]
    assert (tasks["accuracy"] or 0.0) > 0.95
    assert (tasks["entity_f1"] or 0.0) > 0.9, "its classes are called B-PER and O"
    (tokens,) = (each.tokens for each in outcome.student.inputs.values())
    assert tokens is not None
    assert tokens.words
    harness.teacher(outcome, tmp_path / "words" / "attempt-1", model=TEACHER)
    same = {**DISTILL, "student": {**BERT, "tokenizer": TEACHER}, "training": SHORT}
    assert "tag" in report_of(harness.run(same, job="same")).fidelity


def labelled(width: int) -> torch.Tensor:
    """Labels [3, width] of rows of 4, 2 and 3 tokens, of which some are missing."""
    rows = [[0, 1, -1, 2], [2, 2], [-1, 0, 1]]
    return torch.tensor([[*row, *[PADDING] * (width - len(row))] for row in rows], dtype=torch.int32)


def numbers(width: int, seed: int) -> torch.Tensor:
    """Logits [3, width, 3]; those of a wider row begin with those of a narrower one."""
    return torch.randn(3, 16, 3, generator=torch.Generator().manual_seed(seed))[:, :width]


def column(labels: torch.Tensor) -> TargetColumn:
    return TargetColumn("token_class", 3, labels, (labels >= 0).any(1))


def test_the_loss_is_the_mean_over_labelled_tokens() -> None:
    labels, outputs = labelled(5), numbers(5, 0)
    term = SupervisedLoss.of(column(labels), SPEC, 1.0, 0.1, CPU)
    rows = Rows.on(CPU, torch.arange(3))
    mean = term.losses(TermInputs(outputs), rows).sum() / term.counted.sum()
    known = labels >= 0
    torch.testing.assert_close(mean, cross_entropy(outputs[known], labels[known].long(), label_smoothing=0.1))
    assert term.counted.tolist() == [3, 2, 2]


def soft(term: LogitTerm, width: int) -> tuple[PositionSoftTargets, torch.Tensor]:
    """(a term on soft targets of rows of this width, its losses)."""
    teacher = TeacherOutputs(numbers(width, 1), SPEC, 1.0)
    made = PositionSoftTargets.of(
        term, "soft", TeacherEnsemble.of((teacher,), CPU), labelled(width), ClassOutput(kind="class")
    )
    return made, made.losses(TermInputs(numbers(width, 0)), Rows.on(CPU, torch.arange(3)))


@pytest.mark.parametrize(
    "term",
    [
        KdTerm(method="kd", temperature=2.0, weight=1.0),
        KdTerm(method="kd", temperature=2.0, weight=1.0, standardize=True),
        DkdTerm(method="dkd", weight=1.0),
        ReverseKlTerm(method="reverse_kl", weight=1.0),
        JsdTerm(method="jsd", weight=1.0),
        LogitMseTerm(method="logit_mse", weight=1.0),
    ],
    ids=lambda term: term.method,
)
def test_more_padding_changes_no_loss(term: LogitTerm) -> None:
    narrow, losses = soft(term, 4)
    wide, others = soft(term, 16)
    torch.testing.assert_close(losses, others)
    assert narrow.counted.equal(wide.counted)
    narrow_labels, wide_labels = position_loss(numbers(4, 0), labelled(4)), position_loss(numbers(16, 0), labelled(16))
    torch.testing.assert_close(narrow_labels, wide_labels)


def test_soft_targets_of_tokens_are_those_of_rows() -> None:
    term, losses = soft(KdTerm(method="kd", temperature=2.0, weight=1.0), 5)
    tokens = labelled(5) != PADDING
    student, teacher = (log_softmax(numbers(5, seed)[tokens] / 2.0, dim=1) for seed in (0, 1))
    expected = 4.0 * kl_div(student, teacher, reduction="batchmean", log_target=True)
    torch.testing.assert_close(losses.sum() / term.counted.sum(), expected)
    assert term.counted.tolist() == [4, 2, 3], "all tokens, with or without a label"


def test_padding_and_missing_labels_have_no_gradient() -> None:
    outputs = numbers(6, 0).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(position_loss(outputs, labelled(6)).sum(), outputs)
    moved = gradient.abs().sum(2) > 0.0
    assert moved.equal(labelled(6) >= 0)


def test_a_verdict_resamples_rows_and_not_tokens() -> None:
    """The same answers with every token repeated: an interval over tokens would be narrower."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (60, 4), generator=draw, dtype=torch.int32)
    student, control = (torch.randn(60, 4, 3, generator=draw) for _ in range(2))
    rows = torch.arange(60)
    one = judge(student, control, SPEC, column(labels), rows)
    more, others = (each.repeat_interleave(50, dim=1) for each in (student, control))
    many = judge(more, others, SPEC, column(labels.repeat_interleave(50, dim=1)), rows)
    assert one.interval == pytest.approx(many.interval)


BOTH = {"datasets": [{"dataset": DATASET}, {"dataset": OTHER}], "dataset": None}
TWO = [{"model": TEACHER}, {"model": TEACHER, "weight": 2.0}]


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({**TRAIN, **BOTH}, "/datasets"),
        ({**TRAIN, "training": {**TRAINING, "select_by": "entity_f1"}}, "/training/select_by"),
        ({**TRAIN, "quantization": {}}, "/quantization"),
        ({**TRAIN, "model": {"family": "mlp", "hidden": [4]}}, "/model/family"),
        ({**TRAIN, "model": {"family": "huggingface", "name": "gpt2"}}, "/model/name"),
        ({**DISTILL, "teachers": TWO}, "/teachers/1"),
        ({**DISTILL, "store": {"top_k": 2}}, "/store/top_k"),
        ({**DISTILL, "distillation": {"soft_targets": {"method": "dist"}}}, "/distillation/soft_targets/0/method"),
        ({**DISTILL, "distillation": {"soft_targets": {"method": "kd", "weight": {"search": [0.1, 0.9]}}}},
         "/distillation/soft_targets/0/weight"),
        ({**DISTILL, "distillation": {"features": {
            "method": "fitnets", "teacher_layer": "penultimate", "student_layer": "penultimate"}}},
         "/distillation/features"),
        ({**DISTILL, "distillation": {"combine": "learned"}}, "/distillation/combine"),
        ({**DISTILL, "mutual": {"peers": [BERT]}}, "/mutual"),
        ({"kind": "multitask", "student": BERT, "tasks": [{"name": "tag"}, {"name": "other", "target": "tag"}]},
         "/tasks/0/target"),
    ],
)  # fmt: skip
def test_what_labels_of_tokens_are_not_combined_with_is_refused_by_its_place(
    harness: EngineHarness, trained: TrainingOutcome, spec: dict[str, Any], pointer: str
) -> None:
    assert pointer in problems(harness, spec)


def test_a_teacher_of_other_tokens_is_refused(harness: EngineHarness, trained: TrainingOutcome, tmp_path: Any) -> None:
    others = with_tags(tmp_path, inputs={"ids": {"kind": "tokens", "vocabulary": 40}})
    others.models[TEACHER] = harness.models[TEACHER]
    assert problems(others, DISTILL)["/teachers/0"] == "input_mismatch", "its ids are others"
    wider = with_tags(tmp_path / "wide", tagged(longest=20))
    wider.models[TEACHER] = harness.models[TEACHER]
    assert problems(wider, DISTILL)["/teachers/0"] == "tokens_differ", "rows are longer than the teacher's"
    (tmp_path / "texts").mkdir()
    texts = with_sentences(tmp_path / "texts")
    texts.models[TEACHER] = harness.models[TEACHER]
    assert problems(texts, DISTILL)["/teachers/0"] == "input_mismatch", "it reads ids, and these are texts"


def test_numbers_of_the_report_follow_from_the_predictions(harness: EngineHarness, trained: TrainingOutcome) -> None:
    found = np.load(harness.outputs("trained") / "predictions-test.npz")
    labels, outputs = found["test/tag/label"], found["test/tag/student"]
    known = labels >= 0
    accuracy = (outputs.argmax(2) == labels)[known].mean()
    assert report_of(trained).student.tasks["tag"]["accuracy"] == pytest.approx(accuracy)


def test_a_folder_of_transformers_teaches_a_student_that_reads_the_same_ids(harness: EngineHarness) -> None:
    made = with_tags(harness.folder / "folder")
    theirs = tagger(made.folder / "model", VOCABULARY, TAGS)
    as_teacher(made, packed(made.folder / "model", made.folder / "m.zip"), "tag")
    spec = {**DISTILL, "distillation": {"supervised": {"weight": 0.0}, "allow_chance_teacher": True}}
    report = report_of(made.run(spec))
    assert (report.fidelity["tag"].agreement or 0.0) > 0.9, "random answers that are a function of the tokens"
    dataset = read_datasets(made.order(spec, job="teacher"), (DatasetRef(dataset=DATASET),))
    found = open_teacher(made.models[TEACHER], CPU, 1, dataset.layout).predict(dataset.raw[:])["tag"]
    ids = dataset.raw[:].long()
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=(ids != 0).long()).logits
    torch.testing.assert_close(found[ids != 0], expected[ids != 0], rtol=0, atol=1e-5)


def test_the_tags_of_a_teacher_are_brought_to_the_order_of_the_datasets(
    harness: EngineHarness, trained: TrainingOutcome
) -> None:
    targets = {"tag": {"kind": "token_class", "classes": list(TAGS[::-1])}}
    made = with_tags(harness.folder / "order", targets=targets)
    made.teacher(trained, harness.folder / "trained" / "attempt-1", model=TEACHER)
    assert preflight(made, {**DISTILL, "training": SHORT}).teachers[0].accuracy == 1.0, "of tokens"


def test_a_dry_run_finds_nothing_in_the_way(harness: EngineHarness, trained: TrainingOutcome) -> None:
    found = preflight(harness, {**DISTILL, "training": SHORT})
    assert found.would_fail == ()
    assert found.teachers[0].accuracy == 1.0, "of tokens"


def test_rows_of_ids_have_classes_of_rows_too(harness: EngineHarness) -> None:
    """Of two datasets, which must have the same ids; labels of tokens stand beside those of rows."""
    rows = [{**row, "first": row["ids"][0] % 2} for row in tagged(seed=5)]
    targets = {**MANIFEST["targets"], "first": {"kind": "class", "classes": 2}}
    made = with_tags(harness.folder / "rows", rows, targets=targets)
    longer = [{**row, "first": row["ids"][0] % 2} for row in tagged(60, seed=6, longest=20)]
    changed = {**MANIFEST, "targets": targets}
    made.others[OTHER] = made.inspected(OTHER, written(made.folder, longer, "longer.jsonl"), changed)
    both = {"datasets": [{"dataset": DATASET}, {"dataset": OTHER}], "target": "first"}
    outcome = made.run({**TRAIN, **both}, job="rows")
    assert (report_of(outcome).student.tasks["first"]["accuracy"] or 0.0) > 0.95
    assert outcome.student.architecture is not None
    assert outcome.student.architecture.input_shape == (24,), "as wide as the longest row of both"
    assert made.data is not None
    known = made.data.facts
    wider = {**changed, "inputs": {"ids": {"kind": "tokens", "vocabulary": 50}}}
    made.others[OTHER] = made.inspected(OTHER, written(made.folder, longer, "wider.jsonl"), wider)
    found = resolved(
        JOB_SPEC.validate_json(json.dumps({**TRAIN, **both})), {DATASET: known, OTHER: made.others[OTHER].facts}, {}
    )
    assert [each.code for each in found.problems] == ["input_mismatch"]


def test_several_seeds_are_compared_by_rows(harness: EngineHarness, trained: TrainingOutcome) -> None:
    soft: dict[str, Any] = {"method": "kd", "temperature": {"learned": True}}
    spec = {**DISTILL, "training": SHORT, "control": True, "repeats": 3, "distillation": {"soft_targets": soft}}
    verdict = report_of(harness.run(spec, job="repeats")).verdict["tag"]
    assert verdict.repeats == 3
    assert "Accuracy over tokens" in verdict.method
    found = np.load(harness.outputs("repeats") / "predictions-test.npz")
    known = found["test/tag/label"] >= 0
    right = found["test/tag/students"].argmax(3) == found["test/tag/label"][:, None]
    assert verdict.students == pytest.approx([each[known].mean() for each in right.swapaxes(0, 1)])
