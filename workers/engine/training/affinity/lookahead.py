"""What a step on one task does to the losses of all: promised by the gradients, or tried and taken back.

Z_{j→i}, how much task j helps task i, is the relative fall of L_i after a step of plain gradient descent on L_j over
the shared parameters ("Efficiently identifying task groupings for multi-task learning", Fifty et al. 2021). One
learning rate is used for all tasks of a measurement: the one at which a task's own step promises it a fall of `FALL` on
average, so that the numbers are the same for every optimiser and loss scale.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.engine.training.affinity.gradients import GradientStatistics, TaskGradients, batch_losses, unseen
from workers.engine.training.batch import Counts, MicroBatch
from workers.engine.training.interface import NetworkLearner

FALL = 0.01
"""Small enough for a step to be local, large enough for float32 to see it."""


def cosines(looked: GradientStatistics) -> Tensor:
    """G_ij / √(G_ii G_jj) [K, K]; NaN where a task is absent or its gradient is 0."""
    gramian = looked.gramian
    norms = gramian.diagonal().sqrt()
    return gramian / (norms[:, None] * norms[None, :])


def common_rate(looked: GradientStatistics) -> Tensor:
    """η with mean_i η·G_ii / L_i = `FALL`, over the tasks that are present."""
    own = looked.gramian.diagonal() / looked.losses
    return FALL / own.nanmean()


def promised_falls(looked: GradientStatistics) -> Tensor:
    """[K, K]: entry (i, j) is Z_{j→i} to first order, η·G_ij / L_i; NaN where a task is absent."""
    return common_rate(looked) * looked.gramian / looked.losses[:, None]


def tried_falls(
    learner: NetworkLearner, parts: Sequence[MicroBatch], counts: Counts, gradients: TaskGradients
) -> Tensor:
    """[K, K]: entry (i, j) is Z_{j→i} = 1 − L_i(after a step on j) / L_i, with the same dropout masks; parameters and
    running statistics are put back. One forward pass for each task that is present.
    """
    shared = [parameter for parameter in learner.parameters.trunk if parameter.requires_grad]
    kept = [parameter.detach().clone() for parameter in shared]
    rate = common_rate(gradients.looked())
    columns = []
    try:
        for row in gradients.rows:
            parts_of_row = torch.split(rate * row, [parameter.numel() for parameter in shared])
            with torch.no_grad():
                for parameter, value, move in zip(shared, kept, parts_of_row, strict=True):
                    parameter.copy_(value - move.view_as(parameter))
            columns.append(_losses(learner, parts, counts))
    finally:
        with torch.no_grad():
            for parameter, value in zip(shared, kept, strict=True):
                parameter.copy_(value)
    after = torch.stack(columns, dim=1)
    there = gradients.losses.isfinite()
    falls = 1.0 - after / gradients.losses[:, None]
    return torch.where(there[:, None] & there[None, :], falls, torch.nan)


def _losses(learner: NetworkLearner, parts: Sequence[MicroBatch], counts: Counts) -> Tensor:
    """The losses of all tasks [K] as the network stands, NaN where absent."""
    found = torch.full((len(learner.tasks),), torch.nan, device=next(learner.network.parameters()).device)
    with torch.no_grad(), unseen(learner.network):
        for share in batch_losses(learner, parts, counts):
            for task, loss in share.items():
                found[task] = found[task].nan_to_num(0.0) + loss.float()
    return found
