"""The measures by which a search compares trained networks on validation rows.

Searched weights and temperatures change the scale of the training loss, so that the smallest loss need not be that of
the best student. These measures depend on labels, or on the teachers' outputs at temperature 1, and on nothing that is
searched:

| | score, higher is better | loss, which decides between equal scores |
|---|---|---|
| labels | the metric of `select_by`, or minus the loss | nll of classes and labels, mse of standardised numbers |
| no labels | minus the loss | KL(teacher ‖ student) in nats; rmse to the teachers' mean, in units of the target |

Both are unweighted means over the tasks. Where there are several tasks, an rmse or mae is divided by the deviation of
the student's output, so that no unit of measurement counts more than another. A task without labels has no part in a
score by a metric, but one in the loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import fsum, isfinite
from typing import Self, assert_never

import torch
from torch import Tensor

from app.contracts.resources.manifests import OutputSpec
from app.contracts.specs.jobs import AnyTrainingJob, DistillJob, MultitaskJob, TeacherRef, TrainJob
from app.contracts.specs.supervision.metrics import METRICS, MetricName
from app.contracts.specs.training import TrainingSettings
from workers.engine.common.eval_mode import evaluating
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.rows.columns import Rows
from workers.engine.data.rows.inputs import Inputs
from workers.engine.evaluation.metrics.fidelity import fidelity
from workers.engine.evaluation.metrics.labels import labelled_part
from workers.engine.evaluation.metrics.outputs import PartyOutputs, mean_outputs
from workers.engine.evaluation.metrics.task_metrics import Metrics, headline, task_metrics
from workers.engine.evaluation.parties import BLOCK
from workers.engine.losses.target_scaling import scale_of, standardised
from workers.engine.losses.teacher_mix import TeacherOutputs
from workers.engine.models import Network
from workers.engine.tasks.build import BuiltTask
from workers.engine.tasks.relation import related_tasks
from workers.engine.training.validation import selection_score


@dataclass(frozen=True)
class Scored:
    """The measures of a network: the higher score is better, of equal ones the lower loss. None where not finite."""

    score: float | None
    loss: float | None


@dataclass(frozen=True)
class ScoredTask:
    """A task of which some row has a label, or else a teacher's output; without labels `target` is None."""

    name: str
    spec: OutputSpec
    target: TargetColumn | None
    teachers: tuple[TeacherOutputs, ...]
    rows: Tensor

    @classmethod
    def of(cls, task: BuiltTask, refs: Sequence[TeacherRef], rows: Tensor) -> Self | None:
        """For validation rows (int64 [n], host); None where there is nothing to compare. `refs` are the teachers that
        count: the first ones of the task's.
        """
        target, spec = task.student.target, task.student.spec
        if target is not None and bool(target.labelled[rows].any()):
            return cls(task.student.name, spec, target, (), rows)
        pairs = zip(task.teachers[: len(refs)], refs, strict=True)
        teachers = tuple(replace(teacher, weight=ref.weight) for teacher, ref in pairs)
        made = cls(task.student.name, spec, None, teachers, rows)
        return made if bool(made.counted.any()) else None

    @property
    def counted(self) -> Tensor:
        """Bool [n]: the rows by which networks are compared."""
        if self.target is not None:
            return self.target.labelled[self.rows]
        available = [each.available[self.rows] for each in self.teachers if each.weight > 0.0]
        return torch.stack(available).any(0) if available else torch.zeros(len(self.rows), dtype=torch.bool)

    @property
    def loss_measure(self) -> str:
        """The name of the loss."""
        kind = self.spec.kind
        match kind:
            case "class" | "token_class" | "map" | "multilabel":
                return "nll" if self.target is not None else "kl"
            case "value" | "vector":
                return "mse" if self.target is not None else "rmse"
            case _:
                assert_never(kind)

    def metrics(self, outputs: Tensor, *, ranking: bool) -> Metrics:
        """The metrics on labels, for outputs [n, size]; empty without labels."""
        if self.target is None:
            return {}
        return task_metrics(outputs, self.spec, self.target, self.rows, ranking=ranking)

    def loss(self, outputs: Tensor, metrics: Metrics, *, alone: bool) -> float | None:
        """The loss of outputs [n, size] with these metrics; `alone`: whether no other task is measured."""
        if self.target is None:
            return self._distance(outputs, alone=alone)
        return metrics["nll"] if "nll" in metrics else self._squared_error(outputs, self.target)

    def _squared_error(self, outputs: Tensor, target: TargetColumn) -> float:
        """The mean squared error in standardised units."""
        positions, labels = labelled_part(target, self.rows)
        wanted = standardised(labels.double().reshape(len(labels), -1), self.spec)
        return float((outputs[positions].double() - wanted.double()).square().mean())

    def _distance(self, outputs: Tensor, *, alone: bool) -> float | None:
        """The mean KL divergence from the teachers at temperature 1, or the rmse to their mean."""
        found = fidelity(self._teacher, PartyOutputs(outputs, self.spec))
        if found.rmse is None:
            return found.kl
        return found.rmse if alone else found.rmse / _deviation(self.spec)

    @cached_property
    def _teacher(self) -> PartyOutputs:
        parties = [PartyOutputs.of_teacher(each.at(self.rows), each.spec) for each in self.teachers]
        return mean_outputs(parties, [each.weight for each in self.teachers])

    def example(self) -> Tensor:
        """Outputs of ones [n, size], to find out before any training which measures are defined."""
        size = self._teacher.values.shape[1] if self.target is None else self.target.size
        return torch.ones(len(self.rows), size)


@dataclass(frozen=True)
class Scoring:
    """How networks are compared on validation rows (int64 [n], host)."""

    tasks: tuple[ScoredTask, ...]
    rows: Tensor
    training: TrainingSettings

    @classmethod
    def of(
        cls, spec: AnyTrainingJob, tasks: Sequence[BuiltTask], rows: Tensor, training: TrainingSettings
    ) -> Self | None:
        """For the tasks of a job, whatever its candidate; None where no row has a label or a teacher's output.

        Raises UserError `metric_undefined` where the labels of the rows leave the named metric undefined.
        """
        pairs = zip(tasks, _teacher_refs(spec), strict=True)
        found = [ScoredTask.of(task, refs, rows) for task, refs in pairs]
        scored = cls(tuple(each for each in found if each is not None), rows, training)
        if not scored.tasks:
            return None
        scored.of_outputs({task.name: task.example() for task in scored.tasks})
        return scored

    @property
    def counted(self) -> int:
        """The number of rows on which a task is measured."""
        return int(torch.stack([task.counted for task in self.tasks]).any(0).sum())

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the measures that make the score, one for each task that has one."""
        if self._by_loss:
            return self.loss_measures
        return tuple(self._measure(task, task.metrics(task.example(), ranking=False)) for task in self._judged)

    @property
    def loss_measures(self) -> tuple[str, ...]:
        """The names of the measures that make the loss, one for each task."""
        return tuple(task.loss_measure for task in self.tasks)

    def of_network(self, network: Network, inputs: Inputs, device: torch.device) -> Scored:
        """The measures of a network, in evaluation mode."""
        parts = Rows.on(device, self.rows).split(BLOCK)
        with evaluating(network):
            blocks = [network(x) for x in inputs.each(parts)]
        names = [task.name for task in self.tasks]
        return self.of_outputs({name: torch.cat([block[name] for block in blocks]).float().cpu() for name in names})

    def of_outputs(self, outputs: Mapping[str, Tensor]) -> Scored:
        """The measures of raw outputs by task ([n, size], on the host)."""
        ranking = self.training.selection_metric == "auroc"
        metrics = {task.name: task.metrics(outputs[task.name], ranking=ranking) for task in self.tasks}
        alone = len(self.tasks) == 1
        losses = [task.loss(outputs[task.name], metrics[task.name], alone=alone) for task in self.tasks]
        loss = mean(losses)
        if self._by_loss:
            return Scored(None if loss is None else -loss, loss)
        return Scored(mean([self._score(task, metrics[task.name]) for task in self._judged]), loss)

    @property
    def _by_loss(self) -> bool:
        return self.training.select_by == "loss" or all(task.target is None for task in self.tasks)

    @property
    def _judged(self) -> list[ScoredTask]:
        """The tasks with labels; with a metric by name those that have it, if any."""
        named = self.training.selection_metric
        labelled = [task for task in self.tasks if task.target is not None]
        return [task for task in labelled if named is not None and named in METRICS[task.spec.kind]] or labelled

    def _measure(self, task: ScoredTask, metrics: Metrics) -> MetricName:
        named = self.training.selection_metric
        return named if named is not None and named in METRICS[task.spec.kind] else headline(metrics, task.spec.kind)

    def _score(self, task: ScoredTask, metrics: Metrics) -> float:
        kind, named = task.spec.kind, self.training.selection_metric
        own = selection_score(metrics, kind, named if named in METRICS[kind] else None, task.name)
        in_units = len(self.tasks) > 1 and self._measure(task, metrics) in ("rmse", "mae")
        return own / _deviation(task.spec) if in_units else own


def mean(values: Sequence[float | None]) -> float | None:
    """The mean, with a sum that does not depend on the order; None where a value is None or not finite."""
    known = [value for value in values if value is not None and isfinite(value)]
    return fsum(known) / len(known) if known and len(known) == len(values) else None


def _deviation(spec: OutputSpec) -> float:
    """The root mean square deviation of the numbers of an output; 1 where it has none."""
    scale = scale_of(spec, torch.empty(0, dtype=torch.float64))
    return 1.0 if scale is None else float(scale[1].square().mean().sqrt())


def _teacher_refs(spec: AnyTrainingJob) -> list[Sequence[TeacherRef]]:
    """The teachers of each task, without those that the candidates of a searched relation lend it."""
    match spec:
        case TrainJob():
            return [()]
        case DistillJob():
            return [spec.teachers or ()]
        case MultitaskJob():
            return [task.teachers or () for task in related_tasks(spec)]
        case _:
            assert_never(spec)
