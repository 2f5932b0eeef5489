"""An ONNX graph under ONNX Runtime, with bounded threads."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


class OnnxGraph:
    """One input of numbers; rows in, arrays out. A graph with a fixed batch size is fed in parts of that size.

    `taps` name tensors inside the graph that become outputs too.
    """

    def __init__(self, path: Path, threads: int, taps: Sequence[str] = ()) -> None:
        import onnxruntime  # here, as it starts a thread: the fork server must have none

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            _tapped(path, taps) if taps else str(path), options, providers=["CPUExecutionProvider"]
        )
        self._options = onnxruntime.RunOptions()
        source = self._session.get_inputs()[0]
        self._input = source.name
        self._type = _TYPES[source.type]
        self.input_shape: tuple[int | str | None, ...] = tuple(source.shape)
        self.output_names: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that the graph fixes, if any."""
        first = self.input_shape[0] if self.input_shape else None
        return first if isinstance(first, int) and first > 0 else None

    @property
    def row_shape(self) -> tuple[int, ...] | None:
        """The shape of one row where the graph fixes it."""
        row = self.input_shape[1:]
        sides = tuple(side for side in row if isinstance(side, int) and side > 0)
        return sides if sides and len(sides) == len(row) else None

    def try_out(self, rows: NDArray[np.float32], seconds: float) -> dict[str, NDArray[np.generic]]:
        """As `run`; raises TimeoutError where the graph gives no result within so many seconds (it may loop)."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._options.terminate = True

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            return self.run(rows)
        except Exception:
            if late.is_set():
                raise TimeoutError(f"no answer after {seconds:.0f} s") from None
            raise
        finally:
            timer.cancel()

    def run(self, rows: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        """Rows [n, …] -> {output: [n, …]}."""
        shape = self.row_shape
        shaped = rows.reshape(len(rows), *shape) if shape is not None else rows
        size = self.fixed_batch
        if size is None:
            return self._run(shaped)
        parts = [self._run_padded(shaped[start : start + size], size) for start in range(0, len(shaped), size)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.output_names}

    def _run_padded(self, rows: NDArray[np.float32], size: int) -> dict[str, NDArray[np.generic]]:
        missing = size - len(rows)
        padded = np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows
        return {name: values[: len(rows)] for name, values in self._run(padded).items()}

    def _run(self, rows: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        arrays = self._session.run(None, {self._input: rows.astype(self._type, copy=False)}, self._options)
        return dict(zip(self.output_names, (np.asarray(value) for value in arrays), strict=True))


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
