"""What the recipe chooses for temperatures and weights that a distillation leaves out, and why it says so."""

from typing import Any

import pytest

from app.contracts.resolving.resolve import Resolution, resolve
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts, OutputFacts, TargetFacts
from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec, ValueOutput, VectorOutput
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.jobs import ANY_SPEC, DistillJob, MultitaskJob
from tests.contracts.resolving.test_resolve import DISTILL, DS, TEACHER, resolved

ROWS = 100
OUTPUTS: dict[str, OutputSpec] = {
    "class": ClassOutput(kind="class"),
    "multilabel": MultilabelOutput(kind="multilabel"),
    "value": ValueOutput(kind="value"),
    "vector": VectorOutput(kind="vector"),
}
SIZES = {"value": 1}


def facts(kind: Any, labelled: int, train: int = ROWS) -> tuple[DatasetFacts, dict[str, ModelFacts | None]]:
    """A target of this kind with so many labelled training rows, and a teacher of it."""
    splits: dict[Any, int] = {"train": train, "validation": 10, "test": 10}
    size = SIZES.get(kind, 5)
    target = TargetFacts(kind=kind, size=size, labelled={**splits, "train": labelled})
    data = DatasetFacts(
        rows=train + 20, splits=splits, inputs={"x": InputFacts(shape=(8,))}, targets={"y": target, "z": target}
    )
    output = OutputFacts(spec=OUTPUTS[kind], size=size)
    model = ModelFacts(architecture=None, input_shape=(8,), inputs={}, outputs={"y": output, "z": output}, parameters=1)
    return data, {TEACHER: model}


def found(distillation: dict[str, Any] | None = None, kind: Any = "class", labelled: int = ROWS) -> Resolution:
    given = {} if distillation is None else {"distillation": distillation}
    resolution = resolved({**DISTILL, "target": "y", **given}, *facts(kind, labelled))
    assert not resolution.problems
    return resolution


def terms(resolution: Resolution) -> tuple[list[tuple[str, Any, Any]], float | None]:
    """((method, temperature, weight) of each soft target, weight of the labels)."""
    assert isinstance(resolution.spec, DistillJob)
    spec = resolution.spec.distillation
    soft: list[tuple[str, Any, Any]] = [
        (term.method, getattr(term, "temperature", None), term.weight) for term in spec.soft_targets or ()
    ]
    return soft, spec.supervised.weight


def told(resolution: Resolution) -> dict[str, Any]:
    """The values chosen in the distillation, by their pointers below it."""
    return {
        pointer.removeprefix("/distillation/"): choice.value
        for pointer, choice in resolution.chosen.items()
        if pointer.startswith("/distillation/")
    }


@pytest.mark.parametrize(
    ("kind", "labelled", "expected"),
    [
        ("class", ROWS, ([("kd", 2.0, 0.5)], 0.5)),
        ("class", ROWS // 2, ([("kd", 2.0, 0.5)], 0.5)),
        ("class", ROWS // 2 - 1, ([("kd", 2.0, 0.9)], 0.1)),
        ("class", 0, ([("kd", 2.0, 0.9)], 0.1)),
        ("multilabel", ROWS, ([("kd", 2.0, 0.5)], 0.5)),
        ("multilabel", 10, ([("kd", 2.0, 0.9)], 0.1)),
        ("value", ROWS, ([("mse", None, 0.9)], 0.1)),
        ("vector", ROWS, ([("mse", None, 0.9)], 0.1)),
        ("value", 10, ([("mse", None, 0.9)], 0.1)),
    ],
)
def test_weights_go_by_the_kind_of_target_and_the_share_of_labels(kind: str, labelled: int, expected: Any) -> None:
    resolution = found(kind=kind, labelled=labelled)
    assert terms(resolution) == expected
    soft = expected[0][0]
    document = {"method": soft[0], "temperature": soft[1], "weight": soft[2]}
    wanted = {name: value for name, value in document.items() if value is not None}
    assert told(resolution) == {"soft_targets": wanted, "supervised/weight": expected[1]}


def test_the_reason_names_the_labels_that_it_was_chosen_by() -> None:
    assert "30 of 100 training rows" in found(labelled=30).chosen["/distillation/soft_targets"].because
    assert "no labels" in found(labelled=0).chosen["/distillation/soft_targets"].because


def test_a_teacher_that_may_be_weak_has_no_more_weight_than_the_labels() -> None:
    assert terms(found({"allow_chance_teacher": True}, "value")) == ([("mse", None, 0.5)], 0.5)


@pytest.mark.parametrize(
    ("given", "expected", "pointers"),
    [
        ({"supervised": {"weight": 0.3}}, ([("kd", 2.0, 0.7)], 0.3), {"soft_targets"}),
        ({"supervised": {"weight": 0.0}}, ([("kd", 2.0, 1.0)], 0.0), {"soft_targets"}),
        ({"supervised": {"weight": 1.0}}, ([("kd", 2.0, 0.5)], 1.0), {"soft_targets"}),
        (
            {"soft_targets": {"method": "kd", "weight": 0.8}},
            ([("kd", 2.0, 0.8)], 0.2),
            {"soft_targets/0/temperature", "supervised/weight"},
        ),
        (
            {"soft_targets": {"method": "kd", "temperature": 8.0, "weight": 1.0}},
            ([("kd", 8.0, 1.0)], 0.5),
            {"supervised/weight"},
        ),
        (
            {"soft_targets": {"method": "kd", "temperature": 8.0}},
            ([("kd", 8.0, 0.5)], 0.5),
            {"soft_targets/0/weight", "supervised/weight"},
        ),
        (
            {"soft_targets": {"method": "dkd"}},
            ([("dkd", 4.0, 0.9)], 0.1),
            {"soft_targets/0/weight", "supervised/weight"},
        ),
        (
            {"soft_targets": [{"method": "kd"}, {"method": "kd", "temperature": 8.0}]},
            ([("kd", 2.0, 0.25), ("kd", 8.0, 0.25)], 0.5),
            {"soft_targets/0/weight", "soft_targets/0/temperature", "soft_targets/1/weight", "supervised/weight"},
        ),
    ],
)
def test_what_is_given_wins_and_the_other_side_gets_the_rest(given: Any, expected: Any, pointers: set[str]) -> None:
    resolution = found(given)
    assert terms(resolution) == expected
    assert told(resolution).keys() == pointers
    assert all(choice.because for choice in resolution.chosen.values())


def test_a_searched_weight_leaves_the_labels_the_weight_of_the_recipe() -> None:
    soft, labels = terms(found({"soft_targets": {"method": "kd", "weight": {"search": [0.2, 0.9]}}}))
    assert labels == 0.5
    assert soft[0][2].search == (0.2, 0.9)


def test_a_distillation_with_everything_named_has_nothing_chosen() -> None:
    given = {
        "soft_targets": {"method": "kd", "temperature": 4.0, "weight": 0.9},
        "supervised": {"weight": 0.1},
    }
    resolution = found(given)
    assert terms(resolution) == ([("kd", 4.0, 0.9)], 0.1)
    assert told(resolution) == {}


def test_tasks_are_chosen_for_apart_and_told_by_their_pointers() -> None:
    spec = {
        "kind": "multitask",
        "tasks": [
            {"name": "y", "teachers": [{"model": TEACHER}]},
            {"name": "z"},
        ],
        "student": {"family": "mlp"},
    }
    resolution = resolved(spec, *facts("class", 20))
    assert not resolution.problems
    assert isinstance(resolution.spec, MultitaskJob)
    task = resolution.spec.tasks[0].distillation
    assert task is not None
    assert task.supervised.weight == 0.1
    pointers = {pointer for pointer in resolution.chosen if not pointer.startswith("/training")}
    assert pointers == {"/tasks/0/distillation/soft_targets", "/tasks/0/distillation/supervised/weight"}


def test_a_resolved_spec_of_before_keeps_its_weights_and_a_resolved_one_its_choices() -> None:
    before = DistillationSpec.model_validate_json(
        '{"soft_targets": [{"method": "kd", "standardize": false, "temperature": 4.0, "weight": 0.9, "phase": null}],'
        ' "features": null, "supervised": {"weight": 0.1, "phase": null}, "anneal": null}'
    )
    once = found().spec
    assert isinstance(once, DistillJob)
    data, models = facts("class", 20)
    for spec in (once, once.model_copy(update={"distillation": before})):
        stored = ANY_SPEC.validate_json(spec.model_dump_json(), extra="ignore")
        assert isinstance(stored, DistillJob)
        again = resolve(stored, {DS: data}, models, threads=1)
        assert again.spec == spec
        assert not again.chosen
