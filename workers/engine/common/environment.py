"""The environment of a job: device, versions, threads, and everything else that can change a bit of the result."""

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from app.contracts.base import digest_of
from app.contracts.reports.report import Environment

_PACKAGES = ("torch", "numpy", "torchjd", "safetensors", "onnx", "onnxruntime", "timm", "torchvision", "transformers")


def environment(device: torch.device, threads: int, precision: str) -> Environment:
    """Device name, CPU threads, precision of training, and the versions that can change a bit of the result."""
    return Environment(device=device_name(device), threads=threads, versions=versions(), precision=precision)


def device_name(device: torch.device) -> str:
    """`cpu (x86_64)`, or `cuda (<name of the GPU>)`."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({platform.machine()})"


def versions() -> dict[str, str]:
    """Versions of Python and of the installed numeric packages."""
    return {"python": platform.python_version(), **_package_versions()}


@cache
def _package_versions() -> dict[str, str]:
    result: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            result[package] = version(package)
        except PackageNotFoundError:
            continue
    return result


_KERNEL_VARIABLES = ("ATEN_", "MKL_", "DNNL_", "ONEDNN_", "NVIDIA_TF32_")
"""Prefixes of environment variables that select kernels. Those that set threads are overridden by torch's setting."""


def environment_fingerprint(device: torch.device, threads: int) -> dict[str, Any]:
    """Everything besides the spec that can change a bit of the result, as JSON.

    A checkpoint of another environment can be resumed, but not bit for bit.
    """
    return {
        "device": device_name(device),
        "instructions": _instruction_set() if device.type == "cpu" else platform.machine(),
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(_KERNEL_VARIABLES) and not name.endswith("_NUM_THREADS")
        },
        "threads": threads,
        "versions": versions(),
    }


@cache
def _instruction_set() -> str:
    """CPU capability of torch, and a digest of the processor's model and flags: oneDNN and MKL detect it themselves."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    processor = dict(line.split("\t", 1) for line in lines if line.startswith(("model name", "flags", "Features")))
    return f"{torch.backends.cpu.get_cpu_capability()} {digest_of(processor)[:16]}"
