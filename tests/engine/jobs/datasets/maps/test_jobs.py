"""Students that answer for each pixel: from labels, from teachers, beside other tasks, under views, and out again."""

import json
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from app.contracts.layouts.cuts import cut_architecture, cut_tensors
from app.contracts.layouts.starting_tensors import kept_heads
from app.contracts.problems import UserError
from app.contracts.resolving.data.class_names import names_of
from app.contracts.resources.manifests import ClassOutput, MapOutput, ModelManifest
from app.contracts.specs.architectures import Convnet
from app.contracts.specs.distillation import KdTerm
from app.contracts.specs.jobs import JOB_SPEC, TrainJob
from app.contracts.wire.orders import ModelInput, TrainingOutcome
from app.contracts.wire.predictions import TaughtOutput
from tests.engine.data.formats.images.archives import zipped
from tests.engine.export.raw_rows.test_ready_models import export
from tests.engine.harness import DATASET, OTHER, TEACHER, EngineHarness, StopAtStep, report_of, resolved
from tests.engine.jobs.datasets.maps.shapes import CLASSES, CONVNET, MANIFEST, SIDE, TRAINING, shapes, with_shapes
from tests.engine.jobs.preflight.test_preflight import preflight
from tests.engine.serving.serving import answer, npz, session_of
from workers.engine.common.files import sha256_of
from workers.engine.common.stop import Stopped
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.quality.meaning import check_meaning
from workers.engine.data.rows.columns import Rows
from workers.engine.evaluation.verdict.judge import judge
from workers.engine.jobs.inspection.huggingface.convert import convert_folder
from workers.engine.jobs.inspection.onnx_models import inspect_onnx_model
from workers.engine.losses.soft_target_losses import PositionSoftTargets
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.losses.teacher_mix import TeacherEnsemble, TeacherOutputs
from workers.engine.losses.term import TermInputs
from workers.engine.models.build import build
from workers.engine.teachers.teacher import open_teacher

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"family": "convnet", "channels": [4, 6]}
SHORT: dict[str, Any] = {**TRAINING, "steps": 12}
DISTILL: dict[str, Any] = {
    "kind": "distill",
    "teachers": [{"model": TEACHER}],
    "student": SMALL,
    "training": SHORT,
    "control": False,
}


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    arrays = shapes()
    arrays["empty"] = (arrays["map"].reshape(len(arrays["map"]), -1) == 2).sum(1) > 25
    targets = {**MANIFEST["targets"], "empty": {"kind": "class", "classes": 2}}
    return with_shapes(tmp_path_factory.mktemp("maps"), arrays, targets=targets)


@pytest.fixture(scope="module")
def trained(harness: EngineHarness) -> TrainingOutcome:
    """A student, and the teacher of others."""
    training = {**TRAINING, "select_by": "mean_iou", "class_weights": "balanced"}
    spec = {"kind": "train", "target": "map", "model": CONVNET, "training": training, "exports": ["onnx"]}
    outcome = harness.run(spec, job="trained")
    harness.teacher(outcome, harness.folder / "trained" / "attempt-1", model=TEACHER)
    return outcome


def problems(harness: EngineHarness, spec: dict[str, Any]) -> dict[str, str]:
    """Pointers and codes of what a dry run refuses."""
    return {each.pointer: each.code for each in harness.dry_run(spec, [OTHER]).problems}


def test_a_student_learns_the_class_of_each_pixel(trained: TrainingOutcome) -> None:
    report = report_of(trained)
    tasks = report.student.tasks["map"]
    assert (tasks["mean_iou"] or 0.0) > 0.85
    assert tasks["rows"] == 40.0
    figures = [each.parties["student"] for each in report.per_class["map"]]
    ious = [each.iou for each in figures if each.iou is not None]
    assert sum(ious) / len(ious) == pytest.approx(tasks["mean_iou"])
    assert trained.student.outputs["map"].spec == MapOutput(kind="map", shape=(SIDE, SIDE), classes=CLASSES)
    assert trained.student.export_refused is None, "its file gives the engine's answers"


def test_a_graph_gives_scores_by_class_row_and_column(harness: EngineHarness, trained: TrainingOutcome) -> None:
    outputs = harness.folder / "trained" / "attempt-1" / "outputs"
    session = onnxruntime.InferenceSession(outputs / "student.onnx")
    arrays = shapes()
    logits, probabilities = session.run(None, {"image": arrays["image"][:5]})
    assert logits.shape == probabilities.shape == (5, 3, SIDE, SIDE)
    assert (logits.argmax(1) == arrays["map"][:5]).mean() > 0.9
    np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-5)
    network = open_teacher(harness.models[TEACHER], CPU, 1)
    ours = network.predict(torch.from_numpy(arrays["image"][:5]))["map"].numpy()
    np.testing.assert_allclose(logits, ours.reshape(5, SIDE, SIDE, 3).transpose(0, 3, 1, 2), atol=1e-4)
    broken = arrays["image"][:2].copy()
    broken[0, 0, 3, 3] = np.nan
    (logits, _) = session.run(None, {"image": broken})
    assert np.isnan(logits[0]).all()
    assert np.isfinite(logits[1]).all()


def test_a_graph_teaches_what_its_network_teaches(harness: EngineHarness, trained: TrainingOutcome) -> None:
    path = harness.folder / "trained" / "attempt-1" / "outputs" / "student.onnx"
    document = {"name": "graph", "format": "onnx", "outputs": {"map": {"kind": "map", "shape": [SIDE, SIDE]}}}
    manifest = ModelManifest.model_validate_json(json.dumps(document))
    facts = inspect_onnx_model(path, manifest, harness.folder / "graph")
    assert facts.outputs["map"].size == 3
    cut = harness.folder / "graph" / "converted.onnx"
    model = ModelInput(id="graph", manifest=manifest, facts=facts, path=str(cut), sha256=sha256_of(cut))
    raw = torch.from_numpy(shapes()["image"][:4])
    ours = open_teacher(harness.models[TEACHER], CPU, 1).predict(raw)["map"]
    np.testing.assert_allclose(open_teacher(model, CPU, 1).predict(raw)["map"].numpy(), ours.numpy(), atol=1e-4)
    harness.models["mdl_01890a5d-ac96-774b-bcce-b302099a8059"] = model
    spec = {**DISTILL, "target": "map", "teachers": [{"model": "mdl_01890a5d-ac96-774b-bcce-b302099a8059"}]}
    assert (report_of(harness.run(spec, job="of-graph")).fidelity["map"].agreement or 0.0) > 0.5


def test_a_student_of_few_maps_gains_by_its_teacher(harness: EngineHarness, trained: TrainingOutcome) -> None:
    few = with_shapes(harness.folder / "few", shapes(labelled=4))
    few.models = harness.models
    report = report_of(few.run({**DISTILL, "training": {**TRAINING, "steps": 60}, "control": True}, job="few"))
    assert report.control is not None
    verdict = report.verdict["map"]
    assert verdict.metric == "mean_iou"
    assert verdict.student == pytest.approx(report.student.tasks["map"]["mean_iou"])
    assert verdict.control == pytest.approx(report.control.tasks["map"]["mean_iou"])
    assert (verdict.difference or 0.0) > 0.0
    assert "bootstrap over test rows" in verdict.method
    assert report.fidelity["map"].rows == 40, "rows of the test split, not pixels"


def test_a_student_learns_of_a_teacher_without_any_map(harness: EngineHarness, trained: TrainingOutcome) -> None:
    bare = with_shapes(harness.folder / "bare", {**shapes(), "split": np.array(["train"] * 200)}, targets={})
    bare.models = harness.models
    spec = {**DISTILL, "training": {**TRAINING, "steps": 60, "select_by": "last"}}
    outcome = bare.run(spec, job="bare")
    assert outcome.student.outputs["map"].spec == MapOutput(kind="map", shape=(SIDE, SIDE), classes=CLASSES)
    found = bare.teacher(outcome, bare.folder / "bare" / "attempt-1", model="own")
    arrays = shapes(seed=5)
    scores = open_teacher(found, CPU, 1).predict(torch.from_numpy(arrays["image"]))["map"]
    assert (scores.argmax(2).numpy().reshape(arrays["map"].shape) == arrays["map"]).mean() > 0.85


def test_a_map_is_learned_beside_classes(harness: EngineHarness, trained: TrainingOutcome) -> None:
    spec = {
        "kind": "multitask",
        "student": {**SMALL, "hidden": [8]},
        "tasks": [{"name": "map", "teachers": [{"model": TEACHER}]}, {"name": "empty"}],
        "training": {**TRAINING, "steps": 30},
        "balancing": {"method": "pcgrad"},
        "baselines": True,
        "exports": ["onnx"],
    }
    outcome = harness.run(spec, job="both")
    report = report_of(outcome)
    assert (report.student.tasks["map"]["mean_iou"] or 0.0) > 0.3
    assert (report.student.tasks["empty"]["nll"] or 9.0) < 0.8
    assert outcome.student.export_refused is None
    assert outcome.student.architecture is not None
    assert outcome.student.architecture.map_shapes == {"map": (SIDE, SIDE)}
    assert report.baselines is not None
    assert set(report.baselines.tasks["map"].metrics) == {"mean_iou"}


def test_the_same_seed_gives_the_same_student_also_after_an_interruption(
    harness: EngineHarness, trained: TrainingOutcome
) -> None:
    views = {"transforms": [{"kind": "flip"}, {"kind": "crop", "padding": 2}]}
    spec = {**DISTILL, "target": "map", "training": {**SHORT, "views": views}}
    harness.run(spec, job="whole")
    changes: dict[str, Any] = {"checkpoint_seconds": 0.0}
    with pytest.raises(Stopped):
        harness.run(spec, job="parts", stop=StopAtStep(6), **changes)
    harness.run(spec, job="parts", attempt=2, **changes)
    assert harness.digest("whole") == harness.digest("parts", attempt=2)


def test_several_seeds_are_judged_together(harness: EngineHarness, trained: TrainingOutcome) -> None:
    spec = {**DISTILL, "target": "map", "control": True, "repeats": 3, "training": SHORT}
    verdict = report_of(harness.run(spec, job="seeds")).verdict["map"]
    assert (verdict.metric, verdict.repeats) == ("mean_iou", 3)
    assert "Welch's t interval over seeds" in verdict.method


# What a loss makes of maps.


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels() -> torch.Tensor:
    """Labels [3, 4] of maps of 2x2 pixels, of which some are missing, and all of the last."""
    return torch.tensor([[0, 1, -1, 2], [2, 2, 0, 1], [-1, -1, -1, -1]], dtype=torch.int16)


def test_the_loss_of_maps_is_the_mean_over_labelled_pixels() -> None:
    scores, target = drawn(3, 4, 3, seed=0), labels()
    column = TargetColumn("map", 3, target, (target >= 0).any(1), shape=(2, 2))
    term = SupervisedLoss.of(column, MapOutput(kind="map", shape=(2, 2)), 1.0, 0.0, CPU)
    assert term.counted.tolist() == [3, 4, 0]
    rows = Rows.on(CPU, torch.arange(3))
    found = term.losses(TermInputs(scores), rows).sum() / term.counted.sum()
    expected = cross_entropy(scores.flatten(0, 1), target.long().flatten(), ignore_index=-1)
    assert float(found) == pytest.approx(float(expected), abs=1e-6)


def test_soft_targets_count_every_pixel_at_a_temperature() -> None:
    student, teacher, tau = drawn(3, 4, 3, seed=0), drawn(3, 4, 3, seed=1), 2.0
    spec = MapOutput(kind="map", shape=(2, 2))
    ensemble = TeacherEnsemble.of((TeacherOutputs(teacher, spec, 1.0),), CPU)
    term = KdTerm(method="kd", temperature=tau, weight=1.0)
    made = PositionSoftTargets.of(term, "kd", ensemble, labels(), ClassOutput(kind="class"), (2, 2))
    assert made.counted.tolist() == [4, 4, 4]
    found = made.losses(TermInputs(student), Rows.on(CPU, torch.arange(3))).sum() / 12
    log_q, log_p = (log_softmax(each.flatten(0, 1) / tau, 1) for each in (student, teacher))
    expected = tau**2 * kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    assert float(found) == pytest.approx(float(expected), abs=1e-6)


def test_few_maps_have_no_interval() -> None:
    target = torch.zeros(5, 4, dtype=torch.int16)
    column = TargetColumn("map", 2, target, torch.ones(5, dtype=torch.bool), shape=(2, 2))
    spec = MapOutput(kind="map", shape=(2, 2))
    found = judge(drawn(5, 4, 2, seed=0), drawn(5, 4, 2, seed=1), spec, column, torch.arange(5))
    assert (found.verdict, found.metric) == ("undecided", "mean_iou")


# What is refused by its name.

TRAPS: dict[str, tuple[dict[str, Any], str, str]] = {
    "an mlp": ({"student": {"family": "mlp", "hidden": [8]}}, "/student/family", "map_undefined"),
    "a resnet": ({"student": {"family": "resnet", "depth": 8}}, "/student/family", "map_undefined"),
    "hidden layers": ({"student": {**SMALL, "hidden": [8]}}, "/student/hidden", "map_undefined"),
    "other maps": ({"student": {**SMALL, "maps": {"map": [4, 4]}}}, "/student/maps", "outputs_mismatch"),
    "two teachers": ({"teachers": [{"model": TEACHER}] * 2}, "/teachers/1", "map_undefined"),
    "top k": ({"store": {"top_k": 2}}, "/store/top_k", "map_undefined"),
    "int8": ({"exports": ["onnx", "int8"]}, "/exports/1", "map_undefined"),
    "8 bits": ({"quantization": {"aware": True}}, "/quantization", "map_undefined"),
    "two datasets": (
        {"dataset": None, "datasets": [{"dataset": DATASET}, {"dataset": OTHER}]},
        "/datasets",
        "map_undefined",
    ),
    "a search": (
        {"distillation": {"soft_targets": [{"method": "kd", "temperature": {"search": [1.0, 4.0]}}]}},
        "/distillation/soft_targets/0/temperature",
        "map_undefined",
    ),
    "layers": (
        {
            "distillation": {
                "features": [{"method": "attention", "teacher_layer": "stages.0", "student_layer": "stages.0"}]
            }
        },
        "/distillation/features",
        "map_undefined",
    ),
    "a relation of rows": (
        {"distillation": {"soft_targets": [{"method": "dist"}]}},
        "/distillation/soft_targets/0/method",
        "method_undefined",
    ),
    "relations": (
        {"student": {**SMALL, "sharing": "mmoe"}},
        "/student/sharing",
        "sharing_needs_tasks",
    ),
    "turned images": (
        {"training": {**SHORT, "views": {"transforms": [{"kind": "rand_augment"}]}}},
        "/training/views/transforms/0",
        "view_undefined",
    ),
    "mixed rows": (
        {"training": {**SHORT, "views": {"transforms": [{"kind": "cutmix"}]}}},
        "/training/views/transforms/0",
        "view_undefined",
    ),
    "a metric of rows": ({"training": {**SHORT, "select_by": "auroc"}}, "/training/select_by", "unknown_metric"),
}


def sized(side: int) -> dict[str, Any]:
    """The targets of maps whose size is declared."""
    return {"map": {"kind": "map", "classes": list(CLASSES), "shape": [side, side]}}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_is_defined_for_rows_alone_is_refused_by_its_place(
    trap: str, harness: EngineHarness, trained: TrainingOutcome
) -> None:
    change, pointer, code = TRAPS[trap]
    assert problems(harness, {**DISTILL, "target": "map", **change}).get(pointer) == code


def test_what_tasks_share_beside_a_map_is_a_whole_trunk(harness: EngineHarness, trained: TrainingOutcome) -> None:
    tasks = [{"name": "map", "teachers": [{"model": TEACHER}]}, {"name": "empty"}]
    spec: dict[str, Any] = {"kind": "multitask", "student": SMALL, "tasks": tasks, "training": SHORT}
    assert problems(harness, spec) == {}
    assert problems(harness, {**spec, "student": {**SMALL, "sharing": "mmoe"}}) == {"/student/sharing": "map_undefined"}
    lent = {"matrix": [[1.0, 0.5], [0.5, 1.0]], "apply": "teachers"}
    assert problems(harness, {**spec, "relation": lent})["/relation"] == "map_undefined"
    applied = {**lent, "apply": "rows"}
    assert "/relation" not in problems(harness, {**spec, "relation": applied, "balancing": {"method": "pcgrad"}})


def test_the_cut_of_a_task_is_the_network_of_that_task_alone(harness: EngineHarness) -> None:
    document = {**CONVNET, "input_shape": [1, 8, 8], "outputs": {"map": 3, "empty": 2}, "maps": {"map": [8, 8]}}
    both = Convnet.model_validate_json(json.dumps(document))
    x = torch.randn(2, 1, 8, 8)
    whole = build(both).eval()
    for task in ("map", "empty"):
        architecture = cut_architecture(both, task)
        assert architecture.map_shapes == ({"map": (8, 8)} if task == "map" else {})
        cut = build(architecture).eval()
        state = whole.state_dict()
        cut.load_state_dict({name: state[source] for name, source in cut_tensors(both, task).items()})
        assert torch.equal(cut(x)[task], whole(x)[task])


def test_a_head_of_a_map_is_kept_for_the_same_classes_alone() -> None:
    document = {**CONVNET, "input_shape": [1, 8, 8], "outputs": {"map": 3}}
    of_maps = Convnet.model_validate_json(json.dumps({**document, "maps": {"map": [8, 8]}}))
    of_rows = Convnet.model_validate_json(json.dumps(document))
    names: dict[str, tuple[str, ...] | None] = {"map": CLASSES}
    assert kept_heads(of_maps, of_maps, names, names) == ("map",)
    assert kept_heads(of_maps, of_rows, names, names) == ()
    assert kept_heads(of_maps, of_maps, names, {"map": CLASSES[::-1]}) == ()
    spec = MapOutput(kind="map", shape=(8, 8), classes=CLASSES)
    assert names_of(spec) == CLASSES


def test_a_dry_run_looks_at_maps_as_the_job_does(harness: EngineHarness, trained: TrainingOutcome) -> None:
    found = preflight(harness, {**DISTILL, "target": "map"})
    assert found.would_fail == ()
    assert [each.task for each in found.teachers] == ["map"]
    assert (found.teachers[0].accuracy or 0.0) > 0.9


def test_a_folder_of_transformers_has_no_maps(tmp_path: Any) -> None:
    outputs = {"map": {"kind": "map", "shape": [8, 8]}}
    document = {"name": "folder", "format": "huggingface", "outputs": outputs}
    manifest = ModelManifest.model_validate_json(json.dumps(document))
    config = {"model_type": "segformer", "architectures": ["SegformerForSemanticSegmentation"]}
    folder = zipped(tmp_path / "a.zip", {"config.json": json.dumps(config).encode(), "model.safetensors": b"{}"})
    with pytest.raises(UserError, match="export the network to ONNX"):
        convert_folder(folder, tmp_path / "out.safetensors", manifest)


def test_shifts_are_refused_where_maps_have_another_size_than_images(harness: EngineHarness) -> None:
    arrays = shapes(40)
    half = with_shapes(harness.folder / "half", {**arrays, "map": arrays["map"][:, ::2, ::2]}, targets=sized(8))
    spec: dict[str, Any] = {"kind": "train", "model": CONVNET, "training": SHORT}
    views = {"transforms": [{"kind": "flip"}, {"kind": "shift", "pixels": 2}]}
    found = problems(half, {**spec, "training": {**SHORT, "views": views}})
    assert found == {"/training/views/transforms/1": "view_undefined"}
    flipped = half.run({**spec, "training": {**SHORT, "views": {"transforms": views["transforms"][:1]}}}, job="half")
    assert flipped.student.outputs["map"].spec == MapOutput(kind="map", shape=(8, 8), classes=CLASSES)


def test_the_classes_of_a_teacher_are_brought_to_the_order_of_the_datasets(
    harness: EngineHarness, trained: TrainingOutcome
) -> None:
    """By name: the dataset's class of each of the teacher's classes is [0, 2, 1]."""
    arrays = shapes(100)
    arrays["map"] = np.array([0, 2, 1])[arrays["map"]]
    named = {"map": {"kind": "map", "classes": ["ground", "square", "disc"]}}
    other = with_shapes(harness.folder / "order", arrays, targets=named)
    other.models = harness.models
    spec = {**DISTILL, "training": {**SHORT, "views": {"transforms": [{"kind": "flip"}]}}}
    found = other.dry_run(spec)
    assert "classes_matched_by_name" in {each["code"] for each in found.warnings}
    outcome = other.run(spec, job="order")
    assert (report_of(outcome).teachers[0].tasks["map"]["mean_iou"] or 0.0) > 0.85
    taught = {"0": TaughtOutput(task="map", output="map", classes=(0, 2, 1))}
    session = session_of(other.folder, other.models[TEACHER], rows_of=outcome.student, taught=taught)
    found = answer(session, "npz", npz({"image": arrays["image"][:3]}))["outputs"]["0"]
    assert (np.array(found["map"]) == arrays["map"][:3]).mean() > 0.85
    assert found["names"] == named["map"]["classes"]
    alike = {**CONVNET, "init": {"teacher": 0}}
    assert "classes_differ" in problems(other, {**DISTILL, "student": alike}).values(), "a head of another order"


def test_a_teacher_must_know_the_classes_and_have_maps_of_the_same_size(
    harness: EngineHarness, trained: TrainingOutcome
) -> None:
    arrays = shapes(40)
    named = {"map": {"kind": "map", "classes": ["ground", "square", "star"]}}
    other = with_shapes(harness.folder / "other", arrays, targets=named)
    other.models = harness.models
    assert problems(other, DISTILL)["/teachers/0"] == "class_names_differ"
    taught = [{"model": TEACHER, "classes": {"ground": 0, "square": "square", "star": "disc"}}]
    assert problems(other, {**DISTILL, "teachers": taught}) == {}
    half = with_shapes(harness.folder / "quarter", {**arrays, "map": arrays["map"][:, ::4, ::4]}, targets=sized(4))
    half.models = harness.models
    assert problems(half, DISTILL)["/teachers/0"] == "shape_mismatch"


def test_a_network_that_is_a_models_learns_maps_of_another_size(
    harness: EngineHarness, trained: TrainingOutcome
) -> None:
    """And rows without maps: what it answers is said by the tasks."""
    arrays = shapes(40)
    half = with_shapes(harness.folder / "again", {**arrays, "map": arrays["map"][:, ::2, ::2]}, targets=sized(8))
    half.models = harness.models
    outcome = half.run({"kind": "train", "model": {"model": TEACHER}, "training": {**SHORT, "steps": 2}}, job="again")
    assert outcome.student.outputs["map"].spec == MapOutput(kind="map", shape=(8, 8), classes=CLASSES)
    assert problems(harness, {"kind": "train", "target": "empty", "model": {"model": TEACHER}}) == {}


def test_too_many_pixels_for_a_worker_are_refused_before_any_work(harness: EngineHarness) -> None:
    assert harness.data is not None
    facts = harness.data.facts
    assert facts is not None
    wide = facts.targets["map"].model_copy(update={"shape": (1024, 1024)})
    large = facts.model_copy(update={"rows": 100_000, "targets": {"map": wide}})
    spec = JOB_SPEC.validate_json(
        json.dumps({"dataset": DATASET, "kind": "train", "model": CONVNET, "training": SHORT})
    )
    assert "map_too_large" in {each.code for each in resolved(spec, {DATASET: large}, {}).problems}


# Networks that were trained elsewhere.

ARCHITECTURE: dict[str, Any] = {
    "family": "convnet",
    "channels": [4],
    "input_shape": [1, 8, 8],
    "outputs": {"m": 3},
    "maps": {"m": [8, 8]},
}


def uploaded(harness: EngineHarness, output: dict[str, Any], **change: Any) -> ModelInput:
    """An upload with random weights, and this meaning of its output `m`; `change`: of its architecture."""
    weights = build(Convnet.model_validate_json(json.dumps(ARCHITECTURE))).state_dict()
    architecture = {**ARCHITECTURE, **change}
    others = {name: {"kind": "class"} for name in architecture["outputs"]}
    return harness.uploaded(weights, {"architecture": architecture, "outputs": {**others, "m": output}})


@pytest.mark.parametrize(
    ("output", "change", "fragment"),
    [
        ({"kind": "class"}, {}, "declare the kind `map`"),
        ({"kind": "map", "shape": [4, 4]}, {}, "declare the kind `map`"),
        ({"kind": "map", "shape": [8, 8], "classes": ["a", "b"]}, {}, "names for 2 classes"),
        ({"kind": "class"}, {"maps": {"other": [8, 8]}}, "name outputs alone"),
        ({"kind": "map", "shape": [8, 8]}, {"hidden": [4]}, "leave them out"),
        ({"kind": "map", "shape": [8, 8]}, {"input_shape": [1, 8]}, "[channels, height, width]"),
        ({"kind": "map", "shape": [8, 8]}, {"outputs": {"m": 3, "k": 2}, "sharing": "mmoe"}, "share a whole trunk"),
    ],
)
def test_an_upload_says_which_of_its_outputs_are_maps(
    output: dict[str, Any], change: dict[str, Any], fragment: str, tmp_path: Any
) -> None:
    with pytest.raises(UserError) as caught:
        uploaded(EngineHarness(tmp_path), output, **change)
    assert fragment in caught.value.message


def test_an_uploaded_network_becomes_a_graph_of_maps(tmp_path: Any) -> None:
    harness = EngineHarness(tmp_path)
    model = uploaded(harness, {"kind": "map", "shape": [8, 8]})
    x = torch.randn(3, 1, 8, 8)
    session = onnxruntime.InferenceSession(export(harness, model))
    logits = session.run(["m.logits"], {session.get_inputs()[0].name: x.numpy()})[0]
    ours = open_teacher(model, CPU, 1).predict(x)["m"].numpy()
    np.testing.assert_allclose(logits, ours.reshape(3, 8, 8, 3).transpose(0, 3, 1, 2), atol=1e-5)


def test_probabilities_are_no_logits_of_pixels() -> None:
    spec = MapOutput(kind="map", shape=(2, 2))
    logits = drawn(5, 4, 3, seed=0)
    check_meaning("map", spec, logits.numpy())
    for values in (logits.softmax(2), logits.softmax(2).movedim(2, 1).flatten(1)):
        with pytest.raises(UserError, match="leave the softmax out"):
            check_meaning("map", spec, values.numpy())


@pytest.mark.parametrize("step", [1, 2])
def test_the_recipe_moves_maps_of_the_size_of_their_images_alone(step: int, tmp_path: Any) -> None:
    arrays = shapes(20, side=32)
    arrays["map"] = arrays["map"][:, ::step, ::step]
    made = with_shapes(tmp_path / "made", arrays, targets=sized(32 // step))
    assert made.data is not None
    document = {"kind": "train", "dataset": DATASET, "model": CONVNET, "training": {"recipe": "best"}}
    found = resolved(JOB_SPEC.validate_json(json.dumps(document)), {DATASET: made.data.facts}, {})
    assert found.problems == ()
    assert isinstance(found.spec, TrainJob)
    views = found.spec.training.augmentations
    assert (views is not None) == (step == 1)
