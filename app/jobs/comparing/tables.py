"""The comparison of jobs that can be compared, task by task."""

from collections.abc import Sequence
from typing import Final

from app.contracts.reports.compare import ComparedJob, Comparison, TaskComparison
from app.contracts.reports.corrections import corrected_word, simultaneous_interval, word_of
from app.contracts.reports.report import Verdict
from app.contracts.specs.supervision.metrics import DIRECTIONS
from app.jobs.comparing.candidates import Candidate
from app.jobs.comparing.controls import compared_controls
from app.jobs.comparing.methods import method_of

_LOWER_IS_BETTER: Final = frozenset(name for name, direction in DIRECTIONS.items() if direction == "lower")
_METHOD: Final = (
    "Every job against its control, what each interval leaves out divided by {count} (Bonferroni; Dunn 1961), so that "
    "all of them hold together at the level of one, that of the best too. Intervals of repeats use Student's t with "
    "each verdict's degrees of freedom; those of a single pair are widened by the ratio of normal quantiles, and cover "
    "the choice of test rows only. `interval_for_looks` is corrected for {looks}: read it where the jobs were picked "
    "among all that have looked at these test rows. No count covers jobs that were designed after earlier results on "
    "these rows (Dwork et al. 2015): confirm those on test rows that no job has seen."
)


def comparison_of(jobs: Sequence[Candidate], looks: int) -> Comparison:
    """The answer. Tasks are compared where every job has a difference."""
    compared = [task for task in jobs[0].targets if _reason(jobs, task) is None]
    family = max(len(jobs), looks)
    return Comparison(
        compared=len(jobs),
        looks=looks,
        controls=compared_controls(jobs),
        tasks={task: _task(jobs, task, family) for task in compared},
        not_compared={task: reason for task in jobs[0].targets if (reason := _reason(jobs, task)) is not None},
        method=_METHOD.format(count=len(jobs), looks=family),
    )


def _reason(jobs: Sequence[Candidate], task: str) -> str | None:
    """Why the task is not compared; None where it is."""
    for at, job in enumerate(jobs):
        verdict = job.verdicts.get(task)
        if verdict is None:
            return f"the report of job {at + 1} has no verdict on it"
        if verdict.metric is None or None in (verdict.student, verdict.control, verdict.difference):
            return f"job {at + 1}: {verdict.method}"
    return None


def _task(jobs: Sequence[Candidate], task: str, family: int) -> TaskComparison:
    metric = str(jobs[0].verdicts[task].metric)
    scores = [_score(job.verdicts[task]) for job in jobs]
    rows = [
        _row(job, task, 1 + sum(other > score for other in scores), len(jobs), family)
        for job, score in zip(jobs, scores, strict=True)
    ]
    controls = {row.control for row in rows}
    return TaskComparison(
        metric=metric,
        control=controls.pop() if len(controls) == 1 else None,
        jobs=tuple(sorted(rows, key=lambda row: row.rank)),
    )


def _score(verdict: Verdict) -> float:
    """The student's metric, of which higher is better."""
    assert verdict.student is not None
    return -verdict.student if verdict.metric in _LOWER_IS_BETTER else verdict.student


def _row(job: Candidate, task: str, rank: int, count: int, family: int) -> ComparedJob:
    verdict = job.verdicts[task]
    assert verdict.student is not None
    assert verdict.control is not None
    assert verdict.difference is not None
    interval = simultaneous_interval(verdict, count)
    return ComparedJob(
        rank=rank,
        job=job.id,
        name=job.name,
        method=method_of(job.spec, task),
        repeats=verdict.repeats,
        student=verdict.student,
        control=verdict.control,
        difference=verdict.difference,
        verdict=corrected_word(verdict, interval),
        interval=interval,
        uncorrected=word_of(verdict),
        uncorrected_interval=verdict.interval,
        interval_for_looks=simultaneous_interval(verdict, family),
    )
