"""A lower bound of what a job will write to the disk of its worker."""

from collections.abc import Iterator
from typing import assert_never

from app.contracts.layouts.summary import parameter_count
from app.contracts.specs.architectures import AnyNetwork
from app.contracts.specs.families.starts import StandIn
from app.contracts.specs.jobs import (
    MOST_SEEDS,
    AnyJob,
    AnyTrainingJob,
    DistillJob,
    MultitaskJob,
    TrainJob,
)
from app.contracts.specs.training import TrainingSpec

_NUMBER = 4
_CHECKPOINTS = 3
"""The two that are kept and the one that is being written."""
_OUTPUTS = 2
"""Weights as they are published, and their place in the store."""


def disk_bytes(spec: AnyJob) -> int:
    """Bytes of checkpoints and outputs of a resolved job; 0 where its student's shape is not known yet.

    A learner's checkpoint holds its weights, the best of them so far, and the optimizer state. The stores of soft
    targets and of decoded images have bounds of their own and evict entries.
    """
    if not isinstance(spec, AnyTrainingJob):
        return 0
    states = 2 + _optimizer_states(spec.training)
    learners = [_bytes_of(architecture) for architecture in _learners(spec)]
    student = learners[0]
    kept = student * 2 * (_repeats(spec) - 1)  # student and control of a further seed
    return sum(learners) * (states * _CHECKPOINTS + _OUTPUTS) + student * len(spec.formats) + kept


def _learners(spec: AnyTrainingJob) -> Iterator[AnyNetwork]:
    """The student first, then what is trained beside it."""
    match spec:
        case TrainJob():
            yield spec.model
        case DistillJob() | MultitaskJob():
            yield spec.student
            if spec.control:
                yield spec.student
            if isinstance(spec, DistillJob) and spec.mutual is not None:
                yield from spec.mutual.peers
        case _:
            assert_never(spec)


def _bytes_of(architecture: AnyNetwork) -> int:
    if isinstance(architecture, StandIn) or not architecture.is_described:
        return 0
    return _NUMBER * parameter_count(architecture)


def _optimizer_states(training: TrainingSpec) -> int:
    match training.optimizer:
        case "sgd":
            return 1 if training.momentum > 0.0 else 0
        case "adam" | "adamw":
            return 2
        case _:
            assert_never(training.optimizer)


def _repeats(spec: AnyTrainingJob) -> int:
    if isinstance(spec, TrainJob):
        return 1
    return MOST_SEEDS if spec.repeats == "auto" else spec.repeats
