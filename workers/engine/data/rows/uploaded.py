"""Inputs as they stand in the file: what a person sends to an exported student."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from app.contracts.resources.raw_rows import RawInput, Spellings
from app.contracts.resources.splits import SplitName
from workers.engine.data.formats.common import Array
from workers.engine.data.formats.written import Written

MOST_KEPT = 2048
"""How many rows of the file are kept, with which an exported file is checked."""
PREVIEW_BYTES = 32 << 20
"""What the rows of a preview take in memory, at most, but for one."""
REFERENCE_ROWS = 16
"""How many rows of the file are kept in any case: the rows that go with a student, and its answers for them."""


@dataclass(frozen=True)
class Meanings:
    """Texts of a file whose category no rule tells. `unclear`: why they tell none."""

    spelled: Spellings
    unclear: str | None = None


@dataclass(frozen=True)
class CategoriesOfFile:
    """Columns of categories: the values of each [N] with what the file has for them, and what its texts mean."""

    columns: tuple[tuple[Array, Written], ...]
    meanings: tuple[Meanings, ...]


@dataclass(frozen=True)
class UploadedRows:
    """One input as a person sends it. `sample`: rows of the file, [m, *form.shape] in `form.dtype`; `texts`: categories
    as text, in the same shape; of texts, for a preview, those of the file [m, columns].
    """

    form: RawInput
    sample: Array
    texts: Array | None = None

    def read_from(self, columns: tuple[str, ...]) -> "UploadedRows":
        """The same, and which columns or keys of the file the rows are read from."""
        return replace(self, form=self.form.model_copy(update={"columns": columns}))


@dataclass(frozen=True)
class Uploaded:
    """The inputs of a dataset as they stand in its file. `rows`: the rows of the dataset that the samples are, int64
    [m]. `unchecked`: ids of joined datasets of which there are none, since their files have rows of another form.
    """

    rows: Tensor
    inputs: Mapping[str, UploadedRows]
    unchecked: tuple[str, ...] = ()


def kept_rows(splits: Mapping[SplitName, Tensor], most: int) -> Tensor:
    """The rows that are kept as uploaded, int64: the first of the test split; of the training split without one."""
    test = splits.get("test")
    return (test if test is not None and len(test) else splits["train"])[:most]


def preview_rows(splits: Mapping[SplitName, Tensor], most: int, row_bytes: int = 0) -> Tensor:
    """Rows for a preview, int64: spread evenly over the training split, as files are often sorted by class. Fewer where
    rows of this size would take much memory.
    """
    train = splits["train"]
    count = min(most, len(train), max(1, PREVIEW_BYTES // max(1, row_bytes)))
    return train[torch.linspace(0, len(train) - 1, count, dtype=torch.float64).round().long()]
