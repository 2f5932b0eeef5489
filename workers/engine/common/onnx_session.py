"""Sessions of ONNX Runtime on the CPU."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime


_keeps_memory = True


def give_memory_back() -> None:
    """From now on a session has no arena: what a run has allocated is free after it, for other processes. Large tensors
    then cost new pages in each run, which is for a process that waits between requests, and not for passes of a job.
    """
    global _keeps_memory
    _keeps_memory = False


def onnx_session(graph: Path | bytes, threads: int) -> "onnxruntime.InferenceSession":
    """A session of a file or of a graph's bytes. Threads that wait do not spin: torch, other sessions and other jobs
    share the cores. Raises what ONNX Runtime does for graphs that it cannot run.
    """
    import onnxruntime  # starts a thread, which the fork server must not have

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = _keeps_memory
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
