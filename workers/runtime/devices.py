"""GPUs as the driver's management library (NVML) sees them. Nothing here touches CUDA."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import pynvml

LEAST_FREE_BYTES = 1 << 30
"""Free memory without which no job is started on a GPU: somebody else uses it."""
_log = logging.getLogger("stillhouse.worker")


@cache
def _driver() -> bool:
    """Whether there is one. NVML stays open for as long as the process lives."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True


def _parts(card: Any) -> Iterator[Any]:
    """A card's MIG instances where it is partitioned, else the card itself."""
    try:
        partitioned = pynvml.nvmlDeviceGetMigMode(card)[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    except pynvml.NVMLError:
        partitioned = False
    if not partitioned:
        yield card
        return
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(card)):
        with suppress(pynvml.NVMLError):  # places for instances that were not made
            yield pynvml.nvmlDeviceGetMigDeviceHandleByIndex(card, index)


def gpus() -> list[str]:
    """The UUIDs of this machine's GPUs (of MIG instances where there are any); [] where there is no driver."""
    if not _driver():
        return []
    cards = (pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount()))
    return [str(pynvml.nvmlDeviceGetUUID(part)) for card in cards for part in _parts(card)]


def visible(cards: Sequence[str], wish: str | None) -> list[str]:
    """Those of `cards` that CUDA_VISIBLE_DEVICES (`wish`) names, by index or start of UUID; None means all.

    As CUDA reads it: the first name that fits nothing ends the list.
    """
    if wish is None:
        return list(cards)
    found: list[str] = []
    for name in (part.strip() for part in wish.split(",")):
        if name.isdecimal():
            fitting = list(cards[int(name) : int(name) + 1])
        else:
            fitting = [card for card in cards if name and card.startswith(name)]
        if len(fitting) != 1:
            break
        found += fitting
    return found


def has_room(card: str) -> bool:
    """Whether a GPU has LEAST_FREE_BYTES free. One that cannot be asked has not."""
    try:
        free = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(card)).free
    except pynvml.NVMLError as error:
        _log.warning("%s cannot be asked for its memory: %s", card, error)
        return False
    return bool(free >= LEAST_FREE_BYTES)
