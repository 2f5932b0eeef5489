"""Graphs of networks that were trained in float32, quantized by `onnxruntime.quantization`.

- *dynamic*: weights in int8 for each output channel, of linear layers only: a convolution whose input is quantized at
  each call is slower than one in float32. The range of a layer's input is that of the batch.
- *static*: also convolutions, and inputs in uint8 by ranges that are measured on calibration rows.

Both use 7 of the 8 bits of weights, for the reason in `arithmetic`.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from numpy.typing import NDArray

from workers.engine.models.quantization.weighted_nodes import LINEAR, weighted_nodes


def quantize_dynamically(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its linear layers in int8. `model` may be changed."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    names = weighted_nodes(model, LINEAR)
    with _result() as path:
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul"],  # to which it changes each Gemm, under another name
            nodes_to_quantize=[*names, *(f"{name}_MatMul" for name in names)],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(path)


def quantize_statically(model: onnx.ModelProto, batches: Iterable[Mapping[str, NDArray[Any]]]) -> onnx.ModelProto:
    """The graph with its linear and convolution layers in int8. `model` may be changed.

    `batches`: calibration rows by the graph's inputs.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    names = weighted_nodes(model)
    with _result() as path:
        quantize_static(
            model,
            path,
            _reader(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            nodes_to_quantize=names,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # The outputs of linear layers stay float32: logits in 256 steps would tie.
            extra_options={"OpTypesToExcludeOutputQuantization": list(LINEAR)},
        )
        return onnx.load(path)


def _reader(batches: Iterable[Mapping[str, NDArray[Any]]]) -> object:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = iter(batches)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            batch = next(self._batches, None)
            return None if batch is None else dict(batch)

    return Reader()


@contextmanager
def _result() -> Iterator[Path]:
    """A path for a result; the library's advice to pre-process graphs, which the exporter has done, is not logged."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with TemporaryDirectory() as folder:
            yield Path(folder) / "quantized.onnx"
    finally:
        logging.disable(level)
