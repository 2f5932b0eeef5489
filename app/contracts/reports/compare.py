"""The comparison of several jobs on the same test rows: each against the control, corrected for their number."""

from typing import Literal

from pydantic import Field

from app.contracts.base import Answer
from app.contracts.reports.verdict_words import VerdictWord

MOST_JOBS = 20
_INTERVAL = "lower and upper limit of the difference to the control; null where the job's verdict has no interval."


class ComparedJob(Answer):
    """One job of a comparison, on one task."""

    rank: int = Field(description="Place by the student's metric, from 1 for the best; equal metrics have one place.")
    job: str = Field(description="The job's id.")
    name: str | None = Field(description="The job's name; null without one.")
    method: str = Field(description="Terms of the loss with their weights and temperatures, in short.")
    repeats: int = Field(description="Number of students, and of controls, trained from different seeds.")
    student: float = Field(description="The student's metric on the test split, over repeats the mean.")
    control: float = Field(description="The metric of the job's own control, over repeats the mean.")
    difference: float = Field(
        description="Student against control; positive values favour the student, whatever the metric."
    )
    verdict: VerdictWord = Field(
        description="The word by `interval`, as in a report's `verdict`. It is never a stronger one than `uncorrected`."
    )
    interval: tuple[float, float] | None = Field(
        description=f"Corrected for the number of compared jobs: all hold together at one interval's level; {_INTERVAL}"
    )
    uncorrected: VerdictWord = Field(
        description="The word of the job's own report, of a single pair a provisional one."
    )
    uncorrected_interval: tuple[float, float] | None = Field(
        description=f"The interval of the job's own report: {_INTERVAL}"
    )
    interval_for_looks: tuple[float, float] | None = Field(
        description=f"As `interval`, corrected for `looks` where they are more than the compared jobs: {_INTERVAL}"
    )


class TaskComparison(Answer):
    """The compared jobs on one task."""

    metric: str = Field(description="Metric that is compared.")
    control: float | None = Field(
        description="The control's metric; null where the jobs have different controls, whose metrics are in `jobs`."
    )
    jobs: tuple[ComparedJob, ...] = Field(description="The jobs by rank, the best first.")


class ComparedControls(Answer):
    """Whether the controls of the compared jobs have the same settings."""

    same: bool = Field(description="Whether network, data, training settings and loss on labels are the same.")
    differs: tuple[str, ...] = Field(
        description="JSON pointers to what differs in the jobs' specs; empty where they are the same."
    )
    because: str = Field(description="What the differences to the control mean for this comparison.")


class Comparison(Answer):
    """`GET /v1/compare`."""

    object: Literal["comparison"] = "comparison"
    compared: int = Field(description="Number of jobs, for which `interval` is corrected.")
    looks: int = Field(
        description="How often the test split has been looked at: succeeded training jobs of the project on the same "
        "files, the compared ones included. Jobs on datasets that were deleted since are not counted."
    )
    controls: ComparedControls = Field(description="The controls.")
    tasks: dict[str, TaskComparison] = Field(description="The comparison by task; tasks are not corrected for.")
    not_compared: dict[str, str] = Field(description="Tasks that could not be compared, with the reason.")
    method: str = Field(description="How the intervals were corrected, and what they do not cover.")
