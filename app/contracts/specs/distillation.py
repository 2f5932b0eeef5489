"""What a teacher's outputs and layers weigh in a task's loss: the terms by name, and their settings.

Which term is defined for which kind of target stands in `contracts/resolving/methods.py`.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from app.contracts.base import Contract, Weight, fault, tuples
from app.contracts.specs.phases import Phase
from app.contracts.specs.searches import WeightSearch
from app.contracts.specs.temperatures import Temperature

LayerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-/:]{1,200}$")]
_PHASE = "Part of the training in which the term counts; all of it when left out."
_DIVISOR = "Divisor of the logits of teacher and student: a number, a schedule, learned, or a search."


class _Soft(Contract):
    weight: Weight | WeightSearch = Field(
        default=0.9, description="Weight of this term in the task's loss, or a search over weights."
    )
    phase: Phase | None = Field(default=None, description=_PHASE)

    @property
    def share(self) -> float:
        """The weight; of a search the largest candidate."""
        return max(self.weight.search) if isinstance(self.weight, WeightSearch) else self.weight


class _Logits(_Soft):
    standardize: bool = Field(
        default=False,
        description="Standardise each row's logits on both sides first (Sun 2024); needs three classes or more.",
    )


class KdTerm(_Logits):
    """Soft targets (Hinton 2015): temperature² · KL(teacher ‖ student), both softened by the temperature.

    For class targets a softmax, for multilabel targets a sigmoid for each label.
    """

    method: Literal["kd"]
    temperature: Temperature = Field(default=4.0, description=_DIVISOR)


class DkdTerm(_Logits):
    """Decoupled distillation (Zhao 2022): the labelled class against the rest, and the rest among themselves, apart."""

    method: Literal["dkd"]
    temperature: Temperature = Field(default=4.0, description=_DIVISOR)
    alpha: float = Field(default=1.0, ge=0.0, le=1e3, description="Weight of the labelled class against the rest.")
    beta: float = Field(default=8.0, ge=0.0, le=1e3, description="Weight of the rest among themselves.")


class DistTerm(_Logits):
    """Relations instead of values (DIST, Huang 2022): correlation over classes and over the rows of a batch."""

    method: Literal["dist"]
    temperature: Temperature = Field(default=1.0, description=_DIVISOR)
    beta: float = Field(default=2.0, ge=0.0, le=1e3, description="Weight of the correlation over classes.")
    gamma: float = Field(default=2.0, ge=0.0, le=1e3, description="Weight of the correlation over rows.")


class ReverseKlTerm(_Logits):
    """temperature² · KL(student ‖ teacher): the student seeks the teacher's main modes."""

    method: Literal["reverse_kl"]
    temperature: Temperature = Field(default=4.0, description=_DIVISOR)


class JsdTerm(_Logits):
    """Generalised Jensen-Shannon divergence (Agarwal 2024), between forward and reverse KL."""

    method: Literal["jsd"]
    temperature: Temperature = Field(default=4.0, description=_DIVISOR)
    beta: float = Field(default=0.5, gt=0.0, lt=1.0, description="Weight of the teacher in the mixture distribution.")


class LogitMseTerm(_Logits):
    """Mean squared difference of logits, centred a row: logits are defined up to a constant."""

    method: Literal["logit_mse"]


class MseTerm(_Soft):
    """Mean squared error to the teacher's numbers, for value and vector targets (standardised units)."""

    method: Literal["mse"]


class HuberTerm(_Soft):
    """Huber's loss to the teacher's numbers (standardised units): outliers of the teacher pull less."""

    method: Literal["huber"]
    delta: float = Field(default=1.0, gt=0.0, le=1e3, description="Absolute error above which the loss is linear.")


class TeacherBoundedTerm(_Soft):
    """Teacher-bounded regression (Chen 2017): the squared error to the label, while it is not below the teacher's."""

    method: Literal["teacher_bounded"]
    margin: float = Field(
        default=0.0,
        ge=0.0,
        le=1e3,
        description="How much smaller than the teacher's the squared error must be before the term is 0.",
    )


class CosineTerm(_Soft):
    """1 − cosine similarity to the teacher's vector."""

    method: Literal["cosine"]


SoftTargetTerm = Annotated[
    KdTerm
    | DkdTerm
    | DistTerm
    | ReverseKlTerm
    | JsdTerm
    | LogitMseTerm
    | MseTerm
    | HuberTerm
    | TeacherBoundedTerm
    | CosineTerm,
    Field(discriminator="method"),
]
SoftTargetTerms = Annotated[tuple[SoftTargetTerm, ...], Field(min_length=1, max_length=8)]


class _Feature(Contract):
    teacher: int = Field(
        default=0, ge=0, le=15, description="Index of the teacher among the task's teachers, counted from 0."
    )
    teacher_layer: LayerName = Field(description="A layer of the teacher, as `GET /v1/models/{id}/layers` lists it.")
    student_layer: LayerName = Field(description="A layer of the student, by the names of its family.")
    weight: Weight = Field(default=1.0, description="Weight of this term in the task's loss.")
    phase: Phase | None = Field(default=None, description=_PHASE)

    @property
    def share(self) -> float:
        """The weight."""
        return self.weight


class FitnetsTerm(_Feature):
    """Hints (FitNets, Romero 2015): mean squared error of the student's layer, projected, to the teacher's."""

    method: Literal["fitnets"]
    normalize: bool = Field(
        default=False,
        description="Bring both sides of a row to length 1 first, and sum the squares (KD4MTL, Li 2020): teachers of "
        "several tasks pull alike, whatever the size of their features.",
    )


class AttentionTerm(_Feature):
    """Attention transfer (Zagoruyko 2017): where in the image the activations are."""

    method: Literal["attention"]


class SimilarityTerm(_Feature):
    """Similarity preserving (Tung 2019): which rows of a batch are alike."""

    method: Literal["similarity"]


class RkdTerm(_Feature):
    """Relational knowledge distillation (Park 2019): distances and angles between the rows of a batch."""

    method: Literal["rkd"]
    distance: float = Field(default=25.0, ge=0.0, le=1e4, description="Weight of the loss on distances.")
    angle: float = Field(default=50.0, ge=0.0, le=1e4, description="Weight of the loss on angles.")


class CrdTerm(_Feature):
    """Contrastive representation distillation (Tian 2020) with the negatives of the batch."""

    method: Literal["crd"]
    dimensions: int = Field(
        default=128, ge=2, le=4096, description="Size of the learned embedding in which rows are compared."
    )
    temperature: float = Field(default=0.07, gt=0.0, le=10.0, description="Temperature of the contrastive loss.")


class SimkdTerm(_Feature):
    """SimKD (Chen 2022): the teacher's head is reused as it is, and the student learns the features that it reads.

    The student's last hidden layer must be as wide as the teacher's: it is the projector, and part of the student. The
    head stays the teacher's for as long as the term counts: with a `phase` that ends, it is trained along afterwards.
    """

    method: Literal["simkd"]
    teacher_layer: Literal["penultimate"] = Field(default="penultimate", description="Input of the teacher's head.")
    student_layer: Literal["penultimate"] = Field(default="penultimate", description="Input of the student's head.")


class HiddenStatesTerm(_Feature):
    """Hidden states of transformer layers (TinyBERT, Jiao 2020), projected to the teacher's width."""

    method: Literal["hidden_states"]


class RelationsTerm(_Feature):
    """Relations between the tokens of a row (MiniLMv2, Wang 2021), split into heads."""

    method: Literal["relations"]
    heads: int = Field(
        default=4, ge=1, le=256, description="Number of relation heads; divides the widths of both layers."
    )


FeatureTerm = Annotated[
    FitnetsTerm | AttentionTerm | SimilarityTerm | RkdTerm | CrdTerm | SimkdTerm | HiddenStatesTerm | RelationsTerm,
    Field(discriminator="method"),
]
FeatureTerms = Annotated[tuple[FeatureTerm, ...], Field(min_length=1, max_length=16)]


def _listed(value: Any) -> Any:
    return tuples([value] if isinstance(value, dict) else value)


class SupervisedTerm(Contract):
    """The loss on labels."""

    weight: Weight = Field(default=0.1, description="Weight of the loss on labels in the task's loss.")
    phase: Phase | None = Field(default=None, description=_PHASE)


class DistillationSpec(Contract):
    """The teacher terms of one task, and what its labels weigh beside them."""

    soft_targets: (
        Annotated[SoftTargetTerms, BeforeValidator(_listed, json_schema_input_type=SoftTargetTerm | SoftTargetTerms)]
        | None
    ) = Field(
        default=None,
        description="One term or a list. By default `kd` with temperature 4.0 and weight 0.9 for class targets, `mse` "
        "with weight 0.9 for values.",
    )
    features: (
        Annotated[FeatureTerms, BeforeValidator(_listed, json_schema_input_type=FeatureTerm | FeatureTerms)] | None
    ) = Field(default=None, description="Terms on intermediate layers, beside the soft targets: one term or a list.")
    supervised: SupervisedTerm = Field(
        default_factory=SupervisedTerm, description="Weight and phase of the loss on labels."
    )
    anneal: Literal["linear"] | None = Field(
        default=None,
        description="Labels take over from the teachers (BAM!, Clark 2019): the weight of the soft targets goes to the "
        "labels, in a straight line over the steps.",
    )
    combine: Literal["weights", "confidence", "learned"] = Field(
        default="weights",
        description="How several teachers are averaged after softening: by their weights; on each labelled row by how "
        "sure each is of the label (CA-MKD, Zhang 2022); or by weights learned with the student.",
    )
    allow_chance_teacher: bool = Field(
        default=False, description="Train even if the teacher is no better than chance on the training labels."
    )

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if self.soft_targets is not None:
            terms = (*self.soft_targets, *(self.features or ()))
            if self.supervised.weight + sum(term.share for term in terms) == 0.0:
                message = "the weights of soft targets and supervised loss sum to 0: nothing to learn from"
                raise fault("weights_sum_to_zero", message)
        return self
