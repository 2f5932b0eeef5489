"""The tasks' gradients are those of their losses, and looking leaves no trace."""

from typing import Any

import pytest
import torch

from tests.engine.balancing.small_network import jacobian
from tests.engine.training.affinity.known_relations import batch, learner
from workers.engine.training.affinity.gradients import task_gradients
from workers.engine.training.affinity.lookahead import (
    RELATIVE_DECREASE,
    common_rate,
    cosines,
    first_order_affinities,
    lookahead_affinities,
)


def by_hand(made: Any, parts: Any, counts: Any) -> tuple[torch.Tensor, torch.Tensor]:
    losses, _ = made.losses(made.forward(parts[0]), parts[0].rows, counts)
    rows = jacobian(losses.values, made.parameters.trunk)
    return rows, torch.stack([value.detach() for value in losses.values])


@pytest.mark.parametrize("size", [12, 5])
def test_gradients_and_losses_are_those_of_the_whole_batch_in_whatever_parts(size: int) -> None:
    made = learner()
    expected, losses = by_hand(made, *batch(made))
    found = task_gradients(made, *batch(made, size))
    torch.testing.assert_close(found.rows, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.losses, losses, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found.statistics().gramian, expected @ expected.T, rtol=1e-4, atol=1e-6)


def test_an_absent_task_is_not_measured_and_the_others_are() -> None:
    made = learner(missing=("b",))
    found = task_gradients(made, *batch(made)).statistics()
    assert found.gramian.isnan().tolist() == [[False, True, False], [True] * 3, [False, True, False]]
    assert cosines(found)[0, 2].isfinite()
    assert first_order_affinities(found)[0, 0].isfinite()


def test_looking_leaves_no_trace() -> None:
    made = learner(normalization="batch", dropout=0.3)
    parts, counts = batch(made, 6)
    before = {name: value.clone() for name, value in made.network.state_dict().items()}
    gradients = task_gradients(made, parts, counts)
    lookahead_affinities(made, parts, counts, gradients)
    after = made.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in made.network.parameters())


def test_a_tried_step_is_the_fall_of_the_losses_and_nearly_the_promised_one() -> None:
    made = learner()
    parts, counts = batch(made)
    gradients = task_gradients(made, parts, counts)
    tried, promised = (
        lookahead_affinities(made, parts, counts, gradients),
        first_order_affinities(gradients.statistics()),
    )
    assert float(promised.diagonal().mean()) == pytest.approx(RELATIVE_DECREASE, rel=1e-4)
    rate, rows = common_rate(gradients.statistics()), gradients.rows
    kept = [parameter.detach().clone() for parameter in made.parameters.trunk]
    for helper in range(3):
        moves = torch.split(rate * rows[helper], [parameter.numel() for parameter in kept])
        with torch.no_grad():
            for parameter, value, move in zip(made.parameters.trunk, kept, moves, strict=True):
                parameter.copy_(value - move.view_as(value))
        _, after = by_hand(made, parts, counts)
        torch.testing.assert_close(tried[:, helper], 1.0 - after / gradients.losses, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(tried, promised, rtol=0.2, atol=1e-3)


def test_the_same_dropout_masks_are_used_before_and_after_a_tried_step() -> None:
    """With other masks the losses would differ by far more than a step of one hundredth changes them."""
    made = learner(dropout=0.5, hidden=(64,))
    parts, counts = batch(made)
    gradients = task_gradients(made, parts, counts)
    torch.testing.assert_close(
        lookahead_affinities(made, parts, counts, gradients),
        first_order_affinities(gradients.statistics()),
        rtol=0.5,
        atol=5e-3,
    )
