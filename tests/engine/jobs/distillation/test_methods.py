"""Every method as a whole job: it learns, it survives an interruption bit for bit, it accumulates exactly."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.harness import EngineHarness, StopAtStep, blobs, report_of
from tests.engine.jobs.distillation.method_specs import (
    CLASS_JOBS,
    FEATURES,
    KEPT,
    LOGITS,
    MAPS,
    NUMBERS,
    TRAINING,
    add_teachers,
    feature,
    job,
    pictures,
    soft,
    values,
)
from tests.exhaustive import sample
from workers.engine.common.stop import Stopped

Json = dict[str, Any]


def interrupted(harness: EngineHarness, spec: Json, polls: int) -> None:
    """Run `spec` as job `broken`, stopped at a poll, and finish it in a second attempt."""
    with pytest.raises(Stopped):
        harness.run(spec, "broken", stop=StopAtStep(polls))
    harness.run(spec, "broken", attempt=2)


@pytest.mark.parametrize("name", sample(CLASS_JOBS, [*KEPT, "learned shares"]))
def test_a_job_that_was_interrupted_gives_the_student_of_one_that_was_not(harness: EngineHarness, name: str) -> None:
    spec = CLASS_JOBS[name]
    add_teachers(harness)
    harness.run(spec, "whole")
    interrupted(harness, spec, polls=12)
    assert harness.digest("broken", attempt=2) == harness.digest("whole")


@pytest.mark.parametrize("name", MAPS)
def test_a_job_on_maps_that_was_interrupted_gives_the_same_student(harness: EngineHarness, name: str) -> None:
    pictures(harness)
    term = MAPS[name]
    pair = {} if "layers" in term else {"teacher_layer": "stages.1", "student_layer": "stages.0"}
    spec = feature({**pair, **term}, student={"family": "convnet", "channels": [4]})
    harness.run(spec, "whole")
    interrupted(harness, spec, polls=9)
    assert harness.digest("broken", attempt=2) == harness.digest("whole")


@pytest.mark.parametrize("name", NUMBERS)
def test_a_job_on_values_that_was_interrupted_gives_the_same_student(harness: EngineHarness, name: str) -> None:
    values(harness)
    spec = soft(NUMBERS[name], target="size")
    report = report_of(harness.run(spec, "whole"))
    interrupted(harness, spec, polls=12)
    assert harness.digest("broken", attempt=2) == harness.digest("whole")
    assert report.verdict["size"].verdict in {"provisional_gain", "provisional_loss", "undecided"}


@pytest.mark.parametrize(
    "name",
    sample([name for name in CLASS_JOBS if "learned" not in name], [name for name in KEPT if "learned" not in name]),
)
def test_micro_batches_give_the_student_of_whole_batches(harness: EngineHarness, name: str) -> None:
    """Also where a term compares the rows of a batch: outputs first, then their gradients part by part."""
    add_teachers(harness)
    spec = CLASS_JOBS[name] | {"control": False}
    spec["training"] = {"steps": 5, "batch_size": 30, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.05}
    harness.run(spec, "whole")
    spec["training"] = spec["training"] | {"micro_batch_size": 7}
    report = report_of(harness.run(spec, "parts"))
    assert report.exact_accumulation
    whole, parts = harness.weights("whole"), harness.weights("parts")
    for tensor, expected in whole.items():
        torch.testing.assert_close(parts[tensor], expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", sample(CLASS_JOBS, KEPT))
def test_a_term_is_recorded_under_its_own_name_and_falls(harness: EngineHarness, name: str) -> None:
    add_teachers(harness)
    harness.run(CLASS_JOBS[name] | {"control": False})
    spec = CLASS_JOBS[name]["distillation"]
    terms = spec["soft_targets"] if isinstance(spec["soft_targets"], list) else [spec["soft_targets"]]
    terms = [*terms, spec["features"]] if "features" in spec else terms
    series = {point for event in harness.log.events for point in getattr(event, "points", ())}
    found = {point.series for point in series}
    for term in terms:
        assert any(each.startswith(f"train/label/{term['method']}") for each in found)


@pytest.mark.parametrize("name", ["crd", "ofa", "review"])
def test_what_is_trained_beside_the_student_is_not_exported(harness: EngineHarness, name: str) -> None:
    add_teachers(harness)
    harness.run(CLASS_JOBS[name])
    assert set(harness.weights()) == {"layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"}


@pytest.mark.parametrize("name", ["fitnets", "ofa", "review"])
def test_what_a_term_trains_never_shifts_the_control(harness: EngineHarness, name: str) -> None:
    add_teachers(harness)
    dropout = {"family": "mlp", "hidden": [8], "dropout": 0.3}
    harness.run(CLASS_JOBS[name] | {"student": dropout}, "with")
    harness.run(
        job({"soft_targets": {"method": "kd"}}, student=dropout), "without", cache_dir=str(harness.folder / "c2")
    )
    assert harness.digest("with", role="control") == harness.digest("without", role="control")


@pytest.mark.parametrize("store", [{}, {"top_k": 2}])
def test_branches_learn_from_all_rows_where_few_have_labels(harness: EngineHarness, store: Json) -> None:
    add_teachers(harness)
    arrays = blobs()
    arrays["label"][np.arange(len(arrays["label"])) % 8 != 0] = -1
    harness.dataset(arrays)
    term = {**LOGITS["ofa"], "weight": 1.0}
    training = {**TRAINING, "epochs": 12}
    report = report_of(harness.run(job({"soft_targets": term}, store=store, training=training, control=False)))
    accuracy = report.student.tasks["label"]["accuracy"]
    assert accuracy is not None
    assert accuracy > 0.8
    first, *_, last = (value for value in harness.log.series("train/label/ofa") if value is not None)
    assert last < first


def test_peers_have_no_branches_and_review_nothing(harness: EngineHarness) -> None:
    """They may be of another family, without these layers."""
    add_teachers(harness)
    spec = CLASS_JOBS["ofa"] | {"mutual": {"peers": [{"family": "mlp", "hidden": []}]}, "control": False}
    spec["distillation"] = {**spec["distillation"], "features": {"weight": 0.5, **FEATURES["review"]}}
    harness.run(spec)
    assert harness.log.series("train/label/review")
    assert not harness.log.series("peer-1/train/label/review")


def test_the_teacher_runs_once_for_outputs_and_layers_together(harness: EngineHarness) -> None:
    add_teachers(harness)
    terms = [
        {"method": "fitnets", "teacher_layer": layer, "student_layer": "layers.0"} for layer in ("layers.0", "layers.1")
    ]
    spec = job({"soft_targets": {"method": "kd"}, "features": terms})
    first = report_of(harness.run(spec, "first"))
    assert (first.targets[0].store, first.targets[0].passes) == ("miss", 1)
    second = report_of(harness.run(spec, "second"))
    assert (second.targets[0].store, second.targets[0].passes) == ("hit", 0)
    bare = report_of(harness.run(job({"soft_targets": {"method": "kd"}}), "bare"))
    assert bare.targets[0].store == "hit", "the outputs are an entry of their own"
