"""Several students in one vectorised step: candidates of a search that differ in temperatures and loss weights only.

Their parameters are stacked to [K, …], and `torch.func` maps forward pass and loss over them. Optimizers work
elementwise, so every candidate gets the update of a separate training up to rounding. The result only selects a
candidate; the winner is trained again as a single learner. See `can_train_together` for the conditions. It is faster
where a step is dominated by the dispatch of small operations.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from app.contracts.specs.training import PlateauSchedule, TrainingSettings
from app.contracts.wire.events import MetricPoint
from workers.engine.balancing import Parameters, Shared
from workers.engine.data.columns import Rows
from workers.engine.data.inputs import Inputs
from workers.engine.evaluation.metrics.task_metrics import task_metrics
from workers.engine.evaluation.parties import BLOCK
from workers.engine.losses.soft_target_losses import ClassSoftTargets
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.losses.term import Term, TermInputs
from workers.engine.models import Network
from workers.engine.tasks.task import Task
from workers.engine.training.batch import Counts, MicroBatch, PeerOutputs, StepOutputs
from workers.engine.training.gradient_check import GradientCheck, are_finite
from workers.engine.training.learner_state import with_prefix
from workers.engine.training.loss_recorder import LossRecorder
from workers.engine.training.lr_schedules import learning_rate
from workers.engine.training.optimizers import load_optimizer, make_optimizer, optimizer_tensors, set_learning_rate
from workers.engine.training.validation import selection_score

NAME = "search"


def can_train_together(
    tasks: Sequence[Task], networks: Sequence[Network], trainings: Sequence[TrainingSettings]
) -> bool:
    """Whether candidates differ in temperatures and loss weights only, without BatchNorm, dropout or augmentation.

    The schedule `plateau` gives each candidate a learning rate of its own, and one optimizer has one.
    """
    first = trainings[0]
    plain = first.micro_batch_size is None and first.early_stopping is None
    plain = plain and not isinstance(first.schedule, PlateauSchedule)
    same = all(training == first for training in trainings) and plain and first.augmentations is None
    stateless = not any(_has_state_or_noise(module) for module in networks[0].modules())
    return same and stateless and first.precision == "float32" and all(_is_simple(task) for task in tasks)


def _has_state_or_noise(module: nn.Module) -> bool:
    if isinstance(module, nn.Dropout):
        return module.p > 0.0
    return isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)


def _is_simple(task: Task) -> bool:
    """Class targets, constant temperatures and weights, additive terms without trained modules."""
    return (
        task.spec.kind == "class"
        and not task.weight_schedules
        and all(
            isinstance(term, SupervisedLoss)
            or (
                isinstance(term, ClassSoftTargets)
                and term.module is None
                and not term.relational
                and _fixed_temperature(term) is not None
            )
            for term in task.terms
        )
    )


def _fixed_temperature(term: Term) -> float | None:
    """The temperature of a term where it is one number throughout."""
    if not isinstance(term, ClassSoftTargets):
        return 1.0
    first, last = term.temperature(0.0), term.temperature(1.0)
    return first if isinstance(first, float | int) and first == last else None


class VectorisedLearners:
    """K students that the loop trains as one learner. `tasks` holds the task of the first; all have the same rows."""

    group: str | None = None
    relational = False
    stopped = False

    def __init__(
        self,
        tasks: Sequence[Task],
        networks: Sequence[Network],
        training: TrainingSettings,
        steps: int,
        device: torch.device,
        prefix: str = "",
    ) -> None:
        self.name = NAME
        self.tasks: tuple[Task, ...] = (tasks[0],)
        self._network = networks[0].to(device)
        self._weights: dict[str, nn.Parameter] = {
            name: nn.Parameter(values.detach().to(device))
            for name, values in stack_module_state(list(networks))[0].items()
        }
        self._term_weights = torch.tensor([[term.weight for term in task.terms] for task in tasks], device=device)
        self._temperatures = torch.tensor(
            [[_fixed_temperature(term) or 1.0 for term in task.terms] for task in tasks], device=device
        )
        self._optimizer = make_optimizer(training, list(self._weights.values()), stacked=True)
        terms = [f"{tasks[0].name}/{term.name}" for term in tasks[0].terms]
        self._gradient_check = GradientCheck(f"{prefix}train/", [(terms, self.parameters.all)], device)
        self._recorder = LossRecorder(f"{prefix}train/", [f"{k}/loss" for k in range(len(tasks))], steps, device)
        self._prefix = prefix
        self._training = training
        self._steps = steps
        self._progress = 0.0
        self._totals: list[Tensor] = []
        self.best: list[float | None] = [None] * len(tasks)
        """Best validation score of each candidate so far."""

    @property
    def parameters(self) -> Parameters:
        """The stacked parameters of all candidates, all of them shared."""
        return Parameters((Shared(tuple(self._weights.values()), (0,)),), ())

    def counts(self, rows: Tensor) -> list[Tensor]:
        return [term.counted[rows] for term in self.tasks[0].terms]

    def begin_step(self, counts: Counts, step: int) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        self._progress = step / max(1, self._steps - 1)

    def observe(self, parts: Sequence[MicroBatch], counts: Counts, step: int, epoch: int) -> None:
        """Does nothing: a single task has no gradients to compare."""

    def forward(self, part: MicroBatch) -> StepOutputs:
        """The outputs of all candidates: {task: [K, n, size]}."""
        return StepOutputs({self.tasks[0].name: self._outputs(part.x)}, {})

    def _outputs(self, x: Tensor) -> Tensor:
        name = self.tasks[0].name

        def one(weights: Mapping[str, Tensor]) -> Tensor:
            output: Tensor = functional_call(self._network, dict(weights), (x,))[name]
            return output

        outputs: Tensor = vmap(one)(self._weights)
        return outputs

    def backward(self, outputs: StepOutputs, rows: Rows, counts: Counts, peers: PeerOutputs = ()) -> None:
        """The backward pass of the sum of all losses: each candidate gets the gradient of its own."""
        totals = self._losses(outputs.outputs[self.tasks[0].name], rows, counts[0], self._progress)
        totals.sum().backward()  # type: ignore[no-untyped-call]
        self._totals = list(totals.detach())

    def _losses(self, outputs: Tensor, rows: Rows, counts: Sequence[int], progress: float) -> Tensor:
        """The weighted loss of each candidate [K], for outputs [K, n, C]."""
        total = outputs.new_zeros(len(outputs))
        task = self.tasks[0]
        for i, (term, count) in enumerate(zip(task.terms, counts, strict=True)):
            if count > 0:
                means = vmap(_summed_loss(term, rows, progress))(outputs, self._temperatures[:, i]) / count
                total = total + self._term_weights[:, i] * means
        return total

    def forward_backward(self, parts: Sequence[MicroBatch], counts: Counts) -> None:
        """Micro-batches one after another, as no term compares rows."""
        for part in parts:
            self.backward(self.forward(part), part.rows, counts)

    def end_step(self, step: int, epoch: int) -> None:
        self._gradient_check.check(step + 1)
        if self._training.clip_norm > 0.0:
            _clip_each(self._weights.values(), self._training.clip_norm)
        set_learning_rate(self._optimizer, learning_rate(self._training, step, self._steps))
        self._optimizer.step()
        self._recorder.add([torch.stack(self._totals).mean(), *self._totals], step + 1, epoch)

    def end_epoch(self, inputs: Inputs, validation: Rows, epoch: int, step: int) -> list[MetricPoint]:
        """Score every candidate on the validation rows."""
        if not (epoch % self._training.evaluate_every == 0 or step == self._steps):
            return []
        task = self.tasks[0]
        counts = [int(term.counted[validation.host].sum()) for term in task.terms]
        with torch.no_grad():
            blocks = [(part, self._outputs(inputs.take(part))) for part in validation.split(BLOCK)]
            losses = torch.stack([self._losses(outputs, part, counts, 1.0) for part, outputs in blocks]).sum(0).tolist()
        outputs = torch.cat([output for _, output in blocks], dim=1).float().cpu()
        measure, values = self._scores(outputs, validation, losses)
        points = []
        for k, value in enumerate(values):
            previous = self.best[k]
            if isfinite(value) and value > (-inf if previous is None else previous):
                self.best[k] = value
            series = f"{self._prefix}{k}/validation/{measure}"
            points.append(MetricPoint(series=series, step=step, epoch=epoch, value=value))
        return points

    def _scores(self, outputs: Tensor, validation: Rows, losses: list[float]) -> tuple[str, list[float]]:
        """(name of the measure, score of each candidate, higher is better) for outputs [K, n, C]: accuracy or the
        metric that the spec names, as for other learners, or minus the loss.
        """
        task = self.tasks[0]
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

    def take_points(self) -> list[MetricPoint]:
        self._gradient_check.raise_if_not_finite(before=self._recorder.first_bad_step())
        return self._recorder.take()

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        sums, filled = self._recorder.state()
        tensors = {f"{NAME}/weights/{name}": value.detach().cpu() for name, value in self._weights.items()}
        tensors |= {
            f"{NAME}/optimizer/{name}": value.cpu() for name, value in optimizer_tensors(self._optimizer).items()
        }
        tensors |= {f"{NAME}/loss_recorder/{name}": value.cpu() for name, value in sums.items()}
        return tensors, {"best": self.best, "filled": filled}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, value in self._weights.items():
                value.copy_(tensors[f"{NAME}/weights/{name}"])
        load_optimizer(self._optimizer, with_prefix(f"{NAME}/optimizer", tensors))
        self._recorder.load({"sums": tensors[f"{NAME}/loss_recorder/sums"]}, int(state["filled"]))
        self.best = list(state["best"])

    def is_finite(self) -> bool:
        return are_finite([*self._weights.values(), *optimizer_tensors(self._optimizer).values()])


def _clip_each(weights: Iterable[nn.Parameter], norm: float) -> None:
    """Rescale the gradients of each candidate, [K, …] of every parameter, as `clip_grad_norm_` does of one network."""
    gradients = [parameter.grad for parameter in weights if parameter.grad is not None]
    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
    factors = (norm / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.reshape(-1, *[1] * (gradient.dim() - 1)))


def _summed_loss(term: Term, rows: Rows, progress: float) -> Any:
    """(outputs [n, C], τ) -> the sum of a term's losses, for one candidate."""

    def summed(outputs: Tensor, temperature: Tensor) -> Tensor:
        candidate = replace(term, temperature=lambda _: temperature) if isinstance(term, ClassSoftTargets) else term
        return candidate.losses(TermInputs(outputs, progress=progress), rows).sum()

    return summed
