"""The task relation matrix R applied by rows: what of it reaches trunk and heads."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchjd.aggregation import MGDA, Aggregator, ConFIG, Mean, PCGrad
from torchjd.autojac import backward as torchjd_backward

from app.contracts.resolving.multitask.relations import DIAGONAL_FLOOR
from tests.engine.balancing.small_network import (
    AGGREGATORS,
    NAMES,
    Recorded,
    balance,
    fixed,
    gradients,
    head_gradient,
    jacobian,
    losses_of,
    network_of,
    rows,
    trunk_gradient,
)
from workers.engine.balancing.relation.matrix import Relation
from workers.engine.common.seeds import seed_step

ASYMMETRIC = [[2.0, 1.0, 1.0], [0.0, 1.0, 1.0], [3.0, 0.0, 1.0]]
SHARES = np.array([[0.5, 0.25, 0.25], [0.0, 0.5, 0.5], [0.75, 0.0, 0.25]])
"""`ASYMMETRIC` with rows that sum to 1: every entry is a float32 as it stands."""


def test_under_fixed_rows_of_r_come_to_the_weights_r_transposed_w_on_trunk_and_heads() -> None:
    weights = (1.0, 0.5, 2.0)
    network = network_of()
    losses = losses_of(network, rows())
    balance(fixed(weights, ASYMMETRIC), network, losses)
    found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    effective = SHARES.T @ np.array(weights)
    again = losses_of(network, rows())
    torch.autograd.backward([float(w) * again[name] for w, name in zip(effective, NAMES, strict=True)])
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-12, atol=1e-14)


def test_the_aggregator_is_given_exactly_r_times_the_jacobian() -> None:
    network = network_of()
    aggregator = Recorded(ConFIG())
    balance(gradients(aggregator, matrix=ASYMMETRIC), network, losses_of(network, rows()))
    losses = losses_of(network, rows())
    expected = SHARES @ jacobian([losses[name] for name in NAMES], network.trunk_parameters()).numpy()
    assert aggregator.matrices[0].dtype == torch.float64
    np.testing.assert_allclose(aggregator.matrices[0].numpy(), expected, rtol=1e-12, atol=1e-14)


def test_the_gramian_that_a_weighting_is_given_is_that_of_r_times_the_jacobian() -> None:
    """As most aggregators read inner products alone, R·J is not formed for them."""
    network, aggregator = network_of(), MGDA()
    seen: list[Tensor] = []
    aggregator.gramian_weighting.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    balance(gradients(aggregator, matrix=ASYMMETRIC), network, losses_of(network, rows()))
    losses = losses_of(network, rows())
    expected = SHARES @ jacobian([losses[name] for name in NAMES], network.trunk_parameters()).numpy()
    scale = np.linalg.norm(expected, axis=1).mean()
    np.testing.assert_allclose(seen[0].numpy() * scale**2, expected @ expected.T, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_with_r_the_update_is_the_aggregator_s_of_r_times_the_jacobian(name: str) -> None:
    """Exactly torchjd's of `backward(losses, jac_tensors=[R[:, 0], R[:, 1], …])`."""
    network = network_of()
    balance(gradients(AGGREGATORS[name](), matrix=ASYMMETRIC), network, losses_of(network, rows()))
    losses, parameters = losses_of(network, rows()), network.trunk_parameters()
    columns = list(torch.from_numpy(SHARES).T)
    torchjd_backward([losses[task] for task in NAMES], jac_tensors=columns, inputs=parameters, parallel_chunk_size=1)
    matrix = torch.cat([vars(parameter).pop("jac").flatten(1) for parameter in parameters], dim=1)
    seed_step(0, "balancer", 0)
    scale = matrix.norm(dim=1).mean()
    expected = AGGREGATORS[name]()(matrix / scale) * scale
    torch.testing.assert_close(trunk_gradient(network), expected, rtol=1e-6, atol=1e-9)


def test_without_r_the_aggregator_is_given_the_jacobian_itself() -> None:
    network = network_of()
    aggregator = Recorded(ConFIG())
    balance(gradients(aggregator), network, losses_of(network, rows()))
    losses = losses_of(network, rows())
    expected = jacobian([losses[name] for name in NAMES], network.trunk_parameters())
    torch.testing.assert_close(aggregator.matrices[0], expected, rtol=1e-12, atol=1e-14)


def test_row_i_weights_what_helps_task_i_and_not_what_task_i_helps() -> None:
    """R_ij says how much j teaches i; read the other way round, task a would hear only itself here."""
    network = network_of()
    aggregator = Recorded(ConFIG())
    balance(gradients(aggregator, matrix=[[1, 1, 0], [0, 1, 0], [0, 0, 1]]), network, losses_of(network, rows()))
    losses = losses_of(network, rows())
    a, b, _ = jacobian([losses[name] for name in NAMES], network.trunk_parameters())
    first, second, _ = aggregator.matrices[0]
    torch.testing.assert_close(first / first.norm(), (a + b) / (a + b).norm())
    torch.testing.assert_close(second / second.norm(), b / b.norm())


def test_r_reaches_the_trunk_alone_under_a_gradient_method_and_each_head_has_its_own_loss() -> None:
    network = network_of()
    balance(gradients(PCGrad(), matrix=ASYMMETRIC), network, losses_of(network, rows()))
    losses = losses_of(network, rows())
    for name in NAMES:
        own = jacobian([losses[name]], network.head_parameters(name))[0]
        torch.testing.assert_close(head_gradient(network, name), own, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("present", [(0, 1, 2), (0, 1), (0, 2), (1, 2), (2,)])
def test_rows_are_normalised_over_the_tasks_that_are_present(present: tuple[int, ...]) -> None:
    matrix = np.array([[2.0, 1.0, 5.0], [1.0, 1.0, 2.0], [3.0, 4.0, 1.0]])
    part = matrix[np.ix_(present, present)]
    found = Relation(tuple(map(tuple, matrix.tolist()))).over(present)
    np.testing.assert_allclose(found.numpy(), part / part.sum(1, keepdims=True), rtol=1e-6)


def test_a_task_whose_helpers_are_all_absent_hears_only_itself() -> None:
    relation = Relation(((0.0, 1.0, 0.0), (0.0, 1.0, 0.0), (1.0, 1.0, 2.0)))
    found = relation.over((0, 2))
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0], [1.0 / 3.0, 2.0 / 3.0]]))


def test_the_floor_of_the_diagonal_holds_in_a_batch_without_some_of_the_tasks_too() -> None:
    relation = Relation(((0.0, 2.0, 6.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)))
    row = relation.over((0, 1))[0]
    torch.testing.assert_close(row, torch.tensor([DIAGONAL_FLOOR, 1.0 - DIAGONAL_FLOOR]))


def test_an_absent_task_leaves_r_over_the_present_ones_on_the_jacobian() -> None:
    network = network_of()
    aggregator = Recorded(ConFIG())
    losses = losses_of(network, rows())
    balance(gradients(aggregator, matrix=ASYMMETRIC), network, {name: losses[name] for name in ("a", "c")})
    again = losses_of(network, rows())
    part = jacobian([again["a"], again["c"]], network.trunk_parameters())
    expected = torch.tensor([[2 / 3, 1 / 3], [0.75, 0.25]], dtype=torch.float64) @ part
    torch.testing.assert_close(aggregator.matrices[0], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["mean", *AGGREGATORS])
def test_r_of_all_ones_gives_the_direction_of_the_mean_under_every_aggregator(name: str) -> None:
    aggregator: Aggregator = Mean() if name == "mean" else AGGREGATORS[name]()
    network = network_of()
    balance(gradients(aggregator, matrix=[[1.0] * 3] * 3), network, losses_of(network, rows()))
    losses = losses_of(network, rows())
    mean = jacobian([losses[each] for each in NAMES], network.trunk_parameters()).mean(0)
    update = trunk_gradient(network)
    assert float(update.norm()) > 0.0
    assert float(torch.cosine_similarity(update, mean, dim=0)) == pytest.approx(1.0, abs=1e-6)
