"""Several seeds as one vectorised step: each is the run that it is alone, up to rounding."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from app.contracts.problems import UserError
from tests.engine.harness import TEACHER, EngineHarness, StopAtStep, blobs
from tests.engine.jobs.distillation import test_methods_by_kind as kinds
from tests.engine.jobs.distillation.method_specs import (
    TEACHER_SPEC,
    TOKEN_STUDENT,
    TRAINING,
    add_teachers,
    feature,
    pictures,
    soft,
    tokens,
)
from tests.engine.jobs.runs.seeded_runs import seeded_runs
from workers.engine.common.stop import Stopped
from workers.engine.jobs.runs import population
from workers.engine.jobs.runs.results import RunResult
from workers.engine.jobs.runs.run import Run
from workers.engine.training.vectorised.seeds import Seeds

Json = dict[str, Any]
RECIPE: Json = {"schedule": "cosine", "warmup": 3, "weight_decay": 0.1, "clip_norm": 0.5}


def kd(**changes: Any) -> Json:
    return soft({"method": "kd"}, **{"repeats": 2, **changes})


def trained(**changes: Any) -> Json:
    return kd(training={**TRAINING, **changes})


def assert_equal_up_to_rounding(together: list[RunResult] | None, alone: list[RunResult], role: str) -> None:
    assert together is not None
    for one, other in zip(together, alone, strict=True):
        member, single = one.models[role], other.models[role]
        assert (member.epoch, member.steps) == (single.epoch, single.steps)
        assert member.score == pytest.approx(single.score, rel=1e-4)
        assert member.loss == pytest.approx(single.loss, rel=1e-4)
        for name, value in single.network.state_dict().items():
            torch.testing.assert_close(member.network.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def weights_of(results: list[RunResult] | None) -> list[dict[str, torch.Tensor]]:
    assert results is not None
    return [model.network.state_dict() for result in results for model in result.models.values()]


def assert_same_bits(results: list[RunResult] | None, others: list[RunResult] | None) -> None:
    for one, other in zip(weights_of(results), weights_of(others), strict=True):
        assert all(value.equal(other[name]) for name, value in one.items())


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a vectorised step were always faster."""
    monkeypatch.setattr(population, "is_faster", lambda *facts: True)


@pytest.mark.parametrize("role", ["student", "control"])
def test_each_member_is_the_run_of_its_seed(harness: EngineHarness, role: str) -> None:
    add_teachers(harness)
    with seeded_runs(harness, kd(repeats=3, training={**TRAINING, **RECIPE})) as runs:
        each = runs.students if role == "student" else runs.controls
        assert_equal_up_to_rounding(runs.runner.run_population("together", each), runs.alone(each), role)


def test_members_whose_batches_have_different_numbers_of_labels_are_the_runs_of_their_seeds(
    harness: EngineHarness,
) -> None:
    add_teachers(harness)
    arrays = blobs()
    arrays["label"][np.random.default_rng(3).permutation(240)[:200]] = -1
    harness.dataset(arrays)
    with seeded_runs(harness, trained(batch_size=4, epochs=2)) as runs:
        assert_equal_up_to_rounding(
            runs.runner.run_population("together", runs.students), runs.alone(runs.students), "student"
        )
        assert len(runs.controls[0].schedule().rows) < len(runs.students[0].schedule().rows)
        assert_equal_up_to_rounding(
            runs.runner.run_population("controls", runs.controls), runs.alone(runs.controls), "control"
        )


@pytest.mark.parametrize(("target", "name"), [("labels", "kd"), ("vector", "mse")])
def test_members_of_other_kinds_are_the_runs_of_their_seeds(harness: EngineHarness, target: str, name: str) -> None:
    kinds.add_teacher(harness, target)
    with seeded_runs(harness, kinds.job(target, name, repeats=2)) as runs:
        students = runs.students
        assert_equal_up_to_rounding(runs.runner.run_population("together", students), runs.alone(students), "student")


def test_members_that_predict_a_value_with_normalised_layers_are_the_runs_of_their_seeds(
    harness: EngineHarness,
) -> None:
    harness.dataset()
    model = {"family": "mlp", "hidden": [12, 8], "normalization": "layer", "activation": "gelu"}
    teacher = {"kind": "train", "target": "size", "model": model, "training": TRAINING}
    harness.teacher(harness.run(teacher, "teacher"), harness.folder / "teacher" / "attempt-1")
    spec = {
        "kind": "distill",
        "target": "size",
        "teachers": [{"model": TEACHER}],
        "student": model,
        "distillation": {"soft_targets": {"method": "huber"}},
        "training": {**TRAINING, "select_by": "loss"},
        "repeats": 2,
    }
    with seeded_runs(harness, spec) as runs:
        students = runs.students
        assert_equal_up_to_rounding(runs.runner.run_population("together", students), runs.alone(students), "student")


@pytest.mark.parametrize("family", ["transformer", "convnet"])
def test_networks_of_other_families_are_mapped(harness: EngineHarness, family: str, always: None) -> None:
    (tokens if family == "transformer" else pictures)(harness)
    convnet = {"family": "convnet", "channels": [4], "normalization": "none"}
    # The gradient of the keys' bias is 0, and Adam would make steps of its rounding.
    training = {**TRAINING, "optimizer": "sgd", "learning_rate": 0.05}
    student = TOKEN_STUDENT if family == "transformer" else convnet
    with seeded_runs(harness, kd(student=student, training=training)) as runs:
        students = runs.students
        assert_equal_up_to_rounding(runs.runner.run_population("together", students), runs.alone(students), "student")


def test_members_have_the_series_of_their_runs(harness: EngineHarness) -> None:
    add_teachers(harness)
    with seeded_runs(harness, kd(), "together") as runs:
        for name, each in (("students", runs.students), ("controls", runs.controls)):
            runs.runner.run_population(name, each)
        together = runs.log
    with seeded_runs(harness, kd(), "alone", cache_dir=str(harness.folder / "other")) as runs:
        for run in runs.seeds:
            runs.runner.run(run)
        alone = runs.log
    names = {point.series for event in alone.events if event.type == "metrics" for point in event.points}
    assert {"train/label/kd", "repeat-1/control/train/loss", "repeat-1/validation/label/accuracy"} <= names
    assert {point.series for event in together.events if event.type == "metrics" for point in event.points} == names
    for name in names:
        assert together.series(name) == pytest.approx(alone.series(name), rel=1e-3, abs=1e-5)


def test_progress_and_checkpoints_count_the_steps_of_every_member(harness: EngineHarness) -> None:
    add_teachers(harness)
    with seeded_runs(harness, kd(control=False), checkpoint_seconds=0.0) as runs:
        steps = runs.seeds[0].schedule().steps
        runs.runner.run_population("together", [replace(run, control=False) for run in runs.seeds])
        assert [event.step for event in runs.log.checkpoints] == [2 * step for step in range(steps)]
        progress = [event for event in runs.log.events if event.type == "progress"]
        assert (progress[-1].percent, progress[-1].step, progress[-1].steps) == (100.0, 2 * steps, 2 * steps)


def test_of_equal_scores_each_member_keeps_the_epoch_of_its_lowest_loss(harness: EngineHarness) -> None:
    arrays = blobs()
    arrays["x"][:, :3] += 9.0 * np.eye(3, dtype=np.float32)[arrays["label"]]
    harness.dataset(arrays)
    harness.teacher(harness.run(TEACHER_SPEC, "teacher"), harness.folder / "teacher" / "attempt-1")
    with seeded_runs(harness, trained(epochs=8, learning_rate=0.05)) as runs:
        together = runs.runner.run_population("together", runs.students)
        assert together is not None
        for run, result in zip(runs.students, together, strict=True):
            prefix = f"{run.name}/" if run.name else ""
            scores = runs.log.series(f"{prefix}validation/label/accuracy")
            losses = runs.log.series(f"{prefix}validation/loss")
            tied = [i for i, score in enumerate(scores) if score == max(each or 0.0 for each in scores)]
            assert len(tied) > 1
            model = result.models["student"]
            assert model.epoch == 1 + min(tied, key=lambda i: losses[i] or 0.0)
            assert model.loss == losses[model.epoch - 1]


def test_members_select_the_last_epoch_where_the_spec_says_so(harness: EngineHarness) -> None:
    add_teachers(harness)
    with seeded_runs(harness, trained(epochs=4, learning_rate=0.1, select_by="last")) as runs:
        students = runs.students
        together = runs.runner.run_population("together", students)
        assert_equal_up_to_rounding(together, runs.alone(students), "student")
        assert together is not None
        assert [each.models["student"].epoch for each in together] == [4, 4]


@pytest.mark.parametrize("polls", [0, 7, 13])
def test_a_population_that_was_interrupted_ends_with_the_same_bits(harness: EngineHarness, polls: int) -> None:
    add_teachers(harness)
    spec = trained(learning_rate=0.1, select_by="macro_f1")
    with seeded_runs(harness, spec, "whole") as runs:
        whole = runs.runner.run_population("together", runs.students)
    with (
        seeded_runs(harness, spec, "broken", stop=StopAtStep(polls)) as runs,
        pytest.raises(Stopped),
    ):
        runs.runner.run_population("together", runs.students)
    with seeded_runs(harness, spec, "broken", attempt=2) as runs:
        broken = runs.runner.run_population("together", runs.students)
    assert_same_bits(whole, broken)
    assert whole is not None
    assert broken is not None
    for one, other in zip(whole, broken, strict=True):
        model, again = one.models["student"], other.models["student"]
        assert (model.epoch, model.score, model.loss) == (again.epoch, again.score, again.loss)
        assert other.bit_exact


def test_a_population_that_has_finished_is_not_trained_again(harness: EngineHarness) -> None:
    add_teachers(harness)
    with seeded_runs(harness, kd()) as runs:
        first = runs.runner.run_population("together", runs.students)
    with seeded_runs(harness, kd(), attempt=2, stop=StopAtStep(0)) as runs:
        again = runs.runner.run_population("together", runs.students)
    assert_same_bits(first, again)


def test_each_control_of_a_population_is_in_the_cache(harness: EngineHarness) -> None:
    add_teachers(harness)
    with seeded_runs(harness, kd(), "first") as runs:
        first = runs.runner.run_population("controls", runs.controls)
    with seeded_runs(harness, kd(), "second", stop=StopAtStep(0)) as runs:
        second = [runs.runner.cached_control(run) for run in runs.controls]
    assert first is not None
    for trained, cached in zip(first, second, strict=True):
        assert cached is not None
        assert cached.cached
        weights = cached.network.state_dict()
        assert all(weights[name].equal(value) for name, value in trained.models["control"].network.state_dict().items())


def of_mlp(**changes: Any) -> Json:
    return kd(student={"family": "mlp", "hidden": [8], **changes})


REFUSED: dict[str, Json] = {
    "batch norm": of_mlp(normalization="batch"),
    "dropout": of_mlp(dropout=0.1),
    "early stopping": trained(early_stopping={"patience": 2}),
    "plateau": trained(schedule={"kind": "plateau"}),
    "micro-batches": trained(micro_batch_size=8),
    "bfloat16": trained(precision="bfloat16"),
    "comparing rows": soft({"method": "dist"}, repeats=2),
    "trained temperature": soft({"method": "kd", "temperature": {"learned": True}}, repeats=2),
    "between layers": feature({"method": "fitnets"}, repeats=2),
    "phases": soft({"method": "kd", "phase": {"begin": 0.5}}, repeats=2),
    "peers": kd(mutual={"peers": [{"family": "mlp", "hidden": [8]}]}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_one_step_cannot_train_is_refused(harness: EngineHarness, name: str) -> None:
    add_teachers(harness)
    with seeded_runs(harness, REFUSED[name]) as runs:
        assert runs.runner.run_population("together", runs.students) is None


def test_views_are_refused(harness: EngineHarness) -> None:
    pictures(harness)
    spec = trained(views={"transforms": [{"kind": "shift", "pixels": 1}]}) | {
        "student": {"family": "mlp", "hidden": [8]}
    }
    with seeded_runs(harness, spec) as runs:
        assert runs.runner.run_population("together", runs.students) is None


def test_a_step_whose_arithmetic_outweighs_its_dispatch_is_left_to_single_runs(harness: EngineHarness) -> None:
    add_teachers(harness)
    with seeded_runs(harness, of_mlp(hidden=[1024, 1024])) as runs:
        assert runs.runner.run_population("together", runs.students) is None


def test_a_member_that_diverges_is_named(harness: EngineHarness) -> None:
    add_teachers(harness)
    with seeded_runs(harness, trained(optimizer="sgd")) as runs:
        members = [run.with_training(learning_rate=1e30) for run in runs.students]
        with pytest.raises(UserError, match=r"^(repeat-1/)?train/label/\w+ is not finite at step \d+") as raised:
            runs.runner.run_population("together", members)
        assert raised.value.code == "diverged"


def test_runs_that_differ_in_more_than_their_seed_are_refused(harness: EngineHarness) -> None:
    add_teachers(harness)
    with seeded_runs(harness, kd()) as runs:
        first, second = runs.students
        others: list[tuple[Run, ...]] = [
            (first,),
            (first, second.with_training(learning_rate=0.2)),
            (first, replace(second, validation=second.validation[:-1])),
            (first, replace(second, train=second.train[:-1])),
            (first, runs.controls[1]),
            tuple(runs.seeds),
        ]
        for each in others:
            assert runs.runner.run_population("together", each) is None


def test_without_memory_for_all_at_once_runs_are_left_to_train_alone(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(self: Seeds, part: object) -> object:
        raise MemoryError

    add_teachers(harness)
    with seeded_runs(harness, kd()) as runs:
        with monkeypatch.context() as patch:
            patch.setattr(Seeds, "forward", forward)
            assert runs.runner.run_population("students", runs.students) is None
        assert runs.runner.run_population("controls", runs.controls) is None
        assert all(run.models for run in runs.alone(runs.students))
