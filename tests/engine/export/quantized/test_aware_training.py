"""Quantization-aware training in whole runs: selection, interruptions, controls, precision, searches, several tasks."""

from pathlib import Path

import numpy as np
import pytest

from tests.engine.export.quantized.aware_jobs import (
    AWARE,
    BATCHES,
    DISTILL,
    TOLD,
    TRAIN,
    TRAINING,
    Json,
    bits,
    largest_difference,
    taught,
    trained,
)
from tests.engine.harness import EngineHarness, StopAtStep, blobs
from tests.engine.models.sharing.networks import STUDENTS
from workers.engine.common.stop import Stopped
from workers.engine.jobs.runs.results import TrainedModel
from workers.engine.models.quantization.layers import layers_of


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    return taught(tmp_path_factory.mktemp("shared"))


def has_ranges(model: TrainedModel) -> bool:
    """Whether each layer of the network has the range of numbers that were seen."""
    ranges = model.input_ranges
    return ranges.keys() == layers_of(model.network).keys() and all(bool(each.any()) for each in ranges.values())


@pytest.mark.parametrize("begin", [0.5, 0.95])
def test_epochs_before_begin_are_never_selected(begin: float, tmp_path: Path) -> None:
    """With labels by chance an early epoch has the lowest loss on the validation rows."""
    harness = EngineHarness(tmp_path)
    harness.dataset(blobs() | {"label": np.random.default_rng(3).integers(0, 3, 240)})
    spec = {**TRAIN, "training": {**TRAINING, "epochs": 6, "learning_rate": 0.05, "select_by": "loss"}}
    first = int(6 * BATCHES * begin) // BATCHES + 1
    assert trained(harness, spec, "float").student.epoch < first
    found = trained(harness, {**spec, "quantization": {"begin": begin}}, "aware").student
    assert found.epoch >= first
    assert len(found.history.points) == 6, "all epochs are evaluated"
    assert has_ranges(found)


def test_early_stopping_waits_for_the_rounding(tmp_path: Path) -> None:
    harness = EngineHarness(tmp_path)
    harness.dataset(blobs() | {"label": np.random.default_rng(3).integers(0, 3, 240)})
    stopping = {"epochs": 10, "learning_rate": 0.05, "select_by": "loss", "early_stopping": {"patience": 1}}
    spec = {**TRAIN, "training": {**TRAINING, **stopping}}
    assert trained(harness, spec, "float").student.steps < 5 * BATCHES
    found = trained(harness, {**spec, **AWARE}, "aware").student
    assert 6 * BATCHES < found.steps < 10 * BATCHES
    assert has_ranges(found)


def test_the_schedule_plateau_lowers_the_rate_before_the_rounding_begins(tmp_path: Path) -> None:
    """With labels by chance no epoch is better than the first few; the last of six is the first with rounding."""
    harness = EngineHarness(tmp_path)
    harness.dataset(blobs() | {"label": np.random.default_rng(3).integers(0, 3, 240)})
    plateau = {"epochs": 6, "select_by": "loss", "schedule": {"kind": "plateau", "patience": 0, "factor": 0.5}}
    trained(harness, {**TRAIN, "training": {**TRAINING, **plateau}, "quantization": {"begin": 0.9}}, "aware")
    rates = harness.log.series("train/learning_rate")
    assert len(rates) == 6
    assert rates[4] is not None
    assert rates[0] == TRAINING["learning_rate"]
    assert rates[4] < TRAINING["learning_rate"]


def test_a_resumed_job_has_the_same_weights_and_ranges(shared: EngineHarness) -> None:
    """Stopped before the rounding, at its first step, while ranges follow, and after they are frozen."""
    spec = {**DISTILL, **AWARE, "control": False}
    whole = bits(trained(shared, spec, "whole").student)
    assert any(name.startswith("range of ") for name in whole)
    for before in (5, 11, 12, 15, 20):
        name = f"stopped-{before}"
        with pytest.raises(Stopped):
            trained(shared, spec, name, stop=StopAtStep(before))
        assert bits(trained(shared, spec, name, attempt=2).student) == whole
    assert bits(trained(shared, spec, "whole", attempt=2).student) == whole, "of the stored result"


def test_controls_of_other_roundings_are_other_controls(tmp_path: Path) -> None:
    harness, later = taught(tmp_path), {"quantization": {"begin": 0.8}}

    def control(job: str, changes: Json) -> TrainedModel:
        found = trained(harness, {**DISTILL, **changes}, job).control
        assert found is not None
        return found

    plain, aware = control("float", {}), control("aware", AWARE)
    assert not plain.cached
    assert not aware.cached
    assert not control("later", later).cached
    assert largest_difference(plain, aware) > 0.0
    for job, changes, first in (("float again", {}, plain), ("aware again", AWARE, aware)):
        again = control(job, changes)
        assert again.cached
        assert largest_difference(again, first) == 0.0


def test_every_repeat_and_its_control_is_trained_with_rounding(shared: EngineHarness) -> None:
    found = trained(shared, {**DISTILL, **AWARE, "repeats": 2}, "repeats")
    assert [has_ranges(each) for each in (*found.students, *found.controls)] == [True] * 4
    assert bits(found.students[0]) != bits(found.students[1])
    single = trained(shared, {**DISTILL, **AWARE}, "single")
    assert bits(single.student) == bits(found.students[0])


def test_micro_batches_train_the_same_student(shared: EngineHarness) -> None:
    """To the rounding of sums in float32: the ranges are those of whole batches."""
    spec = {**DISTILL, **AWARE, "control": False}
    whole = trained(shared, spec, "batches").student
    parts = trained(shared, {**spec, "training": {**TRAINING, "micro_batch_size": 10}}, "micro-batches")
    assert parts.exact_accumulation
    assert largest_difference(whole, parts.student) < 1e-3
    for name, limits in whole.input_ranges.items():
        np.testing.assert_allclose(parts.student.input_ranges[name], limits, atol=1e-3)


def test_rounding_goes_with_bfloat16(shared: EngineHarness) -> None:
    spec = {**DISTILL, **AWARE, "control": False, "training": {**TRAINING, "precision": "bfloat16"}}
    found = trained(shared, spec, "bfloat16")
    assert found.precision == "bfloat16"
    assert has_ranges(found.student)
    assert found.student.score is not None
    assert found.student.score > 0.8


def test_a_search_compares_and_selects_students_with_rounding(shared: EngineHarness) -> None:
    temperature = {"method": "kd", "temperature": {"search": [1.0, 4.0]}}
    found = trained(
        shared, {**DISTILL, **AWARE, "control": False, "distillation": {"soft_targets": temperature}}, "search"
    )
    assert found.search is not None
    chosen = found.search.trials[found.search.chosen].values["/distillation/soft_targets/0/temperature"]
    single = {"soft_targets": {"method": "kd", "temperature": chosen}}
    alone = trained(shared, {**DISTILL, **AWARE, "control": False, "distillation": single}, "of the search")
    assert bits(found.student) == bits(alone.student)
    assert has_ranges(found.student)


def test_several_tasks_and_their_baselines_are_trained_with_rounding(shared: EngineHarness) -> None:
    tasks = {"kind": "multitask", "tasks": [{"name": "label"}, {"name": "side"}], "baselines": True, "repeats": 1}
    spec = {**tasks, "student": STUDENTS["mmoe"], "training": TRAINING, "balancing": {"method": "pcgrad"}}
    found = trained(shared, {**spec, **AWARE}, "tasks")
    assert has_ranges(found.student)
    assert [has_ranges(each) for each in found.baselines[0].values()] == [True, True]
    assert set(TOLD) > set(found.baselines[0])
