"""Several learners of one task in one vectorised step, which the loop trains as one learner.

Their parameters are stacked to [K, …]. Optimizers work elementwise and gradients are clipped for each member, so every
member gets the update of a separate training up to rounding. It is faster where a step is dominated by the dispatch of
small operations.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from app.contracts.specs.training import TrainingSettings
from app.contracts.wire.events import MetricPoint
from workers.engine.balancing import Parameters, Shared
from workers.engine.data.rows.columns import Rows
from workers.engine.data.rows.inputs import Inputs
from workers.engine.models import Network
from workers.engine.tasks.task import Task
from workers.engine.training.batch import Counts, MicroBatch, PeerOutputs, StepOutputs
from workers.engine.training.gradient_check import GradientCheck, are_finite
from workers.engine.training.learner_state import named_tensors, with_prefix
from workers.engine.training.loss_recorder import LossRecorder
from workers.engine.training.updates.fused_steps import FusedSteps
from workers.engine.training.updates.lr_schedules import learning_rate
from workers.engine.training.updates.optimizers import load_optimizer, make_optimizer, optimizer_tensors
from workers.engine.training.vectorised.stacked import stacked


class VectorisedLearners(ABC):
    """K networks in training. What they have in common is `task`; losses and selection are those of a subclass."""

    group: str | None = None
    relational = False
    stopped = False
    is_independent = False

    def __init__(
        self,
        name: str,
        task: Task,
        networks: Sequence[Network],
        training: TrainingSettings,
        steps: int,
        device: torch.device,
        *,
        own_rows: bool,
        prefix: str,
        series: Sequence[str],
    ) -> None:
        """`own_rows`: batches have n rows for each member, one member after another. `series`: those of the losses that
        `backward` records; `prefix` is that of all.
        """
        self.name = name
        self._task = task
        self._training = training
        self._steps = steps
        self._progress = 0.0
        self._members = len(networks)
        self._own_rows = own_rows
        self._prefix = prefix
        self._networks = stacked(networks, device)
        self._weights = self._networks.parameters
        self._optimizer = make_optimizer(training, list(self._weights.values()), stacked=True)
        self._updates = FusedSteps(self._optimizer)
        terms = [f"{task.name}/{term.name}" for term in task.terms]
        self._gradient_check = GradientCheck(f"{prefix}train/", [(terms, self.parameters.all)], device)
        self._recorder = LossRecorder([f"{prefix}{each}" for each in series], steps, device)
        self._recorded: Tensor | None = None

    @property
    def parameters(self) -> Parameters:
        """The stacked parameters of all members, all of them shared."""
        return Parameters((Shared(tuple(self._weights.values()), (0,)),), ())

    @abstractmethod
    def counts(self, batches: Sequence[Tensor]) -> list[Counts]: ...

    @abstractmethod
    def losses(
        self, outputs: Tensor, rows: Rows, counts: Counts, progress: float, *, weighted: bool = True
    ) -> tuple[Tensor, Tensor]:
        """(the loss of each member [K], what is recorded) for outputs [K, n, size]; `weighted`: with row weights."""
        ...

    @abstractmethod
    def end_epoch(self, inputs: Inputs, validation: Rows, epoch: int, step: int) -> list[MetricPoint]: ...

    def begin_step(self, counts: Counts, step: int) -> None:
        self._updates.zero_grad()
        self._progress = step / max(1, self._steps - 1)

    def observe(self, parts: Sequence[MicroBatch], counts: Counts, step: int, epoch: int) -> None:
        """Does nothing: a single task has no gradients to compare."""
        return

    def forward(self, part: MicroBatch) -> StepOutputs:
        """The outputs of all members: {task: [K, n, size]}."""
        x = part.x.reshape(self._members, -1, *part.x.shape[1:]) if self._own_rows else part.x
        return StepOutputs({self._task.name: self._networks(x, own=self._own_rows)}, {})

    def predict(self, x: Tensor) -> Tensor:
        """The outputs of all members [K, n, size] for the same rows."""
        return self._networks(x, own=False)

    def backward(self, outputs: StepOutputs, rows: Rows, counts: Counts, peers: PeerOutputs = ()) -> None:
        """The backward pass of the sum of all losses: each member gets the gradient of its own."""
        totals, recorded = self.losses(outputs.outputs[self._task.name], rows, counts, self._progress)
        torch.autograd.backward(totals.sum())
        self._recorded = recorded.detach()

    def forward_backward(self, parts: Sequence[MicroBatch], counts: Counts) -> None:
        """Micro-batches one after another, as no term compares rows."""
        for part in parts:
            self.backward(self.forward(part), part.rows, counts)

    def end_step(self, step: int, epoch: int) -> None:
        self._gradient_check.check(step + 1)
        if self._training.clip_norm > 0.0:
            _clip_each(self._weights.values(), self._training.clip_norm)
        self._updates.step(learning_rate(self._training, step, self._steps))
        assert self._recorded is not None
        self._recorder.add(self._recorded, step + 1, epoch)

    def take_points(self) -> list[MetricPoint]:
        self._gradient_check.raise_if_not_finite(before=self._recorder.first_bad_step())
        return self._recorder.take()

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        parts: dict[str, Mapping[str, Tensor]] = {
            "weights": self._weights,
            "optimizer": optimizer_tensors(self._optimizer),
            "loss_recorder": self._recorder.state(),
        }
        return named_tensors(self.name, parts), {}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        own = with_prefix(self.name, tensors)
        with torch.no_grad():
            for name, value in self._weights.items():
                value.copy_(own[f"weights/{name}"])
        load_optimizer(self._optimizer, with_prefix("optimizer", own))
        self._updates.forget()
        self._recorder.load(with_prefix("loss_recorder", own), state.get("filled", 0))

    def is_finite(self) -> bool:
        return are_finite([*self._weights.values(), *optimizer_tensors(self._optimizer).values()])


def _clip_each(weights: Iterable[nn.Parameter], norm: float) -> None:
    """Rescale the gradients of each member, [K, …] of every parameter, as `clip_grad_norm_` does of one network."""
    gradients = [parameter.grad for parameter in weights if parameter.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients])
    factors = (norm / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.reshape(-1, *[1] * (gradient.dim() - 1)))
