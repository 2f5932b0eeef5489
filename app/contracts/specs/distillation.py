"""The terms by which teachers enter a task's loss: soft targets on outputs, and terms on intermediate layers.

The ClassVars of a term declare what its method needs and for which targets it is defined. The resolver, the
augmentations and the engine read them; they are not part of the JSON schema.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from app.contracts.base import Contract, Name, Shape, Weight, coded_error, left_out, tuples
from app.contracts.specs.families.layer_pairs import LayerName, LayerPair, Rename
from app.contracts.specs.phases import Phase
from app.contracts.specs.searches import WeightSearch
from app.contracts.specs.temperatures import LearnedTemperature, Temperature

TaskKind = Literal["class", "token_class", "map", "multilabel", "value", "vector"]
LayerShapes = Literal["any", "maps", "maps_or_vectors", "tokens", "same_kind", "equal"]
"""Layers that a feature term compares: of any shapes; maps [channels, height, width]; maps, or vectors; [tokens, width]
with as many tokens; both maps, both vectors, or both tokens of the same number; or of one shape.
"""
_PHASE = "Part of the training in which the term counts; all of it when left out."
_DIVISOR = "Divisor of the logits of teacher and student: a number, a schedule, learned, or a search."
_CHOSEN = "Chosen by the recipe when left out"


class _SoftTarget(Contract):
    kinds: ClassVar[tuple[TaskKind, ...]]
    """Kinds of target that the method is defined for."""
    relational: ClassVar[bool] = False
    """Whether the rows of a batch are compared with each other, so that a loss needs the whole batch."""
    needs_labels: ClassVar[bool] = False
    """Whether the formula takes the label of each row: one label, so rows must not be mixed."""
    counts_unlabelled: ClassVar[bool] = False
    """Whether a method that takes labels is defined for rows and tasks without any, too."""
    min_classes: ClassVar[int] = 2
    min_classes_reason: ClassVar[str] = ""
    """Why fewer classes are refused."""
    needs_all_scores: ClassVar[bool] = False
    """Whether every score of a row is compared, so that a store of the largest alone is not enough."""
    needs_logit_scale: ClassVar[bool] = False
    """Whether logits are compared by their size, which energies do not share."""

    weight: Weight | WeightSearch | None = Field(
        default=None, description=f"Weight of this term in the task's loss, or a search over weights. {_CHOSEN}."
    )
    phase: Phase | None = Field(default=None, description=_PHASE)
    row_weights: Name | None = Field(
        default=None,
        exclude_if=left_out,
        description="Name of row weights of the dataset (`weights` in its manifest), such as how far the teachers are "
        "trusted there: each row's loss is multiplied by its weight, divided by their mean over the training rows that "
        "the term counts. Not for methods that compare the rows of a batch.",
    )

    @property
    def share(self) -> float:
        """The weight; of a search the largest candidate. Raises ValueError while it is still to be chosen."""
        if self.weight is None:
            raise ValueError("the weight of a soft target is still to be chosen")
        return max(self.weight.search) if isinstance(self.weight, WeightSearch) else self.weight

    @property
    def compares_all_scores(self) -> bool:
        """Whether these settings of the method need every score of a row."""
        return self.needs_all_scores

    @property
    def takes_drawn_classes(self) -> bool:
        """Whether the gradient in the student is linear in the teacher's probabilities, so that an estimate of them by
        drawn classes gives it without bias.
        """
        return False

    @property
    def exit_layers(self) -> tuple[LayerName, ...]:
        """Layers of the student from which the method makes predictions beside the student's own."""
        return ()

    def with_student_layers(self, rename: Rename) -> Self:
        """The term with other names of the student's layers."""
        return self


class _Logits(_SoftTarget):
    standardize: bool = Field(
        default=False,
        description="Standardise each row's logits on both sides first (Sun 2024); needs three classes or more.",
    )

    @property
    def compares_all_scores(self) -> bool:
        """Whether these settings of the method need every score of a row."""
        return self.needs_all_scores or self.standardize


class _Numbers(_SoftTarget):
    own_units: ClassVar[bool] = False
    """Whether numbers are compared in the units of the labels instead of standardised ones."""


class KdTerm(_Logits):
    """Soft targets (Hinton 2015): temperature² · KL(teacher ‖ student), both softened by the temperature.

    For class targets a softmax, for multilabel targets a sigmoid for each label.
    """

    kinds: ClassVar[tuple[TaskKind, ...]] = ("class", "token_class", "map", "multilabel")

    method: Literal["kd"]
    temperature: Temperature | None = Field(default=None, description=f"{_DIVISOR} {_CHOSEN}.")

    @property
    def takes_drawn_classes(self) -> bool:
        """Whether the gradient is linear in the teacher's probabilities: not that of a learned temperature."""
        return not isinstance(self.temperature, LearnedTemperature)


class DkdTerm(_Logits):
    """Decoupled distillation (Zhao 2022): the labelled class against the rest, and the rest among themselves, apart."""

    kinds: ClassVar[tuple[TaskKind, ...]] = ("class", "token_class", "map")
    needs_labels: ClassVar[bool] = True
    min_classes: ClassVar[int] = 3
    min_classes_reason: ClassVar[str] = (
        "with two classes there are no others among which to compare, and its second part is 0"
    )

    method: Literal["dkd"]
    temperature: Temperature = Field(default=4.0, description=_DIVISOR)
    alpha: float = Field(default=1.0, ge=0.0, le=1e3, description="Weight of the labelled class against the rest.")
    beta: float = Field(default=8.0, ge=0.0, le=1e3, description="Weight of the rest among themselves.")


class DistTerm(_Logits):
    """Relations instead of values (DIST, Huang 2022): correlations over classes and over the rows of a batch."""

    kinds: ClassVar[tuple[TaskKind, ...]] = ("class",)
    relational: ClassVar[bool] = True
    min_classes: ClassVar[int] = 3
    min_classes_reason: ClassVar[str] = (
        "with two classes every correlation over them is 1 or -1, whatever the logits are"
    )

    method: Literal["dist"]
    temperature: Temperature = Field(default=1.0, description=_DIVISOR)
    beta: float = Field(default=2.0, ge=0.0, le=1e3, description="Weight of the correlation over classes.")
    gamma: float = Field(default=2.0, ge=0.0, le=1e3, description="Weight of the correlation over rows.")


class ReverseKlTerm(_Logits):
    """temperature² · KL(student ‖ teacher): mode-seeking."""

    kinds: ClassVar[tuple[TaskKind, ...]] = ("class", "token_class", "map", "multilabel")

    method: Literal["reverse_kl"]
    temperature: Temperature = Field(default=4.0, description=_DIVISOR)


class JsdTerm(_Logits):
    """Generalised Jensen-Shannon divergence (Agarwal 2024), between forward and reverse KL."""

    kinds: ClassVar[tuple[TaskKind, ...]] = ("class", "token_class", "map", "multilabel")

    method: Literal["jsd"]
    temperature: Temperature = Field(default=4.0, description=_DIVISOR)
    beta: float = Field(default=0.5, gt=0.0, lt=1.0, description="Weight of the teacher in the mixture distribution.")


class LogitMseTerm(_Logits):
    """Mean squared difference of logits, centred a row: logits are defined up to a constant."""

    kinds: ClassVar[tuple[TaskKind, ...]] = ("class", "token_class", "map", "multilabel")
    needs_all_scores: ClassVar[bool] = True
    needs_logit_scale: ClassVar[bool] = True
    temperature: ClassVar[float] = 1.0

    method: Literal["logit_mse"]


class OfaTerm(_Logits):
    """OFA-KD (Hao 2023), for teachers of any architecture: branches that are not exported predict classes from layers
    of the student. They and its own output learn from the teacher, with more weight on the labelled class.
    """

    kinds: ClassVar[tuple[TaskKind, ...]] = ("class",)
    needs_labels: ClassVar[bool] = True
    counts_unlabelled: ClassVar[bool] = True
    temperature: ClassVar[float] = 1.0

    method: Literal["ofa"]
    student_layers: Annotated[tuple[LayerName, ...], Field(min_length=1, max_length=8)] = Field(
        description="Layers of the student that get a branch, in the order in which data pass them."
    )
    gamma: float = Field(
        default=1.0, ge=0.0, le=10.0, description="Exponent of 1 + the teacher's probability of the labelled class."
    )
    width: int = Field(default=128, ge=1, le=4096, description="Size of the hidden layer of each branch.")

    @property
    def exit_layers(self) -> tuple[LayerName, ...]:
        """Layers of the student from which the method makes predictions beside the student's own."""
        return self.student_layers

    def with_student_layers(self, rename: Rename) -> Self:
        """The term with other names of the student's layers."""
        return self.model_copy(update={"student_layers": tuple(map(rename, self.student_layers))})


class MseTerm(_Numbers):
    """Mean squared error to the teacher's numbers, for value and vector targets (standardised units)."""

    kinds: ClassVar[tuple[TaskKind, ...]] = ("value", "vector")

    method: Literal["mse"]


class HuberTerm(_Numbers):
    """Huber loss to the teacher's numbers (standardised units): outliers of the teacher have less influence."""

    kinds: ClassVar[tuple[TaskKind, ...]] = ("value", "vector")

    method: Literal["huber"]
    delta: float = Field(default=1.0, gt=0.0, le=1e3, description="Absolute error above which the loss is linear.")


class TeacherBoundedTerm(_Numbers):
    """Teacher-bounded regression (Chen 2017): the squared error to the label, where it is not below the teacher's."""

    kinds: ClassVar[tuple[TaskKind, ...]] = ("value", "vector")
    needs_labels: ClassVar[bool] = True

    method: Literal["teacher_bounded"]
    margin: float = Field(
        default=0.0,
        ge=0.0,
        le=1e3,
        description="How much smaller than the teacher's the squared error must be before the term is 0.",
    )


class CosineTerm(_Numbers):
    """1 − cosine similarity to the teacher's vector."""

    kinds: ClassVar[tuple[TaskKind, ...]] = ("vector",)
    own_units: ClassVar[bool] = True

    method: Literal["cosine"]


LogitTerm = KdTerm | DkdTerm | DistTerm | ReverseKlTerm | JsdTerm | LogitMseTerm | OfaTerm
"""On scores of classes or labels."""
NumberTerm = MseTerm | HuberTerm | TeacherBoundedTerm | CosineTerm
"""On values and vectors."""
SoftTargetTerm = Annotated[LogitTerm | NumberTerm, Field(discriminator="method")]
SoftTargetTerms = Annotated[tuple[SoftTargetTerm, ...], Field(min_length=1, max_length=8)]
DEFAULT_TERMS: Mapping[TaskKind, SoftTargetTerm] = {
    "class": KdTerm(method="kd"),
    "token_class": KdTerm(method="kd"),
    "map": KdTerm(method="kd"),
    "multilabel": KdTerm(method="kd"),
    "value": MseTerm(method="mse"),
    "vector": MseTerm(method="mse"),
}
"""The default soft target of a task."""


class _Feature(Contract):
    layer_shapes: ClassVar[LayerShapes] = "any"
    min_pairs: ClassVar[int] = 1
    """Number of pairs of layers below which there is nothing to learn."""
    relational: ClassVar[bool] = False
    """Whether the rows of a batch are compared with each other, so that a loss needs the whole batch."""
    reuses_head: ClassVar[bool] = False
    """Whether the student gets the teacher's head, which is not trained while the term counts."""

    teacher: int = Field(
        default=0, ge=0, le=15, description="Index of the teacher among the task's teachers, counted from 0."
    )
    weight: Weight = Field(default=1.0, description="Weight of this term in the task's loss.")
    phase: Phase | None = Field(default=None, description=_PHASE)

    @property
    def share(self) -> float:
        """The weight."""
        return self.weight

    def setting_misfit(self, student: Shape, teacher: Shape) -> tuple[str, str] | None:
        """(field, reason) where a setting does not fit layers of these shapes, which are as `layer_shapes` says."""
        return None


class _OnePair(_Feature, LayerPair):
    @property
    def pairs(self) -> Mapping[str, LayerPair]:
        """The layers that are compared, by where the term names them."""
        return {"": self}


class FitnetsTerm(_OnePair):
    """Hints (FitNets, Romero 2015): mean squared error between the student's projected layer and the teacher's."""

    layer_shapes: ClassVar[LayerShapes] = "same_kind"

    method: Literal["fitnets"]
    normalize: bool = Field(
        default=False,
        description="Scale both sides of a row to length 1 first, and sum the squares (KD4MTL, Li 2020): teachers of "
        "several tasks then have equal influence, whatever the size of their features.",
    )


class AttentionTerm(_OnePair):
    """Attention transfer (Zagoruyko 2017): compares spatial maps of squared activations."""

    layer_shapes: ClassVar[LayerShapes] = "maps"

    method: Literal["attention"]


class SimilarityTerm(_OnePair):
    """Similarity-preserving distillation (Tung 2019): compares the similarities of the rows of a batch."""

    relational: ClassVar[bool] = True

    method: Literal["similarity"]


class RkdTerm(_OnePair):
    """Relational knowledge distillation (Park 2019): distances and angles between the rows of a batch."""

    relational: ClassVar[bool] = True

    method: Literal["rkd"]
    distance: float = Field(default=25.0, ge=0.0, le=1e4, description="Weight of the loss on distances.")
    angle: float = Field(default=50.0, ge=0.0, le=1e4, description="Weight of the loss on angles.")


class CrdTerm(_OnePair):
    """Contrastive representation distillation (Tian 2020) with the negatives of the batch."""

    relational: ClassVar[bool] = True

    method: Literal["crd"]
    dimensions: int = Field(
        default=128, ge=2, le=4096, description="Size of the learned embedding in which rows are compared."
    )
    temperature: float = Field(default=0.07, gt=0.0, le=10.0, description="Temperature of the contrastive loss.")


class SimkdTerm(_OnePair):
    """SimKD (Chen 2022): the student reuses the teacher's head and learns the features that are its input.

    The student's last hidden layer must be as wide as the teacher's: it is the projector, and part of the student. The
    head is frozen while the term counts: with a `phase` that ends earlier, it is trained afterwards.
    """

    layer_shapes: ClassVar[LayerShapes] = "equal"
    reuses_head: ClassVar[bool] = True

    method: Literal["simkd"]
    teacher_layer: Literal["penultimate"] = Field(default="penultimate", description="Input of the teacher's head.")
    student_layer: Literal["penultimate"] = Field(default="penultimate", description="Input of the student's head.")


class HiddenStatesTerm(_OnePair):
    """Hidden states of transformer layers (TinyBERT, Jiao 2020), projected to the teacher's width."""

    layer_shapes: ClassVar[LayerShapes] = "tokens"

    method: Literal["hidden_states"]


class RelationsTerm(_OnePair):
    """Relations between the tokens of a row (MiniLMv2, Wang 2021), split into heads."""

    layer_shapes: ClassVar[LayerShapes] = "tokens"

    method: Literal["relations"]
    heads: int = Field(
        default=4, ge=1, le=256, description="Number of relation heads; divides the widths of both layers."
    )

    def setting_misfit(self, student: Shape, teacher: Shape) -> tuple[str, str] | None:
        """(field, reason) where a setting does not fit layers of these shapes, which are as `layer_shapes` says."""
        if student[1] % self.heads == 0 and teacher[1] % self.heads == 0:
            return None
        return "heads", f"{self.heads} heads do not divide both widths"


class ReviewTerm(_Feature):
    """ReviewKD (Chen 2021): each layer of the teacher is compared with its partner in the student and all later ones,
    fused by trained modules that are not exported.
    """

    layer_shapes: ClassVar[LayerShapes] = "maps_or_vectors"
    min_pairs: ClassVar[int] = 2

    method: Literal["review"]
    layers: Annotated[tuple[LayerPair, ...], Field(min_length=1, max_length=8)] = Field(
        description="Two pairs of layers or more, each side in the order in which data pass them."
    )

    @property
    def pairs(self) -> Mapping[str, LayerPair]:
        """The layers that are compared, by where the term names them."""
        return {f"/layers/{i}": pair for i, pair in enumerate(self.layers)}

    def with_student_layers(self, rename: Rename) -> Self:
        """The term with other names of the student's layers."""
        return self.model_copy(update={"layers": tuple(pair.with_student_layers(rename) for pair in self.layers)})


FeatureTerm = Annotated[
    FitnetsTerm
    | AttentionTerm
    | SimilarityTerm
    | RkdTerm
    | CrdTerm
    | SimkdTerm
    | HiddenStatesTerm
    | RelationsTerm
    | ReviewTerm,
    Field(discriminator="method"),
]
FeatureTerms = Annotated[tuple[FeatureTerm, ...], Field(min_length=1, max_length=16)]


def _listed(value: Any) -> Any:
    return tuples([value] if isinstance(value, dict) else value)


class SupervisedTerm(Contract):
    """The loss on labels."""

    weight: Weight | None = Field(
        default=None, description=f"Weight of the loss on labels in the task's loss. {_CHOSEN}."
    )
    phase: Phase | None = Field(default=None, description=_PHASE)

    @property
    def share(self) -> float:
        """The weight. Raises ValueError while it is still to be chosen."""
        if self.weight is None:
            raise ValueError("the weight of the loss on labels is still to be chosen")
        return self.weight


class DistillationSpec(Contract):
    """The teacher terms of one task, and the weight of the loss on labels."""

    soft_targets: (
        Annotated[SoftTargetTerms, BeforeValidator(_listed, json_schema_input_type=SoftTargetTerm | SoftTargetTerms)]
        | None
    ) = Field(
        default=None,
        description="One term or a list. When left out, `kd` for classes and labels and `mse` for values and vectors, "
        "with settings that the recipe chooses from the share of labelled rows.",
    )
    features: (
        Annotated[FeatureTerms, BeforeValidator(_listed, json_schema_input_type=FeatureTerm | FeatureTerms)] | None
    ) = Field(default=None, description="Terms on intermediate layers, beside the soft targets: one term or a list.")
    supervised: SupervisedTerm = Field(
        default_factory=SupervisedTerm, description="Weight and phase of the loss on labels."
    )
    anneal: Literal["linear"] | None = Field(
        default=None,
        description="Teacher annealing (BAM!, Clark 2019): over the steps the weight of the soft targets moves "
        "linearly to the labels.",
    )
    combine: Literal["weights", "confidence", "learned"] = Field(
        default="weights",
        description="How several teachers are averaged after softening: by their weights; on each labelled row by "
        "each one's confidence in the label (CA-MKD, Zhang 2022); or by weights learned with the student.",
    )
    allow_chance_teacher: bool = Field(
        default=False, description="Train even if the teacher is no better than chance on the training labels."
    )

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if self.soft_targets is not None:
            terms = (*self.soft_targets, *(self.features or ()), self.supervised)
            if all(term.weight is not None and term.share == 0.0 for term in terms):
                message = "the weights of soft targets and supervised loss sum to 0: nothing to learn from"
                raise coded_error("weights_sum_to_zero", message)
        return self
