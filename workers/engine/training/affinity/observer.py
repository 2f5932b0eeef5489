"""Measures the tasks' gradients during training: statistics of every multi-task job, and the estimate of R."""

from collections.abc import Sequence
from typing import Literal, assert_never

import torch
from torch import Tensor

from app.contracts.specs.relations import EstimatedRelation, EstimateMethod
from app.contracts.wire.events import MetricPoint
from workers.engine.balancing.relation.estimate import Matrix, listed, relation_of
from workers.engine.balancing.relation.matrix import Relation
from workers.engine.balancing.relation.running_stats import RunningStats
from workers.engine.evaluation.relation_report import RelationMeasurements
from workers.engine.training.affinity.gradients import GradientStatistics, task_gradients
from workers.engine.training.affinity.lookahead import cosines, first_order_affinities, lookahead_affinities
from workers.engine.training.batch import Counts, MicroBatch
from workers.engine.training.interface import NetworkLearner
from workers.engine.training.learner_state import with_prefix

MEASUREMENTS = 50
"""Approximate number of measurements of a job whose relation is not estimated."""
MIN_INTERVAL = 20
"""Minimum number of steps between them: a measurement costs a forward pass, and a backward pass for each task."""
MAX_POINTS = 40_000
"""Maximum number of points of all series together: with many tasks points are further apart."""


class Observer:
    """Measures the gradients of one learner. `live`: the balancer's relation, where it follows the estimate."""

    def __init__(
        self, names: Sequence[str], steps: int, estimated: EstimatedRelation | None, live: Relation | None = None
    ) -> None:
        self.names = tuple(names)
        self.method: EstimateMethod = estimated.estimate if estimated is not None else "gradient_cosine"
        self.every = estimated.every if estimated is not None else max(MIN_INTERVAL, steps // MEASUREMENTS)
        self._live = live
        self._measured: dict[str, RunningStats] = {}
        self._latest: dict[str, Tensor] = {}
        self._points: list[tuple[int, int, dict[str, Tensor]]] = []
        count = 1 + steps // self.every
        self._stride = max(1, count // MEASUREMENTS, count * 4 * len(names) ** 2 // MAX_POINTS)

    def measure(
        self, learner: NetworkLearner, parts: Sequence[MicroBatch], counts: Counts, step: int, epoch: int
    ) -> None:
        """Measure before a step, if due. Of the learner only a relation that follows the estimate changes.

        With a balancer that computes the tasks' gradients anyway, `measure_after` uses those instead.
        """
        if step % self.every != 0 or (learner.balancer.has_gramian and self.method != "tag"):
            return
        gradients = task_gradients(learner, parts, counts)
        if self.method == "tag":
            self._record(gradients.statistics(), lookahead_affinities(learner, parts, counts, gradients))
        else:
            self._record(gradients.statistics(), self._affinity(gradients.statistics(), self.method))

    def measure_after(self, learner: NetworkLearner, step: int, epoch: int) -> None:
        """Measure after a step, if due: the gradients and weights that the balancer computed."""
        if step % self.every != 0:
            return
        gramian, weights = learner.balancer.last_gramian, learner.balancer.last_weights
        if gramian is not None and self.method != "tag":
            statistics = GradientStatistics(gramian, learner.task_losses())
            self._record(statistics, self._affinity(statistics, self.method))
        if weights is not None and self._latest:
            self._latest["weight"] = weights.to(self._latest["norm"].device, torch.float32)
            self._statistics("weight", self._latest["weight"]).add(self._latest["weight"])
        if self._latest and (step // self.every) % self._stride == 0:
            self._points.append((step, epoch, {**self._latest, **self._live_relation(self._latest["norm"].device)}))
        self._latest = {}

    @staticmethod
    def _affinity(statistics: GradientStatistics, method: Literal["gradient_cosine", "first_order"]) -> Tensor:
        """What each task's gradient does for each other task, from the gradients alone."""
        match method:
            case "gradient_cosine":
                return cosines(statistics)
            case "first_order":
                return first_order_affinities(statistics)
            case _:
                assert_never(method)

    def _record(self, statistics: GradientStatistics, affinity: Tensor) -> None:
        angles = cosines(statistics)
        tables = {
            "norm": statistics.gramian.diagonal().sqrt(),
            "cosine": angles,
            "conflict": torch.where(angles.isfinite(), (angles < 0.0).float(), torch.nan),
            "affinity": affinity,
        }
        for name, values in tables.items():
            self._statistics(name, values).add(values)
        if self._live is not None:
            self._live.become(relation_of(self._measured["affinity"]))
        self._latest = tables

    def _statistics(self, name: str, like: Tensor) -> RunningStats:
        if name not in self._measured:
            self._measured[name] = RunningStats.none(tuple(like.shape), like.device)
        return self._measured[name]

    def _live_relation(self, device: torch.device) -> dict[str, Tensor]:
        if self._live is None:
            return {}
        return {"relation": torch.tensor(self._live.over(range(len(self.names))).tolist(), device=device)}

    # Results.

    def take_points(self, prefix: str) -> list[MetricPoint]:
        """Return and clear the points of `gradient/…`, `affinity/…`, `relation/…`. Waits for the device."""
        points = []
        for step, epoch, tables in self._points:
            for name, values in ((n, listed(v if v.dim() == 2 else v[:, None])) for n, v in tables.items()):
                points += [
                    MetricPoint(series=f"{prefix}{series}", step=step, epoch=epoch, value=value)
                    for series, value in self._series(name, values)
                ]
        self._points.clear()
        return points

    def _series(self, name: str, values: Sequence[Sequence[float | None]]) -> list[tuple[str, float | None]]:
        names = self.names
        if name == "norm":
            return [(f"gradient/{task}/norm", row[0]) for task, row in zip(names, values, strict=True)]
        if name == "weight":
            return [(f"weight/{task}", row[0]) for task, row in zip(names, values, strict=True)]
        if name == "relation":
            return [(f"relation/{a}/{b}", values[i][j]) for i, a in enumerate(names) for j, b in enumerate(names)]
        if name == "affinity" and self.method != "gradient_cosine":
            return [(f"affinity/{a}/{b}", values[i][j]) for i, a in enumerate(names) for j, b in enumerate(names)]
        if name == "cosine":
            pairs = [(i, j) for i in range(len(names)) for j in range(i)]
            return [(f"gradient/{names[j]}/{names[i]}/cosine", values[i][j]) for i, j in pairs]
        assert name in ("affinity", "conflict"), f"no series for the table {name}"
        return []  # affinities by cosine are the cosines; conflicts are reported at the end

    def matrix(self) -> Matrix:
        """The current estimate of R, rows not normalised. Waits for the device."""
        return relation_of(self._measured["affinity"])

    def summary(self) -> RelationMeasurements | None:
        """Everything measured, as JSON; None if nothing was."""
        if not self._measured:
            return None
        means = {name: measured.mean() for name, measured in self._measured.items()}
        return {
            "tasks": list(self.names),
            "method": self.method,
            "measured": int(self._measured["norm"].counts.max()),
            "affinity": listed(means["affinity"]),
            "standard_error": listed(self._measured["affinity"].standard_error()),
            "cosine": listed(means["cosine"]),
            "conflicts": listed(means["conflict"]),
            "norms": [row[0] for row in listed(means["norm"][:, None])],
            "weights": [row[0] for row in listed(means["weight"][:, None])] if "weight" in means else [],
            "estimate": self.matrix(),
        }

    # Checkpoints.

    def state(self) -> dict[str, Tensor]:
        """Tensors by `<table>/<name>`. Points have no state: they are emitted before a checkpoint."""
        return {
            f"{table}/{name}": value
            for table, measured in self._measured.items()
            for name, value in measured.state().items()
        }

    def load_state(self, state: dict[str, Tensor], device: torch.device) -> None:
        for table in {name.split("/")[0] for name in state}:
            tensors = with_prefix(table, state)
            self._statistics(table, tensors["sums"].to(device)).load(tensors)
        if self._live is not None and "affinity" in self._measured:
            self._live.become(relation_of(self._measured["affinity"]))
