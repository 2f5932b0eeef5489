"""Learners that differ in their seed only, as one vectorised step: each has its own weights and order of batches.

Their terms are functions of a row's outputs, so the rows of all members are one batch to them. Each member selects its
own epoch, by the rule of a single learner.
"""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from app.contracts.specs.training import TrainingSettings
from app.contracts.wire.events import MetricPoint
from workers.engine.data.rows.columns import Rows
from workers.engine.data.rows.inputs import Inputs
from workers.engine.evaluation.metrics.task_metrics import task_metrics
from workers.engine.evaluation.parties import BLOCK
from workers.engine.evaluation.warnings.history import Point, label_losses, points_document, points_of
from workers.engine.losses.term import Term, TermInputs
from workers.engine.models import Network
from workers.engine.tasks.task import Task
from workers.engine.training.batch import Counts
from workers.engine.training.learner import BestSoFar
from workers.engine.training.learner_state import with_prefix
from workers.engine.training.updates.lr_schedules import learning_rate
from workers.engine.training.updates.points import rate_point
from workers.engine.training.validation import Validation
from workers.engine.training.vectorised.learners import VectorisedLearners


class Seeds(VectorisedLearners):
    """K learners of one task; batches have n rows for each, as `MemberBatches` gives them.

    `prefixes` are those of the members' series, which have the names that separate learners give them.
    """

    def __init__(
        self,
        name: str,
        task: Task,
        networks: Sequence[Network],
        training: TrainingSettings,
        steps: int,
        device: torch.device,
        prefixes: Sequence[str],
    ) -> None:
        columns = ["loss", *(f"{task.name}/{term.name}" for term in task.terms)]
        series = [f"{prefix}train/{column}" for prefix in prefixes for column in columns]
        super().__init__(name, task, networks, training, steps, device, own_rows=True, prefix="", series=series)
        self._prefixes = tuple(prefixes)
        self._term_weights = torch.tensor([task.weight * term.weight for term in task.terms], device=device)
        self._best_weights: dict[str, Tensor] = {}
        self.best = [BestSoFar() for _ in networks]
        """The best validation score of each member so far; their weights are stacked beside it."""
        self.evaluations: list[list[Point]] = [[] for _ in networks]
        self._kinds = {task.name: task.spec.kind}

    def counts(self, batches: Sequence[Tensor]) -> list[Counts]:
        """For each batch, the counts of each member's terms: a member is to the loop what a task is."""
        return [self._counts(batch.reshape(self._members, -1)) for batch in batches]

    def _counts(self, rows: Tensor) -> Counts:
        counts: Counts = torch.stack([term.counted[rows].sum(1) for term in self._task.terms], dim=1).tolist()
        return counts

    def losses(
        self, outputs: Tensor, rows: Rows, counts: Counts, progress: float, *, weighted: bool = True
    ) -> tuple[Tensor, Tensor]:
        """(the weighted loss of each member [K], loss and terms of member after member [K · (1 + T)]) for outputs
        [K, n, size] and K · n rows.
        """
        inputs = TermInputs(outputs.flatten(0, 1), progress=progress, weighted=weighted)
        by_term = [
            self._means(term, inputs, rows, [member[i] for member in counts]) for i, term in enumerate(self._task.terms)
        ]
        means = torch.stack(by_term, dim=1)
        totals = (means * self._term_weights).sum(1)
        return totals, torch.cat([totals[:, None], means], dim=1).detach().flatten()

    def _means(self, term: Term, inputs: TermInputs, rows: Rows, counts: Sequence[int]) -> Tensor:
        """The mean of a term over each member's counted rows [K], 0 without any."""
        if max(counts) == 0:
            return inputs.outputs.new_zeros(self._members, dtype=torch.float32)
        sums = term.losses(inputs, rows).reshape(self._members, -1).sum(1)
        equal = min(counts) == max(counts)
        means = sums / (counts[0] if equal else sums.new_tensor([max(1, count) for count in counts]))
        return means if term.weight > 0.0 else means.detach()

    def end_epoch(self, inputs: Inputs, validation: Rows, epoch: int, step: int) -> list[MetricPoint]:
        """Validate every member, and copy the weights of those that are better than before."""
        if len(validation) == 0 or not (epoch % self._training.evaluate_every == 0 or step == self._steps):
            return []
        points, better = [], []
        for k, result in enumerate(self._validate(inputs, validation)):
            score = result.score([self._task], self._training)
            points += result.points(self._prefixes[k], step, epoch)
            if not self._prefixes[k]:
                rate = learning_rate(self._training, step - 1, self._steps)
                points.append(rate_point("", rate, step, epoch))
            finite = score if score is not None and isfinite(score) else None
            self.evaluations[k].append(Point(step, finite, label_losses(result.metrics, self._kinds)))
            if score is not None and self.best[k].record(score, result.loss, epoch):
                better.append(k)
        if better and self._training.select_by != "last":
            self._copy_weights(better)
        return points

    @torch.no_grad()
    def _validate(self, inputs: Inputs, validation: Rows) -> list[Validation]:
        task, target = self._task, self._task.target
        counts = [int(term.counted[validation.host].sum()) for term in task.terms]
        blocks, losses = [], []
        parts = validation.split(BLOCK)
        for part, x in zip(parts, inputs.each(parts), strict=True):
            blocks.append(self.predict(x))
            repeated = Rows(part.host.repeat(self._members), part.device.repeat(self._members))
            losses.append(self.losses(blocks[-1], repeated, [counts] * self._members, 1.0, weighted=False)[0])
        has_loss = any(count > 0 and term.weight > 0.0 for term, count in zip(task.terms, counts, strict=True))
        by_member = torch.stack(losses).sum(0).tolist() if has_loss else [None] * self._members
        results = []
        for loss, outputs in zip(by_member, torch.cat(blocks, dim=1).float().cpu(), strict=True):
            ranking = self._training.select_by == "auroc"
            metrics = task_metrics(outputs, task.spec, target, validation.host, ranking=ranking) if target else None
            results.append(Validation(loss, {task.name: metrics} if metrics is not None else {}))
        return results

    def _copy_weights(self, members: Sequence[int]) -> None:
        if not self._best_weights:
            self._best_weights = {name: value.detach().clone() for name, value in self._weights.items()}
            return
        for name, value in self._weights.items():
            for k in members:
                self._best_weights[name][k].copy_(value[k].detach())

    def losses_on_labels(self, inputs: Inputs, rows: Rows) -> list[dict[str, float]]:
        """The losses on the labels of some rows of each member, by task, with its latest weights."""
        return [label_losses(result.metrics, self._kinds) for result in self._validate(inputs, rows)]

    def selected(self, k: int, last_epoch: int) -> tuple[dict[str, Tensor], int]:
        """(the weights of member k at its best epoch, that epoch); those of the last where none was selected."""
        chosen = bool(self._best_weights) and self.best[k].score is not None
        weights = self._best_weights if chosen else self._weights
        epoch = self.best[k].epoch if chosen else last_epoch
        return {name: value[k].detach() for name, value in weights.items()}, epoch

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, state = super().save()
        evaluations = [points_document(each) for each in self.evaluations]
        tensors |= {f"{self.name}/best/{name}": value.cpu() for name, value in self._best_weights.items()}
        return tensors, {**state, "best": [best.state() for best in self.best], "evaluations": evaluations}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        super().load(tensors, state)
        stored = with_prefix(f"{self.name}/best", tensors)
        self._best_weights = {name: value.to(self._weights[name].device) for name, value in stored.items()}
        self.best = [BestSoFar.of(best) for best in state["best"]]
        self.evaluations = [points_of(each) for each in state["evaluations"]]
