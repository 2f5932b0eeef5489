"""Slots: how many jobs a worker runs at once. One for each GPU; without GPUs a configured number on the CPU."""

import itertools
import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass

from app.queue.records import Lane, WorkerLane
from workers.runtime import locks
from workers.runtime.paths import Paths
from workers.runtime.supervisor import devices

INSPECTION_SLOTS = 2


@dataclass(frozen=True)
class Slot:
    """Runs one child at a time. Its lock has the same `name`; `visible` is the value of CUDA_VISIBLE_DEVICES."""

    name: str
    lane: Lane
    device: str = "cpu"
    visible: str = ""

    def has_room(self) -> bool:
        """Whether its device has memory for a job. Blocks for some milliseconds on a GPU."""
        return self.device == "cpu" or devices.has_room(self.visible)


class SlotNames:
    """Names for CPU slots. A name belongs to one running worker, and is free again when that worker is dead.

    So several workers on one data directory do not wait for each other, while the successor of a dead worker waits
    until its predecessor's children are dead, because it uses the same slot locks.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._held: list[int] = []

    def take(self, kind: str) -> str:
        """The first free name, for example `cpu-0`."""
        for number in itertools.count():
            lock = locks.take(self._paths.slot_name_lock(f"{kind}-{number}"))
            if lock is not None:
                self._held.append(lock)
                return f"{kind}-{number}"
        raise AssertionError("unreachable")

    def release(self) -> None:
        """Release all names."""
        while self._held:
            os.close(self._held.pop())


@contextmanager
def taken_slots(paths: Paths, cpu_slots: int, lanes: Set[WorkerLane]) -> Iterator[list[Slot]]:
    """The slots of a worker, reserved during the block.

    GPUs replace the CPU slots, except that 0 CPU slots mean no training at all. Inspections run on the CPU, on
    their own lane.
    """
    names = SlotNames(paths)
    slots: list[Slot] = []
    try:
        if "train" in lanes and cpu_slots > 0:
            cards = devices.visible(devices.gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
            slots += [Slot(card, "train", "cuda:0", card) for card in cards]
            if not cards:
                slots += [Slot(names.take("cpu"), "train") for _ in range(cpu_slots)]
        if "inspect" in lanes:
            slots += [Slot(names.take("inspect"), "inspect") for _ in range(INSPECTION_SLOTS)]
        yield slots
    finally:
        names.release()
