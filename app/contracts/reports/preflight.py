"""The report of a preflight: errors that a job would have, and its cost.

Nothing was trained. Bytes and seconds are estimates for the worker that ran the preflight, from measurements there: the
forward and backward pass of a batch, a few steps of all networks that would train.
"""

from typing import Any, Literal

from pydantic import Field

from app.contracts.base import Answer
from app.contracts.reports.report import Environment, Metrics, TargetUse


class TeacherCheck(Answer):
    """One teacher of one task, compared with the labels of the training split."""

    name: str = Field(description="The teacher's name.")
    task: str = Field(description="Name of the task that it teaches.")
    model: str | None = Field(
        default=None, description="Id of the model; null where it is not a model of this service."
    )
    output: str | None = Field(
        default=None, description="Name of the teacher's output; null where columns of the dataset are the teacher."
    )
    weight: float = Field(default=1.0, description="Weight among the teachers of its task.")
    parameters: int | None = Field(default=None, description="Number of parameters; null where unknown.")
    bytes: int | None = Field(default=None, description="Size of the weights file in bytes; null where there is none.")
    rows: int = Field(default=0, description="Number of training rows with a label and an output of the teacher.")
    accuracy: float | None = Field(
        default=None, description="Accuracy on those rows; null where the task has no classes."
    )
    chance: float | None = Field(
        default=None,
        description="Accuracy that a teacher without knowledge but with these shares of answers can reach: three "
        "standard errors above chance (Cohen 1960).",
    )
    at_chance: bool | None = Field(
        default=None,
        description="Whether the accuracy is not above `chance` and the scores do not rank the labels either, as those "
        "of a teacher of a rare class do; null where it cannot be measured.",
    )
    class_order: tuple[int, ...] | None = Field(
        default=None,
        description="For each class of the labels the teacher's class that fits it best; null where the order of the "
        "labels fits best.",
    )
    accuracy_in_order: float | None = Field(
        default=None, description="Accuracy with the classes in `class_order`; null without it."
    )
    metrics: Metrics = Field(default_factory=dict, description="All metrics on those rows, as in a report.")
    problem: str | None = Field(
        default=None, description="Why the teacher could not be used at all; null where it could."
    )


class MemoryEstimate(Answer):
    """Bytes that the job needs at the same time, by purpose; null where they could not be measured.

    If a search or repeats train one after another, of the stage that needs most.
    """

    rows: int = Field(
        description="The dataset's inputs. Decoded images that are read from a memory-mapped file on the worker's disk "
        "need no memory: the total leaves them out."
    )
    teachers: int = Field(description="Weights of the teachers, which stay loaded.")
    soft_targets: int = Field(
        description="Outputs of the teachers for every row; a memory-mapped file on the worker's disk."
    )
    soft_targets_of_views: int = Field(
        default=0,
        description="Disk space for the outputs of the teachers by epoch, where `training.views` changes the rows.",
    )
    parameters: int | None = Field(
        default=None, description="Parameters, buffers and projectors of all networks that train at once."
    )
    gradients: int | None = Field(
        default=None, description="Gradients; with a balancer of gradients also one for each task and shared parameter."
    )
    optimizer: int | None = Field(default=None, description="State of the optimizers and balancers.")
    best: int | None = Field(default=None, description="Weights of the best epoch so far.")
    activations: int | None = Field(
        default=None, description="Measured: maximum of the activations saved for the backward pass of a micro-batch."
    )
    total: int | None = Field(default=None, description="Sum of the above without `soft_targets_of_views`.")
    peak: int = Field(
        description="Most memory that the preflight itself used: allocated on the GPU, otherwise that of the process."
    )
    available: int | None = Field(
        default=None,
        description="Memory that was free when the preflight began, on the GPU or for the process; null where unknown.",
    )


class SecondsEstimate(Answer):
    """Wall time on this worker, without early stopping, cached controls, evaluation and export."""

    loading: float = Field(description="Measured: reading the dataset.")
    teaching: float = Field(description="Measured: opening the teachers and computing or finding their outputs.")
    teaching_by_epoch: float | None = Field(
        default=None,
        description="Measured: computing the teachers' outputs for the rows of one epoch, as `training.views` changes "
        "them; null without it.",
    )
    step: float | None = Field(
        default=None,
        description="Measured (median): an optimizer step of the student and all networks that train with it; null "
        "where no step could be run.",
    )
    validation: float | None = Field(
        default=None, description="Measured (median): the end of an epoch; null where no step could be run."
    )
    training: float | None = Field(default=None, description="All stages; null where no step could be run.")
    total: float | None = Field(
        default=None, description="Sum of loading, teaching and training; null where no step could be run."
    )


class StageEstimate(Answer):
    """A stage of the training: networks that train on the same batches, and how often the stage is run."""

    name: Literal["relation", "candidates", "controls", "student", "repeats", "baselines"] = Field(
        description="`relation`: measures the relation; `candidates`: of a search; `controls`; `student`: the student "
        "and all networks that train with it, with `repeats: auto` those of the first seeds; `repeats`: further seeds, "
        "without those that a job adds where its verdict is undecided; `baselines`: single-task models."
    )
    members: tuple[str, ...] = Field(
        description="Names of the networks that train at the same time; `search` stands for all candidates together."
    )
    runs: int = Field(description="How often the stage runs.")
    steps: int = Field(description="Number of optimizer steps of one run.")
    step_seconds: float = Field(description="Measured (median): seconds of an optimizer step.")
    validation_seconds: float = Field(description="Measured (median): seconds of the end of an epoch.")
    seconds: float = Field(description="Seconds of all runs.")


class WouldFail(Answer):
    """An error by which the job would fail."""

    code: str = Field(description="Code of the job's error, such as `teacher_mismatch`; `out_of_memory` for crashes.")
    message: str = Field(description="What would go wrong and what can be done about it.")


class PreflightReport(Answer):
    """`GET /v1/jobs/{id}/report` of a preflight."""

    kind: Literal["preflight"] = "preflight"
    would_fail: tuple[WouldFail, ...] = Field(
        default=(), description="Why the job would fail; empty where nothing was found."
    )
    teachers: tuple[TeacherCheck, ...] = Field(
        default=(), description="Each teacher against the labels of the training split."
    )
    parameters: int | None = Field(
        default=None, description="Number of parameters of the student; null where its shapes are open."
    )
    flops: int | None = Field(
        default=None, description="FLOPs of a forward pass of one row through the student; null where unknown."
    )
    steps: int | None = Field(
        default=None, description="Optimizer steps of all stages together; null where they could not be estimated."
    )
    stages: tuple[StageEstimate, ...] = Field(default=(), description="Stages of the training, in order.")
    memory: MemoryEstimate = Field(description="Memory that the job needs, in bytes.")
    seconds: SecondsEstimate = Field(description="Time that the job takes, in seconds.")
    targets: tuple[TargetUse, ...] = Field(default=(), description="How the outputs of each teacher were obtained.")
    warnings: tuple[dict[str, str], ...] = Field(default=(), description="Each with a stable `code` and a `message`.")
    environment: Environment = Field(description="Device and software that produced the figures.")
    attempts: int = Field(default=1, description="Number of attempts that the preflight took.")
    digests: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 digests of the spec, datasets and teachers, by name."
    )
    spec: dict[str, Any] = Field(default_factory=dict, description="The resolved spec of the preflight.")
