"""Traps about teachers, by name: state, forms of output, order of classes, chance, bits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from app.contracts.problems import UserError
from tests.engine.harness import SECOND, TEACHER, EngineHarness, blobs, report_of
from tests.engine.jobs.distillation.trained_jobs import (
    DISTILL,
    ROWS,
    add_trained_teacher,
    targets_with_teacher_column,
    trained,
)
from tests.engine.losses.small_terms import scores
from workers.engine.jobs.evaluate import evaluate_trained
from workers.engine.jobs.exports.quantized_students import quantize_student
from workers.engine.jobs.exports.runtime_costs import measure_runtimes
from workers.engine.jobs.exports.trained_models import export_trained
from workers.engine.jobs.report import write_report
from workers.engine.teachers.teachers import BLOCK


@pytest.mark.parametrize("model", [{"normalization": "batch"}, {"dropout": 0.5}], ids=["BatchNorm", "dropout"])
def test_the_teacher_is_in_evaluation_mode_and_nothing_of_it_moves(
    harness: EngineHarness, model: dict[str, Any]
) -> None:
    """Teacher state: eval and no_grad from the first pass to the report; its numbers are those of an eval pass."""
    add_trained_teacher(harness, blobs(ROWS), **model)
    path = Path(harness.models[TEACHER].path)
    bytes_before, weights = path.read_bytes(), load_file(path)
    found = trained(harness, DISTILL)
    values = found.tasks[0].teachers[0].numbers
    network = found.teachers.opened[TEACHER].network
    assert network is not None
    quantized = quantize_student(found)
    evaluated = evaluate_trained(found, quantized.outputs)
    exported = export_trained(found, evaluated, quantized)
    write_report(found, evaluated, exported, measure_runtimes(found, exported.measured))
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in weights.items())
    assert not any(module.training for module in network.modules())
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())
    assert not values.requires_grad
    assert path.read_bytes() == bytes_before
    x = torch.from_numpy(blobs(ROWS)["x"])
    network.load_state_dict(weights)
    with torch.no_grad():
        alone = torch.cat([network(part)["label"] for part in torch.split(x, BLOCK)])
        assert torch.equal(values, alone)
        assert not torch.allclose(network.train()(x)["label"], values, atol=1e-2), "in training mode it says otherwise"


@pytest.mark.parametrize("output", ["probabilities", "log_probabilities", "energies"])
def test_a_teacher_teaches_the_same_whatever_it_puts_out(harness: EngineHarness, output: str) -> None:
    """Logits, probabilities, log-probabilities and energies of one teacher make one student."""
    arrays, logits = blobs(), scores(240, 3, seed=5)
    logits[torch.arange(240), torch.from_numpy(arrays["label"])] += 6.0
    forms = {
        "logits": logits,
        "probabilities": torch.softmax(logits, 1),
        "log_probabilities": torch.log_softmax(logits, 1),
        "energies": 2.0 - logits,
    }
    students = {}
    for form in ("logits", output):
        harness.dataset(arrays | {"told": forms[form].numpy()}, targets=targets_with_teacher_column(output=form))
        harness.run(DISTILL | {"teachers": [{"columns": "told"}], "control": False}, form)
        students[form] = harness.weights(form)
    for name, value in students["logits"].items():
        torch.testing.assert_close(students[output][name], value, rtol=1e-3, atol=1e-4)


def shuffled(label: Any) -> Any:
    return 3.0 * np.eye(3)[np.random.default_rng(9).permutation(label)]


@pytest.mark.parametrize(
    "answer",
    [shuffled, lambda label: np.eye(3)[0 * label], lambda label: -3.0 * np.eye(3)[label]],
    ids=["random", "always the commonest", "energies that are called logits"],
)
def test_a_teacher_at_chance_level_is_a_mismatch_unless_it_is_allowed(harness: EngineHarness, answer: Any) -> None:
    """Order: checked by accuracy before any step. The article's own teacher is at chance: hence the flag."""
    arrays = blobs()
    arrays["label"][arrays["label"] + np.arange(240) % 2 == 2] = 0
    harness.dataset(arrays | {"told": answer(arrays["label"])}, targets=targets_with_teacher_column())
    spec = DISTILL | {"teachers": [{"columns": "told"}]}
    with pytest.raises(UserError) as caught:
        harness.run(spec, "refused")
    assert caught.value.code == "teacher_mismatch"
    assert not harness.log.series("train/loss")
    report = report_of(harness.run(spec | {"distillation": {"allow_chance_teacher": True}}, "allowed"))
    assert report.verdict["label"].verdict != "not_applicable"


def test_a_teacher_is_judged_on_the_training_split_alone(harness: EngineHarness) -> None:
    """One that is right there is no mismatch, however wrong it is on the rows that are kept for the end."""
    arrays = blobs()
    arrays["split"] = np.array(["train"] * 60 + ["validation"] * 90 + ["test"] * 90)
    arrays["told"] = 3.0 * np.eye(3)[arrays["label"]]
    arrays["told"][60:] *= -1.0
    harness.dataset(arrays, targets=targets_with_teacher_column(), splits={"column": "split"})
    harness.run(DISTILL | {"teachers": [{"columns": "told"}]}, "right")
    arrays["told"] *= -1.0
    harness.dataset(arrays, targets=targets_with_teacher_column(), splits={"column": "split"})
    with pytest.raises(UserError):
        harness.run(DISTILL | {"teachers": [{"columns": "told"}]}, "wrong")


@pytest.mark.parametrize(
    ("order", "suspected"),
    [([0, 1, 2, 3, 4], False), ([1, 0, 2, 3, 4], True), ([1, 2, 0, 3, 4], True)],
    ids=["straight", "swapped", "rotated"],
)
def test_a_teacher_with_its_classes_in_another_order_is_suspected(
    harness: EngineHarness, order: list[int], suspected: bool
) -> None:
    """Class order: with some classes exchanged a teacher is still far better than chance."""
    arrays = blobs(classes=5)
    hot = np.eye(5)[np.array(order)[arrays["label"]]]
    noise = np.random.default_rng(3).normal(size=hot.shape)
    harness.dataset(arrays | {"told": 3.0 * hot + noise}, targets=targets_with_teacher_column(classes=5))
    report = report_of(harness.run(DISTILL | {"teachers": [{"columns": "told"}], "control": False}))
    assert ("class_order_suspected" in harness.log.warnings) == suspected
    assert [warning["code"] for warning in report.warnings] == harness.log.warnings


def test_teacher_outputs_are_the_same_bits_whether_computed_found_evicted_or_kept_with_the_job(
    harness: EngineHarness,
) -> None:
    """Canonical blocks at stored precision: the student never learns how its targets came to it."""
    add_trained_teacher(harness, blobs(ROWS), SECOND, seed=5)
    add_trained_teacher(harness, blobs(ROWS))
    room = ROWS * 3 * 4 + 1024  # for the outputs of one teacher
    uses = {}
    for job, bound in {"computed": room, "found": room, "other": room, "evicted": room, "kept": 0}.items():
        spec = DISTILL | {"teachers": [{"model": SECOND if job == "other" else TEACHER}], "control": False}
        found = report_of(harness.run(spec, job, cache_bytes=bound))
        uses[job] = found.targets[0].store
    assert uses == {"computed": "miss", "found": "hit", "other": "miss", "evicted": "miss", "kept": "miss"}
    digests = {job: harness.digest(job) for job in uses}
    assert digests.pop("other") != digests["computed"]
    assert len(set(digests.values())) == 1
