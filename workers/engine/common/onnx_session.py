"""Sessions of ONNX Runtime on the CPU."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime


def onnx_session(graph: Path | bytes, threads: int) -> "onnxruntime.InferenceSession":
    """A session of a file or of a graph's bytes. Threads that wait do not spin: torch, other sessions and other jobs
    share the cores. Raises what ONNX Runtime does for graphs that it cannot run.
    """
    import onnxruntime  # starts a thread, which the fork server must not have

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
