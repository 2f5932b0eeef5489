"""torchjd's aggregators as combinations, made equivariant to the scale of the losses: A(J/s)·s.

s is the mean norm of the rows. Some aggregators have thresholds or solvers that suppose gradients of about 1 (CAGrad,
MGDA, FairGrad, Nash-MTL; METHODS.md section 5, traps 3 to 5). No constant follows: each keeps the length of its paper.
Some of torchjd's (PCGrad, GradVac, MGDA, CAGrad, FairGrad, Nash-MTL) solve on the host and so wait for the device.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torchjd.aggregation import Aggregator, GradVac, NashMTL, WeightedAggregator

from app.contracts.problems import UserError
from workers.engine.balancing.balancer import refuse_others
from workers.engine.balancing.slots import Place, Slots

_HOST = torch.device("cpu")


def scaled_aggregate(aggregator: Aggregator, jacobian: Tensor) -> Tensor:
    """A(J/s)·s with s the mean norm of J's rows: J [k, P] -> [P]; zeros where all rows are zero, NaN where J is not
    finite (which the loop reports as `diverged`). Raises UserError `balancing_failed` where a solver fails.
    """
    scale = jacobian.norm(dim=1).mean()
    nothing = scale == 0.0  # and not NaN, which must reach the loop
    safe = torch.where(nothing, torch.ones_like(scale), scale)
    try:
        update: Tensor = aggregator(jacobian / safe) * scale
    except Exception as error:  # whatever a solver raises
        if bool(nothing):
            return torch.zeros_like(jacobian[0])
        if bool(jacobian.isfinite().all()):
            raise UserError(
                "balancing_failed",
                f"{aggregator} found no update for these gradients ({str(error)[:200]}): take another "
                "`balancing.method`",
            ) from error
        return torch.full_like(jacobian[0], torch.nan)
    return torch.where(nothing, torch.zeros_like(update), update)


class Weighed:
    """An aggregator that notes what it multiplied the rows by, where it is a weighted sum of them."""

    def __init__(self, aggregator: Aggregator) -> None:
        self.aggregator = aggregator
        self._weights: Tensor | None = None
        if isinstance(aggregator, WeightedAggregator):
            aggregator.weighting.register_forward_hook(self._note)

    def _note(self, module: object, given: object, weights: Tensor) -> None:
        self._weights = weights

    def __call__(self, jacobian: Tensor) -> tuple[Tensor, Tensor | None]:
        """(update [P], weights [k])."""
        self._weights = None
        return scaled_aggregate(self.aggregator, jacobian), self._weights


class Plain:
    """An aggregator without state. `preference` are the tasks' weights for those that have such a vector."""

    def __init__(
        self, aggregator: Aggregator, preference: Sequence[float] | None = None, *, shares: bool = False
    ) -> None:
        self._weighed = Weighed(aggregator)
        self._preference = Slots(weights=torch.tensor(preference)) if preference is not None else None
        self._shares = shares

    def combine(self, jacobian: Tensor, objectives: Tensor, place: Place) -> tuple[Tensor, Tensor | None]:
        """See `Combination`."""
        if self._preference is not None:
            weights = self._preference.at("weights", place).to(jacobian.dtype)
            if self._shares:
                weights = weights / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
            self._weighed.aggregator.pref_vector = weights
        return self._weighed(jacobian)

    def state(self) -> dict[str, Tensor]:
        """Nothing to save."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Nothing to load."""
        refuse_others(state, {})


class GradVacByTask:
    """GradVac with the moving average of the cosine for each pair of tasks of the job, not of the batch.

    torchjd keeps it in a buffer that starts anew when the number of rows changes, and that a strict load refuses.
    """

    def __init__(self, count: int, beta: float) -> None:
        self._gradvac = GradVac(beta=beta)
        self._weighed = Weighed(self._gradvac)
        self._slots = Slots(cosines=torch.zeros(count, count, dtype=torch.float64))

    def combine(self, jacobian: Tensor, objectives: Tensor, place: Place) -> tuple[Tensor, Tensor | None]:
        """See `Combination`."""
        tasks = list(place.tasks)
        here = torch.tensor(tasks)
        cosines = self._slots.whole("cosines").to(_HOST)
        weighting = self._gradvac.gramian_weighting
        averages = cosines[here[:, None], here].to(jacobian.dtype)  # written in place by torchjd
        setattr(weighting, "_phi_t", averages)  # noqa: B010 - declared as None there
        weighting._state_key = (len(tasks), jacobian.dtype)
        found = self._weighed(jacobian)
        self._slots.replace(cosines=cosines.index_put((here[:, None], here), averages.double()))
        return found

    def state(self) -> dict[str, Tensor]:
        """The averages."""
        return self._slots.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._slots.load_state(state)


class NashByTask:
    """Nash-MTL that starts from the last solution of the tasks that are there, and solves anew every `every` steps and
    whenever other tasks are there. torchjd takes one number of tasks, and saves nothing.
    """

    def __init__(self, count: int, every: int) -> None:
        self._every = every
        self._solvers: dict[int, tuple[NashMTL, Weighed]] = {}
        self._slots = Slots(
            solution=torch.ones(count, dtype=torch.float64),
            solved=torch.zeros(count, dtype=torch.int64),
            age=torch.zeros(1, dtype=torch.int64),
        )

    def combine(self, jacobian: Tensor, objectives: Tensor, place: Place) -> tuple[Tensor, Tensor | None]:
        """See `Combination`."""
        tasks, solution = list(place.tasks), self._slots.whole("solution").clone()
        if len(tasks) == 1:  # torchjd's problem needs two; alone x = 1 / ‖g‖, as long as allowed
            return jacobian[0], torch.ones_like(jacobian[:, 0])
        age, same = int(self._slots.whole("age")), self._slots.whole("solved").nonzero().flatten().tolist() == tasks
        if same and 0 < age < self._every:
            self._slots.replace(age=torch.tensor([age + 1]))
            return _no_longer_than_mean(solution[tasks].to(jacobian), jacobian)
        if len(tasks) not in self._solvers:
            made = NashMTL(n_tasks=len(tasks), max_norm=1.0)
            self._solvers[len(tasks)] = (made, Weighed(made))
        nash, weighed = self._solvers[len(tasks)]
        nash.weighting.prvs_alpha = solution[tasks].numpy()
        with warnings.catch_warnings():  # cvxpy finds the problem slow to set up, and says so at each step
            warnings.simplefilter("ignore")
            found = weighed(jacobian)
        solution[tasks] = torch.as_tensor(nash.weighting.prvs_alpha, dtype=torch.float64)
        solved = torch.zeros_like(self._slots.whole("solved"))
        solved[tasks] = 1
        self._slots.replace(solution=solution, solved=solved, age=torch.tensor([1]))
        return found

    def state(self) -> dict[str, Tensor]:
        """The last solution, whose it was, and how old it is."""
        return self._slots.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._slots.load_state(state)


def _no_longer_than_mean(weights: Tensor, jacobian: Tensor) -> tuple[Tensor, Tensor]:
    """Σ w g, at most as long as the mean gradient norm."""
    update = weights @ jacobian
    longest = jacobian.norm(dim=1).mean()
    weights = weights * (longest / update.norm().clamp_min(torch.finfo(update.dtype).tiny)).clamp_max(1.0)
    return weights @ jacobian, weights
