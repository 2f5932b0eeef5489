"""How several losses become one update: by the losses' values, or by their gradients."""

from collections.abc import Sequence
from importlib.util import find_spec

from torchjd.aggregation import (
    IMTLG,
    MGDA,
    Aggregator,
    AlignedMTL,
    CAGrad,
    ConFIG,
    DualProj,
    FairGrad,
    GradDrop,
    PCGrad,
    UPGrad,
)

from app.contracts.problems import UserError
from app.contracts.specs import balancing as specs
from app.contracts.specs.balancing import GPL, Balancing
from workers.engine.balancing.aggregators import GradVacByTask, NashByTask, Plain
from workers.engine.balancing.balancer import Balancer, Losses, Parameters, Shared
from workers.engine.balancing.fixed import Fixed
from workers.engine.balancing.gradient import Combination, GradientBalancer
from workers.engine.balancing.learned import Famo, ImtlL, Uncertainty
from workers.engine.balancing.loss import LossBalancer, LossMethod
from workers.engine.balancing.norms import DbMtl, GradNorm
from workers.engine.balancing.relation.matrix import Relation
from workers.engine.balancing.scalarizations import Dwa, GeometricMean, Random, Stch
from workers.engine.balancing.towers import TowerRows

__all__ = ["Balancer", "Losses", "Parameters", "Shared", "TowerRows", "check_available", "make_balancer"]


def check_available(spec: Balancing) -> None:
    """Raises UserError `extra_needed` where this worker has not the packages of a balancer."""
    missing = [package for package in GPL.get(spec.method, ()) if find_spec(package) is None]
    if missing:
        raise UserError(
            "extra_needed",
            f"`{spec.method}` needs {' and '.join(missing)}, which this worker does not have: they are under the GPL "
            "and never installed by default. Install the extra `gpl` at the worker (`pip install stillhouse[gpl]`), or "
            "take another `balancing.method`, as `mgda` or `cagrad`",
        )


def make_balancer(
    spec: Balancing,
    weights: Sequence[float],
    relation: Relation | None,
    seed: int,
) -> Balancer:
    """The balancer that a spec names, for tasks with these weights, in the job's order. Raises UserError
    `extra_needed`.
    """
    check_available(spec)
    if isinstance(spec, specs.FixedBalancing):
        return Fixed(weights, relation)
    method = _loss_method(spec, weights, seed)
    if method is not None:
        return LossBalancer(method, len(weights), relation)
    return GradientBalancer(lambda: _combination(spec, weights), weights, relation, seed)


def _loss_method(spec: Balancing, weights: Sequence[float], seed: int) -> LossMethod | None:
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
    return None


def _combination(spec: Balancing, weights: Sequence[float]) -> Combination:
    count = len(weights)
    match spec:
        case specs.GradvacBalancing():
            return GradVacByTask(count, spec.beta)
        case specs.GradnormBalancing():
            return GradNorm(count, spec.alpha, spec.learning_rate)
        case specs.DbMtlBalancing():
            return DbMtl(count, spec.beta)
        case specs.NashMtlBalancing():
            return NashByTask(count, spec.every)
    return _preferring(spec, weights if len(set(weights)) > 1 else None) or Plain(_aggregator(spec))


def _preferring(spec: Balancing, preference: Sequence[float] | None) -> Combination | None:
    match spec:
        case specs.AlignedMtlBalancing():
            return Plain(AlignedMTL(scale_mode=spec.scale), preference, shares=True)
        case specs.UpgradBalancing():
            return Plain(UPGrad(), preference, shares=True)
        case specs.DualprojBalancing():
            return Plain(DualProj(), preference, shares=True)
        case specs.ConfigBalancing():
            return Plain(ConFIG(), preference)
    return None


def _aggregator(spec: Balancing) -> Aggregator:
    match spec:
        case specs.PcgradBalancing():
            return PCGrad()
        case specs.GraddropBalancing():
            return GradDrop()
        case specs.MgdaBalancing():
            return MGDA()
        case specs.CagradBalancing():
            return CAGrad(spec.c)
        case specs.ImtlGBalancing():
            return IMTLG()
        case specs.FairgradBalancing():
            return FairGrad(spec.alpha)
    raise ValueError(f"no balancer is called {spec.method}")
