"""A preflight carried out by the engine: what stands in a job's way, what it would cost, and nothing trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.contracts.layouts.summary import layers_of
from app.contracts.problems import UserError
from app.contracts.reports.preflight import PreflightReport
from app.contracts.specs.jobs import PreflightJob
from app.contracts.wire.events import ChildEvent, MetricsEvent, PhaseEvent
from app.contracts.wire.orders import Order, ReportOutcome
from tests.engine.harness import SECOND, STUDENT, TEACHER, EngineHarness, EventLog, StopAtStep, blobs, report_of
from tests.engine.jobs.distillation.method_specs import CLASS_JOBS, KEPT, TRAINING, add_teachers, job, soft
from tests.engine.plain_training import others
from tests.exhaustive import sample
from workers.engine.common.stop import Stop, Stopped
from workers.engine.run import execute
from workers.engine.training.learner import Learner

Json = dict[str, Any]
NOISE: Json = {**TRAINING, "views": {"transforms": [{"kind": "noise", "std": 0.1}]}}
PARAMETERS = 6 * 8 + 8 + 8 * 3 + 3


def order_of(harness: EngineHarness, spec: Json, name: str = "preflight") -> Order:
    """The order of a preflight of this job."""
    order = harness.order(spec, name)
    assert not isinstance(order.spec, PreflightJob)
    return order.model_copy(update={"spec": PreflightJob.model_validate({"kind": "preflight", "job": order.spec})})


def preflight(
    harness: EngineHarness, spec: Json, stop: Stop | None = None, name: str = "preflight", **changes: Any
) -> PreflightReport:
    """Carry out a preflight of this job; events go to a fresh log."""
    harness.log = EventLog()
    order = order_of(harness, spec, name).model_copy(update=changes)
    outcome = execute(order, harness.log.emit, stop or StopAtStep(1 << 60))
    assert isinstance(outcome, ReportOutcome)
    assert [file.role for file in outcome.files] == ["report"]
    written = (harness.outputs(name) / outcome.files[0].path).read_text()
    report = PreflightReport.model_validate_json(written)
    assert report == PreflightReport.model_validate(outcome.report)
    return report


def failures(report: PreflightReport) -> list[str]:
    return [each.code for each in report.would_fail]


def below(folder: Path) -> list[str]:
    """Every file below a folder, but for soft targets and their locks."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if "targets" not in path.parts)


def random_labels(harness: EngineHarness) -> None:
    """The teachers' rows again, with labels that have nothing to do with them."""
    arrays = blobs()
    labels = np.random.default_rng(3).integers(0, 3, size=len(arrays["x"]))
    harness.dataset(arrays | {"label": labels})


def relabelled(harness: EngineHarness, places: list[int]) -> None:
    """The teachers' rows again, class c called `places[c]`."""
    arrays = blobs()
    harness.dataset(arrays | {"label": np.array(places)[arrays["label"]]})


# What it finds.


def test_a_job_without_a_fault_would_not_fail_and_its_teachers_are_scored_on_training_labels(
    harness: EngineHarness,
) -> None:
    add_teachers(harness)
    report = preflight(harness, soft({"method": "kd"}, teachers=[{"model": TEACHER}, {"model": SECOND, "weight": 3}]))
    assert failures(report) == []
    assert harness.data is not None
    assert harness.data.facts is not None
    for teacher, model, weight in zip(report.teachers, (TEACHER, SECOND), (1.0, 3.0), strict=True):
        assert (teacher.model, teacher.task, teacher.output, teacher.weight) == (model, "label", "label", weight)
        assert teacher.rows == harness.data.facts.splits["train"]
        assert teacher.accuracy is not None
        assert teacher.accuracy > 0.9
        assert teacher.metrics["accuracy"] == pytest.approx(teacher.accuracy)
        assert teacher.chance is not None
        assert teacher.chance < 0.6
        assert (teacher.at_chance, teacher.class_order, teacher.problem) == (False, None, None)
    assert [use.store for use in report.targets] == ["miss", "miss"]


def test_a_teacher_at_chance_level_is_reported_as_the_failure_that_it_would_be(harness: EngineHarness) -> None:
    add_teachers(harness)
    random_labels(harness)
    spec = soft({"method": "kd"})
    report = preflight(harness, spec)
    (teacher,) = report.teachers
    assert teacher.at_chance is True
    assert teacher.accuracy is not None
    assert teacher.chance is not None
    assert teacher.accuracy <= teacher.chance
    assert teacher.class_order is None, "another order always fits noise a little better, and says nothing"
    with pytest.raises(UserError) as caught:
        harness.run(spec, "real")
    assert [(each.code, each.message) for each in report.would_fail] == [(caught.value.code, caught.value.message)]
    assert caught.value.code == "teacher_mismatch"
    assert report.seconds.training is not None, "what it would cost is told all the same"


def test_a_teacher_at_chance_level_that_is_allowed_is_no_failure(harness: EngineHarness) -> None:
    add_teachers(harness)
    random_labels(harness)
    terms = {"soft_targets": {"method": "kd"}, "allow_chance_teacher": True}
    report = preflight(harness, job(terms))
    assert report.teachers[0].at_chance is True
    assert failures(report) == []


@pytest.mark.parametrize("places", [[1, 0, 2], [1, 2, 0]])
def test_the_error_names_the_order_in_which_a_teacher_counts_its_classes(
    harness: EngineHarness, places: list[int]
) -> None:
    add_teachers(harness)
    straight = preflight(harness, soft({"method": "kd"}), name="straight").teachers[0]
    relabelled(harness, places)
    report = preflight(harness, soft({"method": "kd"}))
    (teacher,) = report.teachers
    assert teacher.class_order == tuple(places.index(label) for label in range(3))
    assert teacher.accuracy_in_order == pytest.approx(straight.accuracy, abs=0.05)
    assert [each["code"] for each in report.warnings] == harness.log.warnings
    assert others(harness.log.warnings) == ["class_order_suspected"]


def test_each_teacher_is_examined_though_another_cannot_be_asked(harness: EngineHarness) -> None:
    add_teachers(harness)
    scales = {"weight": 1e30, "bias": 0.0}  # a row of zeros, which is what its inspection tries, is all it can take
    huge = {name: value * scales[name.rpartition(".")[2]] for name, value in harness.weights("teacher0").items()}
    manifest = harness.models[TEACHER].manifest.model_dump(mode="json", exclude={"name", "format"})
    harness.uploaded(huge, manifest)
    report = preflight(harness, soft({"method": "kd"}, teachers=[{"model": TEACHER}, {"model": SECOND}]))
    assert failures(report) == ["teacher_not_finite"]
    broken, sound = report.teachers
    assert (broken.model, broken.accuracy) == (TEACHER, None)
    assert broken.problem is not None
    assert "NaN or infinite" in broken.problem
    assert sound.accuracy is not None
    assert (report.memory.total, report.seconds.training, report.steps) == (None, None, None)


def test_teachers_of_all_tasks_are_examined_by_what_their_targets_are(harness: EngineHarness) -> None:
    harness.dataset()
    for model, target in ((TEACHER, "side"), (SECOND, "size")):
        spec = {"kind": "train", "target": target, "model": STUDENT, "training": {**TRAINING, "epochs": 12}}
        harness.teacher(harness.run(spec, target), harness.folder / target / "attempt-1", model)
    tasks = [
        {"name": "label"},
        {"name": "side", "teachers": [{"model": TEACHER}]},
        {"name": "size", "teachers": [{"model": SECOND}]},
    ]
    report = preflight(harness, {"kind": "multitask", "tasks": tasks, "student": STUDENT, "training": TRAINING})
    side, size = report.teachers
    assert (side.task, side.at_chance) == ("side", False)
    assert (size.task, size.accuracy, size.at_chance) == ("size", None, None)
    assert size.metrics["r2"] is not None
    assert failures(report) == []


def test_outputs_that_stand_in_the_dataset_are_examined_like_a_teacher(harness: EngineHarness) -> None:
    arrays = blobs()
    columns = np.where(np.arange(3) == arrays["label"][:, None], 0.8, 0.1).astype(np.float32)
    columns[::2] = np.nan
    predicts = {"kind": "teacher", "predicts": {"kind": "class", "output": "probabilities"}}
    targets = {"label": {"kind": "class", "classes": 3}, "told": predicts}
    harness.dataset(arrays | {"told": columns}, targets=targets)
    report = preflight(harness, soft({"method": "kd"}, teachers=[{"columns": "told"}]))
    (teacher,) = report.teachers
    assert (teacher.name, teacher.model, teacher.accuracy) == ("told", None, 1.0)
    assert harness.data is not None
    assert harness.data.facts is not None
    assert 0 < teacher.rows < harness.data.facts.splits["train"]


def test_rows_without_labels_leave_nothing_to_score_by(harness: EngineHarness) -> None:
    add_teachers(harness)
    harness.dataset({"x": blobs()["x"]}, targets={})
    report = preflight(harness, {**soft({"method": "kd"}), "target": None})
    (teacher,) = report.teachers
    assert (teacher.rows, teacher.accuracy, teacher.at_chance) == (0, None, None)
    assert failures(report) == []
    assert report.stages[0].members == ("student",)


def test_a_loss_that_diverges_in_the_first_steps_is_a_failure(harness: EngineHarness) -> None:
    harness.dataset()
    training = {**TRAINING, "optimizer": "sgd", "learning_rate": 1000.0, "epochs": 50}
    spec = {"kind": "train", "target": "size", "model": {"family": "mlp", "hidden": [64, 64, 64]}, "training": training}
    report = preflight(harness, spec)
    assert failures(report) == ["diverged"]
    with pytest.raises(UserError, match="is not finite") as caught:
        harness.run(spec, "real")
    assert caught.value.code == "diverged"


def test_batches_of_one_row_under_batch_norm_are_a_failure(harness: EngineHarness) -> None:
    harness.dataset()
    model = {"family": "mlp", "hidden": [4], "normalization": "batch"}
    spec = {"kind": "train", "target": "label", "model": model, "training": {**TRAINING, "batch_size": 1}}
    report = preflight(harness, spec)
    assert failures(report) == ["batch_too_small"]
    assert report.steps is not None


def test_a_device_without_room_for_a_step_is_a_failure(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        torch.empty(1 << 60, dtype=torch.uint8)

    harness.dataset()
    monkeypatch.setattr(Learner, "forward", refuse)
    report = preflight(harness, {"kind": "train", "target": "label", "model": STUDENT, "training": TRAINING})
    assert failures(report) == ["out_of_memory"]
    assert "micro_batch_size" in report.would_fail[0].message
    assert report.memory.activations is None


def test_a_defect_of_ours_is_no_failure_of_the_job(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    harness.dataset()
    monkeypatch.setattr(Learner, "forward", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        preflight(harness, {"kind": "train", "target": "label", "model": STUDENT, "training": TRAINING})


# That it trains nothing.


def test_nothing_is_trained_published_or_kept_but_soft_targets(harness: EngineHarness) -> None:
    add_teachers(harness)
    controls = below(harness.folder / "cache")
    preflight(harness, soft({"method": "kd"}))
    assert below(harness.folder / "cache") == controls
    assert below(harness.folder / "preflight") == ["attempt-1/outputs/report.json"]
    phases = [event.phase for event in harness.log.events if isinstance(event, PhaseEvent)]
    assert phases == ["loading", "teaching", "evaluating"]
    assert not any(isinstance(event, MetricsEvent) for event in harness.log.events)
    assert harness.log.checkpoints == []


def test_the_job_finds_the_soft_targets_and_gives_the_student_that_it_gives_without(harness: EngineHarness) -> None:
    add_teachers(harness)
    spec = soft({"method": "kd"}, control=False)
    harness.run(spec, "before", cache_dir=str(harness.folder / "other"))
    preflight(harness, spec)
    after = report_of(harness.run(spec, "after"))
    assert [(use.store, use.passes) for use in after.targets] == [("hit", 0)]
    assert harness.digest("after") == harness.digest("before")


@pytest.mark.parametrize("polls", [0, 2, 4, 8])
def test_it_stops_as_requested_and_can_be_done_again(harness: EngineHarness, polls: int) -> None:
    add_teachers(harness)
    spec = soft({"method": "kd"})
    with pytest.raises(Stopped):
        preflight(harness, spec, StopAtStep(polls, "pause"))
    assert harness.log.checkpoints == []
    assert failures(preflight(harness, spec)) == []


# What it expects.


def test_the_steps_are_those_of_the_real_job(harness: EngineHarness) -> None:
    add_teachers(harness)
    spec = soft({"method": "kd"}, repeats=3)
    report = preflight(harness, spec)
    real = report_of(harness.run(spec, "real"))
    assert [(stage.name, stage.members, stage.runs) for stage in report.stages] == [
        ("student", ("student", "control"), 1),
        ("repeats", ("student", "control"), 2),
    ]
    assert {stage.steps for stage in report.stages} == {real.student.steps}
    assert report.steps == sum(stage.runs * stage.steps for stage in report.stages)
    assert (report.parameters, report.flops) == (real.student.parameters, real.student.flops)


def test_seeds_that_train_as_one_step_are_measured_as_one(harness: EngineHarness) -> None:
    add_teachers(harness)
    report = preflight(harness, soft({"method": "kd"}, repeats="auto"))
    assert [(stage.name, stage.members, stage.runs) for stage in report.stages] == [
        ("student", ("student",), 1),
        ("controls", ("control",), 1),
    ]
    assert report.memory.parameters == 3 * PARAMETERS * 4


def test_candidates_that_train_as_one_step_have_one_preflight(harness: EngineHarness) -> None:
    add_teachers(harness)
    search = {"method": "kd", "temperature": {"search": [1.0, 2.0, 8.0]}}
    together = preflight(harness, soft(search))
    assert [(stage.name, stage.members, stage.runs) for stage in together.stages] == [
        ("candidates", ("search",), 1),
        ("controls", ("control",), 3),
        ("student", ("student",), 1),
    ]
    apart = preflight(harness, soft(search, training={**TRAINING, "early_stopping": {"patience": 1000}}), name="apart")
    assert [(stage.name, stage.members, stage.runs) for stage in apart.stages] == [
        ("candidates", ("student",), 3),
        ("controls", ("control",), 3),
        ("student", ("student",), 1),
    ]
    assert together.steps == apart.steps == 7 * apart.stages[0].steps
    assert together.memory.parameters == 3 * PARAMETERS * 4, "the largest part counts"


def test_folds_multiply_the_candidates(harness: EngineHarness) -> None:
    add_teachers(harness)
    term = {"method": "kd", "temperature": {"search": [1.0, 4.0], "folds": 3}}
    report = preflight(harness, soft(term, training={**TRAINING, "early_stopping": {"patience": 1000}}, control=False))
    assert [(stage.name, stage.runs) for stage in report.stages] == [("candidates", 6), ("student", 1)]


def test_controls_of_searched_rates_are_trained_in_folds_too(harness: EngineHarness) -> None:
    add_teachers(harness)
    training = {**TRAINING, "learning_rate": {"search": [0.01, 0.1], "folds": 3}}
    report = preflight(harness, soft({"method": "kd"}, training=training))
    assert [(stage.name, stage.runs) for stage in report.stages] == [("candidates", 6), ("controls", 7), ("student", 1)]


def test_a_search_that_cannot_be_compared_fails_in_the_preflight(harness: EngineHarness) -> None:
    add_teachers(harness)
    arrays = blobs()
    arrays["label"][2:], arrays["label"][:2] = -1, [0, 1]
    harness.dataset(arrays, splits={"fractions": {"train": 1.0, "validation": 0.0, "test": 0.0}})
    term = {"method": "kd", "temperature": {"search": [1.0, 4.0], "folds": 3}}
    assert "search_unmeasured" in failures(preflight(harness, soft(term, control=False)))


def test_peers_and_control_take_the_students_steps_beside_it(harness: EngineHarness) -> None:
    add_teachers(harness)
    report = preflight(harness, soft({"method": "kd"}, mutual={"peers": [STUDENT, STUDENT]}))
    assert report.stages[0].members == ("student", "peer-1", "peer-2", "control")
    assert report.memory.parameters == 4 * PARAMETERS * 4


def test_seconds_are_measured_steps_and_epochs_times_how_often_they_come(harness: EngineHarness) -> None:
    add_teachers(harness)
    report = preflight(harness, soft({"method": "kd"}, repeats=2, training={**TRAINING, "epochs": 30}))
    seconds = report.seconds
    for stage in report.stages:
        assert stage.step_seconds > 0.0
        assert stage.validation_seconds > 0.0
        once = stage.steps * stage.step_seconds + 30 * stage.validation_seconds
        assert stage.seconds == pytest.approx(stage.runs * once)
    assert (seconds.step, seconds.validation) == (report.stages[0].step_seconds, report.stages[0].validation_seconds)
    assert seconds.training == pytest.approx(sum(stage.seconds for stage in report.stages))
    assert seconds.total == pytest.approx(seconds.loading + seconds.teaching + (seconds.training or 0.0))
    assert seconds.teaching_by_epoch is None


def test_views_cost_a_pass_of_the_teachers_in_each_epoch(harness: EngineHarness) -> None:
    add_teachers(harness)
    report = preflight(harness, soft({"method": "kd"}, training={**NOISE, "epochs": 30}))
    seconds = report.seconds
    assert seconds.teaching_by_epoch is not None
    assert seconds.training == pytest.approx(report.stages[0].seconds + 30 * seconds.teaching_by_epoch)
    assert report.targets[0].passes == 2, "one over all rows, one over those of the first epoch"
    assert harness.data is not None
    assert harness.data.facts is not None
    assert report.memory.soft_targets_of_views == 30 * harness.data.facts.splits["train"] * 3 * 4


def test_bytes_of_weights_gradients_and_optimiser_are_those_of_the_networks(harness: EngineHarness) -> None:
    add_teachers(harness)
    memory = preflight(harness, soft({"method": "kd"}, control=False)).memory
    own = PARAMETERS * 4
    assert (memory.parameters, memory.gradients, memory.best) == (own, own, own)
    steps_of_adam = 4 * 4  # a float for each of the four parameters, beside its two moments
    assert memory.optimizer == 2 * own + steps_of_adam
    assert memory.soft_targets == 240 * 3 * 4
    assert memory.rows == 240 * 6 * 4
    assert memory.teachers == Path(harness.models[TEACHER].path).stat().st_size
    summed = {"rows", "teachers", "soft_targets", "parameters", "gradients", "optimizer", "best", "activations"}
    assert memory.total == sum(memory.model_dump(include=summed).values())


def test_sgd_without_momentum_needs_no_state_and_the_last_epoch_no_copy(harness: EngineHarness) -> None:
    harness.dataset()
    training = {**TRAINING, "optimizer": "sgd", "momentum": 0.0, "select_by": "last"}
    memory = preflight(harness, {"kind": "train", "target": "label", "model": STUDENT, "training": training}).memory
    assert (memory.optimizer, memory.best) == (0, 0)


def test_a_balancer_of_gradients_keeps_a_row_for_each_task(harness: EngineHarness) -> None:
    harness.dataset()
    spec = {"kind": "multitask", "tasks": [{"name": "label"}, {"name": "side"}], "student": STUDENT}
    plain = preflight(harness, {**spec, "training": TRAINING})
    balanced = preflight(harness, {**spec, "training": TRAINING, "balancing": {"method": "pcgrad"}}, name="pcgrad")
    trunk = (6 * 8 + 8) * 4
    assert plain.memory.gradients is not None
    assert balanced.memory.gradients == plain.memory.gradients + 2 * trunk
    assert failures(balanced) == []


def test_activations_grow_with_the_micro_batch_not_with_the_batch(harness: EngineHarness) -> None:
    harness.dataset()

    def activations(name: str, **training: int) -> int:
        spec = {"kind": "train", "target": "label", "model": STUDENT, "training": {**TRAINING, **training}}
        found = preflight(harness, spec, name=name).memory.activations
        assert found is not None
        return found

    whole = activations("whole", batch_size=32)
    assert activations("half", batch_size=16) == pytest.approx(whole / 2, rel=0.05)
    assert activations("micro", batch_size=32, micro_batch_size=16) == activations("half again", batch_size=16)
    inputs, hidden, log_probabilities, labels = 32 * 6 * 4, 32 * 8 * 4, 32 * 3 * 4, 32 * 8
    assert whole >= inputs + hidden + log_probabilities + labels
    assert whole < 2 * (inputs + hidden + log_probabilities + labels)


def test_a_job_that_needs_more_than_there_is_is_warned_of(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.engine.jobs.preflight.preflight.available_bytes", lambda device: 20_000)
    harness.dataset()
    spec = {"kind": "train", "target": "label", "model": STUDENT, "training": TRAINING}
    assert "memory_short" not in {each["code"] for each in preflight(harness, spec).warnings}
    large = preflight(harness, spec | {"model": {"family": "mlp", "hidden": [999]}}, name="large")
    assert "memory_short" in {each["code"] for each in large.warnings}
    assert large.memory.available == 20_000


@pytest.mark.parametrize("name", sample(CLASS_JOBS, KEPT))
def test_every_method_has_a_preflight(harness: EngineHarness, name: str) -> None:
    add_teachers(harness)
    report = preflight(harness, CLASS_JOBS[name])
    assert failures(report) == []
    assert report.memory.activations is not None
    assert report.memory.activations > 0


def test_terms_on_layers_of_a_teacher_have_them_in_their_soft_targets(harness: EngineHarness) -> None:
    add_teachers(harness)
    facts = harness.models[TEACHER].facts
    assert facts is not None
    width = layers_of(facts)["penultimate"]
    assert width is not None
    layers = {"teacher_layer": "penultimate", "student_layer": "penultimate"}
    terms = {"soft_targets": {"method": "kd"}, "features": {"method": "fitnets", **layers}}
    report = preflight(harness, job(terms))
    assert report.memory.soft_targets == 240 * (3 + width[0]) * 4


def test_what_is_found_twice_is_reported_once(harness: EngineHarness) -> None:
    add_teachers(harness)
    relabelled(harness, [1, 2, 0])
    report = preflight(harness, soft({"method": "kd"}, teachers=[{"model": TEACHER}, {"model": TEACHER}]))
    assert [each["code"] for each in report.warnings] == harness.log.warnings
    assert others(harness.log.warnings) == ["class_order_suspected"]
    assert failures(report) == ["teacher_mismatch"]


def test_warnings_of_the_training_are_reported_once(harness: EngineHarness) -> None:
    add_teachers(harness)
    training = {**TRAINING, "micro_batch_size": 4}
    student = {"family": "mlp", "hidden": [4], "normalization": "batch"}
    seen: list[ChildEvent] = []
    order = order_of(harness, soft({"method": "kd"}, student=student, training=training, repeats=2))
    outcome = execute(order, seen.append, StopAtStep(1 << 60))
    assert isinstance(outcome, ReportOutcome)
    warnings = [event for event in seen if event.type == "warning"]
    assert others(event.code for event in warnings) == ["inexact_accumulation"]


def test_a_first_run_that_measures_the_relation_is_counted_and_each_task_may_need_a_trunk(
    harness: EngineHarness,
) -> None:
    harness.dataset()
    spec = {"kind": "multitask", "tasks": [{"name": "label"}, {"name": "side"}], "student": STUDENT}
    relation = {"estimate": "tag", "every": 1, "probe": 0.5, "apply": "trunks"}
    found = preflight(harness, {**spec, "training": TRAINING, "relation": relation})
    assert [stage.name for stage in found.stages] == ["relation", "student"]
    assert found.stages[0].steps == -(-found.stages[1].steps // 2)
