"""Slots: what a worker can do at once. One for each GPU; without GPUs as many on the CPU as it was told."""

from dataclasses import dataclass

import pynvml

from app.queue.records import Lane

INSPECTION_SLOTS = 2


@dataclass(frozen=True)
class Slot:
    """A place for one child. `name` is also that of its lock; `visible` is what CUDA_VISIBLE_DEVICES says."""

    name: str
    lane: Lane
    device: str
    visible: str


def gpus() -> list[str]:
    """The UUIDs of this machine's GPUs, by NVML; [] where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def make_slots(cpu_slots: int, lanes: set[Lane]) -> list[Slot]:
    """The slots of a worker. GPUs take the place of CPU slots; inspections run on the CPU, on a lane of their own."""
    slots: list[Slot] = []
    if "train" in lanes and cpu_slots > 0:
        cards = gpus()
        slots += [Slot(card, "train", "cuda:0", card) for card in cards]
        if not cards:
            slots += [Slot(f"cpu-{i}", "train", "cpu", "") for i in range(cpu_slots)]
    if "inspect" in lanes:
        slots += [Slot(f"inspect-{i}", "inspect", "cpu", "") for i in range(INSPECTION_SLOTS)]
    return slots
