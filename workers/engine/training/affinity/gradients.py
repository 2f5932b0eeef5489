"""The tasks' gradients on shared parameters for one batch, without leaving a trace of having looked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workers.engine.training.batch import Counts, MicroBatch
from workers.engine.training.interface import NetworkLearner


@dataclass(frozen=True)
class GradientStatistics:
    """The Gramian G = J Jᵀ [K, K] of the tasks' gradients on the shared parameters, and their losses [K]; NaN where a
    task is absent. K counts all tasks of the job.
    """

    gramian: Tensor
    losses: Tensor


@dataclass(frozen=True)
class TaskGradients:
    """`rows` [K, P]: the gradient of each task's loss on the shared parameters, zeros where absent; `losses` [K], NaN
    where absent.
    """

    rows: Tensor
    losses: Tensor

    def looked(self) -> GradientStatistics:
        """What is left when the gradients are gone."""
        there = self.losses.isfinite()
        return GradientStatistics(
            torch.where(there[:, None] & there[None, :], self.rows @ self.rows.T, torch.nan), self.losses
        )


@contextmanager
def unseen(network: nn.Module) -> Iterator[None]:
    """Running statistics are afterwards what they were."""
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


def batch_losses(learner: NetworkLearner, parts: Sequence[MicroBatch], counts: Counts) -> Iterator[dict[int, Tensor]]:
    """For each micro-batch its share of the losses of the tasks that are present, by the task's place.

    Dropout masks are those of the step: functions of (seed, step, place). Terms that compare rows compare those of a
    micro-batch.
    """
    for part in parts:
        losses, _ = learner.losses(learner.forward(part), part.rows, counts)
        yield dict(zip(losses.present, losses.values, strict=True))


def task_gradients(learner: NetworkLearner, parts: Sequence[MicroBatch], counts: Counts) -> TaskGradients:
    """One backward pass for each task and micro-batch; `.grad` and running statistics stay as they are."""
    shared = [parameter for parameter in learner.parameters.trunk if parameter.requires_grad]
    device = shared[0].device
    size = sum(parameter.numel() for parameter in shared)
    rows = torch.zeros(len(learner.tasks), size, device=device)
    losses = torch.full((len(learner.tasks),), torch.nan, device=device)
    with unseen(learner.network):
        for share in batch_losses(learner, parts, counts):
            for task, loss in share.items():
                found = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
                flat = [torch.zeros_like(p) if g is None else g for p, g in zip(shared, found, strict=True)]
                rows[task] += torch.cat([each.flatten() for each in flat]).float()
                losses[task] = losses[task].nan_to_num(0.0) + loss.detach().float()
    return TaskGradients(rows, losses)
