"""The comparison of a multi-task student with single-task models of its trunk: Δm and a verdict for each task."""

from typing import Annotated

from pydantic import Field

from app.contracts.base import Answer
from app.contracts.reports.verdict_words import VerdictWord

DeltaM = Annotated[
    float | None,
    Field(
        description="Δm in percent: 100 (-1)^l (student - baseline) / baseline, l = 1 for metrics where lower is "
        "better. Positive is better; null where it is undefined, see `reason`."
    ),
]


class MetricAgainstBaseline(Answer):
    """One metric of Δm; with repeats the means over seeds."""

    student: float | None = Field(default=None, description="The student's value; null where undefined.")
    baseline: float | None = Field(default=None, description="The baseline's value; null where undefined.")
    delta_m: DeltaM = None
    reason: str | None = Field(default=None, description="Why Δm is undefined; null where it is defined.")


class TaskAgainstBaseline(Answer):
    """One task: the student compared with the single-task model of the same trunk, seeds and optimizer steps."""

    verdict: VerdictWord = Field(
        description="Effect of learning the task together with the others, judged as in a report's `verdict`."
    )
    metric: str | None = Field(default=None, description="Metric that is compared; null where nothing is.")
    student: float | None = Field(
        default=None,
        description="The student's metric on the test split, over repeats the mean; null where nothing is compared.",
    )
    baseline: float | None = Field(
        default=None,
        description="The baseline's metric on the test split, over repeats the mean; null where nothing is compared.",
    )
    difference: float | None = Field(
        default=None, description="Student against baseline; positive values favour the student, whatever the metric."
    )
    margin: float | None = Field(default=None, description="Differences up to this size count as none.")
    interval: tuple[float, float] | None = Field(
        default=None, description="Confidence interval of the difference: lower and upper limit."
    )
    confidence: float | None = Field(
        default=None, description="Confidence level of `interval`; null in earlier reports, where it is 0.95."
    )
    standard_error: float | None = Field(
        default=None, description="Standard error of the difference; null where no interval was computed from it."
    )
    freedom: float | None = Field(
        default=None, description="Degrees of freedom of the t interval; null where the interval is not of this form."
    )
    method: str = Field(description="How the verdict was reached, and what the interval does not cover.")
    repeats: int = Field(default=1, description="Number of students, and of baselines, trained from different seeds.")
    students: tuple[float, ...] = Field(default=(), description="The metric of each student, where there are several.")
    baselines: tuple[float, ...] = Field(
        default=(), description="The metric of each baseline, where there are several."
    )
    delta_m: DeltaM = None
    reason: str | None = Field(
        default=None, description="What is missing in the task's Δm, and why; null where nothing is."
    )
    metrics: dict[str, MetricAgainstBaseline] = Field(
        default_factory=dict,
        description="By metric; the task's Δm is their mean. class: accuracy; multilabel: accuracy and macro_f1; "
        "value, vector: rmse.",
    )
    quality: dict[str, float | None] = Field(
        default_factory=dict, description="All metrics of the first seed's baseline on the test split."
    )
    parameters: int | None = Field(
        default=None, description="Number of parameters of the baseline; null where unknown."
    )
    epoch: int | None = Field(default=None, description="Epoch whose weights were kept, counted from 1.")
    steps: int | None = Field(default=None, description="Number of optimizer steps taken.")
    cached: bool = Field(
        default=False, description="Whether a baseline of an earlier job with the same digest was used."
    )


class BaselineReport(Answer):
    """All tasks of a job with single-task baselines."""

    tasks: dict[str, TaskAgainstBaseline] = Field(description="The comparison of each task, by name.")
    delta_m: DeltaM = None
    reason: str | None = Field(default=None, description="Which tasks the mean leaves out; null where it has all.")
