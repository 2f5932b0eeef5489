"""Files of data as named arrays, bounded before anything is allocated. No pickles, no Arrow IPC."""

from collections.abc import Set
from pathlib import Path
from typing import assert_never

from app.contracts.problems import UserError
from app.contracts.resources.manifests import DatasetFormat
from workers.engine.data.formats.common import Array, no_row
from workers.engine.data.formats.jsonl import read_jsonl
from workers.engine.data.formats.npz import read_npz


def read_arrays(path: Path, kind: DatasetFormat, wanted: set[str], words: Set[str] = frozenset()) -> dict[str, Array]:
    """The arrays (npz keys or table columns) of these names that the file has, with as many rows each.

    `words` are those that hold words: a csv does not say so, and `true`, `01` or `NA` may be a word there. Raises
    UserError: `unreadable`, `code_carrying_format`, `missing_column`, `ragged`, `wrong_type`, `empty_dataset`.
    """
    arrays = _read(path, kind, wanted, words)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise UserError("ragged", f"every column needs as many rows, found {lengths}")
    if not lengths or next(iter(lengths.values())) == 0:
        raise no_row()
    for name, array in arrays.items():
        if array.size == 0:
            raise UserError("empty_dataset", f"`{name}` has no number in its rows: its shape is {list(array.shape)}")
    return arrays


def _read(path: Path, kind: DatasetFormat, wanted: set[str], words: Set[str]) -> dict[str, Array]:
    """Arrow starts a thread at import, so it is imported for its own formats only: the fork server must not."""
    if kind == "npz":
        return read_npz(path, wanted)
    if kind == "jsonl":
        return read_jsonl(path, wanted)
    from workers.engine.data.formats import arrow

    if kind == "parquet":
        return arrow.read_parquet(path, wanted)
    if kind == "csv":
        return arrow.read_csv(path, wanted, words)
    assert_never(kind)
