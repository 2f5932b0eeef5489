"""The report of a preflight: what a job would meet before its first step, and what it would cost.

Nothing was trained. Bytes and seconds are estimates for the worker that ran the preflight, each from something that
was really done there: a batch forward and backward, a few steps of everybody who would train.
"""

from typing import Any, Literal

from pydantic import Field

from app.contracts.base import Answer
from app.contracts.reports.report import Environment, Metrics, TargetUse


class TeacherCheck(Answer):
    """One teacher of one task against the labels of the training split."""

    name: str
    task: str
    model: str | None = Field(default=None, description="The model's id, where it is a model of this service.")
    output: str | None = Field(default=None, description="Which of its outputs teaches.")
    weight: float = Field(default=1.0, description="Among its task's teachers.")
    parameters: int | None = None
    bytes: int | None = Field(default=None, description="Of its weights file.")
    rows: int = Field(default=0, description="Training rows with a label of which the teacher says something.")
    accuracy: float | None = Field(default=None, description="On those rows; null where the task has no classes.")
    chance: float | None = Field(
        default=None,
        description="The accuracy up to which answers of these shares tell nothing: three standard errors above what "
        "they reach by chance (Cohen 1960).",
    )
    at_chance: bool | None = Field(default=None, description="Whether it is no better; null where nobody can tell.")
    class_order: tuple[int, ...] | None = Field(
        default=None,
        description="For each class of the labels the teacher's class that fits it best, where that is another order; "
        "null where the labels' own fits best.",
    )
    accuracy_in_order: float | None = Field(default=None, description="What it would reach in `class_order`.")
    metrics: Metrics = Field(default_factory=dict)
    problem: str | None = Field(default=None, description="Why it could not be asked at all.")


class MemoryEstimate(Answer):
    """Bytes that the job needs at once, by what they are for; null where they could not be measured.

    Where a search or repeats train one after another it is the stage that needs most.
    """

    rows: int = Field(description="The dataset's inputs as they are fed.")
    teachers: int = Field(description="Weights of the teachers, which stay open.")
    soft_targets: int = Field(
        description="What the teachers say about every row; they lie on the worker's disk and are mapped."
    )
    soft_targets_of_views: int = Field(
        default=0, description="Disk for the same by epoch, where training rows are seen in views."
    )
    parameters: int | None = Field(default=None, description="Everybody who trains at once, and their projectors.")
    gradients: int | None = None
    optimizer: int | None = Field(default=None, description="Moments of the optimisers, state of the balancers.")
    best: int | None = Field(default=None, description="The best epoch's weights, kept beside the newest.")
    activations: int | None = Field(
        default=None, description="Measured: the most that the micro-batches of a step keep for their backward pass."
    )
    total: int | None = Field(default=None, description="All of these but the views' share of the disk.")
    peak: int = Field(
        description="What the preflight itself took at its height: allocated on the GPU, else the process's memory."
    )
    available: int | None = Field(
        default=None, description="Free when the preflight began, on the GPU or for the process; null where unknown."
    )


class SecondsEstimate(Answer):
    """Wall time on this worker. Early stopping, cached controls, evaluation and export are not in it."""

    loading: float = Field(description="Measured: the dataset was read.")
    teaching: float = Field(description="Measured: teachers were opened, soft targets made or found.")
    teaching_by_epoch: float | None = Field(
        default=None, description="Measured: teachers on one epoch's views. Null without views."
    )
    step: float | None = Field(
        default=None, description="Measured: an optimiser step of the student and all who train beside it (median)."
    )
    validation: float | None = Field(default=None, description="Measured: what the end of their epoch takes.")
    training: float | None = Field(default=None, description="All stages to their last step.")
    total: float | None = Field(default=None, description="Loading, teaching and training.")


class StageEstimate(Answer):
    """A part of the training: members that go through the batches together, and how often such a part is run."""

    name: Literal["relation", "candidates", "controls", "student", "repeats", "baselines"]
    members: tuple[str, ...] = Field(description="Who trains at once; `search` is all candidates as one step.")
    runs: int
    steps: int = Field(description="Optimiser steps of one run.")
    step_seconds: float = Field(description="Measured (median).")
    validation_seconds: float = Field(description="Measured (median), once an epoch: validation, and the rows' order.")
    seconds: float = Field(description="Of all runs.")


class WouldFail(Answer):
    """Why the job would end as failed if it were posted as it is."""

    code: str = Field(description="That of the job's error, e.g. `teacher_mismatch`; `out_of_memory` for its crashes.")
    message: str


class PreflightReport(Answer):
    """`GET /v1/jobs/{id}/report` of a preflight."""

    kind: Literal["preflight"] = "preflight"
    would_fail: tuple[WouldFail, ...] = Field(default=(), description="Empty where nothing stands in the way.")
    teachers: tuple[TeacherCheck, ...] = ()
    parameters: int | None = Field(default=None, description="Of the student.")
    flops: int | None = Field(default=None, description="Of one row's forward pass through the student.")
    steps: int | None = Field(default=None, description="Optimiser steps of all stages together.")
    stages: tuple[StageEstimate, ...] = ()
    memory: MemoryEstimate
    seconds: SecondsEstimate
    targets: tuple[TargetUse, ...] = ()
    warnings: tuple[dict[str, str], ...] = ()
    environment: Environment
    attempts: int = 1
    digests: dict[str, str] = Field(default_factory=dict, description="Of spec, datasets, teachers.")
    spec: dict[str, Any] = Field(default_factory=dict, description="The resolved spec, the preflight's own.")
