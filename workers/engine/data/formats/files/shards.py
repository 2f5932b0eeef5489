"""A dataset of several files: their columns one after another, and which file a row is in.

The rows are those of the files in their order, as if one file had them all. Every file needs the same columns, of the
same kind and shape of a row; integers and floating-point numbers are of one kind.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import numpy as np

from app.contracts.problems import UserError, listed
from workers.engine.data.formats.common import Array, EncodedFiles
from workers.engine.data.formats.text_column import ListColumn, TextColumn
from workers.engine.data.formats.written import FileColumns, FileType, Written


@dataclass(frozen=True)
class Places:
    """Which file each row is in. `ends`: for each file the number of rows up to its last."""

    names: tuple[str, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> "Places":
        """Files by name, with their numbers of rows, in order."""
        return cls(tuple(counts), tuple(accumulate(counts.values())))

    def find(self, row: int) -> tuple[int, int]:
        """(the number of the file, that of the row in it)."""
        file = bisect_right(self.ends, row)
        return file, row - self.first(file)

    def first(self, file: int) -> int:
        """The first row of a file."""
        return self.ends[file - 1] if file else 0

    def parts(self, rows: range) -> Iterator[tuple[int, range]]:
        """(the number of a file, the rows of it) for the files that a range of rows touches, in order."""
        for file, end in enumerate(self.ends):
            start = self.first(file)
            begin, stop = max(rows.start, start), min(rows.stop, end)
            if begin < stop:
                yield file, range(begin - start, stop - start)


@contextmanager
def errors_in(name: str) -> Iterator[None]:
    """Errors of reading one of several files, with its name in front. The code stays."""
    try:
        yield
    except UserError as error:
        error.rename(f"in the file `{name}`: {error.message}")
        raise


@contextmanager
def rows_named(counts: Mapping[str, int]) -> Iterator[None]:
    """Errors that name a row, with its file and its number there, where there are several files."""
    try:
        yield
    except UserError as error:
        if error.row is not None and len(counts) > 1:
            places = Places.of(counts)
            file, row = places.find(error.row)
            error.rename(f"{error.message} (row {error.row} of all is row {row} of the file `{places.names[file]}`)")
        raise


def concatenated(parts: dict[str, FileColumns]) -> FileColumns:
    """The columns of files, by their names, one after another. `parts` is emptied as its arrays are copied: of one
    column the rows of one file at most are in memory twice.

    Raises UserError `files_differ`.
    """
    names, files = tuple(parts), list(parts.values())
    parts.clear()
    _check_names(names, files)
    counts = {name: file.rows for name, file in zip(names, files, strict=True)}
    places = Places.of(counts)
    first = files[0]
    for name in first.arrays:
        _check_forms(name, names, [_form(file.arrays[name]) for file in files])
    return FileColumns(
        {name: _joined([file.arrays.pop(name) for file in files]) for name in list(first.arrays)},
        {name: _written([file.written.pop(name) for file in files]) for name in list(first.written)},
        {name: _encoded([file.encoded[name] for file in files], places) for name in first.encoded},
        {name: _texts([file.texts[name] for file in files], places) for name in first.texts},
        {name: _lists([file.lists[name] for file in files], places) for name in first.lists},
        first.header,
        counts,
    )


def _check_names(names: Sequence[str], files: Sequence[FileColumns]) -> None:
    """Compare the headers of files that have one."""
    expected = files[0].header
    for name, file in zip(names[1:], files[1:], strict=True):
        surplus, missing = sorted(file.header - expected), sorted(expected - file.header)
        if not surplus and not missing:
            continue
        found = [f"lacks {listed(missing)}"] if missing else []
        found += [f"has also {listed(surplus)}"] if surplus else []
        raise UserError(
            "files_differ",
            f"expected the columns of `{names[0]}` in every file, but `{name}` {' and '.join(found)}: write the same "
            "columns in each, or leave the file out",
        )


def _check_forms(name: str, names: Sequence[str], forms: Sequence[str]) -> None:
    expected = forms[0]
    for file, found in zip(names, forms, strict=True):
        if found != expected:
            raise UserError(
                "files_differ",
                f"expected {expected} in `{name}` of every file, as in `{names[0]}`, found {found} in `{file}`: "
                "write the column in the same way in each",
            )


def _joined(parts: list[Array]) -> Array:
    """The rows of all parts as `np.concatenate` has them. `parts` is emptied: each is freed once it is copied."""
    kind = np.result_type(*(part.dtype for part in parts))
    rows = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), kind)
    first = 0
    while parts:
        part = parts.pop(0)
        rows[first : first + len(part)] = part
        first += len(part)
        del part
    return rows


def _form(array: Array) -> str:
    kind = "text" if array.dtype.kind == "U" else "numbers"
    return f"{kind} of shape {list(array.shape[1:])} a row" if array.ndim > 1 else kind


def _written(parts: list[Written]) -> Written:
    """A value that several files have stands among the texts once for each of them. `parts` is emptied."""
    counts = [int(part.codes.max(initial=-1)) + 1 for part in parts]
    texts_of = [part.texts for part in parts]
    kinds: set[FileType] = {part.kind for part in parts}
    codes = np.empty((sum(len(part.codes) for part in parts), *parts[0].codes.shape[1:]), np.int32)
    first = 0
    for start in accumulate([0, *counts[:-1]]):
        part = parts.pop(0)
        np.add(part.codes, np.int32(start), out=codes[first : first + len(part.codes)])
        first += len(part.codes)
        del part
    return Written(
        cache(lambda: [texts for each, n in zip(texts_of, counts, strict=True) for texts in each()[:n]]),
        codes,
        kinds.pop() if len(kinds) == 1 else "text",
    )


def _texts(parts: Sequence[TextColumn], places: Places) -> TextColumn:
    return TextColumn(
        places.ends[-1], lambda rows: [each for file, part in places.parts(rows) for each in parts[file].read(part)]
    )


def _lists(parts: Sequence[ListColumn], places: Places) -> ListColumn:
    return ListColumn(
        places.ends[-1], lambda rows: [each for file, part in places.parts(rows) for each in parts[file].read(part)]
    )


def _encoded(files: Sequence[EncodedFiles], places: Places) -> EncodedFiles:
    def read(row: int) -> bytes:
        file, own = places.find(row)
        with errors_in(places.names[file]):
            return files[file].read(own)

    def name(row: int) -> str:
        file, own = places.find(row)
        return f"{files[file].name(own)} of {places.names[file]}"

    def load(rows: range) -> None:
        wanted = dict(places.parts(rows))
        for file, each in enumerate(files):
            with errors_in(places.names[file]):
                each.load(wanted.get(file, range(0)))  # an empty range frees what is loaded

    return EncodedFiles(places.ends[-1], read, name, load)
