"""The interfaces of learners: for the training loop, and for accumulation, validation and gradient measurements."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from app.contracts.wire.events import ChildEvent, MetricPoint
from workers.engine.balancing import Balancer, Losses, Parameters, TermSum
from workers.engine.data.rows.columns import Rows
from workers.engine.data.rows.inputs import Inputs
from workers.engine.models import Network
from workers.engine.tasks.task import Task
from workers.engine.training.batch import Counts, MicroBatch, PeerOutputs, StepOutputs

Emit = Callable[[ChildEvent], None]
"""Receives each event of a job as it happens."""


class Trainable(Protocol):
    """A learner, or several learners in one vectorised step, as the loop sees them."""

    name: str
    group: str | None
    """Learners of the same group are peers (mutual learning)."""
    relational: bool
    """Whether a batch of several micro-batches needs `forward_backward`."""

    @property
    def stopped(self) -> bool:
        """Whether it has finished early."""
        ...

    @property
    def is_independent(self) -> bool:
        """Whether its steps neither use what other learners' do nor draw random numbers of the process."""
        ...

    def counts(self, batches: Sequence[Tensor]) -> list[Counts]:
        """The counts of each of these batches (row numbers, int64)."""
        ...

    def begin_step(self, counts: Counts, step: int) -> None:
        """Begin optimizer step `step` (from 0) over a batch with these counts."""
        ...

    def observe(self, parts: Sequence[MicroBatch], counts: Counts, step: int, epoch: int) -> None:
        """Take measurements before the step, if they are due. Does not change what is trained."""
        ...

    def forward(self, part: MicroBatch) -> StepOutputs:
        """The forward pass of a micro-batch, in training mode."""
        ...

    def backward(self, outputs: StepOutputs, rows: Rows, counts: Counts, peers: PeerOutputs = ()) -> None:
        """Losses and backward pass of a micro-batch, from the outputs of its forward pass."""
        ...

    def forward_backward(self, parts: Sequence[MicroBatch], counts: Counts) -> None:
        """Forward and backward passes of a batch whose rows are compared across micro-batches."""
        ...

    def end_step(self, step: int, epoch: int) -> None:
        """Combine the tasks' gradients, clip, and update the weights; `step` counts from 0, `epoch` from 1."""
        ...

    def end_epoch(self, inputs: Inputs, validation: Rows, epoch: int, step: int) -> list[MetricPoint]:
        """Validate after epoch `epoch` (from 1) and `step` steps; returns the points of the validation series."""
        ...

    def take_points(self) -> list[MetricPoint]:
        """Return and clear the points of the training series that are ready. Raises UserError `diverged`."""
        ...

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(tensors under the learner's name, JSON-serializable state): everything that the next step depends on."""
        ...

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """The inverse of `save`, for a learner built from the same spec."""
        ...

    def is_finite(self) -> bool:
        """Whether all weights and the optimizer state are finite."""
        ...


class NetworkLearner(Protocol):
    """A learner with one network, as accumulation, validation and gradient measurements see it."""

    @property
    def prefix(self) -> str:
        """The prefix of its metric series."""
        ...

    @property
    def network(self) -> Network:
        """The network that is trained."""
        ...

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that it is trained on."""
        ...

    @property
    def parameters(self) -> Parameters:
        """Its parameters: those shared by tasks, and those of each task."""
        ...

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Modules trained besides the network (projectors, learned temperatures), by `<task>/<term>`."""
        ...

    @property
    def balancer(self) -> Balancer:
        """How the tasks' losses are combined."""
        ...

    def forward(self, part: MicroBatch) -> StepOutputs:
        """The forward pass of a micro-batch, in training mode."""
        ...

    def predict(self, x: Tensor) -> StepOutputs:
        """The forward pass of x [n, …], in the network's current mode."""
        ...

    def losses(
        self, outputs: StepOutputs, rows: Rows, counts: Counts, peers: PeerOutputs = ()
    ) -> tuple[Losses, list[TermSum]]:
        """(losses of the tasks that are present, every term) for these rows."""
        ...

    def accumulate(self, losses: Losses, terms: Sequence[TermSum]) -> None:
        """Add the gradients of the losses to the step's, and the terms' values to the recorded ones."""
        ...

    def task_losses(self) -> Tensor:
        """The tasks' losses in this step [K]; NaN for tasks without rows in the batch."""
        ...
