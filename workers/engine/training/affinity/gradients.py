"""The tasks' gradients on the shared parameters for one batch, without changing the learner."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.engine.common.eval_mode import preserved_buffers
from workers.engine.training.batch import Counts, MicroBatch
from workers.engine.training.interface import NetworkLearner


@dataclass(frozen=True)
class GradientStatistics:
    """The Gramian G = J Jᵀ [K, K] of the gradients of all K tasks on the shared parameters, and their losses [K]; NaN
    for tasks without rows in the batch.
    """

    gramian: Tensor
    losses: Tensor


@dataclass(frozen=True)
class TaskGradients:
    """`rows` [K, P]: the gradient of each task's loss on the shared parameters; `losses` [K]. Zeros and NaN for tasks
    without rows in the batch.
    """

    rows: Tensor
    losses: Tensor

    def statistics(self) -> GradientStatistics:
        present = self.losses.isfinite()
        return GradientStatistics(
            torch.where(present[:, None] & present[None, :], self.rows @ self.rows.T, torch.nan), self.losses
        )


def micro_batch_losses(
    learner: NetworkLearner, parts: Sequence[MicroBatch], counts: Counts
) -> Iterator[dict[int, Tensor]]:
    """For each micro-batch its share of the losses of the tasks that are present, by the task's index.

    Dropout masks are those of the step. Terms that compare rows compare those of a micro-batch.
    """
    for part in parts:
        losses, _ = learner.losses(learner.forward(part), part.rows, counts)
        yield dict(zip(losses.present, losses.values, strict=True))


def task_gradients(learner: NetworkLearner, parts: Sequence[MicroBatch], counts: Counts) -> TaskGradients:
    """The gradients of a batch: one backward pass for each task and micro-batch. `.grad` and buffers do not change."""
    shared = [parameter for parameter in learner.parameters.trunk if parameter.requires_grad]
    device = shared[0].device
    size = sum(parameter.numel() for parameter in shared)
    rows = torch.zeros(len(learner.tasks), size, device=device)
    losses = torch.full((len(learner.tasks),), torch.nan, device=device)
    with preserved_buffers(learner.network):
        for share in micro_batch_losses(learner, parts, counts):
            for task, loss in share.items():
                gradients = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
                flat = [torch.zeros_like(p) if g is None else g for p, g in zip(shared, gradients, strict=True)]
                rows[task] += torch.cat([each.flatten() for each in flat]).float()
                losses[task] = losses[task].nan_to_num(0.0) + loss.detach().float()
    return TaskGradients(rows, losses)
