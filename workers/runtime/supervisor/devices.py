"""GPUs, listed by the driver's management library (NVML). Nothing here uses CUDA."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import pynvml

from app.contracts.wire.workers import Device

LEAST_FREE_BYTES = 1 << 30
"""With less free memory no job is started on a GPU: another process uses it."""
_log = logging.getLogger("stillhouse.worker")


@cache
def _driver() -> bool:
    """Whether there is a driver. NVML stays open while the process runs."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True


def _parts(card: Any) -> Iterator[Any]:
    """The MIG instances of a partitioned card, else the card itself."""
    try:
        partitioned = pynvml.nvmlDeviceGetMigMode(card)[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    except pynvml.NVMLError:
        partitioned = False
    if not partitioned:
        yield card
        return
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(card)):
        with suppress(pynvml.NVMLError):  # an instance that was not created
            yield pynvml.nvmlDeviceGetMigDeviceHandleByIndex(card, index)


def gpus() -> list[str]:
    """The UUIDs of this machine's GPUs (of MIG instances if there are any); [] without a driver."""
    if not _driver():
        return []
    cards = (pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount()))
    return [str(pynvml.nvmlDeviceGetUUID(part)) for card in cards for part in _parts(card)]


def visible(cards: Sequence[str], variable: str | None) -> list[str]:
    """Those of `cards` that CUDA_VISIBLE_DEVICES (`variable`) names, by index or UUID prefix; None means all.

    As in CUDA, the first name that matches nothing ends the list.
    """
    if variable is None:
        return list(cards)
    chosen: list[str] = []
    for name in (part.strip() for part in variable.split(",")):
        if name.isdecimal():
            matching = list(cards[int(name) : int(name) + 1])
        else:
            matching = [card for card in cards if name and card.startswith(name)]
        if len(matching) != 1:
            break
        chosen += matching
    return chosen


def described(card: str) -> Device:
    """What a GPU is, as far as it can be queried."""
    name, memory = "GPU", None
    with suppress(pynvml.NVMLError):
        handle = pynvml.nvmlDeviceGetHandleByUUID(card)
        name = str(pynvml.nvmlDeviceGetName(handle))
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    return Device(name=card, description=name, memory_bytes=memory)


def has_room(card: str) -> bool:
    """Whether a GPU has LEAST_FREE_BYTES free. False if it cannot be queried."""
    try:
        free = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(card)).free
    except pynvml.NVMLError as error:
        _log.warning("the memory of %s cannot be queried: %s", card, error)
        return False
    return bool(free >= LEAST_FREE_BYTES)
