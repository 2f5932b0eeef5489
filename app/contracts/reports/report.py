"""The report of a finished job: teacher, student, control side by side, and a verdict for each task.

All quality figures are on the test split, which is used once, at the end.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from app.contracts.base import Answer
from app.contracts.reports.baselines import BaselineReport
from app.contracts.reports.relation import RelationReport
from app.contracts.reports.search import SearchReport
from app.contracts.resources.manifests import SplitName

Metrics = Annotated[
    dict[str, float | None],
    Field(description="class: accuracy, nll, ece, brier, macro_f1, auroc; value: rmse, mae, r2; and `rows`."),
]


class Latency(Answer):
    """Time of one forward pass in evaluation mode on the job's device."""

    median_ms: float
    p95_ms: float
    steady: bool = Field(
        default=True,
        description="False where the 95th percentile is more than 5 times the median: the device was busy with other "
        "work, and ratios of such times say little.",
    )


class Party(Answer):
    """Measured facts of a teacher, the student or the control."""

    name: str
    model: str | None = Field(default=None, description="The model's id, where it is a model of this service.")
    weight: float | None = Field(default=None, description="Of a teacher among its task's teachers.")
    task: str | None = Field(default=None, description="The task a teacher teaches; null for student and control.")
    parameters: int | None = None
    bytes: int | None = None
    flops: int | None = Field(
        default=None, description="Of one row's forward pass, by torch's counter; null where unknown."
    )
    latency: dict[str, Latency] = Field(
        default_factory=dict,
        description="By batch size: `1` and `64`. The control's is the student's: they are one architecture.",
    )
    tasks: dict[str, Metrics] = Field(default_factory=dict)
    epoch: int | None = Field(default=None, description="The epoch whose weights were kept.")
    steps: int | None = Field(default=None, description="Optimiser steps taken.")
    cached: bool = Field(default=False, description="A control found by digest instead of trained again.")
    digest: str | None = Field(default=None, description="SHA-256 of the weights file.")


class Fidelity(Answer):
    """How the student follows its teachers' mean on one task's test rows."""

    agreement: float | None = Field(default=None, description="Share of rows with the same top class.")
    kl: float | None = Field(default=None, description="Mean KL(teacher ‖ student) in nats at temperature 1.")
    rmse: float | None = Field(default=None, description="Of value tasks: root mean squared difference.")
    rows: int = 0


class Verdict(Answer):
    """Did the teacher help?"""

    verdict: Literal["gain", "no_gain", "loss", "inconclusive", "not_applicable"]
    metric: str | None = None
    student: float | None = None
    control: float | None = None
    difference: float | None = Field(default=None, description="Student against control, positive is better.")
    margin: float | None = Field(
        default=None,
        description="An interval wholly inside ±margin is `no_gain`.",
    )
    interval: tuple[float, float] | None = Field(default=None, description="95 % interval of the difference.")
    method: str = Field(description="How it was judged, and what the interval does not cover.")
    repeats: int = Field(default=1, description="Students, and controls, that were trained from seeds of their own.")
    students: tuple[float, ...] = Field(
        default=(), description="The metric of each student, where there are several; `student` is their mean."
    )
    controls: tuple[float, ...] = Field(
        default=(), description="The metric of each control, where there are several; `control` is their mean."
    )


class ClassFigures(Answer):
    """How one party does on one class."""

    recall: float | None = Field(default=None, description="Of the class's rows, the share that was recognised.")
    precision: float | None = Field(default=None, description="Of the rows taken for the class, the share that is.")
    f1: float | None = Field(default=None, description="Null where the class is neither a label nor predicted.")


class PerClass(Answer):
    """One class of a class task on the test rows."""

    index: int = Field(description="The class's number, as in the labels.")
    name: str | None = Field(default=None, description="The class's name, where the dataset has names.")
    support: int = Field(description="Test rows with this label.")
    parties: dict[str, ClassFigures] = Field(default_factory=dict, description="`teacher`, `student`, `control`, …")
    difference: float | None = Field(
        default=None, description="F1 of the student minus that of the teacher; negative is a loss."
    )


class Robustness(Answer):
    """The quality of every party on test rows that were corrupted in one way."""

    corruption: str = Field(description="gaussian_noise, gaussian_blur or shift.")
    severity: int = Field(description="1, 2 or 3.")
    metric: str = Field(description="accuracy, or rmse for values and vectors.")
    parties: dict[str, float | None] = Field(default_factory=dict, description="The metric by party.")


class ReliabilityBin(Answer):
    """Test rows whose highest probability lies in one range, for a picture of calibration."""

    low: float = Field(description="Where the range begins; it belongs to the bin.")
    high: float = Field(description="Where the range ends; it belongs to the next bin, 1 to the last.")
    confidence: float | None = Field(default=None, description="Mean highest probability; null without rows.")
    accuracy: float | None = Field(default=None, description="Share of rows that are right; null without rows.")
    count: int = 0


class Compression(Answer):
    """Teacher over student; with several teachers their sum over the student."""

    parameters: float | None = None
    bytes: float | None = None
    flops: float | None = None
    latency: dict[str, float] = Field(default_factory=dict)


class TargetUse(Answer):
    """How one teacher's outputs came to the training."""

    teacher: str
    store: Literal["hit", "miss", "columns", "unused"]
    passes: int = Field(description="Forward passes (batches) of the teacher in this job's training.")
    saved: int = Field(default=0, description="Passes that were not made, as the store had their outputs.")
    rows: int
    bytes: int
    key: str | None = Field(
        default=None, description="Of the store's entry; null where several datasets have one each."
    )


class DatasetUse(Answer):
    """A dataset of the job, and its part in the training."""

    dataset: str = Field(description="Its id.")
    name: str
    weight: float = Field(description="Its share of the batches beside the other datasets.")
    batch: int | None = Field(
        default=None, description="Its rows in every batch; null where batches are of one dataset."
    )
    rows: dict[SplitName, int] = Field(default_factory=dict, description="By split.")
    learned: int = Field(description="Rows of the training split from which some task learns.")


class OnnxCheck(Answer):
    """The exported ONNX graph against torch, on test rows."""

    max_abs_difference: float
    tolerance: float
    rows: int
    opset: int


class Environment(Answer):
    """What the figures were measured on."""

    device: str
    threads: int
    versions: dict[str, str]
    precision: str


class Report(Answer):
    """`GET /v1/jobs/{id}/report`."""

    kind: str
    teachers: tuple[Party, ...] = ()
    student: Party
    control: Party | None = None
    fidelity: dict[str, Fidelity] = Field(default_factory=dict)
    compression: Compression | None = None
    verdict: dict[str, Verdict] = Field(default_factory=dict)
    per_class: dict[str, tuple[PerClass, ...]] = Field(
        default_factory=dict,
        description="By class task: its classes, the largest loss against the teacher first, 100 at most.",
    )
    robustness: dict[str, tuple[Robustness, ...]] = Field(
        default_factory=dict, description="By task: quality on corrupted test rows."
    )
    reliability: dict[str, dict[str, tuple[ReliabilityBin, ...]]] = Field(
        default_factory=dict, description="By class task and party: confidence and accuracy in bins."
    )
    baselines: BaselineReport | None = Field(
        default=None, description="Where `baselines` were asked for: the student against single-task models."
    )
    search: SearchReport | None = Field(default=None, description="Where values were searched: the whole curve.")
    datasets: tuple[DatasetUse, ...] = Field(default=(), description="In the job's order, with rows by split.")
    targets: tuple[TargetUse, ...] = ()
    relation: RelationReport | None = Field(
        default=None, description="Of a multi-task job: what its tasks do to each other."
    )
    export: dict[str, OnnxCheck] = Field(default_factory=dict)
    warnings: tuple[dict[str, str], ...] = ()
    not_measured: dict[str, str] = Field(
        default_factory=dict, description="What the data made impossible, and why (no test split, no labels)."
    )
    micro_batch_size: int | None = Field(
        default=None, description="Rows in memory at once; smaller than asked for where memory ran out."
    )
    exact_accumulation: bool = Field(default=True, description="False where micro-batches meet BatchNorm.")
    bit_exact: bool = Field(
        default=True, description="False if an attempt resumed on another device, version or thread count."
    )
    attempts: int = 1
    environment: Environment
    digests: dict[str, str] = Field(default_factory=dict, description="Of spec, datasets, teachers, student.")
    seconds: dict[str, float] = Field(default_factory=dict, description="Wall time by phase, over all attempts.")
    spec: dict[str, Any] = Field(default_factory=dict, description="The resolved spec.")
