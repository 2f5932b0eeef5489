"""How several losses become one update: fixed weights, or gradients balanced by torchjd."""

from collections.abc import Sequence

from torchjd.aggregation import PCGrad

from app.contracts.balancing import Balancing, PcgradBalancing
from workers.engine.balancing.balancer import Balancer, Losses, Parameters, Shared
from workers.engine.balancing.fixed import Fixed
from workers.engine.balancing.gradient import GradientBalancer
from workers.engine.relations import Relation

__all__ = ["Balancer", "Losses", "Parameters", "Shared", "make_balancer"]


def make_balancer(
    spec: Balancing,
    weights: Sequence[float],
    relation: Relation | None,
    seed: int,
) -> Balancer:
    """The balancer that a spec names, for tasks with these weights, in the job's order."""
    if isinstance(spec, PcgradBalancing):
        return GradientBalancer(PCGrad(), weights, relation, seed)
    return Fixed(weights, relation)
