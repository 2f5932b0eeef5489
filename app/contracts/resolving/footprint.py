"""What a job will write to the disk of its worker, before it writes it: at least so many bytes."""

from collections.abc import Iterator

from app.contracts.layouts.summary import parameter_count
from app.contracts.resolving.resolve import Spec
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.jobs import DistillJob, InspectJob, PreflightJob, TrainJob
from app.contracts.specs.training import TrainingSpec

_NUMBER = 4
_CHECKPOINTS = 3
"""The two that are kept and the one that is being written."""
_OUTPUTS = 2
"""Weights as they are published, and their place in the store."""


def disk_bytes(spec: Spec | InspectJob) -> int:
    """Bytes of checkpoints and outputs of a resolved job; 0 where its student's shape is still to be known.

    A member's checkpoint holds its weights, the best of them so far, and what its optimiser remembers. Soft targets
    have a bound of their own and make room for others.
    """
    if isinstance(spec, InspectJob | PreflightJob):
        return 0
    states = 2 + _optimizer_states(spec.training)
    members = [_bytes_of(architecture) for architecture in _members(spec)]
    student = members[0]
    kept = student * 2 * (_repeats(spec) - 1)  # student and control of a further seed
    return sum(members) * (states * _CHECKPOINTS + _OUTPUTS) + student * len(spec.exports) + kept


def _members(spec: Spec) -> Iterator[Architecture]:
    """The student first, then who trains beside it."""
    if isinstance(spec, TrainJob):
        yield spec.model
        return
    assert not isinstance(spec, PreflightJob)
    yield spec.student
    if spec.control:
        yield spec.student
    if isinstance(spec, DistillJob) and spec.mutual is not None:
        yield from spec.mutual.peers


def _bytes_of(architecture: Architecture) -> int:
    if architecture.input_shape is None or architecture.outputs is None:
        return 0
    return _NUMBER * parameter_count(architecture)


def _optimizer_states(training: TrainingSpec) -> int:
    if training.optimizer == "sgd":
        return 1 if training.momentum > 0.0 else 0
    return 2


def _repeats(spec: Spec) -> int:
    return 1 if isinstance(spec, TrainJob | PreflightJob) else spec.repeats
