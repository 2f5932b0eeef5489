"""The same spec, seed, device, threads and versions give the same bits."""

import os
import platform
from typing import Any

import torch
from torch.utils import deterministic

from workers.engine.evaluation.environment import device_name, versions


def make_deterministic(threads: int) -> None:
    """Deterministic kernels only, and a fixed number of CPU threads: 1 and 2 threads give different bits."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # No kernel here reads memory that it has not written; filling it would cost a pass over every new tensor.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set by a module property
    torch.backends.cudnn.benchmark = False


def footing(device: torch.device, threads: int) -> dict[str, Any]:
    """What a bit of the result can depend on besides the spec: a checkpoint made on another footing may be
    resumed, but not bit for bit.
    """
    return {
        "device": device_name(device),
        "instructions": torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else platform.machine(),
        "threads": threads,
        "versions": versions(),
    }
