"""Rows in JSON: `{"inputs": {name: […]}}` or `{"rows": [{column: value}, …]}`, and JSON lines."""

import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from app.contracts.problems import Problem, listed
from app.contracts.resources.tables import CsvOptions
from app.contracts.wire.predictions import MOST_ROWS
from workers.engine.data.formats.common import Array
from workers.engine.data.formats.streams import compression_of_bytes
from workers.engine.serving.rows.columns import inputs_of, needed
from workers.engine.serving.rows.errors import MOST_PROBLEMS, Place, RowErrors, at, pointer, together, within
from workers.engine.serving.rows.forms import InputForm
from workers.engine.serving.rows.ids import check_ids, ids_of_lists, texts_of_lists, words_of_lists
from workers.engine.serving.rows.nested import numbers_of, texts_of
from workers.engine.serving.rows.numbers import as_categories, as_numbers, check_shape

_FORM = 'expected `{"inputs": {"<input>": [row, …]}}` or `{"rows": [{"<column>": value, …}, …]}`: send one of them'


def read_json(body: bytes, forms: Mapping[str, InputForm], known: Collection[str]) -> dict[str, Array]:
    """The inputs [n, *shape]. `known`: columns of the dataset's file that the model does not read."""
    _refuse_compressed(body)
    document = parsed(body, "")
    if not isinstance(document, dict) or len(document) != 1 or not {"inputs", "rows"} & set(document):
        raise at("", "invalid_value", _FORM)
    if "rows" in document:
        return _of_rows(document["rows"], forms, known)
    if not isinstance(document["inputs"], dict):
        raise at("/inputs", "wrong_type", _FORM)
    return _of_inputs(document["inputs"], forms)


def read_jsonl(body: bytes, forms: Mapping[str, InputForm]) -> dict[str, Array]:
    """The inputs [n, *shape] of JSON lines. Columns that the model does not read are left out, absent ones are null."""
    _refuse_compressed(body)
    lines = [line for line in body.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()]
    check_rows(len(lines), "")
    rows = [parsed(line, pointer(number)) for number, line in enumerate(lines)]
    objects = _objects(rows, ())
    for column in sorted(needed(forms).all):
        if not any(column in row for row in objects):
            raise at("", "missing_column", _lacks(column, objects[0]))
    return _inputs(objects, forms, (), CsvOptions())


def parsed(text: bytes, place: str) -> Any:
    """A JSON document, strictly: no NaN, no name twice."""
    try:
        return json.loads(text, parse_constant=_constant, object_pairs_hook=_object)
    except UnicodeDecodeError:
        raise at(place, "invalid_json", "expected JSON in UTF-8: save it as UTF-8") from None
    except _RefusedError as error:
        raise at(place, "invalid_json", f"expected strict JSON, found {error}: correct it") from None
    except json.JSONDecodeError as error:
        what = f"{error.msg.lower()} at line {error.lineno}, column {error.colno}"
        raise at(place, "invalid_json", f"expected JSON, found {what}: correct it") from None
    except (ValueError, RecursionError):
        raise at(place, "invalid_json", "expected JSON of few levels and numbers of few digits: correct it") from None


def _refuse_compressed(body: bytes) -> None:
    """Raises RowErrors `unreadable`."""
    kind = compression_of_bytes(body)
    if kind is not None:
        raise at("", "unreadable", f"expected the text of JSON, found it compressed by {kind}: send it uncompressed")


class _RefusedError(Exception):
    """Something that Python's parser would take."""


def _constant(text: str) -> float:
    raise _RefusedError(f"{text}, which is no JSON (null is a missing number)")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RefusedError("a name twice in an object")
    return found


def check_rows(count: int, place: str) -> None:
    """Raises RowErrors `no_rows`, `too_many_rows`."""
    if count == 0:
        raise at(place, "no_rows", f"expected 1 to {MOST_ROWS} rows, found none: send one")
    if count > MOST_ROWS:
        detail = f"expected at most {MOST_ROWS} rows, found {count}: send them in several requests"
        raise at(place, "too_many_rows", detail)


def _of_inputs(inputs: Mapping[str, Any], forms: Mapping[str, InputForm]) -> dict[str, Array]:
    wrong = [
        Problem(
            pointer=pointer("inputs", name),
            code="unknown_input",
            detail=f"the model reads {listed(forms)}: leave out the others",
        )
        for name in inputs
        if name not in forms
    ]
    wrong += [
        Problem(
            pointer="/inputs",
            code="missing_input",
            detail=f"expected `{name}`, {form.described}: send all inputs of the model",
        )
        for name, form in forms.items()
        if name not in inputs
    ]
    if wrong:
        raise RowErrors(wrong)
    for name, values in inputs.items():
        if not isinstance(values, list):
            raise at(
                pointer("inputs", name), "wrong_type", f"expected a list of rows, {forms[name].described}: send one"
            )
        check_rows(len(values), pointer("inputs", name))
    counts = {name: len(values) for name, values in inputs.items()}
    if len(set(counts.values())) > 1:
        raise at("/inputs", "ragged", f"expected equally many rows of all inputs, found {counts}: send whole rows")
    found = together(forms.values(), lambda form: _input(form, inputs[form.name]))
    return dict(zip(forms, found, strict=True))


def _input(form: InputForm, values: list[Any]) -> Array:
    place = within("inputs", form.name)
    if form.categories:
        texts, shape = texts_of(values, form, place)
        check_shape(form, shape[1:], place(()))
        row = max(1, len(texts) // len(values))
        found = as_categories(form, texts, lambda index: place(divmod(index[0], row) if shape[1:] else index))
        return found.reshape(shape)
    if form.tokens is not None:
        return texts_or_ids(form, values, place)
    numbers = numbers_of(values, form, place, nullable=form.fills)
    check_shape(form, numbers.shape[1:], place(()))
    return as_numbers(form, numbers, place)


def texts_or_ids(form: InputForm, values: list[Any], place: Place) -> Array:
    """Texts object [n, columns] of a list of texts, or of lists of two; ids [n, width] of lists of numbers."""
    assert form.tokens is not None
    if form.tokens.ids:
        return ids_of_lists(form, form.tokens, values, place)
    if form.tokens.words:
        return words_of_lists(form, values, place)
    if all(isinstance(value, list) and all(type(each) is int for each in value) for value in values):
        return check_ids(form, form.tokens, _whole(form, values, place), place)
    return texts_of_lists(form, values, place)


def _whole(form: InputForm, values: list[list[int]], place: Place) -> Array:
    lengths = {len(each) for each in values}
    if len(lengths) > 1 or any(abs(number) >= 1 << 62 for each in values for number in each):
        detail = f"expected {form.described}, or equally many ids in each row: send one of them"
        raise at(place(()), "wrong_type", detail)
    return np.array(values, np.int64)


def _of_rows(rows: Any, forms: Mapping[str, InputForm], known: Collection[str]) -> dict[str, Array]:
    if not isinstance(rows, list):
        raise at("/rows", "wrong_type", _FORM)
    check_rows(len(rows), "/rows")
    objects = _objects(rows, ("rows",))
    columns = needed(forms).all
    wrong = [problem for i, row in enumerate(objects) for problem in _misnamed(i, row, columns, known)]
    if wrong:
        raise RowErrors(wrong[:MOST_PROBLEMS])
    return _inputs(objects, forms, ("rows",), None)


def _misnamed(i: int, row: Mapping[str, Any], columns: Collection[str], known: Collection[str]) -> list[Problem]:
    unknown = [name for name in row if name not in columns and name not in known]
    absent = sorted(name for name in columns if name not in row)
    detail = f"the model reads {listed(sorted(columns))}: leave out the others"
    return [
        *(Problem(pointer=pointer("rows", i, name), code="unknown_column", detail=detail) for name in unknown),
        *(Problem(pointer=pointer("rows", i), code="missing_column", detail=_lacks(name, row)) for name in absent),
    ]


def _lacks(column: str, row: Mapping[str, Any]) -> str:
    return f"expected the column `{column}`, found {listed(row)}: add it, with null where its value is missing"


def _objects(rows: list[Any], tokens: tuple[str, ...]) -> list[dict[str, Any]]:
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise at(pointer(*tokens, i), "wrong_type", "expected an object of columns: send one for each row")
    return rows


def _inputs(
    rows: list[dict[str, Any]], forms: Mapping[str, InputForm], tokens: tuple[str, ...], written: CsvOptions | None
) -> dict[str, Array]:
    columns = {name: [row.get(name) for row in rows] for name in needed(forms).all}

    def place(column: str, index: tuple[int, ...]) -> str:
        return pointer(*tokens, index[0], column, *index[1:]) if index else pointer(*tokens, 0, column)

    return inputs_of(forms, columns, place, written)
