"""Every term says for which targets it is defined; layers, searches, views and peers are checked at submission."""

from typing import Any

import pytest

from app.contracts.base import members, method_of
from app.contracts.resolving.resolve import resolve
from app.contracts.resources.facts import DatasetFacts, InputFacts, Layer, ModelFacts, OutputFacts, TargetFacts
from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec, ValueOutput, VectorOutput
from app.contracts.specs.architectures import Convnet, Mlp
from app.contracts.specs.distillation import SoftTargetTerm
from app.contracts.specs.jobs import DistillJob
from tests.contracts.resolving.test_resolve import (
    DISTILL,
    DS,
    SPLITS,
    TEACHER,
    codes,
    dataset,
    resolved,
    teacher,
    warned,
)

Json = dict[str, Any]
KINDS: dict[str, tuple[str, ...]] = {method_of(term): term.kinds for term in members(SoftTargetTerm)}
OUTPUTS: dict[str, tuple[OutputSpec, int]] = {
    "class": (ClassOutput(kind="class"), 10),
    "multilabel": (MultilabelOutput(kind="multilabel"), 5),
    "value": (ValueOutput(kind="value"), 1),
    "vector": (VectorOutput(kind="vector"), 6),
}


def goal(
    kind: Any, size: int | None = None, labelled: bool = True
) -> tuple[DatasetFacts, dict[str, ModelFacts | None]]:
    """A dataset with one target of this kind, and a teacher that predicts it."""
    spec, usual = OUTPUTS[kind]
    target = TargetFacts(kind=kind, size=size or usual, labelled=SPLITS if labelled else {})
    model = teacher()
    output = OutputFacts(spec=spec, size=size or usual)
    return dataset(digit=target), {TEACHER: model.model_copy(update={"outputs": {"digit": output}})}


def with_terms(**distillation: Any) -> Json:
    return {**DISTILL, "target": "digit", "distillation": distillation}


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("method", KINDS)
def test_a_method_is_defined_for_its_kinds_of_target_and_refused_for_the_others(method: str, kind: str) -> None:
    layers = {"student_layers": ["penultimate"]} if method == "ofa" else {}
    found = resolved(with_terms(soft_targets={"method": method, **layers}), *goal(kind))
    refusal = ("/distillation/soft_targets/0/method", "method_undefined")
    assert (refusal in codes(found)) == (kind not in KINDS[method])
    if kind in KINDS[method]:
        assert not found.problems


@pytest.mark.parametrize(
    ("term", "place"),
    [
        ({"method": "dist"}, "method"),
        ({"method": "dkd"}, "method"),
        ({"method": "kd", "standardize": True}, "standardize"),
        ({"method": "jsd", "standardize": True}, "standardize"),
    ],
)
def test_trap_two_classes_are_refused_by_name_where_a_method_would_see_nothing(term: Json, place: str) -> None:
    found = resolved(with_terms(soft_targets=term), *goal("class", size=2))
    assert codes(found) == {(f"/distillation/soft_targets/0/{place}", "too_few_classes")}
    assert not resolved(with_terms(soft_targets=term), *goal("class", size=3)).problems


def test_standardising_labels_that_are_yes_or_no_is_refused() -> None:
    found = resolved(with_terms(soft_targets={"method": "kd", "standardize": True}), *goal("multilabel"))
    assert codes(found) == {("/distillation/soft_targets/0/standardize", "too_few_classes")}


@pytest.mark.parametrize(("method", "kind"), [("dkd", "class"), ("teacher_bounded", "value")])
def test_a_method_that_looks_at_labels_is_refused_without_any(method: str, kind: str) -> None:
    found = resolved(with_terms(soft_targets={"method": method}), *goal(kind, labelled=False))
    assert ("/distillation/soft_targets/0/method", "labels_needed") in codes(found)


def test_energies_are_refused_where_logits_are_compared_by_their_size() -> None:
    models: dict[str, ModelFacts | None] = {TEACHER: teacher(output="energies")}
    found = resolved(with_terms(soft_targets={"method": "logit_mse"}), dataset(), models)
    assert codes(found) == {("/distillation/soft_targets/0/method", "method_undefined")}
    assert not resolved(with_terms(soft_targets={"method": "kd"}), dataset(), models).problems


@pytest.mark.parametrize("combine", ["confidence", "learned"])
def test_weighing_teachers_by_labels_needs_several_teachers_and_labels(combine: str) -> None:
    one = resolved(with_terms(combine=combine))
    assert codes(one) == {("/distillation/combine", "too_few_teachers")}
    values = resolved(with_terms(combine=combine), *goal("value"))
    assert ("/distillation/combine", "labels_needed") in codes(values)
    two = with_terms(combine=combine) | {"teachers": [{"model": TEACHER}, {"model": TEACHER, "weight": 2.0}]}
    assert not resolved(two).problems


# Layers


def network(**changes: Any) -> dict[str, ModelFacts | None]:
    """A teacher of a family, 8x8 images."""
    arch = Convnet(family="convnet", channels=(6, 9), input_shape=(1, 8, 8), outputs={"digit": 10})
    return {TEACHER: teacher().model_copy(update={"architecture": arch, **changes})}


STUDENT: Json = {"family": "convnet", "channels": [3, 4]}


def with_layers(method: str, ours: str, theirs: str, **settings: Any) -> Json:
    term = {"method": method, "student_layer": ours, "teacher_layer": theirs, **settings}
    return {**with_terms(features=term), "student": STUDENT}


@pytest.mark.parametrize("method", ["fitnets", "attention", "similarity", "rkd", "crd"])
def test_layers_that_are_there_and_fit_are_taken(method: str) -> None:
    found = resolved(with_layers(method, "stages.0", "stages.1"), dataset(), network())
    assert not found.problems
    spec = found.spec
    assert isinstance(spec, DistillJob)
    assert spec.distillation.soft_targets is None, "a task that names features alone has those alone"
    again = resolve(spec, {DS: dataset()}, network(), threads=2)
    assert again.spec == spec
    assert not again.problems


@pytest.mark.parametrize(
    ("method", "ours", "theirs", "settings", "place", "code"),
    [
        ("fitnets", "stages.7", "stages.1", {}, "student_layer", "unknown_layer"),
        ("fitnets", "stages.0", "body", {}, "teacher_layer", "unknown_layer"),
        ("fitnets", "stages.0", "penultimate", {}, "", "shape_mismatch"),
        ("attention", "penultimate", "stages.1", {}, "", "shape_mismatch"),
        ("hidden_states", "stages.0", "stages.1", {}, "", "shape_mismatch"),
        ("relations", "penultimate", "penultimate", {"heads": 2}, "", "shape_mismatch"),
        ("rkd", "stages.0", "stages.1", {"teacher": 1}, "teacher", "unknown_teacher"),
    ],
)
def test_layers_that_do_not_fit_are_named(
    method: str, ours: str, theirs: str, settings: Json, place: str, code: str
) -> None:
    found = resolved(with_layers(method, ours, theirs, **settings), dataset(), network())
    expected = f"/distillation/features/0/{place}" if place else "/distillation/features/0"
    assert codes(found) == {(expected, code)}


def test_a_graph_that_does_not_say_a_layers_shape_cannot_be_tapped_there() -> None:
    graph = network(architecture=None, layers=(Layer(name="relu_1", kind="Relu", shape=None),))
    found = resolved(with_layers("rkd", "stages.0", "relu_1"), dataset(), graph)
    assert codes(found) == {("/distillation/features/0/teacher_layer", "open_shape")}


def test_columns_of_the_dataset_have_no_layers() -> None:
    told = TargetFacts(kind="teacher", size=10, predicts=ClassOutput(kind="class"), labelled=SPLITS)
    data = dataset(digit=TargetFacts(kind="class", size=10, labelled=SPLITS), told=told)
    spec = with_layers("rkd", "stages.0", "stages.1") | {"teachers": [{"columns": "told"}]}
    assert codes(resolved(spec, data)) == {("/distillation/features/0/teacher", "no_layers")}


def test_layers_of_a_job_that_has_not_ended_are_checked_when_it_has() -> None:
    found = resolved(with_layers("rkd", "stages.0", "stages.1"), dataset(), {TEACHER: None})
    assert not found.problems
    assert not found.complete


# Phases


def test_steps_in_which_no_term_counts_are_warned_of() -> None:
    spec = with_layers("fitnets", "stages.0", "stages.1", phase={"end": 0.4})
    spec["distillation"] |= {"supervised": {"weight": 1.0, "phase": {"begin": 0.6}}}
    found = resolved(spec, dataset(), network())
    assert not found.problems
    assert [w["message"] for w in found.warnings if w["code"] == "phases_with_a_gap"] == [
        "`distillation`: no term counts from 40 % to 60 % of the steps"
    ]
    spec["distillation"] |= {"supervised": {"weight": 1.0}}
    assert "phases_with_a_gap" not in warned(resolved(spec, dataset(), network()))


def test_phases_last_to_the_end() -> None:
    late = with_terms(soft_targets={"method": "kd", "phase": {"begin": 0.5}})
    found = resolved(late | {"training": {"early_stopping": {"patience": 2}}})
    assert codes(found) == {("/training/early_stopping", "not_with_phases")}


@pytest.mark.parametrize("phase", [{"begin": 0.5, "end": 0.5}, {"begin": 0.5, "end": 0.7, "ramp": 0.3}])
def test_a_phase_that_cannot_be_is_refused(phase: Json) -> None:
    with pytest.raises(ValueError, match="phase"):
        DistillJob.model_validate(with_terms(soft_targets={"method": "kd", "phase": phase}))


# Searches


def searched(count: int, **changes: Any) -> Json:
    values = [1.0 + i for i in range(count)]
    return with_terms(soft_targets={"method": "kd", "temperature": {"search": values, **changes}})


def test_too_many_candidates_are_refused() -> None:
    spec = searched(9) | {"training": {"learning_rate": {"search": [0.1 * i for i in range(1, 9)]}}}
    assert ("/training/learning_rate", "too_many_candidates") in codes(resolved(spec))


def test_a_search_needs_rows_to_judge_by() -> None:
    data = dataset().model_copy(update={"splits": {"train": 70, "test": 30}})
    assert ("/distillation/soft_targets/0/temperature", "validation_needed") in codes(resolved(searched(3), data))
    assert not resolved(searched(3, folds=4), data).problems


def test_a_search_needs_labels_or_outputs_on_the_rows_it_is_judged_by() -> None:
    stored = TargetFacts(
        kind="teacher", size=10, labelled={"train": 70}, predicts=ClassOutput(kind="class", output="logits")
    )
    digit = TargetFacts(kind="class", size=10, labelled={"train": 70})
    data = dataset(digit=digit, stored=stored)
    place = "/distillation/soft_targets/0/temperature"
    columns = {"teachers": [{"columns": "stored"}], "target": "digit"}
    assert (place, "search_unmeasured") in codes(resolved(searched(3) | columns, data))
    assert not resolved(searched(3) | {"target": "digit"}, data).problems, "a model has outputs for every row"
    assert not resolved(searched(3, folds=4) | columns, data).problems
    known = stored.model_copy(update={"labelled": {"train": 70, "validation": 1}})
    assert not resolved(searched(3) | columns, dataset(digit=digit, stored=known)).problems
    rate = {"kind": "train", "model": {"family": "mlp", "hidden": [4]}, "target": "digit"}
    found = resolved(rate | {"training": {"learning_rate": {"search": [0.1, 0.01]}}}, data)
    assert ("/training/learning_rate", "search_unmeasured") in codes(found)


def test_folds_need_a_row_each() -> None:
    few = TargetFacts(kind="class", size=10, labelled={"train": 2, "validation": 1})
    rate = {"kind": "train", "model": {"family": "mlp", "hidden": [4]}, "target": "digit"}
    for folds, refused in ((3, False), (4, True)):
        training = {"learning_rate": {"search": [0.1, 0.01], "folds": folds}}
        found = codes(resolved(rate | {"training": training}, dataset(digit=few)))
        assert (("/training/learning_rate", "search_unmeasured") in found) == refused


def test_the_measure_of_folds_stays_without_a_validation_split() -> None:
    data = dataset().model_copy(update={"splits": {"train": 70, "test": 30}})
    chosen = {
        (folds, select_by): resolved(
            searched(3, **({"folds": folds} if folds else {})) | {"training": {"select_by": select_by}}, data
        ).spec
        for folds in (None, 4)
        for select_by in ("metric", "loss", "nll")
    }
    assert {key: spec.training.select_by for key, spec in chosen.items() if isinstance(spec, DistillJob)} == {
        (None, "metric"): "last",
        (None, "loss"): "last",
        (None, "nll"): "nll",
        (4, "metric"): "last",
        (4, "loss"): "loss",
        (4, "nll"): "nll",
    }


# Views


def viewed(*transforms: Json, **changes: Any) -> Json:
    return {**DISTILL, "target": "digit", "training": {"views": {"transforms": list(transforms)}}, **changes}


def test_views_that_do_not_fit_the_rows_are_named() -> None:
    flat = DatasetFacts(
        rows=100,
        splits=SPLITS,
        inputs={"x": InputFacts(shape=(64,))},
        targets={"digit": TargetFacts(kind="class", size=10, labelled=SPLITS)},
    )
    found = resolved(viewed({"kind": "noise", "std": 0.1}, {"kind": "flip"}), flat)
    assert codes(found) == {("/training/views/transforms/1", "view_undefined")}
    assert not resolved(viewed({"kind": "noise", "std": 0.1}, {"kind": "flip"})).problems


def test_a_row_of_two_labels_is_refused_where_one_label_is_looked_at() -> None:
    mixing = viewed({"kind": "mixup", "alpha": 0.2}, distillation={"soft_targets": {"method": "dkd"}})
    assert codes(resolved(mixing)) == {("/distillation/soft_targets/0/method", "view_undefined")}


def test_columns_of_unaugmented_rows_are_warned_of_under_views() -> None:
    told = TargetFacts(kind="teacher", size=10, predicts=ClassOutput(kind="class"), labelled=SPLITS)
    data = dataset(digit=TargetFacts(kind="class", size=10, labelled=SPLITS), told=told)
    found = resolved(viewed({"kind": "flip"}, teachers=[{"columns": "told"}]), data)
    assert "columns_ignore_views" in warned(found)


# Peers


def test_peers_get_their_shapes_from_the_dataset_and_are_checked_like_the_student() -> None:
    peers = [{"family": "mlp", "hidden": [4]}, {"family": "resnet", "depth": 9}]
    found = resolved({**DISTILL, "mutual": {"peers": peers}})
    assert codes(found) == {("/mutual/peers/1/depth", "bad_depth")}
    spec = resolved({**DISTILL, "mutual": {"peers": peers[:1]}}).spec
    assert isinstance(spec, DistillJob)
    assert spec.mutual is not None
    peer = spec.mutual.peers[0]
    assert isinstance(peer, Mlp)
    assert (peer.input_shape, peer.outputs) == ((1, 8, 8), {"digit": 10})


def test_peers_teach_classes_and_stay_to_the_end() -> None:
    mutual = {"peers": [{"family": "mlp"}]}
    values = resolved({**DISTILL, "target": "digit", "mutual": mutual}, *goal("value"))
    assert ("/mutual", "method_undefined") in codes(values)
    stopping = resolved({**DISTILL, "mutual": mutual, "training": {"early_stopping": {"patience": 2}}})
    assert codes(stopping) == {("/training/early_stopping", "not_with_mutual")}


def test_annealing_hands_over_to_labels_that_must_be_there() -> None:
    spec = with_terms(soft_targets={"method": "kd"}, anneal="linear")
    assert ("/distillation/anneal", "labels_needed") in codes(resolved(spec, *goal("class", labelled=False)))
    assert not resolved(spec, *goal("class")).problems
    assert "anneal_without_labels" not in warned(resolved(spec, *goal("class")))
    few = dataset(digit=TargetFacts(kind="class", size=10, labelled={**SPLITS, "train": 7}))
    assert "anneal_without_labels" in warned(resolved(spec, few))
