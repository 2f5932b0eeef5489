"""Job specs as clients send them: `train | distill | multitask | preflight`, discriminated by `kind`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, WithJsonSchema, model_validator

from app.contracts.base import (
    ClassName,
    Contract,
    DatasetId,
    JobId,
    Licence,
    ModelId,
    Name,
    Title,
    Weight,
    coded_error,
    left_out,
)
from app.contracts.specs.architectures import Architecture, StudentSpec, TrainedSpec
from app.contracts.specs.balancing import Balancing, FixedBalancing
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.families.library import LibraryNetwork
from app.contracts.specs.quantization import Export, QuantizationSpec
from app.contracts.specs.relations import RelationSpec
from app.contracts.specs.searches import TemperatureValue
from app.contracts.specs.stores import StoreSpec, predicted_target
from app.contracts.specs.supervision.label_losses import ClassWeights, LabelLoss
from app.contracts.specs.training import TrainingSpec

LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-/]{0,63}$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-/: ]{0,128}$")]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=32)]


class DatasetRef(Contract):
    """A dataset and its share of the batches.

    Every batch has `batch_size` rows, a number from each dataset in proportion to its weight. Small datasets are
    repeated within an epoch, large ones continue in the next; an epoch has as many rows as all datasets together.
    """

    dataset: DatasetId
    weight: float = Field(
        default=1.0,
        gt=0.0,
        le=1e4,
        description="Share of the rows of every batch, relative to the other datasets and whatever their sizes.",
    )


def _named_once(refs: tuple[DatasetRef, ...]) -> tuple[DatasetRef, ...]:
    if len({ref.dataset for ref in refs}) != len(refs):
        raise coded_error("duplicate_name", "`datasets` names a dataset twice: give it one weight")
    return refs


DatasetRefs = Annotated[tuple[DatasetRef, ...], Field(min_length=1, max_length=8), AfterValidator(_named_once)]


_TeacherClass = Annotated[int, Field(ge=0, le=65_535)] | ClassName
TeacherClasses = (
    Annotated[tuple[_TeacherClass, ...], Field(min_length=2, max_length=65_536)]
    | Annotated[dict[ClassName, _TeacherClass], Field(min_length=2, max_length=65_536)]
)
"""The teacher's class of each class of the dataset."""


class TeacherRef(Contract):
    """A teacher: a model, the student of a job once it has succeeded, or its outputs in columns or predictions."""

    model: ModelId | None = Field(default=None, description="Id of the model that is the teacher.")
    job: JobId | None = Field(
        default=None, description="Id of a job; the teacher is its student, once it has succeeded."
    )
    columns: Name | None = Field(default=None, description="Name of a dataset target of kind `teacher`.")
    predictions: DatasetId | None = Field(
        default=None,
        exclude_if=left_out,
        description="Id of predictions (a dataset of format `predictions`) for rows of a dataset of the job.",
    )
    output: Name | None = Field(
        default=None,
        description="Name of the teacher's output; may be left out where it has only one, or one with the task's name.",
    )
    weight: Weight = Field(
        default=1.0, description="Weight in the average over the task's teachers; weights are normalised to sum to 1."
    )
    classes: TeacherClasses | None = Field(
        default=None,
        description="For a teacher that has more classes than the dataset, or another order: the teacher's class (its "
        "name, or its index from 0) of each class of the dataset, in their order or by name (or number). The other "
        "classes are left out and the rest is renormalised. Where both have class names and the teacher has all of the "
        "dataset's, they are matched by name when left out.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        named = [n for n in ("model", "job", "columns", "predictions") if getattr(self, n) is not None]
        if len(named) != 1:
            raise ValueError(f"a teacher is one of `model`, `job`, `columns` or `predictions`, found {named or 'none'}")
        if self.columns is not None and self.output is not None:
            raise ValueError("`output` belongs to a model, job or predictions; `columns` already names the numbers")
        return self

    @property
    def stored_as(self) -> str | None:
        """Name of the target that holds its outputs for the dataset's rows; None of a model, which is run."""
        return self.columns if self.predictions is None else predicted_target(self.predictions, self.output or "")


def _teachers_weigh(teachers: tuple[TeacherRef, ...]) -> tuple[TeacherRef, ...]:
    if sum(teacher.weight for teacher in teachers) == 0.0:
        raise coded_error(
            "weights_sum_to_zero", "the weights of the teachers sum to 0: no teacher would have any influence"
        )
    return teachers


Teachers = Annotated[tuple[TeacherRef, ...], Field(min_length=1, max_length=16), AfterValidator(_teachers_weigh)]


@dataclass(frozen=True)
class Reference:
    """An input that a spec names, and where."""

    pointer: str
    kind: Literal["model", "dataset", "job"]
    identity: str


class _AnyKind(Contract):
    """What service and queue must know of a job of any kind."""

    has_student: ClassVar[bool]
    """Whether the job makes a model, so that it can be another job's teacher."""

    @property
    def threads(self) -> int | None:
        """Number of CPU threads; None: that of the worker."""
        return None

    def references(self) -> Iterator[Reference]:
        """Every input that the spec names: its job waits until all are ready."""
        return iter(())


class _Job(_AnyKind):
    has_student = True
    network_field: ClassVar[str] = "student"
    """Where its network is in the spec."""

    name: Title | None = Field(default=None, description="Name for people, not necessarily unique.")
    dataset: DatasetId | None = Field(default=None, description="Id of the dataset; either this or `datasets`.")
    datasets: DatasetRefs | None = Field(
        default=None,
        description="Instead of `dataset`: several datasets, mixed in every batch by weight. Targets with the same "
        "name are one target; rows of a dataset without it have no label for it.",
    )
    training: TrainingSpec = Field(default_factory=TrainingSpec, description="Settings of the training loop.")
    labels: Labels = Field(default_factory=dict, description='Labels to list jobs by, such as `{"team": "vision"}`.')
    licence: Licence | None = Field(
        default=None,
        exclude_if=left_out,
        description="Licence of the trained model, such as `Apache-2.0`, for its model card; not stated when left out.",
    )
    exports: Annotated[tuple[Export, ...], Field(max_length=4)] = Field(
        default=(),
        description="Formats besides safetensors. `onnx`: a graph that takes rows as they were uploaded and puts out "
        "`<task>.logits` and `<task>.probabilities`, or `<task>.value` and `<task>.vector` in their own units. Its "
        "answers for the test rows are compared with the student's predictions before the job succeeds; a file that "
        "differs is left out, with the warning `export_failed`. `int8` and `fp16`: the same graph with weights and "
        "arithmetic of 8 or 16 bits; the report has each as a party of its own.",
    )
    quantization: QuantizationSpec | None = Field(
        default=None,
        exclude_if=left_out,
        description="Train for the rounding of the `int8` file; none when left out, and an int8 file is then quantized "
        "after training.",
    )

    @model_validator(mode="after")
    def _one_source_of_rows(self) -> Self:
        if (self.dataset is None) == (self.datasets is None):
            raise ValueError("give `dataset` or `datasets`, one of the two")
        if len(set(self.exports)) != len(self.exports):
            raise ValueError("`exports` names a format twice")
        return self

    def dataset_refs(self) -> tuple[DatasetRef, ...]:
        """The datasets with their weights, from `dataset` or `datasets`."""
        if self.datasets is not None:
            return self.datasets
        assert self.dataset is not None
        return (DatasetRef(dataset=self.dataset),)

    @property
    def formats(self) -> tuple[Export, ...]:
        """The formats to export: those of `exports`, and int8 where training is for it."""
        aware: tuple[Export, ...] = ("int8",) if self.quantization is not None else ()
        return tuple(dict.fromkeys((*self.exports, *aware)))

    @property
    def threads(self) -> int | None:
        return self.training.threads

    def teacher_refs(self) -> Iterable[tuple[str, TeacherRef]]:
        """(JSON pointer, teacher) of every teacher."""
        return ()

    def references(self) -> Iterator[Reference]:
        if self.dataset is not None:
            yield Reference("/dataset", "dataset", self.dataset)
        for i, ref in enumerate(self.datasets or ()):
            yield Reference(f"/datasets/{i}/dataset", "dataset", ref.dataset)
        for pointer, teacher in self.teacher_refs():
            if teacher.model is not None:
                yield Reference(f"{pointer}/model", "model", teacher.model)
            if teacher.job is not None:
                yield Reference(f"{pointer}/job", "job", teacher.job)
            if teacher.predictions is not None:
                yield Reference(f"{pointer}/predictions", "dataset", teacher.predictions)
        for field, model in (self.network.named_models() if isinstance(self, AnyTrainingJob) else {}).items():
            yield Reference(f"/{self.network_field}/{field}", "job" if model[:4] == "job_" else "model", model)


class ControlSpec(Contract):
    """Settings of a control that differ from the student's."""

    label_smoothing: float = Field(
        default=0.1,
        ge=0.0,
        lt=1.0,
        description="Label smoothing in the control's loss, as by a teacher that gives every class the same "
        "probability.",
    )


class MutualSpec(Contract):
    """Deep mutual learning (Zhang 2018): peers train beside the student, each a soft target of the others."""

    peers: Annotated[tuple[Architecture, ...], Field(min_length=1, max_length=7)] = Field(
        description="Networks of the other students; may repeat the student's own."
    )
    temperature: TemperatureValue = Field(default=1.0, description="Temperature that all logits are divided by.")
    weight: Weight = Field(default=1.0, description="Weight of the peers' soft targets in each student's loss.")


FIRST_SEEDS, MOST_SEEDS = 3, 8
"""Seeds of `repeats: "auto"`: from 3 on the noise of training can be estimated."""
_Auto = Annotated[Literal["auto"], WithJsonSchema({"type": "string", "enum": ["auto"]})]
Repeats = Annotated[int, Field(ge=1, le=16)] | _Auto
_CONTROL = (
    "Also train the same student without teachers for the same number of optimizer steps; an object gives that control "
    "smoothed labels."
)
_REPEATS = (
    "Number of seeds with which student and control are trained; the verdict covers all of them. `auto`: 3, or up to 8 "
    "and 15 controls where the difference is still undecided and training is cheap; controls of earlier jobs with the "
    "same student, data and training are counted too; without a control, as in a multi-task job without teachers, 1. "
    "The student with the best validation score is exported. With 1 the verdict is provisional."
)


class TrainJob(_Job):
    """Trains a model on labels, e.g. a teacher."""

    kind: Literal["train"]
    target: Name | None = Field(
        default=None, description="Name of the target; may be left out where the dataset has only one."
    )
    network_field: ClassVar[str] = "model"

    model: TrainedSpec = Field(description="The network to train.")

    @property
    def network(self) -> TrainedSpec:
        """The network to train."""
        return self.model


class DistillJob(_Job):
    """Trains a student of one or several teachers, with a control."""

    kind: Literal["distill"]
    target: Name | None = Field(
        default=None,
        description="Name of the target; may be left out where the dataset has only one, or none (the teacher's "
        "output is then the task).",
    )
    teachers: Teachers | None = Field(
        default=None,
        description="The teachers; the outputs of several are averaged after softening. May be left out with `mutual`.",
    )
    student: StudentSpec = Field(description="The network to train.")
    distillation: DistillationSpec = Field(
        default_factory=DistillationSpec, description="Terms of the loss and their weights."
    )
    control: bool | ControlSpec = Field(default=True, description=_CONTROL)
    repeats: Repeats = Field(default="auto", description=_REPEATS)
    store: StoreSpec = Field(default_factory=StoreSpec, description="How the teachers' outputs are stored.")
    mutual: MutualSpec | None = Field(
        default=None, description="Further students that train beside this one, each with the others as teachers."
    )

    @model_validator(mode="after")
    def _someone_teaches(self) -> Self:
        if not self.teachers and self.mutual is None:
            raise ValueError("name `teachers`, or `mutual` peers: a student needs at least one of them")
        return self

    @property
    def network(self) -> StudentSpec:
        """The network to train."""
        return self.student

    def teacher_refs(self) -> Iterable[tuple[str, TeacherRef]]:
        return ((f"/teachers/{i}", teacher) for i, teacher in enumerate(self.teachers or ()))


class TaskSpec(Contract):
    """One task of a multi-task job: its head, target, weight and teachers."""

    name: Name = Field(description="Name of the task, of its head, and of its entries in metrics and report.")
    target: Name | None = Field(default=None, description="Name of the target; the name of the task when left out.")
    weight: Weight = Field(default=1.0, description="Weight of the task's loss relative to the other tasks.")
    teachers: Teachers | None = Field(
        default=None, description="Teachers of this task; without them it learns from labels alone."
    )
    distillation: DistillationSpec | None = Field(
        default=None, description="Terms of the loss and their weights; only with `teachers`."
    )
    loss: LabelLoss | None = Field(
        default=None, description="Loss on the task's labels; `training.loss` where it fits when left out."
    )
    class_weights: ClassWeights | None = Field(
        default=None,
        description="Weights of the task's classes in the loss on labels; `training.class_weights` when left out.",
    )
    row_weights: Name | None = Field(
        default=None,
        exclude_if=left_out,
        description="Name of the dataset's row weights for the task's loss on labels; `training.row_weights` when left "
        "out.",
    )

    @model_validator(mode="after")
    def _distillation_needs_teachers(self) -> Self:
        if self.distillation is not None and self.teachers is None:
            raise ValueError("`distillation` needs `teachers`")
        return self


def _distinct_and_weighing(tasks: tuple[TaskSpec, ...]) -> tuple[TaskSpec, ...]:
    names = [task.name for task in tasks]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise coded_error("duplicate_name", f"task names must differ, found twice: {', '.join(doubled)}")
    if sum(task.weight for task in tasks) == 0.0:
        raise coded_error("weights_sum_to_zero", "the weights of the tasks sum to 0: nothing to learn")
    return tasks


Tasks = Annotated[tuple[TaskSpec, ...], Field(min_length=1, max_length=64), AfterValidator(_distinct_and_weighing)]


class MultitaskJob(_Job):
    """Trains one student on several tasks; with teachers inside tasks it is combined with distillation."""

    kind: Literal["multitask"]
    tasks: Tasks = Field(description="The tasks; each has a head of its own.")
    student: StudentSpec = Field(description="The network to train.")
    relation: RelationSpec | None = Field(
        default=None, description="How much each task helps each other task; independent tasks when left out."
    )
    balancing: Balancing = Field(
        default_factory=lambda: FixedBalancing(method="fixed"),
        description="How the losses of the tasks become one update.",
    )
    control: bool | ControlSpec = Field(default=True, description=_CONTROL)
    repeats: Repeats = Field(default="auto", description=_REPEATS)
    baselines: bool | None = Field(
        default=None,
        description="Also train, for each labelled task, a single-task model of the student's trunk, without teachers "
        "and for the same optimizer steps; the report has Δm against them, and warns of a task that is worse together "
        "with the others (`negative_transfer`). They are kept for later jobs with the same data and training. When "
        "left out: true where more than one task has labels and there is a test split.",
    )
    store: StoreSpec = Field(default_factory=StoreSpec, description="How the teachers' outputs are stored.")

    @property
    def network(self) -> StudentSpec:
        """The network to train."""
        return self.student

    def teacher_refs(self) -> Iterable[tuple[str, TeacherRef]]:
        for t, task in enumerate(self.tasks):
            for i, teacher in enumerate(task.teachers or ()):
                yield f"/tasks/{t}/teachers/{i}", teacher


AnyTrainingJob = TrainJob | DistillJob | MultitaskJob
TrainingJob = Annotated[AnyTrainingJob, Field(discriminator="kind")]
"""The job of a preflight: one that trains."""

TRAINING_JOB: TypeAdapter[AnyTrainingJob] = TypeAdapter(TrainingJob)


class PreflightJob(_AnyKind):
    """Checks a job and estimates its cost. No model is trained."""

    has_student = False

    kind: Literal["preflight"]
    name: Title | None = Field(default=None, description="Name for people, not necessarily unique.")
    job: TrainingJob = Field(description="The job to estimate, as it would be submitted by itself.")
    labels: Labels = Field(default_factory=dict, description='Labels to list jobs by, such as `{"team": "vision"}`.')

    @property
    def threads(self) -> int | None:
        return self.job.threads

    def references(self) -> Iterator[Reference]:
        return (replace(ref, pointer=f"/job{ref.pointer}") for ref in self.job.references())

    def dataset_refs(self) -> tuple[DatasetRef, ...]:
        """The datasets of the job."""
        return self.job.dataset_refs()


SubmittableJob = AnyTrainingJob | PreflightJob
JobSpec = Annotated[
    SubmittableJob,
    Field(discriminator="kind", description="A job; `kind` decides which fields it has."),
]
"""The body of `POST /v1/jobs`."""

JOB_SPEC: TypeAdapter[SubmittableJob] = TypeAdapter(JobSpec)


class InspectJob(_AnyKind):
    """The service's own job: checks that an upload is as its manifest describes it."""

    has_student = False

    kind: Literal["inspect"] = "inspect"
    model: ModelId | None = Field(default=None, description="The model to inspect; null where a dataset is inspected.")
    dataset: DatasetId | None = Field(default=None, description="The dataset to inspect; null for a model.")
    of: DatasetId | None = Field(
        default=None, exclude_if=left_out, description="The dataset whose rows the inspected predictions are for."
    )
    network: LibraryNetwork | None = Field(
        default=None, exclude_if=left_out, description="The network of a library to measure."
    )

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if sum(each is not None for each in (self.model, self.dataset, self.network)) != 1:
            raise ValueError("an inspection has one subject: `model`, `dataset` or `network`")
        return self


class ExportJob(_AnyKind):
    """Adds a file in another format to a model. Submitted by `POST /v1/models/{id}/exports`."""

    has_student = False

    kind: Literal["export"] = "export"
    name: Title | None = Field(default=None, description="Name for people, not necessarily unique.")
    model: ModelId = Field(description="The model to export.")
    format: Export = Field(description="Format of the new file.")
    dataset: DatasetId | None = Field(
        default=None, exclude_if=left_out, description="Id of the dataset on whose rows the file is measured."
    )
    labels: Labels = Field(default_factory=dict, description='Labels to list jobs by, such as `{"team": "vision"}`.')

    def references(self) -> Iterator[Reference]:
        yield Reference("/model", "model", self.model)
        if self.dataset is not None:
            yield Reference("/dataset", "dataset", self.dataset)

    def dataset_refs(self) -> tuple[DatasetRef, ...]:
        """The dataset, if there is one."""
        return () if self.dataset is None else (DatasetRef(dataset=self.dataset),)


InternalJob = InspectJob | ExportJob
"""Jobs of the service's own, which are not submitted as specs, and run in the lane of inspections."""
AnyJob = SubmittableJob | InspectJob | ExportJob
AnySpec = Annotated[AnyJob, Field(discriminator="kind")]
"""A spec as the ledger stores it."""

ANY_SPEC: TypeAdapter[AnyJob] = TypeAdapter(AnySpec)
JobKind = Literal["train", "distill", "multitask", "preflight", "inspect", "export"]
WITHOUT_STUDENT: frozenset[str] = frozenset(
    get_args(job.model_fields["kind"].annotation)[0] for job in get_args(AnyJob) if not job.has_student
)
"""Kinds of jobs that cannot be another job's teacher."""
