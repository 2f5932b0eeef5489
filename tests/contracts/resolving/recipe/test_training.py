"""What the recipe chooses for settings of training that a spec leaves out, and why it says so."""

import json
from itertools import pairwise
from typing import Any

import pytest

from app.contracts.resolving.resolve import resolve
from app.contracts.resources.facts import DatasetFacts, InputFacts, TargetFacts
from app.contracts.specs.jobs import JOB_SPEC, DistillJob, TrainJob
from app.contracts.specs.training import TrainingSettings
from tests.contracts.resolving.test_resolve import DISTILL, DS, TEACHER, TRAIN, resolved, teacher

LARGE = {"family": "mlp", "hidden": [512, 512]}


def rows(train: int, features: int = 8) -> DatasetFacts:
    splits: dict[Any, int] = {"train": train, "validation": 10, "test": 10}
    target = TargetFacts(kind="class", size=3, labelled=splits)
    return DatasetFacts(
        rows=train + 20, splits=splits, inputs={"x": InputFacts(shape=(features,))}, targets={"y": target}
    )


def chosen(training: dict[str, Any], train: int = 1000, **spec: Any) -> tuple[TrainingSettings, set[str]]:
    """(settings, the fields that the recipe chose)."""
    found = resolved({**TRAIN, **spec, "training": training}, rows(train))
    assert not found.problems
    assert all(choice.because for choice in found.chosen.values())
    assert isinstance(found.spec, TrainJob | DistillJob)
    return TrainingSettings.of(found.spec.training), {pointer.rpartition("/")[2] for pointer in found.chosen}


@pytest.mark.parametrize(
    ("train", "batch", "steps"),
    [(10, 10, 1500), (100, 64, 1500), (4800, 64, 1500), (6400, 64, 2000), (50_000, 64, 15_640)],
)
def test_steps_are_twenty_passes_and_at_least_1500(train: int, batch: int, steps: int) -> None:
    settings, _ = chosen({}, train)
    assert (settings.batch_size, settings.steps, settings.epochs) == (batch, steps, None)


def test_networks_of_labels_alone_pass_over_the_labelled_rows() -> None:
    """A teacher speaks of the others too."""
    splits: dict[Any, int] = {"train": 6400, "validation": 10, "test": 10}
    target = TargetFacts(kind="class", size=3, labelled={**splits, "train": 100})
    data = rows(6400).model_copy(update={"targets": {"y": target}})
    alone = resolved(TRAIN, data)
    assert not alone.problems
    assert alone.chosen["/training/steps"].value == 1500
    assert "passes over 100 rows" in alone.chosen["/training/steps"].because
    assert alone.chosen["/training/evaluate_every"].value == 750 // 20
    model = teacher(size=3, shape=(8,))
    model = model.model_copy(update={"outputs": {"y": model.outputs["digit"]}})
    taught = resolved(DISTILL, data, {TEACHER: model})
    assert not taught.problems
    assert taught.chosen["/training/steps"].value == 2000


@pytest.mark.parametrize(("recipe", "steps"), [("fast", 500), ("default", 1500), ("best", 4500)])
def test_the_recipes_differ_in_their_length(recipe: str, steps: int) -> None:
    assert chosen({"recipe": recipe})[0].steps == steps


def test_every_value_of_a_spec_wins_and_is_not_called_chosen() -> None:
    given: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.5,
        "weight_decay": 0.0,
        "schedule": "constant",
        "warmup": 0,
        "clip_norm": 0.0,
        "evaluate_every": 2,
        "threads": 2,
    }
    settings, fields = chosen(given)
    assert fields == set()
    assert settings.steps is None
    for name, value in given.items():
        assert getattr(settings, name) == value or name == "schedule"
    for name in given:
        alone = {key: value for key, value in given.items() if key != name}
        assert chosen(alone)[1] == {"steps" if name == "epochs" else name}


@pytest.mark.parametrize(
    ("model", "rate"),
    [
        ({"family": "mlp", "hidden": [16]}, 2e-2),
        ({"family": "mlp", "hidden": [16] * 4}, 1e-2),
        ({"family": "mlp", "hidden": [16] * 4, "normalization": "batch"}, 2e-2),
        ({"family": "mlp", "hidden": [128]}, 2e-2),
        (LARGE, 6.1e-3),
        ({**LARGE, "normalization": "batch"}, 6.1e-3),
    ],
)
def test_the_rate_is_lower_for_deep_and_large_networks(model: dict[str, Any], rate: float) -> None:
    assert chosen({}, model=model)[0].learning_rate == rate


def test_student_and_teacher_of_one_size_have_one_rate() -> None:
    model = teacher(size=3, shape=(8,))
    model = model.model_copy(update={"outputs": {"y": model.outputs["digit"]}})
    found = resolved({**DISTILL, "student": LARGE}, rows(1000), {TEACHER: model})
    assert not found.problems
    assert found.chosen["/training/learning_rate"].value == chosen({}, model=LARGE)[0].learning_rate


def test_a_student_that_starts_from_a_teacher_has_half_the_rate() -> None:
    student = {"family": "mlp", "hidden": [16]}
    architecture = {**student, "input_shape": [8], "outputs": {"y": 3}}
    parsed = TrainJob.model_validate_json(json.dumps({"kind": "train", "dataset": DS, "model": architecture}))
    model = teacher(size=3, shape=(8,))
    model = model.model_copy(update={"outputs": {"y": model.outputs["digit"]}, "architecture": parsed.model})
    for init, rate in ((None, 2e-2), ({"from": 0}, 1e-2)):
        found = resolved({**DISTILL, "student": {**student, "init": init}}, rows(1000), {TEACHER: model})
        assert not found.problems
        assert found.chosen["/training/learning_rate"].value == rate


def test_no_step_of_size_changes_the_rate_by_much() -> None:
    models = [{"family": "mlp", "hidden": [width]} for width in range(1000, 16_000, 500)]
    rates = [rate for model in models if isinstance(rate := chosen({}, model=model)[0].learning_rate, float)]
    assert len(rates) == len(models)
    assert rates == sorted(rates, reverse=True)
    assert max(a / b for a, b in pairwise(rates)) < 1.3


def test_weight_decay_grows_smoothly_with_the_passes_over_the_rows() -> None:
    decays = [chosen({"epochs": epochs}, 2000)[0].weight_decay for epochs in (100, 20, 18, 15, 12, 9, 5, 1)]
    assert decays[:2] == [0.15, 0.15]
    assert decays[-2:] == [0.01, 0.01]
    assert decays == sorted(decays, reverse=True)
    ratios = [a / b for a, b in pairwise(decays)]
    assert max(ratios) < 4.0, "no jump between like numbers of rows"


@pytest.mark.parametrize(
    ("training", "every"), [({}, 4), ({"early_stopping": {"patience": 3}}, 1), ({"schedule": "plateau"}, 1)]
)
def test_the_validation_split_is_looked_at_about_twenty_times(training: dict[str, Any], every: int) -> None:
    assert chosen(training)[0].evaluate_every == every


def test_a_micro_batch_is_never_above_the_batch() -> None:
    assert chosen({"micro_batch_size": 256})[0].batch_size == 256


def test_large_networks_on_many_rows_are_cut_by_their_operations() -> None:
    spec = {**TRAIN, "model": {"family": "mlp", "hidden": [16_384, 16_384]}}
    found = resolved(spec, rows(2_000_000))
    steps = found.chosen["/training/steps"]
    assert "floating-point operations" in steps.because
    assert isinstance(steps.value, int)
    assert 31_250 <= steps.value < 20 * 31_250


def test_nothing_is_chosen_before_the_network_is_known() -> None:
    found = resolved({**TRAIN, "model": {"family": "mlp", "input_shape": [9]}}, rows(100))
    assert found.problems
    assert not found.chosen


def test_the_choices_of_a_preflight_point_into_its_job() -> None:
    job = {"kind": "train", "model": {"family": "mlp"}, "target": "y"}
    spec = {"kind": "preflight", "job": {**job, "dataset": DS}}
    parsed = JOB_SPEC.validate_json(json.dumps(spec))
    found = resolve(parsed, {DS: rows(100)}, {}, threads=1)
    assert "/job/training/steps" in found.chosen
