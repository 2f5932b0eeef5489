"""Rows and constants in the number types of graphs."""

import numpy as np
import pytest
import torch

from app.contracts.problems import UserError
from workers.engine.models.onnx_types import TYPES, as_type, check_constant, row_dtype

EXACT = 2**53 - 1


@pytest.mark.parametrize("dtype", sorted({np.dtype(each) for each in TYPES.values()}, key=str), ids=str)
def test_rows_are_float64_where_float32_lacks_numbers_of_the_type(dtype: "np.dtype[np.generic]") -> None:
    wide = dtype.name in ("float64", "int32", "int64", "uint32", "uint64")
    assert row_dtype([dtype]) == row_dtype([np.dtype(np.float32), dtype])
    assert row_dtype([dtype]) == (torch.float64 if wide else torch.float32)


@pytest.mark.parametrize(
    ("dtype", "numbers"),
    [
        ("int64", [EXACT, -EXACT, 2**24 + 1]),
        ("uint64", [EXACT, 0]),
        ("int32", [2**31 - 1, -(2**31)]),
        ("uint32", [2**32 - 1]),
        ("uint8", [255]),
        ("bool", [0, 1]),
    ],
)
def test_every_whole_number_that_type_and_float64_have_is_fed_as_it_is(dtype: str, numbers: list[int]) -> None:
    found = as_type("x", np.dtype(dtype), np.array([numbers], np.float64))
    assert found.dtype == dtype
    assert found.astype(object).tolist() == [numbers]


@pytest.mark.parametrize(
    ("dtype", "number", "shown"),
    [
        ("int64", 2.0**53, "from -9007199254740991 to 9007199254740991, the largest that float64 has exactly; found"),
        ("uint64", -1.0, "from 0 to 9007199254740991"),
        ("int32", 2.0**31, "from -2147483648 to 2147483647; found 2147483648.0"),
        ("uint8", 256.0, "from 0 to 255; found 256.0"),
        ("bool", 2.0, "from 0 to 1"),
        ("int64", 0.5, "found 0.5"),
        ("int64", np.nan, "found nan"),
    ],
)
def test_other_numbers_are_refused_with_the_limits_of_the_type(dtype: str, number: float, shown: str) -> None:
    with pytest.raises(UserError) as caught:
        as_type("x", np.dtype(dtype), np.array([[1.0, number]]))
    assert caught.value.code == "not_whole_numbers"
    assert shown in caught.value.message


@pytest.mark.parametrize(
    ("dtype", "number"),
    [
        ("uint8", 300),
        ("uint8", -1),
        ("int64", 0.5),
        ("int64", 1e18),
        ("int32", 3e9),
        ("bool", 2),
        ("float16", 1e5),
        ("float32", 1e39),
    ],
)
def test_a_constant_that_the_type_does_not_have_is_refused_with_its_range(dtype: str, number: float) -> None:
    with pytest.raises(UserError) as caught:
        check_constant("k", np.dtype(dtype), number)
    assert caught.value.code == "bad_constant"
    assert f"{dtype}: " in caught.value.message
    assert f"the constant {number:.16g}" in caught.value.message


@pytest.mark.parametrize(
    ("dtype", "number"),
    [("uint8", 255), ("int64", -16000), ("bool", 1), ("float16", 0.1), ("float64", 1e300), ("uint32", 2**32 - 1)],
)
def test_a_constant_of_the_type_passes(dtype: str, number: float) -> None:
    check_constant("k", np.dtype(dtype), number)
