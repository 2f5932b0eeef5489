"""Several students as one vectorised step: candidates of a search that differ in temperatures and weights alone.

Their weights are stacked, [K, …] each, and `torch.func` maps forward pass and loss over them. The optimisers work
number by number, so each candidate has the update that it would have alone, but for rounding: a vectorised selects, and
the winner is trained again on the plain path. It must be possible (see `can_train_together`), and it is faster where
a step is mostly the dispatch of small operations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from app.contracts.specs.training import TrainingSpec
from app.contracts.wire.events import MetricPoint
from workers.engine.balancing import Parameters, Shared
from workers.engine.data.columns import Rows
from workers.engine.data.inputs import Inputs
from workers.engine.evaluation.parties import BLOCK
from workers.engine.losses.soft_target_losses import ClassSoftTargets
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.losses.term import Term, TermInputs
from workers.engine.models import Network
from workers.engine.tasks.task import Task
from workers.engine.training.batch import Counts, MicroBatch, Peers, StepOutputs
from workers.engine.training.gradient_check import GradientCheck, are_finite
from workers.engine.training.loss_recorder import LossRecorder
from workers.engine.training.lr_schedules import learning_rate
from workers.engine.training.optimizers import load_optimizer, make_optimizer, optimizer_tensors, set_learning_rate

NAME = "search"


def can_train_together(tasks: Sequence[Task], networks: Sequence[Network], trainings: Sequence[TrainingSpec]) -> bool:
    """Whether these candidates differ in temperatures and weights alone, and nothing in them moves by rows."""
    first = trainings[0]
    plain = first.clip_norm is None and first.micro_batch_size is None and first.early_stopping is None
    alike = all(training == first for training in trainings) and plain and first.views is None
    still = not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.Dropout) and _moves(module)
                    for module in networks[0].modules())  # fmt: skip
    return alike and still and first.precision == "float32" and all(_is_simple(task) for task in tasks)


def _moves(module: nn.Module) -> bool:
    return not isinstance(module, nn.Dropout) or module.p > 0.0


def _is_simple(task: Task) -> bool:
    """Class targets, fixed temperatures and weights, additive terms without trained parts."""
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
    """K students that go through the loop as one. `tasks` holds the first one's task, whose rows are everybody's."""

    group: str | None = None
    relational = False
    stopped = False

    def __init__(
        self,
        tasks: Sequence[Task],
        networks: Sequence[Network],
        training: TrainingSpec,
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
        self._shares = torch.tensor([[term.weight for term in task.terms] for task in tasks], device=device)
        self._temperatures = torch.tensor(
            [[_fixed_temperature(term) or 1.0 for term in task.terms] for task in tasks], device=device
        )
        self._optimizer = make_optimizer(training, list(self._weights.values()))
        terms = [f"{tasks[0].name}/{term.name}" for term in tasks[0].terms]
        self._watch = GradientCheck(f"{prefix}train/", [(terms, self.parameters.all)], device)
        self._recorder = LossRecorder(f"{prefix}train/", [f"{k}/loss" for k in range(len(tasks))], steps, device)
        self._prefix = prefix
        self._training = training
        self._steps = steps
        self._progress = 0.0
        self._totals: list[Tensor] = []
        self.best: list[float | None] = [None] * len(tasks)
        """Each candidate's best score on the validation rows so far."""

    @property
    def parameters(self) -> Parameters:
        """Everybody's weights, stacked; nothing is a task's own."""
        return Parameters((Shared(tuple(self._weights.values()), (0,)),), ())

    def counts(self, rows: Tensor) -> list[Tensor]:
        return [term.counted[rows] for term in self.tasks[0].terms]

    def begin_step(self, counts: Counts, step: int) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        self._progress = step / max(1, self._steps - 1)

    def observe(self, parts: Sequence[MicroBatch], counts: Counts, step: int, epoch: int) -> None:
        """There is one task: nothing to compare."""

    def forward(self, part: MicroBatch) -> StepOutputs:
        """Everybody's outputs: {task: [K, n, size]}."""
        return StepOutputs({self.tasks[0].name: self._outputs(part.x)}, {})

    def _outputs(self, x: Tensor) -> Tensor:
        name = self.tasks[0].name

        def one(weights: Mapping[str, Tensor]) -> Tensor:
            found: Tensor = functional_call(self._network, dict(weights), (x,))[name]
            return found

        outputs: Tensor = vmap(one)(self._weights)
        return outputs

    def learn(self, outputs: StepOutputs, rows: Rows, counts: Counts, peers: Peers = ()) -> None:
        """Σ_k of everybody's loss: each has the gradient of its own."""
        totals = self._losses(outputs.outputs[self.tasks[0].name], rows, counts[0], self._progress)
        totals.sum().backward()  # type: ignore[no-untyped-call]
        self._totals = list(totals.detach())

    def _losses(self, outputs: Tensor, rows: Rows, counts: Sequence[int], progress: float) -> Tensor:
        """Everybody's weighted loss [K] for outputs [K, n, C]."""
        total = outputs.new_zeros(len(outputs))
        task = self.tasks[0]
        for place, (term, count) in enumerate(zip(task.terms, counts, strict=True)):
            if count > 0:
                means = vmap(_mean_of(term, rows, progress))(outputs, self._temperatures[:, place]) / count
                total = total + self._shares[:, place] * means
        return total

    def learn_whole(self, parts: Sequence[MicroBatch], counts: Counts) -> None:
        """One after the other: nobody here compares rows."""
        for part in parts:
            self.learn(self.forward(part), part.rows, counts)

    def end_step(self, step: int, epoch: int) -> None:
        self._watch.look(step + 1)
        set_learning_rate(self._optimizer, learning_rate(self._training, step, self._steps))
        self._optimizer.step()
        self._recorder.add([torch.stack(self._totals).mean(), *self._totals], step + 1, epoch)

    def end_epoch(self, inputs: Inputs, validation: Rows, epoch: int, step: int) -> list[MetricPoint]:
        """Judge everybody on the validation rows."""
        task = self.tasks[0]
        counts = [int(term.counted[validation.host].sum()) for term in task.terms]
        with torch.no_grad():
            blocks = [(part, self._outputs(inputs.take(part))) for part in validation.split(BLOCK)]
            losses = torch.stack([self._losses(outputs, part, counts, 1.0) for part, outputs in blocks]).sum(0).tolist()
        outputs = torch.cat([found for _, found in blocks], dim=1).float().cpu()
        judged, values = self._scores(outputs, validation, losses)
        points = []
        for k, value in enumerate(values):
            least = self.best[k]
            if isfinite(value) and value > (-inf if least is None else least):
                self.best[k] = value
            series = f"{self._prefix}{k}/validation/{judged}"
            points.append(MetricPoint(series=series, step=step, epoch=epoch, value=value))
        return points

    def _scores(self, outputs: Tensor, validation: Rows, losses: list[float]) -> tuple[str, list[float]]:
        """(what is judged by, each candidate's score, higher is better) for outputs [K, n, C]: accuracy, which is
        what learners of class tasks are judged by, or minus the loss.
        """
        target = self.tasks[0].target
        if self._training.select_by == "loss" or target is None or not bool(target.labelled[validation.host].any()):
            return "loss", [-loss for loss in losses]
        labels = target.values[validation.host]
        right = (outputs.argmax(2) == labels) & (labels >= 0)
        return "accuracy", (right.sum(1) / (labels >= 0).sum()).tolist()

    def take_points(self) -> list[MetricPoint]:
        self._watch.expect_finite(before=self._recorder.first_bad_step())
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
        start = f"{NAME}/optimizer/"
        load_optimizer(self._optimizer, {n[len(start) :]: v for n, v in tensors.items() if n.startswith(start)})
        self._recorder.load({"sums": tensors[f"{NAME}/loss_recorder/sums"]}, int(state["filled"]))
        self.best = list(state["best"])

    def is_finite(self) -> bool:
        return are_finite([*self._weights.values(), *optimizer_tensors(self._optimizer).values()])


def _mean_of(term: Term, rows: Rows, progress: float) -> Any:
    """(outputs [n, C], τ) -> the sum of a term's losses, for one candidate."""

    def summed(outputs: Tensor, temperature: Tensor) -> Tensor:
        own = replace(term, temperature=lambda _: temperature) if isinstance(term, ClassSoftTargets) else term
        return own.losses(TermInputs(outputs, progress=progress), rows).sum()

    return summed
