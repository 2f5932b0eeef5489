"""Whole jobs of every scheme of sharing: they learn, resume bit for bit, and leave students that live on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torchjd.aggregation import PCGrad

from app.contracts.layouts.summary import flops, parameter_count
from app.contracts.resources.manifests import ModelManifest
from tests.engine.export.raw_students import exported_and_checked
from tests.engine.harness import TEACHER, EngineHarness, blobs, report_of
from tests.engine.jobs.interrupted_jobs import interrupted, whole
from tests.engine.models.sharing.networks import STUDENTS, TASKS, made, rows_for, shared, with_running_statistics
from tests.exhaustive import sample
from workers.engine.balancing import Losses, Parameters
from workers.engine.balancing.aggregators import Plain
from workers.engine.balancing.fixed import Fixed
from workers.engine.balancing.gradient import GradientBalancer
from workers.engine.balancing.rows import Rows
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.jobs.runs import learners

TRAINING: dict[str, Any] = {"epochs": 2, "batch_size": 32, "learning_rate": 0.02}
Json = dict[str, Any]
PAIRS = [(scheme, method) for scheme in STUDENTS for method in ("fixed", "pcgrad")]
KEPT = [(scheme, "pcgrad") for scheme in STUDENTS] + [("mmoe", "fixed")]
LEARNED = [("cross_stitch", "pcgrad"), ("mmoe", "pcgrad"), ("mtan", "fixed")]


def job(scheme: str, method: str = "fixed", **changes: Any) -> Json:
    spec = {"kind": "multitask", "tasks": TASKS, "student": STUDENTS[scheme], "training": TRAINING}
    return {**spec, "balancing": {"method": method}, **changes}


@pytest.fixture
def harness(tmp_path: Path) -> EngineHarness:
    """Rows of 16 numbers, a third of the labels missing in each task."""
    return with_rows(EngineHarness(tmp_path), 240)


def with_rows(harness: EngineHarness, rows: int) -> EngineHarness:
    arrays, random = blobs(rows, features=16), np.random.default_rng(2)
    for name, missing in (("label", -1), ("side", -1), ("size", np.nan)):
        arrays[name][random.permutation(rows)[: rows // 3]] = missing
    harness.dataset(arrays)
    return harness


@pytest.mark.parametrize(("scheme", "method"), sample(PAIRS, KEPT))
def test_a_job_that_was_interrupted_gives_the_student_of_one_that_was_not(
    harness: EngineHarness, scheme: str, method: str
) -> None:
    related = {"relation": {"matrix": [[2, 1, 1], [0, 1, 1], [1, 0, 3]]}} if method == "pcgrad" else {}
    whole(harness, job(scheme, method, **related), "whole")
    interrupted(harness, job(scheme, method, **related), "stopped", 1, 5, 8)
    assert harness.digest("stopped", attempt=4) == harness.digest("whole")


@pytest.mark.parametrize(("scheme", "method"), sample(PAIRS, LEARNED))
def test_every_task_learns(tmp_path: Path, scheme: str, method: str) -> None:
    """On enough test rows (72 labelled ones) that other processors, which give other bits, give the same answer."""
    harness = with_rows(EngineHarness(tmp_path), 720)
    training = {"epochs": 10, "batch_size": 16, "learning_rate": 0.02}
    tasks = report_of(harness.run(job(scheme, method, training=training))).student.tasks
    assert (tasks["label"]["accuracy"] or 0) > 0.9
    assert (tasks["side"]["accuracy"] or 0) > 0.7
    assert (tasks["size"]["r2"] or 0) > 0.5


@pytest.mark.parametrize("scheme", STUDENTS)
def test_every_parameter_is_trained(harness: EngineHarness, scheme: str) -> None:
    """Trap: a set that no balancer knows of rests at its draw."""
    for method in ("fixed", "pcgrad"):
        outcome = harness.run(job(scheme, method, training={**TRAINING, "select_by": "last"}), method)
        assert outcome.student.architecture is not None
        before, after = made(outcome.student.architecture).state_dict(), harness.weights(method)
        assert [name for name in before if torch.equal(before[name], after[name])] == []


@pytest.mark.parametrize("method", ["fixed", "pcgrad"])
@pytest.mark.parametrize("scheme", ["cross_stitch", "mmoe", "trunks"])
def test_micro_batches_give_the_student_of_whole_batches(harness: EngineHarness, scheme: str, method: str) -> None:
    student = {**STUDENTS[scheme], "dropout": 0.0}
    training = {**TRAINING, "epochs": 1, "select_by": "last", "optimizer": "sgd"}
    harness.run(job(scheme, method, student=student, training=training), "whole")
    harness.run(job(scheme, method, student=student, training={**training, "micro_batch_size": 5}), "parts")
    for name, weight in harness.weights("whole").items():
        torch.testing.assert_close(harness.weights("parts")[name], weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("scheme", STUDENTS)
def test_a_student_learns_in_bfloat16(harness: EngineHarness, scheme: str) -> None:
    harness.run(job(scheme, training={**TRAINING, "precision": "bfloat16"}))
    assert all(bool(value.isfinite().all()) for value in harness.weights().values())


@pytest.mark.parametrize("scheme", STUDENTS)
def test_what_the_report_says_of_the_student_is_the_schemes(harness: EngineHarness, scheme: str) -> None:
    outcome = harness.run(job(scheme))
    architecture, report = outcome.student.architecture, report_of(outcome).student
    assert architecture is not None
    assert (report.parameters, report.flops) == (parameter_count(architecture), flops(architecture))
    hard = architecture.model_copy(update={"sharing": "hard"})
    assert parameter_count(architecture) > parameter_count(hard)


def read_again(folder: Path) -> ModelManifest:
    """A manifest from nothing but what the file says of itself."""
    with safe_open(folder, "pt") as file:
        document = json.loads(file.metadata()["stillhouse"])
    fields = {name: document[name] for name in ("architecture", "inputs", "outputs")}
    return ModelManifest.model_validate_json(json.dumps({"name": "again", "format": "safetensors", **fields}))


@pytest.mark.parametrize("scheme", STUDENTS)
def test_an_exported_student_is_inspected_again_by_what_its_file_says(harness: EngineHarness, scheme: str) -> None:
    outcome = harness.run(job(scheme))
    path = harness.outputs() / "student.safetensors"
    found = inspect_family_model(path, read_again(path))
    known = ("examples", "raw_inputs", "raw_file")  # of rows, and of the dataset's file, which no weights file has
    assert found.model_copy(update={name: getattr(outcome.student, name) for name in known}) == outcome.student
    for name, rows in outcome.student.examples.items():
        np.testing.assert_allclose(found.examples[name], rows, atol=1e-5)
    assert {"penultimate.label", "heads.label"} <= {layer.name for layer in found.layers}


@pytest.mark.parametrize("scheme", sample(STUDENTS, ["cgc"]))
def test_a_student_is_exported_to_onnx_and_checked(harness: EngineHarness, scheme: str) -> None:
    found = report_of(harness.run(job(scheme, exports=["onnx"]))).export["onnx"]
    # Of each output in its own unit: the tolerance is 1e-4 of the largest score, or of a value's deviation.
    assert all(each.max_abs_difference < 0.1 * each.tolerance for each in found.outputs.values())
    assert (harness.outputs() / "student.onnx").exists()


@pytest.mark.parametrize(
    ("family", "scheme"),
    sample([("transformer", "cross_stitch"), ("mlp", "cgc"), ("convnet", "mtan")], [("mlp", "cgc")]),
)
def test_trap_an_output_of_any_name_is_exported_to_onnx(family: str, scheme: str, tmp_path: Path) -> None:
    """Tracers look modules up as attributes, and split names at dots."""
    network = with_running_statistics(shared(family, scheme, {"size.cm": 1, "type": 2, "forward": 3}))
    found = exported_and_checked(network, tmp_path / "student.onnx", rows_for(network, 70))
    assert found.max_abs_difference < 1e-5


@pytest.mark.parametrize("scheme", STUDENTS)
def test_a_student_teaches_the_next_by_its_outputs_and_its_layers(harness: EngineHarness, scheme: str) -> None:
    """A student of another scheme, hints and branches at what each task's own head reads, and heads by simkd."""
    training = {"epochs": 12, "batch_size": 16, "learning_rate": 0.02}
    teacher = harness.run(job(scheme, training=training), "teacher")
    harness.teacher(teacher, harness.folder / "teacher" / "attempt-1")
    width = 12 if scheme == "mtan" else STUDENTS[scheme]["hidden"][-1]
    last = {"teacher_layer": "penultimate.label", "student_layer": "penultimate", "weight": 0.5}
    features = {
        "label": [{"method": "fitnets", **last}, {"method": "rkd", **last}],
        "side": [{"method": "simkd", "weight": 0.5}],
    }
    soft_targets = {"label": {"method": "ofa", "student_layers": ["penultimate"], "width": 6}}
    tasks = [
        {
            **task,
            "teachers": [{"model": TEACHER}],
            "distillation": {"features": features.get(task["name"]), "soft_targets": soft_targets.get(task["name"])},
        }
        for task in TASKS
    ]
    student = {"family": "mlp", "hidden": [width], "sharing": {"method": "mmoe", "experts": 2}}
    harness.run(job(scheme, tasks=tasks, student=student, training=TRAINING), "student")
    theirs, ours = harness.weights("teacher"), harness.weights("student")
    assert torch.equal(ours["heads.side.weight"], theirs["heads.side.weight"])
    assert not torch.equal(ours["heads.label.weight"], theirs["heads.label.weight"])
    assert harness.log.series("train/label/fitnets")
    assert harness.log.series("train/label/ofa")


def sets_of(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch, spec: Json) -> Parameters:
    """What the balancer of a job is given."""
    seen: list[Parameters] = []

    class Recording(Fixed):
        def backward(self, losses: Losses, parameters: Parameters) -> None:
            seen.append(parameters)
            super().backward(losses, parameters)

    monkeypatch.setattr(learners, "make_balancer", lambda spec, weights, relation, seed: Recording(weights, relation))
    harness.run(spec)
    return seen[0]


def test_the_balancer_is_given_the_sets_by_the_places_of_tasks_in_the_job(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order of a scheme's groups or towers."""
    found = sets_of(harness, monkeypatch, job("trunks"))
    assert [(each.tasks, each.tower) for each in found.shared] == [((0, 2), None)]
    assert [len(own) for own in found.own] == [
        2,
        4,
        2,
    ]  # heads, and the trunk of `side`, which is in a group of its own
    sharing = {"method": "cross_stitch", "towers": ["size", "label", "side"]}
    student = {"family": "mlp", "hidden": [8], "sharing": sharing}
    found = sets_of(harness, monkeypatch, job("cross_stitch", student=student))
    assert [(each.tasks, each.tower) for each in found.shared] == [((0, 1, 2), tower) for tower in (2, 0, 1, None)]


def test_a_gradient_method_balances_each_set_over_the_tasks_that_reach_it(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: a row of zeros for a task that does not reach a trunk is a task that conflicts with no other."""
    seen: list[tuple[int, int]] = []

    class Recording(Plain):
        def combine(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
            seen.append((rows.own.shape[0], rows.own.shape[1]))
            return super().combine(rows)

    monkeypatch.setattr(
        learners,
        "make_balancer",
        lambda spec, weights, relation, seed: GradientBalancer(lambda: Recording(PCGrad()), weights, None, seed),
    )
    training = {**TRAINING, "epochs": None, "steps": 1}
    for scheme, expected in {
        "trunks": [(2, 16 * 8 + 8)],
        "cross_stitch": [*[(3, 16 * 8 + 8 + 8 * 6 + 6)] * 3, (3, 2 * 9)],
        "mmoe": [(3, 2 * (16 * 8 + 8))],
        "cgc": [(3, 16 * 8 + 8 + 2 * 8)],
    }.items():
        seen.clear()
        harness.run(job(scheme, training=training), scheme)
        assert seen == expected
