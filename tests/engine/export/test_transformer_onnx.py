"""Transformers as ONNX graphs."""

from pathlib import Path

import pytest

from tests.engine.models.families.test_transformers import PLAIN, SHAPES, network, rows_for
from tests.exhaustive import sample
from workers.engine.export.onnx import check_onnx, export_onnx


@pytest.mark.parametrize("name", sample(SHAPES, ["plain", "one token", "several outputs"]))
def test_onnx_runtime_gives_torchs_outputs_at_any_batch_size(name: str, tmp_path: Path) -> None:
    built = network(PLAIN | SHAPES[name] | {"dropout": 0.2})
    export_onnx(built, tmp_path / "student.onnx", {"card": "c"})
    found = check_onnx(tmp_path / "student.onnx", built, rows_for(built, 70))
    assert found.max_abs_difference < 1e-5
    assert (found.rows, found.opset) == (70, 18)
