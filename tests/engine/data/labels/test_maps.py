"""Arrays of class numbers as labels of pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from app.contracts.problems import UserError
from app.contracts.resources.inputs.maps import MapTarget
from app.contracts.resources.manifests import DatasetManifest
from tests.engine.harness import Arrays, EngineHarness
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.labels.maps import map_column


def column(maps: Any, dtype: Any = np.int64, **target: Any) -> TargetColumn:
    spec = MapTarget.model_validate({"kind": "map", "classes": 3, **target})
    return map_column("map", spec, np.array(maps, dtype))


def code_of(maps: Any, dtype: Any = np.int64, **target: Any) -> tuple[str, str]:
    with pytest.raises(UserError) as caught:
        column(maps, dtype, **target)
    return caught.value.code, caught.value.message


def test_pixels_stand_in_c_order_and_those_without_a_label_are_missing() -> None:
    found = column([[[0, 1, 2], [-1, -100, 2]], [[-1] * 3] * 2])
    assert found.values.tolist() == [[0, 1, 2, -1, -1, 2], [-1] * 6]
    assert found.labelled.tolist() == [True, False]
    assert (found.kind, found.size, found.shape) == ("map", 3, (2, 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64])
def test_a_number_that_the_manifest_ignores_is_no_label(dtype: Any) -> None:
    assert column([[[0, 255]]], dtype, ignore=255).values.tolist() == [[0, -1]]
    assert column([[[0, 1]]], dtype, ignore=0).values.tolist() == [[-1, 1]]


def test_booleans_and_one_channel_are_maps() -> None:
    expected = [[0, 1, 1, 0]]
    for maps in ([[[False, True], [True, False]]], [[[[0], [1]], [[1], [0]]]], [[[[0, 1], [1, 0]]]]):
        assert column(maps, type(np.array(maps).flat[0]), classes=("no", "yes")).values.tolist() == expected


@pytest.mark.parametrize(
    ("maps", "dtype", "target", "code", "named"),
    [
        ([[[0, 3]]], np.int64, {}, "label_out_of_range", "the label 3 at row 0, pixel [0, 1]"),
        ([[[0, 0]], [[0, 255]]], np.uint8, {}, "label_out_of_range", '"ignore": 255'),
        ([[[0, -2]]], np.int64, {}, "label_out_of_range", "the label -2"),
        ([[[0.0, 1.0]]], np.float32, {}, "wrong_type", "float32"),
        ([[0, 1]], np.int64, {}, "shape_mismatch", "[rows, height, width]"),
        (np.zeros((2, 4, 5, 3)), np.uint8, {}, "shape_mismatch", "as colours have it"),
        (np.zeros((2, 3, 4, 5)), np.uint8, {}, "shape_mismatch", "as colours have it"),
        (np.zeros((2, 4, 5)), np.uint8, {"shape": (5, 4)}, "shape_mismatch", "[4, 5]"),
        (np.zeros((1, 1025, 1)), np.uint8, {}, "map_too_large", "1024"),
    ],
)
def test_what_is_no_map_is_refused_by_name(
    maps: Any, dtype: Any, target: dict[str, Any], code: str, named: str
) -> None:
    found, message = code_of(maps, dtype, **target)
    assert found == code
    assert "`map`" in message
    assert named in message


def arrays() -> Arrays:
    maps = np.zeros((10, 2, 3), np.uint8)
    maps[:4, 0] = 1
    maps[8:] = 255
    return {"x": np.random.default_rng(0).normal(size=(10, 1, 2, 3)).astype(np.float32), "map": maps}


def test_facts_count_pixels_and_rows_with_a_map(tmp_path: Path) -> None:
    targets = {"map": {"kind": "map", "classes": ["a", "b"], "ignore": 255}}
    splits = {"fractions": {"train": 1.0}}
    data = EngineHarness(tmp_path).dataset(arrays(), targets=targets, splits=splits)
    assert data.facts is not None
    facts = data.facts.targets["map"]
    assert (facts.kind, facts.size, facts.shape, facts.classes) == ("map", 2, (2, 3), ("a", "b"))
    assert facts.labelled == {"train": 8}
    assert facts.statistics["train"].counts == (36, 12)


@pytest.mark.parametrize("maps", [(3, 2), (1, 1)])
def test_a_map_of_another_size_than_its_image_is_declared(maps: tuple[int, int], tmp_path: Path) -> None:
    """Height and width exchanged would be learned in silence."""
    rows = {**arrays(), "map": np.zeros((10, *maps), np.uint8)}
    target: dict[str, Any] = {"kind": "map", "classes": 2}
    with pytest.raises(UserError, match="declare another by `shape`"):
        EngineHarness(tmp_path).dataset(rows, targets={"map": target})
    data = EngineHarness(tmp_path).dataset(rows, targets={"map": {**target, "shape": list(maps)}})
    assert data.facts is not None
    assert data.facts.targets["map"].shape == maps


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"format": "csv"}, "found csv"),
        ({"targets": {"map": {"kind": "map", "classes": 2, "input": "x"}}}, "leave `input` out"),
        ({"format": "parquet"}, "one input of kind `image`, found none"),
        ({"targets": {"t": {"kind": "teacher", "predicts": {"kind": "map", "shape": (2, 3)}}}}, "tokens or pixels"),
        ({"targets": {"x": {"kind": "map", "classes": 1}}}, "greater than or equal to 2"),
    ],
)
def test_a_manifest_says_where_its_maps_are(change: dict[str, Any], fragment: str) -> None:
    targets = {"map": {"kind": "map", "classes": 2}}
    document = {"name": "maps", "format": "npz", "inputs": {"x": {"kind": "array"}}, "targets": targets, **change}
    with pytest.raises(ValidationError, match=fragment):
        DatasetManifest.model_validate(document)
