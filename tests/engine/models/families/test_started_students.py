"""Students of our own families that start from a model, or are a part of their teacher."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open

from app.contracts.resolving.resolve import Resolution
from app.contracts.specs.architectures import Architecture, Transformer, architecture_of
from app.contracts.specs.jobs import JOB_SPEC, AnyTrainingJob
from app.contracts.wire.orders import ReportOutcome
from tests.engine.harness import DATASET, SECOND, TEACHER, EngineHarness, StopAtStep, made_once, report_of, resolved
from tests.engine.models.begun import assert_same, begun, tensors_of, whole
from workers.engine.common.stop import Stopped
from workers.engine.models import build, initialise
from workers.engine.run import execute

Json = dict[str, Any]
TOKENS: Json = {
    "family": "transformer",
    "width": 16,
    "depth": 4,
    "heads": 4,
    "input_shape": [5, 3],
    "outputs": {"label": 3},
}
STILL: Json = {"steps": 2, "batch_size": 16, "learning_rate": 1e-9}
UNTRAINED: Json = {"allow_chance_teacher": True}
CLASSES = {"label": {"kind": "class"}}
OWN: dict[str, Json] = {
    "mlp": {"family": "mlp", "hidden": [8, 6], "input_shape": [15]},
    "convnet": {"family": "convnet", "channels": [4], "hidden": [6], "input_shape": [1, 5, 3]},
    "resnet": {"family": "resnet", "depth": 8, "input_shape": [1, 5, 3]},
    "transformer": TOKENS,
}


def distill(student: Json, **more: Any) -> Json:
    spec = {"kind": "distill", "target": "label", "teachers": [{"model": TEACHER}], "control": False}
    return {**spec, "student": student, "training": STILL, "distillation": UNTRAINED, **more}


def part(**fields: Any) -> Json:
    return {"from_teacher": fields}


def network_of(found: Resolution) -> Architecture:
    """The network of a resolved job."""
    assert isinstance(found.spec, AnyTrainingJob)
    return architecture_of(found.spec.network)


def rate_of(found: Resolution) -> float:
    """The learning rate of a resolved job."""
    assert isinstance(found.spec, AnyTrainingJob)
    assert isinstance(found.spec.training.learning_rate, float)
    return found.spec.training.learning_rate


def upload(harness: EngineHarness, architecture: Json, model: str = TEACHER, seed: int = 3, **more: Any) -> None:
    """A model of our own with random weights; `inputs` are those of the dataset."""
    spec = {"outputs": {"label": 3}, **architecture}
    parsed = JOB_SPEC.validate_json(json.dumps({"kind": "train", "dataset": DATASET, "model": spec}))
    assert isinstance(parsed, AnyTrainingJob)
    network = build(architecture_of(parsed.network))
    initialise(network, seed)
    outputs = {name: {"kind": "class"} for name in spec["outputs"]}
    harness.uploaded(dict(network.state_dict()), {"architecture": spec, "outputs": outputs, **more}, model)


@made_once
def teaching(harness: EngineHarness) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 90)
    x = (random.normal(size=(90, 5, 3)) + labels[:, None, None]).astype(np.float32)
    targets = {"label": {"kind": "class", "classes": 3}, "other": {"kind": "class", "classes": 2}}
    inputs = {"x": {"kind": "array", "standardize": False}}
    harness.dataset({"x": x, "label": labels, "other": labels % 2}, targets=targets, inputs=inputs)
    upload(harness, TOKENS)


@pytest.fixture
def tokens(harness: EngineHarness) -> EngineHarness:
    """Rows of five tokens, and a transformer of four blocks as the teacher."""
    return teaching(harness)


def resolution(harness: EngineHarness, spec: Json) -> Resolution:
    assert harness.data is not None
    parsed = JOB_SPEC.validate_json(json.dumps({"dataset": DATASET, **spec}))
    return resolved(parsed, {DATASET: harness.data.facts}, {name: each.facts for name, each in harness.models.items()})


def refused(harness: EngineHarness, spec: Json) -> list[tuple[str, str]]:
    return [(each.pointer, each.code) for each in resolution(harness, spec).problems]


def warned(found: Resolution) -> list[str]:
    return [each["code"] for each in found.warnings]


def test_a_student_with_all_blocks_answers_as_its_teacher(tokens: EngineHarness) -> None:
    spec = distill(part(layers=[0, 1, 2, 3]))
    student, teacher = begun(tokens, spec), whole(tokens.models[TEACHER])
    rows = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(student(rows)["label"], teacher(rows)["label"])
    assert "student_as_large" in warned(resolution(tokens, spec))


def test_a_student_has_the_named_blocks_and_everything_around_them(tokens: EngineHarness) -> None:
    student, teacher = begun(tokens, distill(part(layers=[1, 3]))), whole(tokens.models[TEACHER])
    for ours, theirs in (("blocks.0.", "blocks.1."), ("blocks.1.", "blocks.3.")):
        assert_same(tensors_of(student, ours), tensors_of(teacher, theirs))
    for around in ("embed.", "positions.", "norm.", "layers.0."):
        assert_same(tensors_of(student, around), tensors_of(teacher, around))
    assert not tensors_of(student, "blocks.2.")


def test_half_of_the_blocks_are_taken_where_none_are_named(tokens: EngineHarness) -> None:
    found = resolution(tokens, distill(part()))
    cut = network_of(found).cut
    assert cut is not None
    assert cut.layers == (0, 3)
    assert "evenly" in found.chosen["/student/from_teacher/layers"].because
    assert "student_as_large" not in warned(found)


def test_a_narrower_student_has_the_leading_rows_and_columns(tokens: EngineHarness) -> None:
    width = {"hidden": 8, "intermediate": 10}
    student = begun(tokens, distill(part(layers=[0, 2], width=width)))
    teacher = whole(tokens.models[TEACHER]).state_dict()
    assert isinstance(student.architecture, Transformer)
    assert student.architecture.heads == 2, "heads stay four numbers wide"
    state = student.state_dict()
    assert torch.equal(state["embed.weight"], teacher["embed.weight"][:8])
    assert torch.equal(state["blocks.1.up.weight"], teacher["blocks.2.up.weight"][:10, :8])
    assert torch.equal(state["blocks.1.query.bias"], teacher["blocks.2.query.bias"][:8])
    assert torch.equal(state["layers.0.weight"], teacher["layers.0.weight"][:, :8])
    tokens.run(distill(part(layers=[0, 2], width=width)))


def test_student_and_control_start_from_the_same_part_and_the_report_says_of_what(tokens: EngineHarness) -> None:
    outcome = tokens.run(distill(part(layers=[1]), control=True))
    teacher = whole(tokens.models[TEACHER]).state_dict()
    for role in ("student", "control"):
        found = tokens.weights(role=role)
        torch.testing.assert_close(found["blocks.0.up.weight"], teacher["blocks.1.up.weight"], atol=1e-6, rtol=0)
        torch.testing.assert_close(found["layers.0.weight"], teacher["layers.0.weight"], atol=1e-6, rtol=0)
    student = report_of(outcome).spec["student"]
    assert (student["pretrained"], student["cut"]) == (TEACHER, {"layers": [1], "sliced": False})
    with safe_open(tokens.outputs() / "student.safetensors", "pt") as file:
        told = json.dumps(file.metadata())
    assert f"started from the weights of `{TEACHER}`, blocks 1 of it" in told


def test_a_part_of_a_teacher_continues_at_a_step_as_if_it_had_not_stopped(tokens: EngineHarness) -> None:
    spec = distill(part(layers=[0, 2]), training={"steps": 6, "batch_size": 16})
    tokens.run(spec, "whole")
    with pytest.raises(Stopped):
        tokens.run(spec, "parted", stop=StopAtStep(8), checkpoint_seconds=0.0)
    tokens.run(spec, "parted", attempt=2)
    assert tokens.digest("whole") == tokens.digest("parted", attempt=2)


def test_a_resolved_part_resolves_to_itself(tokens: EngineHarness) -> None:
    found = resolution(tokens, distill(part(layers=[0, 2])))
    assert not found.problems
    assert resolution(tokens, json.loads(found.spec.model_dump_json(exclude={"dataset"})) | {"dataset": None}).spec == (
        found.spec
    )


def test_other_classes_get_a_new_head(tokens: EngineHarness) -> None:
    tasks = [{"name": "other"}, {"name": "label", "teachers": [{"model": TEACHER}], "distillation": UNTRAINED}]
    spec = {"kind": "multitask", "tasks": tasks, "student": part(layers=[0]), "training": STILL, "control": False}
    student, teacher = begun(tokens, spec), whole(tokens.models[TEACHER])
    assert_same(tensors_of(student, "heads.label."), tensors_of(teacher, "layers.0."))
    assert tensors_of(student, "heads.other.")["weight"].shape == (2, 16)
    (warning,) = [each for each in resolution(tokens, spec).warnings if each["code"] == "new_head"]
    assert "`other`" in warning["message"]
    assert "`label` starts" not in warning["message"]
    tokens.run(spec)


def test_classes_of_other_names_get_a_new_head(tokens: EngineHarness) -> None:
    assert tokens.data is not None
    upload(tokens, TOKENS, outputs={"label": {"kind": "class", "classes": ["a", "b", "c"]}})
    named = {"label": {"kind": "class", "classes": ["c", "b", "a"]}}
    tokens.dataset(dict(np.load(tokens.data.path)), targets=named, inputs={"x": {"kind": "array"}})
    spec = {"kind": "train", "target": "label", "model": {"model": TEACHER}, "training": STILL}
    assert "new_head" in warned(resolution(tokens, spec))
    tokens.run(spec)
    teacher = whole(tokens.models[TEACHER]).state_dict()
    found = tokens.weights()
    assert not torch.allclose(found["layers.0.weight"], teacher["layers.0.weight"], atol=1e-3)
    torch.testing.assert_close(found["embed.weight"], teacher["embed.weight"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", OWN)
def test_a_network_starts_from_a_model_of_any_family(family: str, tokens: EngineHarness) -> None:
    upload(tokens, OWN[family], SECOND, seed=7)
    model = whole(tokens.models[SECOND])
    for spec in (distill({"model": SECOND}), {"kind": "train", "target": "label", "model": {"model": SECOND}}):
        student = begun(tokens, {**spec, "training": STILL})
        assert_same(dict(student.state_dict()), dict(model.state_dict()))
        assert student.architecture.family == family
    assert tokens.run(distill({"model": SECOND})).student.architecture is not None


def test_a_convnet_pools_as_the_model_that_it_names(tokens: EngineHarness) -> None:
    upload(tokens, OWN["convnet"], SECOND)
    assert not refused(tokens, distill({**OWN["convnet"], "pretrained": SECOND}))


def test_a_model_is_a_reference_of_the_job_and_waited_for(tokens: EngineHarness) -> None:
    spec = JOB_SPEC.validate_json(json.dumps({"dataset": DATASET, **distill({"model": SECOND})}))
    references = [(each.pointer, each.kind, each.identity) for each in spec.references()]
    assert ("/student/model", "model", SECOND) in references
    assert tokens.data is not None
    found = resolved(spec, {DATASET: tokens.data.facts}, {TEACHER: tokens.models[TEACHER].facts, SECOND: None})
    assert (found.complete, found.problems) == (False, ())
    assert JOB_SPEC.validate_json(spec.model_dump_json()) == spec
    assert json.loads(spec.model_dump_json())["student"]["model"] == SECOND


def test_the_student_of_a_job_is_a_teacher_to_take_blocks_of(tokens: EngineHarness) -> None:
    job = TEACHER.replace("mdl_", "job_")
    tokens.models[job] = tokens.models[TEACHER]
    spec = distill(part(layers=[2]), teachers=[{"job": job}])
    student, teacher = begun(tokens, spec), whole(tokens.models[TEACHER])
    assert_same(tensors_of(student, "blocks.0."), tensors_of(teacher, "blocks.2."))
    found = resolution(tokens, spec).spec
    assert [each.kind for each in found.references() if each.pointer == "/student/pretrained"] == ["job"]


def test_rows_are_standardised_as_the_model_s_where_the_dataset_s_are_others(tokens: EngineHarness) -> None:
    upload(tokens, TOKENS, SECOND, inputs={"x": {"scale": 0.5, "mean": 0.25, "std": 2.0}})
    found = resolution(tokens, distill({"model": SECOND}))
    assert network_of(found).transform == "pretrained"
    assert "pretrained_inputs" not in warned(found)
    outcome = tokens.run(distill({"model": SECOND}))
    (transform,) = outcome.student.inputs.values()
    assert (transform.scale, transform.mean, transform.std) == (0.5, 0.25, 2.0)
    named = resolution(tokens, distill({**TOKENS, "pretrained": SECOND}))
    assert "pretrained_inputs" in warned(named), "a family that is named reads as its dataset says"


def test_the_recipe_knows_that_a_student_starts_from_trained_weights(tokens: EngineHarness) -> None:
    from_model = resolution(tokens, distill({"model": TEACHER}, training={"batch_size": 16}))
    from_noise = resolution(tokens, distill(TOKENS, training={"batch_size": 16}))
    assert rate_of(from_model) < rate_of(from_noise)


def test_a_cut_that_is_posted_must_fit_its_network(tokens: EngineHarness) -> None:
    network = {**TOKENS, "depth": 3, "pretrained": TEACHER}
    assert not refused(tokens, distill({**network, "cut": {"layers": [0, 1, 3]}}))
    for layers in ([0, 1], [0, 1, 4]):
        found = refused(tokens, distill({**network, "cut": {"layers": layers}}))
        assert found == [("/student/pretrained", "pretrained_misfit")]
    with pytest.raises(ValidationError, match="name it, or leave it out"):
        resolution(tokens, distill({**TOKENS, "cut": {"layers": [0]}}))


def test_a_flattened_model_of_the_same_data_is_read_as_it_was_trained(tokens: EngineHarness) -> None:
    assert tokens.data is not None
    standardised = {"x": {"kind": "array", "standardize": True}}
    tokens.dataset(
        dict(np.load(tokens.data.path)), inputs=standardised, targets={"label": {"kind": "class", "classes": 3}}
    )
    outcome = tokens.run({"kind": "train", "target": "label", "model": {"family": "mlp"}, "training": STILL}, "first")
    tokens.teacher(outcome, tokens.folder / "first" / "attempt-1", SECOND)
    found = resolution(tokens, {"kind": "train", "target": "label", "model": {"model": SECOND}})
    assert not found.problems
    assert "pretrained_inputs" not in warned(found)
    assert network_of(found).transform is None


def test_a_preflight_takes_the_steps_of_a_part(tokens: EngineHarness) -> None:
    inner = {"dataset": DATASET, **distill(part(layers=[0]))}
    parsed = JOB_SPEC.validate_json(json.dumps({"kind": "preflight", "job": inner}))
    assert tokens.data is not None
    facts = {name: each.facts for name, each in tokens.models.items()}
    found = resolved(parsed, {DATASET: tokens.data.facts}, facts)
    assert not found.problems
    order = tokens.order(distill(part(layers=[0])), "preflight").model_copy(update={"spec": found.spec})
    outcome = execute(order, tokens.log.emit, StopAtStep(1 << 60))
    assert isinstance(outcome, ReportOutcome)
    assert not outcome.report["would_fail"]
    wrong = {"kind": "preflight", "job": {**inner, "student": part(layers=[4])}}
    refusal = resolved(JOB_SPEC.validate_json(json.dumps(wrong)), {DATASET: tokens.data.facts}, facts).problems
    assert [each.pointer for each in refusal] == ["/job/student/from_teacher/layers/0"]


@pytest.mark.parametrize(
    ("layers", "pointer", "code"),
    [
        ([0, 4], "/student/from_teacher/layers/1", "unknown_block"),
        ([2, 0], "/student/from_teacher/layers/1", "blocks_out_of_order"),
        ([1, 1, 2], "/student/from_teacher/layers/1", "blocks_out_of_order"),
    ],
)
def test_blocks_that_are_not_there_or_not_in_order_are_refused(
    layers: list[int], pointer: str, code: str, tokens: EngineHarness
) -> None:
    assert refused(tokens, distill(part(layers=layers))) == [(pointer, code)]


@pytest.mark.parametrize(
    ("width", "field"),
    [
        ({"hidden": 10}, "hidden"),
        ({"hidden": 20}, "hidden"),
        ({"heads": 2, "hidden": 16}, "hidden"),
        ({"heads": 5}, "heads"),
        ({"intermediate": 65}, "intermediate"),
    ],
)
def test_widths_that_are_no_slice_are_refused(width: Json, field: str, tokens: EngineHarness) -> None:
    found = refused(tokens, distill(part(width=width)))
    assert found == [(f"/student/from_teacher/width/{field}", "width_misfit")]


@pytest.mark.parametrize("family", [name for name in OWN if name != "transformer"])
def test_networks_without_equal_blocks_are_not_cut(family: str, tokens: EngineHarness) -> None:
    upload(tokens, OWN[family])
    assert refused(tokens, distill(part())) == [("/student/from_teacher/teacher", "cut_undefined")]


def test_teachers_that_are_not_there_or_have_no_layers_are_refused(tokens: EngineHarness) -> None:
    assert tokens.data is not None
    place = "/student/from_teacher/teacher"
    assert refused(tokens, distill(part(teacher=1))) == [(place, "unknown_teacher")]
    columns = {"x": np.load(tokens.data.path)["x"], "soft": np.ones((90, 3), np.float32)}
    targets = {"soft": {"kind": "teacher", "predicts": {"kind": "class"}}}
    tokens.dataset(columns, targets=targets, inputs={"x": {"kind": "array"}})
    assert (place, "no_layers") in refused(tokens, distill(part(), teachers=[{"columns": "soft"}], target=None))


def test_graphs_other_rows_and_other_networks_are_refused(tokens: EngineHarness) -> None:
    facts = tokens.models[TEACHER].facts
    assert facts is not None
    graph = tokens.models[TEACHER].model_copy(update={"facts": facts.model_copy(update={"architecture": None})})
    tokens.models[SECOND] = graph
    assert refused(tokens, distill({"model": SECOND})) == [("/student/model", "graph_as_student")]
    upload(tokens, {**TOKENS, "input_shape": [6, 3]}, SECOND)
    assert refused(tokens, distill({"model": SECOND})) == [("/student/model", "pretrained_misfit")]
    (problem,) = tokens.dry_run(distill({"model": SECOND})).problems
    assert "of the network that `model` gives: name another, or give a `family`" in problem.detail, (
        "a field that is there"
    )
    other = {**TOKENS, "width": 8, "pretrained": TEACHER}
    assert refused(tokens, distill(other)) == [("/student/pretrained", "pretrained_misfit")]
    peers = {"peers": [{"family": "mlp", "hidden": [4], "pretrained": SECOND}]}
    assert ("/mutual/peers/0/pretrained", "not_with_mutual") in refused(
        tokens, distill({"family": "mlp", "hidden": [4]}, mutual=peers)
    )
