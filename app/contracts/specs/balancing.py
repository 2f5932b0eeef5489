"""How the losses of several tasks become one update: the balancers by name, and their settings.

Loss methods look at the losses' values and weigh trunk and heads alike. Gradient methods combine the tasks' gradients
on shared parameters; each head has the gradient of its own weighted loss. Under a relation applied by rows the losses
L_i are the objectives Σ_j R_ij L_j. A task without labels in a batch takes no part in it and keeps its state.

The length of an update is given for three equal unit gradients (and, for loss methods, equal losses and weights of 1,
at the first step): the literal sum has 3. No method is rescaled to another's length, so learning rates do not carry
over between methods of different lengths.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from app.contracts.base import Contract

_RATE = "Learning rate of the balancer's own Adam, which has no schedule and is not clipped."


class _Balancing(Contract):
    uses_gradients: ClassVar[bool]
    """Whether the method combines the tasks' gradients; others weigh the losses by their values alone."""
    takes_weights: ClassVar[bool] = False
    """Whether the tasks' weights are a preference; other methods take equal weights only."""
    constant_weights: ClassVar[bool] = False
    """Whether the losses are summed with weights that never change: a relation by rows comes to other weights then."""
    needs_packages: ClassVar[tuple[str, ...]] = ()
    """Packages under the GPL (the extra `gpl`, never installed by default) that the method needs at the worker."""


class _LossMethod(_Balancing):
    uses_gradients: ClassVar[bool] = False


class _GradientMethod(_Balancing):
    uses_gradients: ClassVar[bool] = True


class FixedBalancing(_LossMethod):
    """The literal weighted sum Σ w_i L_i, w the tasks' weights. Length 3."""

    takes_weights: ClassVar[bool] = True
    constant_weights: ClassVar[bool] = True

    method: Literal["fixed"]


class UncertaintyBalancing(_LossMethod):
    """Learned uncertainties (Kendall 2018): Σ ½ exp(−s_i) L_i + ½ s_i. The log-variances s are trained with the
    student by an Adam of their own. Length 1.5.
    """

    method: Literal["uncertainty"]
    learning_rate: float = Field(default=0.025, gt=0.0, le=10.0, description=_RATE)


class DwaBalancing(_LossMethod):
    """Dynamic weight average (Liu 2019): Σ λ_i L_i, λ = K softmax(r / temperature), r_i the mean loss of the last
    epoch over that of the epoch before: a task whose loss fell less weighs more. Length 3.
    """

    method: Literal["dwa"]
    temperature: float = Field(
        default=2.0, gt=0.0, le=1e3, description="Softmax temperature; higher values give more uniform weights."
    )


class RandomBalancing(_LossMethod):
    """Random weights at each step (Lin 2022): K softmax(ε), ε normal, a function of seed and step. Length 3."""

    method: Literal["random"]


class GeometricMeanBalancing(_LossMethod):
    """The geometric mean (Π L_i)^(1/K) of the losses (Chennupati 2019). Length 1."""

    method: Literal["geometric_mean"]


class StchBalancing(_LossMethod):
    """Smooth Tchebycheff scalarisation (Lin 2024): μ m log Σ exp(w_i L_i / (μ m)), a smooth maximum of the losses
    times the tasks' weights w; m is the mean of the w_i L_i, so that μ has no unit. Length 1.
    """

    takes_weights: ClassVar[bool] = True

    method: Literal["stch"]
    mu: float = Field(default=0.1, gt=0.0, le=1e3, description="Smoothness: smaller is closer to the maximum.")


class ImtlLBalancing(_LossMethod):
    """Learned scales (IMTL-L, Liu 2021): Σ exp(s_i) L_i − s_i. The s are trained with the student by an Adam of
    their own. Length 3.
    """

    method: Literal["imtl_l"]
    learning_rate: float = Field(default=0.025, gt=0.0, le=10.0, description=_RATE)


class FamoBalancing(_LossMethod):
    """Fast adaptive multitask optimisation (FAMO, Liu 2023): Σ c_i L_i, c ∝ softmax(w)_i / L_i with sum 1; w learns so
    that all logarithms of the losses fall at one rate, from the losses of the same batch after the step: one more
    forward pass a step. Length 1.
    """

    method: Literal["famo"]
    learning_rate: float = Field(default=0.025, gt=0.0, le=10.0, description=_RATE)
    weight_decay: float = Field(
        default=1e-3, ge=0.0, le=10.0, description="Weight decay of the balancer's own Adam, on the task weights w."
    )


class PcgradBalancing(_GradientMethod):
    """Projecting conflicting gradients (PCGrad, Yu 2020): each gradient without its parts against the others, in an
    order drawn for the step; then the sum. Length 3.
    """

    method: Literal["pcgrad"]


class GradvacBalancing(_GradientMethod):
    """Gradient vaccine (GradVac, Wang 2021): gradients are turned until a pair's cosine is its moving average; then the
    sum. Length 3.
    """

    method: Literal["gradvac"]
    beta: float = Field(default=0.5, ge=0.0, le=1.0, description="Share of the newest cosine in the moving average.")


class GraddropBalancing(_GradientMethod):
    """Gradient sign dropout (GradDrop, Chen 2020): for each number one sign is drawn by its purity, and entries of the
    other sign are dropped; then the sum. Length 3.
    """

    method: Literal["graddrop"]


class MgdaBalancing(_GradientMethod):
    """Multiple gradient descent (MGDA, Désidéri 2012, Sener 2018): the shortest convex combination of the gradients, 0
    where no direction helps all. Length 1.
    """

    method: Literal["mgda"]


class CagradBalancing(_GradientMethod):
    """Conflict-averse gradient descent (CAGrad, Liu 2021): the direction with the best worst improvement, at most
    `c` times the mean gradient's length away from the mean gradient. Length 1 + c.
    """

    method: Literal["cagrad"]
    c: float = Field(
        default=0.5, ge=0.0, le=10.0, description="Greatest distance from the mean gradient, as a share of its length."
    )


class ImtlGBalancing(_GradientMethod):
    """Equal projections on all unit gradients (IMTL-G, Liu 2021). Length 1."""

    method: Literal["imtl_g"]


class AlignedMtlBalancing(_GradientMethod):
    """Aligned principal components of the gradients (Aligned-MTL, Senushkin 2023): all singular values become one; the
    tasks' weights, as shares, are the preference. Length 1.
    """

    takes_weights: ClassVar[bool] = True

    method: Literal["aligned_mtl"]
    scale: Literal["min", "median", "rmse"] = Field(
        default="min",
        description="Singular value that all others are set to: the smallest, the median, or the root mean square.",
    )


class FairgradBalancing(_GradientMethod):
    """α-fair gradients (FairGrad, Ban 2024): Σ x_i g_i with (G x)_i = x_i^(−1/α), G the Gramian. Length √3 where α
    is 1.
    """

    method: Literal["fairgrad"]
    alpha: float = Field(
        default=1.0,
        gt=0.0,
        le=100.0,
        description="Fairness: 1 is proportional, larger values come closer to max-min fairness.",
    )


class ConfigBalancing(_GradientMethod):
    """One direction with the same cosine to all gradients, as long as their projections' sum (ConFIG, Liu 2025); with
    unequal weights the cosines are as the tasks' weights. Length 3.
    """

    takes_weights: ClassVar[bool] = True

    method: Literal["config"]


class GradnormBalancing(_GradientMethod):
    """Gradient norms of one size, larger for tasks that train slower (GradNorm, Chen 2018): Σ w_i g_i; w learns by
    |w_i ‖g_i‖ − mean(w ‖g‖) r_i^α|, r_i = L_i / L_i(0) over its mean; the w sum to K. Length 3.
    """

    method: Literal["gradnorm"]
    alpha: float = Field(
        default=1.5, ge=0.0, le=10.0, description="Exponent α: how strongly tasks that train slower are favoured."
    )
    learning_rate: float = Field(default=0.025, gt=0.0, le=10.0, description=_RATE)


class DbMtlBalancing(_GradientMethod):
    """Gradients of the losses' logarithms, averaged over steps, all as long as the longest; then the sum (DB-MTL, Lin
    2023). As long whatever the losses' scale; length 3 for losses of 1.
    """

    method: Literal["db_mtl"]
    beta: float = Field(default=0.9, ge=0.0, lt=1.0, description="Decay of the moving average of the gradients.")


class UpgradBalancing(_GradientMethod):
    """Each gradient projected on the dual cone of all, then their mean by the tasks' weights (UPGrad, Quinton 2024).
    Needs the extra `gpl` at the worker. Length 1.
    """

    takes_weights: ClassVar[bool] = True
    needs_packages: ClassVar[tuple[str, ...]] = ("qpsolvers", "quadprog")

    method: Literal["upgrad"]


class DualprojBalancing(_GradientMethod):
    """The mean by the tasks' weights, projected on the dual cone of the gradients (Lopez-Paz 2017). Needs the extra
    `gpl` at the worker. Length 1.
    """

    takes_weights: ClassVar[bool] = True
    needs_packages: ClassVar[tuple[str, ...]] = ("qpsolvers", "quadprog")

    method: Literal["dualproj"]


class NashMtlBalancing(_GradientMethod):
    """The Nash bargaining solution (Nash-MTL, Navon 2022): Σ x_i g_i with (G x)_i = 1 / x_i, at most as long as the
    gradients' mean length. Needs the extra `gpl` at the worker. Length 1.
    """

    needs_packages: ClassVar[tuple[str, ...]] = ("cvxpy", "ecos")

    method: Literal["nash_mtl"]
    every: int = Field(
        default=1, ge=1, le=1000, description="Number of steps between two solutions of the bargaining problem."
    )


LossBalancing = (
    UncertaintyBalancing
    | DwaBalancing
    | RandomBalancing
    | GeometricMeanBalancing
    | StchBalancing
    | ImtlLBalancing
    | FamoBalancing
)
GradientBalancing = (
    PcgradBalancing
    | GradvacBalancing
    | GraddropBalancing
    | MgdaBalancing
    | CagradBalancing
    | ImtlGBalancing
    | AlignedMtlBalancing
    | FairgradBalancing
    | ConfigBalancing
    | GradnormBalancing
    | DbMtlBalancing
    | UpgradBalancing
    | DualprojBalancing
    | NashMtlBalancing
)
Balancing = Annotated[FixedBalancing | LossBalancing | GradientBalancing, Field(discriminator="method")]
