"""Reads data files as named arrays; sizes are bounded before anything is allocated. No pickles, no Arrow IPC."""

from collections.abc import Sequence, Set
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from app.contracts.problems import UserError
from app.contracts.resources.manifests import DatasetFormat
from app.contracts.resources.tables import CsvOptions
from app.contracts.wire.orders import DataFile
from workers.engine.data.formats.common import empty_file, no_lists
from workers.engine.data.formats.csv_file import read_csv
from workers.engine.data.formats.files.kinds import IMAGES, SOUNDS
from workers.engine.data.formats.files.read import read_files
from workers.engine.data.formats.files.shards import concatenated, errors_in
from workers.engine.data.formats.jsonl import read_jsonl
from workers.engine.data.formats.npz import read_npz
from workers.engine.data.formats.typed_text import typed
from workers.engine.data.formats.written import FileColumns

Files = Path | Sequence[DataFile]
"""A file, or several in the order of their rows."""


def read_columns(
    files: Files,
    kind: DatasetFormat,
    columns: set[str],
    text_columns: Set[str] = frozenset(),
    csv: CsvOptions | None = None,
    categories: Set[str] = frozenset(),
    encoded: Set[str] = frozenset(),
    texts: Set[str] = frozenset(),
    lists: Set[str] = frozenset(),
    masks: Set[str] = frozenset(),
) -> FileColumns:
    """The named arrays (npz keys or table columns) of a file, all with the same number of rows; of several files, those
    of one after those of the other.

    `text_columns` are read as text: a csv has no types, and `true`, `01` or `NA` may be a class name. `categories` are
    those of them whose values are also kept as they stand in the file. `encoded`: columns of encoded images or sounds,
    which only some formats have, as `lists`, columns of a list in each row, and `masks`, columns of a further image of
    some rows: encoded in parquet, in an archive the names of files in it. Raises UserError: `unreadable`,
    `code_carrying_format`, `missing_column`, `ragged`, `wrong_type`, `empty_dataset`, `files_differ`.
    """
    parts = [DataFile(name=files.name, path=str(files))] if isinstance(files, Path) else files
    read = {}
    for part in parts:
        with errors_in(part.name) if len(parts) > 1 else nullcontext():
            own = _read(Path(part.path), kind, columns, text_columns, csv, categories, encoded, texts, lists, masks)
            read[part.name] = _checked(own)
    found = concatenated(read) if len(read) > 1 else next(iter(read.values()))
    if kind == "csv":  # whose own reader knows its decimal point and its missing values
        return found
    arrays = {name: array if name in text_columns else typed(array) for name, array in found.arrays.items()}
    return replace(found, arrays=arrays)


def _checked(found: FileColumns) -> FileColumns:
    """The same columns, which must have equally many rows, and more than none."""
    arrays = found.arrays
    lengths = {name: len(array) for name, array in arrays.items()}
    lengths |= {name: len(each) for name, each in found.encoded.items()}
    lengths |= {name: len(each) for name, each in found.texts.items()}
    lengths |= {name: len(each) for name, each in found.lists.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(
            "ragged", f"all columns need the same number of rows, found {lengths}: fill in the shorter ones"
        )
    if not lengths or found.rows == 0:
        raise empty_file()
    for name, array in arrays.items():
        if array.size == 0:
            raise UserError("empty_dataset", f"the rows of `{name}` are empty: its shape is {list(array.shape)}")
    return found


def _read(
    path: Path,
    kind: DatasetFormat,
    columns: set[str],
    text_columns: Set[str],
    csv: CsvOptions | None,
    categories: Set[str],
    encoded: Set[str],
    texts: Set[str],
    lists: Set[str],
    masks: Set[str],
) -> FileColumns:
    """Arrow starts a thread at import, which the fork server must not have: it is imported for its own formats only."""
    if lists and kind in ("csv", "images"):
        raise no_lists(min(lists), f"no lists: a file of format {kind} has none")
    match kind:
        case "npz":
            return read_npz(path, columns, categories, texts, lists)
        case "jsonl":
            return read_jsonl(path, columns, text_columns, categories, texts, lists)
        case "csv":
            return read_csv(path, columns, text_columns, csv, categories, texts)
        case "parquet":
            from workers.engine.data.formats import arrow

            return arrow.read_parquet(path, columns, text_columns, categories, encoded, texts, lists, masks)
        case "images":
            return read_files(path, IMAGES, columns, text_columns, csv, categories, texts, masks)
        case "sounds":
            return read_files(path, SOUNDS, columns, text_columns, csv, categories, texts)
        case _:
            assert_never(kind)
