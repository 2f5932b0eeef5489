"""What the loop needs of those whom it trains, and what the helpers of a learner need of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from app.contracts.wire.events import ChildEvent, MetricPoint
from workers.engine.balancing import Balancer, Losses, Parameters
from workers.engine.data.columns import Rows
from workers.engine.data.inputs import Inputs
from workers.engine.models import Network
from workers.engine.tasks.task import Task
from workers.engine.training.batch import Counts, MicroBatch, Peers, StepOutputs

Emit = Callable[[ChildEvent], None]
"""Takes each event of a job as it happens."""


class Trainable(Protocol):
    """A learner, or several that train as one vectorised step, as the loop sees them."""

    name: str
    group: str | None
    """Trainables of one group are each other's peers (mutual learning)."""
    relational: bool
    """Whether a batch in parts must be learned as a whole (`learn_whole`)."""
    tasks: tuple[Task, ...]

    @property
    def stopped(self) -> bool:
        """Whether it takes no further step."""
        ...

    def counts(self, rows: Tensor) -> list[Tensor]:
        """Bool [len(rows)] for each term of each task, flat: which of these dataset rows (int64) it counts."""
        ...

    def begin_step(self, counts: Counts, step: int) -> None:
        """Start optimizer step `step` (from 0) over a batch with these counts."""
        ...

    def observe(self, parts: Sequence[MicroBatch], counts: Counts, step: int, epoch: int) -> None:
        """Measure before the step, where something is measured and it is due. Changes nothing that is trained."""
        ...

    def forward(self, part: MicroBatch) -> StepOutputs:
        """The forward pass of a micro-batch, in training mode."""
        ...

    def learn(self, outputs: StepOutputs, rows: Rows, counts: Counts, peers: Peers = ()) -> None:
        """The backward pass of a micro-batch, from the outputs of its forward pass."""
        ...

    def learn_whole(self, parts: Sequence[MicroBatch], counts: Counts) -> None:
        """Forward and backward of a batch in parts whose rows are compared with each other."""
        ...

    def end_step(self, step: int, epoch: int) -> None:
        """Balance, clip, update; `step` counts from 0, `epoch` from 1."""
        ...

    def end_epoch(self, inputs: Inputs, validation: Rows, epoch: int, step: int) -> list[MetricPoint]:
        """Validate after epoch `epoch` (from 1) and `step` steps; the points of the validation series."""
        ...

    def take_points(self) -> list[MetricPoint]:
        """The points of the training series that are ready. Raises UserError `diverged`."""
        ...

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next step depends on: tensors under its name, and JSON-able state."""
        ...

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """The inverse of `save`; built from the same spec."""
        ...

    def is_finite(self) -> bool:
        """Whether every weight and all optimizer state is finite, as a checkpoint must be."""
        ...


class NetworkLearner(Protocol):
    """A learner with one network, as accumulation, validation and the measuring of gradients see it."""

    @property
    def prefix(self) -> str:
        """What its metric series begin with."""
        ...

    @property
    def network(self) -> Network:
        """The network that is trained."""
        ...

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What it learns."""
        ...

    @property
    def parameters(self) -> Parameters:
        """Its trained parameters, shared ones apart from each task's own."""
        ...

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """What is trained beside the network (projectors, learned temperatures), by `<task>/<term>`."""
        ...

    @property
    def balancer(self) -> Balancer:
        """How the tasks' losses are combined."""
        ...

    def forward(self, part: MicroBatch) -> StepOutputs:
        """The forward pass of a micro-batch, in training mode."""
        ...

    def predict(self, x: Tensor) -> StepOutputs:
        """The forward pass of x [n, …], in the mode that the network is in."""
        ...

    def losses(
        self, outputs: StepOutputs, rows: Rows, counts: Counts, peers: Peers = ()
    ) -> tuple[Losses, list[Tensor]]:
        """(the losses of the tasks that are present, every term's mean) of these rows."""
        ...

    def backward(self, losses: Losses, means: list[Tensor]) -> None:
        """Add the gradients of some losses, and record the terms' means."""
        ...

    def task_losses(self) -> Tensor:
        """The losses of the step [K], NaN for tasks that were absent."""
        ...
