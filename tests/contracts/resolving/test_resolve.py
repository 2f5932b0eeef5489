"""A spec is resolved against its inputs: defaults filled in, misfits named by pointer and code."""

import json
from typing import Any

import pytest

from app.contracts.base import members, method_of
from app.contracts.resolving.multitask.relations import DIAGONAL_FLOOR, effective_weights, normalised
from app.contracts.resolving.resolve import Resolution, resolve
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts, OutputFacts, TargetFacts
from app.contracts.resources.manifests import ClassOutput, InputTransform, ValueOutput, VectorOutput
from app.contracts.resources.tables import InputEncoding
from app.contracts.specs.balancing import Balancing
from app.contracts.specs.jobs import JOB_SPEC, DistillJob, MultitaskJob, TrainJob

DS = "ds_01890a5d-ac96-774b-bcce-b302099a8057"
TEACHER = "mdl_01890a5d-ac96-774b-bcce-b302099a8057"
OTHER = "mdl_01890a5d-ac96-774b-bcce-b302099a8058"
JOB = "job_01890a5d-ac96-774b-bcce-b302099a8057"
SPLITS: dict[Any, int] = {"train": 70, "validation": 15, "test": 15}


def dataset(**targets: TargetFacts) -> DatasetFacts:
    chosen = targets or {"digit": TargetFacts(kind="class", size=10, labelled=SPLITS)}
    return DatasetFacts(rows=100, splits=SPLITS, inputs={"x": InputFacts(shape=(1, 8, 8))}, targets=chosen)


def teacher(size: int = 10, shape: tuple[int, ...] = (64,), **spec: Any) -> ModelFacts:
    output = OutputFacts(spec=ClassOutput(kind="class", **spec), size=size)
    return ModelFacts(architecture=None, input_shape=shape, inputs={}, outputs={"digit": output}, parameters=100_000)


def resolved(
    spec: dict[str, Any], data: DatasetFacts | None = None, models: dict[str, ModelFacts | None] | None = None
) -> Resolution:
    parsed = JOB_SPEC.validate_json(json.dumps({"dataset": DS, **spec}))
    known = {TEACHER: teacher()} if models is None else models
    return resolve(parsed, {DS: data or dataset()}, known, threads=2)


def codes(resolution: Resolution) -> set[tuple[str, str]]:
    return {(problem.pointer, problem.code) for problem in resolution.problems}


def warned(resolution: Resolution) -> set[str]:
    return {warning["code"] for warning in resolution.warnings}


TRAIN: dict[str, Any] = {"kind": "train", "model": {"family": "mlp", "hidden": [16]}}
DISTILL: dict[str, Any] = {
    "kind": "distill",
    "teachers": [{"model": TEACHER}],
    "student": {"family": "mlp", "hidden": [16]},
}


def test_a_teacher_of_other_categories_is_refused() -> None:
    """Trap: with the same number of categories in another order it would see other values without a word."""

    def encoding(*names: str) -> InputEncoding:
        return InputEncoding(columns=("colour",), encoding="one_hot", categories=(names,))

    def data(found: InputEncoding | None) -> DatasetFacts:
        return dataset().model_copy(update={"inputs": {"x": InputFacts(shape=(64,), encoding=found)}})

    trained = teacher().model_copy(update={"inputs": {"x": InputTransform(encoding=encoding("blue", "red"))}})
    assert not resolved(DISTILL, data(encoding("blue", "red")), {TEACHER: trained}).problems
    for other in (encoding("red", "blue"), None):
        found = resolved(DISTILL, data(other), {TEACHER: trained})
        assert codes(found) == {("/teachers/0", "category_mismatch")}
        assert "list the `categories`" in found.problems[0].detail


@pytest.mark.parametrize(
    ("fill", "counts", "told"),
    [(2.0, None, True), (2.0, {"a": {}}, True), (2.0, {}, False), (1.0, {"a": {}}, False), (None, {}, False)],
)
def test_a_teacher_whose_missing_numbers_were_filled_otherwise_is_told_where_some_are_missing(
    fill: float | None, counts: Any, told: bool
) -> None:
    def filled(number: float) -> InputEncoding:
        return InputEncoding(columns=("a",), missing="mean", fill=(number,) * 64)

    encoding = filled(fill) if fill is not None else None
    data = dataset().model_copy(
        update={"inputs": {"x": InputFacts(shape=(64,), encoding=encoding, column_counts=counts)}}
    )
    trained = teacher().model_copy(update={"inputs": {"x": InputTransform(encoding=filled(1.0))}})
    found = resolved(DISTILL, data, {TEACHER: trained})
    assert not found.problems
    assert ("fill_differs" in warned(found)) == told


def test_a_train_spec_gets_its_target_shapes_steps_and_threads() -> None:
    found = resolved(TRAIN)
    spec = found.spec
    assert isinstance(spec, TrainJob)
    assert (spec.target, spec.training.steps, spec.training.threads) == ("digit", 1500, 1)
    assert (spec.model.input_shape, spec.model.outputs) == ((1, 8, 8), {"digit": 10})
    assert spec.dataset is None
    assert [ref.dataset for ref in spec.dataset_refs()] == [DS]
    assert found.complete
    assert not found.problems


def test_resolving_twice_changes_nothing() -> None:
    once = resolved(DISTILL).spec
    again = resolve(once, {DS: dataset()}, {TEACHER: teacher()}, threads=7)
    assert again.spec == once


def test_a_distill_spec_gets_the_teachers_output_and_a_default_term() -> None:
    spec = resolved(DISTILL).spec
    assert isinstance(spec, DistillJob)
    assert spec.teachers is not None
    assert spec.teachers[0].output == "digit"
    assert spec.distillation.soft_targets is not None
    assert [term.method for term in spec.distillation.soft_targets] == ["kd"]
    assert spec.control


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"target": "colour"}, ("/target", "unknown_target")),
        ({"teachers": [{"model": TEACHER, "output": "other"}]}, ("/teachers/0/output", "unknown_output")),
        ({"teachers": [{"columns": "gpt"}]}, ("/teachers/0/columns", "unknown_columns")),
        ({"student": {"family": "mlp", "input_shape": [63]}}, ("/student/input_shape", "shape_mismatch")),
        ({"student": {"family": "mlp", "outputs": {"digit": 9}}}, ("/student/outputs", "outputs_mismatch")),
        ({"student": {"family": "convnet", "channels": [4, 4, 4, 4]}}, ("/student/channels", "too_many_stages")),
        ({"student": {"family": "resnet", "depth": 21}}, ("/student/depth", "bad_depth")),
        (
            {"distillation": {"soft_targets": {"method": "mse"}}},
            ("/distillation/soft_targets/0/method", "method_undefined"),
        ),
    ],
)
def test_a_misfit_is_named_by_pointer_and_code(change: dict[str, Any], expected: tuple[str, str]) -> None:
    assert expected in codes(resolved(DISTILL | change))


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (teacher(size=9), "size_mismatch"),
        (teacher(shape=(32,)), "shape_mismatch"),
        (
            ModelFacts(
                architecture=None,
                input_shape=(64,),
                inputs={},
                outputs={"digit": OutputFacts(spec=ValueOutput(kind="value"), size=1)},
                parameters=None,
            ),
            "kind_mismatch",
        ),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(facts: ModelFacts, code: str) -> None:
    assert code in {problem.code for problem in resolved(DISTILL, models={TEACHER: facts}).problems}


def test_the_output_of_a_teacher_is_named_as_the_target_where_labels_are_of_another_kind() -> None:
    vectors = OutputFacts(spec=VectorOutput(kind="vector"), size=8)
    facts: dict[str, ModelFacts | None] = {TEACHER: teacher().model_copy(update={"outputs": {"meaning": vectors}})}
    classes = TargetFacts(kind="class", size=10, labelled=SPLITS)
    two = dataset(full=classes, label=classes)
    unnamed = resolved(DISTILL, two, facts)
    assert codes(unnamed) == {("/target", "target_needed")}
    assert (
        "`full`, `label`, and the teacher the output `meaning`, learned without labels by" in unnamed.problems[0].detail
    )
    for chosen, data in (({"target": "label"}, two), ({}, dataset(label=classes))):
        wrong = resolved({**DISTILL, **chosen}, data, facts)
        assert codes(wrong) == {("/teachers/0", "kind_mismatch")}
        assert '"target": "meaning"' in wrong.problems[0].detail
    right = resolved({**DISTILL, "target": "meaning"}, two, facts)
    assert not right.problems
    second = resolved(
        {**DISTILL, "target": "label", "teachers": [{"model": OTHER}, {"model": TEACHER}]},
        two,
        facts | {OTHER: teacher()},
    )
    assert [(each.pointer, "meaning" in each.detail) for each in second.problems] == [("/teachers/1", False)]


def test_the_class_names_of_teacher_and_dataset_must_agree() -> None:
    data = dataset(digit=TargetFacts(kind="class", size=3, classes=("a", "b", "c"), labelled=SPLITS))
    other = teacher(size=3, classes=("a", "b", "z"))
    assert ("/teachers/0", "class_names_differ") in codes(resolved(DISTILL, data, {TEACHER: other}))


def test_an_unknown_input_leaves_the_resolution_open() -> None:
    found = resolved(DISTILL | {"teachers": [{"job": JOB}]}, models={JOB: None})
    assert not found.complete
    assert not found.problems


def test_rows_without_labels_learn_what_the_teacher_predicts_and_have_no_control() -> None:
    bare = DatasetFacts(rows=100, splits=SPLITS, inputs={"x": InputFacts(shape=(64,))}, targets={})
    found = resolved(DISTILL, bare)
    spec = found.spec
    assert isinstance(spec, DistillJob)
    assert (spec.target, spec.control) == ("digit", False)
    assert spec.student.outputs == {"digit": 10}
    assert {"no_labels", "no_control"} <= warned(found)


def test_early_stopping_needs_a_validation_split() -> None:
    bare = dataset().model_copy(update={"splits": {"train": 100}})
    found = resolved(TRAIN | {"training": {"early_stopping": {"patience": 2}}}, bare)
    assert codes(found) == {("/training/early_stopping", "validation_needed")}
    assert isinstance(found.spec, TrainJob)
    assert found.spec.training.select_by == "last"


TWO = dataset(
    left=TargetFacts(kind="class", size=10, labelled=SPLITS), right=TargetFacts(kind="value", size=1, labelled=SPLITS)
)
MULTITASK: dict[str, Any] = {
    "kind": "multitask",
    "tasks": [{"name": "left"}, {"name": "right"}],
    "student": {"family": "mlp", "hidden": [16]},
}


def test_a_multitask_spec_gets_targets_and_heads() -> None:
    spec = resolved(MULTITASK, TWO).spec
    assert isinstance(spec, MultitaskJob)
    assert [task.target for task in spec.tasks] == ["left", "right"]
    assert spec.student.outputs == {"left": 10, "right": 1}
    assert not spec.control


def test_a_relation_that_only_reweights_or_does_nothing_is_warned_of() -> None:
    even = MULTITASK | {"relation": {"matrix": [[0.8, 0.2], [0.2, 0.8]]}}
    tilted = MULTITASK | {"relation": {"matrix": [[1.0, 0.0], [0.5, 0.5]]}}
    alike = MULTITASK | {"relation": {"matrix": [[1, 1], [1, 1]]}, "balancing": {"method": "pcgrad"}}
    assert warned(resolved(even, TWO)) == {"relation_without_effect"}
    assert warned(resolved(tilted, TWO)) == {"relation_is_weights"}
    assert warned(resolved(alike, TWO)) == {"relation_rank_one"}


BALANCERS = {method_of(each): each for each in members(Balancing)}


@pytest.mark.parametrize("method", BALANCERS)
def test_a_balancer_without_a_preference_vector_refuses_unequal_weights(method: str) -> None:
    tasks = [{"name": "left"}, {"name": "right", "weight": 0.5}]
    found = resolved(MULTITASK | {"tasks": tasks, "balancing": {"method": method}}, TWO)
    refused = ("/balancing/method", "weights_not_supported") in codes(found)
    assert refused == (not BALANCERS[method].takes_weights)


@pytest.mark.parametrize("method", BALANCERS)
def test_equal_weights_that_change_nothing_are_warned_of(method: str) -> None:
    """Gradient methods give them to the heads."""
    tasks = [{"name": "left", "weight": 0.5}, {"name": "right", "weight": 0.5}]
    found = resolved(MULTITASK | {"tasks": tasks, "balancing": {"method": method}}, TWO)
    idle = not BALANCERS[method].uses_gradients and not BALANCERS[method].takes_weights
    assert ("weights_without_effect" in warned(found)) == idle
    assert not codes(found)


@pytest.mark.parametrize("method", BALANCERS)
def test_what_a_worker_needs_for_a_balancer_is_reported_at_submission(method: str) -> None:
    found = resolved(MULTITASK | {"balancing": {"method": method}}, TWO)
    assert ("extra_needed" in warned(found)) == (method in ("upgrad", "dualproj", "nash_mtl"))
    assert not codes(found)


def test_rows_of_the_relation_sum_to_one_and_the_diagonal_has_a_floor() -> None:
    matrix = normalised([[0.0, 2.0], [1.0, 3.0]])
    assert [sum(row) for row in matrix] == pytest.approx([1.0, 1.0])
    assert matrix[0][0] == pytest.approx(DIAGONAL_FLOOR)
    assert matrix[1] == pytest.approx((0.25, 0.75))
    assert effective_weights(matrix, [1.0, 1.0]) == pytest.approx([matrix[0][0] + 0.25, matrix[0][1] + 0.75])
