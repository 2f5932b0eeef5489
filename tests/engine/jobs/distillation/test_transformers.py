"""Jobs with transformers: terms between their layers, a start from chosen blocks, searches."""

from typing import Any

import pytest
import torch

from app.contracts.layouts.summary import flops, parameter_count, parameter_shapes
from tests.engine.harness import EngineHarness, StopAtStep, report_of
from tests.engine.jobs.distillation.method_specs import TOKEN_STUDENT, TOKENS, feature, job, soft, tokens
from tests.exhaustive import sample
from workers.engine.common.stop import Stopped

Json = dict[str, Any]


def between(name: str, **changes: Any) -> Json:
    """A job with kd and one term between layers of two transformers of different widths and depths."""
    return feature(TOKENS[name], student=TOKEN_STUDENT, **changes)


@pytest.mark.parametrize("name", sample(TOKENS, ["hidden_states", "relations", "similarity"]))
def test_a_job_that_was_interrupted_gives_the_student_of_one_that_was_not(harness: EngineHarness, name: str) -> None:
    tokens(harness)
    spec = between(name) | {"student": TOKEN_STUDENT | {"dropout": 0.2}}
    harness.run(spec, "whole")
    with pytest.raises(Stopped):
        harness.run(spec, "broken", stop=StopAtStep(9))
    harness.run(spec, "broken", attempt=2)
    assert harness.digest("broken", attempt=2) == harness.digest("whole")


@pytest.mark.parametrize("name", sample(TOKENS, ["hidden_states", "relations", "similarity"]))
def test_micro_batches_give_the_student_of_whole_batches(harness: EngineHarness, name: str) -> None:
    tokens(harness)
    training = {"steps": 5, "batch_size": 30, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.05}
    spec = between(name, control=False)
    harness.run(spec | {"training": training}, "whole")
    report = report_of(harness.run(spec | {"training": training | {"micro_batch_size": 7}}, "parts"))
    assert report.exact_accumulation
    whole, parts = harness.weights("whole"), harness.weights("parts")
    for tensor, expected in whole.items():
        torch.testing.assert_close(parts[tensor], expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", TOKENS)
def test_a_term_between_layers_falls_and_moves_the_student(harness: EngineHarness, name: str) -> None:
    tokens(harness)
    training = {"epochs": 8, "batch_size": 32, "learning_rate": 0.01}
    harness.run(between(name, training=training, control=False), "with")
    series = harness.log.series(f"train/label/{TOKENS[name]['method']}")
    falling = [value for value in series if value is not None]
    assert len(falling) == len(series) > 2
    assert falling[-1] < 0.9 * falling[0]
    harness.run(
        job({"soft_targets": {"method": "kd"}}, student=TOKEN_STUDENT, training=training, control=False), "bare"
    )
    assert harness.digest("with") != harness.digest("bare")


def test_what_is_trained_beside_the_student_is_not_exported(harness: EngineHarness) -> None:
    tokens(harness)
    outcome = harness.run(between("hidden_states", exports=["onnx"]))
    described = outcome.student.architecture
    assert described is not None
    assert {name: tuple(value.shape) for name, value in harness.weights().items()} == parameter_shapes(described)
    assert (harness.outputs() / "student.onnx").exists()


def test_a_trained_student_is_reported_with_its_costs_and_beats_chance(harness: EngineHarness) -> None:
    tokens(harness)
    outcome = harness.run(between("relations", training={"epochs": 30, "batch_size": 32, "learning_rate": 0.01}))
    report, described = report_of(outcome), outcome.student.architecture
    assert described is not None
    assert (report.student.parameters, report.student.flops) == (parameter_count(described), flops(described))
    accuracy = report.student.tasks["label"]["accuracy"]
    assert accuracy is not None
    assert accuracy > 0.6


def test_a_student_starts_from_chosen_blocks_of_its_teacher(harness: EngineHarness) -> None:
    tokens(harness)
    init = {"layers": {"embed": "embed", "positions": "positions", "blocks.0": "blocks.1"}}
    student = {"family": "transformer", "width": 12, "depth": 1, "heads": 3, "init": init}
    one_step = {"steps": 1, "optimizer": "sgd", "learning_rate": 1e-9}
    harness.run(soft({"method": "kd"}, student=student, training=one_step))
    teacher, found = harness.weights("teacher"), harness.weights()
    for name, value in found.items():
        if name.startswith("blocks.0."):
            torch.testing.assert_close(value, teacher[name.replace("blocks.0.", "blocks.1.")])
    torch.testing.assert_close(found["positions.weight"], teacher["positions.weight"])
    assert not torch.allclose(found["layers.0.weight"], teacher["layers.0.weight"])


def test_tasks_share_the_blocks_and_have_heads_of_their_own(harness: EngineHarness) -> None:
    tokens(harness)
    spec = {
        "kind": "multitask",
        "tasks": [{"name": "label", "teachers": [{"model": next(iter(harness.models))}]}, {"name": "size"}],
        "student": TOKEN_STUDENT,
        "balancing": {"method": "pcgrad"},
        "training": {"epochs": 2, "batch_size": 32},
    }
    harness.run(spec)
    found = {name for name in harness.weights() if not name.startswith("blocks.")}
    ends = ("weight", "bias")
    places = ("embed", "norm", "heads.label", "heads.size")
    assert found == {"positions.weight", *(f"{place}.{end}" for place in places for end in ends)}


def test_candidates_of_a_search_train_as_one_vectorised_step_and_score_as_alone(harness: EngineHarness) -> None:
    """One by one: micro-batches cannot be stacked."""
    tokens(harness)
    searched = {"method": "kd", "temperature": {"search": [1, 2, 8]}}
    spec = soft(searched, student=TOKEN_STUDENT, control=False)
    together = report_of(harness.run(spec, "together"))
    alone = report_of(harness.run(spec | {"training": spec["training"] | {"micro_batch_size": 16}}, "alone"))
    assert (harness.folder / "together" / "checkpoints" / "finished" / "search.json").exists()
    assert (harness.folder / "alone" / "checkpoints" / "finished" / "search-0").exists()
    assert together.search is not None
    assert alone.search is not None
    for one, other in zip(together.search.trials, alone.search.trials, strict=True):
        assert one.score == pytest.approx(other.score, abs=1 / 27 + 1e-9), "a validation row at most"
