"""Every balancer against its formula: torchjd's scalarisers where it has them, written out where it has not."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchjd.aggregation import Aggregator, AlignedMTL, ConFIG
from torchjd.scalarization import DWA, FAMO, IMTLL, STCH, UW, GeometricMean, Scalarizer

from tests.engine.balancing.small_network import (
    GRADIENT_METHODS,
    METHODS,
    NAMES,
    balance,
    balancer_of,
    jacobian,
    losses_of,
    network_of,
    rows,
    trunk_gradient,
)
from workers.engine.balancing.learned import Famo, ImtlL, Uncertainty
from workers.engine.balancing.scalarizations import Random
from workers.engine.balancing.slots import Places, adam_slots, adam_step

ASYMMETRIC = [[2.0, 1.0, 1.0], [0.0, 1.0, 1.0], [3.0, 0.0, 1.0]]
SHARES = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.5, 0.5], [0.75, 0.0, 0.25]], dtype=torch.float64)
ALL = Places(None).of((0, 1, 2), torch.device("cpu"))
WEIGHTS = (0.25, 0.5, 2.0)


class RelativeStch(Scalarizer):
    """STCH of losses in units of the mean weighted loss."""

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.weights = torch.tensor(weights, dtype=torch.float64)
        self.stch = STCH(0.1, self.weights)

    def forward(self, values: Tensor, /) -> Tensor:
        unit = (self.weights * values).mean().detach()
        scalar: Tensor = unit * self.stch(values / unit)
        return scalar


SCALARIZERS: dict[str, Callable[[], Scalarizer]] = {
    "uncertainty": lambda: UW(3).double(),
    "dwa": DWA,
    "geometric_mean": GeometricMean,
    "stch": lambda: RelativeStch((1.0, 1.0, 1.0)),
    "imtl_l": lambda: IMTLL(3).double(),
    "famo": lambda: FAMO(3).double(),
}


def drops(step: int) -> Tensor:
    """By which share each loss is left after a step."""
    return torch.tensor([[0.9, 0.5, 0.99], [0.8, 1.1, 0.7], [0.95, 0.9, 0.2]], dtype=torch.float64)[step % 3]


def by_torchjd(scalarizer: Scalarizer, objectives: Tensor, step: int, learned: torch.optim.Optimizer | None) -> None:
    """A step as torchjd's documentation has it."""
    if learned is not None:
        learned.zero_grad()
    torch.autograd.backward(scalarizer(objectives), retain_graph=True)
    if learned is not None:
        learned.step()
    if isinstance(scalarizer, FAMO):
        scalarizer.update(objectives.detach() * drops(step))
    if isinstance(scalarizer, DWA):
        scalarizer.step()


@pytest.mark.parametrize("matrix", [None, ASYMMETRIC])
@pytest.mark.parametrize("method", SCALARIZERS)
def test_a_loss_method_takes_the_steps_of_torchjd_s_scalarizer(method: str, matrix: list[list[float]] | None) -> None:
    """Also under R by rows: the scalariser is given R·L."""
    scalarizer, balancer = SCALARIZERS[method](), balancer_of(method, matrix=matrix)
    own = list(scalarizer.parameters()) if method in ("uncertainty", "imtl_l") else []
    learned = torch.optim.Adam(own, lr=0.025) if own else None
    relation = SHARES if matrix is not None else torch.eye(3, dtype=torch.float64)
    for step in range(6):
        ours, theirs = network_of(), network_of()
        losses = losses_of(ours, rows(seed=step))
        before = torch.stack(list(losses.values())).detach()
        balance(balancer, ours, losses, step=step)
        balancer.after_step(lambda before=before, step=step: before * drops(step))  # type: ignore[misc]
        balancer.end_epoch()
        objectives = relation @ torch.stack(list(losses_of(theirs, rows(seed=step)).values()))
        if method == "famo" and matrix is not None:
            torch.autograd.backward(scalarizer(objectives), retain_graph=True)
            assert isinstance(scalarizer, FAMO)
            scalarizer.update(relation @ (before * drops(step)))
        else:
            by_torchjd(scalarizer, objectives, step, learned)
        for name, parameter in ours.named_parameters():
            torch.testing.assert_close(parameter.grad, theirs.get_parameter(name).grad, rtol=1e-4, atol=1e-6)


def test_stch_takes_the_tasks_weights_as_its_preference() -> None:
    ours, theirs = network_of(), network_of()
    balance(balancer_of("stch", WEIGHTS), ours, losses_of(ours, rows()))
    torch.autograd.backward(RelativeStch(WEIGHTS)(torch.stack(list(losses_of(theirs, rows()).values()))))
    torch.testing.assert_close(trunk_gradient(ours), trunk_gradient(theirs), rtol=1e-6, atol=1e-9)


def test_random_weights_are_positive_sum_to_the_number_of_tasks_and_are_a_function_of_seed_and_step() -> None:
    def drawn(seed: int, step: int) -> Tensor:
        return Random(seed).weights(torch.ones(3), ALL, step)

    assert torch.equal(drawn(0, 1), drawn(0, 1))
    assert not torch.equal(drawn(0, 1), drawn(0, 2))
    assert not torch.equal(drawn(0, 1), drawn(1, 1))
    assert float(drawn(0, 1).sum()) == pytest.approx(3.0)
    assert float(drawn(0, 1).min()) > 0.0
    mean = torch.stack([drawn(0, step) for step in range(400)]).mean(0)
    torch.testing.assert_close(mean, torch.ones(3), rtol=0.15, atol=0.0)


def test_random_weights_do_not_depend_on_which_steps_and_tasks_came_before() -> None:
    pair, method = Places(None).of((0, 2), torch.device("cpu")), Random(0)
    for step in (62, 63, 64, 65, 63):
        for place in (ALL, pair):
            objectives = torch.ones(len(place.tasks))
            assert torch.equal(method.weights(objectives, place, step), Random(0).weights(objectives, place, step))


def test_the_numbers_of_a_balancer_learn_as_torch_s_adam_would_teach_them() -> None:
    parameter = torch.nn.Parameter(torch.zeros(3))
    slots, optimizer = adam_slots(torch.zeros(3)), torch.optim.Adam([parameter], lr=0.1, weight_decay=0.01)
    for step in range(20):
        gradient = torch.randn(3, generator=torch.Generator().manual_seed(step))
        parameter.grad = gradient
        optimizer.step()
        adam_step(slots, ALL, gradient, 0.1, 0.01)
    torch.testing.assert_close(slots.whole("value"), parameter.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", [Uncertainty, ImtlL])
def test_learned_scales_settle_where_every_loss_weighs_the_same(method: type[Uncertainty] | type[ImtlL]) -> None:
    """At the optimum of s the weighted loss is ½ (uncertainty) or 1 (imtl_l), whatever the loss."""
    learned, losses = method(3, 0.05), torch.tensor([0.1, 1.0, 20.0])
    for _ in range(2000):
        learned.learn(losses, ALL)
    weighted = learned.weights(losses, ALL, 0) * losses
    torch.testing.assert_close(weighted, torch.full((3,), 0.5 if method is Uncertainty else 1.0), rtol=1e-2, atol=0.0)


def test_famo_gives_the_loss_that_falls_least_the_largest_share() -> None:
    famo, before = Famo(3, 0.025, 1e-3), torch.tensor([1.0, 2.0, 3.0])
    for _ in range(50):
        famo.learn_after(before, before * torch.tensor([0.5, 0.9, 1.0]), ALL)
    shares = famo.weights(before, ALL, 0) * before
    assert shares.argsort().tolist() == [0, 1, 2]


@pytest.mark.parametrize("method", [*SCALARIZERS, "gradnorm", "db_mtl"])
@pytest.mark.parametrize("least", [-1e-9, 0.0])
def test_losses_that_are_0_or_that_rounding_makes_negative_give_finite_updates(method: str, least: float) -> None:
    network, balancer = network_of(), balancer_of(method)
    for step in range(3):
        network.zero_grad()
        losses = losses_of(network, rows(seed=step))
        balance(balancer, network, {name: loss - loss.detach() + least for name, loss in losses.items()}, step=step)
        balancer.after_step(lambda: torch.full((3,), least, dtype=torch.float64))
        balancer.end_epoch()
        assert bool(trunk_gradient(network).isfinite().all())


@pytest.mark.parametrize(
    ("method", "aggregator"),
    [
        ("aligned_mtl", AlignedMTL(torch.tensor(WEIGHTS, dtype=torch.float64) / 2.75)),
        ("config", ConFIG(torch.tensor(WEIGHTS, dtype=torch.float64))),
    ],
)
def test_the_tasks_weights_are_the_preference_vector_of_those_that_have_one(
    method: str, aggregator: Aggregator
) -> None:
    network = network_of()
    balance(balancer_of(method, WEIGHTS), network, losses_of(network, rows()))
    matrix = jacobian(list(losses_of(network, rows()).values()), network.trunk_parameters())
    torch.testing.assert_close(trunk_gradient(network), aggregator(matrix), rtol=1e-6, atol=1e-9)
    even = network_of()
    balance(balancer_of(method), even, losses_of(even, rows()))
    assert not torch.allclose(trunk_gradient(even), trunk_gradient(network), rtol=1e-2)


def test_gradnorm_written_out() -> None:
    """Chen 2018, algorithm 1, with norms in units of their mean and sgd's place taken by Adam."""
    alpha, rate = 1.5, 0.025
    balancer, w, m, v = balancer_of("gradnorm"), np.ones(3), np.zeros(3), np.zeros(3)
    first: np.ndarray[tuple[int], np.dtype[np.float64]] | None = None
    for step in range(5):
        network = network_of()
        losses = losses_of(network, rows(seed=step))
        matrix = jacobian(list(losses.values()), network.trunk_parameters()).numpy()
        values = torch.stack(list(losses.values())).detach().numpy()
        balance(balancer, network, losses, step=step)
        np.testing.assert_allclose(trunk_gradient(network).numpy(), w @ matrix, rtol=1e-4, atol=1e-6)
        first = values if first is None else first
        norms = np.linalg.norm(matrix, axis=1)
        norms = norms / norms.mean()
        speed = values / first
        target = (w * norms).mean() * (speed / speed.mean()) ** alpha
        g = np.sign(w * norms - target) * norms
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - rate * (m / (1 - 0.9 ** (step + 1))) / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)
        w = w * 3.0 / w.sum()
    assert np.ptp(w) > 0.05


def test_gradnorm_s_weights_keep_their_sum_whoever_is_there() -> None:
    network, balancer = network_of(), balancer_of("gradnorm", learning_rate=1.0)
    for step in range(30):
        network.zero_grad()
        losses = losses_of(network, rows(seed=step))
        present = NAMES if step % 2 else ("a", "c")
        balance(balancer, network, {name: losses[name] for name in present}, step=step)
        value = balancer.state()["0/value"]
        assert float(value.sum()) == pytest.approx(3.0, rel=1e-4)
        assert float(value.min()) > 0.0


def test_db_mtl_written_out() -> None:
    """Lin 2023: gradients of log L, their moving average, each as long as the longest."""
    beta = 0.9
    balancer, average = balancer_of("db_mtl"), None
    for step in range(4):
        network = network_of()
        losses = losses_of(network, rows(seed=step))
        matrix = jacobian([loss.log() for loss in losses.values()], network.trunk_parameters()).numpy()
        average = matrix if average is None else beta * average + (1 - beta) * matrix
        norms = np.linalg.norm(average, axis=1)
        balance(balancer, network, losses, step=step)
        np.testing.assert_allclose(trunk_gradient(network).numpy(), (norms.max() / norms) @ average, rtol=1e-6)


def test_gradvac_remembers_a_pair_of_tasks_by_their_names_and_not_by_their_rows() -> None:
    """After a batch without the second task, the average of the first and third is theirs still."""
    network, balancer = network_of(), balancer_of("gradvac")
    balance(balancer, network, losses_of(network, rows()))
    before = balancer.state()["0/cosines"].clone()
    losses = losses_of(network, rows())
    balance(balancer, network, {name: losses[name] for name in ("a", "c")}, step=1)
    after = balancer.state()["0/cosines"]
    assert before[0, 2] != 0.0
    assert after[0, 2] != before[0, 2]
    assert abs(float(after[0, 2])) > abs(float(before[0, 2]))  # half way, from 0, to the same cosine


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_losses_that_are_not_finite_raise_nothing_in_a_solver_and_are_left_to_the_loop(
    method: str, value: float
) -> None:
    """Which names the term that diverged."""
    network, balancer = network_of(), balancer_of(method)
    losses = losses_of(network, rows())
    balance(balancer, network, {**losses, "b": value * losses["b"]})
    assert not bool(trunk_gradient(network).isfinite().all())


class NoReading(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises where a tensor is read by the host: on a GPU that waits for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "_local_scalar_dense" not in str(func)
        return func(*args, **(kwargs or {}))


WAITING = ("pcgrad", "gradvac", "mgda", "cagrad", "imtl_g", "aligned_mtl", "fairgrad", "upgrad", "dualproj", "nash_mtl")
"""Whose solvers in torchjd run on the host, or decide there."""


@pytest.mark.parametrize("method", [method for method in METHODS if method not in WAITING])
def test_a_step_waits_for_no_device(method: str) -> None:
    with NoReading(), pytest.raises(AssertionError):  # type: ignore[no-untyped-call]
        float(torch.ones(2).sum())
    network, balancer = network_of(), balancer_of(method, matrix=ASYMMETRIC)
    for step in range(3):
        network.zero_grad()
        losses = losses_of(network, rows(seed=step))
        with NoReading():  # type: ignore[no-untyped-call]
            balance(balancer, network, losses, step=step)
            balancer.after_step(lambda: drops(0))
            balancer.end_epoch()
            assert balancer.last_weights is not None or method in ("graddrop", "config", "db_mtl")


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_the_gramian_of_the_last_step_is_that_of_the_tasks_own_gradients(method: str) -> None:
    """Without R, over the whole batch; NaN where a task is absent."""
    network, balancer = network_of(), balancer_of(method, matrix=ASYMMETRIC)
    losses = losses_of(network, rows())
    balance(balancer, network, {name: losses[name] for name in ("a", "c")})
    found, again = balancer.last_gramian, losses_of(network, rows())
    assert found is not None
    matrix = jacobian([again["a"], again["c"]], network.trunk_parameters())
    torch.testing.assert_close(found[[0, 2]][:, [0, 2]], matrix @ matrix.T)
    assert bool(found[1].isnan().all())
    assert bool(found[:, 1].isnan().all())


@pytest.mark.parametrize("method", METHODS)
def test_the_weights_of_the_last_step_are_those_that_it_used(method: str) -> None:
    network, balancer = network_of(), balancer_of(method, matrix=ASYMMETRIC)
    losses = losses_of(network, rows())
    balance(balancer, network, {name: losses[name] for name in ("a", "c")})
    weights = balancer.last_weights
    if weights is None:
        assert method in ("graddrop", "config", "db_mtl")
        return
    assert weights.shape == (3,)
    assert bool(weights[1].isnan())
    again = losses_of(network, rows())
    matrix = jacobian([again["a"], again["c"]], network.trunk_parameters())
    torch.testing.assert_close(weights[[0, 2]].double() @ matrix, trunk_gradient(network), rtol=1e-5, atol=1e-8)
    assert (balancer.last_gramian is None) == (method not in GRADIENT_METHODS)
