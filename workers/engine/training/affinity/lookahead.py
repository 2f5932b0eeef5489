"""Task affinities: the effect of a gradient step on one task on the losses of all, to first order or by lookahead.

The affinity Z_{j→i} of task j for task i is the relative decrease of L_i after a step of plain gradient descent on L_j
over the shared parameters ("Efficiently identifying task groupings for multi-task learning", Fifty et al. 2021). All
tasks of a measurement use one learning rate, at which a task's own step decreases its loss by `RELATIVE_DECREASE` to
first order on average, so that affinities do not depend on optimizer and loss scale.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.engine.common.eval_mode import preserved_buffers
from workers.engine.training.affinity.gradients import GradientStatistics, TaskGradients, micro_batch_losses
from workers.engine.training.batch import Counts, MicroBatch
from workers.engine.training.interface import NetworkLearner

RELATIVE_DECREASE = 0.01
"""Small enough for a first-order step, large enough for the precision of float32."""


def cosines(statistics: GradientStatistics) -> Tensor:
    """The cosines G_ij / √(G_ii G_jj) [K, K]; NaN where a task is absent or its gradient is 0."""
    gramian = statistics.gramian
    norms = gramian.diagonal().sqrt()
    return gramian / (norms[:, None] * norms[None, :])


def common_rate(statistics: GradientStatistics) -> Tensor:
    """The learning rate η with mean_i η·G_ii / L_i = `RELATIVE_DECREASE`, over the tasks that are present."""
    own_decrease = statistics.gramian.diagonal() / statistics.losses
    return RELATIVE_DECREASE / own_decrease.nanmean()


def first_order_affinities(statistics: GradientStatistics) -> Tensor:
    """[K, K]: entry (i, j) is Z_{j→i} to first order, η·G_ij / L_i; NaN where a task is absent."""
    return common_rate(statistics) * statistics.gramian / statistics.losses[:, None]


def lookahead_affinities(
    learner: NetworkLearner, parts: Sequence[MicroBatch], counts: Counts, gradients: TaskGradients
) -> Tensor:
    """[K, K]: entry (i, j) is Z_{j→i} = 1 − L_i(after a step on j) / L_i, with the same dropout masks.

    One forward pass for each task; parameters and buffers are restored.
    """
    shared = [parameter for parameter in learner.parameters.trunk if parameter.requires_grad]
    saved = [parameter.detach().clone() for parameter in shared]
    rate = common_rate(gradients.statistics())
    columns = []
    try:
        for row in gradients.rows:
            updates = torch.split(rate * row, [parameter.numel() for parameter in shared])
            with torch.no_grad():
                for parameter, value, update in zip(shared, saved, updates, strict=True):
                    parameter.copy_(value - update.view_as(parameter))
            columns.append(_losses(learner, parts, counts))
    finally:
        with torch.no_grad():
            for parameter, value in zip(shared, saved, strict=True):
                parameter.copy_(value)
    after = torch.stack(columns, dim=1)
    present = gradients.losses.isfinite()
    affinities = 1.0 - after / gradients.losses[:, None]
    return torch.where(present[:, None] & present[None, :], affinities, torch.nan)


def _losses(learner: NetworkLearner, parts: Sequence[MicroBatch], counts: Counts) -> Tensor:
    """The losses of all tasks [K] with the current parameters, NaN where a task is absent."""
    losses = torch.full((len(learner.tasks),), torch.nan, device=next(learner.network.parameters()).device)
    with torch.no_grad(), preserved_buffers(learner.network):
        for share in micro_batch_losses(learner, parts, counts):
            for task, loss in share.items():
                losses[task] = losses[task].nan_to_num(0.0) + loss.float()
    return losses
