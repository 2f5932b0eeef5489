"""How several losses become one update: fixed weights, or gradients balanced by torchjd."""

from collections.abc import Sequence

from torchjd.aggregation import PCGrad

from app.contracts.jobs import FixedBalancing, PcgradBalancing
from workers.engine.balancing.balancer import Balancer, Losses, Parameters
from workers.engine.balancing.fixed import Fixed
from workers.engine.balancing.gradient import GradientBalancer
from workers.engine.relations import Relation

__all__ = ["Balancer", "Losses", "Parameters", "make_balancer"]


def make_balancer(
    spec: FixedBalancing | PcgradBalancing,
    weights: Sequence[float],
    relation: Relation | None,
    seed: int,
) -> Balancer:
    """The balancer that a spec names, for tasks with these weights, in the job's order."""
    if isinstance(spec, PcgradBalancing):
        return GradientBalancer(PCGrad(), weights, relation, seed)
    return Fixed(weights, relation)
