"""From the spec of a balancer to the balancer: `_loss_method` and `COMBINATIONS` have a line for each method."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import assert_never

from app.contracts.problems import UserError
from app.contracts.specs import balancing as specs
from app.contracts.specs.balancing import Balancing, FixedBalancing, GradientBalancing, LossBalancing
from workers.engine.balancing.balancer import Balancer
from workers.engine.balancing.fixed import Fixed
from workers.engine.balancing.gradient import GradientBalancer
from workers.engine.balancing.learned import Famo, ImtlL, Uncertainty
from workers.engine.balancing.loss import LossBalancer, LossMethod
from workers.engine.balancing.relation.matrix import Relation
from workers.engine.balancing.scalarizations import Dwa, GeometricMean, Random, Stch


def check_available(spec: Balancing) -> None:
    """Raises UserError `extra_needed` where this worker has not the packages of a balancer."""
    missing = [package for package in spec.needs_packages if find_spec(package) is None]
    if missing:
        raise UserError(
            "extra_needed",
            f"`{spec.method}` needs {' and '.join(missing)}, which this worker does not have: they are under the GPL "
            "and never installed by default. Install the extra `gpl` at the worker (`pip install stillhouse[gpl]`), or "
            "take another `balancing.method`, as `mgda` or `cagrad`",
        )


def make_balancer(spec: Balancing, weights: Sequence[float], relation: Relation | None, seed: int) -> Balancer:
    """The balancer of a spec, for tasks with these weights, in the job's order. Raises UserError `extra_needed`."""
    check_available(spec)
    if isinstance(spec, FixedBalancing):
        return Fixed(weights, relation)
    if isinstance(spec, LossBalancing):
        return LossBalancer(_loss_method(spec, weights, seed), len(weights), relation)
    if isinstance(spec, GradientBalancing):
        # Here, as torchjd imports CVXPY and SciPy, which takes seconds: the fork server does without.
        from workers.engine.balancing.combinations import COMBINATIONS

        make = COMBINATIONS[type(spec)]
        return GradientBalancer(lambda: make(spec, weights), weights, relation, seed)
    assert_never(spec)


def _loss_method(spec: LossBalancing, weights: Sequence[float], seed: int) -> LossMethod:
    count = len(weights)
    match spec:
        case specs.UncertaintyBalancing():
            return Uncertainty(count, spec.learning_rate)
        case specs.DwaBalancing():
            return Dwa(count, spec.temperature)
        case specs.RandomBalancing():
            return Random(seed)
        case specs.GeometricMeanBalancing():
            return GeometricMean()
        case specs.StchBalancing():
            return Stch(weights, spec.mu)
        case specs.ImtlLBalancing():
            return ImtlL(count, spec.learning_rate)
        case specs.FamoBalancing():
            return Famo(count, spec.learning_rate, spec.weight_decay)
        case _:
            assert_never(spec)
