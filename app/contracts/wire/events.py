"""Events of a running job, as the child process sends them and as clients see them.

The child writes one JSON object per line (`ChildEvent`); the supervisor relays them to the database, which numbers them
by job (`seq`).
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, TypeAdapter

from app.contracts.base import Answer, Name, Sha256

Phase = Literal["loading", "inspecting", "teaching", "training", "evaluating", "exporting", "publishing"]


class MetricPoint(Answer):
    """One value of a metric series at an optimizer step; None if it is not finite."""

    series: str = Field(description="`train/loss`, `validation/<task>/accuracy`, `control/train/loss` …")
    step: int
    epoch: int
    value: float | None


class PhaseEvent(Answer):
    """The job enters a phase."""

    type: Literal["phase"] = "phase"
    phase: Phase


class Progress(Answer):
    """The progress of a job. `eta_seconds` covers the phase `training` only."""

    percent: float = Field(
        default=0.0, description="Share of the planned optimizer steps that are done, from 0 to 100."
    )
    epoch: int = Field(default=0, description="Current epoch, counted from 1; 0 before training.")
    epochs: int = Field(default=0, description="Planned epochs; 0 before training.")
    step: int = Field(default=0, description="Optimizer steps done, including those of searches, controls and repeats.")
    steps: int = Field(
        default=0,
        description="Planned optimizer steps, including those of searches, controls and repeats; 0 before training.",
    )
    samples_per_second: float | None = Field(
        default=None, description="Current training speed in rows per second; null before it is measured."
    )
    eta_seconds: float | None = Field(
        default=None, description="Estimated seconds until training ends; null before the speed is measured."
    )
    input_wait: float | None = Field(
        default=None,
        description="Share of the time of the current training run, from 0 to 1, in which its steps waited for their "
        "rows: to be gathered, read from a disk, or decoded. Near 0 the network sets the pace, near 1 the reading of "
        "rows; null before training.",
    )
    phase: Phase | None = Field(default=None, description="What the latest attempt is doing; null before the first.")


class ProgressEvent(Progress):
    """Sent at the first step, then at most a few times per second."""

    type: Literal["progress"] = "progress"


class MetricsEvent(Answer):
    """New points of metric series."""

    type: Literal["metrics"] = "metrics"
    points: tuple[MetricPoint, ...]


class CheckpointEvent(Answer):
    """A checkpoint was written to the job's checkpoint directory."""

    type: Literal["checkpoint"] = "checkpoint"
    step: int
    name: str = Field(description="Directory name below the job's checkpoints.")
    sha256: Sha256 = Field(description="Of the checkpoint's manifest.")


class WarningEvent(Answer):
    """A warning for the user."""

    type: Literal["warning"] = "warning"
    code: Name
    message: str


ChildEvent = Annotated[
    PhaseEvent | ProgressEvent | MetricsEvent | CheckpointEvent | WarningEvent, Field(discriminator="type")
]
CHILD_EVENT: TypeAdapter[PhaseEvent | ProgressEvent | MetricsEvent | CheckpointEvent | WarningEvent] = TypeAdapter(
    ChildEvent
)


EventType = Literal["state", "phase", "progress", "checkpoint", "warning"]


class JobEvent(Answer):
    """An event as clients see it."""

    seq: int = Field(description="1, 2, 3 … without gaps in each job; the SSE id.")
    type: EventType = Field(
        description="`state`: the job changed its state; `phase`: it entered a phase; `progress`: how far training "
        "is; `checkpoint`: a checkpoint was stored; `warning`: something the user should know."
    )
    time: AwareDatetime = Field(description="When the service recorded the event (RFC 3339, UTC).")
    data: dict[str, Any] = Field(
        description="Of `state`: `state`, `attempt` and details; of `phase`: `phase`; of `progress`: the fields of "
        "Progress; of `checkpoint`: `step`, `name`, `sha256`; of `warning`: `code`, `message`."
    )
