"""The arguments and results of the ledger, as frozen dataclasses."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from app.contracts.resources.facts import DatasetFacts, FileRef, ModelFacts
from app.contracts.resources.manifests import DatasetManifest, ModelManifest
from app.contracts.resources.predictions import PredictionsManifest
from app.contracts.specs.jobs import AnyJob
from app.contracts.wire.orders import OutputRole, PeerModel
from app.db.rows import DEFAULT_PROJECT

Lane = Literal["train", "inspect"]
"""Lanes of jobs."""
WorkerLane = Lane | Literal["predict"]
"""Lanes of a worker; predictions are no jobs."""


@dataclass(frozen=True)
class NewJob:
    """A job to submit. Kind, lane, name, labels and inputs are read from its spec."""

    spec: AnyJob
    project_id: str = DEFAULT_PROJECT
    key_id: str | None = None
    threads: int | None = None  # CPU threads to freeze with the job
    resolved_spec: Mapping[str, Any] | None = None  # already frozen if it continues from another job's checkpoint
    retry_of: str | None = None
    checkpoint_from: str | None = None
    priority: int = 0  # the higher goes first, of the jobs of one key
    spec_text: str | None = None  # the spec as JSON, where it was written before


@dataclass(frozen=True)
class Claim:
    """A job that a worker holds. `attempt` and `token` are the fencing token of each of the worker's writes."""

    job_id: str
    attempt: int
    token: str
    kind: str
    lane: Lane
    project_id: str
    spec: str  # JSON as submitted; parse with contracts.specs.jobs.ANY_SPEC
    resolved_spec: str | None  # JSON as frozen by the first attempt's begin; later attempts train exactly this
    threads: int | None
    crashes: int
    checkpoint: str | None  # directory name of the newest checkpoint
    checkpoint_from: str | None = None  # the job whose checkpoints the first attempt takes over


@dataclass(frozen=True)
class StoredModel:
    """A model in the database."""

    id: str
    manifest: ModelManifest
    facts: ModelFacts | None
    files: tuple[FileRef, ...]


@dataclass(frozen=True)
class StoredDataset:
    """A dataset in the database."""

    id: str
    manifest: DatasetManifest
    facts: DatasetFacts | None
    files: tuple[FileRef, ...]


@dataclass(frozen=True)
class StoredPredictions:
    """Predictions for rows of a dataset, in the database."""

    id: str
    manifest: PredictionsManifest
    facts: DatasetFacts | None
    files: tuple[FileRef, ...]


@dataclass(frozen=True)
class JobInputs:
    """What a claimed job reads, by the id in its spec. The student of another job is listed under that job's id."""

    models: Mapping[str, StoredModel] = field(default_factory=dict)
    datasets: Mapping[str, StoredDataset] = field(default_factory=dict)
    predictions: Mapping[str, StoredPredictions] = field(default_factory=dict)

    def files(self) -> Iterator[FileRef]:
        """The files of its models and datasets."""
        for model in self.models.values():
            yield from model.files
        for dataset in self.datasets.values():
            yield from dataset.files


@dataclass(frozen=True)
class PublishedFile:
    """A file whose bytes are in the blob store already (`queue.blobs.Blobs.publish`)."""

    role: OutputRole
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Publication:
    """The results of a training job: its files, the student as a model, the report."""

    files: tuple[PublishedFile, ...]
    student_manifest: ModelManifest
    student: ModelFacts
    report: Mapping[str, Any]
    peers: tuple[PeerModel, ...] = ()


class NotRetryable(Exception):
    """A job cannot be retried, or not in this way; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NotDeletable(Exception):
    """A job cannot be deleted; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class UnusableInput(Exception):
    """A new job names an input that does not exist or can never become ready.

    `reference` is the id in the spec; `found` is `missing`, `rejected`, `failed`, `cancelled`, `student_deleted`, or
    `no_student` (a job of a kind that makes no model).
    """

    def __init__(self, reference: str, found: str) -> None:
        super().__init__(f"expected `{reference}` to be ready or in preparation, found it {found}: name another input")
        self.reference = reference
        self.found = found
