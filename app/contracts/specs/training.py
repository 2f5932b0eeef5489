"""How a model is trained: steps, optimizer, schedule, precision, selection.

What a spec leaves out is chosen by the recipe (`app.contracts.resolving.recipe`) when its inputs are known, and frozen
by the first attempt.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from app.contracts.base import Contract, Name, Printable, left_out, tuples
from app.contracts.specs.quantization import QuantizationSpec
from app.contracts.specs.searches import Rate, RateSearch
from app.contracts.specs.supervision.label_losses import ClassWeights, LabelLoss
from app.contracts.specs.supervision.metrics import DIRECTIONS, MetricName
from app.contracts.specs.views import Views


class ConstantSchedule(Contract):
    """A constant learning rate."""

    kind: Literal["constant"]


class CosineSchedule(Contract):
    """Cosine decay from the learning rate to `final` times it (Loshchilov 2017, without restarts)."""

    kind: Literal["cosine"]
    final: float = Field(default=0.0, ge=0.0, le=1.0, description="Final learning rate, as a share of `learning_rate`.")


class OneCycleSchedule(Contract):
    """Rise to the learning rate over `rise` of the steps, then cosine decay (Smith 2018)."""

    kind: Literal["one_cycle"]
    rise: float = Field(default=0.3, gt=0.0, lt=1.0, description="Share of the steps in which the learning rate rises.")
    start: float = Field(
        default=0.04, gt=0.0, le=1.0, description="First learning rate, as a share of `learning_rate`."
    )
    final: float = Field(
        default=1e-5, ge=0.0, le=1.0, description="Final learning rate, as a share of `learning_rate`."
    )


Milestone = Annotated[float, Field(gt=0.0, lt=1.0)]


class StepSchedule(Contract):
    """Multiply by `gamma` at each milestone, a share of all steps."""

    kind: Literal["step"]
    gamma: float = Field(default=0.1, gt=0.0, le=1.0, description="Factor on the learning rate at each milestone.")
    milestones: Annotated[tuple[Milestone, ...], Field(min_length=1, max_length=32)] = Field(
        default=(0.5, 0.75), description="Milestones, as shares of all steps."
    )


class PlateauSchedule(Contract):
    """Multiply the learning rate by `factor` whenever the validation score has not improved for more than `patience`
    epochs, as `torch.optim.lr_scheduler.ReduceLROnPlateau` does. The score is that of `select_by`.

    Student, control and peers each follow their own score.
    """

    kind: Literal["plateau"]
    factor: float = Field(default=0.1, gt=0.0, lt=1.0, description="Factor on the learning rate at each reduction.")
    patience: int = Field(
        default=3, ge=0, le=10_000, description="Number of epochs without improvement that do not reduce it yet."
    )
    min_delta: float = Field(
        default=0.0, ge=0.0, le=1e6, description="Smallest change of the score that counts as an improvement."
    )
    min_rate: float = Field(default=0.0, ge=0.0, le=1e3, description="Learning rate below which it is not reduced.")


ScheduleName = Literal["constant", "cosine", "one_cycle", "step", "plateau"]
_Schedule = Annotated[
    ConstantSchedule | CosineSchedule | OneCycleSchedule | StepSchedule | PlateauSchedule, Field(discriminator="kind")
]


def _named(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else tuples(value)


Schedule = Annotated[_Schedule, BeforeValidator(_named, json_schema_input_type=ScheduleName | _Schedule)]


class EarlyStopping(Contract):
    """Stop when the validation score has not improved for `patience` epochs."""

    patience: int = Field(default=5, ge=1, le=10_000, description="Number of epochs without improvement.")
    min_delta: float = Field(
        default=0.0, ge=0.0, le=1e6, description="Smallest change of the score that counts as an improvement."
    )


LayerName = Annotated[str, StringConstraints(min_length=1, max_length=200), Printable()]
"""Name of a layer or parameter of a network, or of a group of them."""


class FrozenUntil(Contract):
    """Everything that data enter before a layer."""

    until: LayerName = Field(description="The first layer that is trained, such as `trunk.blocks.3`.")


def _on_or_left_out(value: Any) -> Any:
    return None if value is False else value


OnOrLeftOut = Annotated[Literal[True] | None, BeforeValidator(_on_or_left_out, json_schema_input_type=bool | None)]
"""A switch that is off when left out; `false` leaves it out, so that digests do not depend on it."""
Frozen = Annotated[tuple[LayerName, ...], Field(min_length=1, max_length=256)] | FrozenUntil
Count = Annotated[int, Field(ge=1, le=100_000_000)]
MemoryFormat = Literal["contiguous", "channels_last"]
RecipeName = Literal["fast", "default", "best"]
_RECIPE = "Chosen by the recipe when left out"


class TrainingSpec(Contract):
    """Training settings, common to all kinds of job. Equal budgets mean equal optimizer steps."""

    chosen_by_recipe: ClassVar = (
        "batch_size",
        "learning_rate",
        "weight_decay",
        "schedule",
        "warmup",
        "clip_norm",
        "evaluate_every",
    )
    """Fields that the recipe fills in, besides the number of steps."""

    recipe: RecipeName = Field(
        default="default",
        description="How settings that are left out are chosen: `default`, `fast` (a third of the steps) or `best` "
        "(three times the steps, and augmented images). The dry run says what was chosen and why.",
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description=f"Number of passes over the training split. {_RECIPE}, and `steps` too.",
    )
    steps: Count | None = Field(default=None, description="Number of optimizer steps, instead of `epochs`.")
    batch_size: int | None = Field(
        default=None, ge=1, le=65_536, description=f"Number of rows in an optimizer step. {_RECIPE}."
    )
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Number of rows in memory at once; gradients are accumulated and equal those of the whole batch. "
        "The whole batch when left out.",
    )
    learning_rate: Rate | RateSearch | None = Field(
        default=None, description=f"Highest learning rate of the schedule, or a search over rates. {_RECIPE}."
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field(
        default="adamw", description="sgd with momentum, adam (Kingma 2015), adamw (Loshchilov 2019)."
    )
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0, description="Momentum of sgd; not used by the others.")
    weight_decay: float | None = Field(
        default=None,
        ge=0.0,
        le=1e3,
        description="Weight decay: an L2 term for sgd and adam, decoupled for adamw. It applies to matrices and "
        f"kernels, not to biases and normalisation. {_RECIPE}.",
    )
    schedule: Schedule | None = Field(
        default=None,
        description="Learning rate over the steps: a name, or an object with its settings. Answers always have the "
        f"object. `plateau` follows the validation score instead. {_RECIPE}.",
    )
    warmup: int | None = Field(
        default=None,
        ge=0,
        le=10_000_000,
        description=f"Number of steps of linear warm-up before the schedule. {_RECIPE}.",
    )
    clip_norm: float | None = Field(
        default=None,
        ge=0.0,
        le=1e9,
        description=f"Norm to which larger gradients are rescaled; 0 for no clipping. {_RECIPE}.",
    )
    frozen: Frozen | None = Field(
        default=None,
        exclude_if=left_out,
        description="Layers that are not trained: a list of names of layers, groups of layers or parameters "
        '(`["trunk.stem", "trunk.blocks.0"]`), or `{"until": "trunk.blocks.3"}` for all that data enter before a '
        "layer. They have no gradient, weight decay or optimizer state, and run in evaluation mode: statistics of "
        "BatchNorm stay as they are, and dropout inside them is off. The same for student, control and baselines. "
        "GET /v1/models/{id}/layers lists a model's layers.",
    )
    layer_decay: float | None = Field(
        default=None,
        gt=0.0,
        le=1.0,
        exclude_if=left_out,
        description="Factor on the learning rate for each step down from the heads, as in fine-tuning of ELECTRA and "
        "BEiT: 1 for the heads, `layer_decay` for the last block, its square for the block before, and the smallest "
        "for the stem. 1 everywhere when left out.",
    )
    gradient_checkpointing: OnOrLeftOut = Field(
        default=None,
        exclude_if=left_out,
        description="`true`: the backward pass computes the activations inside each block again instead of keeping "
        "them: the same student for less memory, and one more forward pass a step. For networks that have blocks.",
    )
    evaluate_every: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Number of epochs between two evaluations on the validation split; the last epoch is always "
        f"evaluated. Early stopping and `plateau` count evaluations. {_RECIPE}.",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Label smoothing in the loss on labels of class tasks (Szegedy 2016)."
    )
    loss: LabelLoss | None = Field(
        default=None,
        description="Loss on labels, a name or an object with its settings: `cross_entropy` or `focal` for class and "
        "multilabel tasks, `mse` or `huber` for values and vectors. The first of each when left out. In a multi-task "
        "job it is that of the tasks of its kinds that name no `loss` themselves. The same for student and control.",
    )
    class_weights: ClassWeights | None = Field(
        default=None,
        description="Weights of the classes in the loss on labels: `balanced` (rows / (classes · rows of the class), "
        "over the labelled training rows), a number for each class in order, or by class name (or number); classes "
        "left out weigh 1. Of a multilabel task they are weights of a label's presence relative to its absence. "
        "Weights are divided by their mean over the labelled training rows, and the loss is the mean over rows: the "
        "scale of the loss does not change, and micro-batches stay exact. In a multi-task job they are those of class "
        "and multilabel tasks that name none themselves. The same for student and control.",
    )
    row_weights: Name | None = Field(
        default=None,
        exclude_if=left_out,
        description="Name of row weights of the dataset (`weights` in its manifest): each row's loss on labels is "
        "multiplied by its weight. Weights are divided by their mean over the labelled training rows, and the loss is "
        "the mean over rows: the scale of the loss does not change, and micro-batches stay exact. The validation loss "
        "and all metrics are unweighted. In a multi-task job they are those of labelled tasks that name none "
        "themselves; terms of teachers name their own. The same for student, control and baselines.",
    )
    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, description="Seed of initial weights, the order of rows, dropout and balancing."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="`bfloat16`: autocast where the device supports it; losses stay in float32."
    )
    views: Views | None = Field(
        default=None,
        description="Random augmentations of the training rows, the same for students, control and teachers. Chosen by "
        "the recipe `best` for images when left out, else none.",
    )
    early_stopping: EarlyStopping | None = Field(default=None, description="Early stopping; off when left out.")
    select_by: Literal["metric", "loss", "last"] | MetricName = Field(
        default="metric",
        description="Which epoch's weights are exported: the best on the validation split by the tasks' `metric` "
        "(accuracy, R² of values, rmse of vectors), by `loss`, or by a metric of the report, such as `macro_f1` or "
        "`mae`, averaged over the tasks that have it; or the `last`. Early stopping and the schedule `plateau` "
        "use the same score. Searches compare candidates by the same metric; with `loss`, and without labels, by a "
        "loss that does not depend on searched weights and temperatures. Without a validation split it is the last.",
    )
    memory_format: MemoryFormat | None = Field(
        default=None,
        exclude_if=left_out,
        description="Order in memory of images and their feature maps, in convnets and resnets: `channels_last` is "
        "faster, and part of the resolved spec, as it changes the last bits of the result. Chosen for jobs "
        "with such a student or teacher when left out; other networks are always `contiguous`.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Number of CPU threads; part of the resolved spec, as another number can change the last bits of "
        f"the result. {_RECIPE}: 1 for small networks.",
    )
    teacher_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        exclude_if=left_out,
        description="Number of CPU threads of the teachers' passes, where it is another than `threads`; part of the "
        f"resolved spec as well. {_RECIPE} with `threads`: more for larger teachers.",
    )

    @property
    def rate(self) -> float:
        """The learning rate. Raises ValueError while it is still to be searched or chosen."""
        if self.learning_rate is None or isinstance(self.learning_rate, RateSearch):
            raise ValueError("the learning rate is still to be searched or chosen")
        return self.learning_rate

    @property
    def augmentations(self) -> Views | None:
        """`views`; None where they have no transform."""
        return self.views if self.views is not None and self.views.transforms else None

    @property
    def selection_metric(self) -> MetricName | None:
        """The metric by name by which epochs are selected; None for `metric`, `loss` and `last`."""
        return next((name for name in DIRECTIONS if name == self.select_by), None)

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give `epochs` or `steps`, not both")
        if self.micro_batch_size is not None and self.micro_batch_size > (self.batch_size or self.micro_batch_size):
            raise ValueError("`micro_batch_size` must not be above `batch_size`")
        return self


class TrainingSettings(TrainingSpec):
    """Resolved settings, as the engine trains by them."""

    batch_size: int
    weight_decay: float
    schedule: Schedule
    warmup: int
    clip_norm: float
    evaluate_every: int
    quantization: QuantizationSpec | None = Field(default=None, exclude_if=left_out)
    """That of the job."""

    @classmethod
    def of(cls, training: TrainingSpec, quantization: QuantizationSpec | None = None) -> "TrainingSettings":
        """The settings of a resolved spec. Raises ValueError where one is still to be chosen."""
        missing = [name for name in cls.chosen_by_recipe if getattr(training, name) is None]
        if missing or (training.steps is None and training.epochs is None):
            raise ValueError(f"the spec is not resolved: {missing or ['steps']}")
        return cls.model_construct(**dict(training), quantization=quantization)
