"""Small ONNX graphs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.manifests import ModelManifest
from workers.engine.jobs.inspection.onnx_models import inspect_onnx_model

W: NDArray[np.float32] = np.arange(8, dtype=np.float32).reshape(4, 2) / np.float32(8)
GEMM = helper.make_node("Gemm", ["x", "w", "b"], ["y"])
Graph = onnx.ModelProto


def onnx_manifest(**changes: Any) -> ModelManifest:
    base = {"name": "m", "format": "onnx", "outputs": {"y": {"kind": "class"}}}
    return ModelManifest.model_validate_json(json.dumps(base | changes))


def value(name: str, shape: Any, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def graph(*nodes: onnx.NodeProto, inputs: Any = None, outputs: Any = None, weights: Any = None, **model: Any) -> Graph:
    """The graph y = x W + b over rows of four numbers, by default."""
    filled: dict[str, NDArray[Any]] = weights or {"w": W, "b": np.zeros(2, np.float32)}
    made = helper.make_graph(
        nodes or [GEMM],
        "g",
        inputs or [value("x", ["n", 4])],
        outputs or [value("y", ["n", 2])],
        [numpy_helper.from_array(array, name) for name, array in filled.items()],
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(made, **{"opset_imports": domains, "ir_version": 9, **model})


def inspected(content: Graph | bytes, tmp_path: Path, **manifest: Any) -> ModelFacts:
    path = tmp_path / "model.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    found = inspect_onnx_model(path, onnx_manifest(**manifest))
    found.model_dump_json()
    return found
