"""Job specs: what a client asks for. `train | distill | multitask`, discriminated by `kind`."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, TypeAdapter, model_validator

from app.contracts.architectures import Architecture
from app.contracts.base import Contract, DatasetId, JobId, ModelId, Name, Title, Weight, fault, tuples
from app.contracts.training import TrainingSpec

LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-/]{0,63}$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-/: ]{0,128}$")]
Export = Literal["onnx"]


class DatasetRef(Contract):
    """A dataset and its share of the batches."""

    dataset: DatasetId
    weight: float = Field(default=1.0, gt=0.0, le=1e4, description="Its share beside other datasets.")


class TeacherRef(Contract):
    """Who teaches: a model, a job's student once it succeeds, or outputs that stand in the dataset."""

    model: ModelId | None = Field(default=None, description="A model's id.")
    job: JobId | None = Field(default=None, description="A job's id: its student teaches once it succeeds.")
    columns: Name | None = Field(default=None, description="Name of a dataset target of kind `teacher`.")
    output: Name | None = Field(
        default=None,
        description="Which output of the teacher; may be left out where it has one, or one of the task's name.",
    )
    weight: Weight = Field(default=1.0, description="Its share of the teachers' mean; shares are normalised.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        named = [n for n in ("model", "job", "columns") if getattr(self, n) is not None]
        if len(named) != 1:
            raise ValueError(f"a teacher is one of `model`, `job` or `columns`, found {named or 'none'}")
        if self.columns is not None and self.output is not None:
            raise ValueError("`output` belongs to a model or job; `columns` already names the numbers")
        return self


Temperature = Annotated[float, Field(ge=0.05, le=100.0)]


class KdTerm(Contract):
    """Soft targets (Hinton 2015): temperature² · KL(teacher ‖ student), both softened by the temperature.

    For class targets a softmax, for multilabel targets a sigmoid for each label.
    """

    method: Literal["kd"]
    temperature: Temperature = Field(default=4.0, description="What both sides' logits are divided by.")
    weight: Weight = Field(default=0.9, description="Of this term in the task's loss.")


class MseTerm(Contract):
    """Mean squared error to the teacher's numbers, for value and vector targets (standardised units)."""

    method: Literal["mse"]
    weight: Weight = Field(default=0.9, description="Of this term in the task's loss.")


SoftTargetTerm = Annotated[KdTerm | MseTerm, Field(discriminator="method")]
SoftTargetTerms = Annotated[tuple[SoftTargetTerm, ...], Field(min_length=1, max_length=8)]


def _listed(value: Any) -> Any:
    return tuples([value] if isinstance(value, dict) else value)


class SupervisedTerm(Contract):
    """The loss on labels."""

    weight: Weight = Field(default=0.1, description="Of the labels' loss in the task's loss.")


class DistillationSpec(Contract):
    """The teacher terms of one task, and what its labels weigh beside them."""

    soft_targets: (
        Annotated[SoftTargetTerms, BeforeValidator(_listed, json_schema_input_type=SoftTargetTerm | SoftTargetTerms)]
        | None
    ) = Field(
        default=None,
        description="One term or a list; `kd` at 4.0 and 0.9 for classes, `mse` at 0.9 for values by default.",
    )
    supervised: SupervisedTerm = Field(default_factory=SupervisedTerm, description="What labels weigh.")
    allow_chance_teacher: bool = Field(
        default=False, description="Train even if the teacher is no better than chance on the training labels."
    )

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if self.soft_targets is not None:
            total = self.supervised.weight + sum(term.weight for term in self.soft_targets)
            if total == 0.0:
                message = "the weights of soft targets and supervised loss sum to 0: nothing to learn from"
                raise fault("weights_sum_to_zero", message)
        return self


def _teachers_weigh(teachers: tuple[TeacherRef, ...]) -> tuple[TeacherRef, ...]:
    if sum(teacher.weight for teacher in teachers) == 0.0:
        raise fault("weights_sum_to_zero", "the weights of the teachers sum to 0: no one would teach")
    return teachers


Teachers = Annotated[tuple[TeacherRef, ...], Field(min_length=1, max_length=16), AfterValidator(_teachers_weigh)]


class _Job(Contract):
    name: Title | None = Field(default=None, description="A human's name for it; need not be unique.")
    dataset: DatasetId | None = Field(default=None, description="The dataset (or `datasets`).")
    datasets: Annotated[tuple[DatasetRef, ...], Field(min_length=1, max_length=1)] | None = Field(
        default=None, description="Instead of `dataset`; one for now."
    )
    training: TrainingSpec = Field(default_factory=TrainingSpec, description="How it is trained.")
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] = Field(
        default_factory=dict, description="The client's own marks, to list jobs by."
    )
    exports: Annotated[tuple[Export, ...], Field(max_length=4)] = Field(
        default=(), description="Formats besides safetensors, checked against torch before the job succeeds."
    )

    @model_validator(mode="after")
    def _one_source_of_rows(self) -> Self:
        if (self.dataset is None) == (self.datasets is None):
            raise ValueError("give `dataset` or `datasets`, one of the two")
        if len(set(self.exports)) != len(self.exports):
            raise ValueError("`exports` names a format twice")
        return self

    def dataset_refs(self) -> tuple[DatasetRef, ...]:
        """The datasets with their weights, however the client wrote them."""
        if self.datasets is not None:
            return self.datasets
        assert self.dataset is not None
        return (DatasetRef(dataset=self.dataset),)


class TrainJob(_Job):
    """A model from labels, e.g. a teacher."""

    kind: Literal["train"]
    target: Name | None = Field(default=None, description="May be left out where the dataset has one.")
    model: Architecture = Field(description="The network to train.")


class DistillJob(_Job):
    """A student from one or several teachers, with a control."""

    kind: Literal["distill"]
    target: Name | None = Field(
        default=None,
        description="May be left out where the dataset has one, or none (the teacher's output is the task).",
    )
    teachers: Teachers = Field(description="Who teaches; several are averaged after softening.")
    student: Architecture = Field(description="The network to train.")
    distillation: DistillationSpec = Field(
        default_factory=DistillationSpec, description="The terms of the loss and their weights."
    )
    control: bool = Field(
        default=True, description="Also train the same student without the teacher, for the same steps."
    )
    repeats: int = Field(default=1, ge=1, le=1, description="Seeds; one for now.")


class TaskSpec(Contract):
    """One task of a multi-task job: a head, its target, its weight, and who teaches it."""

    name: Name = Field(description="Names its head, its metrics and its place in the report.")
    target: Name | None = Field(default=None, description="The dataset's target; the task's name when left out.")
    weight: Weight = Field(default=1.0, description="Of the task's loss beside the other tasks'.")
    teachers: Teachers | None = Field(default=None, description="Who teaches this task, beside its labels.")
    distillation: DistillationSpec | None = Field(default=None, description="Only with `teachers`.")

    @model_validator(mode="after")
    def _distillation_needs_teachers(self) -> Self:
        if self.distillation is not None and self.teachers is None:
            raise ValueError("`distillation` needs `teachers`")
        return self


RelationEntry = Annotated[float, Field(ge=0.0, le=1e6)]
RelationRow = Annotated[tuple[RelationEntry, ...], Field(min_length=1, max_length=64)]


class MatrixRelation(Contract):
    """The task relation matrix R: R_ij says how much task j teaches task i; row i weights what helps i.

    Rows are normalised by the service. `rows` hands the objectives R · L_task, kept apart, to the balancer.
    """

    matrix: Annotated[tuple[RelationRow, ...], Field(min_length=1, max_length=64)] = Field(
        description="One row and one column for each task, in the order of `tasks`."
    )
    apply: Literal["rows"] = Field(default="rows", description="How R acts.")

    @model_validator(mode="after")
    def _square_with_living_rows(self) -> Self:
        size = len(self.matrix)
        for i, row in enumerate(self.matrix):
            if len(row) != size:
                raise ValueError(f"the matrix must be square: row {i} has {len(row)} of {size} entries")
            if sum(row) == 0.0:
                raise ValueError(f"row {i} is all zero: task {i} would learn from no one")
        return self


class FixedBalancing(Contract):
    """The literal weighted sum of the objectives."""

    method: Literal["fixed"]


class PcgradBalancing(Contract):
    """Projecting conflicting gradients (Yu 2020) on the shared parameters."""

    method: Literal["pcgrad"]


Balancing = Annotated[FixedBalancing | PcgradBalancing, Field(discriminator="method")]


def _distinct_and_weighing(tasks: tuple[TaskSpec, ...]) -> tuple[TaskSpec, ...]:
    names = [task.name for task in tasks]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise fault("duplicate_name", f"task names must differ, found twice: {', '.join(doubled)}")
    if sum(task.weight for task in tasks) == 0.0:
        raise fault("weights_sum_to_zero", "the weights of the tasks sum to 0: nothing to learn")
    return tasks


Tasks = Annotated[tuple[TaskSpec, ...], Field(min_length=1, max_length=64), AfterValidator(_distinct_and_weighing)]


class MultitaskJob(_Job):
    """Several tasks, one student; with teachers inside tasks it is the combination with distillation."""

    kind: Literal["multitask"]
    tasks: Tasks = Field(description="What the student learns, one head each.")
    student: Architecture = Field(description="The network to train.")
    relation: MatrixRelation | None = Field(default=None, description="Which tasks teach which; none when left out.")
    balancing: Balancing = Field(
        default_factory=lambda: FixedBalancing(method="fixed"), description="How the losses become one update."
    )
    control: bool = Field(default=True, description="With teachers: also train the same student without them.")

    @model_validator(mode="after")
    def _relation_fits(self) -> Self:
        if self.relation is not None and len(self.relation.matrix) != len(self.tasks):
            raise ValueError(f"the relation has {len(self.relation.matrix)} rows for {len(self.tasks)} tasks")
        return self


JobSpec = Annotated[TrainJob | DistillJob | MultitaskJob, Field(discriminator="kind")]
"""What `POST /v1/jobs` takes."""

JOB_SPEC: TypeAdapter[TrainJob | DistillJob | MultitaskJob] = TypeAdapter(JobSpec)


class InspectJob(Contract):
    """The service's own job: does an upload hold what its manifest says?"""

    kind: Literal["inspect"] = "inspect"
    model: ModelId | None = None
    dataset: DatasetId | None = None

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.model is None) == (self.dataset is None):
            raise ValueError("an inspection has one subject: `model` or `dataset`")
        return self


AnySpec = Annotated[TrainJob | DistillJob | MultitaskJob | InspectJob, Field(discriminator="kind")]
"""What the ledger keeps."""

ANY_SPEC: TypeAdapter[TrainJob | DistillJob | MultitaskJob | InspectJob] = TypeAdapter(AnySpec)
JobKind = Literal["train", "distill", "multitask", "inspect"]
