"""Which row of a dataset each row of a file of predictions is for. Never by position: by ids, or by numbers of rows."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.contracts.problems import UserError, listed
from app.contracts.resources.manifests import DatasetFormat
from app.contracts.resources.predictions import PredictionsManifest
from app.contracts.wire.orders import DatasetInput
from workers.engine.data.formats.common import MAX_CHARACTERS, Array, MissingColumns
from workers.engine.data.labels.mask_targets import rows_columns
from workers.engine.data.tables.text import canonical, is_missing, label_text, nulls_of

_EXACT = 1 << 53
"""From here on whole numbers that were read as float64 may be another id's."""
_WHOLE = re.compile(r"\d{1,15}", re.ASCII)
_SHOWN = 40


def matched_rows(manifest: PredictionsManifest, values: Array, dataset: DatasetInput, rows: int) -> NDArray[np.int64]:
    """For each row of the file, whose ids are `values`, the number of its row among the dataset's `rows`: int64 [n].

    Raises UserError `bad_id`, `duplicate_id`, `unknown_id`, `no_matching_id`, `missing_column`.
    """
    ids = _ids("the file", manifest.id, values, manifest.file_format)
    missing = [row for row, text in enumerate(ids) if text is None]
    if missing:
        raise UserError(
            "bad_id",
            f"expected an id in every row, but `{manifest.id}` has none at row {missing[0]} ({len(missing)} such rows "
            "in all): fill it in, or leave these rows out",
            missing[0],
        )
    _check_once("the file", manifest.id, ids)
    if manifest.row_numbers:
        return _numbers(manifest.id, ids, rows)
    column = manifest.of_column or manifest.id
    known = _ids_of_dataset(column, dataset)
    _check_once("the dataset", column, known)
    places = {text: row for row, text in enumerate(known) if text is not None}
    found = [places.get(text or "", -1) for text in ids]
    unknown = [row for row, place in enumerate(found) if place < 0]
    if len(unknown) == len(found):
        raise UserError(
            "no_matching_id",
            f"no id of the file is one of the dataset: expected such as {_such_as(places)} (its column `{column}`), "
            f"found such as {_such_as(ids)} (`{manifest.id}`). Name the dataset's column of the same ids in "
            '`of_column`; where the file has numbers of rows, say `"row_numbers": true`',
        )
    if unknown:
        raise UserError(
            "unknown_id",
            f"{len(unknown)} of {len(found)} ids of the file are not in the dataset's column `{column}`, such as "
            f"{_such_as(ids[row] for row in unknown)}: leave these rows out, or upload them as predictions for the "
            "dataset that has them",
        )
    return np.array(found, dtype=np.int64)


def _ids(where: str, column: str, values: Array, kind: DatasetFormat) -> list[str | None]:
    """The id of each row as text, in one spelling for all formats; None where it is missing."""
    if values.size != len(values):
        raise UserError(
            "bad_id", f"expected one id a row, found rows of shape {list(values.shape[1:])} in `{column}`: name another"
        )
    values = values.reshape(len(values))
    if values.dtype.kind == "f" and bool((np.abs(np.nan_to_num(values)) >= _EXACT).any()):
        raise UserError(
            "bad_id",
            f"`{column}` of {where} has numbers of {_EXACT} or more, which are read as floating-point numbers and may "
            "be rounded: write ids as text",
        )
    if values.dtype.kind == "U" and bool((np.char.str_len(values) >= MAX_CHARACTERS).any()):
        raise UserError(
            "bad_id",
            f"`{column}` of {where} has an id of {MAX_CHARACTERS} characters or more, {MAX_CHARACTERS - 1} at most: "
            "use shorter ids, such as their SHA-256",
        )
    nulls = nulls_of(kind)
    texts = (label_text(value) for value in values.tolist())
    return [None if is_missing(text, nulls) else canonical(text) for text in texts]


def _ids_of_dataset(column: str, dataset: DatasetInput) -> list[str | None]:
    manifest = dataset.manifest
    try:
        file = rows_columns(dataset.parts, manifest, {column}, {column})
    except MissingColumns as error:
        raise UserError(
            "missing_column",
            f"expected the ids in the column `{column}` of the dataset's file, found {listed(error.available)}: name "
            'it in `of_column`; without ids, upload numbers of its rows from 0 with `"row_numbers": true`',
        ) from None
    return _ids("the dataset", column, file.arrays[column], manifest.format)


def _check_once(where: str, column: str, ids: Sequence[str | None]) -> None:
    first: dict[str, int] = {}
    for row, text in enumerate(ids):
        if text is not None and first.setdefault(text, row) != row:
            raise UserError(
                "duplicate_id",
                f"expected every id once in `{column}` of {where}, found `{text[:_SHOWN]}` at rows {first[text]} and "
                f"{row}: keep one row of each, or name a column whose ids differ",
            )


def _numbers(column: str, ids: Sequence[str | None], rows: int) -> NDArray[np.int64]:
    wrong = next((text for text in ids if not _WHOLE.fullmatch(text or "") or int(text or "") >= rows), None)
    if wrong is not None:
        raise UserError(
            "unknown_id",
            f"expected numbers of rows of the dataset in `{column}`, 0 to {rows - 1}, found `{wrong[:_SHOWN]}`: count "
            "rows from 0, or match ids by `of_column` without `row_numbers`",
        )
    return np.array([int(text or "") for text in ids], dtype=np.int64)


def _such_as(ids: Iterable[str | None]) -> str:
    shown = [text[:_SHOWN] for text, _ in zip((each for each in ids if each is not None), range(3), strict=False)]
    return listed(shown) or "none"
