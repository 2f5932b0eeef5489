"""What the figures were measured on."""

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

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
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
