"""Checks whether jobs can be compared: the same test rows, tasks and metrics, and a control each."""

from collections.abc import Sequence
from typing import Final

from app.contracts.problems import listed
from app.contracts.states import TERMINAL, JobState
from app.db.rows import JobRow
from app.http.errors import Conflict, Invalid
from app.jobs.comparing.candidates import Candidate

_WITH_VERDICT: Final = ("distill", "multitask")


def require_verdicts(rows: Sequence[JobRow]) -> None:
    """Raise Invalid for a job of a kind without a verdict, Conflict for one that has not succeeded."""
    for at, row in enumerate(rows):
        if row.kind not in _WITH_VERDICT:
            raise Invalid.at(
                f"/jobs/{at}",
                "no_verdict",
                f"expected jobs of the kinds distill and multitask, which have a control, found job {at + 1} of kind "
                f"{row.kind}: leave it out",
            )
    for at, row in enumerate(rows):
        if row.state not in TERMINAL:
            raise Conflict(
                "not_finished",
                f"expected jobs that have succeeded, found job {at + 1} {row.state.value}: `?wait=60` on it waits for "
                "its end",
            )
        if row.state is not JobState.SUCCEEDED:
            raise Conflict(
                "not_succeeded",
                f"expected jobs that have succeeded, found job {at + 1} {row.state.value}: leave it out, or retry it",
            )


def require_comparable(jobs: Sequence[Candidate]) -> None:
    """Raise Invalid at the first job without a control, or that differs from the first in what is compared."""
    for at, job in enumerate(jobs):
        if not job.has_control:
            raise Invalid.at(
                f"/jobs/{at}",
                "no_control",
                f"expected jobs with a control, found job {at + 1} without: submit it again with `control`",
            )
        _require_same_test(jobs[0], job, at)


def _require_same_test(first: Candidate, job: Candidate, at: int) -> None:
    place = f"/jobs/{at}"
    if job.test_rows != first.test_rows:
        raise Invalid.at(
            place,
            "datasets_differ",
            f"expected jobs on the same datasets, whose test rows are the same, found other ones in job {at + 1} than "
            "in job 1: compare the jobs of each dataset apart",
        )
    if job.targets != first.targets:
        raise Invalid.at(
            place,
            "tasks_differ",
            f"expected jobs with the same tasks and targets, found {listed(job.targets)} in job {at + 1} and "
            f"{listed(first.targets)} in job 1: compare jobs of the same tasks",
        )
    for task, verdict in job.verdicts.items():
        metric, other = verdict.metric, first.verdicts[task].metric if task in first.verdicts else None
        if None not in (metric, other) and metric != other:
            raise Invalid.at(
                place,
                "metrics_differ",
                f"expected one metric for the task `{task}`, found {metric} in job {at + 1} and {other} in job 1: "
                "compare jobs that are judged by the same metric",
            )
