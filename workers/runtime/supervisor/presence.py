"""What a worker says of itself to those who watch the service."""

import platform
import shutil
import socket
from collections.abc import Iterable, Sequence, Set
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from app.contracts.wire.workers import Device, Disk, WorkerFacts
from app.queue.records import WorkerLane
from workers.runtime.machine import machine_memory
from workers.runtime.supervisor import devices
from workers.runtime.supervisor.slots import Slot

_PACKAGES = ("torch", "onnxruntime", "onnx", "numpy", "timm", "torchvision", "transformers")
_PROCESSOR = Path("/proc/cpuinfo")


def facts_of(slots: Sequence[Slot], lanes: Set[WorkerLane], data: Path, started_at: datetime) -> WorkerFacts:
    """The facts of this worker now. Blocks for a moment: it asks the disk and the GPUs."""
    space = shutil.disk_usage(data)
    return WorkerFacts(
        host=socket.gethostname(),
        version=version("stillhouse"),
        python=platform.python_version(),
        lanes=tuple(sorted(lanes)),
        slots={lane: sum(slot.lane == lane for slot in slots) for lane in sorted(lanes) if lane != "predict"},
        devices=_devices(slot.visible for slot in slots if slot.lane == "train"),
        disk=Disk(total_bytes=space.total, free_bytes=space.free),
        packages=_versions(),
        started_at=started_at,
    )


def _devices(cards: Iterable[str]) -> tuple[Device, ...]:
    """The GPUs of training slots; the processor once where they have none."""
    named = dict.fromkeys(cards)
    return tuple(_processor() if not card else devices.described(card) for card in named)


def _processor() -> Device:
    return Device(name="cpu", description=_processor_name(), memory_bytes=machine_memory())


@cache
def _processor_name() -> str:
    """As Linux names it."""
    lines = _PROCESSOR.read_text(errors="replace").splitlines() if _PROCESSOR.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


@cache
def _versions() -> dict[str, str]:
    return {name: found for name in _PACKAGES if (found := _version(name)) is not None}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
