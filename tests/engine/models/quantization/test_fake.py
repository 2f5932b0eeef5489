"""Networks that compute with rounded weights and inputs in training: gradients, ranges, and how they are taken out."""

import pytest
import torch
from torch import Tensor, nn

from tests.engine.models.sharing.networks import FAMILIES, made, rows_for, shared
from workers.engine.common.eval_mode import preserved_buffers
from workers.engine.models.quantization.arithmetic import INPUT_LIMIT, WEIGHT_LIMIT, input_scale
from workers.engine.models.quantization.fake import (
    RANGE,
    FakeQuantization,
    rounded_input,
    rounded_weight,
    simulated,
)
from workers.engine.models.quantization.layers import layers_of

X = torch.linspace(-1.0, 3.0, 24).reshape(8, 3)
ONE_BATCH = torch.tensor([-1.0, 3.0])


def linear() -> nn.Linear:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -0.5, 0.26], [0.0, 2.0, 0.3]]))
    return layer


def step(quantization: FakeQuantization, layer: nn.Module, number: int, *batches: Tensor) -> list[Tensor]:
    quantization.begin_step(number)
    outputs = [layer(batch) for batch in batches]
    quantization.end_step()
    return outputs


def test_rounding_passes_gradients_straight_through_and_clipped_inputs_get_none() -> None:
    x = torch.tensor([-1.5, -1.0, 0.123, 3.0, 3.5], requires_grad=True)
    rounded = rounded_input(x, ONE_BATCH)
    (gradient,) = torch.autograd.grad((rounded * torch.arange(1.0, 6.0)).sum(), x)
    assert gradient.tolist() == [0.0, 2.0, 3.0, 4.0, 0.0]
    scale, zero_point = input_scale(ONE_BATCH)
    steps = rounded.detach() / scale + zero_point
    torch.testing.assert_close(steps, torch.tensor([0.0, 0.0, 72.0, INPUT_LIMIT, INPUT_LIMIT]), atol=1e-3, rtol=0)
    weight = linear().weight
    (gradient,) = torch.autograd.grad(rounded_weight(weight).sum(), weight)
    assert (gradient == 1.0).all(), "also that of the largest weight, which is not clipped"


def test_weights_have_63_steps_to_each_side_for_each_output_channel() -> None:
    weight = torch.randn(5, 4, 3, 3) * torch.logspace(-3, 3, 5).reshape(5, 1, 1, 1)
    rounded = rounded_weight(weight)
    largest = weight.abs().flatten(1).amax(1)
    steps = rounded / (largest / WEIGHT_LIMIT).reshape(5, 1, 1, 1)
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
    torch.testing.assert_close(steps.abs().flatten(1).amax(1), torch.full((5,), 63.0))
    torch.testing.assert_close(rounded_weight(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize(("low", "high"), [(0.0, 5.0), (-5.0, 0.0), (2.0, 5.0), (-5.0, -2.0), (-1.0, 3.0), (0.0, 0.0)])
def test_zero_is_exact_in_every_range(low: float, high: float) -> None:
    assert rounded_input(torch.zeros(1), torch.tensor([low, high])).item() == 0.0


def test_ranges_follow_the_batches_from_begin_on_and_are_frozen_in_the_last_part() -> None:
    layer = linear()
    quantization = FakeQuantization(layer, begin=0.4, steps=10)
    found, active = [], []
    for number in range(10):
        step(quantization, layer, number, X + 10.0 * number)
        found.append(layer.get_buffer(RANGE).tolist())
        active.append(quantization.active)
    assert active == [False] * 4 + [True] * 6
    assert found[:3] == [[0.0, 0.0]] * 3
    assert found[3] == [29.0, 33.0], "the step before sets them, in float32"
    for number in (4, 5, 6):
        expected = torch.lerp(torch.tensor(found[number - 1]), ONE_BATCH + 10.0 * number, 0.05)
        assert found[number] == pytest.approx(expected.tolist())
    assert found[7] == found[8] == found[9] == found[6]


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
@pytest.mark.parametrize("begin", [0.0, 0.6, 0.95])
def test_the_shortest_training_ends_quantized_with_ranges_of_its_batches(begin: float, steps: int) -> None:
    layer = linear()
    quantization = FakeQuantization(layer, begin, steps)
    for number in range(steps):
        step(quantization, layer, number, X)
    assert quantization.active
    assert torch.equal(layer.get_buffer(RANGE), ONE_BATCH)
    expected = nn.functional.linear(rounded_input(X, ONE_BATCH), rounded_weight(layer.weight), layer.bias)
    assert torch.equal(layer.eval()(X), expected)


def test_the_micro_batches_of_a_step_and_a_second_pass_over_them_move_the_ranges_once() -> None:
    whole, parts = linear(), linear()
    parts.load_state_dict(whole.state_dict())
    one, other = FakeQuantization(whole, 0.0, 20), FakeQuantization(parts, 0.0, 20)
    for number in range(4):
        x = X * (number + 1)
        (outputs,) = step(one, whole, number, x)
        other.begin_step(number)
        with preserved_buffers(parts), torch.no_grad():
            first = [parts(part) for part in torch.split(x, 3)]
        second = [parts(part) for part in torch.split(x, 3)]
        other.end_step()
        assert torch.equal(whole.get_buffer(RANGE), parts.get_buffer(RANGE))
        torch.testing.assert_close(torch.cat(first), outputs)
        torch.testing.assert_close(torch.cat(second), outputs)
    assert not torch.equal(whole.get_buffer(RANGE), ONE_BATCH)


def test_an_evaluation_does_not_move_the_ranges() -> None:
    layer = linear()
    quantization = FakeQuantization(layer, 0.0, 10)
    step(quantization, layer, 0, X)
    layer.eval()
    step(quantization, layer, 1, 100.0 * X)
    assert torch.equal(layer.get_buffer(RANGE), ONE_BATCH)


def test_bfloat16_rounds_in_float32() -> None:
    layer = linear()
    quantization = FakeQuantization(layer, 0.0, 1)
    step(quantization, layer, 0, X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(X), layer.eval()(X))
        assert layer(X).dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_is_an_ordinary_one_again_with_the_same_state(family: str) -> None:
    network = made(shared(family, "hard"))
    before, x = {name: value.clone() for name, value in network.state_dict().items()}, rows_for(network)
    with torch.no_grad():
        expected = network.eval()(x)
    quantization = FakeQuantization(network, 0.0, 1)
    assert {name.removesuffix(f".{RANGE}") for name in network.state_dict().keys() - before.keys()} == set(
        layers_of(network)
    )
    quantization.begin_step(0)
    network.eval()(x)
    for layer in layers_of(network).values():
        layer.train()  # the layers alone: BatchNorm's statistics stay
    network(x)
    quantization.end_step()
    with torch.no_grad():
        rounded = network.eval()(x)
    ranges = quantization.remove()
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any("forward" in module.__dict__ for module in network.modules())
    with torch.no_grad():
        found = network(x)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert any(not torch.equal(rounded[name], expected[name]) for name in expected)
    simulated(network, ranges)
    with torch.no_grad():
        again = network(x)
    assert all(torch.equal(again[name], rounded[name]) for name in expected)
