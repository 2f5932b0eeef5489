"""Asynchronous checkpoints: the loop copies its state between two steps and continues, and a thread writes the copy.

One checkpoint is written at a time. Writing takes processor time from training on the CPU; to bound its share,
checkpoints are taken less often than requested where they are expensive (as in CheckFreq, Mohan et al. 2021).
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
"""Largest share of training time for the measured cost of checkpoints. Allocating and freeing memory costs about half
as much again, which is not measured: less than 5 % in total.
"""

_MAX_INTERVALS, _MIN_LIMIT_SECONDS = 10.0, 60.0
"""However expensive the last checkpoint was (a stalled disk, a suspended process), the next is due after at most so
many intervals, or so many seconds if that is longer.
"""


@dataclass(frozen=True)
class _Written:
    name: str
    sha256: str
    seconds: float
    """Processor time of the writing thread."""


class CheckpointWriter:
    """Writes the checkpoints of a loop in a thread, and emits their events in order from the loop's thread.

    A checkpoint that cannot be written (disk full, disk error) gives the warning `checkpoint_failed`; the last good one
    is kept, training continues, and the next is attempted when it is due.
    """

    def __init__(self, folder: CheckpointFolder, emit: Callable[[ChildEvent], None]) -> None:
        self._folder = folder
        self._emit = emit
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: tuple[int, str, Future[_Written]] | None = None
        self._blocked = 0.0
        self._failing = False
        self.cost = 0.0
        """Seconds that the last checkpoint took: time that blocked the loop, and processor time of the thread."""

    @property
    def idle(self) -> bool:
        """Whether no checkpoint is being written."""
        return self._writing is None

    def interval(self, requested: float) -> float:
        """Seconds from the last checkpoint to the next, at least the requested ones."""
        return max(requested, min(self.cost / SHARE, max(_MAX_INTERVALS * requested, _MIN_LIMIT_SECONDS)))

    def begin(
        self, step: int, job_step: int, folder: str, tensors: Mapping[str, Tensor], state: dict[str, Any], began: float
    ) -> None:
        """Copy the state and start to write it as the checkpoint of `step`, after the one that is being written.

        `job_step` and `folder` are the step in the job and the prefix of its name, for the event; `began` is
        time.monotonic() when the loop was interrupted.
        """
        self.finish()
        text = json.dumps(state, sort_keys=True, allow_nan=False)
        copies = {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
        self._writing = (job_step, folder, self._pool.submit(self._write, step, copies, text))
        self._blocked = time.monotonic() - began

    def _write(self, step: int, tensors: dict[str, Tensor], state: str) -> _Written:
        began = time.thread_time()
        name, digest = self._folder.save(step, tensors, state)
        return _Written(name, digest, time.thread_time() - began)

    def poll(self) -> None:
        """Emit the event of a checkpoint that has been written meanwhile; does not wait."""
        if self._writing is not None and self._writing[2].done():
            self.finish()

    def finish(self) -> None:
        """Wait for the checkpoint that is being written, and emit its event."""
        if self._writing is None:
            return
        (step, folder, future), self._writing = self._writing, None
        try:
            written = future.result()
        except OSError as error:
            self._warn(step, error)
            return
        self._failing, self.cost = False, self._blocked + written.seconds
        self._emit(CheckpointEvent(step=step, name=f"{folder}{written.name}", sha256=written.sha256))

    def _warn(self, step: int, error: OSError) -> None:
        """Warn once until a checkpoint succeeds again: a full disk can stay full for hours."""
        if not self._failing:
            why = "the disk is full" if is_disk_full(error) else f"a disk error ({error.strerror})"
            message = (
                f"no checkpoint could be written at step {step}: {why}; the last good one is kept, training continues"
            )
            self._emit(WarningEvent(code="checkpoint_failed", message=message))
        self._failing = True

    def close(self) -> None:
        """Wait for the last checkpoint and stop the thread."""
        try:
            self.finish()
        finally:
            self._pool.shutdown()
