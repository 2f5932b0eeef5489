"""Teachers into all_outputs: what each says about every row, from the store, from one pass, or from the dataset.

A teacher runs once over all rows in canonical blocks of the dataset's order, so that its numbers do not depend on
who asks, when, or in which batches. Of several datasets each is gone through by itself, and kept by itself: whoever
else uses one of them finds it in the store.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from app.contracts.base import digest_of
from app.contracts.layouts.summary import layers_of
from app.contracts.problems import UserError
from app.contracts.reports.report import TargetUse
from app.contracts.resolving.multitask.sharing import own_layer
from app.contracts.resources.facts import OutputFacts
from app.contracts.resources.manifests import ClassOutput
from app.contracts.specs.jobs import TeacherRef
from app.contracts.specs.stores import StoreSpec
from app.contracts.wire.orders import ModelInput, Order
from workers.engine.common.environment import environment_fingerprint
from workers.engine.data.augment.plan import AugmentationPlan
from workers.engine.data.dataset import Dataset, Source
from workers.engine.data.top_k import TopK
from workers.engine.losses.softmax import class_scores
from workers.engine.losses.teacher_mix import AugmentedOutputs, TeacherOutputs
from workers.engine.models import Network
from workers.engine.teachers.target_store import Packing, SoftTargetStore, Stored, StoredTargets, one_after_another
from workers.engine.teachers.teacher import Teacher, layer_name, open_teacher

BLOCK = 256
"""Rows in one teacher pass: one-row and 64-row passes differ in bits, so the size is fixed."""

_ONE_EPOCH = 1.0 / 16
"""Of the store's bound, what one epoch of views may take to be shared; more than that stays with the job."""


class Teachers:
    """All teachers of a job; each model is opened and run at most once, however many tasks it teaches.

    A context manager: the entries of the store are held until it ends.
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
        """`check` is called before each block of a pass, and may raise; `plan`: how training rows are augmented."""
        self.order = order
        self.dataset = dataset
        self.device = device
        self.check = check
        self.store = store
        self.plan = plan
        self.opened: dict[str, Teacher] = {}
        """By the key of their reference."""
        self.uses: dict[str, TargetUse] = {}
        """How the outputs of each came to be."""
        self._stored: dict[str, StoredTargets] = {}
        self._seen: dict[str, tuple[int, StoredTargets, SoftTargetStore]] = {}
        self._layers: dict[str, list[str]] = {}
        self._stores: list[SoftTargetStore] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def expect(self, ref: TeacherRef, layer: str) -> None:
        """Announce which layers of a teacher will be read, before its first outputs: one pass gives them all."""
        wanted, layer = self._layers.setdefault(teacher_key(ref), []), self._meant(ref, layer)
        if layer not in wanted:
            wanted.append(layer)

    def outputs_of(self, ref: TeacherRef) -> TeacherOutputs:
        """What one teacher of a task says about every row."""
        if ref.columns is not None:
            return self._from_columns(ref.columns, ref.weight)
        key = teacher_key(ref)
        model = self.order.models[key]
        teacher = self._teacher(key, model)
        assert ref.output is not None
        values = self._targets(key, model, teacher).outputs[ref.output]
        spec = teacher.outputs[ref.output].spec
        if isinstance(values, TopK) and isinstance(spec, ClassOutput):
            spec = spec.model_copy(update={"output": "logits"})  # scores are kept, whatever the teacher puts out
        return TeacherOutputs(values, spec, ref.weight, key, ref.output, self._by_view(key, ref.output))

    def layer(self, ref: TeacherRef, name: str) -> tuple[tuple[int, ...], Tensor, AugmentedOutputs | None]:
        """(shape of one row, values [N, numbers], the same by view) of a teacher's layer; it was expected."""
        key, name = teacher_key(ref), self._meant(ref, name)
        model = self.order.models[key]
        values = self._targets(key, model, self._teacher(key, model)).outputs[layer_name(name)]
        assert isinstance(values, Tensor)
        return layer_shape(model, name), values, self._by_view(key, layer_name(name))

    def _meant(self, ref: TeacherRef, layer: str) -> str:
        """The layer by the teacher's own names: its heads may read features of their own."""
        facts = self.order.models[teacher_key(ref)].facts
        if facts is None or facts.architecture is None or ref.output is None:
            return layer
        return own_layer(facts.architecture, ref.output, layer)

    def network(self, ref: TeacherRef) -> Network:
        """A teacher's network, which it must have."""
        key = teacher_key(ref)
        found = self._teacher(key, self.order.models[key]).network
        assert found is not None
        return found

    def close(self) -> None:
        """Let go of the store's entries."""
        for store in (*self._stores, *(store for _, _, store in self._seen.values())):
            store.close()

    def _from_columns(self, name: str, weight: float) -> TeacherOutputs:
        column = self.dataset.targets[name]
        assert column.predicts is not None
        values = torch.where(column.labelled[:, None], column.values, torch.nan)
        self.uses[name] = TargetUse(
            teacher=name, store="columns", passes=0, rows=self.dataset.rows, bytes=values.nbytes
        )
        return TeacherOutputs(values, column.predicts, weight, name)

    def _teacher(self, key: str, model: ModelInput) -> Teacher:
        if key not in self.opened:
            self.opened[key] = open_teacher(model, self.device, self.order.threads)
        return self.opened[key]

    def _targets(self, key: str, model: ModelInput, teacher: Teacher) -> StoredTargets:
        """Outputs and expected layers: an entry of the store for the outputs, and one for each layer."""
        if key not in self._stored:
            by_source = [self._of_source(key, model, teacher, source) for source in self.dataset.sources]
            self._stored[key] = one_after_another([found for found, _ in by_source])
            self.uses[key] = _together([use for _, use in by_source])
        return self._stored[key]

    def _of_source(
        self, key: str, model: ModelInput, teacher: Teacher, source: Source
    ) -> tuple[StoredTargets, TargetUse]:
        """What a teacher says about the rows of one dataset, as they are in its file."""
        common = self._facts(model, teacher, [source])
        raw = next(iter(self.dataset.inputs.values()))[source.first : source.first + source.rows]
        passes = self._passes(key, teacher, (part.to(source.dtype) for part in torch.split(raw, BLOCK)))
        found, store = self._found(key, model, teacher, common, source.rows, passes)
        self._stores.append(store)
        return found, TargetUse(
            teacher=teacher.name,
            store="hit" if found.hit else "miss",
            passes=passes.count,
            saved=-(-source.rows // BLOCK) if found.hit else 0,
            rows=source.rows,
            bytes=found.bytes,
            key=digest_of(common),
        )

    def _found(
        self,
        key: str,
        model: ModelInput,
        teacher: Teacher,
        common: dict[str, object],
        rows: int,
        passes: "_Passes",
        share: float = 1.0,
    ) -> tuple[StoredTargets, SoftTargetStore]:
        """From the store, or by one pass, and the store that holds it; `share` of the store's bound is there for it."""
        entries = {digest_of(common): {name: self._packing(facts) for name, facts in teacher.outputs.items()}}
        for layer in self._layers.get(key, []):
            packing = Packing(prod(layer_shape(model, layer)), self.store.precision)
            entries[digest_of({**common, "layer": layer})] = {layer_name(layer): packing}
        needed = rows * sum(packing.bytes for packings in entries.values() for packing in packings.values())
        store = SoftTargetStore(self._folder(int(needed / share)), self.order.cache_bytes)
        return store.get(entries, rows, passes.blocks), store

    def _passes(self, key: str, teacher: Teacher, raw: Iterable[Tensor]) -> "_Passes":
        return _Passes(teacher, self._scores, tuple(self._layers.get(key, [])), self.check, raw)

    def _packing(self, facts: OutputFacts) -> Packing:
        top = self.store.top_k
        many = top is not None and isinstance(facts.spec, ClassOutput) and facts.size > top
        return Packing(facts.size, self.store.precision, top if many else None)

    def _scores(self, outputs: dict[str, Tensor], teacher: Teacher) -> dict[str, Tensor]:
        """A block as it is kept: scores where only the largest are."""
        found = {}
        for name, values in outputs.items():
            facts = teacher.outputs.get(name)
            top = facts is not None and self._packing(facts).top is not None
            spec = facts.spec if facts is not None else None
            found[name] = class_scores(values, spec) if top and isinstance(spec, ClassOutput) else values
        return found

    def _by_view(self, key: str, output: str) -> AugmentedOutputs | None:
        """What a teacher says about training rows as they are seen in an epoch; one pass an epoch, then the store."""
        plan = self.plan
        if plan is None:
            return None

        def of_epoch(epoch: int) -> Stored:
            return self._seen_in(key, plan, epoch).outputs[output]

        return AugmentedOutputs(plan.split, of_epoch)

    def _seen_in(self, key: str, plan: AugmentationPlan, epoch: int) -> StoredTargets:
        kept = self._seen.get(key)
        if kept is None or kept[0] != epoch:
            model = self.order.models[key]
            teacher = self._teacher(key, model)
            common = {**self._facts(model, teacher, self.dataset.sources), "views": plan.key(epoch)}
            blocks = (plan.raw(part, epoch).cpu() for part in torch.split(plan.split, BLOCK))
            passes = self._passes(key, teacher, blocks)
            found, store = self._found(key, model, teacher, common, len(plan.split), passes, share=_ONE_EPOCH)
            if kept is not None:
                kept[2].close()  # one epoch at a time is held; those before may be evicted
            kept = self._seen[key] = (epoch, found, store)
            use = self.uses[key]
            saved = use.saved + (-(-len(plan.split) // BLOCK) if found.hit else 0)
            self.uses[key] = use.model_copy(update={"passes": use.passes + passes.count, "saved": saved})
        return kept[1]

    def _folder(self, bytes_needed: int) -> Path:
        """The shared store; targets beyond its bound stay with the job."""
        shared = bytes_needed <= self.order.cache_bytes
        return Path(self.order.cache_dir if shared else self.order.checkpoints_dir) / "targets"

    def _facts(self, model: ModelInput, teacher: Teacher, sources: Sequence[Source]) -> dict[str, object]:
        """Everything that the numbers depend on. The whole manifest is in it: rename, transform and architecture
        change what the same bytes compute.
        """
        data = [self._data(source) for source in sources]
        return {
            **(data[0] if len(data) == 1 else {"datasets": data}),
            "teacher": teacher.sha256,
            "manifest": model.manifest.model_dump(mode="json", exclude={"name", "metadata"}),
            "precision": self.store.precision,
            "top_k": self.store.top_k,
            "environment": environment_fingerprint(self.device, self.order.threads),
            "block": BLOCK,
        }

    def _data(self, source: Source) -> dict[str, object]:
        """What of which file the raw rows are: two datasets may read other columns of the same bytes."""
        told = self.order.datasets[source.id]
        shape = [source.rows, *next(iter(self.dataset.inputs.values())).shape[1:]]
        inputs = {
            name: [str(source.dtype), shape, list(spec.columns or (name,))]
            for name, spec in told.manifest.inputs.items()
        }
        return {"dataset": told.sha256, "inputs": inputs}


def _together(uses: Sequence[TargetUse]) -> TargetUse:
    """How a teacher's outputs for several datasets came; each has an entry of its own, so there is no one key."""
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
    """How an order names a teacher: its model's or job's id, or the columns' name."""
    return ref.model or ref.job or ref.columns or ""


def layer_shape(model: ModelInput, name: str) -> tuple[int, ...]:
    """The shape of one row of a model's layer. Raises UserError `unknown_layer`."""
    assert model.facts is not None
    known = layers_of(model.facts)
    shape = known.get(name)
    if shape is None:
        raise UserError("unknown_layer", f"teacher `{model.manifest.name}` has no layer `{name}` of a known shape")
    return shape


@dataclass
class _Passes:
    """Counts the forward passes that were really made."""

    teacher: Teacher
    scores: Callable[[dict[str, Tensor], Teacher], dict[str, Tensor]]
    layers: tuple[str, ...]
    check: Callable[[], None]
    raw: Iterable[Tensor]
    count: int = 0

    def blocks(self) -> Iterator[dict[str, Tensor]]:
        for part in self.raw:
            self.check()
            self.count += 1
            found = {name: values.cpu() for name, values in self.teacher.predict(part, self.layers).items()}
            yield self.scores(found, self.teacher)
