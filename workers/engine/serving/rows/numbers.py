"""Numbers and categories of a request, checked one by one, in the types that a model takes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts.problems import Problem
from app.contracts.resources.raw_rows import Spellings
from app.contracts.resources.tables import CsvOptions
from workers.engine.data.formats.common import Array
from workers.engine.data.formats.typed_text import boolean_of, number_of, time_of
from workers.engine.data.tables.category import MOST_CHARACTERS
from workers.engine.data.tables.keys import WHOLE
from workers.engine.data.tables.text import canonical, is_missing, label_text, moment_seconds
from workers.engine.serving.rows.errors import MOST_PROBLEMS, Place, RowErrors, at
from workers.engine.serving.rows.forms import InputForm

_LARGEST = float(np.finfo(np.float32).max)
_BOOLEANS = {"true": 1, "1": 1, "false": 0, "0": 0}


def check_shape(form: InputForm, row: Sequence[int], place: str) -> None:
    """Raises RowErrors `shape_mismatch` unless rows of this shape are those of the form."""
    same = len(row) == len(form.shape) and all(
        side in (None, found) for side, found in zip(form.shape, row, strict=True)
    )
    if not same:
        found = ", ".join(["rows", *map(str, row)])
        detail = f"expected {form.described}, found [{found}]: send rows of that shape"
        raise at(place, "shape_mismatch", detail)


def as_numbers(form: InputForm, values: Array, place: Place) -> Array:
    """Numbers [n, *shape] of any type -> the same in the form's type. NaN is a gap.

    Raises RowErrors `not_finite` for gaps that nothing fills, infinity, and numbers beyond float32, `not_whole_numbers`
    for what an integer type has not.
    """
    dtype = np.dtype(form.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype.kind == "f":
            wrong = np.abs(values.astype(np.float64)) > min(_LARGEST, float(np.finfo(dtype).max))
            gaps = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
            _refuse(wrong | (gaps & (not form.fills)), place, "not_finite", _gap(form))
        else:
            _refuse(~_has(dtype, values), place, "not_whole_numbers", _whole(form, dtype))
        return np.ascontiguousarray(values.astype(dtype))


def _has(dtype: np.dtype[Any], values: Array) -> NDArray[np.bool_]:
    """Where an integer type, or bool, has a number."""
    low, high = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    if values.dtype.kind != "f":
        return (values >= low) & (values <= high)
    # As a float the largest number of 64 bits is the one above it.
    whole: NDArray[np.bool_] = np.rint(values) == values
    return whole & (values >= low) & (values < np.float64(high + 1))


def _gap(form: InputForm) -> str:
    if form.fills:
        return f"expected a number that float32 holds, or null for a missing one, for `{form.name}`: correct it"
    return (
        f"expected a number that float32 holds for `{form.name}`, which was trained without missing ones: fill it as "
        "the training data was filled"
    )


def _whole(form: InputForm, dtype: np.dtype[Any]) -> str:
    what = "0 or 1"
    if dtype.kind != "b":
        what = f"whole numbers of {dtype}, {np.iinfo(dtype).min} to {np.iinfo(dtype).max},"
    return f"expected {what} for `{form.name}`, as the dataset's file has them: send raw numbers"


def _refuse(wrong: NDArray[np.bool_], place: Place, code: str, detail: str) -> None:
    if wrong.any():
        places = np.argwhere(wrong)[:MOST_PROBLEMS].tolist()
        raise RowErrors([Problem(pointer=place(tuple(each)), code=code, detail=detail) for each in places])


def as_categories(form: InputForm, texts: Sequence[str], place: Place) -> Array:
    """Categories as text, "" where missing, row by row -> [n * columns] in the form's type, spelled as the readers of
    files make them: a graph knows the usual spellings alone, and cannot leave out spaces.

    Raises RowErrors `wrong_type` where whole numbers or booleans are expected.
    """
    if form.dtype == "string":
        spellings = form.spellings or ({},)
        names = [_as_name(text, spellings[i % len(spellings)]) for i, text in enumerate(texts)]
        return np.array([*names, ""], dtype=object)[:-1]
    numbers = [_whole_number(form, text) for text in texts]
    wrong = np.array([number is None for number in numbers], dtype=bool)
    what = "true or false" if form.dtype == "bool" else "a whole number"
    _refuse(wrong, place, "wrong_type", f"expected {what} for `{form.name}`, as the dataset's file has: correct it")
    return np.array(numbers).astype(form.dtype)


def _as_name(text: str, spellings: Spellings) -> str:
    """A text as the readers make a category of it: control characters, which end a text in a graph, and lone surrogates
    are escaped. What stands in the file means what it meant there.
    """
    text = next((each for each in (text, text.strip()) if each in spellings), canonical(text))
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text[:MOST_CHARACTERS]


def _whole_number(form: InputForm, text: str) -> int | None:
    plain = canonical(text)
    if form.dtype == "bool":
        return _BOOLEANS.get(plain)
    if plain in _BOOLEANS:
        return _BOOLEANS[plain]
    if not WHOLE.fullmatch(plain):
        return None
    number = int(plain)
    return number if -(2**63) <= number < 2**63 else None


def category_text(value: object) -> str | None:
    """A value of JSON as the readers of files give it; None where it is no category."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int):
        return label_text(value)
    return label_text(value) if isinstance(value, float) else None


def number(value: object, written: CsvOptions | None) -> float | None:
    """A value of a column of numbers: null is NaN, booleans are 0 and 1, dates and timestamps seconds since 1970, times
    of day seconds, as text too, which the readers of datasets take for them. `written`: how numbers and booleans are
    written as text, where they may be. None where it is no number.
    """
    if value is None:
        return float("nan")
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    return _of_text(value.strip(), written) if isinstance(value, str) else None


def _of_text(text: str, written: CsvOptions | None) -> float | None:
    if is_missing(text) or (written is not None and text in written.null_values):
        return float("nan") if written is not None or not text else None
    if written is not None:
        for read in (number_of, boolean_of):
            if (found := read(_with_point(text, written.decimal))) is not None:
                return found
    seconds = time_of(text)  # JSON has neither times nor dates: as text they are numbers there too
    return moment_seconds(text) if seconds is None else seconds


def _with_point(text: str, decimal: str) -> str:
    """A number with a point for its decimal comma; a point beside such commas separates thousands, and stays wrong."""
    return text if decimal == "." else text.translate({ord(","): ".", ord("."): ","})
