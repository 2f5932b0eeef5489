"""Rows far from zero keep the precision of their differences, in every format; all others stay float32."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.contracts.resources.manifests import DatasetManifest, InputTransform
from tests.engine.data.test_reading import arrays, written
from tests.engine.jobs.inspection.uploads import TABLE, read
from workers.engine.data.facts import facts_of, value_statistics, vector_statistics
from workers.engine.data.reading import read_dataset
from workers.engine.data.rows.precision import needs_float64
from workers.engine.data.transform import apply, invert

OFFSET = 1_700_000_000
RANDOM = np.random.default_rng(0)
SMALL = RANDOM.integers(-10, 11, (64, 2))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (SMALL + OFFSET, True),
        ((SMALL + OFFSET).astype(np.float64), True),
        ((SMALL + 1e9).astype(np.float32), False),
        (SMALL, False),
        (SMALL.astype(np.uint8), False),
        (RANDOM.normal(size=(64, 3)) + 100.0, False),
        (np.full((64, 1), 1.7e9 + 1), False),
        (np.eye(64) * 0.1, False),
        (np.array([[1.7e9], [np.nan], [1.7e9 + 3]]), True),
        (52.5 + RANDOM.normal(size=(64, 1)) * 1e-4, True),
    ],
    ids=[
        "integers",
        "float64",
        "float32",
        "small",
        "bytes",
        "ordinary",
        "constant",
        "sparse",
        "missing",
        "coordinates",
    ],
)
def test_float64_is_kept_where_float32_rounds_a_share_of_the_range_away(rows: NDArray[Any], expected: bool) -> None:
    assert needs_float64(rows) is expected


@pytest.mark.parametrize("kind", ["npz", "parquet", "csv", "jsonl"])
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_inputs_and_targets_far_from_zero_are_exact_after_centring(kind: str, dtype: Any, tmp_path: Path) -> None:
    a, size = (SMALL[:, 0] + OFFSET).astype(dtype), (SMALL[:, 1] - OFFSET).astype(dtype)
    path = written({"a": a, "b": SMALL[:, 1].astype(dtype), "size": size}, kind, tmp_path)
    inputs = {"x": {"kind": "array", "columns": ["a", "b"], "standardize": True}}
    found = read(path, format=kind, inputs=inputs, targets={"size": {"kind": "value"}})
    train = found.splits["train"].numpy()
    expected = (SMALL - SMALL[train].mean(0)) / SMALL[train].std(0)
    assert np.abs(apply(found.inputs["x"], found.transforms["x"]).numpy() - expected).max() < 1e-5
    target = found.targets["size"]
    assert target.values.tolist() == size.tolist()
    mean, std = value_statistics(target, found.splits["train"])
    assert (mean + OFFSET, std) == pytest.approx((SMALL[train, 1].mean(), SMALL[train, 1].std()), abs=1e-6)


@pytest.mark.parametrize("kind", ["npz", "parquet", "csv", "jsonl"])
@pytest.mark.parametrize(
    "column",
    [RANDOM.integers(2**25, 2**53, 64), RANDOM.normal(size=64), np.full(64, OFFSET + 1), np.arange(64)],
    ids=["large ids", "float64", "constant", "small"],
)
def test_exact_rows_are_those_of_the_file_in_every_format(kind: str, column: NDArray[Any], tmp_path: Path) -> None:
    """For teachers of wide types; float32 where it has every number."""
    path = written({"a": column, "y": column % 2 > 0}, kind, tmp_path)
    changes = {"format": kind, "inputs": {"a": {"kind": "array"}}, "targets": {"y": {"kind": "class", "classes": 2}}}
    manifest = DatasetManifest.model_validate_json(json.dumps(TABLE | changes))
    found = read_dataset(path, manifest, exact=True).inputs["a"]
    assert found.reshape(-1).tolist() == column.tolist()
    assert found.dtype == (torch.float32 if column.max() == 63 else torch.float64)


def test_vectors_and_columns_of_a_teacher_keep_theirs(tmp_path: Path) -> None:
    pair = (SMALL + OFFSET).astype(np.float64)
    path = arrays(tmp_path, x=SMALL, pair=pair, by=pair[:, 0], labels=pair)
    targets: dict[str, Any] = {
        "pair": {"kind": "vector"},
        "by": {"kind": "teacher", "predicts": {"kind": "value"}},
        "labels": {"kind": "teacher", "predicts": {"kind": "class"}},
    }
    found = read(path, format="npz", inputs={"x": {"kind": "array"}}, targets=targets)
    assert found.targets["pair"].values.tolist() == pair.tolist()
    assert found.targets["by"].values.tolist() == pair[:, :1].tolist()
    assert found.targets["labels"].values.dtype == torch.float32, "scores of classes have no offset to keep"
    means, _ = vector_statistics(found.targets["pair"], torch.arange(64))
    assert means == pytest.approx(pair.mean(0), abs=1e-6)


def test_a_large_offset_that_is_not_centred_is_a_warning_with_the_way_out(tmp_path: Path) -> None:
    from app.contracts.resources.manifests import DatasetManifest

    path = arrays(tmp_path, x=SMALL + OFFSET)
    for standardize, expected in ((False, ["large_offset"]), (True, [])):
        spec = {"kind": "array", "standardize": standardize}
        manifest = DatasetManifest.model_validate({"name": "d", "format": "npz", "inputs": {"x": spec}})
        facts = facts_of(read(path, format="npz", inputs={"x": spec}, targets={}), manifest)
        assert [warning.code for warning in facts.warnings] == expected
    assert facts.inputs["x"].mean is not None


def test_rows_in_float32_are_centred_before_they_are_rounded_again() -> None:
    """Trap: a scale rounds numbers that float32 holds exactly."""
    raw = torch.from_numpy((SMALL[:, :1] + (1 << 23)).astype(np.float32))
    mean, std = 0.1 * (1 << 23), 0.1 * 6.0
    expected = (0.1 * raw.double() - mean) / std
    assert (apply(raw, InputTransform(scale=0.1, mean=(mean,), std=std)) - expected).abs().max() < 1e-6


def test_rows_are_restored_in_float64() -> None:
    """Teachers take augmented rows before the transform."""
    transform = InputTransform(mean=(float(OFFSET), 0.0), std=(5.0, 2.0))
    raw = torch.from_numpy(SMALL + np.array([OFFSET, 0])).double()
    back = invert(apply(raw, transform), transform, torch.float64)
    assert (back - raw).abs().max() < 1e-5
