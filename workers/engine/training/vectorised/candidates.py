"""Candidates of a search that differ in temperatures and loss weights only, as one vectorised step.

`torch.func` maps their losses over temperatures. All have the same batches. The result only selects a candidate; the
winner is trained again as a single learner. See `conditions.can_train_together`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from app.contracts.specs.training import TrainingSettings
from app.contracts.wire.events import MetricPoint
from workers.engine.data.rows.columns import Rows
from workers.engine.data.rows.inputs import Inputs
from workers.engine.evaluation.metrics.task_metrics import task_metrics
from workers.engine.evaluation.parties import BLOCK
from workers.engine.losses.soft_target_losses import ClassSoftTargets
from workers.engine.losses.term import Term, TermInputs
from workers.engine.models import Network
from workers.engine.tasks.task import Task
from workers.engine.training.batch import Counts, batch_counts
from workers.engine.training.learner import BestSoFar
from workers.engine.training.validation import selection_score
from workers.engine.training.vectorised.conditions import fixed_temperature
from workers.engine.training.vectorised.learners import VectorisedLearners

NAME = "search"
Compare = Callable[[Tensor], tuple[float | None, float | None]]
"""Outputs for the validation rows [n, C] -> (score, loss) by which candidates are compared, see `jobs.runs.scoring`."""


class Candidates(VectorisedLearners):
    """K candidates of a search. `tasks` are theirs."""

    def __init__(
        self,
        tasks: Sequence[Task],
        networks: Sequence[Network],
        training: TrainingSettings,
        steps: int,
        device: torch.device,
        prefix: str = "",
        compare: Compare | None = None,
    ) -> None:
        series = ["train/loss", *(f"train/{k}/loss" for k in range(len(tasks)))]
        super().__init__(
            NAME, tasks[0], networks, training, steps, device, own_rows=False, prefix=prefix, series=series
        )
        self._term_weights = torch.tensor([[term.weight for term in task.terms] for task in tasks], device=device)
        self._temperatures = torch.tensor(
            [[fixed_temperature(term) or 1.0 for term in task.terms] for task in tasks], device=device
        )
        self.best = [BestSoFar() for _ in tasks]
        """The best validation score of each candidate so far, without weights."""
        self.compared: list[tuple[float | None, float | None]] = [(None, None) for _ in tasks]
        """What each candidate is compared by, at the epoch that it would be exported from."""
        self._compare = compare

    def counts(self, batches: Sequence[Tensor]) -> list[Counts]:
        return batch_counts([self._task], batches)

    def losses(
        self, outputs: Tensor, rows: Rows, counts: Counts, progress: float, *, weighted: bool = True
    ) -> tuple[Tensor, Tensor]:
        """(the loss of each candidate [K], their mean and themselves) for outputs [K, n, C]."""
        total = outputs.new_zeros(len(outputs))
        for i, (term, count) in enumerate(zip(self._task.terms, counts[0], strict=True)):
            if count > 0:
                means = vmap(_summed_loss(term, rows, progress, weighted))(outputs, self._temperatures[:, i]) / count
                total = total + self._term_weights[:, i] * means
        return total, torch.cat([total.mean()[None], total])

    def end_epoch(self, inputs: Inputs, validation: Rows, epoch: int, step: int) -> list[MetricPoint]:
        """Score every candidate on the validation rows."""
        if not (epoch % self._training.evaluate_every == 0 or step == self._steps):
            return []
        counts = [[int(term.counted[validation.host].sum()) for term in self._task.terms]]
        with torch.no_grad():
            parts = validation.split(BLOCK)
            blocks = [(part, self.predict(x)) for part, x in zip(parts, inputs.each(parts), strict=True)]
            by_block = [self.losses(outputs, part, counts, 1.0, weighted=False)[0] for part, outputs in blocks]
        losses = torch.stack(by_block).sum(0).tolist()
        outputs = torch.cat([output for _, output in blocks], dim=1).float().cpu()
        measure, values = self._scores(outputs, validation, losses)
        points = []
        for k, (value, loss) in enumerate(zip(values, losses, strict=True)):
            is_best = self.best[k].record(value, loss, epoch)
            if self._compare is not None and (is_best or self._training.select_by == "last"):
                self.compared[k] = self._compare(outputs[k])
            series = f"{self._prefix}{k}/validation/{measure}"
            points.append(MetricPoint(series=series, step=step, epoch=epoch, value=value))
        return points

    def _scores(self, outputs: Tensor, validation: Rows, losses: list[float]) -> tuple[str, list[float]]:
        """(name of the measure, score of each candidate, higher is better) for outputs [K, n, C]: accuracy or the
        metric that the spec names, as for other learners, or minus the loss.
        """
        task = self._task
        target = task.target
        if self._training.select_by == "loss" or target is None or not bool(target.labelled[validation.host].any()):
            return "loss", [-loss for loss in losses]
        metric = self._training.selection_metric
        if metric is not None:
            ranking = metric == "auroc"
            measured = [task_metrics(each, task.spec, target, validation.host, ranking=ranking) for each in outputs]
            return metric, [selection_score(each, task.spec.kind, metric, task.name) for each in measured]
        labels = target.values[validation.host]
        right = (outputs.argmax(2) == labels) & (labels >= 0)
        return "accuracy", (right.sum(1) / (labels >= 0).sum()).tolist()

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, state = super().save()
        return tensors, {**state, "best": [best.state() for best in self.best], "compared": self.compared}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        super().load(tensors, state)
        self.best = [BestSoFar.of(best) for best in state["best"]]
        self.compared = [(score, loss) for score, loss in state["compared"]]

    @staticmethod
    def can_load(state: dict[str, Any]) -> bool:
        """Whether a stored state has what candidates are compared by; that of an earlier version has not."""
        return "compared" in state


def _summed_loss(term: Term, rows: Rows, progress: float, weighted: bool) -> Any:
    """(outputs [n, C], τ) -> the sum of a term's losses, for one candidate."""

    def summed(outputs: Tensor, temperature: Tensor) -> Tensor:
        candidate = replace(term, temperature=lambda _: temperature) if isinstance(term, ClassSoftTargets) else term
        return candidate.losses(TermInputs(outputs, progress=progress, weighted=weighted), rows).sum()

    return summed
