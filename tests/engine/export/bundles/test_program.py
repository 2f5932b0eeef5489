"""`predict.py` with files that do not fit, and with a graph that answers otherwise than the service did."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

import app.models.bundle
from tests.engine.export.bundles.bare_python import answered, run_bare
from tests.engine.jobs.inspection.onnx_graphs import graph, value

CSV: dict[str, Any] = {
    "encoding": "utf-8-sig",
    "decimal": ".",
    "null_values": ["", "nan"],
    "reader": {"fieldnames": None, "delimiter": ",", "skipinitialspace": True},
}


def bundle(folder: Path, kind: int, expected: NDArray[Any]) -> Path:
    """A folder with a graph that casts rows [2] of this type to scores; `expected`: what its reference says of ones."""
    program = Path(app.models.bundle.__path__[0]) / "program" / "predict.py"
    shutil.copy(program, folder)
    made = graph(
        helper.make_node("Cast", ["x"], ["y.logits"], to=TensorProto.FLOAT),
        inputs=[value("x", ["n", 2], kind)],
        outputs=[value("y.logits", ["n", 2])],
    )
    (folder / "student.onnx").write_bytes(made.SerializeToString())
    ones = np.ones((3, 2), helper.tensor_dtype_to_np_dtype(kind))
    np.savez(folder / "reference.npz", **{"inputs/x": ones, "answers/y.logits": expected})  # type: ignore[arg-type]
    config = {"csv": CSV, "inputs": {"x": {"columns": ["a", "b"]}}, "classes": {"y": ["low", "high"]}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_other_answers_than_the_reference_are_named(tmp_path: Path) -> None:
    right = bundle(tmp_path, TensorProto.FLOAT, np.ones((3, 2), np.float32))
    assert run_bare(right, "--check").returncode == 0
    wrong = bundle(tmp_path, TensorProto.FLOAT, np.full((3, 2), 1.01, np.float32))
    done = run_bare(wrong, "--check")
    assert done.returncode == 1
    assert "['y.logits'] differ from the service's" in done.stderr


@pytest.mark.parametrize("number", [300, -1, 0.5])
def test_a_number_that_the_graphs_type_has_not_is_refused(number: float, tmp_path: Path) -> None:
    folder = bundle(tmp_path, TensorProto.UINT8, np.ones((3, 2), np.float32))
    np.savez(tmp_path / "rows.npz", a=np.array([1, number]), b=np.array([0, 0]))
    done = run_bare(folder, tmp_path / "rows.npz")
    assert done.returncode == 1
    assert "`x` takes uint8" in done.stderr
    assert done.stdout == ""


def test_a_gap_that_nothing_fills_has_no_class_and_is_null_in_json(tmp_path: Path) -> None:
    folder = bundle(tmp_path, TensorProto.FLOAT, np.ones((3, 2), np.float32))
    (tmp_path / "rows.csv").write_text("b, a \n2,1\n3,\n")
    assert answered(folder, tmp_path / "rows.csv") == [
        {"y.logits": [1.0, 2.0], "y.class": "high"},
        {"y.logits": [None, 3.0], "y.class": None},
    ]


def test_without_a_file_it_says_how_it_is_called(tmp_path: Path) -> None:
    done = run_bare(bundle(tmp_path, TensorProto.FLOAT, np.ones((3, 2), np.float32)))
    assert done.returncode == 1
    assert "python predict.py ROWS" in done.stderr
