"""What a job will take of its worker: a lower bound of its disk space, and a generous estimate of its memory."""

from collections.abc import Iterable, Iterator
from math import prod
from typing import Final, TypeGuard, assert_never

from app.contracts.layouts.summary import flops, parameter_count
from app.contracts.resources.facts import DatasetFacts
from app.contracts.specs.architectures import AnyNetwork, Architecture
from app.contracts.specs.families.starts import StandIn
from app.contracts.specs.jobs import (
    MOST_SEEDS,
    AnyJob,
    AnyTrainingJob,
    DistillJob,
    MultitaskJob,
    PreflightJob,
    TrainJob,
)
from app.contracts.specs.training import TrainingSpec

_NUMBER = 4
_CHECKPOINTS = 3
"""The two that are kept and the one that is being written."""
_OUTPUTS = 2
"""Weights as they are published, and their place in the store."""
_LIBRARIES_BYTES: Final = 8 << 30
"""Address space besides what the uploads may need; torch's libraries map about 3 GiB of it."""
_BYTES_PER_FILE_BYTE: Final = 6
_THREAD_BYTES: Final = 144 << 20
"""Address space of a thread: its stack, and the arena that malloc reserves for it."""
_COPIES_OF_ROWS: Final = 3
"""As read, as a network takes them, and a part on the way."""
_EVALUATED_ROWS: Final = 1024
"""Rows that go through a network at once where a job does not train on larger batches."""


def memory_of_uploads(files_bytes: int) -> int:
    """Address space that a process may take that reads uploads of this size, or answers with them."""
    return _LIBRARIES_BYTES + _BYTES_PER_FILE_BYTE * files_bytes


def memory_bytes(spec: AnyJob, datasets: Iterable[DatasetFacts | None], files_bytes: int, threads: int) -> int:
    """Address space that a resolved job takes, estimated: more than its resident memory. What an uploaded network takes
    for a batch is not known. `files_bytes`: size of all inputs.

    A number that a layer makes takes at least one multiply-add (2 FLOPs) and 4 bytes, so that the activations of a row
    take at most 2 bytes a FLOP of its forward pass.
    """
    rows = sum(_NUMBER * each.rows * _numbers_of_row(each) for each in datasets if each is not None)
    fixed = memory_of_uploads(files_bytes) + _THREAD_BYTES * threads + _COPIES_OF_ROWS * rows
    job = spec.job if isinstance(spec, PreflightJob) else spec
    if not isinstance(job, AnyTrainingJob):
        return fixed
    learners = [each for each in _learners(job) if _is_known(each)]
    states = 4 + _optimizer_states(job.training)  # weights, gradients, the best so far, and those on the way to disk
    batch = max(job.training.batch_size or 0, _EVALUATED_ROWS)
    trained = sum(states * _bytes_of(each) + 2 * batch * flops(each) for each in learners)
    return fixed + trained * _repeats(job)


def _numbers_of_row(facts: DatasetFacts) -> int:
    return sum(prod(each.shape) for each in facts.inputs.values())


def _is_known(architecture: AnyNetwork) -> TypeGuard[Architecture]:
    return not isinstance(architecture, StandIn) and architecture.is_described


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
    return _NUMBER * parameter_count(architecture) if _is_known(architecture) else 0


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
