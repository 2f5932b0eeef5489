"""Numbers in small units have a deviation as others do; what is constant up to its own precision has none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.contracts.resources.manifests import InputTransform, ModelManifest, ValueOutput, VectorOutput
from tests.engine.data.test_reading import arrays, written
from tests.engine.jobs.inspection.uploads import read, refused
from workers.engine.data.dataset import Dataset
from workers.engine.data.facts import value_statistics, vector_statistics
from workers.engine.data.transform import apply

UNITS = (1e6, 1.0, 1e-6, 1e-9, 1e-15, 1e-30)
NORMAL = np.random.default_rng(0).normal(size=(64, 3))
ALL: dict[str, Any] = {"fractions": {"train": 1.0}}


def standardised(rows: NDArray[Any], folder: Path, kind: str = "npz", **spec: Any) -> Dataset:
    columns = {"a": rows[:, 0], "b": rows[:, 1]}
    inputs = {"x": {"kind": "array", "columns": ["a", "b"], "standardize": True, **spec}}
    return read(written(columns, kind, folder), format=kind, inputs=inputs, targets={}, splits=ALL)


@pytest.mark.parametrize("unit", [*UNITS, 1e-42])
@pytest.mark.parametrize("kind", ["npz", "parquet", "csv", "jsonl"])
def test_inputs_are_standardised_in_any_unit_one_beside_the_other(kind: str, unit: float, tmp_path: Path) -> None:
    if unit < 1e-36:
        message = refused("wrong_scale", lambda: standardised(NORMAL * unit, tmp_path, kind))
        assert "use smaller units" in message
        return
    found = standardised(NORMAL[:, :2] * [unit, 1.0] + [5.0 * unit, 0.0], tmp_path, kind)
    expected = (NORMAL[:, :2] - NORMAL[:, :2].mean(0)) / NORMAL[:, :2].std(0)
    transform = InputTransform.model_validate_json(found.transforms["x"].model_dump_json())
    np.testing.assert_allclose(apply(found.inputs["x"], transform), expected, atol=1e-5)


def test_numbers_below_those_of_float32_are_kept_until_they_are_scaled(tmp_path: Path) -> None:
    found = standardised(NORMAL * 1e-42, tmp_path, scale=1e25)
    expected = (NORMAL[:, :2] - NORMAL[:, :2].mean(0)) / NORMAL[:, :2].std(0)
    np.testing.assert_allclose(apply(found.inputs["x"], found.transforms["x"]), expected, atol=1e-5)


@pytest.mark.parametrize("unit", UNITS)
def test_values_and_vectors_have_their_deviation_in_any_unit(unit: float, tmp_path: Path) -> None:
    vector = NORMAL * [unit, 1.0, unit]
    path = arrays(tmp_path, x=NORMAL, one=NORMAL[:, 0] * unit, three=vector)
    targets = {"one": {"kind": "value"}, "three": {"kind": "vector"}}
    found = read(path, format="npz", inputs={"x": {"kind": "array"}}, targets=targets, splits=ALL)
    mean, std = value_statistics(found.targets["one"], torch.arange(64))
    assert std == pytest.approx(NORMAL[:, 0].std() * unit)
    means, deviations = vector_statistics(found.targets["three"], torch.arange(64))
    assert deviations == pytest.approx(vector.std(0))
    assert ValueOutput.model_validate_json(ValueOutput(kind="value", mean=mean, std=std).model_dump_json()).std == std
    spec = VectorOutput(kind="vector", mean=means, std=deviations)
    assert VectorOutput.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("constant", [0.0, 0.1, -1.7e9, 1e-12, 1e-30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_is_centred_and_not_scaled(constant: float, dtype: Any, tmp_path: Path) -> None:
    rows = np.full((64, 2), constant, dtype)
    rows[::2, 0] = np.nextafter(rows[0, 0], dtype(0))  # the same number but for its last bit
    found = standardised(rows, tmp_path)
    if constant != 0.0:
        assert found.transforms["x"].std == (1.0, 1.0)
        assert float(apply(found.inputs["x"], found.transforms["x"]).abs().max()) <= abs(constant) * 1e-6
    path = arrays(tmp_path, x=NORMAL, one=rows[:, 1], three=rows[:, [1, 1, 1]])
    targets = {"one": {"kind": "value"}, "three": {"kind": "vector"}}
    read_ = read(path, format="npz", inputs={"x": {"kind": "array"}}, targets=targets, splits=ALL)
    assert value_statistics(read_.targets["one"], torch.arange(64))[1] == 1.0
    assert vector_statistics(read_.targets["three"], torch.arange(64))[1] == (1.0, 1.0, 1.0)


def test_a_target_in_units_too_small_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = arrays(tmp_path, x=NORMAL, one=NORMAL[:, 0] * 1e-40)
    manifest: dict[str, Any] = {"inputs": {"x": {"kind": "array"}}, "targets": {"one": {"kind": "value"}}}
    assert "use smaller units" in refused("wrong_scale", lambda: read(path, format="npz", **manifest))


def test_a_manifest_of_an_uploaded_model_may_have_small_deviations() -> None:
    text = """{"name": "m", "format": "onnx", "inputs": {"x": {"mean": [3e-9], "std": [1e-9]}},
               "outputs": {"y": {"kind": "value", "mean": 2e-12, "std": 1e-12}}}"""
    manifest = ModelManifest.model_validate_json(text)
    assert manifest.inputs["x"].std == (1e-9,)
