"""What a job will take of its worker: a lower bound of its disk space, and a generous estimate of its memory."""

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Final, NamedTuple, TypeGuard, assert_never

from app.contracts.layouts.summary import flops, layers_of, parameter_count
from app.contracts.resources.facts import DatasetFacts, ModelFacts
from app.contracts.specs.architectures import AnyNetwork, Architecture
from app.contracts.specs.families.starts import StandIn
from app.contracts.specs.jobs import (
    MOST_SEEDS,
    AnyJob,
    AnyTrainingJob,
    DistillJob,
    ExportJob,
    InspectJob,
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
"""Address space of libraries, of which torch's map about 3 GiB, and of what every process allocates besides."""
_BYTES_PER_FILE_BYTE: Final = 6
_THREAD_BYTES: Final = 144 << 20
"""Address space of a thread: its stack, and the arena that malloc reserves for it."""
_COPIES_OF_ROWS: Final = 3
"""As read, as a network takes them, and a part on the way."""
_GRAPH_CHANNELS: Final = 64
_EVALUATED_ROWS: Final = 1024
"""Rows that go through a network at once where a job does not train on larger batches."""


class Footprint(NamedTuple):
    """What a process takes, estimated, in bytes. `addresses`: libraries, stacks of threads and mapped files, which are
    no memory of its own; `memory`: what it allocates.
    """

    addresses: int
    memory: int

    def limit(self, room: float, most: int) -> int:
        """The address space that it may take: its memory `room` times, but not above `most` bytes of memory."""
        return self.addresses + min(round(room * self.memory), most)


def footprint_of_uploads(files_bytes: int) -> Footprint:
    """Of a process that reads uploads of this size, or answers with them."""
    return Footprint(_LIBRARIES_BYTES + files_bytes, _BYTES_PER_FILE_BYTE * files_bytes)


def footprint(
    spec: AnyJob,
    datasets: Iterable[DatasetFacts | None],
    models: Iterable[ModelFacts | None],
    files_bytes: int,
    threads: int,
) -> Footprint:
    """Of a resolved job: more than its resident memory. `files_bytes`: size of all inputs.

    A number that a layer makes takes at least one multiply-add (2 FLOPs) and 4 bytes, so that the activations of a row
    take at most 2 bytes a FLOP of its forward pass. A graph's FLOPs are not known: as much as _GRAPH_CHANNELS of
    the size of its rows.
    """
    known_datasets, known_models = [each for each in datasets if each], [each for each in models if each]
    uploads = footprint_of_uploads(files_bytes)
    rows = sum(_NUMBER * each.rows * _numbers_of_row(each) for each in known_datasets)
    passes = sum(_EVALUATED_ROWS * _activations(each) for each in known_models)
    job = spec.job if isinstance(spec, PreflightJob) else spec
    stored = _NUMBER * sum(each.rows for each in known_datasets) * _stored_numbers(job, known_models)
    addresses = uploads.addresses + _THREAD_BYTES * threads + rows + stored
    fixed = uploads.memory + _COPIES_OF_ROWS * rows + passes
    if not isinstance(job, AnyTrainingJob):
        return Footprint(addresses, fixed)
    learners = [each for each in _learners(job) if _is_known(each)]
    states = 4 + _optimizer_states(job.training)  # weights, gradients, the best so far, and those on the way to disk
    batch = max(job.training.batch_size or 0, _EVALUATED_ROWS)
    trained = sum(states * _bytes_of(each) + 2 * batch * flops(each) for each in learners)
    return Footprint(addresses, fixed + trained * _repeats(job))


def _activations(model: ModelFacts) -> int:
    """Bytes of the activations of one row of a teacher, at most; estimated for a graph."""
    if model.architecture is not None and model.architecture.is_described:
        return 2 * flops(model.architecture)
    return _NUMBER * _GRAPH_CHANNELS * prod(side for side in model.input_shape or () if side)


def _stored_numbers(job: AnyJob, teachers: Sequence[ModelFacts]) -> int:
    """Numbers a row that a job maps from the store of its teachers' outputs and layers, at most."""
    outputs = sum(each.size for facts in teachers for each in facts.outputs.values())
    sizes = (prod(shape) for facts in teachers for shape in layers_of(facts).values() if shape is not None)
    return outputs + _pairs_of_layers(job) * max(sizes, default=0)


def _pairs_of_layers(job: AnyJob) -> int:
    match job:
        case DistillJob():
            taught = [job.distillation]
        case MultitaskJob():
            taught = [task.distillation for task in job.tasks if task.distillation is not None]
        case TrainJob() | PreflightJob() | InspectJob() | ExportJob():
            return 0
        case _:
            assert_never(job)
    return sum(len(term.pairs) for each in taught for term in each.features or ())


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
