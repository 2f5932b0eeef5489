"""Students of texts that learn from layers of a teacher, token by token or by one vector a row."""

from pathlib import Path
from typing import Any

import pytest
import torch

from app.contracts.specs.jobs import DatasetRef
from tests.engine.harness import DATASET, TEACHER, EngineHarness, StopAtStep
from tests.engine.jobs.texts.sentences import BERT, TRAINING, sentences, with_sentences
from tests.engine.jobs.texts.teachers import LENGTH, as_teacher, network, packed, words_alone
from tests.engine.jobs.texts.test_students_of_texts import OTHER_MODEL, problems
from workers.engine.common.stop import Stopped
from workers.engine.data.joining import read_datasets
from workers.engine.models.taps import TappedLayer
from workers.engine.teachers.teacher import layer_key, open_teacher

BLOCK = "trunk.bert.encoder.layer.0"
LAYERS = {"teacher_layer": BLOCK, "student_layer": BLOCK}
SAME: dict[str, Any] = {**BERT, "tokenizer": TEACHER}
SHORT: dict[str, Any] = {**TRAINING, "steps": 12, "batch_size": 16}


def spec(*terms: dict[str, Any], student: dict[str, Any] = SAME, **training: Any) -> dict[str, Any]:
    """A distill job with terms on layers."""
    features = [{**LAYERS, **term} for term in terms]
    return {
        "kind": "distill",
        "teachers": [{"model": TEACHER}],
        "student": student,
        "training": {**SHORT, **training},
        "distillation": {"allow_chance_teacher": True, "features": features},
        "control": False,
    }


BY_TOKEN = ({"method": "hidden_states"}, {"method": "relations", "heads": 2})
POOLED = ({"method": "similarity", "pool": "mean"}, {"method": "fitnets", "pool": "first"})


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    made = with_sentences(tmp_path_factory.mktemp("layers"))
    as_teacher(made, packed(tmp_path_factory.mktemp("teacher"), network()))
    return made


def term_losses(harness: EngineHarness, term: str) -> list[float]:
    return [
        point.value
        for event in harness.log.events
        for point in getattr(event, "points", ())
        if point.series == f"train/label/{term}"
    ]


def test_a_student_learns_the_hidden_states_of_its_teacher(harness: EngineHarness) -> None:
    harness.run(spec(*BY_TOKEN, steps=60, batch_size=32), job="by-token")
    losses = term_losses(harness, "hidden_states")
    assert losses[-1] < 0.5 * losses[0], losses


@pytest.mark.parametrize(("name", "student"), [("same", SAME), ("own", BERT)])
def test_pooled_layers_are_compared_whatever_the_tokenizer(
    harness: EngineHarness, name: str, student: dict[str, Any]
) -> None:
    harness.run(spec(*POOLED, student=student, steps=60, batch_size=32), job=f"pooled-{name}")
    losses = term_losses(harness, "fitnets")
    assert losses[-1] < 0.6 * losses[0], losses


def test_an_interrupted_job_and_one_in_micro_batches_give_the_same_student(harness: EngineHarness) -> None:
    whole = spec(*BY_TOKEN, *POOLED)
    harness.run(whole, job="whole")
    before = {term: term_losses(harness, term) for term in ("hidden_states", "relations", "similarity", "fitnets")}
    changes: dict[str, Any] = {"checkpoint_seconds": 0.0}
    with pytest.raises(Stopped):
        harness.run(whole, job="parts", stop=StopAtStep(6), **changes)
    harness.run(whole, job="parts", attempt=2, **changes)
    assert harness.digest("whole") == harness.digest("parts", attempt=2)
    harness.run(spec(*BY_TOKEN, *POOLED, micro_batch_size=4), job="micro")
    for term, losses in before.items():
        assert term_losses(harness, term) == pytest.approx(losses, rel=1e-2), term


def test_what_is_stored_of_a_teacher_are_the_hidden_states_of_transformers(harness: EngineHarness) -> None:
    order = harness.order(spec(*BY_TOKEN), job="stored")
    dataset = read_datasets(order, (DatasetRef(dataset=DATASET),))
    teacher = open_teacher(harness.models[TEACHER], torch.device("cpu"), 1, dataset.layout)
    layers = [TappedLayer(BLOCK), TappedLayer(BLOCK, "mean")]
    found = teacher.predict(dataset.raw[:], layers)
    made = words_alone()([row["text"] for row in sentences()], padding=True, truncation=True, return_tensors="pt")
    kept = made["attention_mask"][:, :, None].float()
    with torch.no_grad():
        given = {name: made[name] for name in ("input_ids", "attention_mask")}
        hidden = network()(**given, output_hidden_states=True).hidden_states[1]
    width = hidden.shape[1]
    ours = found[layer_key(layers[0])].reshape(len(hidden), -1, 16)
    torch.testing.assert_close(ours[:, :width] * kept, hidden * kept, rtol=1e-4, atol=1e-5)
    mean = (hidden * kept).sum(1) / kept.sum(1)
    torch.testing.assert_close(found[layer_key(layers[1])], mean, rtol=1e-4, atol=1e-5)


def test_a_teacher_of_longer_rows_reads_those_of_the_student(harness: EngineHarness) -> None:
    student = {**SAME, "input_shape": [LENGTH // 2]}
    order = harness.order(spec(*BY_TOKEN, student=student), job="shorter")
    dataset = read_datasets(order, (DatasetRef(dataset=DATASET),))
    assert len(dataset.inputs) == 1, "rows that both read"
    pooled = harness.order(spec(*POOLED, student=student), job="longer")
    assert len(read_datasets(pooled, (DatasetRef(dataset=DATASET),)).inputs) == 2, "each reads its own"
    harness.run(spec(*BY_TOKEN, student=student, steps=2), job="shorter")
    harness.models[OTHER_MODEL] = harness.models[TEACHER].model_copy(update={"id": OTHER_MODEL})
    two = {**spec(*BY_TOKEN, student=student), "teachers": [{"model": TEACHER}, {"model": OTHER_MODEL}]}
    dataset = read_datasets(harness.order(two, job="two"), (DatasetRef(dataset=DATASET),))
    assert len(dataset.inputs) == 1, "so does another one that reads as it does"


@pytest.mark.parametrize(
    ("term", "student", "place", "code"),
    [
        ({"method": "hidden_states"}, BERT, "/teacher_layer", "tokens_differ"),
        ({"method": "similarity"}, SAME, "/student_layer", "shape_mismatch"),
        ({"method": "crd"}, SAME, "/student_layer", "shape_mismatch"),
        ({"method": "fitnets", "student_layer": "penultimate"}, SAME, "/teacher_layer", "shape_mismatch"),
        ({"method": "hidden_states", "pool": "mean"}, SAME, "/pool", "shape_mismatch"),
        ({"method": "relations", "heads": 3}, SAME, "/heads", "shape_mismatch"),
        (
            {"method": "fitnets", "pool": "mean", "teacher_layer": "penultimate", "student_layer": "penultimate"},
            SAME,
            "/pool",
            "shape_mismatch",
        ),
    ],
    ids=["tokenizer", "similarity", "crd", "one of tokens", "pooled tokens", "heads", "nothing to pool"],
)
def test_layers_of_tokens_that_do_not_go_together_are_named(
    harness: EngineHarness, term: dict[str, Any], student: dict[str, Any], place: str, code: str
) -> None:
    found = problems(harness, spec(term, student=student))
    assert found == {f"/distillation/features/0{place}": code}


def test_a_teacher_of_shorter_rows_is_not_compared_token_by_token(harness: EngineHarness, tmp_path: Path) -> None:
    student = {**SAME, "input_shape": [LENGTH + 4]}
    assert "/student/input_shape" in problems(harness, spec(*BY_TOKEN, student=student))
