"""Terms that name several layers: `review`, of student and teacher, and `ofa`, of the student alone."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.contracts.base import canonical_json
from app.contracts.resolving.resolve import Resolution, resolve
from app.contracts.resources.facts import Layer, TargetFacts
from app.contracts.resources.manifests import ClassOutput
from app.contracts.specs.distillation import FitnetsTerm, OfaTerm, ReviewTerm
from app.contracts.specs.jobs import DistillJob, MultitaskJob
from tests.contracts.resolving.distillation.test_methods import STUDENT, goal, network, viewed, with_layers, with_terms
from tests.contracts.resolving.multitask.test_sharing import MLP, one_of_ours, shared, tasks_with_teachers
from tests.contracts.resolving.test_resolve import DS, SPLITS, codes, dataset, resolved

Json = dict[str, Any]
STAGES = (("stages.0", "stages.0"), ("stages.1", "stages.1"))
"""(student's layer, teacher's layer) of a term that fits."""
LAST = ("penultimate", "penultimate")


def review(*pairs: tuple[str, str], **settings: Any) -> Json:
    layers = [{"student_layer": ours, "teacher_layer": theirs} for ours, theirs in pairs]
    return {**with_terms(features={"method": "review", "layers": layers, **settings}), "student": STUDENT}


def ofa(*layers: str, **changes: Any) -> Json:
    return {**with_terms(soft_targets={"method": "ofa", "student_layers": list(layers)}), "student": STUDENT, **changes}


def series() -> Any:
    return dataset(digit=TargetFacts(kind="class", size=10, labelled=SPLITS)).model_copy(
        update={"inputs": {"x": dataset().inputs["x"].model_copy(update={"shape": (3, 32)})}}
    )


def detail(found: Resolution, code: str) -> str:
    return next(problem.detail for problem in found.problems if problem.code == code)


@pytest.mark.parametrize(
    "spec", [review(*STAGES), review(*STAGES, LAST), ofa("stages.0"), ofa("stages.1", "penultimate")]
)
def test_layers_that_are_there_and_fit_are_taken(spec: Json) -> None:
    found = resolved(spec, dataset(), network())
    assert not found.problems
    assert isinstance(found.spec, DistillJob)
    again = resolve(found.spec, {DS: dataset()}, network(), threads=2)
    assert again.spec == found.spec
    assert not again.problems


@pytest.mark.parametrize(
    ("spec", "place", "code"),
    [
        (review(STAGES[0]), "features/0/layers", "too_few_layers"),
        (review(("stages.7", "stages.0"), STAGES[1]), "features/0/layers/0/student_layer", "unknown_layer"),
        (review(STAGES[0], ("stages.1", "body")), "features/0/layers/1/teacher_layer", "unknown_layer"),
        (review(STAGES[0], ("penultimate", "stages.1")), "features/0/layers/1", "shape_mismatch"),
        (review(("stages.1", "stages.0"), ("stages.0", "stages.1")), "features/0/layers", "layers_out_of_order"),
        (review(("stages.0", "stages.1"), ("stages.1", "stages.0")), "features/0/layers", "layers_out_of_order"),
        (review(STAGES[0], ("stages.0", "stages.1")), "features/0/layers", "layers_out_of_order"),
        (review(*STAGES, teacher=1), "features/0/teacher", "unknown_teacher"),
        (ofa("stages.0", "stages.7"), "soft_targets/0/student_layers/1", "unknown_layer"),
        (ofa("penultimate", "stages.0"), "soft_targets/0/student_layers", "layers_out_of_order"),
        (ofa("stages.0", "stages.0"), "soft_targets/0/student_layers", "layers_out_of_order"),
    ],
)
def test_layers_that_do_not_fit_are_named(spec: Json, place: str, code: str) -> None:
    found = resolved(spec, dataset(), network())
    assert codes(found) == {(f"/distillation/{place}", code)}


def test_messages_say_what_was_expected_what_was_found_and_the_way_out() -> None:
    few = detail(resolved(review(STAGES[0]), dataset(), network()), "too_few_layers")
    assert few == "`review` expects 2 pairs of layers or more, found 1: name more, or use `fitnets` for one"
    swapped = resolved(review(("stages.1", "stages.0"), ("stages.0", "stages.1")), dataset(), network())
    assert detail(swapped, "layers_out_of_order") == (
        "expected layers of the student in the order in which data pass them, each once, found `stages.0` after "
        "`stages.1`: name them in the order of the network"
    )


@pytest.mark.parametrize("spec", [review(), ofa()])
def test_no_layers_at_all_are_refused_by_the_contract(spec: Json) -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        DistillJob.model_validate_json(canonical_json(spec))


@pytest.mark.parametrize("method", ["review", "fitnets"])
def test_layers_of_a_series_are_no_maps(method: str) -> None:
    spec = review(*STAGES) if method == "review" else with_layers(method, "stages.0", "stages.1")
    spec["student"] = STUDENT
    found = codes(resolved(spec, series(), network()))
    assert any(code == "shape_mismatch" for _, code in found)


def test_a_branch_does_not_read_a_series() -> None:
    found = resolved(ofa("stages.0"), series(), {})
    assert ("/distillation/soft_targets/0/student_layers/0", "shape_mismatch") in codes(found)


def test_a_graph_that_does_not_say_a_layers_shape_cannot_be_reviewed() -> None:
    listed = (Layer(name="a", kind="Relu", shape=(4, 8, 8)), Layer(name="b", kind="Relu", shape=None))
    found = resolved(review(("stages.0", "a"), ("stages.1", "b")), dataset(), network(architecture=None, layers=listed))
    assert codes(found) == {("/distillation/features/0/layers/1/teacher_layer", "open_shape")}


def test_columns_of_the_dataset_have_no_layers_to_review_and_teach_branches() -> None:
    told = TargetFacts(kind="teacher", size=10, predicts=ClassOutput(kind="class"), labelled=SPLITS)
    data = dataset(digit=TargetFacts(kind="class", size=10, labelled=SPLITS), told=told)
    columns = {"teachers": [{"columns": "told"}]}
    found = resolved(review(*STAGES) | columns, data)
    assert codes(found) == {("/distillation/features/0/teacher", "no_layers")}
    assert not resolved(ofa("stages.0", "stages.1") | columns, data).problems


@pytest.mark.parametrize("kind", ["multilabel", "value", "vector"])
def test_branches_predict_classes_alone(kind: str) -> None:
    found = resolved(ofa("penultimate"), *goal(kind))
    assert ("/distillation/soft_targets/0/method", "method_undefined") in codes(found)


def test_branches_learn_without_any_labels() -> None:
    data, models = goal("class", labelled=False)
    assert not resolved(ofa("penultimate", control=False), data, models).problems


def test_a_row_of_two_labels_is_refused_where_a_branch_looks_at_one() -> None:
    term = {"method": "ofa", "student_layers": ["penultimate"]}
    found = resolved(viewed({"kind": "mixup", "alpha": 0.2}, distillation={"soft_targets": term}))
    assert codes(found) == {("/distillation/soft_targets/0/method", "view_undefined")}


@pytest.mark.parametrize(
    ("sharing", "layer", "refused"),
    [("hard", "layers.0", False), ("mmoe", "layers.0", True), ("mmoe", "penultimate", False)],
)
def test_a_tasks_branches_are_at_layers_that_the_task_reaches(sharing: Any, layer: str, refused: bool) -> None:
    """`penultimate` is the task's own where each head reads features of its own."""
    term = {"method": "ofa", "student_layers": [layer]}
    found = shared(sharing, MLP, one_of_ours(), tasks=tasks_with_teachers(soft_targets=term))
    place = "/tasks/0/distillation/soft_targets/0/student_layers/0"
    assert codes(found) == ({(place, "unknown_layer")} if refused else set())
    assert isinstance(found.spec, MultitaskJob)


def test_a_term_renames_the_students_layers_alone() -> None:
    pair = {"teacher_layer": "penultimate", "student_layer": "penultimate"}
    hints = FitnetsTerm.model_validate({"method": "fitnets", **pair}).with_student_layers(lambda name: f"{name}.left")
    assert (hints.student_layer, hints.teacher_layer) == ("penultimate.left", "penultimate")
    several = ReviewTerm.model_validate({"method": "review", "layers": (pair, pair)})
    renamed = several.with_student_layers(lambda name: f"{name}.left")
    assert {(each.student_layer, each.teacher_layer) for each in renamed.layers} == {
        ("penultimate.left", "penultimate")
    }
    branches = OfaTerm(method="ofa", student_layers=("a", "b")).with_student_layers(str.upper)
    assert branches.student_layers == ("A", "B")
