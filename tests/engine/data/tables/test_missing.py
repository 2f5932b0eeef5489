"""Missing numbers of an input: filled from the training rows alone, refused with their place otherwise."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.contracts.resources.manifests import InputTransform
from tests.engine.data.tables.files import FORMATS, written
from tests.engine.jobs.inspection.uploads import read, refused
from workers.engine.data.dataset import Dataset
from workers.engine.data.rows.joined import InputLayout, joined, joined_transform, transformed
from workers.engine.data.transform import apply, invert

TABLE: dict[str, list[Any]] = {
    "a": [1.0, None, 3.0, 100.0, None],
    "b": [0.0, 1.0, 5.0, None, 2.0],
    "s": ["train", "train", "train", "test", "test"],
}
FILLS = {"mean": [2.0, 2.0], "median": [2.0, 1.0], "zero": [0.0, 0.0], "indicator": [2.0, 2.0]}


def filled(folder: Path, kind: str, missing: str | None, table: dict[str, list[Any]] = TABLE, **spec: Any) -> Dataset:
    inputs = {"x": {"kind": "array", "columns": ["a", "b"], **({"missing": missing} if missing else {}), **spec}}
    return read(written(folder, kind, table), format=kind, inputs=inputs, targets={}, splits={"column": "s"})


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("missing", FILLS)
def test_a_missing_number_is_filled_from_the_training_rows(missing: str, kind: str, tmp_path: Path) -> None:
    """Trap: the 100 of the test split must not reach the mean."""
    a, b = FILLS[missing]
    found = filled(tmp_path, kind, missing)
    rows: list[list[float]] = [[1.0, 0.0], [a, 1.0], [3.0, 5.0], [100.0, b], [a, 2.0]]
    if missing == "indicator":
        rows = [
            row + mark
            for row, mark in zip(rows, ([0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]), strict=True)
        ]
    assert found.inputs["x"].tolist() == rows
    encoding = found.transforms["x"].encoding
    assert encoding is not None
    assert (encoding.columns, encoding.missing, encoding.fill) == (("a", "b"), missing, (a, b))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 250.0])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1.7e9])
def test_an_indicator_is_exactly_0_or_1_for_networks_and_teachers(
    offset: float, standardize: bool, scale: float, tmp_path: Path
) -> None:
    """Trap: `scale` and `standardize` are those of numbers, and rows far from zero are computed in float64."""
    table = TABLE | {name: [None if v is None else v + offset for v in TABLE[name]] for name in "ab"}
    found = filled(tmp_path, "npz", "indicator", table, scale=scale, standardize=standardize)
    raw, transform = found.inputs["x"], found.transforms["x"]
    expected = [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    assert apply(raw, transform)[:, 2:].tolist() == expected
    assert invert(apply(raw, transform), transform, torch.float64)[:, 2:].tolist() == expected
    kept = InputTransform.model_validate_json(transform.model_dump_json())
    other = InputTransform(scale=3.0)
    layout = InputLayout({"x": (4,), "z": (1,)})
    both = joined([raw, raw.new_ones(len(raw), 1)])
    assert transformed(both, layout, {"x": kept, "z": other})[:, 2:4].tolist() == expected
    assert apply(both, joined_transform({"x": kept, "z": other}, layout))[:, 2:4].tolist() == expected
    numbers = (raw[:, :2].double() * scale).numpy()
    if standardize:
        numbers = (numbers - numbers[:3].mean(0)) / numbers[:3].std(0)
    np.testing.assert_allclose(apply(raw, transform)[:, :2], numbers, rtol=1e-5)


def test_the_mean_of_large_numbers_keeps_their_digits(tmp_path: Path) -> None:
    """Trap: a mean in float32 of seconds since 1970 is off by minutes."""
    seconds = 1_700_000_000.0 + np.arange(1000)
    table: dict[str, list[Any]] = {"a": [*seconds, None], "b": [0.0] * 1001, "s": ["train"] * 1001}
    encoding = filled(tmp_path, "npz", "mean", table).transforms["x"].encoding
    assert encoding is not None
    assert encoding.fill is not None
    assert encoding.fill[0] == pytest.approx(seconds.mean(), abs=1e-3, rel=0)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_missing_number_is_refused_with_column_row_and_way_out_where_nothing_is_said(
    kind: str, tmp_path: Path
) -> None:
    message = refused("not_finite", lambda: filled(tmp_path, kind, None), more=3 << 30)
    assert "input `x`: the column `a` is missing, NaN or infinite (as float32) at row 1 (3 such rows in all)" in message
    assert '"missing": "mean"' in message


def test_infinity_is_not_filled(tmp_path: Path) -> None:
    table: dict[str, list[Any]] = {"a": [1.0, np.inf], "b": [1.0, 2.0], "s": ["train", "train"]}
    assert "`a`" in refused("not_finite", lambda: filled(tmp_path, "npz", "mean", table))


def test_a_column_without_a_number_in_training_is_refused(tmp_path: Path) -> None:
    table: dict[str, list[Any]] = {"a": [None, 1.0], "b": [1.0, 2.0], "s": ["train", "test"]}
    message = refused("not_finite", lambda: filled(tmp_path, "npz", "median", table))
    assert "the column `a` has no number in the training split" in message
    assert filled(tmp_path, "npz", "zero", table).inputs["x"].tolist() == [[0.0, 1.0], [1.0, 2.0]]


def test_statistics_of_standardisation_are_those_of_filled_rows(tmp_path: Path) -> None:
    transform = filled(tmp_path, "npz", "mean", standardize=True).transforms["x"]
    assert transform.mean == pytest.approx((2.0, 2.0))


def test_rows_of_bytes_and_rows_with_a_shape_can_be_filled(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.arange(8, dtype=np.uint8).reshape(2, 4))
    spec = {"kind": "array", "shape": [1, 2, 2], "missing": "mean"}
    found = read(tmp_path / "d.npz", format="npz", inputs={"x": spec}, targets={}).inputs["x"]
    assert found.dtype == torch.uint8
    images = np.arange(8.0).reshape(2, 1, 2, 2)
    images[0, 0, 1, 1] = np.nan
    np.savez(tmp_path / "d.npz", x=images)
    assert read(tmp_path / "d.npz", format="npz", inputs={"x": spec}, targets={}).inputs["x"][0, 0, 1, 1] == 7.0
    indicator = {"kind": "array", "missing": "indicator"}
    message = refused(
        "shape_mismatch", lambda: read(tmp_path / "d.npz", format="npz", inputs={"x": indicator}, targets={})
    )
    assert "flat rows" in message
