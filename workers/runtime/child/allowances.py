"""What each kind of child may use: see `sandbox`."""

from pathlib import Path
from typing import Final

from app.contracts.specs.jobs import InspectJob
from app.contracts.wire.orders import SHARED_CACHES, Order
from app.contracts.wire.predictions import SessionOrder
from workers.runtime.child.sandbox import Allowed

CPU_SECONDS: Final = 900
FILE_BYTES: Final = 128 << 30
OPEN_FILES: Final = 512


def of_attempt(order: Order) -> Allowed:
    """A job reads its inputs and writes its folder, its checkpoints and the caches of the worker, which are made here:
    what does not exist cannot be allowed. An inspection has its folder alone, and further limits.
    """
    folder = Path(order.attempt_dir)
    if isinstance(order.spec, InspectJob):
        return _of_uploads(folder, order.inputs(), order.memory_bytes, CPU_SECONDS)
    caches = tuple(Path(order.cache_dir) / name for name in SHARED_CACHES)
    for cache in caches:
        cache.mkdir(parents=True, exist_ok=True)
    writable = (Path(order.checkpoints_dir), *caches)
    return Allowed(folder, order.inputs(), writable, order.memory_bytes, gpu=order.device != "cpu")


def of_session(order: SessionOrder, folder: Path) -> Allowed:
    """A session of predictions reads its model, as long as it is asked."""
    return _of_uploads(folder, order.inputs(), order.memory_bytes, None)


def _of_uploads(folder: Path, inputs: tuple[Path, ...], memory: int | None, seconds: int | None) -> Allowed:
    return Allowed(
        folder,
        inputs,
        memory_bytes=memory,
        cpu_seconds=seconds,
        file_bytes=FILE_BYTES,
        open_files=OPEN_FILES,
    )
