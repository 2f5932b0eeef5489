"""CSV by Arrow, and what a csv that does not fit its manifest seems to be."""

import csv
import io
import json
import re
from collections.abc import Set
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.contracts.resources.tables import CsvOptions
from workers.engine.data.formats.common import (
    MAX_LINE_BYTES,
    NULL_STRINGS,
    Array,
    missing_columns,
    require_columns,
    unreadable,
)
from workers.engine.data.formats.streams import CHUNK, ChunkReader, check_lines, chunks, compression_of
from workers.engine.data.formats.text_column import TextColumn
from workers.engine.data.formats.written import FileColumns, Written, sendable

if TYPE_CHECKING:
    import pyarrow as pa

_TRUE, _FALSE = ("1", "True", "TRUE", "true"), ("0", "False", "FALSE", "false")
_NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?")
_NUMBER_OF_FRAMES = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_LONGEST_NUMBER = 40
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+")
_DELIMITERS = (";", "\t", ",", "|")
_SAMPLE_ROWS = 20


def read_csv(
    path: Path,
    columns: set[str],
    text_columns: Set[str],
    options: CsvOptions | None,
    categories: Set[str] = frozenset(),
    texts: Set[str] = frozenset(),
) -> FileColumns:
    """The named columns of a csv file, `text_columns` as text. Raises UserError as `read_columns` does."""
    import pyarrow as pa  # Arrow starts a thread at import, which the fork server must not have
    import pyarrow.csv

    from workers.engine.data.formats.arrow import columns_of, text_column
    from workers.engine.data.formats.arrow_errors import ENCODING, arrow_errors
    from workers.engine.data.formats.arrow_written import distinct_values

    options = options or CsvOptions()
    check_lines(path, options.encoding)
    sample = _sample(path, options)
    if sample:
        _check_columns(columns, sample, options)
    header = _header(sample, options, columns)
    plain = options.encoding == "utf-8" and compression_of(path) is None
    source = path if plain else io.BufferedReader(ChunkReader(chunks(path, options.encoding)), CHUNK)
    with arrow_errors("csv"):
        table = pa.csv.read_csv(
            source,
            read_options=pa.csv.ReadOptions(block_size=MAX_LINE_BYTES, autogenerate_column_names=not options.header),
            parse_options=pa.csv.ParseOptions(delimiter=options.delimiter),
            convert_options=pa.csv.ConvertOptions(
                null_values=_spaced((*NULL_STRINGS, *options.null_values)),
                true_values=_spaced(_TRUE),
                false_values=_spaced(_FALSE),
                column_types=dict.fromkeys(_written(header, text_columns | texts, options), pa.string()),
                decimal_point=options.decimal,
            ),
        )
        table = table.rename_columns(_names(table.column_names, header, options))
        required = require_columns(columns, table.column_names)
        for name in required:
            if pa.types.is_binary(table.column(name).type):
                raise unreadable(f"column `{name}` is of type binary: its text is not UTF-8{ENCODING}")
        found = columns_of(table, [name for name in required if name not in texts], text_columns)
        long = {name: text_column(name, table.column(name)) for name in required if name in texts}
        fields = {name: distinct_values(table.column(name)) for name in required if name in categories}
    arrays = {name: _as_meant(array, options) if name in text_columns else array for name, array in found.items()}
    written = {name: _written_fields(*each, options) for name, each in fields.items()}
    meant = {name: _texts_as_meant(each, options) for name, each in long.items()}
    return FileColumns(arrays, written, texts=meant, header=frozenset(table.column_names))


def _texts_as_meant(texts: TextColumn, options: CsvOptions) -> TextColumn:
    """The file's own missing values are missing; the usual ones, such as `NA`, may be words of a text."""
    if not options.null_values:
        return texts
    missing = frozenset(options.null_values)
    return TextColumn(len(texts), lambda rows: [None if text in missing else text for text in texts.read(rows)])


def _written_fields(distinct: "pa.Array", codes: NDArray[np.int32], options: CsvOptions) -> Written:
    return Written(cache(lambda: _texts_of_fields(distinct.to_pylist(), options)), codes, "text")


def _texts_of_fields(fields: list[str], options: CsvOptions) -> list[tuple[str, ...]]:
    """Of distinct fields as the module csv reads them, without spaces, as they are meant, and as data frames have them,
    which read a column as numbers where all of its fields are such.
    """
    meant = [_text(field, options).strip() for field in fields]
    known = [text for text in meant if text not in NULL_STRINGS]
    numbers = all(len(text) <= _LONGEST_NUMBER and _NUMBER_OF_FRAMES.fullmatch(text) for text in known)
    more = [_of_a_frame(text) if numbers and text not in NULL_STRINGS else () for text in meant]
    each = zip(fields, meant, more, strict=True)
    return [sendable(f, f.lstrip(), f.rstrip(), f.strip(), text, *others) for f, text, others in each]


def _of_a_frame(text: str) -> tuple[str, ...]:
    """A number as a data frame writes it, as a whole one and as a float."""
    number = float(text)
    return (str(int(text)), str(number)) if text.lstrip("+-").isdigit() else (str(number),)


def _spaced(values: tuple[str, ...]) -> list[str]:
    """The values also behind a space, which may follow a delimiter."""
    return [*values, *(f" {value}" for value in values)]


def _as_meant(array: Array, options: CsvOptions) -> Array:
    """Text without quotes behind a space, with the file's own missing values empty, and with `1,0` as 1.0 where the
    comma is the decimal point.
    """
    if array.dtype.kind != "U":
        return array
    if not options.null_values and options.decimal == "." and not np.char.startswith(array, ' "').any():
        return array
    unique, inverse = np.unique(array, return_inverse=True)
    meant = [_text(text, options) for text in unique.tolist()]
    return array if meant == unique.tolist() else np.array(meant, dtype=np.str_)[inverse]


def _text(text: str, options: CsvOptions) -> str:
    plain = text.strip()
    if plain in options.null_values:
        return ""
    if text[:1] == " " and len(plain) > 1 and plain[0] == plain[-1] == '"':
        return plain[1:-1].replace('""', '"')
    return text.replace(",", ".") if options.decimal == "," and _DECIMAL_COMMA.fullmatch(plain) else text


def _sample(path: Path, options: CsvOptions) -> list[str]:
    """The first lines; none where they are longer than the first piece of the file, or hold quoted line ends."""
    pieces = chunks(path, options.encoding)
    text = next(pieces, b"").removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    lines = re.split(r"\r\n|\n|\r", text)
    whole = lines if next(pieces, None) is None else lines[:-1]
    sample = [line for line in whole[: _SAMPLE_ROWS + 1] if line.strip()]
    return [] if any(line.count('"') % 2 for line in sample) else sample


def _header(sample: list[str], options: CsvOptions, required: Set[str]) -> dict[str, str]:
    """A column's name in the file -> ours, without the spaces around it unless that is another column's name."""
    if not options.header or not sample:
        return {}
    try:
        written = next(csv.reader(sample[:1], delimiter=options.delimiter), [])
    except csv.Error:
        return {}
    plain = _fields(sample[0], options.delimiter)
    if len(plain) != len(written):
        return {}
    return {
        name: name if name in required or ours in written else ours for name, ours in zip(written, plain, strict=True)
    }


def _written(header: dict[str, str], text_columns: Set[str], options: CsvOptions) -> Set[str]:
    """The names of the text columns as Arrow knows them."""
    if options.columns is not None:
        return {f"f{i}" for i, name in enumerate(options.columns) if name in text_columns}
    if not options.header:
        return {f"f{name}" for name in text_columns}
    return {written for written, name in header.items() if name in text_columns} | set(text_columns)


def _names(found: list[str], header: dict[str, str], options: CsvOptions) -> list[str]:
    """Our names of Arrow's columns."""
    if options.header:
        return [header.get(name, name) for name in found]
    if options.columns is None:
        return [str(i) for i in range(len(found))]
    if len(options.columns) != len(found):
        raise unreadable(
            f"the file has {len(found)} columns, `csv.columns` names {len(options.columns)}: name all, in order"
        )
    return list(options.columns)


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])]
    except csv.Error:
        return []


def _check_columns(required: set[str], sample: list[str], options: CsvOptions) -> None:
    """Raise UserError `missing_column` with the likely reason where the first line lacks a required column."""
    fields = _fields(sample[0], options.delimiter)
    names = fields if options.header else list(options.columns or map(str, range(len(fields))))
    if not fields or required <= {*names, *_header(sample, options, required)}:
        return
    change = _likely(required, sample, options)
    if not change:
        raise missing_columns(required, names)
    shown = json.dumps({"csv": change}, ensure_ascii=False)[1:-1]
    detail = f"the file seems to be {_seems(change, options)}: add {shown} to the manifest"
    if change.get("header") is False:
        detail += ", and call the columns `0`, `1`, `2` and so on, or name them all in order by `csv.columns`"
    raise missing_columns(required, names, f"{detail[0].upper()}{detail[1:]}")


def _seems(change: dict[str, Any], options: CsvOptions) -> str:
    parts = []
    if "delimiter" in change:
        parts.append(f"separated by {_shown(change['delimiter'])}, not by {_shown(options.delimiter)}")
    if "decimal" in change:
        parts.append("written with decimal commas")
    if "header" in change:
        parts.append("without a header: its first row is numbers" if not change["header"] else "one with a header")
    return ", and ".join(parts)


def _shown(delimiter: str) -> str:
    return "a tab" if delimiter == "\t" else f"`{delimiter}`"


def _likely(required: set[str], sample: list[str], options: CsvOptions) -> dict[str, Any]:
    """The options that would fit the file better than those of the manifest; empty where none would."""
    change: dict[str, Any] = {}
    delimiter = max((options.delimiter, *_DELIMITERS), key=lambda each: _regular(sample, each))
    if delimiter != options.delimiter and _regular(sample, delimiter) > _regular(sample, options.delimiter):
        change["delimiter"] = delimiter
    else:
        delimiter = options.delimiter
    rows = [_fields(line, delimiter) for line in sample]
    texts = [field for row in rows[1:] for field in row]
    if delimiter != "," and options.decimal == "." and any(map(_DECIMAL_COMMA.fullmatch, texts)):
        change["decimal"] = ","
    numbers = all(_NUMBER.fullmatch(field) for field in rows[0])
    if options.header and numbers and rows[0] != [str(i) for i in range(len(rows[0]))]:
        change["header"] = False
    elif not options.header and required <= set(rows[0]):
        change["header"] = True
    return change if {"header", "delimiter"} & set(change) else {}


def _regular(sample: list[str], delimiter: str) -> int:
    """The number of columns where all sampled lines have equally many, above 1; else 0."""
    counts = {len(_fields(line, delimiter)) for line in sample}
    return counts.pop() if len(counts) == 1 and counts != {1} else 0
