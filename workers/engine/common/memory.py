"""Memory: what autograd keeps for backward passes, what is free, and how it shows that it ran out."""

import resource
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


class SavedTensors:
    """Counts what autograd keeps for backward passes, each storage once, while it is kept.

        with SavedTensors(known).hooks() ...

    `most` is the largest sum of bytes so far. Storages of `known` tensors are not counted.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        self.most = 0
        self._now = 0
        self._users: dict[int, int] = {}
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}

    def hooks(self) -> saved_tensors_hooks:
        """The context in which is counted."""
        return saved_tensors_hooks(self._pack, _unpack)

    def _pack(self, tensor: Tensor) -> "_Kept":
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if place in self._known or size == 0:
            return _Kept(tensor.detach(), None, place, 0)
        users = self._users.get(place, 0)
        self._users[place] = users + 1
        if users == 0:
            self._now += size
            self.most = max(self.most, self._now)
        return _Kept(tensor.detach(), self, place, size)

    def let_go(self, place: int, size: int) -> None:
        """A tensor of the storage at `place` is kept no more."""
        self._users[place] -= 1
        if self._users[place] == 0:
            del self._users[place]
            self._now -= size


class _Kept:
    """A saved tensor; autograd drops it with the node that saved it."""

    def __init__(self, tensor: Tensor, tally: SavedTensors | None, place: int, size: int) -> None:
        self.tensor = tensor
        self._tally, self._place, self._size = tally, place, size

    def __del__(self) -> None:
        if self._tally is not None:
            self._tally.let_go(self._place, self._size)


def _unpack(kept: _Kept) -> Tensor:
    return kept.tensor


def available_bytes(device: torch.device) -> int | None:
    """Free now: on the GPU, or for this process on the host; None where nobody says."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return host_available()


def host_available(meminfo: Path = _MEMINFO, group: Path = _GROUP) -> int | None:
    """What the kernel calls available, or less where a control group (version 2) bounds it."""
    found = []
    try:
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        pass
    try:
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        found.append(max(0, int((group / "memory.max").read_text()) - int(stat["anon"])))
    except (OSError, KeyError, ValueError):
        pass  # no such group, or "max": no bound
    return min(found, default=None)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation was refused, on the device or on the host."""
    # Words of torch, oneDNN and the C++ library on the CPU.
    words = ("can't allocate memory", "not enough memory", "std::bad_alloc", "could not create a memory object")
    refused = isinstance(error, RuntimeError) and any(each in str(error) for each in words)
    return refused or isinstance(error, torch.OutOfMemoryError | MemoryError)


def peak_bytes(device: torch.device) -> int:
    """The most that this process has had: allocated by torch on the GPU, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
