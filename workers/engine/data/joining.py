"""The datasets of a job joined into one: their rows one dataset after another, in the job's order.

That they are compatible (shape, transform, targets of the same name) was checked at submission, by
`app.contracts.resolving.data.joining`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any, assert_never

import torch
from torch import Tensor

from app.contracts.resolving.data.class_names import places_of_numbers
from app.contracts.resources.inputs.encoded_names import encoding_part, is_encoded_name
from app.contracts.resources.inputs.texts import TextInput, TokensInput
from app.contracts.resources.manifests import InputSpec, InputTransform
from app.contracts.resources.splits import SplitName
from app.contracts.resources.tables import InputEncoding
from app.contracts.specs.jobs import (
    DatasetRef,
    DistillJob,
    ExportJob,
    InspectJob,
    MultitaskJob,
    PreflightJob,
    TrainJob,
)
from app.contracts.specs.supervision.metrics import CLASS_KINDS
from app.contracts.wire.orders import DatasetInput, Order
from workers.engine.common.row_storage import RowStorage
from workers.engine.data.dataset import Dataset, Source, TargetColumn
from workers.engine.data.labels.class_order import at_places
from workers.engine.data.labels.columns import MISSING
from workers.engine.data.predictions.read import with_predictions
from workers.engine.data.reading import read_dataset, transform_of
from workers.engine.data.rows.forms import file_readings, forms_of_dataset
from workers.engine.data.rows.pretrained import transforms_of_job
from workers.engine.data.rows.specs import spec_of_rows
from workers.engine.data.rows.uploaded import MOST_KEPT, REFERENCE_ROWS
from workers.engine.data.splits import ORDER
from workers.engine.data.tables.digest import decoder_of
from workers.engine.data.tables.uploaded import UploadedPart, joined_uploads

if TYPE_CHECKING:
    from workers.engine.data.texts.reading import TextReading


def read_datasets(
    order: Order, refs: Sequence[DatasetRef], fills: Mapping[str, InputEncoding] | None = None
) -> Dataset:
    """Read and join the datasets of a job; `fills` as for `read_dataset`. Raises UserError as that does.

    A single dataset is not copied: decoded images are mapped from a file. Several are copied into memory once and each
    is freed after its copy, so that peak memory is all rows plus those of the largest dataset.
    """
    inputs = [order.datasets[ref.dataset] for ref in refs]
    own = file_readings(order, inputs)
    kept = MOST_KEPT if _exports_a_graph(order) else REFERENCE_ROWS
    parts = [
        read_dataset(
            each.parts,
            each.manifest,
            reads_exactly(order),
            kept,
            fills,
            RowStorage.of(order, each),
            _text_reading(order, each, inputs),
            forms_of_dataset(own, place),
        )
        for place, each in enumerate(inputs)
    ]
    used = _outputs_of_teachers(order)
    parts = [with_predictions(part, each, order, used) for part, each in zip(parts, inputs, strict=True)]
    sources, first = [], 0
    for ref, part in zip(refs, parts, strict=True):
        sources.append(Source(ref.dataset, first, part.rows, ref.weight, _dtype(part)))
        first += part.rows
    if len(parts) == 1:
        return _as_its_network_reads(replace(parts[0], sources=tuple(sources)), order)
    joined = _join(parts, tuple(sources), inputs[0].manifest.inputs, _inputs_of_student(order))
    return _as_its_network_reads(joined, order)


def _as_its_network_reads(dataset: Dataset, order: Order) -> Dataset:
    transforms = transforms_of_job(dataset.transforms, dataset.layout.own_shapes, order)
    return dataset if transforms is dataset.transforms else replace(dataset, transforms=transforms)


def _text_reading(order: Order, dataset: DatasetInput, datasets: Sequence[DatasetInput]) -> "TextReading | None":
    if not any(isinstance(spec, TextInput | TokensInput) for spec in dataset.manifest.inputs.values()):
        return None
    from workers.engine.data.texts.of_order import text_reading  # tokenizers is imported where there are texts

    return text_reading(order, dataset, datasets)


def reads_exactly(order: Order) -> bool:
    """Whether a model of the job has inputs of a type with numbers that float32 lacks."""
    return any(model.facts is not None and model.facts.reads_wide_numbers for model in order.models.values())


def _exports_a_graph(order: Order) -> bool:
    """Whether a file is written at the end that takes raw rows, and is checked with some."""
    match order.spec:
        case TrainJob() | DistillJob() | MultitaskJob():
            return bool(order.spec.formats)
        case ExportJob():
            return order.spec.dataset is not None
        case PreflightJob() | InspectJob():
            return False
        case _:
            assert_never(order.spec)


def _inputs_of_student(order: Order) -> tuple[str, ...] | None:
    """The inputs that a graph of the student takes; None for all of them."""
    match order.spec:
        case TrainJob() | DistillJob() | MultitaskJob():
            return order.spec.network.inputs
        case PreflightJob() | InspectJob() | ExportJob():
            return None
        case _:
            assert_never(order.spec)


def _outputs_of_teachers(order: Order) -> set[str]:
    """The targets that hold the outputs of the job's teachers."""
    job = order.training_job
    refs = job.teacher_refs() if job is not None else ()
    return {ref.stored_as for _, ref in refs if ref.stored_as is not None}


def _dtype(part: Dataset) -> torch.dtype:
    """The dtype of the rows of `Dataset.raw`, without making them."""
    dtypes = [values.dtype for values in part.rows_of.values()]
    return reduce(torch.promote_types, dtypes)


def dataset_inputs(order: Order, dataset: Dataset) -> tuple[DatasetInput, ...]:
    """The files and manifests of the dataset's sources, in the job's order."""
    return tuple(order.datasets[source.id] for source in dataset.sources)


def digest_facts(order: Order, dataset: Dataset) -> dict[str, Any]:
    """Everything about a job's data that a trained model's bits depend on, as JSON."""
    facts = [
        {
            "dataset": each.sha256,
            "manifest": each.manifest.model_dump(mode="json", exclude={"name", "metadata"}),
            **order_of(list(each.manifest.inputs)),
            **decoder_of(each.manifest),
            **({"exact": True} if reads_exactly(order) else {}),
        }
        for each in dataset_inputs(order, dataset)
    ]
    if len(facts) == 1:
        return facts[0]
    weights = [source.weight for source in dataset.sources]
    return {"datasets": [{**each, "weight": weight} for each, weight in zip(facts, weights, strict=True)]}


def order_of(names: list[str]) -> dict[str, list[str]]:
    """The order of several inputs, which a digest of a JSON object leaves out; nothing for a single one."""
    return {"order": names} if len(names) > 1 else {}


def _join(
    parts: list[Dataset],
    sources: tuple[Source, ...],
    specs: Mapping[str, InputSpec],
    selected: tuple[str, ...] | None,
) -> Dataset:
    """Join the parts; empties `parts` to free their inputs. Several inputs are matched by name. `selected`: the inputs
    whose rows are kept as uploaded, None for all.
    """
    splits = _splits(parts, sources)
    targets = {
        target: _target([part.targets.get(target) for part in parts], [part.rows for part in parts])
        for target in dict.fromkeys(target for part in parts for target in part.targets)
    }
    rows = sum(part.rows for part in parts)
    raws = {
        name: [part.inputs[name] if len(specs) > 1 else next(iter(part.inputs.values())) for part in parts]
        for name in specs
    }
    encoded = {name: [part.inputs[_encoded(part, name)] for part in parts] for name in _encoded_names(parts[0])}
    tokens = {name: each.tokens for name, each in parts[0].transforms.items()}
    read = parts[0].transforms
    encodings = {name: read[name if len(specs) > 1 else next(iter(read))].encoding for name in specs}
    columns = {name: _columns([part.transforms for part in parts], name) for name in specs}
    named = [name for name in parts[0].weights if all(name in part.weights for part in parts)]
    formed = {key: tuple(rows for part in parts for rows in part.formed[key]) for key in parts[0].formed}
    weights = {name: torch.cat([part.weights[name] for part in parts]) for name in named}
    uploads = [_upload(part, source) for part, source in zip(parts, sources, strict=True)]
    parts.clear()
    inputs = {name: concatenate_and_free(raws.pop(name)) for name in specs}
    train = splits["train"]
    transforms = {
        name: transform_of(
            name, inputs[name], spec_of_rows(spec), train, encodings[name], columns[name], tokens=tokens.get(name)
        )
        for name, spec in specs.items()
    }
    for name in list(encoded):
        inputs[name], transforms[name] = concatenate_and_free(encoded.pop(name)), InputTransform(tokens=tokens[name])
    uploaded = joined_uploads(uploads, [name for name in specs if selected is None or name in selected])
    return Dataset(
        rows, inputs, targets, splits, transforms, sources, weights=weights, uploaded=uploaded, formed=formed
    )


def _encoded_names(part: Dataset) -> list[str]:
    """The texts that are read again by other tokenizers."""
    return [name for name in part.inputs if is_encoded_name(name)]


def _encoded(part: Dataset, name: str) -> str:
    """The name of such texts in another dataset: a single input has any name."""
    if name in part.inputs:
        return name
    return next(each for each in part.inputs if encoding_part(each) == encoding_part(name))


def _upload(part: Dataset, source: Source) -> UploadedPart:
    assert part.uploaded is not None, "the parts were read from files"
    encodings = {name: transform.encoding for name, transform in part.transforms.items()}
    gaps = {
        name: encoding is not None and encoding.missing is not None and bool(part.uses.get(name))
        for name, encoding in encodings.items()
    }
    return UploadedPart(source.id, source.first, part.uploaded, encodings, gaps)


def _columns(read: Sequence[Mapping[str, InputTransform]], name: str) -> tuple[str, ...] | None:
    """The columns of an input in the first dataset that names them; a single input has any name."""
    found = (transforms.get(name) or next(iter(transforms.values())) for transforms in read)
    return next((each.columns for each in found if each.columns is not None), None)


def concatenate_and_free(parts: list[Tensor]) -> Tensor:
    """Tensors [n, …] concatenated to [Σ n, …], float32 where their dtypes differ, float64 where one is.

    `parts` is emptied as it is copied: pages of the result that are not written yet take no memory.
    """
    dtypes = {part.dtype for part in parts}
    wide = torch.float64 if torch.float64 in dtypes else torch.float32
    dtype = dtypes.pop() if len(dtypes) == 1 else wide
    result = torch.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=dtype)
    start = 0
    while parts:
        part = parts.pop(0)
        result[start : start + len(part)] = part
        start += len(part)
    return result


def _splits(parts: Sequence[Dataset], sources: Sequence[Source]) -> dict[SplitName, Tensor]:
    splits: dict[SplitName, Tensor] = {}
    for name in ORDER:
        pairs = zip(parts, sources, strict=True)
        rows = [part.splits[name] + source.first for part, source in pairs if name in part.splits]
        if rows:
            splits[name] = torch.cat(rows)
    return splits


def _target(columns: Sequence[TargetColumn | None], rows: Sequence[int]) -> TargetColumn:
    """A target for all rows: missing on the rows of a dataset without it (None)."""
    existing = [column for column in columns if column is not None]
    first = existing[0]
    missing = MISSING if first.kind in CLASS_KINDS else torch.nan
    classes = next((column.classes for column in existing if column.classes is not None), None)
    values, labelled = [], []
    for column, count in zip(columns, rows, strict=True):
        unlabelled = first.values.new_full((count, *first.values.shape[1:]), missing)
        values.append(unlabelled if column is None else _as_places(column, classes))
        labelled.append(torch.zeros(count, dtype=torch.bool) if column is None else column.labelled)
    return replace(first, values=torch.cat(values), labelled=torch.cat(labelled), classes=classes)


def _as_places(column: TargetColumn, classes: tuple[str, ...] | None) -> Tensor:
    """The labels [n] as places among `classes`, the names that another dataset gives to numbered classes."""
    if column.kind != "class" or column.classes is not None or classes is None:
        return column.values
    return at_places(column, places_of_numbers(classes))
