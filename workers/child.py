"""The child process, which connects runtime and engine. It runs one attempt and exits with an `ExitCode`.

The fork server starts it. It uses neither database nor network: it reads an order from disk and control messages from a
pipe, appends events to a file, and writes an outcome to disk.
"""

import traceback
from contextlib import suppress
from pathlib import Path

import torch
import torch._inductor.config  # use_deterministic_algorithms imports it: here once, instead of a second in each child

from app.contracts.problems import UserError
from app.contracts.specs.jobs import InspectJob
from app.contracts.wire.orders import ExitCode, Order
from workers.engine.common.files import is_disk_full
from workers.engine.common.stop import Stopped
from workers.engine.run import execute
from workers.runtime.child.sandbox import confine_inspection, confine_training
from workers.runtime.child.supervisor_link import Control, Events, failure, write_outcome


def _confine(order: Order, folder: Path) -> set[str]:
    """Enter the sandbox. It must come before the first thread: threads inherit confinement, they do not share it."""
    in_force = confine_training()
    if isinstance(order.spec, InspectJob):
        in_force |= confine_inspection(folder, order.inputs(), order.memory_bytes)
    return in_force


def _execute(order: Order, folder: Path, control: Control) -> ExitCode:
    try:
        outcome = execute(order, Events(folder).emit, control)
    except Stopped:
        return ExitCode.REQUEUE
    except UserError as error:
        write_outcome(folder, failure(error.code, "user", error.message))
        return ExitCode.USER_ERROR
    write_outcome(folder, outcome)
    return ExitCode.DONE


def main(attempt_dir: str, control: int) -> int:
    """Run the attempt in a directory; the exit status."""
    folder = Path(attempt_dir)
    try:
        order = Order.model_validate_json((folder / "order.json").read_bytes(), extra="ignore")
        print("in force:", ", ".join(sorted(_confine(order, folder))), flush=True)  # noqa: T201 (the attempt's log)
        torch.set_num_threads(order.threads)  # before the first operation starts the threads
        messages = Control(control)
        messages.start()
        return _execute(order, folder, messages)
    except BaseException as error:
        full = is_disk_full(error)
        with suppress(OSError):
            traceback.print_exc()
        with suppress(OSError):
            code = "disk_full" if full else "crashed"
            write_outcome(folder, failure(code, "infrastructure", f"{type(error).__name__}: {error}"[:2000]))
        return ExitCode.DISK_FULL if full else 1
