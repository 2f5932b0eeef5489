"""The order in memory of images and their feature maps.

Convolutions and pooling run faster where the channels of a place lie side by side (`channels_last`); their results
differ in the last bits. A layer's output has the order of its input, so that only rows are brought into it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from app.contracts.specs.training import MemoryFormat

_of_new_networks: ContextVar[MemoryFormat] = ContextVar("memory_format", default="contiguous")


@contextmanager
def networks_in(memory_format: MemoryFormat | None) -> Iterator[None]:
    """Networks that are built inside the block compute in this order; None: contiguous."""
    token = _of_new_networks.set(memory_format or "contiguous")
    try:
        yield
    finally:
        _of_new_networks.reset(token)


def memory_format_of_new_networks() -> MemoryFormat:
    """The order of the block that the caller is in."""
    return _of_new_networks.get()


def in_channels_last(x: Tensor) -> Tensor:
    """[N, C, H, W] with the channels of a place side by side in memory; a copy unless they are already."""
    if x.shape[1] > 1:
        return x.contiguous(memory_format=torch.channels_last)
    n, c, height, width = x.shape
    # Of one channel both orders are the same in memory: the strides say which is meant.
    return x.contiguous().as_strided((n, c, height, width), (height * width, 1, width, 1))
