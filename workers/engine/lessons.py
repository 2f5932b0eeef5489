"""Teachers into lessons: what each says about every row, from the store, from one pass, or from the dataset.

A teacher runs once over all rows in canonical blocks of the dataset's order, so that its numbers do not depend on
who asks, when, or in which batches.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from app.contracts.base import digest_of
from app.contracts.jobs import TeacherRef
from app.contracts.orders import DatasetInput, ModelInput, Order
from app.contracts.report import TargetUse
from workers.engine.data.dataset import Dataset
from workers.engine.evaluation.environment import versions
from workers.engine.networks.teacher import Teacher, open_teacher
from workers.engine.objectives.terms import Lesson
from workers.engine.targets import SoftTargetStore, StoredTargets

BLOCK = 256
"""Rows in one teacher pass: one-row and 64-row passes differ in bits, so the size is fixed."""


@dataclass
class Faculty:
    """All teachers of a job; each model is opened and run at most once, however many tasks it teaches."""

    order: Order
    dataset: Dataset
    dataset_input: DatasetInput
    device: torch.device
    check: Callable[[], None] = lambda: None
    teachers: dict[str, Teacher] = field(default_factory=dict)
    uses: dict[str, TargetUse] = field(default_factory=dict)
    _stored: dict[str, StoredTargets] = field(default_factory=dict)
    _stores: list[SoftTargetStore] = field(default_factory=list)

    def lesson(self, ref: TeacherRef) -> Lesson:
        """What one teacher of a task says about every row."""
        if ref.columns is not None:
            return self._from_columns(ref.columns, ref.weight)
        key = teacher_key(ref)
        model = self.order.models[key]
        teacher = self._teacher(key, model)
        assert ref.output is not None
        values = self._targets(key, model, teacher).outputs[ref.output]
        return Lesson(values, teacher.outputs[ref.output].spec, ref.weight, key)

    def close(self) -> None:
        """Let go of the store's entries."""
        for store in self._stores:
            store.close()

    def _from_columns(self, name: str, weight: float) -> Lesson:
        column = self.dataset.targets[name]
        assert column.predicts is not None
        values = torch.where(column.labelled[:, None], column.values, torch.nan)
        self.uses[name] = TargetUse(
            teacher=name, store="columns", passes=0, rows=self.dataset.rows, bytes=values.nbytes
        )
        return Lesson(values, column.predicts, weight, name)

    def _teacher(self, key: str, model: ModelInput) -> Teacher:
        if key not in self.teachers:
            self.teachers[key] = open_teacher(model, self.device, self.order.threads)
        return self.teachers[key]

    def _targets(self, key: str, model: ModelInput, teacher: Teacher) -> StoredTargets:
        if key not in self._stored:
            sizes = {name: facts.size for name, facts in teacher.outputs.items()}
            bytes_needed = self.dataset.rows * sum(sizes.values()) * 4
            store = SoftTargetStore(self._folder(bytes_needed), self.order.cache_bytes)
            self._stores.append(store)
            passes = _Passes(self.dataset, teacher, self.check)
            found = store.get(self._key(model, teacher), self.dataset.rows, sizes, passes.blocks)
            self._stored[key] = found
            self.uses[key] = TargetUse(
                teacher=teacher.name,
                store="hit" if found.hit else "miss",
                passes=passes.count,
                rows=self.dataset.rows,
                bytes=found.bytes,
                key=found.key,
            )
        return self._stored[key]

    def _folder(self, bytes_needed: int) -> Path:
        """The shared store; targets beyond its bound stay with the job."""
        shared = bytes_needed <= self.order.cache_bytes
        return Path(self.order.cache_dir if shared else self.order.checkpoints_dir) / "targets"

    def _key(self, model: ModelInput, teacher: Teacher) -> str:
        """Everything that the numbers depend on. The whole manifest is in it: rename, transform and architecture
        change what the same bytes compute.
        """
        return digest_of(
            {
                "teacher": teacher.sha256,
                "manifest": model.manifest.model_dump(mode="json", exclude={"name", "metadata"}),
                "dataset": self.dataset_input.sha256,
                "inputs": self._raw_inputs(),
                "precision": "float32",
                "device": self.device.type,
                "threads": self.order.threads,
                "block": BLOCK,
                "versions": versions(),
            }
        )

    def _raw_inputs(self) -> Mapping[str, list[object]]:
        """What of the file the raw rows are: two datasets may read other columns of the same bytes."""
        told = self.dataset_input.manifest.inputs
        return {
            name: [str(raw.dtype), list(raw.shape), list(told[name].columns or (name,))]
            for name, raw in self.dataset.inputs.items()
        }


def teacher_key(ref: TeacherRef) -> str:
    """How an order names a teacher: its model's or job's id, or the columns' name."""
    return ref.model or ref.job or ref.columns or ""


@dataclass
class _Passes:
    """Counts the forward passes that were really made."""

    dataset: Dataset
    teacher: Teacher
    check: Callable[[], None]
    count: int = 0

    def blocks(self) -> Iterator[dict[str, Tensor]]:
        raw = next(iter(self.dataset.inputs.values()))
        for part in torch.split(raw, BLOCK):
            self.check()
            self.count += 1
            yield {name: values.cpu() for name, values in self.teacher.predict(part).items()}
