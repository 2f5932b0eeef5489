"""Layers that are compared by one vector a row."""

from typing import Any

import pytest

from app.contracts.resolving.distillation.layer_owners import LayerOwner
from app.contracts.resolving.distillation.token_layers import compared_shapes
from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import Layer
from app.contracts.specs.architectures import Convnet
from app.contracts.specs.distillation import FitnetsTerm
from tests.contracts.resolving.distillation.test_methods import STUDENT, network, with_terms
from tests.contracts.resolving.test_resolve import codes, dataset, resolved

LAST = "penultimate"


def pooled(teacher: str, student: str, pool: str = "mean", **changes: Any) -> dict[str, Any]:
    term = {"method": "fitnets", "teacher_layer": teacher, "student_layer": student, "pool": pool}
    return {**with_terms(features=term), "student": STUDENT, **changes}


@pytest.mark.parametrize(("teacher", "student"), [("stages.0", LAST), (LAST, "stages.0"), ("stages.0", "stages.1")])
def test_maps_are_compared_with_vectors_by_their_mean(teacher: str, student: str) -> None:
    assert not resolved(pooled(teacher, student), dataset(), network()).problems
    without = pooled(teacher, student)
    del without["distillation"]["features"]["pool"]
    assert bool(resolved(without, dataset(), network()).problems) == (LAST in (teacher, student))


def test_what_has_no_such_vector_is_refused_at_its_pool() -> None:
    place = "/distillation/features/0/pool"
    assert codes(resolved(pooled(LAST, LAST), dataset(), network())) == {(place, "shape_mismatch")}, "nothing to pool"
    assert codes(resolved(pooled("stages.0", LAST, "first"), dataset(), network())) == {(place, "shape_mismatch")}


@pytest.mark.parametrize("shape", [(8, 8, 3), (197, 12)])
def test_layers_of_graphs_are_not_pooled(shape: tuple[int, ...]) -> None:
    layer = Layer.model_validate({"name": "body", "kind": "Relu", "shape": shape})
    found = resolved(pooled("body", LAST), dataset(), network(architecture=None, layers=(layer,)))
    assert codes(found) == {("/distillation/features/0/pool", "shape_mismatch")}


def test_layers_without_tokens_or_maps_are_not_pooled() -> None:
    series = Convnet(family="convnet", channels=(6, 9), input_shape=(3, 32), outputs={"digit": 10})
    maps = series.model_copy(update={"input_shape": (3, 32, 32)})
    term = FitnetsTerm(method="fitnets", teacher_layer="a", student_layer="b", pool="mean")
    ours = (LayerOwner("the student", "student", maps, {}), (4,))
    for architecture, shape in ((series, (6, 16)), (maps, (8, 8, 3))):
        findings = Findings()
        theirs = (LayerOwner("the teacher", "teacher", architecture, {}), shape)
        assert compared_shapes(term, term, (ours, theirs), findings, "/features/0") is None
        assert [each.code for each in findings.problems] == ["shape_mismatch"], shape


@pytest.mark.parametrize("method", ["hidden_states", "relations", "attention"])
def test_methods_that_compare_layers_as_they_are_take_no_pool(method: str) -> None:
    spec = pooled(LAST, LAST)
    spec["distillation"]["features"]["method"] = method
    found = resolved(spec, dataset(), network())
    assert ("/distillation/features/0/pool", "shape_mismatch") in codes(found)
    (detail,) = [each.detail for each in found.problems if each.pointer.endswith("/pool")]
    assert "use `fitnets`" in detail
