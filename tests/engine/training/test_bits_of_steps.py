"""What makes a step cheap changes no bit: kernels called directly, sums that are never made, losses that are kept."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.contracts.problems import UserError
from app.contracts.wire.events import MetricPoint
from tests.engine.losses.small_terms import CPU, kd_term, places, scores
from tests.engine.plain_training import plain_settings
from workers.engine.balancing import Losses, Parameters, TermSum
from workers.engine.balancing.fixed import Fixed
from workers.engine.losses.soft_target_losses import ClassSoftTargets
from workers.engine.losses.term import TermInputs
from workers.engine.training.loss_recorder import LossRecorder
from workers.engine.training.updates.fused_steps import FusedSteps
from workers.engine.training.updates.optimizers import (
    load_optimizer,
    make_optimizer,
    optimizer_tensors,
    set_learning_rate,
)

SHAPES = ((4, 3), (3,), (2, 4), (2,))
SETTINGS: tuple[dict[str, Any], ...] = (
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    {"optimizer": "adam"},
    {"optimizer": "adam", "weight_decay": 0.1},
    {"optimizer": "adamw", "weight_decay": 0.1},
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Trained:
    """Parameters, one with a learning rate of its own, and their optimizer."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.parameters = [nn.Parameter(random(*shape, seed=place)) for place, shape in enumerate(SHAPES)]
        training = plain_settings(learning_rate=0.1, **settings)
        self.optimizer = make_optimizer(training, self.parameters, {self.parameters[2]: 0.5})
        self.steps = FusedSteps(self.optimizer)

    def give(self, step: int) -> None:
        """Gradients of a step. In the fifth, one parameter has none."""
        self.steps.zero_grad()
        for place, parameter in enumerate(self.parameters):
            if (step, place) != (4, 1):
                parameter.grad = random(*SHAPES[place], seed=100 * step + place)

    def tensors(self) -> dict[str, Tensor]:
        weights = {str(place): value.detach() for place, value in enumerate(self.parameters)}
        return {**weights, **optimizer_tensors(self.optimizer)}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_kernels_that_are_called_directly_step_as_the_optimizer_does(settings: dict[str, Any]) -> None:
    """Also after a parameter had no gradient, and after the state was loaded."""
    direct, whole = Trained(settings), Trained(settings)
    for step in range(8):
        direct.give(step)
        direct.steps.step(0.1 / (step + 1))
        whole.give(step)
        set_learning_rate(whole.optimizer, 0.1 / (step + 1))
        whole.optimizer.step()
        if step == 5:
            saved = {name: value.clone() for name, value in optimizer_tensors(direct.optimizer).items()}
            load_optimizer(direct.optimizer, saved)
            direct.steps.forget()
    assert direct.tensors().keys() == whole.tensors().keys()
    assert all(torch.equal(value, whole.tensors()[name]) for name, value in direct.tensors().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_backward_pass_of_terms_has_the_bits_of_that_of_their_weighted_sum(dtype: torch.dtype) -> None:
    """Two tasks of three and one terms, one of them a mean already, with weights that binary fractions do not hold."""

    def terms(x: Tensor) -> tuple[tuple[TermSum, ...], ...]:
        first = TermSum(x.square().sum(), 7, 0.3), TermSum(x.exp().mean(), None, 0.7), TermSum(x.sin().sum(), 3)
        return first, (TermSum((x * x[0]).sum(), 11, 1.1),)

    balancer, nothing = Fixed([0.1, 0.9]), Parameters((), ())
    for seed in range(3):
        by_terms, by_sum = (random(5, seed=seed).to(dtype).requires_grad_() for _ in range(2))
        balancer.backward(Losses((0, 1), terms(by_terms)), nothing)
        first, second = Losses((0, 1), terms(by_sum)).values
        start = torch.tensor(balancer.coefficients((0, 1)), dtype=dtype)
        torch.autograd.backward(torch.stack([first, second]), start)
        assert by_terms.grad is not None
        assert by_sum.grad is not None
        assert torch.equal(by_terms.grad, by_sum.grad)


def test_outputs_that_are_softened_once_give_the_bits_of_those_softened_in_each_batch() -> None:
    outputs = scores(300, 17).float()
    outputs[7] = torch.nan
    built = kd_term(outputs, outputs.roll(1, 0), tau=3.0)
    assert isinstance(built, ClassSoftTargets)
    term = built.softened_once()
    each = tuple(term._softened(column, spec, places(300), 3.0)[0] for column, spec in _columns(term))
    for rows in (places(64), places([299, 0, 7, 8, 150])):
        whole = term.losses(TermInputs(scores(len(rows), 17, seed=1).float()), rows)
        assert whole.isfinite().all()
        assert torch.equal(whole, built.losses(TermInputs(scores(len(rows), 17, seed=1).float()), rows))
        for (column, spec), done, all_rows in zip(_columns(term), term.softened, each, strict=True):
            assert done is not None
            by_batch, _ = term._softened(column, spec, rows, 3.0)
            assert torch.equal(done.column.take(rows), by_batch)
            assert torch.equal(all_rows[rows.host], by_batch)


def test_outputs_that_are_softened_once_are_not_those_of_another_temperature() -> None:
    """A search maps a term over temperatures of its own."""
    outputs = scores(30, 5).float()
    inputs, rows = TermInputs(scores(30, 5, seed=1).float()), places(30)
    term, other = kd_term(outputs, tau=3.0), kd_term(outputs, tau=1.5)
    assert isinstance(term, ClassSoftTargets)
    temperatures: list[float | Tensor] = [1.5, torch.tensor(1.5)]
    for tau in temperatures:
        mapped = replace(term.softened_once(), temperature=partial(_constant, tau))
        assert torch.equal(mapped.losses(inputs, rows), other.losses(inputs, rows))


def _constant(tau: float | Tensor, progress: float) -> float | Tensor:
    return tau


def _columns(term: ClassSoftTargets) -> list[tuple[Any, Any]]:
    return list(zip(term.ensemble.outputs, term.ensemble.specs, strict=True))


def _rows(step: int) -> Tensor:
    return torch.tensor([1.0 / step, float(step) ** 0.5])


def _recorded(recorder: LossRecorder, steps: Sequence[int], taken_at: Sequence[int] = ()) -> list[MetricPoint]:
    points = []
    for step in steps:
        recorder.add(_rows(step), step, 1 + step // 100, (0.5, 1.0), (0.2, 3.0))
        if step in taken_at:
            points += recorder.take()
    return points + recorder.take()


@pytest.mark.parametrize("total", [1500, 1600, 700_000])
def test_points_are_the_means_of_windows_whenever_they_are_taken(total: int) -> None:
    """Windows of 3 and of 1400 steps. The total is the weighted sum of the means, each at its scale."""
    window = max(1, total // 500)
    last = 2 * window + window // 2
    series = ("loss", "a", "b")
    points = _recorded(LossRecorder(series, total, CPU), range(1, last + 1))
    assert [point.step for point in points] == [window] * 3 + [2 * window] * 3
    a = sum(0.5 / step for step in range(1, window + 1)) / window
    b = sum(float(step) ** 0.5 for step in range(1, window + 1)) / window
    assert [point.value for point in points[:3]] == pytest.approx([0.2 * a + 3.0 * b, a, b], rel=1e-6)
    often = _recorded(LossRecorder(series, total, CPU), range(1, last + 1), taken_at=(2, window + 1, window + 2))
    assert often == points
    resumed = LossRecorder(series, total, CPU)
    before = LossRecorder(series, total, CPU)
    first = _recorded(before, range(1, window + 2))
    resumed.load(before.state())
    assert first + _recorded(resumed, range(window + 2, last + 1)) == points


@pytest.mark.parametrize(("filled", "mean"), [(3, 4.0), (0, 5.5)])
def test_sums_of_an_older_checkpoint_are_continued(filled: int, mean: float) -> None:
    """Those of a window that was complete have no steps in them."""
    recorder = LossRecorder(("a",), 2000, CPU)
    recorder.load({"sums": torch.tensor([2.0 * filled])}, filled)
    losses = [10.0] if filled else [1.0, 2.0, 9.0, 10.0]
    for step, loss in enumerate(losses, filled + 1):
        recorder.add(torch.tensor([loss]), step, 1)
    assert [(point.step, point.value) for point in recorder.take()] == [(4, mean)]


def test_the_first_step_that_is_not_finite_is_named_however_many_are_kept() -> None:
    recorder = LossRecorder(("loss", "a", "b"), 5000, CPU)
    for step in range(1, 2000):
        value = torch.nan if step >= 1500 else 1.0
        recorder.add(torch.tensor([1.0, value]), step, 1, (1.0, 1.0), (1.0, 1.0))
    assert recorder.first_bad_step() == 1500
    with pytest.raises(UserError, match="b is not finite at step 1500"):
        recorder.take()
