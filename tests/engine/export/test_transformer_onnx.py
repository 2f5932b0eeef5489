"""Transformers as ONNX graphs."""

from pathlib import Path

import pytest

from tests.engine.export.raw_students import exported_and_checked
from tests.engine.models.families.test_transformers import PLAIN, SHAPES, network, rows_for
from tests.exhaustive import sample


@pytest.mark.parametrize("name", sample(SHAPES, ["one token", "several outputs"]))
def test_onnx_runtime_gives_torchs_outputs_at_any_batch_size(name: str, tmp_path: Path) -> None:
    built = network(PLAIN | SHAPES[name] | {"dropout": 0.2})
    found = exported_and_checked(built, tmp_path / "student.onnx", rows_for(built, 70))
    assert found.max_abs_difference < 1e-5
    assert (found.rows, found.opset) == (70, 18)
