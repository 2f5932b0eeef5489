"""The environment of a job: device, versions, threads, and everything else that a bit of the result depends on."""

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from app.contracts.base import digest_of
from app.contracts.reports.report import Environment

_PACKAGES = ("torch", "numpy", "torchmetrics", "torchjd", "safetensors", "onnx", "onnxruntime")


def environment(device: torch.device, threads: int, precision: str) -> Environment:
    """Device name, CPU threads, precision of training, and the versions that can change a bit of the result."""
    return Environment(device=device_name(device), threads=threads, versions=versions(), precision=precision)


def device_name(device: torch.device) -> str:
    """`cpu (x86_64)`, or `cuda (<the card's own name>)`."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({platform.machine()})"


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that compute."""
    return {"python": platform.python_version(), **_package_versions()}


@cache
def _package_versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


_CHOOSING = ("ATEN_", "MKL_", "DNNL_", "ONEDNN_", "NVIDIA_TF32_")
"""Variables that choose among kernels begin so (those that set threads are overruled)."""


def environment_fingerprint(device: torch.device, threads: int) -> dict[str, Any]:
    """What a bit of the result can depend on besides the spec: a checkpoint made in another environment may
    be resumed, but not bit for bit.
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
