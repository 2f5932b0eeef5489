"""The number of CPU threads that a spec leaves out."""

from collections.abc import Sequence
from math import ceil

from app.contracts.layouts.summary import flops
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.recipe.training import BATCH, Subject, passes
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
    """The settings with their number of threads, `most` at most. `training` has everything else chosen.

    It follows from a batch of the network with most operations of the job: the student's steps, three forward passes
    each, or one of its teachers, which are run once, or with views once an epoch.
    """
    if training.threads is not None:
        return training
    batch = training.batch_size or BATCH
    seen = passes(training, subject.rows)
    teacher = max((_flops_of(each) for each in teachers), default=0.0)
    student = 3.0 * flops(subject.network)
    runs = seen if training.augmentations is not None else 1.0
    name, row = ("teacher", teacher) if teacher * runs > student * seen else ("student", student)
    threads = min(most, max(1, ceil(row * batch / PER_THREAD)))
    of = name if teachers else "network"
    because = (
        f"{row * batch:.2g} floating-point operations in a batch of the {of}: a thread for each {PER_THREAD:.0e}, "
        f"{most} at most"
    )
    findings.choose("/training/threads", threads, because)
    return training.model_copy(update={"threads": threads})


def _flops_of(model: ModelFacts) -> float:
    """Of one row; of a graph, two for each stored number, which leaves out that convolutions use theirs often."""
    return flops(model.architecture) if model.architecture is not None else 2.0 * (model.parameters or 0)
