"""The outputs of a job's teachers for every row: from the store, from one pass of the teacher, or from dataset columns.

A teacher runs once over all rows, in fixed blocks in the order of the dataset, so that its outputs do not depend on
training batches. With several datasets each is computed and stored separately, so that other jobs can reuse it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Self, assert_never

import torch
from torch import Tensor

from app.contracts.base import digest_of
from app.contracts.layouts.summary import layers_of
from app.contracts.problems import UserError
from app.contracts.reports.report import TargetUse
from app.contracts.resolving.data.texts import tokens_of
from app.contracts.resolving.distillation.layer_owners import is_by_token, pooled_shape
from app.contracts.resolving.multitask.sharing import own_layer
from app.contracts.resources.facts import OutputFacts
from app.contracts.resources.inputs.arrays import ArrayInput
from app.contracts.resources.manifests import (
    ClassOutput,
    MapOutput,
    MultilabelOutput,
    OutputSpec,
    PositionOutput,
    TokenClassOutput,
    ValueOutput,
    VectorOutput,
)
from app.contracts.specs.families.layer_pairs import LayerPair
from app.contracts.specs.jobs import TeacherRef
from app.contracts.specs.stores import StoreSpec, predictions_of
from app.contracts.wire.orders import ModelInput, Order
from workers.engine.common.environment import environment_fingerprint
from workers.engine.data.augment.plan import AugmentationPlan
from workers.engine.data.dataset import Dataset, Source
from workers.engine.data.formats.files.encoded import ranges_of
from workers.engine.data.joining import order_of
from workers.engine.data.quality.meaning import check_meaning
from workers.engine.data.rows.forms import FileReading, file_readings
from workers.engine.data.rows.joined import InputLayout
from workers.engine.data.tables.digest import decoder_of, reading_facts
from workers.engine.data.top_k.packing import TopKPacking
from workers.engine.data.top_k.rows import TopK
from workers.engine.losses.softmax import class_scores
from workers.engine.losses.teacher_mix import AugmentedOutputs, TeacherOutputs
from workers.engine.models import Network
from workers.engine.models.taps import TappedLayer
from workers.engine.teachers.class_selection import ClassSelection
from workers.engine.teachers.consistency import MAX_ROWS, check_block, check_consistency, tolerance_of
from workers.engine.teachers.target_store import Packing, SoftTargetStore, Stored, StoredTargets, concatenate_targets
from workers.engine.teachers.teacher import Teacher, layer_key, open_teacher

BLOCK = 256
"""Rows of one forward pass. Results depend on the batch size in their last bits, so it is fixed."""

CHECK_SECONDS = 0.1
"""Time that the comparison of a teacher's outputs on the first rows may take beyond five rows."""
_EPOCH_SHARE = 1.0 / 16
"""Share of the store's limit up to which the outputs for an epoch of augmented rows are shared between jobs."""


class Teachers:
    """All teachers of a job; each model is loaded and run at most once, however many tasks it teaches.

    A context manager: entries of the store are locked until it exits.
    """

    def __init__(
        self,
        order: Order,
        dataset: Dataset,
        device: torch.device,
        check: Callable[[], None],
        store: StoreSpec,
        plan: AugmentationPlan | None = None,
    ) -> None:
        """`check` is called before each forward pass and may raise; `plan`: how training rows are augmented."""
        self.order = order
        self.dataset = dataset
        self.device = device
        self.check = check
        self.store = store
        self.plan = plan
        self.opened: dict[str, Teacher] = {}
        """By `teacher_key`."""
        self.uses: dict[str, TargetUse] = {}
        """How the outputs of each teacher were obtained, by `teacher_key`."""
        self._own = file_readings(order, [order.datasets[source.id] for source in dataset.sources])
        self._stored: dict[str, StoredTargets] = {}
        self._augmented: dict[str, tuple[int, StoredTargets, SoftTargetStore]] = {}
        self._layers: dict[str, list[TappedLayer]] = {}
        self._stores: list[SoftTargetStore] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def request_layer(self, ref: TeacherRef, pair: LayerPair) -> None:
        """Register a layer that will be read, before the teacher's outputs are: one pass computes both."""
        layers, layer = self._layers.setdefault(teacher_key(ref), []), self._tapped(ref, pair)
        if layer not in layers:
            layers.append(layer)

    def outputs_of(self, ref: TeacherRef) -> TeacherOutputs:
        """The outputs of one teacher of a task for every row."""
        if ref.stored_as is not None:
            return _selected(self._from_columns(ref.stored_as, ref.weight), ref)
        key = teacher_key(ref)
        model = self.order.models[key]
        teacher = self._teacher(key, model)
        assert ref.output is not None
        values = self._targets(key, model, teacher).outputs[ref.output]
        spec = teacher.outputs[ref.output].spec
        if isinstance(spec, PositionOutput):
            by_position = partial(_by_position, size=teacher.outputs[ref.output].size)
            values = by_position(values)
        augmented = self._augmented_outputs(key, ref.output)
        if isinstance(spec, PositionOutput) and augmented is not None:
            of_epoch = augmented.of_epoch
            augmented = replace(augmented, of_epoch=lambda epoch: by_position(of_epoch(epoch)))
        outputs = TeacherOutputs(values, spec, ref.weight, key, ref.output, augmented)
        if isinstance(values, TopK) and isinstance(spec, ClassOutput):
            of_store = spec.model_copy(update={"output": "log_probabilities"})
            return replace(outputs, spec=of_store, select=partial(class_scores, spec=spec))
        return _selected(outputs, ref)

    def layer(self, ref: TeacherRef, pair: LayerPair) -> tuple[tuple[int, ...], Tensor, AugmentedOutputs | None]:
        """(shape of one row, values [N, numbers], the same for augmented rows) of a layer that was requested."""
        key, layer = teacher_key(ref), self._tapped(ref, pair)
        model = self.order.models[key]
        teacher = self._teacher(key, model)
        values = self._targets(key, model, teacher).outputs[layer_key(layer)]
        assert isinstance(values, Tensor)
        return _layer_shape(model, teacher, layer), values, self._augmented_outputs(key, layer_key(layer))

    def _tapped(self, ref: TeacherRef, pair: LayerPair) -> TappedLayer:
        """The layer of the teacher's network: in a multi-task teacher a head may have features of its own."""
        facts, name = self.order.models[teacher_key(ref)].facts, pair.teacher_layer
        if facts is not None and facts.architecture is not None and ref.output is not None:
            name = own_layer(facts.architecture, ref.output, name)
        return TappedLayer(name, pair.pool)

    def network(self, ref: TeacherRef) -> Network:
        """The network of a teacher with a known architecture."""
        key = teacher_key(ref)
        network = self._teacher(key, self.order.models[key]).network
        assert network is not None
        return network

    def close(self) -> None:
        """Release the store's entries."""
        for store in (*self._stores, *(store for _, _, store in self._augmented.values())):
            store.close()

    def _from_columns(self, name: str, weight: float) -> TeacherOutputs:
        column = self.dataset.targets[name]
        assert column.predicts is not None
        values = torch.where(column.labelled[:, None], column.values, torch.nan)
        self.uses[name] = TargetUse(
            teacher=self._name_of_columns(name), store="columns", passes=0, rows=self.dataset.rows, bytes=values.nbytes
        )
        return TeacherOutputs(values, column.predicts, weight, name)

    def _name_of_columns(self, name: str) -> str:
        """The name for people of columns of the dataset, or of predictions."""
        predictions = self.order.predictions.get(predictions_of(name) or "")
        return name if predictions is None else predictions.manifest.name

    def _teacher(self, key: str, model: ModelInput) -> Teacher:
        if key not in self.opened:
            own = self._own.get(key)
            rows = self.dataset.formed[own.key][0] if own is not None else None
            layout = InputLayout.of({own.names[0]: rows}) if own is not None and rows is not None else None
            threads = self.order.teacher_threads
            self.opened[key] = open_teacher(model, self.device, threads, layout or self.dataset.layout)
        return self.opened[key]

    def first_rows(self, key: str, count: int) -> Tensor:
        """The first `count` rows [n, …] of the job's first dataset, or of all, as an opened teacher takes them."""
        own = self._own.get(key)
        return (self.dataset.raw if own is None else self.dataset.formed[own.key][0])[:count]

    def reads_files(self, key: str) -> bool:
        """Whether a teacher reads files by a form of its own, and so no other rows."""
        return key in self._own

    def _blocks(self, key: str, place: int) -> Iterator[Tensor]:
        """All rows [n, …] of the source at this place that a teacher takes, BLOCK at a time."""
        own, source = self._own.get(key), self.dataset.sources[place]
        if own is not None:
            return ranges_of(self.dataset.formed[own.key][place], 0, source.rows, BLOCK)
        blocks = ranges_of(self.dataset.raw, source.first, source.first + source.rows, BLOCK)
        return (block.to(source.dtype) for block in blocks)

    def _targets(self, key: str, model: ModelInput, teacher: Teacher) -> StoredTargets:
        """Outputs and requested layers: one entry of the store for the outputs, and one for each layer."""
        if key not in self._stored:
            by_source = [self._source_targets(key, model, teacher, i) for i in range(len(self.dataset.sources))]
            self._stored[key] = concatenate_targets([targets for targets, _ in by_source])
            self.uses[key] = _combined_use([use for _, use in by_source])
        return self._stored[key]

    def _source_targets(
        self, key: str, model: ModelInput, teacher: Teacher, place: int
    ) -> tuple[StoredTargets, TargetUse]:
        """A teacher's outputs for the rows of one dataset, without augmentation."""
        source = self.dataset.sources[place]
        facts = self._facts(key, model, teacher, [source])
        passes = self._forward_passes(key, teacher, self._blocks(key, place))
        passes.of_spread = tolerance_of({layer.kind for layer in model.facts.layers}) if model.facts else None
        targets, store = self._load_or_compute(key, model, teacher, facts, source.rows, passes)
        self._stores.append(store)
        return targets, TargetUse(
            teacher=teacher.name,
            store="hit" if targets.hit else "miss",
            passes=passes.count,
            saved=-(-source.rows // BLOCK) if targets.hit else 0,
            rows=source.rows,
            bytes=targets.bytes,
            key=digest_of(facts),
        )

    def _load_or_compute(
        self,
        key: str,
        model: ModelInput,
        teacher: Teacher,
        facts: dict[str, object],
        rows: int,
        passes: "_ForwardPasses",
        share: float = 1.0,
        epoch: int = 0,
    ) -> tuple[StoredTargets, SoftTargetStore]:
        """(targets, the store that holds them). `share`: the largest share of the shared store's limit to use."""
        entries = {
            digest_of(facts): {name: self._packing(output, teacher, epoch) for name, output in teacher.outputs.items()}
        }
        for layer in self._layers.get(key, []):
            packing = Packing(prod(_layer_shape(model, teacher, layer)), self.store.precision)
            pool = {} if layer.pool is None else {"pool": layer.pool}
            entries[digest_of({**facts, "layer": layer.name, **pool})] = {layer_key(layer): packing}
        needed = rows * sum(packing.bytes for packings in entries.values() for packing in packings.values())
        store = SoftTargetStore(self._folder(int(needed / share)), self.order.cache_bytes)
        return store.get(entries, rows, passes.blocks), store

    def _forward_passes(self, key: str, teacher: Teacher, raw: Iterable[Tensor]) -> "_ForwardPasses":
        return _ForwardPasses(teacher, self._as_stored, tuple(self._layers.get(key, [])), self.check, raw)

    def _packing(self, output: OutputFacts, teacher: Teacher, epoch: int = 0) -> Packing:
        """All numbers of an output, those of its tokens or pixels one after another, or of class scores what `top_k`
        asks for, where that takes less room.
        """
        whole = Packing(output.size * _positions(output.spec, teacher), self.store.precision)
        k = self.store.top_k
        if k is None or k >= output.size or not isinstance(output.spec, ClassOutput):
            return whole
        packed = replace(whole, top=TopKPacking(output.size, k, self.store.draws, epoch))
        return packed if packed.bytes < whole.bytes else whole

    def _as_stored(self, outputs: dict[str, Tensor], teacher: Teacher) -> dict[str, Tensor]:
        """A block as it is stored: with `top_k` class outputs are converted to scores, to find the largest."""
        block = {}
        for name, values in outputs.items():
            output = teacher.outputs.get(name)
            top = output is not None and self._packing(output, teacher).top is not None
            spec = output.spec if output is not None else None
            scores = class_scores(values, spec) if top and isinstance(spec, ClassOutput) else values
            block[name] = scores.flatten(1) if isinstance(spec, PositionOutput) else scores
        return block

    def _augmented_outputs(self, key: str, output: str) -> AugmentedOutputs | None:
        """A teacher's outputs for augmented training rows: one pass in each epoch, or the store."""
        plan = self.plan
        if plan is None:
            return None

        def of_epoch(epoch: int) -> Stored:
            return self._augmented_targets(key, plan, epoch).outputs[output]

        return AugmentedOutputs(plan.split, of_epoch)

    def _augmented_targets(self, key: str, plan: AugmentationPlan, epoch: int) -> StoredTargets:
        cached = self._augmented.get(key)
        if cached is None or cached[0] != epoch:
            model = self.order.models[key]
            teacher = self._teacher(key, model)
            facts = {**self._facts(key, model, teacher, self.dataset.sources), "views": plan.key(epoch)}
            blocks = (block.cpu() for block in plan.raw(torch.split(plan.split, BLOCK), epoch))
            passes = self._forward_passes(key, teacher, blocks)
            rows = len(plan.split)
            targets, store = self._load_or_compute(key, model, teacher, facts, rows, passes, _EPOCH_SHARE, epoch)
            if cached is not None:
                cached[2].close()  # only the current epoch is locked; earlier ones may be evicted
            cached = self._augmented[key] = (epoch, targets, store)
            use = self.uses[key]
            saved = use.saved + (-(-rows // BLOCK) if targets.hit else 0)
            self.uses[key] = use.model_copy(update={"passes": use.passes + passes.count, "saved": saved})
        return cached[1]

    def _folder(self, bytes_needed: int) -> Path:
        """The shared store, or the job's own folder for targets above the shared store's limit."""
        shared = bytes_needed <= self.order.cache_bytes
        return Path(self.order.cache_dir if shared else self.order.checkpoints_dir) / "targets"

    def _facts(self, key: str, model: ModelInput, teacher: Teacher, sources: Sequence[Source]) -> dict[str, object]:
        """Everything that the outputs depend on. The manifest is included, as its names, transforms and architecture
        change what the same weights compute.
        """
        own = self._own.get(key)
        data = [self._data(source) if own is None else self._files(source, own) for source in sources]
        return {
            **(data[0] if len(data) == 1 else {"datasets": data}),
            "teacher": teacher.sha256,
            "manifest": model.manifest.model_dump(mode="json", exclude={"name", "metadata"}),
            "precision": self.store.precision,
            "top_k": None if self.store.top_k is None else TopKPacking(0, self.store.top_k, self.store.draws).facts,
            "environment": environment_fingerprint(self.device, self.order.teacher_threads),
            "block": BLOCK,
            **({"memory_format": "channels_last"} if teacher.network and teacher.network.channels_last else {}),
            **({"rows": "float64"} if teacher.row_dtype == torch.float64 else {}),
            **_tokens(model, teacher),
        }

    def _files(self, source: Source, own: FileReading) -> dict[str, object]:
        """The files and the teacher's form; nothing of what the dataset makes of them."""
        dataset, place = self.order.datasets[source.id], self.dataset.sources.index(source)
        manifest = dataset.manifest
        read = {
            "format": manifest.format,
            "csv": manifest.csv.model_dump(mode="json") if manifest.csv is not None else None,
            "column": manifest.inputs[own.names[place]].columns,
            "form": own.form.model_dump(mode="json"),
            **decoder_of(manifest),
        }
        return {"dataset": dataset.sha256, "rows": source.rows, "files": read}

    def _data(self, source: Source) -> dict[str, object]:
        """The file and columns of the raw rows: two datasets may read different columns of the same file."""
        dataset = self.order.datasets[source.id]
        specs = dataset.manifest.inputs
        shapes = list(self.dataset.layout.own_shapes.values())
        if len(specs) > 1:
            shapes = [self.dataset.layout.shapes[name] for name in specs]
        inputs = {
            name: [
                str(source.dtype),
                [source.rows, *shape],
                list(spec.columns or (name,)),
                *([spec.layout] if isinstance(spec, ArrayInput) and spec.layout else []),
            ]
            for (name, spec), shape in zip(specs.items(), shapes, strict=True)
        }
        order = order_of(list(self.dataset.layout.own_shapes))
        return {"dataset": dataset.sha256, "inputs": inputs, **order, **reading_facts(dataset.manifest)}


def _by_position(values: Stored, size: int) -> Tensor:
    """Stored outputs [N, positions · size] -> [N, positions, size]."""
    assert isinstance(values, Tensor), "all classes of tokens and pixels are kept"
    return values.reshape(len(values), -1, size)


def _positions(spec: OutputSpec, teacher: Teacher) -> int:
    """For how many positions of a row a teacher answers."""
    match spec:
        case TokenClassOutput():
            return teacher.tokens or 1
        case MapOutput():
            return prod(spec.shape)
        case ClassOutput() | MultilabelOutput() | ValueOutput() | VectorOutput():
            return 1
        case _:
            assert_never(spec)


def _tokens(model: ModelInput, teacher: Teacher) -> dict[str, object]:
    """How a teacher of texts reads them, and the rows where they are made for a student that reads fewer tokens."""
    encoding = tokens_of(model.facts) if model.facts is not None else None
    if encoding is None:
        return {}
    read = {} if teacher.encoding in (None, encoding) else {"read": teacher.encoding.model_dump(mode="json")}
    from workers.engine.data.texts.tokenizer import VERSION  # tokenizers is imported where there are texts

    return {"tokens": encoding.model_dump(mode="json"), "library": VERSION, **read}


def _selected(outputs: TeacherOutputs, ref: TeacherRef) -> TeacherOutputs:
    """The outputs for the classes that the reference selects."""
    selection = ClassSelection.of(ref, outputs.spec)
    if selection is None:
        return outputs
    augmented = outputs.augmented

    def select(values: Stored) -> Tensor:
        assert isinstance(values, Tensor), "the resolver refuses a selection from the largest scores"
        return selection.select(values)

    return replace(
        outputs,
        values=select(outputs.values),
        spec=selection.selected_spec,
        augmented=augmented and AugmentedOutputs(augmented.split, lambda epoch: select(augmented.of_epoch(epoch))),
        select=selection.select,
    )


def _combined_use(uses: Sequence[TargetUse]) -> TargetUse:
    """The use of several datasets' targets as one; each has an entry of its own, so there is no single key."""
    if len(uses) == 1:
        return uses[0]
    return TargetUse(
        teacher=uses[0].teacher,
        store="hit" if all(use.store == "hit" for use in uses) else "miss",
        passes=sum(use.passes for use in uses),
        saved=sum(use.saved for use in uses),
        rows=sum(use.rows for use in uses),
        bytes=sum(use.bytes for use in uses),
    )


def teacher_key(ref: TeacherRef) -> str:
    """The key of a teacher in an order: the id of its model or job, or the target that holds its outputs."""
    return ref.model or ref.job or ref.stored_as or ""


def _layer_shape(model: ModelInput, teacher: Teacher, layer: TappedLayer) -> tuple[int, ...]:
    """The shape of one row of what is compared of a layer; a layer of texts has as many places as the rows have.

    Raises UserError `unknown_layer`.
    """
    assert model.facts is not None
    shape, architecture = layers_of(model.facts).get(layer.name), model.facts.architecture
    if shape is None:
        raise UserError(
            "unknown_layer",
            f"teacher `{model.manifest.name}` has no layer `{layer.name}` of a known shape: see its `layers`",
        )
    if layer.pool is not None:
        return pooled_shape(shape)
    if architecture is None or teacher.tokens is None or not is_by_token(architecture, shape):
        return shape
    return (teacher.tokens, *shape[1:])


@dataclass
class _ForwardPasses:
    """The forward passes of a teacher over blocks of raw rows; `count` are those made so far."""

    teacher: Teacher
    as_stored: Callable[[dict[str, Tensor], Teacher], dict[str, Tensor]]
    layers: tuple[TappedLayer, ...]
    check: Callable[[], None]
    raw: Iterable[Tensor]
    count: int = 0
    of_spread: float | None = None
    """Where it is not None the first block of each size is compared with its rows in small batches, with this
    tolerance.
    """
    compared: set[int] = field(default_factory=set)

    def blocks(self) -> Iterator[dict[str, Tensor]]:
        for part in self.raw:
            self.check()
            outputs = self._checked_outputs(part)
            self.count += 1
            self._check_meaning(outputs)
            yield self.as_stored(outputs, self.teacher)

    def _check_meaning(self, outputs: dict[str, Tensor]) -> None:
        """Check the numbers of real rows; for the random rows of the inspection they may have looked right."""
        for name, facts in self.teacher.outputs.items():
            check_meaning(f"{self.teacher.name}: {name}", facts.spec, outputs[name].numpy())

    def _checked_outputs(self, rows: Tensor) -> dict[str, Tensor]:
        """The outputs of a block, on the host. Raises UserError `not_deterministic` or `depends_on_batch`, with the
        teacher's name, where those of the first block of a size differ from those of its rows in small batches.
        """
        of_spread = self.of_spread if len(rows) not in self.compared else None
        self.compared.add(len(rows))
        try:
            if of_spread is None:
                block = self.teacher.predict(rows, self.layers)
            else:
                few = check_consistency(self.teacher.predict, rows[:MAX_ROWS], of_spread, CHECK_SECONDS)
                block = self.teacher.predict(rows, self.layers)
                check_block(self.teacher.predict, rows, block, few, of_spread)
        except UserError as error:
            if error.code not in ("not_deterministic", "depends_on_batch"):
                raise
            raise UserError(error.code, f"teacher `{self.teacher.name}`: {error.message}") from None
        return {name: values.cpu() for name, values in block.items()}
