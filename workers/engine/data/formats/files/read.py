"""An archive of files as columns: the files, what their folders say, and the columns of a metadata table."""

import tempfile
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from app.contracts.problems import UserError, listed
from app.contracts.resources.tables import CsvOptions
from workers.engine.data.formats.common import (
    NULL_STRINGS,
    Array,
    EncodedFiles,
    MissingColumns,
    as_strings,
    missing_columns,
)
from workers.engine.data.formats.csv_file import read_csv
from workers.engine.data.formats.files.archive import FileArchive
from workers.engine.data.formats.files.folders import FILE_NAME, columns_of_paths
from workers.engine.data.formats.files.kinds import FileKind
from workers.engine.data.formats.jsonl import read_jsonl
from workers.engine.data.formats.written import FileColumns, written_array


def read_files(
    path: Path,
    kind: FileKind,
    columns: set[str],
    text_columns: Set[str],
    csv: CsvOptions | None,
    categories: Set[str],
    texts: Set[str],
    masks: Set[str] = frozenset(),
) -> FileColumns:
    """The named columns of an archive. `masks`: columns of its table with the names of files that belong to a row
    beside its own, empty where there is none; these files are no rows. Raises UserError as `read_columns` does, and
    `metadata_mismatch`.
    """
    archive = FileArchive(path, kind)
    table, beside = _Table(archive, csv).read(columns - {kind.column}, text_columns | masks, categories, texts, masks)
    names = [name for name in archive.files if not any(name in each for each in beside.values())]
    folders = {name: as_strings(values) for name, values in columns_of_paths(names).items()}
    found = table.arrays | {name: folders[name] for name in columns & folders.keys() - table.arrays.keys()}
    missing = columns - {kind.column} - found.keys() - table.texts.keys()
    if missing:
        raise missing_columns(columns, sorted({kind.column, *folders, *table.arrays}))
    written = {
        name: table.written.get(name) or written_array(found[name], "text") for name in categories & found.keys()
    }
    files = EncodedFiles(len(names), lambda row: archive.read(names[row]), names.__getitem__)
    encoded = {kind.column: files}
    for name in masks:
        encoded[name] = _beside(archive, found.pop(name).tolist())
    return FileColumns(found, written, encoded, table.texts)


def _beside(archive: FileArchive, names: Sequence[str]) -> EncodedFiles:
    """The files of these names, empty where there is none."""
    return EncodedFiles(len(names), lambda row: archive.read(names[row]) if names[row] else b"", names.__getitem__)


class _Table:
    """The metadata table of an archive."""

    def __init__(self, archive: FileArchive, csv: CsvOptions | None) -> None:
        self._archive, self._csv = archive, csv

    def read(
        self, columns: set[str], text_columns: Set[str], categories: Set[str], texts: Set[str], masks: Set[str]
    ) -> tuple[FileColumns, dict[str, set[str]]]:
        """(those of the columns that the table has, in the order of the files; the files that each of `masks` names).
        None without a table.
        """
        name = self._archive.metadata
        if name is None:
            return FileColumns({}), {}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / PurePosixPath(name).name
            path.write_bytes(self._archive.read(name))
            try:
                table = self._columns(path, {*columns, FILE_NAME}, text_columns, categories, texts)
            except MissingColumns as error:
                if FILE_NAME not in error.available:
                    raise
                known = {FILE_NAME, *columns & set(error.available)}
                table = self._columns(path, known, text_columns, categories, texts & known)
        arrays = table.arrays | {each: self._paths(name, table.arrays[each]) for each in masks & table.arrays.keys()}
        beside = {each: set(arrays[each].tolist()) - {""} for each in masks & arrays.keys()}
        places = self._places(name, table, set().union(*beside.values()))
        columns_of_rows = FileColumns(
            {name: array[places] for name, array in arrays.items()},
            {name: replace(each, codes=each.codes[places]) for name, each in table.written.items()},
            texts={name: each.taken(places) for name, each in table.texts.items()},
        )
        return columns_of_rows, beside

    def _paths(self, name: str, values: Array) -> Array:
        """The paths in the archive of files that the table names, empty where it names none."""
        folder = PurePosixPath(name).parent
        paths = ["" if each in NULL_STRINGS else str(folder / each) for each in values.tolist()]
        absent = sorted({*paths} - {""} - {*self._archive.files})
        if absent:
            raise UserError(
                "metadata_mismatch",
                f"`{name}` names files that are not in the archive: {listed(absent, most=3)}: name them by their path "
                "from the table's folder, or leave the cell empty",
            )
        return as_strings(paths)

    def _columns(
        self, path: Path, columns: set[str], text: Set[str], categories: Set[str], texts: Set[str]
    ) -> FileColumns:
        text = {*text, FILE_NAME}
        if path.suffix == ".csv":
            return read_csv(path, columns, text, self._csv, categories, texts)
        return read_jsonl(path, columns, text, categories, texts)

    def _places(self, name: str, table: FileColumns, beside: Set[str]) -> NDArray[np.int64]:
        """The row of each file in the table, but for those `beside` the rows."""
        files = [file for file in self._archive.files if file not in beside]
        folder = PurePosixPath(name).parent
        places = {str(folder / each): i for i, each in enumerate(table.arrays[FILE_NAME].tolist())}
        unlisted = [file for file in files if file not in places]
        absent = sorted(places.keys() - set(files))
        if unlisted or absent or len(places) != len(table.arrays[FILE_NAME]):
            noun = self._archive.kind.noun
            way_out = self._archive.kind.unlisted if unlisted else f"list each {noun} once"
            findings = [f"{noun}s that it does not list: {listed(unlisted, most=3)}"] if unlisted else []
            findings += [f"names without {_a(noun)}: {listed(absent, most=3)}"] if absent else []
            raise UserError(
                "metadata_mismatch",
                f"`{name}` needs each {noun} once in `{FILE_NAME}`, by its path from the table's folder, found "
                f"{' and '.join(findings) or 'names that are listed twice'}: {way_out}",
            )
        return np.array([places[file] for file in files])


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
