"""Traps of multi-task training by their numbers in METHODS.md section 5, on trunk and heads in float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchjd.aggregation import MGDA, PCGrad, Sum

from app.contracts.balancing import PcgradBalancing
from app.contracts.training import TrainingSpec
from tests.engine.several_tasks import (
    AGGREGATORS,
    NAMES,
    balance,
    fixed,
    gradients,
    head_gradient,
    jacobian,
    losses_of,
    network_of,
    parameters_of,
    rows,
    seen_by,
    trunk_gradient,
)
from workers.engine.balancing import Balancer, Losses, make_balancer
from workers.engine.balancing.aggregators import scaled_aggregate
from workers.engine.balancing.fixed import Fixed
from workers.engine.member_state import load_member, save_member
from workers.engine.members import Member

PCGRAD = PcgradBalancing(method="pcgrad")
UNIT = [math.sqrt(0.5), -math.sqrt(0.5), 0.0, 0.0]
LENGTHS = {
    "pcgrad": 3.0,
    "gradvac": 3.0,
    "config": 3.0,
    "graddrop": 3.0,
    "mgda": 1.0,
    "imtlg": 1.0,
    "aligned_mtl": 1.0,
    "fairgrad": math.sqrt(3.0),
}


def made(method: str) -> Balancer:
    return fixed() if method == "fixed" else gradients(AGGREGATORS[method]())


def three_rows(scale: float = 1.0) -> Tensor:
    """A Jacobian [3, 7] whose rows conflict here and there."""
    return scale * torch.randn(3, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def aggregated(name: str, matrix: Tensor) -> Tensor:
    torch.manual_seed(0)
    return scaled_aggregate(AGGREGATORS[name](), matrix)


@pytest.mark.parametrize("method", ["fixed", *AGGREGATORS])
def test_trap_1_a_batch_without_a_task_updates_the_others_as_a_job_without_that_task_does(method: str) -> None:
    pair = ("a", "c")
    network, smaller = network_of(), network_of(pair)
    losses = losses_of(network, rows())
    balance(made(method), network, {name: losses[name] for name in pair})
    balancer = fixed((1.0, 1.0)) if method == "fixed" else gradients(AGGREGATORS[method](), names=pair)
    balance(balancer, smaller, losses_of(smaller, rows()), pair)
    found, expected = trunk_gradient(network), trunk_gradient(smaller)
    assert float(expected.norm()) > 0.0
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    for name in pair:
        torch.testing.assert_close(head_gradient(network, name), head_gradient(smaller, name), rtol=1e-12, atol=1e-14)
    assert all(parameter.grad is None for parameter in network.head_parameters("b"))


def test_trap_1_the_aggregator_is_given_no_zero_row_for_an_absent_task() -> None:
    """A zero row is what makes MGDA update nothing."""
    network, aggregator = network_of(), MGDA()
    seen = seen_by(aggregator)
    losses = losses_of(network, rows())
    balance(gradients(aggregator), network, {name: losses[name] for name in ("a", "c")})
    assert seen[0].shape[0] == 2
    assert float(seen[0].norm(dim=1).min()) > 0.0


@pytest.mark.parametrize("method", ["fixed", "pcgrad"])
def test_trap_1_a_batch_without_any_task_leaves_no_gradient(method: str) -> None:
    network = network_of()
    balance(made(method), network, {})
    made(method).clip(parameters_of(network), 1.0)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("method", ["fixed", "pcgrad"])
def test_trap_2_a_balancer_without_state_refuses_the_state_of_another_when_a_job_is_resumed(method: str) -> None:
    balancer: Balancer = Fixed([1.0]) if method == "fixed" else make_balancer(PCGRAD, [1.0], None, 0)
    member = Member("student", network_of(("a",)), [], balancer, TrainingSpec(), 1, torch.device("cpu"))
    tensors, state = save_member(member)
    load_member(member, tensors, state)
    with pytest.raises(ValueError, match="betas"):
        load_member(member, {**tensors, "student/balancer/betas": torch.ones(3)}, state)


@pytest.mark.parametrize("method", ["fixed", *AGGREGATORS])
def test_trap_4_losses_a_million_times_smaller_give_the_same_update_a_million_times_smaller(method: str) -> None:
    """The default epsilon of norms in torchjd, 1e-4, makes some aggregators return zero at gradients of 1e-3."""
    found = []
    for scale in (1.0, 1e-6):
        network = network_of()
        balance(made(method), network, losses_of(network, rows(), scale=scale))
        found.append(trunk_gradient(network))
    large, small = found
    assert float(large.norm()) > 1e-3
    torch.testing.assert_close(small * 1e6, large, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("scale", [1e-8, 1e-3, 65536.0, 1e8])
def test_trap_5_aggregation_is_equivariant_to_the_scale_of_all_losses(name: str, scale: float) -> None:
    torch.testing.assert_close(aggregated(name, three_rows(scale)) / scale, aggregated(name, three_rows()))


@pytest.mark.parametrize("name", AGGREGATORS)
def test_trap_5_the_length_of_the_update_of_three_equal_unit_gradients_is_the_documented_one(name: str) -> None:
    equal = torch.tensor([UNIT] * 3, dtype=torch.float64)
    update = aggregated(name, equal)
    assert float(update.norm()) == pytest.approx(LENGTHS[name], rel=1e-5)
    torch.testing.assert_close(update / update.norm(), equal[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", ["fixed", "pcgrad"])
def test_trap_5_of_three_equal_tasks_fixed_and_pcgrad_both_move_the_trunk_by_the_sum(method: str) -> None:
    network = network_of()
    one = losses_of(network, rows())["a"]
    alone = jacobian([one], network.trunk_parameters())[0]
    balance(made(method), network, {"a": one + 0.0, "b": one + 1.0, "c": one + 2.0})
    torch.testing.assert_close(trunk_gradient(network), 3.0 * alone, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_trap_5_a_jacobian_of_zeros_gives_zeros_and_not_nan(name: str) -> None:
    assert torch.equal(aggregated(name, torch.zeros(3, 7)), torch.zeros(7))


def test_pcgrad_of_two_conflicting_gradients_is_each_without_its_part_against_the_other() -> None:
    """Yu 2020, algorithm 1, written out."""
    network = network_of(("a", "b"))
    losses = losses_of(network, rows())
    opposed = {"a": losses["a"], "b": 0.5 * losses["b"] - 0.4 * losses["a"]}
    g, h = jacobian(list(opposed.values()), network.trunk_parameters()).numpy()
    assert g @ h < 0.0
    expected = (g - (g @ h) / (h @ h) * h) + (h - (h @ g) / (g @ g) * g)
    balance(gradients(PCGrad(), names=("a", "b")), network, opposed, ("a", "b"))
    np.testing.assert_allclose(trunk_gradient(network).numpy(), expected, rtol=1e-10, atol=1e-13)


def test_trap_7_loss1_and_half_of_loss2_give_the_second_head_half_and_the_trunk_their_sum() -> None:
    network = network_of(("a", "b"))
    balance(fixed((1.0, 0.5)), network, losses_of(network, rows()), ("a", "b"))
    again = losses_of(network, rows())
    first, second = (jacobian([again[n]], network.head_parameters(n))[0] for n in ("a", "b"))
    a, b = jacobian([again["a"], again["b"]], network.trunk_parameters())
    torch.testing.assert_close(head_gradient(network, "a"), first)
    torch.testing.assert_close(head_gradient(network, "b"), 0.5 * second)
    torch.testing.assert_close(trunk_gradient(network), a + 0.5 * b)


def test_trap_7_a_gradient_method_weights_the_trunk_alone_and_each_head_gets_its_own_weighted_loss() -> None:
    network = network_of()
    weights = (0.25, 0.5, 2.0)
    balance(gradients(Sum(), weights), network, losses_of(network, rows()))
    again = losses_of(network, rows())
    summed = jacobian([again[name] for name in NAMES], network.trunk_parameters()).sum(0)
    torch.testing.assert_close(trunk_gradient(network), summed)
    for weight, name in zip(weights, NAMES, strict=True):
        own = jacobian([again[name]], network.head_parameters(name))[0]
        torch.testing.assert_close(head_gradient(network, name), weight * own)


def test_trap_7_clipping_comes_after_aggregation_and_takes_the_trunk_apart_from_the_heads() -> None:
    network = network_of()
    balancer = gradients(PCGrad())
    balance(balancer, network, losses_of(network, rows(), scale=100.0))
    trunk, heads = trunk_gradient(network), torch.cat([head_gradient(network, name) for name in NAMES])
    norm = 0.5 * float(trunk.norm())
    assert float(heads.norm()) > 2.0 * norm
    balancer.clip(parameters_of(network), norm)
    clipped = torch.cat([head_gradient(network, name) for name in NAMES])
    torch.testing.assert_close(trunk_gradient(network), trunk * 0.5)
    torch.testing.assert_close(clipped, heads * norm / float(heads.norm()))


def test_trap_7_fixed_clips_trunk_and_heads_by_their_joint_norm() -> None:
    network, balancer = network_of(), fixed()
    balance(balancer, network, losses_of(network, rows()))
    whole = torch.cat([trunk_gradient(network), *(head_gradient(network, name) for name in NAMES)])
    balancer.clip(parameters_of(network), 2.0 * float(whole.norm()))
    untouched = torch.cat([trunk_gradient(network), *(head_gradient(network, name) for name in NAMES)])
    assert torch.equal(untouched, whole)
    balancer.clip(parameters_of(network), 0.1 * float(whole.norm()))
    clipped = torch.cat([trunk_gradient(network), *(head_gradient(network, name) for name in NAMES)])
    torch.testing.assert_close(clipped, 0.1 * whole, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("balancer", [fixed(), gradients(Sum())], ids=["fixed", "sum"])
def test_trap_8_frozen_and_unused_shared_parameters_are_passed_over(balancer: Balancer) -> None:
    network = network_of(hidden=(5, 6))
    network.register_parameter("unused", nn.Parameter(torch.ones(3, dtype=torch.float64)))
    frozen, trained = list(network.layers[0].parameters()), list(network.layers[1].parameters())
    network.layers[0].requires_grad_(False)
    balance(balancer, network, losses_of(network, rows()))
    balancer.clip(parameters_of(network), 1e9)
    assert all(parameter.grad is None for parameter in frozen)
    unused = network.get_parameter("unused").grad
    assert unused is None or not unused.any()
    expected = jacobian(list(losses_of(network, rows()).values()), trained).sum(0)
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in trained if p.grad is not None]), expected)


@pytest.mark.parametrize("frozen", [False, True])
def test_trap_8_without_a_shared_parameter_to_train_the_heads_learn_alone(frozen: bool) -> None:
    network = network_of() if frozen else network_of(hidden=())
    for parameter in network.trunk_parameters():
        parameter.requires_grad_(False)
    balance(gradients(PCGrad()), network, losses_of(network, rows()))
    again = losses_of(network, rows())
    for name in NAMES:
        own = jacobian([again[name]], network.head_parameters(name))[0]
        torch.testing.assert_close(head_gradient(network, name), own)


@pytest.mark.parametrize("method", ["fixed", *AGGREGATORS])
@pytest.mark.parametrize("size", [1, 5, 11])
def test_jacobians_of_micro_batches_sum_to_that_of_the_whole_batch(method: str, size: int) -> None:
    """Ragged last parts too: each loss is a sum over rows divided by the rows of the whole batch."""
    whole, parted, x = network_of(), network_of(), rows(12)
    balance(made(method), whole, losses_of(whole, x))
    balancer = made(method)
    for part in torch.split(x, size):
        losses = losses_of(parted, part, total=12)
        balancer.backward(Losses((0, 1, 2), tuple(losses.values())), parameters_of(parted))
    balancer.finish((0, 1, 2), parameters_of(parted), 0)
    torch.testing.assert_close(trunk_gradient(parted), trunk_gradient(whole), rtol=1e-9, atol=1e-12)
    for name in NAMES:
        torch.testing.assert_close(head_gradient(parted, name), head_gradient(whole, name), rtol=1e-9, atol=1e-12)
