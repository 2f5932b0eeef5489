"""Number types of the inputs of ONNX graphs, and rows in them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.contracts.problems import UserError

TYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint64)": np.uint64,
    "tensor(uint32)": np.uint32,
    "tensor(uint16)": np.uint16,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}
LARGEST_EXACT = (1 << 53) - 1
"""Up to here a whole number in float64, in which rows are computed, is certainly the one that was given."""
WHOLE = 1e-3
"""Distance from a whole number that counts as rounding, of rows that were transformed and back."""
Dtype = np.dtype[Any]


def whole_range(dtype: Dtype) -> tuple[int, int]:
    """The smallest and the largest whole number that an input of an integer type or bool is fed with."""
    if dtype.kind == "b":
        return 0, 1
    limits = np.iinfo(dtype)
    return max(int(limits.min), -LARGEST_EXACT), min(int(limits.max), LARGEST_EXACT)


def row_dtype(dtypes: Iterable[Dtype]) -> torch.dtype:
    """The type in which rows are computed before they are cast to the types of a graph's inputs: float64 where one has
    numbers that float32 lacks.
    """
    return torch.float32 if all(np.can_cast(each, np.float32) for each in dtypes) else torch.float64


def described(dtype: Dtype) -> str:
    """The type and the numbers that it takes, for messages."""
    if dtype.kind == "f":
        largest = float(np.finfo(dtype).max)
        return f"{dtype}: numbers from {-largest:.6g} to {largest:.6g}"
    low, high = whole_range(dtype)
    limit = ", the largest that float64 has exactly" if high == LARGEST_EXACT else ""
    return f"{dtype}: whole numbers from {low} to {high}{limit}"


def check_whole(name: str, dtype: Dtype, rows: NDArray[Any]) -> None:
    """Raises UserError `not_whole_numbers` where rows for an input of an integer type have fractions."""
    if rows.dtype.kind == "f":
        _refuse(name, dtype, rows, np.abs(np.rint(rows) - rows) > WHOLE)


def as_type(name: str, dtype: Dtype, rows: NDArray[Any]) -> NDArray[Any]:
    """Rows in the type of the input `name`; floating-point numbers above its range become infinite.

    Raises UserError `not_whole_numbers` where an integer type does not have them.
    """
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(rows.astype(dtype, copy=False))
    low, high = whole_range(dtype)
    _refuse(name, dtype, rows, ~((rows >= low) & (rows <= high)))
    check_whole(name, dtype, rows)
    whole = np.rint(rows) if rows.dtype.kind == "f" else rows
    return np.ascontiguousarray(whole.astype(dtype))


def _refuse(name: str, dtype: Dtype, rows: NDArray[Any], wrong: NDArray[np.bool_]) -> None:
    if wrong.any():
        raise UserError(
            "not_whole_numbers",
            f"input `{name}` of the graph takes {described(dtype)}; found {rows[wrong].flat[0]!s}: give raw rows of "
            "these numbers, and no transform in the model's `inputs`",
        )


def check_constant(name: str, dtype: Dtype, number: float) -> None:
    """Raises UserError `bad_constant` where the type does not have the number that fills an input."""
    if dtype.kind == "f":
        fits = abs(number) <= float(np.finfo(dtype).max)
    else:
        low, high = whole_range(dtype)
        fits = low <= number <= high and number == int(number)
    if not fits:
        raise UserError(
            "bad_constant",
            f"input `{name}` of the graph takes {described(dtype)}; found the constant {number:.16g}: give one of "
            "these numbers",
        )
