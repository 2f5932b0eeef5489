"""Projectors: what goes where, and weights that are a function of (seed, stream, parameter name)."""

import pytest
import torch
from torch import nn

from tests.engine.losses.formulas import drawn
from workers.engine.losses.features.projectors import draw, projector


def weights(module: nn.Module, seed: int, stream: str) -> dict[str, torch.Tensor]:
    draw(module, seed, stream)
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def test_maps_go_through_a_convolution_of_one_pixel_without_bias_whatever_their_sizes() -> None:
    module = projector((3, 8, 8), (5, 4, 2)).double()
    x = drawn(2, 3, 8, 8)
    assert [name for name, _ in module.named_parameters()] == ["weight"]
    (weight,) = module.parameters()
    torch.testing.assert_close(module(x), torch.einsum("oc,nchw->nohw", weight[:, :, 0, 0], x))


def test_flat_features_go_through_a_linear_layer() -> None:
    module = projector((3,), (5,)).double()
    parameters = dict(module.named_parameters())
    x = drawn(2, 3)
    torch.testing.assert_close(module(x), x @ parameters["weight"].T + parameters["bias"])


def test_tokens_go_through_a_linear_layer_each() -> None:
    module = projector((7, 3), (7, 5)).double()
    x = drawn(2, 7, 3)
    assert module(x).shape == (2, 7, 5)
    torch.testing.assert_close(module(x)[1, 4], module(x[1, 4]))


@pytest.mark.parametrize("shape", [(4,), (7, 4), (4, 2, 2)])
def test_equal_shapes_have_a_trained_projector_too(shape: tuple[int, ...]) -> None:
    """Two networks trained apart do not order their channels alike: no identity."""
    module = projector(shape, shape)
    draw(module, 0, "projector")
    x = drawn(2, *shape).float()
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert len(list(module.parameters())) > 0
    assert not torch.allclose(module(x), x)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((3,), (3, 4, 4)), ((3, 4, 4), (5,)), ((7, 3), (5,)), ((7, 3), (8, 3)), ((), ()), ((1, 2, 3, 4), (1, 2, 3, 4))],
)
def test_kinds_that_do_not_fit_are_refused_by_both_shapes(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no projector") as caught:
        projector(student, teacher)
    assert str(student) in str(caught.value)
    assert str(teacher) in str(caught.value)


def test_weights_are_a_function_of_seed_stream_and_name() -> None:
    first = weights(projector((3,), (5,)), 1, "a")
    torch.rand(7)
    again = weights(projector((3,), (5,)), 1, "a")
    assert all(torch.equal(again[name], first[name]) for name in ("weight", "bias"))
    for seed, stream in ((2, "a"), (1, "b")):
        other = weights(projector((3,), (5,)), seed, stream)
        assert not any(torch.equal(other[name], first[name]) for name in ("weight", "bias"))


def test_drawing_moves_no_other_draw() -> None:
    """A projector more never shifts the control's dropout."""
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    draw(projector((3,), (5,)), 0, "projector")
    assert torch.equal(torch.rand(4), expected)


def test_a_layer_more_shifts_no_weight_of_the_others() -> None:
    short = weights(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), 0, "projector")
    long = weights(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), 0, "projector")
    assert all(torch.equal(long[name], short[name]) for name in ("0.weight", "0.bias"))
    assert not torch.equal(long["2.bias"], long["0.bias"])


def test_weights_are_uniform_between_plus_and_minus_one_over_the_root_of_fan_in() -> None:
    for module, fan_in in ((projector((400,), (300,)), 400), (projector((400, 2, 2), (300, 1, 1)), 400)):
        for drawn_weights in weights(module, 0, "projector").values():
            scaled = drawn_weights * fan_in**0.5
            assert 0.95 < float(scaled.max()) <= 1.0
            assert -1.0 <= float(scaled.min()) < -0.95
            assert float(scaled.mean().abs()) < 0.2
            assert float(scaled.square().mean()) == pytest.approx(1 / 3, rel=0.2)


def test_layers_that_no_seed_would_name_are_refused() -> None:
    with pytest.raises(TypeError, match="found BatchNorm1d at `1`"):
        draw(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), 0, "projector")
