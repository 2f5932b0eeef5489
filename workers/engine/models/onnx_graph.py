"""An ONNX graph under ONNX Runtime, with bounded threads."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.contracts.problems import UserError
from workers.engine.common.onnx_session import onnx_session
from workers.engine.models.onnx_types import TYPES, as_type, row_dtype

Dimensions = tuple[int | str | None, ...]


@dataclass(frozen=True)
class GraphInput:
    """An input of a graph as it is declared; `shape` includes the batch dimension, open ones are text or None."""

    name: str
    dtype: np.dtype[Any]
    shape: Dimensions

    @property
    def row(self) -> tuple[int | None, ...]:
        """The shape of one row; None for an open dimension."""
        return tuple(side if isinstance(side, int) and side > 0 else None for side in self.shape[1:])

    @property
    def fixed_row(self) -> tuple[int, ...] | None:
        """The shape of one row where the graph fixes it."""
        sides = tuple(side for side in self.row if side is not None)
        return sides if sides and len(sides) == len(self.row) else None


@dataclass(frozen=True)
class Feeds:
    """What the inputs of a graph are fed with, by the graph's names.

    `rows` are shapes of one row, in the order in which a row's numbers are concatenated; `constants` are numbers that
    fill a whole input.
    """

    rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)


class OnnxGraph:
    """Rows in, arrays out. A graph with a fixed batch size is fed in parts of that size.

    `taps` name tensors inside the graph that become outputs too. Without `feeds` all rows go to the first input, in
    the shape that the graph fixes.
    """

    def __init__(self, path: Path, threads: int, taps: Sequence[str] = (), feeds: Feeds | None = None) -> None:
        """Raises KeyError for inputs of other types than numbers."""
        import onnxruntime  # here, as it starts a thread: the fork server must have none

        self._session = onnx_session(_tapped(path, taps) if taps else path, threads)
        self._options = onnxruntime.RunOptions()
        self.inputs: tuple[GraphInput, ...] = tuple(
            GraphInput(source.name, np.dtype(TYPES[source.type]), tuple(source.shape))
            for source in self._session.get_inputs()
        )
        self.output_names: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())
        self.feeds = feeds or Feeds()

    @property
    def row_dtype(self) -> torch.dtype:
        """The type in which rows are computed before they are fed, float32 or float64."""
        return row_dtype(source.dtype for source in self.inputs if source.name not in self.feeds.constants)

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that the inputs fed with rows fix, if any."""
        fed = [source for source in self.inputs if source.name not in self.feeds.constants]
        first = next((source.shape[0] for source in fed if source.shape), None)
        return first if isinstance(first, int) and first > 0 else None

    def try_out(self, rows: NDArray[Any], seconds: float) -> dict[str, NDArray[np.generic]]:
        """As `run`; raises TimeoutError where the graph gives no result within so many seconds (it may loop)."""
        late = threading.Event()
        self._options.terminate = False

        def stop() -> None:
            late.set()
            self._options.terminate = True

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            return self.run(rows)
        except UserError:
            raise
        except Exception:
            if late.is_set():
                raise TimeoutError(f"no answer after {seconds:.0f} s") from None
            raise
        finally:
            timer.cancel()

    def run(self, rows: NDArray[Any]) -> dict[str, NDArray[np.generic]]:
        """Rows [n, …] -> {output: [n, …]}. Raises UserError `not_whole_numbers` for integer inputs."""
        size = self.fixed_batch
        if size is None:
            return self._run(rows)
        parts = [self._run_padded(rows[start : start + size], size) for start in range(0, len(rows), size)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.output_names}

    def _run_padded(self, rows: NDArray[Any], size: int) -> dict[str, NDArray[np.generic]]:
        missing = size - len(rows)
        padded = np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows
        return {name: _first_rows(values, len(rows), size) for name, values in self._run(padded).items()}

    def _run(self, rows: NDArray[Any]) -> dict[str, NDArray[np.generic]]:
        arrays = self._session.run(None, self.fed(rows), self._options)
        return dict(zip(self.output_names, (np.asarray(value) for value in arrays), strict=True))

    def fed(self, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The arrays of all inputs, each of the graph's own type."""
        by_name = {source.name: source for source in self.inputs}
        fed = {name: _constant(by_name[name], number, len(rows)) for name, number in self.feeds.constants.items()}
        shapes = self.feeds.rows
        if len(shapes) < 2:
            source = by_name[next(iter(shapes))] if shapes else self.inputs[0]
            shape = next(iter(shapes.values()), source.fixed_row)
            return fed | {source.name: _typed(source, rows if shape is None else rows.reshape(len(rows), *shape))}
        flat, first = rows.reshape(len(rows), -1), 0
        for name, shape in shapes.items():
            part = flat[:, first : first + prod(shape)]
            fed[name] = _typed(by_name[name], part.reshape(len(rows), *shape))
            first += prod(shape)
        return fed


def _first_rows(values: NDArray[np.generic], rows: int, batch: int) -> NDArray[np.generic]:
    """The first rows of an output [batch, …]; of one without the batch dimension no rows: [0, …]."""
    return values[:rows] if values.shape[:1] == (batch,) else values[None][:0]


def _typed(source: GraphInput, rows: NDArray[Any]) -> NDArray[Any]:
    return as_type(source.name, source.dtype, rows)


def _constant(source: GraphInput, number: float, rows: int) -> NDArray[Any]:
    """An input filled with one number; open dimensions have the size of the batch."""
    shape = tuple(side if isinstance(side, int) and side > 0 else rows for side in source.shape)
    return np.full(shape, number, dtype=source.dtype)


def _tapped(path: Path, taps: Sequence[str]) -> bytes:
    """The graph with these tensors as further outputs, float32 of any shape."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    there = {output.name for output in model.graph.output}
    for name in taps:
        if name not in there:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    graph: bytes = model.SerializeToString()
    return graph
