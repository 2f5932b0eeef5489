"""Looks at the tasks' gradients every so many steps: the audit of every multi-task job, and the estimate of R."""

from collections.abc import Sequence
from typing import Any, Literal, assert_never

import torch
from torch import Tensor

from app.contracts.specs.relations import EstimatedRelation, EstimateMethod
from app.contracts.wire.events import MetricPoint
from workers.engine.balancing.relation.estimate import Matrix, listed, relation_of
from workers.engine.balancing.relation.matrix import Relation
from workers.engine.balancing.relation.running_stats import RunningStats
from workers.engine.training.affinity.gradients import GradientStatistics, task_gradients
from workers.engine.training.affinity.lookahead import cosines, promised_falls, tried_falls
from workers.engine.training.batch import Counts, MicroBatch
from workers.engine.training.interface import NetworkLearner

LOOKS = 50
"""About how often a job's gradients are looked at, where nothing is estimated."""
RAREST = 20
"""Steps between two looks at least: looking costs a forward pass, and a backward pass for each task."""
MOST_NUMBERS = 40_000
"""Of all series together: with many tasks points are further apart."""


class Observer:
    """The student's. `live`: the relation that the balancer uses, where it follows the estimate."""

    def __init__(
        self, names: Sequence[str], steps: int, estimated: EstimatedRelation | None, live: Relation | None = None
    ) -> None:
        self.names = tuple(names)
        self.method: EstimateMethod = estimated.estimate if estimated is not None else "gradient_cosine"
        self.every = estimated.every if estimated is not None else max(RAREST, steps // LOOKS)
        self._live = live
        self._measured: dict[str, RunningStats] = {}
        self._told: dict[str, Tensor] = {}
        self._points: list[tuple[int, int, dict[str, Tensor]]] = []
        looks = 1 + steps // self.every
        self._stride = max(1, looks // LOOKS, looks * 4 * len(names) ** 2 // MOST_NUMBERS)

    def measure(
        self, learner: NetworkLearner, parts: Sequence[MicroBatch], counts: Counts, step: int, epoch: int
    ) -> None:
        """Measure before a step, if it is time. Nothing of the learner changes but the relation that follows the
        estimate. A balancer that works on the tasks' gradients is asked after the step, and costs nothing.
        """
        if step % self.every != 0 or (learner.balancer.has_gramian and self.method != "tag"):
            return
        gradients = task_gradients(learner, parts, counts)
        if self.method == "tag":
            self._note(gradients.looked(), tried_falls(learner, parts, counts, gradients))
        else:
            self._note(gradients.looked(), self._affinity(gradients.looked(), self.method))

    def measure_after(self, learner: NetworkLearner, step: int, epoch: int) -> None:
        """The same after the step, where the balancer worked on the tasks' gradients; and what it weighed them by."""
        if step % self.every != 0:
            return
        gramian, weights = learner.balancer.last_gramian, learner.balancer.last_weights
        if gramian is not None and self.method != "tag":
            statistics = GradientStatistics(gramian, learner.task_losses())
            self._note(statistics, self._affinity(statistics, self.method))
        if weights is not None and self._told:
            self._told["weight"] = weights.to(self._told["norm"].device, torch.float32)
            self._table("weight", self._told["weight"]).add(self._told["weight"])
        if self._told and (step // self.every) % self._stride == 0:
            self._points.append((step, epoch, {**self._told, **self._drawn(self._told["norm"].device)}))
        self._told = {}

    @staticmethod
    def _affinity(statistics: GradientStatistics, method: Literal["gradient_cosine", "first_order"]) -> Tensor:
        """What each task's gradient does for each other task, from the gradients alone."""
        match method:
            case "gradient_cosine":
                return cosines(statistics)
            case "first_order":
                return promised_falls(statistics)
            case _:
                assert_never(method)

    def _note(self, statistics: GradientStatistics, affinity: Tensor) -> None:
        angles = cosines(statistics)
        tables = {
            "norm": statistics.gramian.diagonal().sqrt(),
            "cosine": angles,
            "conflict": torch.where(angles.isfinite(), (angles < 0.0).float(), torch.nan),
            "affinity": affinity,
        }
        for name, values in tables.items():
            self._table(name, values).add(values)
        if self._live is not None:
            self._live.become(relation_of(self._measured["affinity"]))
        self._told = tables

    def _table(self, name: str, like: Tensor) -> RunningStats:
        if name not in self._measured:
            self._measured[name] = RunningStats.none(tuple(like.shape), like.device)
        return self._measured[name]

    def _drawn(self, device: torch.device) -> dict[str, Tensor]:
        if self._live is None:
            return {}
        return {"relation": torch.tensor(self._live.over(range(len(self.names))).tolist(), device=device)}

    # What is told.

    def take_points(self, prefix: str) -> list[MetricPoint]:
        """The points of `gradient/…`, `affinity/…`, `relation/…` since the last call; waits for the device."""
        found = []
        for step, epoch, tables in self._points:
            for name, values in ((n, listed(v if v.dim() == 2 else v[:, None])) for n, v in tables.items()):
                found += [
                    MetricPoint(series=f"{prefix}{series}", step=step, epoch=epoch, value=value)
                    for series, value in self._series(name, values)
                ]
        self._points.clear()
        return found

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
        return []

    def matrix(self) -> Matrix:
        """R as it is estimated now, rows not normalised; waits for the device."""
        return relation_of(self._measured["affinity"])

    def summary(self) -> dict[str, Any] | None:
        """Everything measured, as JSON; None where nothing was."""
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
        """By `<table>/<name>`; points are taken before a checkpoint."""
        return {
            f"{table}/{name}": value
            for table, measured in self._measured.items()
            for name, value in measured.state().items()
        }

    def load_state(self, state: dict[str, Tensor], device: torch.device) -> None:
        """The inverse of `state`."""
        for table in {name.split("/")[0] for name in state}:
            own = {name.split("/")[1]: value for name, value in state.items() if name.startswith(f"{table}/")}
            self._table(table, own["sums"].to(device)).load(own)
        if self._live is not None and "affinity" in self._measured:
            self._live.become(relation_of(self._measured["affinity"]))
