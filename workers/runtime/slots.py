"""Slots: what a worker can do at once. One for each GPU; without GPUs as many on the CPU as it was told."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.queue.records import Lane
from workers.runtime import devices, locks
from workers.runtime.places import Places

INSPECTION_SLOTS = 2


@dataclass(frozen=True)
class Slot:
    """A place for one child. `name` is also that of its lock; `visible` is what CUDA_VISIBLE_DEVICES says."""

    name: str
    lane: Lane
    device: str = "cpu"
    visible: str = ""

    def has_room(self) -> bool:
        """Whether its device has memory for a job. Blocks for some milliseconds on a GPU."""
        return self.device == "cpu" or devices.has_room(self.visible)


class Seats:
    """Numbers for slots without a device of their own. Each is one living worker's; a dead one's come free.

    So several workers on one data directory do not wait for each other, while the successor of a dead worker
    waits until the children of its predecessor are gone (their slots have the same locks).
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._held: list[int] = []

    def take(self, kind: str) -> str:
        """The first free one's name, `cpu-0`."""
        for number in itertools.count():
            lock = locks.take(self._places.seat_lock(f"{kind}-{number}"))
            if lock is not None:
                self._held.append(lock)
                return f"{kind}-{number}"
        raise AssertionError("numbers do not end")

    def leave(self) -> None:
        """Give all of them up."""
        while self._held:
            os.close(self._held.pop())


@contextmanager
def taken_slots(places: Places, cpu_slots: int, lanes: set[Lane]) -> Iterator[list[Slot]]:
    """The slots of a worker, its own within the block.

    GPUs take the place of CPU slots (0 of which mean no training at all); inspections run on the CPU, on a lane
    of their own.
    """
    seats = Seats(places)
    slots: list[Slot] = []
    try:
        if "train" in lanes and cpu_slots > 0:
            cards = devices.visible(devices.gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
            slots += [Slot(card, "train", "cuda:0", card) for card in cards]
            if not cards:
                slots += [Slot(seats.take("cpu"), "train") for _ in range(cpu_slots)]
        if "inspect" in lanes:
            slots += [Slot(seats.take("inspect"), "inspect") for _ in range(INSPECTION_SLOTS)]
        yield slots
    finally:
        seats.leave()
