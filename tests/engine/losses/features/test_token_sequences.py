"""Terms on the tokens of texts: padding carries no weight, and rows that are pooled have one vector."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.nn.functional import mse_loss

from app.contracts.specs.distillation import FeatureTerm
from workers.engine.data.rows.columns import Rows
from workers.engine.losses.feature_losses import FeatureTargets, TeacherLayer
from workers.engine.losses.term import TermInputs
from workers.engine.models.taps import compared_layer

CPU = torch.device("cpu")
TERM: TypeAdapter[Any] = TypeAdapter(FeatureTerm)
LENGTHS = (4, 2, 3)
WIDEST = 12
LAYERS = {"teacher_layer": "block", "student_layer": "block"}
METHODS: dict[str, dict[str, Any]] = {
    "fitnets": {"method": "fitnets"},
    "fitnets, unit length": {"method": "fitnets", "normalize": True},
    "hidden_states": {"method": "hidden_states"},
    "relations": {"method": "relations", "heads": 2},
    "similarity, mean": {"method": "similarity", "pool": "mean"},
    "rkd, first": {"method": "rkd", "pool": "first"},
    "crd, mean": {"method": "crd", "dimensions": 4, "pool": "mean"},
}
every_method = pytest.mark.parametrize("method", METHODS)


def drawn(width: int, size: int, seed: int) -> Tensor:
    """Vectors [3, width, size]; those of a wider row begin with those of a narrower one."""
    return torch.randn(3, WIDEST, size, generator=torch.Generator().manual_seed(seed))[:, :width].clone()


def tokens(width: int) -> Tensor:
    return torch.arange(width) < torch.tensor(LENGTHS)[:, None]


def losses(method: str, width: int, student: Tensor | None = None) -> Tensor:
    """The losses of a term whose layers have rows of this width, filled up with noise."""
    ours = drawn(width, 4, 1) if student is None else student
    theirs, is_token = drawn(width, 6, 2), tokens(width)
    term = TERM.validate_python({**METHODS[method], **LAYERS})
    kept = compared_layer(theirs, term.pool, is_token)
    target = TeacherLayer(tuple(kept.shape[1:]), kept.flatten(1))
    made = FeatureTargets.of(term, "term", {"block": (width, 4)}, [target], 0, CPU)
    return made.losses(TermInputs(torch.zeros(3, 1), {"block": ours}, tokens=is_token), Rows.on(CPU, torch.arange(3)))


@every_method
def test_a_loss_does_not_depend_on_how_wide_rows_are_padded(method: str) -> None:
    torch.testing.assert_close(losses(method, 4), losses(method, WIDEST))


@every_method
def test_padding_has_no_gradient_and_tokens_have_one(method: str) -> None:
    student = drawn(6, 4, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(losses(method, 6, student).sum(), student)
    moved = gradient.abs().sum(2) > 0.0
    expected = tokens(6)
    if METHODS[method].get("pool") == "first":
        expected = expected & (torch.arange(6) == 0)
    assert moved.equal(expected)


def test_hidden_states_are_the_mean_over_tokens_of_a_row() -> None:
    ours, theirs = drawn(6, 4, 1), drawn(6, 6, 2)
    term = TERM.validate_python({**METHODS["hidden_states"], **LAYERS})
    made = FeatureTargets.of(term, "term", {"block": (6, 4)}, [TeacherLayer((6, 6), theirs.flatten(1))], 0, CPU)
    assert made.module is not None
    projected = made.module(ours)
    found = made.losses(TermInputs(torch.zeros(3, 1), {"block": ours}, tokens=tokens(6)), Rows.on(CPU, torch.arange(3)))
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(found[row], mse_loss(projected[row, :length], theirs[row, :length]))


def test_relations_are_those_of_rows_without_any_padding() -> None:
    found = losses("relations", 6)
    for row, length in enumerate(LENGTHS):
        ours, theirs = (drawn(6, size, seed)[row : row + 1, :length] for size, seed in ((4, 1), (6, 2)))
        term = TERM.validate_python({**METHODS["relations"], **LAYERS})
        made = FeatureTargets.of(
            term, "term", {"block": (length, 4)}, [TeacherLayer((length, 6), theirs.flatten(1))], 0, CPU
        )
        alone = made.losses(TermInputs(torch.zeros(1, 1), {"block": ours}), Rows.on(CPU, torch.arange(1)))
        torch.testing.assert_close(found[row : row + 1], alone)


def test_a_pooled_layer_is_the_mean_over_its_tokens_or_its_first_token() -> None:
    layer = drawn(7, 5, 0)
    written = np.stack([layer[row, :length].numpy().mean(0) for row, length in enumerate(LENGTHS)])
    np.testing.assert_allclose(compared_layer(layer, "mean", tokens(6)).numpy(), written, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(compared_layer(layer, "first", tokens(6)), layer[:, 0])
    assert compared_layer(layer, None, tokens(6)).shape == (3, 6, 5), "a place beyond those of the row is left out"


def test_maps_are_pooled_over_their_places_and_vectors_stay_as_they_are() -> None:
    maps, vectors = torch.randn(2, 3, 4, 5), torch.randn(2, 6)
    torch.testing.assert_close(compared_layer(maps, "mean", None), maps.flatten(2).mean(2))
    assert compared_layer(vectors, "mean", tokens(4)) is vectors
