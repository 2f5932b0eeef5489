"""The student of several tasks against single-task models of its trunk: Δm and who gained, who paid."""

from typing import Annotated, Literal

from pydantic import Field

from app.contracts.base import Answer

DeltaM = Annotated[
    float | None,
    Field(
        description="Δm in percent: 100 (-1)^l (student - baseline) / baseline, l = 1 for metrics where lower is "
        "better. Positive is better; null where it is undefined, see `reason`."
    ),
]


class MetricAgainstBaseline(Answer):
    """One metric that counts for Δm; over repeats the means of both sides."""

    student: float | None = None
    baseline: float | None = None
    delta_m: DeltaM = None
    reason: str | None = Field(default=None, description="Why there is no Δm.")


class TaskAgainstBaseline(Answer):
    """One task: the student against the single-task model of the same trunk, seeds and optimiser steps."""

    verdict: Literal["gain", "no_gain", "loss", "inconclusive", "not_applicable"] = Field(
        description="Did the task gain by being learned with the others, or did it pay for them?"
    )
    metric: str | None = Field(default=None, description="What the verdict is on.")
    student: float | None = None
    baseline: float | None = None
    difference: float | None = Field(default=None, description="Student against baseline, positive is better.")
    margin: float | None = Field(default=None, description="An interval wholly inside ±margin is `no_gain`.")
    interval: tuple[float, float] | None = Field(default=None, description="95 % interval of the difference.")
    method: str = Field(description="How it was judged, and what the interval does not cover.")
    repeats: int = Field(default=1, description="Students, and baselines, that were trained from seeds of their own.")
    students: tuple[float, ...] = Field(default=(), description="The metric of each student, where there are several.")
    baselines: tuple[float, ...] = Field(
        default=(), description="The metric of each baseline, where there are several."
    )
    delta_m: DeltaM = None
    reason: str | None = Field(default=None, description="What is missing in the task's Δm, and why.")
    metrics: dict[str, MetricAgainstBaseline] = Field(
        default_factory=dict,
        description="By metric; the task's Δm is their mean. class: accuracy; multilabel: accuracy and macro_f1; "
        "value, vector: rmse.",
    )
    quality: dict[str, float | None] = Field(
        default_factory=dict, description="All metrics of the first seed's baseline on the test split."
    )
    parameters: int | None = Field(default=None, description="Of the baseline.")
    epoch: int | None = Field(default=None, description="The epoch whose weights were kept.")
    steps: int | None = Field(default=None, description="Optimiser steps taken.")
    cached: bool = Field(default=False, description="A baseline found by digest instead of trained again.")


class BaselineReport(Answer):
    """All tasks of a job with `baselines: true`."""

    tasks: dict[str, TaskAgainstBaseline]
    delta_m: DeltaM = None
    reason: str | None = Field(default=None, description="Which tasks the mean leaves out.")
