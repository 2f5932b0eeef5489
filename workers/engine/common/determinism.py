"""The same spec, seed, device, threads and versions give the same bits."""

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils import deterministic

from app.contracts.base import digest_of
from workers.engine.common.environment import device_name, versions


def make_deterministic(threads: int) -> None:
    """Deterministic kernels only, and a fixed number of CPU threads: 1 and 2 threads give different bits."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # No kernel here reads memory that it has not written; filling it would cost a pass over every new tensor.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set by a module property
    torch.backends.cudnn.benchmark = False


_CHOOSING = ("ATEN_", "MKL_", "DNNL_", "ONEDNN_", "NVIDIA_TF32_")
"""Variables that choose among kernels begin so (those that set threads are overruled)."""


def footing(device: torch.device, threads: int) -> dict[str, Any]:
    """What a bit of the result can depend on besides the spec: a checkpoint made on another footing may be
    resumed, but not bit for bit.
    """
    return {
        "device": device_name(device),
        "instructions": _instructions() if device.type == "cpu" else platform.machine(),
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(_CHOOSING) and not name.endswith("_NUM_THREADS")
        },
        "threads": threads,
        "versions": versions(),
    }


@cache
def _instructions() -> str:
    """What torch takes this processor for, and the processor itself: oneDNN and MKL look at it for themselves."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    told = dict(line.split("\t", 1) for line in lines if line.startswith(("model name", "flags", "Features")))
    return f"{torch.backends.cpu.get_cpu_capability()} {digest_of(told)[:16]}"
