"""The tokenizers that the models of a job read texts with."""

from collections.abc import Iterator, Sequence
from typing import assert_never

from app.contracts.resolving.data.texts import tokens_of
from app.contracts.resolving.distillation.token_layers import reads_rows_of_student
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.jobs import (
    AnyTrainingJob,
    DistillJob,
    ExportJob,
    InspectJob,
    MultitaskJob,
    PreflightJob,
    TeacherRef,
    TrainJob,
)
from app.contracts.wire.orders import DatasetInput, Order
from workers.engine.data.texts.reading import TextReading


def text_reading(order: Order, dataset: DatasetInput, datasets: Sequence[DatasetInput]) -> TextReading | None:
    """How the texts of one of a job's datasets are read: those of all by the tokenizers of the first, unless the
    student brings its own. None for an inspection, which trains them, and where there is none.
    """
    own = {name: found for name in dataset.manifest.inputs if (found := _joined(datasets, name)) is not None}
    if not own or isinstance(order.spec, InspectJob):
        return None
    (student, length), teachers = _models(order)
    encoding = _encoding(order, student) if student is not None else None
    if encoding is not None and length is not None:
        encoding = encoding.model_copy(update={"length": length})
    return TextReading(
        order.tokenizers,
        own,
        student=encoding,
        teachers=tuple(found for name in teachers if (found := _encoding(order, name)) is not None),
        whole_width=len(datasets) > 1,
    )


def _joined(datasets: Sequence[DatasetInput], name: str) -> TokenEncoding | None:
    """How an input of all datasets is read; a single one has any name. None for an input of numbers."""
    inputs = [each.facts.inputs if each.facts is not None else {} for each in datasets]
    found = [each.get(name) or (next(iter(each.values())) if len(each) == 1 else None) for each in inputs]
    tokens = [each.tokens for each in found if each is not None and each.tokens is not None]
    if not tokens:
        return None
    return tokens[0].model_copy(update={"length": max(each.length for each in tokens)})


_Reader = tuple[str | None, int | None]
"""(the model whose tokenizer a student reads with, the tokens of its longest row); None as the dataset has them."""


def _models(order: Order) -> tuple[_Reader, tuple[str, ...]]:
    """(how the student reads, its teachers that read rows of their own), by their keys in an order.

    A teacher that reads as one that reads the student's rows does so too: rows are found by how they are read.
    """
    spec = order.spec
    match spec:
        case TrainJob() | DistillJob() | MultitaskJob():
            return _of_training(spec, order)
        case PreflightJob():
            return _of_training(spec.job, order)
        case ExportJob():
            return (spec.model, None), ()
        case InspectJob():
            return (None, None), ()
        case _:
            assert_never(spec)


def _of_training(spec: AnyTrainingJob, order: Order) -> tuple[_Reader, tuple[str, ...]]:
    teachers = dict.fromkeys(name for _, ref in spec.teacher_refs() if (name := ref.model or ref.job) is not None)
    shape = spec.network.input_shape
    reader = spec.network.tokenizer_model, shape[0] if shape is not None else None
    compared = [_encoding(order, name) for name in _compared_by_token(spec, order)]
    return reader, tuple(name for name in teachers if _encoding(order, name) not in compared)


def _compared_by_token(spec: AnyTrainingJob, order: Order) -> Iterator[str]:
    """The teachers whose layers are compared with the student's token by token: they read its rows."""
    for teachers, distillation in _taught(spec):
        for i, ref in enumerate(teachers):
            name = ref.model or ref.job or ""
            facts = order.models[name].facts if name in order.models else None
            if facts is not None and reads_rows_of_student(distillation, i, ref.output, facts):
                yield name


def _taught(spec: AnyTrainingJob) -> Iterator[tuple[tuple[TeacherRef, ...], DistillationSpec]]:
    """The teachers of each task, and how they teach it."""
    match spec:
        case TrainJob():
            return
        case DistillJob():
            yield spec.teachers or (), spec.distillation
        case MultitaskJob():
            for task in spec.tasks:
                yield task.teachers or (), task.distillation or DistillationSpec()
        case _:
            assert_never(spec)


def _encoding(order: Order, model: str) -> TokenEncoding | None:
    found = order.models[model].facts if model in order.models else None
    return tokens_of(found) if found is not None else None
