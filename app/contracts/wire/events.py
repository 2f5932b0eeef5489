"""What a child says while it works, and what clients see of it.

The child writes one JSON object a line (`ChildEvent`); the supervisor relays them to the ledger, which
gives each a per-job `seq`.
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, TypeAdapter

from app.contracts.base import Answer, Name, Sha256

Phase = Literal["loading", "inspecting", "teaching", "training", "evaluating", "exporting", "publishing"]


class MetricPoint(Answer):
    """One value of one series at one optimiser step. Not finite values are None."""

    series: str = Field(description="`train/loss`, `validation/<task>/accuracy`, `control/train/loss` …")
    step: int
    epoch: int
    value: float | None


class PhaseEvent(Answer):
    """The child enters a phase."""

    type: Literal["phase"] = "phase"
    phase: Phase


class Progress(Answer):
    """How far a job is. `eta_seconds` covers the phase `training` only."""

    percent: float = 0.0
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    samples_per_second: float | None = None
    eta_seconds: float | None = None
    phase: Phase | None = None


class ProgressEvent(Progress):
    """Sent at the first step and then at most a few times a second."""

    type: Literal["progress"] = "progress"


class MetricsEvent(Answer):
    """New points of metric series."""

    type: Literal["metrics"] = "metrics"
    points: tuple[MetricPoint, ...]


class CheckpointEvent(Answer):
    """A whole checkpoint lies on disk under the job's checkpoint directory."""

    type: Literal["checkpoint"] = "checkpoint"
    step: int
    name: str = Field(description="Directory name below the job's checkpoints.")
    sha256: Sha256 = Field(description="Of the checkpoint's manifest.")


class WarningEvent(Answer):
    """Something the user should know."""

    type: Literal["warning"] = "warning"
    code: Name
    message: str


ChildEvent = Annotated[
    PhaseEvent | ProgressEvent | MetricsEvent | CheckpointEvent | WarningEvent, Field(discriminator="type")
]
CHILD_EVENT: TypeAdapter[PhaseEvent | ProgressEvent | MetricsEvent | CheckpointEvent | WarningEvent] = TypeAdapter(
    ChildEvent
)


class JobEvent(Answer):
    """One event as clients see it."""

    seq: int = Field(description="1, 2, 3 … without gaps in each job; the SSE id.")
    type: Literal["state", "phase", "progress", "checkpoint", "warning"]
    time: AwareDatetime
    data: dict[str, Any]
