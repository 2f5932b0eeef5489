"""Memory: tensors that autograd saves for backward, free memory, and errors of failed allocations."""

import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
_STATM = Path("/proc/self/statm")
_OF_RUNTIME = ("Failed to allocate memory", "bad allocation", "std::bad_alloc")
"""Of ONNX Runtime, by its arena and by the C++ library."""


class SavedTensors:
    """Measures the bytes of the tensors that autograd saves for backward, counting each storage once.

        with SavedTensors(excluded).hooks() ...

    `peak` is the largest sum of bytes so far. Storages of `excluded` tensors are not counted.
    """

    def __init__(self, excluded: Iterable[Tensor] = ()) -> None:
        self.peak = 0
        self._current = 0
        self._references: dict[int, int] = {}
        self._excluded = {tensor.untyped_storage().data_ptr() for tensor in excluded}

    def hooks(self) -> saved_tensors_hooks:
        """The context manager inside which saved tensors are counted."""
        return saved_tensors_hooks(self._pack, _unpack)

    def _pack(self, tensor: Tensor) -> "_SavedTensor":
        storage = tensor.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        if address in self._excluded or size == 0:
            return _SavedTensor(tensor.detach(), None, address, 0)
        references = self._references.get(address, 0)
        self._references[address] = references + 1
        if references == 0:
            self._current += size
            self.peak = max(self.peak, self._current)
        return _SavedTensor(tensor.detach(), self, address, size)

    def release(self, address: int, size: int) -> None:
        """Drop one reference to the storage at `address`."""
        self._references[address] -= 1
        if self._references[address] == 0:
            del self._references[address]
            self._current -= size


class _SavedTensor:
    """A saved tensor; autograd drops it together with the graph node that saved it."""

    def __init__(self, tensor: Tensor, counter: SavedTensors | None, address: int, size: int) -> None:
        self.tensor = tensor
        self._counter, self._address, self._size = counter, address, size

    def __del__(self) -> None:
        if self._counter is not None:
            self._counter.release(self._address, self._size)


def _unpack(saved: _SavedTensor) -> Tensor:
    return saved.tensor


@contextmanager
def address_space_bounded(more: int) -> Iterator[None]:
    """Inside the block, allocations fail by which this process would take above `more` further bytes of addresses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = address_space() + more
    resource.setrlimit(resource.RLIMIT_AS, (most if soft == resource.RLIM_INFINITY else min(most, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def address_space() -> int:
    """Bytes of addresses that this process takes now."""
    return int(_STATM.read_text().split()[0]) * resource.getpagesize()


def available_bytes(device: torch.device) -> int | None:
    """Free memory now, of the GPU or of this process on the host; None where it is unknown."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return host_available()


def host_available(meminfo: Path = _MEMINFO, group: Path = _GROUP) -> int | None:
    """The kernel's `MemAvailable`, or less under the limit of a control group (version 2)."""
    bounds = []
    try:
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        bounds.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        pass
    try:
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        bounds.append(max(0, int((group / "memory.max").read_text()) - int(stat["anon"])))
    except (OSError, KeyError, ValueError):
        pass  # no such group, or "max": no limit
    return min(bounds, default=None)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed, on the device or on the host."""
    # Messages of torch, oneDNN and the C++ library on the CPU.
    messages = ("can't allocate memory", "not enough memory", "std::bad_alloc", "could not create a memory object")
    refused = isinstance(error, RuntimeError) and any(message in str(error) for message in messages)
    # ONNX Runtime's errors share no base class but Exception.
    refused |= type(error).__module__.startswith("onnxruntime") and any(each in str(error) for each in _OF_RUNTIME)
    return refused or isinstance(error, torch.OutOfMemoryError | MemoryError)


def peak_bytes(device: torch.device) -> int:
    """Peak memory of this process: allocated by torch on the GPU, else the resident set size."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
