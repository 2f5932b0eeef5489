"""The files between supervisor and child process: the order as its input, the outcome as its output.

Both are JSON files in the attempt's directory, whose path is the child's only argument:

    <attempt>/order.json      written by the supervisor before the child starts
    <attempt>/events.jsonl    appended by the child (`ChildEvent`; an empty line: it moves), relayed by the supervisor
    <attempt>/outcome.json    written by the child last, atomically: its presence with exit 0 means done
    <attempt>/outputs/…       the files that the outcome names
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Final, Literal, assert_never, get_args

from pydantic import Field, TypeAdapter

from app.contracts.base import Answer, digest_of
from app.contracts.problems import Chosen, JobError, Rejection
from app.contracts.resources.facts import DatasetFacts, ModelFacts
from app.contracts.resources.manifests import DatasetManifest, ModelManifest
from app.contracts.resources.predictions import PredictionsManifest
from app.contracts.resources.splits import SplitName
from app.contracts.specs.families.library import MeasuredTrunk
from app.contracts.specs.jobs import (
    AnySpec,
    AnyTrainingJob,
    DistillJob,
    ExportJob,
    InspectJob,
    MultitaskJob,
    PreflightJob,
    TrainJob,
)


class ExitCode(IntEnum):
    """Exit codes of a child process; any other is a crash."""

    DONE = 0
    USER_ERROR = 42
    DISK_FULL = 73
    """The disk is full, so no outcome could be written."""
    REQUEUE = 75


class ModelInput(Answer):
    """A model as a local file."""

    id: str
    manifest: ModelManifest
    facts: ModelFacts | None = Field(default=None, description="None while it is being inspected.")
    path: str
    sha256: str


class DataFile(Answer):
    """A file of rows. `name`: that of the upload, which messages quote."""

    name: str
    path: str


class _RowsInput(Answer):
    """Rows as local files."""

    id: str
    path: str = Field(description="The file, or the first of several.")
    sha256: str = Field(description="Of the file; of several, `digest_of_files`.")
    files: tuple[DataFile, ...] = Field(default=(), description="All files in the order of their rows.")

    @property
    def parts(self) -> tuple[DataFile, ...]:
        """All files in the order of their rows: `path` alone where no other is named."""
        return self.files or (DataFile(name=Path(self.path).name, path=self.path),)


class DatasetInput(_RowsInput):
    """A dataset as local files."""

    manifest: DatasetManifest
    facts: DatasetFacts | None = None


class PredictionsInput(_RowsInput):
    """Predictions for rows of a dataset as local files."""

    manifest: PredictionsManifest


def digest_of_files(digests: Sequence[str]) -> str:
    """A SHA-256 for rows in files of these SHA-256, in order: that of a single file is its own."""
    return digests[0] if len(digests) == 1 else digest_of({"files": list(digests)})


class Order(Answer):
    """The input of a child process, which has no database and no network."""

    job: str
    attempt: int
    spec: AnySpec = Field(description="The resolved spec, with all defaults.")
    models: dict[str, ModelInput] = Field(default_factory=dict, description="By id; job teachers by their job's id.")
    datasets: dict[str, DatasetInput] = Field(default_factory=dict)
    predictions: dict[str, PredictionsInput] = Field(default_factory=dict, description="For rows of the datasets.")
    tokenizers: dict[str, str] = Field(
        default_factory=dict, description="Paths of the tokenizers of models and datasets, by their SHA-256."
    )
    device: str = Field(description="`cpu`, or `cuda:0` (the child sees one device).")
    threads: int
    cores: int = Field(default=1, description="Processors that the worker has for a job on the CPU.")
    attempt_dir: str
    checkpoints_dir: str = Field(description="Shared by the attempts of this job.")
    cache_dir: str = Field(description="Shared by all jobs of this worker: soft targets, images, sounds, controls.")
    cache_bytes: int = Field(description="Size limit of the store of soft targets, and of those of images and sounds.")
    checkpoint_seconds: float = Field(default=30.0, description="Minimum time between two checkpoints.")
    lease_seconds: float = 60.0
    memory_bytes: int | None = Field(default=None, description="Address space limit; null: none.")
    warnings: tuple[dict[str, str], ...] = Field(default=(), description="Warnings of the resolution of the spec.")
    chosen: dict[str, Chosen] = Field(default_factory=dict, description="What that resolution chose, by pointer.")

    @property
    def teacher_threads(self) -> int:
        """Number of CPU threads of the teachers' passes."""
        job = self.training_job
        return (job.training.teacher_threads if job is not None else None) or self.threads

    @property
    def training_job(self) -> AnyTrainingJob | None:
        """The job that trains, or would after a preflight; None for inspections and exports."""
        match self.spec:
            case TrainJob() | DistillJob() | MultitaskJob():
                return self.spec
            case PreflightJob():
                return self.spec.job
            case ExportJob() | InspectJob():
                return None
            case _:
                assert_never(self.spec)

    def inputs(self) -> tuple[Path, ...]:
        """The local files that the job reads."""
        models = (model.path for model in self.models.values())
        rows = (*self.datasets.values(), *self.predictions.values())
        files = (file.path for each in rows for file in each.parts)
        return tuple(map(Path, (*models, *files, *self.tokenizers.values())))


PeerRole = Literal["peer-1", "peer-2", "peer-3", "peer-4", "peer-5", "peer-6", "peer-7"]
SharedCache = Literal["controls", "figures", "images", "masks", "sounds", "targets", "tokens"]
SHARED_CACHES: tuple[SharedCache, ...] = get_args(SharedCache)
"""Folders below `Order.cache_dir` that jobs write. Nothing else below it is theirs, such as the inputs of others."""
TUNABLES: Final = "GLIBC_TUNABLES"
NO_THREAD_CACHE: Final = "glibc.malloc.tcache_count=0"
"""What must stand in the environment variable `TUNABLES` where a process starts that keeps freed memory. The cache of a
thread would keep what is left over of each aligned block (torch's are aligned): the block is then too small for the
next tensor of the same size, and the heap grows to ten times of what is used.
"""
TEMPORARY_PREFIX: Final = ".draft-"
"""Names of folders that the engine has not finished writing begin so; a worker removes those of dead processes."""
PEER_ROLES: tuple[PeerRole, ...] = get_args(PeerRole)
PredictionsRole = Literal["predictions-train", "predictions-validation", "predictions-test"]
PREDICTIONS_ROLES: Mapping[SplitName, PredictionsRole] = {
    "train": "predictions-train",
    "validation": "predictions-validation",
    "test": "predictions-test",
}
ReferenceRole = Literal["reference_rows", "invented_rows"]
DatasetFileRole = Literal["tokenizer", "preview"]
GraphRole = Literal["onnx", "int8", "fp16"]
OutputRole = (
    Literal["student", "control", "report", "converted"]
    | GraphRole
    | PeerRole
    | PredictionsRole
    | ReferenceRole
    | DatasetFileRole
)


class OutputFile(Answer):
    """A file below the attempt's `outputs` directory."""

    role: OutputRole
    path: str = Field(description="Relative to `<attempt>/outputs`.")
    bytes: int
    sha256: str


class PeerModel(Answer):
    """Another student of mutual learning; its weights are the output file of its role."""

    role: PeerRole
    facts: ModelFacts
    manifest: ModelManifest


class TrainingOutcome(Answer):
    """The outcome of a train, distill or multitask job. The supervisor publishes its files and registers its models."""

    type: Literal["training"] = "training"
    files: tuple[OutputFile, ...]
    student: ModelFacts
    student_manifest: ModelManifest
    peers: tuple[PeerModel, ...] = ()
    report: dict[str, object] = Field(description="A `Report` as JSON.")


class ReportOutcome(Answer):
    """The outcome of a job that makes no model, such as a preflight: its report, as a file and as JSON."""

    type: Literal["report"] = "report"
    files: tuple[OutputFile, ...]
    report: dict[str, object] = Field(description="Such as a `PreflightReport`, as JSON.")


class InspectionOutcome(Answer):
    """The outcome of an inspection: facts, or a rejection."""

    type: Literal["inspection"] = "inspection"
    model: ModelFacts | None = None
    dataset: DatasetFacts | None = None
    network: MeasuredTrunk | None = None
    rejection: Rejection | None = None
    files: tuple[OutputFile, ...] = Field(
        default=(), description="`converted`: a state_dict as safetensors; `preview`: a `Preview` as JSON."
    )


class ExportOutcome(Answer):
    """The outcome of an export: a further file of the model, compared with torch."""

    type: Literal["export"] = "export"
    files: tuple[OutputFile, ...]
    report: dict[str, object] | None = Field(
        default=None, description="An `ExportReport` as JSON, where the file was measured on a dataset."
    )


class FailureOutcome(Answer):
    """The user's error (exit code 42), or class and message of the exception of a crash."""

    type: Literal["failure"] = "failure"
    error: JobError


CompletedOutcome = TrainingOutcome | ReportOutcome | InspectionOutcome | ExportOutcome
"""What the engine returns of an order that it has carried out."""

Outcome = CompletedOutcome | FailureOutcome
OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Annotated[Outcome, Field(discriminator="type")])


class ControlMessage(Answer):
    """One JSON line from the supervisor to the child, over the pipe."""

    type: Literal["renew", "cancel", "pause", "drain"]
    # A point in time, not a duration: messages may wait in the pipe.
    until: float | None = Field(
        default=None, description="With `renew`: when the lease of the child ends, by CLOCK_BOOTTIME."
    )


CONTROL_MESSAGE: TypeAdapter[ControlMessage] = TypeAdapter(ControlMessage)
