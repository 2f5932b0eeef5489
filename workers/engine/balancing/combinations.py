"""The combination of gradients of every gradient method. Imported only where one is used: torchjd imports CVXPY."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torchjd.aggregation import (
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    ConFIG,
    DualProj,
    FairGrad,
    GradDrop,
    PCGrad,
    UPGrad,
)

from app.contracts.specs import balancing as specs
from app.contracts.specs.balancing import GradientBalancing
from workers.engine.balancing.aggregators import GradVacByTask, NashByTask, Plain
from workers.engine.balancing.gradient import Combination
from workers.engine.balancing.norms import DbMtl, GradNorm


def _preference(weights: Sequence[float]) -> Sequence[float] | None:
    """The tasks' weights as a preference vector; None where they are equal."""
    return weights if len(set(weights)) > 1 else None


COMBINATIONS: Mapping[type[GradientBalancing], Callable[[Any, Sequence[float]], Combination]] = {
    specs.PcgradBalancing: lambda spec, weights: Plain(PCGrad()),
    specs.GradvacBalancing: lambda spec, weights: GradVacByTask(len(weights), spec.beta),
    specs.GraddropBalancing: lambda spec, weights: Plain(GradDrop()),
    specs.MgdaBalancing: lambda spec, weights: Plain(MGDA()),
    specs.CagradBalancing: lambda spec, weights: Plain(CAGrad(spec.c)),
    specs.ImtlGBalancing: lambda spec, weights: Plain(IMTLG()),
    specs.AlignedMtlBalancing: lambda spec, weights: Plain(
        AlignedMTL(scale_mode=spec.scale), _preference(weights), shares=True
    ),
    specs.FairgradBalancing: lambda spec, weights: Plain(FairGrad(spec.alpha)),
    specs.ConfigBalancing: lambda spec, weights: Plain(ConFIG(), _preference(weights)),
    specs.GradnormBalancing: lambda spec, weights: GradNorm(len(weights), spec.alpha, spec.learning_rate),
    specs.DbMtlBalancing: lambda spec, weights: DbMtl(len(weights), spec.beta),
    specs.UpgradBalancing: lambda spec, weights: Plain(UPGrad(), _preference(weights), shares=True),
    specs.DualprojBalancing: lambda spec, weights: Plain(DualProj(), _preference(weights), shares=True),
    specs.NashMtlBalancing: lambda spec, weights: NashByTask(len(weights), spec.every),
}
"""Every gradient method: (its spec, the tasks' weights) -> what combines the gradients of one set of parameters."""
