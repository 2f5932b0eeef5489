"""A dataset as it was read: inputs and targets as tensors, splits as row numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.resources.manifests import InputTransform, OutputSpec
from app.contracts.resources.splits import SplitName
from app.contracts.resources.statistics import ColumnCounts
from app.contracts.resources.tables import InputEncoding
from app.contracts.specs.distillation import TaskKind
from workers.engine.data.formats.common import Array
from workers.engine.data.formats.files.encoded import EncodedRows, RawRows
from workers.engine.data.rows.joined import InputLayout, joined
from workers.engine.data.rows.standardization import Standardization
from workers.engine.data.rows.uploaded import CategoriesOfFile, Uploaded

SplitRows = Mapping[SplitName, NDArray[np.int64]]
"""The row numbers of each split, sorted."""


PADDING = -2
"""The mark of a place without a token among labels of tokens; maps have no such place."""


@dataclass(frozen=True)
class TargetColumn:
    """One target for all rows, with missing labels.

    `values`: class: int64 [N], -1 is missing; token_class: int32 [N, tokens], -1 is missing, and `PADDING` is no token;
    map: int16 [N, height · width], -1 is missing; value: float32 [N], NaN is missing; multilabel, vector and teacher:
    float32 [N, size], NaN is missing. Values and vectors are float64 where float32 would round away their differences
    (`precision`). `labelled`: bool [N], whether the row has any label of this target.
    `minus_ones`: how many missing labels of classes are written as -1 in the file. `by_name`: whether labels of classes
    are written as names, not as numbers from 0.
    """

    kind: TaskKind | Literal["teacher"]
    size: int
    values: Tensor
    labelled: Tensor
    classes: tuple[str, ...] | None = None
    predicts: OutputSpec | None = None
    minus_ones: int = 0
    by_name: bool = False
    shape: tuple[int, int] | None = None
    """[height, width] of a map."""


@dataclass(frozen=True)
class ColumnUse:
    """How the values of one column of an input were read: what was replaced, by split.

    `unseen`: a few values that are none of the categories; `unused`: categories that no row has.
    """

    counts: Mapping[SplitName, ColumnCounts]
    unseen: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class InputRows:
    """One input as it was read: rows [N, …], how they were encoded (if they were), the columns in the order of a row's
    numbers (where each is one number or category), and what was replaced, by column. `file`: what they were read from,
    of numbers [N, …] as they were before they were arranged.

    Of texts `tokens` says what the ids are, `others` are the ids by other tokenizers, by `encoded_name`, and `trained`
    is the file of the tokenizer, where it was trained now.
    """

    rows: RawRows
    encoding: InputEncoding | None = None
    columns: tuple[str, ...] | None = None
    uses: Mapping[str, ColumnUse] = field(default_factory=dict)
    file: "Array | CategoriesOfFile | None" = None
    tokens: TokenEncoding | None = None
    others: "Mapping[str, InputRows]" = field(default_factory=dict)
    trained: bytes | None = None

    @property
    def is_of_map(self) -> bool:
        """Whether the rows are those of an array that is mapped from the dataset's file."""
        if not isinstance(self.file, np.memmap) or not isinstance(self.rows, Tensor):
            return False
        return self.rows.data_ptr() == self.file.ctypes.data


@dataclass(frozen=True)
class Source:
    """A dataset of the job, by id; its rows are `first` to `first + rows − 1` of the joined dataset.

    `weight` is its relative share of the batches; `dtype` that of its raw input in the file.
    """

    id: str
    first: int
    rows: int
    weight: float
    dtype: torch.dtype

    def select(self, rows: Tensor) -> Tensor:
        """Those of `rows` (numbers in the joined dataset, int64) that belong to this source, in order."""
        return rows[(rows >= self.first) & (rows < self.first + self.rows)]


@dataclass(frozen=True)
class Dataset:
    """Raw inputs as in the file ([N, *shape]: uint8, float32, or float64 far from zero; int32 ids of tokens), targets,
    splits, transforms. Texts that models read by other tokenizers than the student's stand among the inputs again, by
    `encoded_name`.

    `splits` maps names to sorted int64 row numbers. `transforms` holds the dataset's scale and, with standardisation,
    the training split's mean and standard deviation. `sources` are the job's datasets in order; empty where one file
    was read outside a job. `uses` says what was replaced in the columns of each input; empty for joined datasets.
    """

    rows: int
    inputs: Mapping[str, Tensor]
    targets: Mapping[str, TargetColumn]
    splits: Mapping[SplitName, Tensor]
    transforms: Mapping[str, InputTransform]
    sources: tuple[Source, ...] = ()
    uses: Mapping[str, Mapping[str, ColumnUse]] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """Weights of rows by name, float64 [N], 0 or more; of joined datasets those that all of them have."""
    standardization: Mapping[str, tuple[Standardization, str | None]] = field(default_factory=dict)
    """How each input is standardised, and why where the manifest does not say it; empty for joined datasets."""
    uploaded: Uploaded | None = None
    """The inputs as they stand in the file, with sample rows; None for rows of no file."""
    tokenizers: Mapping[str, bytes] = field(default_factory=dict)
    """Of inputs of texts, the files of those that were trained when they were read."""
    mapped: frozenset[str] = frozenset()
    """The inputs whose rows are mapped from a file: they need not fit in memory, and must not be written to."""
    encoded: Mapping[str, EncodedRows] = field(default_factory=dict)
    """The only input, where its rows stay encoded; `inputs` is empty then."""
    formed: Mapping[str, tuple[RawRows, ...]] = field(default_factory=dict)
    """Rows [n, …] of each source that teachers make of files by a form of their own, by `encoded_name`. They stand
    beside the inputs, so that these stay mapped or encoded.
    """
    files: Mapping[str, int] = field(default_factory=dict)
    """Rows of each file by name, in their order, where there are several; empty for joined datasets."""

    @cached_property
    def raw(self) -> RawRows:
        """All inputs as one tensor: a single one as it is, several as a copy [N, numbers], as `layout` describes."""
        return joined(list(self.inputs.values())) if not self.encoded else next(iter(self.encoded.values()))

    @property
    def is_mapped(self) -> bool:
        """Whether `raw` is mapped from a file, or encoded in one."""
        return bool(self.encoded) or (self.mapped == self.inputs.keys() and len(self.inputs) == 1)

    @property
    def rows_of(self) -> Mapping[str, RawRows]:
        """The rows [N, *shape] of every input, as tensors or encoded."""
        return {**self.inputs, **self.encoded}

    @cached_property
    def layout(self) -> InputLayout:
        """The inputs that `raw` has."""
        return InputLayout(InputLayout.of(self.rows_of).shapes, self.tokens)

    @property
    def tokens(self) -> Mapping[str, TokenEncoding]:
        """What the ids are, of the inputs that are texts."""
        return {name: each.tokens for name, each in self.transforms.items() if each.tokens is not None}

    @property
    def numbers(self) -> Mapping[str, Tensor]:
        """The inputs without texts, whose ids are no quantities."""
        return {name: rows for name, rows in self.inputs.items() if name not in self.tokens}
