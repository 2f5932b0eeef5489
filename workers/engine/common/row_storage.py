"""Where the rows of a dataset that are expensive to make are kept as files, so that they need not fit in memory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
from torch import Tensor

from app.contracts.base import digest_of
from app.contracts.specs.jobs import InspectJob
from app.contracts.wire.orders import DatasetInput, Order, SharedCache
from workers.engine.common.row_store import Array, Entry, RowFile, RowStore, as_tensor


@dataclass(frozen=True)
class RowStorage:
    """Folders for rows of one dataset's file, whose digest is `sha256`: `shared` with other jobs, up to `limit_bytes`,
    and the job's `own` for what is larger. `encoded`: whether rows may stay encoded: an inspection decodes each once,
    and rows of several datasets or inputs are copied into memory.
    """

    sha256: str
    shared: Path
    own: Path
    limit_bytes: int
    encoded: bool = False

    @classmethod
    def of(cls, order: Order, dataset: DatasetInput) -> "RowStorage":
        """As soft targets are kept. An inspection may write below its own folder only, which ends with it."""
        if isinstance(order.spec, InspectJob):
            return cls(dataset.sha256, Path(order.attempt_dir), Path(order.attempt_dir), 0)
        alone = len(order.datasets) == 1 and len(dataset.manifest.inputs) == 1
        return cls(dataset.sha256, Path(order.cache_dir), Path(order.checkpoints_dir), order.cache_bytes, alone)

    def rows(
        self,
        kind: SharedCache,
        facts: Mapping[str, Any],
        count: int,
        file: RowFile,
        make: Callable[[], Iterator[Array]],
    ) -> Tensor:
        """`mapped` rows as a tensor."""
        return as_tensor(self.mapped(kind, facts, count, file, make))

    def key(self, kind: SharedCache, facts: Mapping[str, Any], count: int, row: tuple[int, ...]) -> str:
        """A digest of everything that `count` rows of the shape `row` depend on."""
        return digest_of({"dataset": self.sha256, "rows": [count, *row], "of": {kind: facts}})

    def mapped(
        self,
        kind: SharedCache,
        facts: Mapping[str, Any],
        count: int,
        file: RowFile,
        make: Callable[[], Iterator[Array]],
    ) -> "np.memmap[Any, Any]":
        """`count` mapped rows, which must not be written to: made by `make` block by block unless they are there.

        `facts`: everything that they depend on besides the file. The entry is locked until the array is freed.
        """
        key = self.key(kind, facts, count, file.shape)
        folder = self.shared if count * file.bytes <= self.limit_bytes else self.own
        store = RowStore(folder / kind, self.limit_bytes)
        try:
            stored = store.get({key: Entry({kind: file})}, count, lambda _: ({key: {kind: block}} for block in make()))
        except BaseException:
            store.close()
            raise
        mapped = stored.arrays[key][kind]
        assert isinstance(mapped, np.memmap)
        finalize(mapped, store.close)
        return mapped
