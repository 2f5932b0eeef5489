"""Deterministic torch: the same spec, seed, device, threads and versions give bit-identical results."""

import os

import torch
from torch.utils import deterministic


def make_deterministic(threads: int) -> None:
    """Use deterministic kernels only, and a fixed number of CPU threads: results differ between 1 and 2 threads."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # No operation here reads uninitialised memory; filling it would cost a pass over every new tensor.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set by a module property
    torch.backends.cudnn.benchmark = False
