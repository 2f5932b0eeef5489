"""A member of the population: a network, its tasks, its optimiser, and the best that it has been."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, isfinite

import torch
from torch import Tensor, nn

from app.contracts.training import TrainingSpec
from workers.engine.balancing import Balancer, Losses
from workers.engine.data.columns import Rows
from workers.engine.networks import Network
from workers.engine.optimizers import make_optimizer, set_learning_rate
from workers.engine.precision import Precision
from workers.engine.randomness import seed_step
from workers.engine.recorder import Recorder
from workers.engine.schedules import learning_rate
from workers.engine.tasks import Task

Counts = Sequence[Sequence[int]]
"""For each task, for each of its terms: the counted rows of a whole batch."""


@dataclass
class Standing:
    """How a member has done on the validation split; epochs count from 1."""

    best: dict[str, Tensor] = field(default_factory=dict)
    best_score: float | None = None
    best_epoch: int = 0
    waited: int = 0
    stopped: bool = False
    steps: int = 0


class Member:
    """Trained by the one loop, step by step. `name` is `student` or `control`."""

    def __init__(
        self,
        name: str,
        network: Network,
        tasks: Sequence[Task],
        balancer: Balancer,
        training: TrainingSpec,
        steps: int,
        device: torch.device,
    ) -> None:
        self.name = name
        self.network = network.to(device)
        self.tasks = tuple(tasks)
        self.balancer = balancer
        self.standing = Standing()
        self.prefix = "" if name == "student" else f"{name}/"
        self.recorder = Recorder(f"{self.prefix}train/", self.columns, steps, device)
        self.optimizer = make_optimizer(training, network.parameters())
        self.precision = Precision(training, device)
        self._training = training
        self._steps = steps
        self._has_dropout = any(isinstance(module, nn.Dropout) and module.p > 0 for module in network.modules())
        self._sums: list[Tensor] = []
        self._present: tuple[int, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The recorder's columns after the total: `<task>/<term>`."""
        return [f"{task.name}/{term.name}" for task in self.tasks for term in task.terms]

    def counts(self, rows: Tensor) -> list[Tensor]:
        """Bool [len(rows)] for each term of each task, flat: which of these dataset rows it counts."""
        return [term.counted[rows] for task in self.tasks for term in task.terms]

    def begin_step(self, counts: Counts) -> None:
        """A new optimiser step over a batch with these counts."""
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        self._sums = []
        self._present = tuple(
            i
            for i, (task, by_term) in enumerate(zip(self.tasks, counts, strict=True))
            if any(count > 0 and term.weight > 0.0 for term, count in zip(task.terms, by_term, strict=True))
        )

    def micro_step(self, x: Tensor, rows: Rows, counts: Counts, draw: tuple[int, int]) -> None:
        """Forward and backward of a micro-batch x [n, …]; `draw` = (step, place) names its dropout masks."""
        if self._has_dropout:
            seed_step(self._training.seed, "dropout", *draw)
        with self.precision.forward():
            outputs = self.network(x)
        values, means = [], []
        for i, (task, by_term) in enumerate(zip(self.tasks, counts, strict=True)):
            loss, parts = task.loss(outputs[task.name], rows, by_term)
            means += parts
            if loss is not None and i in self._present:
                values.append(loss)
        self.balancer.backward(Losses(self._present, tuple(values)), self.network)
        self._sums = [a + b for a, b in zip(self._sums, means, strict=True)] if self._sums else means

    def end_step(self, step: int, epoch: int) -> None:
        """Balance, clip, update; `step` counts from 0, `epoch` from 1."""
        self.balancer.finish(self._present, self.network, step)
        if self._training.clip_norm is not None:
            self.balancer.clip(self.network, self._training.clip_norm)
        set_learning_rate(self.optimizer, learning_rate(self._training, step, self._steps))
        self.optimizer.step()
        self.standing.steps += 1
        self.recorder.add([self._total(), *self._sums], step + 1, epoch)

    def _total(self) -> Tensor:
        """The weighted sum of all terms of all tasks, as the article writes it: Σ w_i Σ_t w_t L_t."""
        weights = [task.weight * term.weight for task in self.tasks for term in task.terms]
        return torch.stack([weight * value for weight, value in zip(weights, self._sums, strict=True)]).sum()

    def judge(self, score: float, epoch: int) -> None:
        """Keep the weights if they are the best so far; count the epochs without improvement.

        A score that is not finite is never the best: nothing compares as better than NaN afterwards.
        """
        standing, stopping = self.standing, self._training.early_stopping
        least = -inf if standing.best_score is None else standing.best_score
        if isfinite(score) and score > least + (stopping.min_delta if stopping else 0.0):
            standing.best_score, standing.best_epoch, standing.waited = score, epoch, 0
            if self._training.select_by != "last":
                standing.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        else:
            standing.waited += 1
        standing.stopped = stopping is not None and standing.waited >= stopping.patience

    def settle(self, last_epoch: int) -> int:
        """Load the weights to be exported; the epoch that they come from."""
        if self.standing.best:
            self.network.load_state_dict(self.standing.best)
            return self.standing.best_epoch
        return last_epoch
