"""The numbers of CPU threads that a spec leaves out."""

from collections.abc import Sequence
from math import ceil

from app.contracts.layouts.summary import flops
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.recipe.training import BATCH, Subject
from app.contracts.resources.facts import ModelFacts
from app.contracts.specs.training import TrainingSpec

PER_THREAD = 3e8
"""Floating-point operations of a batch for each thread. Below it a second thread made steps of mlps, transformers and
resnets at most a tenth faster, and those of small mlps slower; above twice as many it saved a quarter to a half. Small
convnets on large images would gain below it as well (`tests/benchmarks/FIGURES.md`).
"""


def with_threads(
    training: TrainingSpec, subject: Subject, teachers: Sequence[ModelFacts], most: int, findings: Findings
) -> TrainingSpec:
    """The settings with their numbers of threads, `most` at most. `training` has everything else chosen.

    The threads of training follow from a batch of the student, three forward passes a row; those of the teachers from
    a batch of the largest. With views, where the teachers run during training, both are the same: those of the network
    with most operations of the job.
    """
    if training.threads is not None:
        return training
    teacher = max((_flops_of(each) for each in teachers), default=0.0)
    student = 3.0 * flops(subject.network)
    if training.augmentations is not None and teacher > student:
        return _chosen(training, "threads", "teacher", teacher, most, findings)
    training = _chosen(training, "threads", "student" if teachers else "network", student, most, findings)
    if training.augmentations is not None or training.teacher_threads is not None or teacher <= student:
        return training
    if _threads(training, teacher, most) == training.threads:
        return training
    return _chosen(training, "teacher_threads", "teacher", teacher, most, findings)


def _threads(training: TrainingSpec, row: float, most: int) -> int:
    """For a network with so many operations a row."""
    return min(most, max(1, ceil(row * (training.batch_size or BATCH) / PER_THREAD)))


def _chosen(training: TrainingSpec, name: str, of: str, row: float, most: int, findings: Findings) -> TrainingSpec:
    threads = _threads(training, row, most)
    because = (
        f"{row * (training.batch_size or BATCH):.2g} floating-point operations in a batch of the {of}: a thread for "
        f"each {PER_THREAD:.0e}, {most} at most"
    )
    findings.choose(f"/training/{name}", threads, because)
    return training.model_copy(update={name: threads})


def _flops_of(model: ModelFacts) -> float:
    """Of one row; of a graph, two for each stored number, which leaves out that convolutions use theirs often."""
    return flops(model.architecture) if model.architecture is not None else 2.0 * (model.parameters or 0)
