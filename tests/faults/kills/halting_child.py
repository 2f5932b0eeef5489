"""The real child, which halts at a chosen point of its work until it is killed.

The label `halt` of a job names the point, for its first attempt: `training:10` is the tenth look (from 0) at whether to
stop, in that phase, so before step 10; the others are listed at `_named_points`. The child says that it is there by a
file in its attempt's folder, with its process. The label `every` has a checkpoint taken every so many steps, instead of
every so many seconds. Nothing else differs from `workers.child`.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.contracts.specs.jobs import InspectJob
from app.contracts.wire.events import ChildEvent, PhaseEvent
from app.contracts.wire.orders import Order
from tests.faults.checks.slot_users import HALTED, sole_user_of_slot
from workers import child
from workers.engine.common import row_store as targets
from workers.engine.training import loop
from workers.engine.training.checkpoints import folder as checkpoint
from workers.runtime.child.supervisor_link import Control, Events


class _Point:
    """Where to halt: a name, and how many times it is passed before."""

    def __init__(self, text: str, folder: Path) -> None:
        self.name, _, count = text.partition(":")
        self._left = int(count or 0)
        self._folder = folder

    def passed(self, name: str) -> None:
        """The work has come to a point."""
        if name != self.name:
            return
        self._left -= 1
        if self._left < 0:
            temporary = self._folder / f".{HALTED}"
            temporary.write_text(str(os.getpid()))
            temporary.rename(self._folder / HALTED)
            while True:
                time.sleep(1)


def main(attempt_dir: str, control: int) -> int:
    """The entry."""
    folder = Path(attempt_dir)
    sole_user_of_slot(folder)
    order = Order.model_validate_json((folder / "order.json").read_bytes(), extra="ignore")
    labels = {} if isinstance(order.spec, InspectJob) else dict(order.spec.labels)
    if "every" in labels:
        _checkpoint_by_steps(int(labels["every"]))
    if "halt" in labels and order.attempt == 1:
        _watch(_Point(labels["halt"], folder))
    return child.main(attempt_dir, control)


def _checkpoint_by_steps(every: int) -> None:
    def due(self: loop.Loop, clock: object) -> bool:
        return self.step > 0 and self.step % every == 0

    loop.Loop._checkpoint_due = due  # type: ignore[method-assign] # for one forked process


def _watch(point: _Point) -> None:
    """Looks at whether to stop are counted phase by phase; the others stand in the way of what they are named by."""
    phase = ["starting"]

    class Telling(Events):
        def emit(self, event: ChildEvent) -> None:
            super().emit(event)
            if isinstance(event, PhaseEvent):
                phase[0] = event.phase
                point.passed(f"entered-{event.phase}")

    class Counting(Control):
        def requested(self) -> Any:
            point.passed(phase[0])
            return super().requested()

    stand_ins: dict[str, type] = {"Events": Telling, "Control": Counting}
    for name, stand_in in stand_ins.items():
        assert getattr(child, name) in stand_in.__bases__, "the child is made of other parts than are stood in for"
        setattr(child, name, stand_in)
    _named_points(point)


def _named_points(point: _Point) -> None:
    """`targets-draft`: a teacher's outputs are written, not published. `checkpoint-draft`: the files of a checkpoint
    lie there, without manifest and name; `checkpoint-named`: it has its name, and no event reports it. `outcome` and
    `done`: before and after the word that all is done.
    """
    _around(targets, "commit_folder", point, before="targets-draft")
    _around(checkpoint, "commit_folder", point, before="checkpoint-draft", after="checkpoint-named")
    _around(child, "write_outcome", point, before="outcome", after="done")


def _around(module: Any, name: str, point: _Point, before: str = "", after: str = "") -> None:
    original: Callable[..., Any] = getattr(module, name)

    def call(*arguments: Any, **named: Any) -> Any:
        point.passed(before)
        found = original(*arguments, **named)
        point.passed(after)
        return found

    setattr(module, name, call)
