"""Traps of multi-task training on trunk and heads in float64."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchjd.aggregation import MGDA, PCGrad, Sum

from tests.engine.balancing.small_network import (
    AGGREGATORS,
    GRADIENT_METHODS,
    METHODS,
    NAMES,
    Recorded,
    balance,
    balancer_of,
    fixed,
    gradients,
    head_gradient,
    jacobian,
    losses_of,
    network_of,
    parameters_of,
    rows,
    trunk_gradient,
)
from tests.engine.plain_training import plain_settings
from workers.engine.balancing import Balancer, Losses
from workers.engine.balancing.aggregators import scaled_aggregate
from workers.engine.balancing.rows import Rows
from workers.engine.balancing.slots import Places
from workers.engine.models import Network
from workers.engine.training.learner import Learner

LENGTHS = {
    "fixed": 3.0,
    "uncertainty": 1.5,
    "dwa": 3.0,
    "random": 3.0,
    "geometric_mean": 1.0,
    "stch": 1.0,
    "imtl_l": 3.0,
    "famo": 1.0,
    "pcgrad": 3.0,
    "gradvac": 3.0,
    "graddrop": 3.0,
    "mgda": 1.0,
    "cagrad": 1.5,
    "imtl_g": 1.0,
    "aligned_mtl": 1.0,
    "fairgrad": math.sqrt(3.0),
    "config": 3.0,
    "gradnorm": 3.0,
    "db_mtl": 3.0,
    "upgrad": 1.0,
    "dualproj": 1.0,
    "nash_mtl": 1.0,
}
"""As the contract documents them."""
STATEFUL = ("uncertainty", "dwa", "imtl_l", "gradvac", "gradnorm", "db_mtl", "nash_mtl")
"""Those that remember something of a task after one step; famo does once it has looked again."""


def same(one: Tensor, other: Tensor) -> bool:
    """Bit for bit; what is not known yet is NaN."""
    return torch.equal(one.nan_to_num(-1.0), other.nan_to_num(-1.0))


def again_of(network: Network, step: int, scale: float) -> Callable[[], Tensor]:
    """The losses after a step in which each fell by another share."""
    fell = torch.tensor([0.9, 0.5, 0.99], dtype=torch.float64)
    return lambda: fell * torch.stack(list(losses_of(network, rows(seed=step), scale=scale).values())).detach()


def three_rows(scale: float = 1.0) -> Tensor:
    """A Jacobian [3, 7] whose rows conflict here and there."""
    return scale * torch.randn(3, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def aggregated(name: str, matrix: Tensor) -> Tensor:
    torch.manual_seed(0)
    place = Places(None).of(range(len(matrix)), matrix.device)
    return scaled_aggregate(AGGREGATORS[name](), Rows(matrix, matrix @ matrix.T, torch.ones(len(matrix)), place))[0]


@pytest.mark.parametrize("method", METHODS)
def test_trap_1_a_batch_without_a_task_updates_the_others_as_a_job_without_that_task_does(method: str) -> None:
    pair = ("a", "c")
    network, smaller = network_of(), network_of(pair)
    losses = losses_of(network, rows())
    balance(balancer_of(method), network, {name: losses[name] for name in pair})
    balance(balancer_of(method, (1.0, 1.0)), smaller, losses_of(smaller, rows()), pair)
    found, expected = trunk_gradient(network), trunk_gradient(smaller)
    assert float(expected.norm()) > 0.0
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    for name in pair:
        torch.testing.assert_close(head_gradient(network, name), head_gradient(smaller, name), rtol=1e-12, atol=1e-14)
    assert all(parameter.grad is None for parameter in network.head_parameters("b"))


def test_trap_1_the_aggregator_is_given_no_zero_row_for_an_absent_task() -> None:
    """A zero row is what makes MGDA update nothing."""
    network, aggregator = network_of(), Recorded(MGDA())
    losses = losses_of(network, rows())
    balance(gradients(aggregator), network, {name: losses[name] for name in ("a", "c")})
    assert aggregator.matrices[0].shape[0] == 2
    assert float(aggregator.matrices[0].norm(dim=1).min()) > 0.0


@pytest.mark.parametrize("method", METHODS)
def test_trap_1_a_batch_without_any_task_leaves_no_gradient_and_moves_no_state(method: str) -> None:
    network, balancer = network_of(), balancer_of(method)
    balance(balancer, network, losses_of(network, rows()))
    before = {name: value.clone() for name, value in balancer.state().items()}
    network.zero_grad()
    balance(balancer, network, {}, step=1)
    balancer.clip(parameters_of(network), 1.0)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(same(value, before[name]) for name, value in balancer.state().items())
    assert balancer.last_weights is None


@pytest.mark.parametrize("method", METHODS)
def test_trap_1_an_absent_task_keeps_its_state_while_that_of_the_others_moves(method: str) -> None:
    network, balancer = network_of(), balancer_of(method)
    balance(balancer, network, losses_of(network, rows()))
    before = {name: value.clone() for name, value in balancer.state().items()}
    for step in (1, 2):
        losses = losses_of(network, rows(seed=step), scale=1.0 + step)
        balance(balancer, network, {name: losses[name] for name in ("a", "c")}, step=step)
    after = balancer.state()
    assert after.keys() == before.keys()
    by_task = {name: value for name, value in after.items() if value.shape[:1] == (3,) and "solved" not in name}
    for name, value in by_task.items():
        assert same(value[1], before[name][1]), name
        assert value.shape[1:] != (3,) or same(value[:, 1], before[name][:, 1]), name
    assert method not in STATEFUL or any(not same(value, before[name]) for name, value in by_task.items())


@pytest.mark.parametrize("method", METHODS)
def test_trap_1_a_balancer_takes_any_number_of_tasks_from_one_step_to_the_next(method: str) -> None:
    network, balancer = network_of(), balancer_of(method)
    for step, names in enumerate([NAMES, ("b",), ("a", "c"), (), NAMES, ("a", "b"), ("c",)]):
        network.zero_grad()
        losses = losses_of(network, rows(seed=step))
        balance(balancer, network, {name: losses[name] for name in names}, step=step)
        balancer.end_epoch()
        for name in NAMES:
            given = [p.grad is not None for p in network.head_parameters(name)]
            assert all(given) if name in names else not any(given)
        moved = trunk_gradient(network)
        assert bool(moved.isfinite().all())
        assert bool(moved.any()) == bool(names)


@pytest.mark.parametrize("method", METHODS)
def test_trap_2_a_balancer_refuses_the_state_of_another_when_a_job_is_resumed(method: str) -> None:
    balancer = balancer_of(method, (1.0,))
    learner = Learner("student", network_of(("a",)), [], balancer, plain_settings(), 1, torch.device("cpu"))
    tensors, state = learner.save()
    learner.load(tensors, state)
    with pytest.raises(ValueError, match="betas"):
        learner.load({**tensors, "student/balancer/betas": torch.ones(3)}, state)


@pytest.mark.parametrize("method", METHODS)
def test_trap_4_losses_a_million_times_smaller_give_the_same_update_a_million_times_smaller(method: str) -> None:
    """The default epsilon of norms in torchjd, 1e-4, makes some aggregators return zero at gradients of 1e-3."""
    found = []
    for scale in (1.0, 1e-6):
        network = network_of()
        balance(balancer_of(method), network, losses_of(network, rows(), scale=scale))
        found.append(trunk_gradient(network))
    large, small = found
    assert float(large.norm()) > 1e-3
    times = 1.0 if method == "db_mtl" else 1e6  # logarithms take the scale out, as the paper wants
    torch.testing.assert_close(small * times, large, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [65536.0, 1.0 / 65536.0])
def test_trap_3_losses_scaled_as_mixed_precision_scales_them_change_no_update_s_direction(
    method: str, scale: float
) -> None:
    """Over several steps, in which balancers with state learn from what they saw."""
    found = []
    for factor in (1.0, scale):
        network, balancer, updates = network_of(), balancer_of(method), []
        for step in range(4):
            network.zero_grad()
            balance(balancer, network, losses_of(network, rows(seed=step), scale=factor), step=step)
            balancer.after_step(again_of(network, step, factor))
            updates.append(trunk_gradient(network))
            if method in ("uncertainty", "imtl_l"):
                break  # what they learn is the losses' scale itself
        found.append(torch.stack(updates))
    cosines = torch.cosine_similarity(found[0], found[1], dim=1)
    torch.testing.assert_close(cosines, torch.ones_like(cosines), rtol=1e-9, atol=1e-9)
    length = (found[1].norm(dim=1) / found[0].norm(dim=1)).tolist()
    assert length == pytest.approx([1.0 if method == "db_mtl" else scale] * len(length), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_trap_4_gradients_of_one_in_ten_thousand_still_move_in_float32(method: str) -> None:
    network = network_of().float()
    losses = losses_of(network, rows().float())
    size = float(jacobian(list(losses.values()), network.trunk_parameters()).norm(dim=1).mean())
    balance(balancer_of(method), network, {name: loss * (1e-4 / size) for name, loss in losses.items()})
    assert float(trunk_gradient(network).norm()) > 1e-6


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("scale", [1e-8, 1e-3, 65536.0, 1e8])
def test_trap_5_aggregation_is_equivariant_to_the_scale_of_all_losses(name: str, scale: float) -> None:
    torch.testing.assert_close(aggregated(name, three_rows(scale)) / scale, aggregated(name, three_rows()))


@pytest.mark.parametrize("method", METHODS)
def test_trap_5_the_length_of_the_update_of_three_equal_gradients_is_the_documented_one(method: str) -> None:
    """Three equal losses of 1 with gradients of one length, whatever it is."""
    network = network_of()
    one = losses_of(network, rows())["a"]
    alone = jacobian([one], network.trunk_parameters())[0]
    balance(balancer_of(method), network, {name: one - one.detach() + 1.0 for name in NAMES})
    rel = 1e-3 if method == "nash_mtl" else 1e-5  # an interior point solver
    torch.testing.assert_close(trunk_gradient(network), LENGTHS[method] * alone, rtol=rel, atol=1e-9)


def test_trap_5_every_length_is_under_test() -> None:
    assert set(LENGTHS) >= set(METHODS)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_trap_5_a_jacobian_of_zeros_gives_zeros_and_not_nan(name: str) -> None:
    assert torch.equal(aggregated(name, torch.zeros(3, 7)), torch.zeros(7))


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_trap_5_a_step_whose_gradients_are_all_zero_moves_nothing_and_spoils_no_state(method: str) -> None:
    network, balancer = network_of(), balancer_of(method)
    balance(balancer, network, {name: 0.0 * loss + 1.0 for name, loss in losses_of(network, rows()).items()})
    assert not bool(trunk_gradient(network).any())
    network.zero_grad()
    balance(balancer, network, losses_of(network, rows()), step=1)
    update = trunk_gradient(network)
    assert bool(update.isfinite().all())
    assert float(update.norm()) > 0.0


@pytest.mark.parametrize("method", METHODS)
def test_a_task_that_is_there_and_has_nothing_to_learn_breaks_no_solver(method: str) -> None:
    """Its row is zero: mgda then moves nothing, as no direction is better for all."""
    network, balancer = network_of(), balancer_of(method)
    for step in range(2):
        network.zero_grad()
        losses = losses_of(network, rows(seed=step))
        balance(balancer, network, losses | {"b": 0.0 * losses["b"]}, step=step)
        balancer.after_step(again_of(network, step, 1.0))
        assert bool(trunk_gradient(network).isfinite().all())


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


@pytest.mark.parametrize("method", METHODS)
def test_trap_7_heads_get_their_own_loss_under_gradient_methods_and_the_weighted_one_under_loss_methods(
    method: str,
) -> None:
    network, balancer = network_of(), balancer_of(method)
    balance(balancer, network, losses_of(network, rows()))
    weights = torch.ones(3) if method in GRADIENT_METHODS else balancer.last_weights
    assert weights is not None
    losses = losses_of(network, rows())
    for weight, name in zip(weights.tolist(), NAMES, strict=True):
        own = jacobian([losses[name]], network.head_parameters(name))[0]
        torch.testing.assert_close(head_gradient(network, name), weight * own, rtol=1e-6, atol=1e-9)
    if method not in GRADIENT_METHODS:
        trunk = jacobian(list(losses_of(network, rows()).values()), network.trunk_parameters())
        torch.testing.assert_close(trunk_gradient(network), weights.double() @ trunk, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_trap_7_every_gradient_method_clips_the_trunk_apart_and_every_loss_method_all_together(method: str) -> None:
    network, balancer = network_of(), balancer_of(method)
    balance(balancer, network, losses_of(network, rows(), scale=100.0))
    trunk, heads = trunk_gradient(network), torch.cat([head_gradient(network, name) for name in NAMES])
    balancer.clip(parameters_of(network), 1e-3)
    clipped = torch.cat([head_gradient(network, name) for name in NAMES])
    whole = torch.cat([trunk, heads])
    apart = method in GRADIENT_METHODS
    torch.testing.assert_close(
        trunk_gradient(network), trunk * 1e-3 / (trunk if apart else whole).norm(), rtol=1e-3, atol=0
    )
    torch.testing.assert_close(clipped, heads * 1e-3 / (heads if apart else whole).norm(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("method", [method for method in METHODS if method != "graddrop"])
def test_trap_8_a_frozen_and_an_unused_shared_parameter_change_nothing_for_the_others(method: str) -> None:
    """Graddrop draws a sign for each number: one parameter more and others are drawn."""
    found = []
    for more in (False, True):
        network = network_of(hidden=(5, 6))
        network.get_submodule("layers.0").requires_grad_(False)
        if more:
            network.register_parameter("unused", nn.Parameter(torch.ones(3, dtype=torch.float64)))
        balancer = balancer_of(method)
        balance(balancer, network, losses_of(network, rows()))
        balancer.clip(parameters_of(network), 1e9)
        assert all(parameter.grad is None for parameter in network.get_submodule("layers.0").parameters())
        assert not more or network.get_parameter("unused").grad is None or method not in GRADIENT_METHODS
        trained = network.get_submodule("layers.1").parameters()
        found.append(torch.cat([p.grad.flatten() for p in trained if p.grad is not None]))
    assert float(found[0].norm()) > 0.0
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("balancer", [fixed(), gradients(Sum())], ids=["fixed", "sum"])
def test_trap_8_frozen_and_unused_shared_parameters_are_passed_over(balancer: Balancer) -> None:
    network = network_of(hidden=(5, 6))
    network.register_parameter("unused", nn.Parameter(torch.ones(3, dtype=torch.float64)))
    frozen, trained = (list(network.get_submodule(f"layers.{i}").parameters()) for i in range(2))
    network.get_submodule("layers.0").requires_grad_(False)
    balance(balancer, network, losses_of(network, rows()))
    balancer.clip(parameters_of(network), 1e9)
    assert all(parameter.grad is None for parameter in frozen)
    unused = network.get_parameter("unused").grad
    assert unused is None or not unused.any()
    expected = jacobian(list(losses_of(network, rows()).values()), trained).sum(0)
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in trained if p.grad is not None]), expected)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
@pytest.mark.parametrize("frozen", [False, True])
def test_trap_8_without_a_shared_parameter_to_train_the_heads_learn_alone(frozen: bool, method: str) -> None:
    network = network_of() if frozen else network_of(hidden=())
    for parameter in network.trunk_parameters():
        parameter.requires_grad_(False)
    balance(balancer_of(method), network, losses_of(network, rows()))
    again = losses_of(network, rows())
    for name in NAMES:
        own = jacobian([again[name]], network.head_parameters(name))[0]
        torch.testing.assert_close(head_gradient(network, name), own)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 5, 11])
def test_micro_batches_sum_to_the_whole_batch(method: str, size: int) -> None:
    """Ragged last parts too: each loss is a sum over rows divided by the rows of the whole batch. Methods that are not
    linear get the losses of the whole batch, as the two passes of a learner do.
    """
    whole, parted, x = network_of(), network_of(), rows(12)
    first, second = balancer_of(method), balancer_of(method)
    balance(first, whole, losses_of(whole, x))
    batch_losses = torch.stack(list(losses_of(parted, x).values())).detach() if second.needs_whole_batch else None
    second.begin_step(0)
    for part in torch.split(x, size):
        losses = losses_of(parted, part, total=12)
        second.backward(Losses.of((0, 1, 2), list(losses.values()), batch_losses), parameters_of(parted))
    second.finish((0, 1, 2), parameters_of(parted), 0)
    torch.testing.assert_close(trunk_gradient(parted), trunk_gradient(whole), rtol=1e-6, atol=1e-9)
    for name in NAMES:
        torch.testing.assert_close(head_gradient(parted, name), head_gradient(whole, name), rtol=1e-6, atol=1e-9)
    for name, value in second.state().items():
        torch.testing.assert_close(value, first.state()[name], rtol=1e-5, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_a_gradient_whose_square_underflows_leaves_finite_updates(method: str) -> None:
    """A task that is learned has next to no gradient: its square is 0 in float32, its products with others are not."""
    network = network_of().float()
    losses = losses_of(network, rows().float())
    losses["c"] = losses["c"] * 1e-24
    balancer = balancer_of(method, (1.0, 1.0, 1.0))
    balancer.begin_step(0)
    balance(balancer, network, losses)
    assert bool(trunk_gradient(network).isfinite().all())
