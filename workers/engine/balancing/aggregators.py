"""torchjd's aggregators as combinations, made equivariant to the scale of the losses: A(J/s)·s.

s is the mean norm of the rows. Some aggregators have thresholds or solvers that suppose gradients of about 1 (CAGrad,
MGDA, FairGrad, Nash-MTL). No constant follows: each keeps the length of its paper.
Most weigh the rows by their inner products; those are given the Gramian, divided by s², and J is read once more.
Some of torchjd's (PCGrad, GradVac, MGDA, CAGrad, FairGrad, Nash-MTL) solve on the host and so wait for the device.
"""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchjd.aggregation import (
    Aggregator,
    GradVac,
    GramianWeightedAggregator,
    NashMTL,
    WeightedAggregator,
)

from app.contracts.problems import UserError
from workers.engine.balancing.balancer import refuse_others
from workers.engine.balancing.rows import Rows, mean_norm
from workers.engine.balancing.slots import Slots

_HOST = torch.device("cpu")


def solved(name: str, solve: Callable[[], Tensor], gramian: Tensor, size: int) -> Tensor:
    """[size]: what a solver finds. Zeros where it fails and all rows are zero, NaN where they are not finite (the loop
    reports `diverged`). Raises UserError `balancing_failed` where it fails for others.
    """
    try:
        return solve()
    except Exception as error:  # whatever a solver raises
        if not bool(gramian.any()):
            return gramian.new_zeros(size)
        if bool(gramian.isfinite().all()):
            raise UserError(
                "balancing_failed",
                f"{name} found no update for these gradients ({str(error)[:200]}): take another `balancing.method`",
            ) from error
        return gramian.new_full((size,), torch.nan)


def scaled_aggregate(aggregator: Aggregator, rows: Rows) -> tuple[Tensor, Tensor | None]:
    """(A(J/s)·s [P], the weights of the rows [k] where A is a weighted sum)."""
    gramian, scale, count = rows.gramian, mean_norm(rows.gramian), len(rows.place.tasks)
    nothing = gramian.diagonal().sum() == 0.0
    if isinstance(aggregator, GramianWeightedAggregator):
        weighting = aggregator.gramian_weighting
        weights = solved(str(aggregator), lambda: weighting(gramian / (scale * scale)), gramian, count)
        weights = torch.where(nothing, torch.zeros_like(weights), weights)
        return rows.weighted(weights), weights
    if isinstance(aggregator, WeightedAggregator):
        weights = solved(str(aggregator), lambda: aggregator.weighting(rows.jacobian / scale), gramian, count)
        weights = torch.where(nothing, torch.zeros_like(weights), weights)
        return rows.weighted(weights), weights
    # GradDrop and ConFIG: equivariant as they are, and zeros where all rows are zero.
    return solved(str(aggregator), lambda: aggregator(rows.jacobian), gramian, rows.own.shape[1]), None


class Plain:
    """An aggregator without state. `preference` are the tasks' weights for those that have such a vector."""

    def __init__(
        self, aggregator: Aggregator, preference: Sequence[float] | None = None, *, shares: bool = False
    ) -> None:
        self._aggregator = aggregator
        self._preference = Slots(weights=torch.tensor(preference)) if preference is not None else None
        self._shares = shares

    def combine(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        if self._preference is not None:
            weights = self._preference.at("weights", rows.place).to(rows.own.dtype)
            if self._shares:
                weights = weights / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
            self._aggregator.pref_vector = weights
        return scaled_aggregate(self._aggregator, rows)

    def state(self) -> dict[str, Tensor]:
        """Nothing to save."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Nothing to load."""
        refuse_others(state, {})


class GradVacByTask:
    """GradVac with the moving average of the cosine for each pair of tasks of the job, not of the batch.

    torchjd keeps it in a buffer that is reset when the number of rows changes, and that a strict load refuses.
    """

    def __init__(self, count: int, beta: float) -> None:
        self._gradvac = GradVac(beta=beta)
        self._slots = Slots(cosines=torch.zeros(count, count, dtype=torch.float64))

    def combine(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        tasks, dtype = list(rows.place.tasks), rows.own.dtype
        here = torch.tensor(tasks)
        cosines = self._slots.whole("cosines").to(_HOST)
        weighting = self._gradvac.gramian_weighting
        averages = cosines[here[:, None], here].to(dtype)  # written in place by torchjd
        setattr(weighting, "_phi_t", averages)  # noqa: B010 - declared as None there
        weighting._state_key = (len(tasks), dtype)
        found = scaled_aggregate(self._gradvac, rows)
        self._slots.replace(cosines=cosines.index_put((here[:, None], here), averages.double()))
        return found

    def state(self) -> dict[str, Tensor]:
        """The averages."""
        return self._slots.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._slots.load_state(state)


class NashByTask:
    """Nash-MTL that starts from the last solution of the present tasks, and is solved again every `every` steps and
    when other tasks are present. torchjd has a fixed number of tasks, and saves no state.
    """

    def __init__(self, count: int, every: int) -> None:
        self._every = every
        self._solvers: dict[int, NashMTL] = {}
        self._slots = Slots(
            solution=torch.ones(count, dtype=torch.float64),
            solved=torch.zeros(count, dtype=torch.int64),
            age=torch.zeros(1, dtype=torch.int64),
        )

    def combine(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        tasks, solution = list(rows.place.tasks), self._slots.whole("solution").clone()
        if len(tasks) == 1:  # torchjd's problem needs two; alone x = 1 / ‖g‖, as long as allowed
            alone = torch.ones_like(rows.losses)
            return rows.weighted(alone), alone
        age, same = int(self._slots.whole("age")), self._slots.whole("solved").nonzero().flatten().tolist() == tasks
        if same and 0 < age < self._every:
            self._slots.replace(age=torch.tensor([age + 1]))
            return _no_longer_than_mean(solution[tasks].to(rows.own), rows)
        if len(tasks) not in self._solvers:
            self._solvers[len(tasks)] = NashMTL(n_tasks=len(tasks), max_norm=1.0)
        nash = self._solvers[len(tasks)]
        nash.weighting.prvs_alpha = solution[tasks].numpy()
        with warnings.catch_warnings():  # cvxpy warns at each step that the problem is slow to set up
            warnings.simplefilter("ignore")
            found = scaled_aggregate(nash, rows)
        solution[tasks] = torch.as_tensor(nash.weighting.prvs_alpha, dtype=torch.float64)
        solved = torch.zeros_like(self._slots.whole("solved"))
        solved[tasks] = 1
        self._slots.replace(solution=solution, solved=solved, age=torch.tensor([1]))
        return found

    def state(self) -> dict[str, Tensor]:
        """The last solution, the tasks that it is for, and its age in steps."""
        return self._slots.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._slots.load_state(state)


def _no_longer_than_mean(weights: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Σ w g, at most as long as the mean gradient norm."""
    length = (weights @ rows.gramian @ weights).clamp_min(torch.finfo(weights.dtype).tiny).sqrt()
    weights = weights * (mean_norm(rows.gramian) / length).clamp_max(1.0)
    return rows.weighted(weights), weights
