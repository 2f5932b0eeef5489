"""Checkpoints written beside training: the loop copies its state between two steps and goes on, a thread does the rest.

One is written at a time, by one thread of the process that trains. The copy is of one moment, so what is on the disk is
what a checkpoint in the loop itself would have been. Writing takes processor time from a training on the CPU; so that
it takes little of it, checkpoints become rarer than asked for where one is dear (as in CheckFreq, Mohan et al. 2021).
"""

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from app.contracts.wire.events import CheckpointEvent, ChildEvent, WarningEvent
from workers.engine.common.files import is_disk_full
from workers.engine.training.checkpoints.folder import CheckpointFolder

SHARE = 0.03
"""Of training time that the counted cost of checkpoints may come to. Memory that is touched and given back costs about
half as much again, which nobody can count: under 5 % in all.
"""

_MOST_INTERVALS, _LEAST_BOUND = 10.0, 60.0
"""However dear the last checkpoint was (a stalled disk, a stopped process), the next comes within so many intervals, or
so many seconds if that is longer.
"""


@dataclass(frozen=True)
class _Written:
    name: str
    sha256: str
    seconds: float
    """Processor time of the thread that wrote it."""


class Checkpointing:
    """Writes the checkpoints of one loop and tells of them, in order, from the loop's own thread.

    One that cannot be written (no room, an error of the disk) is told as the warning `checkpoint_failed`; the last good
    one stays, training goes on, and the next is tried when it is due.
    """

    def __init__(self, folder: CheckpointFolder, emit: Callable[[ChildEvent], None]) -> None:
        self._folder = folder
        self._emit = emit
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: tuple[int, str, Future[_Written]] | None = None
        self._pausing = 0.0
        self._failing = False
        self.cost = 0.0
        """Seconds that the last one took from training: of the loop's thread, and of the processor."""

    @property
    def idle(self) -> bool:
        """Whether nothing is being written."""
        return self._writing is None

    def pause(self, interval: float) -> float:
        """Seconds from the last checkpoint to the next, where they are asked for at this interval."""
        return max(interval, min(self.cost / SHARE, max(_MOST_INTERVALS * interval, _LEAST_BOUND)))

    def begin(
        self, step: int, told: int, place: str, tensors: Mapping[str, Tensor], state: dict[str, Any], began: float
    ) -> None:
        """Take a copy and have it written as the checkpoint of `step`, which the job counts as `told`; one that is
        being written is waited for. The loop turned to it when time.monotonic was `began`.
        """
        self.finish()
        text = json.dumps(state, sort_keys=True, allow_nan=False)
        copies = {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
        self._writing = (told, place, self._pool.submit(self._write, step, copies, text))
        self._pausing = time.monotonic() - began

    def _write(self, step: int, tensors: dict[str, Tensor], state: str) -> _Written:
        began = time.thread_time()
        name, digest = self._folder.save(step, tensors, state)
        return _Written(name, digest, time.thread_time() - began)

    def look(self) -> None:
        """Tell of what has been written meanwhile; costs next to nothing."""
        if self._writing is not None and self._writing[2].done():
            self.finish()

    def finish(self) -> None:
        """Wait for what is being written, and tell of it."""
        if self._writing is None:
            return
        (told, place, future), self._writing = self._writing, None
        try:
            written = future.result()
        except OSError as error:
            self._tell_of(told, error)
            return
        self._failing, self.cost = False, self._pausing + written.seconds
        self._emit(CheckpointEvent(step=told, name=f"{place}{written.name}", sha256=written.sha256))

    def _tell_of(self, step: int, error: OSError) -> None:
        """Once, until one succeeds again: a full disk is full for hours."""
        if not self._failing:
            why = "the disk is full" if is_disk_full(error) else f"the disk failed ({error.strerror})"
            message = (
                f"no checkpoint could be written at step {step}: {why}; the last good one is kept, training goes on"
            )
            self._emit(WarningEvent(code="checkpoint_failed", message=message))
        self._failing = True

    def close(self) -> None:
        """Finish, and end the thread."""
        try:
            self.finish()
        finally:
            self._pool.shutdown()
