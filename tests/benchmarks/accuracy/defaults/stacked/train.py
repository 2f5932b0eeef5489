"""The training loop of many networks as one step: forward and backward passes by `torch.func.vmap`, one adamw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from tests.benchmarks.accuracy.defaults.stacked.adamw import StackedAdamW
from tests.benchmarks.accuracy.defaults.stacked.member import Member
from workers.engine.data.rows.columns import Column
from workers.engine.evaluation.metrics.task_metrics import Metrics, task_metrics
from workers.engine.models import Network
from workers.engine.tasks.task import Task
from workers.engine.training.updates.lr_schedules import learning_rate
from workers.engine.training.validation import selection_score

Weights = dict[str, Tensor]
Outputs = Mapping[str, Tensor]
"""By task [K, n, size]."""


@dataclass(frozen=True)
class TrainedStack:
    """The networks with the weights of their best epoch, stacked [K, …] by name."""

    members: Sequence[Member]
    network: Network
    weights: Weights
    epochs: Sequence[int]

    def test_outputs(self) -> Outputs:
        """The outputs of each network on its test rows."""
        return _outputs(self.network, self.weights, _rows(self.members, [m.loaded.test for m in self.members]))


def train_stack(members: Sequence[Member]) -> TrainedStack:
    """Train all members, which have one architecture, number of rows, steps and schedule; their rates, decays, rows and
    seeds may differ. Raises ValueError where they do not fit.
    """
    _check(members)
    with torch.random.fork_rng(devices=[]):
        return _Stack(members).trained()


def _check(members: Sequence[Member]) -> None:
    first = members[0].run
    for member in members:
        mine = member.run
        own = {"learning_rate": None, "weight_decay": None, "seed": 0}
        if mine.run_spec.architecture != first.run_spec.architecture:
            raise ValueError("networks of a stack have one architecture")
        if mine.training.model_copy(update=own) != first.training.model_copy(update=own):
            raise ValueError("settings of a stack differ in rate, decay and seed only")
        if len(member.schedule.rows) != len(members[0].schedule.rows) or mine.training.optimizer != "adamw":
            raise ValueError("networks of a stack have as many training rows each, and adamw")
        if mine.training.select_by in ("loss", "last"):
            raise ValueError("networks of a stack are selected by a metric")


class _Stack:
    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        networks = [member.network() for member in members]
        self._network = networks[0]
        self._weights: Weights = {n: v.detach().clone() for n, v in stack_module_state(networks)[0].items()}
        for value in self._weights.values():
            value.requires_grad_(True)
        self._training, self._schedule = members[0].run.training, members[0].schedule
        decays = torch.tensor([member.run.training.weight_decay for member in members])
        self._rates = torch.tensor([member.run.training.rate for member in members], dtype=torch.float64)
        self._optimizer = StackedAdamW(list(self._weights.values()), decays)
        self._best: Weights = {name: value.detach().clone() for name, value in self._weights.items()}
        self._scores, self._losses = [-inf] * len(members), [inf] * len(members)
        self._epochs = [0] * len(members)
        self._place, self._x = _joined(members)
        self._labels = [torch.cat(parts) for parts in zip(*(_labels(m) for m in _distinct(members)), strict=True)]

    def trained(self) -> TrainedStack:
        step, batches, steps = 0, self._schedule.batches, self._schedule.steps
        while step < steps:
            epoch = step // batches
            for rows in self._epoch(epoch)[: steps - step]:
                self._step(rows, step)
                step += 1
            if (epoch + 1) % self._training.evaluate_every == 0 or step == steps:
                self._validate(epoch + 1)
        return TrainedStack(self._members, self._network, self._best, self._epochs)

    def _epoch(self, number: int) -> list[Tensor]:
        """The batches of an epoch: places [K, n] in the joined rows."""
        by_member = [member.schedule.epoch(number) for member in self._members]
        return [torch.stack(rows) + self._place[:, None] for rows in zip(*by_member, strict=True)]

    def _step(self, rows: Tensor, step: int) -> None:
        k, n = rows.shape
        places = rows.reshape(-1)
        outputs = _outputs(self._network, self._weights, self._x[places].reshape(k, n, *self._x.shape[1:]))
        total = self._task_losses(outputs, [labels[places] for labels in self._labels]).sum() / n
        gradients = torch.autograd.grad(total, list(self._weights.values()))
        share = learning_rate(self._training, step, self._schedule.steps) / self._training.rate
        self._optimizer.step(gradients, (self._rates * share).float(), self._training.clip_norm)

    def _task_losses(self, outputs: Outputs, labels: Sequence[Tensor]) -> Tensor:
        """The loss of each row, summed over the tasks [K, n]."""
        member, total = self._members[0], torch.zeros(())
        for task, term, truth in zip(member.tasks, member.terms, labels, strict=True):
            values = outputs[task.name]
            flat = term.loss(values.reshape(-1, values.shape[2]), truth).reshape(values.shape[:2])
            total = total + task.weight * flat
        return total

    @torch.no_grad()
    def _validate(self, epoch: int) -> None:
        """Keep the weights of networks with a higher score, or an equal score and a lower loss."""
        rows = [member.schedule.validation for member in self._members]
        outputs = _outputs(self._network, self._weights, _rows(self._members, rows))
        labels = [torch.cat(parts) for parts in zip(*map(_validation_labels, self._members), strict=True)]
        losses, ranking = self._task_losses(outputs, labels).mean(1).tolist(), self._training.select_by == "auroc"
        for k, member in enumerate(self._members):
            scores = [
                self._score(task, task_metrics(outputs[task.name][k], task.spec, task.target, rows[k], ranking=ranking))
                for task in member.tasks
                if task.target is not None
            ]
            mean = sum(scores) / len(scores)
            if mean > self._scores[k] or (mean == self._scores[k] and losses[k] < self._losses[k]):
                self._scores[k], self._losses[k], self._epochs[k] = mean, losses[k], epoch
                for name, value in self._weights.items():
                    self._best[name][k] = value[k]

    def _score(self, task: Task, metrics: Metrics) -> float:
        return selection_score(metrics, task.spec.kind, self._training.selection_metric, task.name)


def _outputs(network: Network, weights: Weights, x: Tensor) -> Outputs:
    """Rows [K, n, …] -> outputs by task [K, n, size]."""

    def one(own: Weights, rows: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = functional_call(network, own, (rows,))
        return found

    found: dict[str, Tensor] = vmap(one)(weights, x)
    return found


def _distinct(members: Sequence[Member]) -> list[Member]:
    """One member of each set of rows, in order."""
    return list({id(member.loaded.x): member for member in members}.values())


def _joined(members: Sequence[Member]) -> tuple[Tensor, Tensor]:
    """(the first place of each member's rows [K], all rows one after another)."""
    distinct = _distinct(members)
    begins, begin = {}, 0
    for member in distinct:
        begins[id(member.loaded.x)] = begin
        begin += len(member.loaded.x)
    places = torch.tensor([begins[id(member.loaded.x)] for member in members])
    return places, torch.cat([member.loaded.x for member in distinct])


def _rows(members: Sequence[Member], rows: Sequence[Tensor]) -> Tensor:
    """The rows of each member [K, n, …]."""
    return torch.stack([member.loaded.x[own] for member, own in zip(members, rows, strict=True)])


def _labels(member: Member) -> list[Tensor]:
    return [term.labels.values for term in member.terms if isinstance(term.labels, Column)]


def _validation_labels(member: Member) -> list[Tensor]:
    return [values[member.schedule.validation] for values in _labels(member)]
