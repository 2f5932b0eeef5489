"""A transformer in a spec: defaults filled in, misfits with its rows, its heads and its teacher's layers named."""

import json
from typing import Any

import pytest

from app.contracts.layouts.summary import flops, parameter_count
from app.contracts.resolving.resolve import Resolution, resolve
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts, OutputFacts, TargetFacts
from app.contracts.resources.manifests import ClassOutput
from app.contracts.specs.architectures import StudentTransformer, Transformer
from app.contracts.specs.jobs import JOB_SPEC, DistillJob, TrainJob

Json = dict[str, Any]
DS = "ds_01890a5d-ac96-774b-bcce-b302099a8057"
TEACHER = "mdl_01890a5d-ac96-774b-bcce-b302099a8057"
SPLITS: Any = {"train": 70, "validation": 15, "test": 15}
STUDENT: Json = {"family": "transformer", "width": 8, "depth": 1, "heads": 2}
BLOCKS: Json = {"teacher_layer": "blocks.1", "student_layer": "blocks.0"}
QUERIES: Json = {"teacher_layer": "blocks.1.query", "student_layer": "blocks.0.query"}


def dataset(*shape: int) -> DatasetFacts:
    digit = TargetFacts(kind="class", size=4, labelled=SPLITS)
    return DatasetFacts(rows=100, splits=SPLITS, inputs={"x": InputFacts(shape=shape)}, targets={"digit": digit})


def teacher(*shape: int) -> ModelFacts:
    spec = {"family": "transformer", "input_shape": shape, "outputs": {"digit": 4}, "width": 12, "heads": 3}
    architecture = Transformer.model_validate_json(json.dumps(spec))
    outputs = {"digit": OutputFacts(spec=ClassOutput(kind="class"), size=4)}
    return ModelFacts(architecture=architecture, input_shape=shape, inputs={}, outputs=outputs, parameters=1)


def resolved(spec: Json, rows: tuple[int, ...] = (5, 3), teaching: tuple[int, ...] = (5, 3)) -> Resolution:
    parsed = JOB_SPEC.validate_json(json.dumps({"dataset": DS, **spec}))
    return resolve(parsed, {DS: dataset(*rows)}, {TEACHER: teacher(*teaching)}, threads=1)


def distill(student: Json | None = None, features: Json | None = None, **more: Any) -> Json:
    spec = {"kind": "distill", "teachers": [{"model": TEACHER}], "student": STUDENT | (student or {}), **more}
    return spec | ({"distillation": {"features": features}} if features else {})


def codes(found: Resolution) -> set[tuple[str, str]]:
    return {(problem.pointer, problem.code) for problem in found.problems}


def test_a_transformer_gets_shapes_and_every_default() -> None:
    found = resolved({"kind": "train", "model": {"family": "transformer", "width": 16}})
    assert not found.problems
    assert isinstance(found.spec, TrainJob)
    assert found.spec.model.model_dump() == {
        "family": "transformer",
        "input_shape": (5, 3),
        "outputs": {"digit": 4},
        "sharing": "hard",
        "width": 16,
        "depth": 2,
        "heads": 4,
        "feedforward": 64,
        "activation": "gelu",
        "dropout": 0.0,
    }


def test_a_feedforward_that_is_given_stays_and_resolving_twice_changes_nothing() -> None:
    once = resolved(distill({"feedforward": 10})).spec
    assert isinstance(once, DistillJob)
    assert isinstance(once.student, StudentTransformer)
    assert once.student.feedforward == 10
    assert resolve(once, {DS: dataset(5, 3)}, {TEACHER: teacher(5, 3)}, threads=7).spec == once


def test_the_default_feedforward_of_the_widest_is_one_that_a_spec_may_say() -> None:
    spec = resolved({"kind": "train", "model": {"family": "transformer", "width": 4096}}).spec
    again = JOB_SPEC.validate_json(spec.model_dump_json())
    assert again == spec


def test_what_is_left_out_counts_as_what_is_filled_in() -> None:
    short = Transformer(family="transformer", width=8, input_shape=(5, 3), outputs={"digit": 4})
    whole = short.model_copy(update={"feedforward": 32})
    assert (parameter_count(short), flops(short)) == (parameter_count(whole), flops(whole))


def test_flat_rows_become_tokens_where_the_spec_says_how() -> None:
    found = resolved(distill({"input_shape": [5, 3]}), rows=(15,))
    assert not found.problems
    assert isinstance(found.spec, DistillJob)
    assert found.spec.student.input_shape == (5, 3)


@pytest.mark.parametrize("rows", [(15,), (1, 5, 3), (1, 1, 5, 3)])
def test_rows_that_are_no_tokens_are_refused(rows: tuple[int, ...]) -> None:
    found = resolved(distill(), rows=rows)
    assert codes(found) == {("/student/input_shape", "shape_mismatch")}
    assert f"rows of shape [tokens, features], found {list(rows)}" in found.problems[0].detail


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        (distill({"heads": 3}), "/student/heads"),
        ({"kind": "train", "model": STUDENT | {"heads": 16}}, "/model/heads"),
        (distill(mutual={"peers": [{"family": "mlp"}, STUDENT | {"heads": 5}]}), "/mutual/peers/1/heads"),
        ({"kind": "multitask", "tasks": [{"name": "digit"}], "student": STUDENT | {"heads": 7}}, "/student/heads"),
    ],
)
def test_heads_that_do_not_divide_the_width_are_refused(spec: Json, place: str) -> None:
    found = resolved(spec)
    assert codes(found) == {(place, "heads_do_not_divide")}
    assert "do not divide a width of 8: use 1, 2, 4 or 8 heads, or another width" in found.problems[0].detail


def test_rows_of_too_many_tokens_are_refused() -> None:
    most, more = 1 << 13, (1 << 13) + 1
    train = {"kind": "train", "model": STUDENT | {"heads": 4}}
    assert not resolved(train, rows=(most, 1)).problems
    assert codes(resolved(train, rows=(more, 1))) == {("/model/input_shape", "too_many_tokens")}


@pytest.mark.parametrize(
    "features",
    [
        {"method": "hidden_states", **BLOCKS},
        {"method": "hidden_states", "teacher_layer": "positions", "student_layer": "embed"},
        {"method": "hidden_states", "teacher_layer": "blocks.1.up", "student_layer": "norm"},
        {"method": "relations", "heads": 4, **QUERIES},
        {"method": "fitnets", **BLOCKS},
        {"method": "fitnets", "teacher_layer": "penultimate", "student_layer": "penultimate"},
    ],
)
def test_layers_of_as_many_tokens_go_together(features: Json) -> None:
    found = resolved(distill(features=features))
    assert found.complete
    assert not found.problems


@pytest.mark.parametrize(
    ("features", "place", "code"),
    [
        ({"method": "hidden_states", **BLOCKS, "student_layer": "penultimate"}, "", "shape_mismatch"),
        ({"method": "hidden_states", **BLOCKS, "teacher_layer": "layers.0"}, "", "shape_mismatch"),
        ({"method": "hidden_states", **BLOCKS, "teacher_layer": "blocks.2"}, "/teacher_layer", "unknown_layer"),
        ({"method": "relations", **QUERIES, "student_layer": "blocks.0.q"}, "/student_layer", "unknown_layer"),
        ({"method": "relations", "heads": 3, **QUERIES}, "/heads", "shape_mismatch"),
        ({"method": "relations", "heads": 8, **QUERIES}, "/heads", "shape_mismatch"),
        ({"method": "attention", **BLOCKS}, "", "shape_mismatch"),
    ],
)
def test_layers_that_do_not_go_together_are_named(features: Json, place: str, code: str) -> None:
    assert codes(resolved(distill(features=features))) == {(f"/distillation/features/0{place}", code)}


@pytest.mark.parametrize("method", ["hidden_states", "relations", "fitnets"])
def test_a_teacher_that_reads_the_rows_as_other_tokens_has_no_layers_to_compare(method: str) -> None:
    layers = QUERIES if method == "relations" else BLOCKS
    found = resolved(distill({"input_shape": [5, 3]}, {"method": method, **layers}), rows=(15,), teaching=(3, 5))
    assert codes(found) == {("/distillation/features/0", "shape_mismatch")}
    assert "[5, 8], the teacher's [3, 12]" in found.problems[0].detail


@pytest.mark.parametrize(
    ("student", "layers", "expected"),
    [
        ({"width": 12, "heads": 3}, {"blocks.0": "blocks.1"}, None),
        ({"width": 12, "heads": 3}, {"blocks.0": "blocks.2"}, "shape_mismatch"),
        ({"width": 12, "heads": 3, "feedforward": 20}, {"blocks.0": "blocks.1"}, "shape_mismatch"),
        ({}, {"positions": "positions"}, "shape_mismatch"),
    ],
)
def test_blocks_of_a_teacher_to_start_from(student: Json, layers: Json, expected: str | None) -> None:
    found = resolved(distill(student | {"init": {"layers": layers}}))
    assert codes(found) == ({("/student/init/layers", expected)} if expected else set())
