"""A learner: a network with its tasks, balancer, optimizer, and best weights so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor, nn

from app.contracts.specs.phases import Phase
from app.contracts.specs.training import TrainingSettings
from app.contracts.wire.events import MetricPoint
from workers.engine.balancing import Balancer, Losses, Parameters, Shared, TermSum
from workers.engine.balancing.balancer import stacked
from workers.engine.balancing.fixed import Fixed
from workers.engine.common.seeds import seed_step
from workers.engine.data.rows.columns import Rows
from workers.engine.data.rows.inputs import Inputs
from workers.engine.evaluation.warnings.history import Point, label_losses, points_document, points_of
from workers.engine.models import Network
from workers.engine.models.families.freezing import FrozenLayers
from workers.engine.models.families.layer_rates import layer_factors
from workers.engine.models.families.recomputation import Recomputation
from workers.engine.models.quantization.fake import FakeQuantization
from workers.engine.models.taps import Taps
from workers.engine.tasks.task import Task
from workers.engine.training.accumulation import accumulate_relational, losses_of_batch
from workers.engine.training.affinity import Observer
from workers.engine.training.batch import Counts, MicroBatch, PeerOutputs, StepOutputs, batch_counts
from workers.engine.training.gradient_check import GradientCheck, are_finite
from workers.engine.training.learner_state import load_modules, module_tensors, named_tensors, with_prefix
from workers.engine.training.loss_recorder import LossRecorder
from workers.engine.training.passes.cuda_graphs import GraphedForward, has_plain_passes
from workers.engine.training.passes.precision import Precision
from workers.engine.training.updates.fused_steps import FusedSteps
from workers.engine.training.updates.lr_schedules import Plateau, learning_rate
from workers.engine.training.updates.optimizers import load_optimizer, make_optimizer, optimizer_tensors
from workers.engine.training.updates.points import rate_point, temperature_points
from workers.engine.training.validation import validate


@dataclass
class BestSoFar:
    """The best validation score of a learner so far, and the weights that reached it; epochs count from 1."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    score: float | None = None
    loss: float = inf
    """The validation loss of that epoch; of equal scores, the one of lower loss is better."""
    epoch: int = 0
    waited: int = 0
    """Epochs without improvement since then."""

    def record(self, score: float, loss: float | None, epoch: int, min_delta: float = 0.0) -> bool:
        """Whether the weights of this epoch are the best so far; of equal scores those of the lower loss are. An epoch
        without a higher score (by more than `min_delta`) counts as one without improvement.

        A score that is not finite is never the best, as no later score would compare greater than NaN.
        """
        previous = -inf if self.score is None else self.score
        loss = inf if loss is None or not isfinite(loss) else loss
        is_higher = isfinite(score) and score > previous + min_delta
        is_best = is_higher or (score == self.score and loss < self.loss)
        if is_best:
            self.score, self.loss, self.epoch = score, loss, epoch
        self.waited = 0 if is_higher else self.waited + 1
        return is_best

    def state(self) -> dict[str, Any]:
        """Everything but the weights, as JSON."""
        loss = self.loss if isfinite(self.loss) else None
        return {"score": self.score, "loss": loss, "epoch": self.epoch, "waited": self.waited}

    @classmethod
    def of(cls, state: dict[str, Any], weights: dict[str, Tensor] | None = None) -> "BestSoFar":
        """The inverse of `state`."""
        return cls(weights or {}, **{**state, "loss": inf if state.get("loss") is None else state["loss"]})


class Learner:
    """A network in training. `name` is `student`, `control`, or `peer-<n>`.

    Learners of the same `group` are peers (mutual learning).
    """

    def __init__(
        self,
        name: str,
        network: Network,
        tasks: Sequence[Task],
        balancer: Balancer,
        training: TrainingSettings,
        steps: int,
        device: torch.device,
        group: str | None = None,
        prefix: str = "",
    ) -> None:
        self.name = name
        self.group = group
        self.network = network.to(device)
        self.frozen = FrozenLayers(self.network, training.frozen)
        self.frozen.evaluate()
        factors = layer_factors(self.network, training.layer_decay) if training.layer_decay is not None else None
        self._recomputation = Recomputation(self.network) if training.gradient_checkpointing else None
        wanted = training.quantization
        self.quantization = FakeQuantization(self.network, wanted.begin, steps) if wanted is not None else None
        """The rounding of its layers; None where it trains in float32 alone."""
        self.tasks = tuple(tasks)
        self.balancer = balancer
        self.best = BestSoFar()
        self.evaluations: list[Point] = []
        """The evaluations on the validation split so far."""
        self.steps = 0
        """Optimizer steps taken."""
        self.stopped = False
        """Whether early stopping ended its training."""
        self.prefix = prefix if name == "student" else f"{prefix}{name}/"
        series = [f"{self.prefix}train/{each}" for each in ("loss", *self.columns)]
        self.recorder = LossRecorder(series, steps, device)
        self.modules: dict[str, nn.Module] = {
            name: module.to(device) for task in self.tasks for name, module in task.modules.items()
        }
        self.parameters = _parameters(self.network, self.tasks)
        self.gradient_check = GradientCheck(f"{self.prefix}train/", self._parameters_by_terms(), device)
        self.optimizer = make_optimizer(training, _trained(self.network, self.modules), factors)
        self._updates = FusedSteps(self.optimizer)
        self.plateau = Plateau.of(training)
        self.precision = Precision(training, device)
        self.frozen_heads: Mapping[str, Phase] = {}
        """Tasks whose head is frozen until a phase is over."""
        self.observer: Observer | None = None
        """Measures the tasks' gradients, if there are several tasks."""
        self.relational = balancer.needs_whole_batch or any(task.relational for task in self.tasks)
        """Whether a term or the balancer needs all rows of a batch at once."""
        tapped = [tap for task in self.tasks for term in task.terms for tap in term.taps]
        self.frozen.check(self.network, tapped)
        self._taps = Taps(self.network, tapped)
        self._is_plain = not tapped and isinstance(balancer, Fixed) and has_plain_passes(self.network, training)
        is_graphed = self._is_plain and device.type == "cuda"
        self._graphed = GraphedForward(self.network, self.precision) if is_graphed else None
        self._training = training
        self._all_steps = steps
        self._draws_noise = network.draws_noise
        self._values: Tensor | None = None
        """The values of all terms in this step [T], over the micro-batches so far."""
        self._terms: Sequence[TermSum] = ()
        """Those of the last micro-batch."""
        self._present: tuple[int, ...] = ()
        self._counts: Counts = ()
        self._parts: dict[tuple[int, int], MicroBatch] = {}
        self._progress = 0.0

    @property
    def columns(self) -> list[str]:
        """The recorded terms: `<task>/<term>`."""
        return [f"{task.name}/{term.name}" for task in self.tasks for term in task.terms]

    def counts(self, batches: Sequence[Tensor]) -> list[Counts]:
        return batch_counts(self.tasks, batches)

    @property
    def is_independent(self) -> bool:
        return self._is_plain and self.group is None and self.observer is None and not self.frozen_heads

    # One step.

    def begin_step(self, counts: Counts, step: int) -> None:
        if not self.network.training:
            self.network.train()
            self.frozen.evaluate()
        self._updates.zero_grad()
        self.balancer.begin_step(step)
        self._counts, self._parts = counts, {}
        self._values = None
        self._progress = step / max(1, self._all_steps - 1)
        if self.quantization is not None:
            self.quantization.begin_step(step)
        for task, phase in self.frozen_heads.items():
            for parameter in self.network.head_parameters(task):
                parameter.requires_grad_(phase.over(self._progress) and parameter not in self.frozen)
        self._present = tuple(
            i
            for i, (task, by_term) in enumerate(zip(self.tasks, counts, strict=True))
            if any(
                count > 0 and weight > 0.0 for weight, count in zip(task.weights(self._progress), by_term, strict=True)
            )
        )

    def observe(self, parts: Sequence[MicroBatch], counts: Counts, step: int, epoch: int) -> None:
        if self.observer is not None:
            self.observer.measure(self, parts, counts, step, epoch)

    def forward(self, part: MicroBatch) -> StepOutputs:
        if self.balancer.needs_losses_after:
            self._parts[part.position] = part
        if self._draws_noise:
            seed_step(self._training.seed, "dropout", *part.position)
        if self._graphed is not None and self.is_independent:
            return self._outputs(part.x, self._graphed(part.x))
        with self.precision.forward():
            outputs = self.network(part.x)
        return self._outputs(part.x, outputs)

    def predict(self, x: Tensor) -> StepOutputs:
        return self._outputs(x, self.network(x))

    def _outputs(self, x: Tensor, outputs: Mapping[str, Tensor]) -> StepOutputs:
        taps = self._taps.take()
        return StepOutputs(outputs, taps, self.network.is_token(x) if taps else None)

    def losses(
        self, outputs: StepOutputs, rows: Rows, counts: Counts, peers: PeerOutputs = ()
    ) -> tuple[Losses, list[TermSum]]:
        by_task = []
        for task, by_term in zip(self.tasks, counts, strict=True):
            by_task.append(task.loss(outputs.of(task, self._progress, peers), rows, by_term))
        present = [tuple(term for term in by_task[i] if term.weight > 0.0) for i in self._present]
        return Losses(self._present, tuple(present)), [term for terms in by_task for term in terms]

    def backward(self, outputs: StepOutputs, rows: Rows, counts: Counts, peers: PeerOutputs = ()) -> None:
        losses, terms = self.losses(outputs, rows, counts, peers)
        self.accumulate(losses, terms)

    def forward_backward(self, parts: Sequence[MicroBatch], counts: Counts) -> None:
        accumulate_relational(self, parts, counts)

    def accumulate(self, losses: Losses, terms: Sequence[TermSum]) -> None:
        self.balancer.backward(losses, self.parameters)
        with torch.no_grad():
            values = stacked([term.value for term in terms])
            self._values = values if self._values is None else self._values + values
        self._terms = terms

    def end_step(self, step: int, epoch: int) -> None:
        if self.quantization is not None:
            self.quantization.end_step()
        self.balancer.finish(self._present, self.parameters, step)
        if self.observer is not None:
            self.observer.measure_after(self, step, epoch)
        self.gradient_check.check(step + 1)
        if self._training.clip_norm > 0.0:
            self.balancer.clip(self.parameters, self._training.clip_norm)
        self._updates.step(self._rate(step))
        self.balancer.after_step(self._losses_after_step)
        self.steps += 1
        assert self._values is not None
        scales = [1.0 / (term.count or 1) for term in self._terms]
        self.recorder.add(self._values, step + 1, epoch, scales, self._weights())
        self._terms = ()  # they hold the graphs of terms that have no weight

    def _rate(self, step: int) -> float:
        """The learning rate of a step (from 0)."""
        rate = learning_rate(self._training, step, self._all_steps)
        return rate if self.plateau is None else rate / self._training.rate * self.plateau.rate

    def _losses_after_step(self) -> Tensor:
        """The losses of the tasks that are present [K] after the update, on the step's batch with its dropout masks."""
        return losses_of_batch(self, list(self._parts.values()), self._counts)

    def task_losses(self) -> Tensor:
        assert self._values is not None
        values, losses = zip(self._values, self._terms, strict=True), []
        for i, task in enumerate(self.tasks):
            weighted = [
                weight * replace(term, value=value).mean
                for weight, (value, term) in zip(task.weights(self._progress), values, strict=False)
            ]
            losses.append(
                torch.stack(weighted).sum() if i in self._present else torch.full_like(weighted[0], torch.nan)
            )
        return torch.stack(losses)

    def _weights(self) -> list[float]:
        """What the mean of each term is multiplied by in the total: Σ_i w_i Σ_t w_t L_t."""
        return [task.weight * weight for task in self.tasks for weight in task.weights(self._progress)]

    # One epoch, and the end.

    def end_epoch(self, inputs: Inputs, validation: Rows, epoch: int, step: int) -> list[MetricPoint]:
        self.balancer.end_epoch()
        if len(validation) == 0 or not (epoch % self._training.evaluate_every == 0 or self.steps == self._all_steps):
            return []
        result = validate(self, inputs, validation, ranking=self._training.select_by == "auroc")
        score = result.score(self.tasks, self._training)
        points = result.points(self.prefix, step, epoch)
        losses = label_losses(result.metrics, {task.name: task.spec.kind for task in self.tasks})
        self.evaluations.append(Point(self.steps, score if score is not None and isfinite(score) else None, losses))
        if self.plateau is not None or not self.prefix:  # else that of the others as well
            points.append(rate_point(self.prefix, self._rate(step - 1), step, epoch))
        points += temperature_points(self.prefix, self.tasks, self._progress, step, epoch)
        if self.plateau is not None and score is not None:
            self.plateau.record(score)
        if score is not None and (self.quantization is None or self.quantization.active):
            self.record_score(score, epoch, result.loss)
        return points

    def record_score(self, score: float, epoch: int, loss: float | None) -> None:
        """Save the weights if they are the best so far, and stop where the score has not improved for long enough."""
        best, stopping = self.best, self._training.early_stopping
        is_best = best.record(score, loss, epoch, stopping.min_delta if stopping else 0.0)
        if is_best and self._training.select_by != "last":
            best.weights = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.stopped = stopping is not None and best.waited >= stopping.patience

    def take_points(self) -> list[MetricPoint]:
        self.gradient_check.raise_if_not_finite(before=self.recorder.first_bad_step())
        measured = self.observer.take_points(self.prefix) if self.observer is not None else []
        return [*self.recorder.take(), *measured]

    def finish(self, last_epoch: int) -> int:
        """Load the best weights into the network; returns their epoch, `last_epoch` where none were saved."""
        self._taps.close()
        if self._recomputation is not None:
            self._recomputation.remove()
        if self.best.weights:
            self.network.load_state_dict(self.best.weights)
            return self.best.epoch
        return last_epoch

    def take_input_ranges(self) -> dict[str, Tensor]:
        """Make the network an ordinary one; returns the ranges of its layers' inputs, none where it was not quantized.
        Called after `finish`.
        """
        return self.quantization.remove() if self.quantization is not None else {}

    # Checkpoints.

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = named_tensors(
            self.name,
            {
                "network": self.network.state_dict(),
                "best": self.best.weights,
                "optimizer": optimizer_tensors(self.optimizer),
                "balancer": self.balancer.state(),
                "recorder": self.recorder.state(),
                "modules": module_tensors(self.modules),
                "observer": self.observer.state() if self.observer is not None else {},
            },
        )
        plateau = {"plateau": self.plateau.state()} if self.plateau is not None else {}
        state = {"best": self.best.state(), "steps": self.steps, "stopped": self.stopped}
        state["evaluations"] = points_document(self.evaluations)
        return tensors, {**state, **plateau}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        state_tensors = with_prefix(self.name, tensors)
        device = next(self.network.parameters()).device
        self.network.load_state_dict(with_prefix("network", state_tensors))
        load_modules(self.modules, with_prefix("modules", state_tensors))
        load_optimizer(self.optimizer, with_prefix("optimizer", state_tensors))
        self._updates.forget()
        self.balancer.load_state(with_prefix("balancer", state_tensors))
        self.recorder.load(with_prefix("recorder", state_tensors), state.get("filled", 0))
        if self.observer is not None:
            self.observer.load_state(with_prefix("observer", state_tensors), device)
        weights = {name: value.to(device) for name, value in with_prefix("best", state_tensors).items()}
        self.best = BestSoFar.of(state["best"], weights)
        self.steps, self.stopped = state["steps"], state["stopped"]
        self.evaluations = points_of(state.get("evaluations", ()))
        if self.plateau is not None:
            self.plateau.load(state["plateau"])

    def is_finite(self) -> bool:
        weights = [*self.network.state_dict().values(), *module_tensors(self.modules).values()]
        return are_finite([*weights, *optimizer_tensors(self.optimizer).values()])

    def _parameters_by_terms(self) -> list[tuple[list[str], list[nn.Parameter]]]:
        """(terms, parameters with a gradient of theirs): shared parameters first, then those of each task."""
        by_task = [
            ([f"{task.name}/{term.name}" for term in task.terms], list(parameters))
            for task, parameters in zip(self.tasks, self.parameters.own, strict=True)
        ]
        if len(by_task) == 1:
            return [(self.columns, self.parameters.all)]
        return [(self.columns, self.parameters.trunk), *by_task]


def _parameters(network: Network, tasks: Sequence[Task]) -> Parameters:
    """What is trained: parameters without a gradient are left out."""
    own = [
        [*network.own_parameters(task.name), *(p for module in task.modules.values() for p in module.parameters())]
        for task in tasks
    ]
    indices = {task.name: i for i, task in enumerate(tasks)}
    shared = [
        Shared(
            trained,
            tuple(sorted(indices[output] for output in reach.outputs if output in indices)),
            indices.get(reach.tower or ""),
        )
        for reach in network.shared_parameters()
        if (trained := _with_gradients(reach.parameters)) or not reach.parameters
    ]
    return Parameters(tuple(shared), tuple(_with_gradients(each) for each in own))


def _with_gradients(parameters: Sequence[nn.Parameter]) -> tuple[nn.Parameter, ...]:
    return tuple(parameter for parameter in parameters if parameter.requires_grad)


def _trained(network: nn.Module, modules: Mapping[str, nn.Module]) -> list[nn.Parameter]:
    of_modules = [parameter for module in modules.values() for parameter in module.parameters()]
    return [*network.parameters(), *of_modules]
