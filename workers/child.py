"""The child process, which connects runtime and engine. It runs one attempt and exits with an `ExitCode`, or it serves
predictions of one model.

The fork server starts it. It uses neither database nor network. For an attempt it reads an order from disk and control
messages from a pipe, appends events to a file, and writes an outcome to disk.
"""

import sys
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
import torch._inductor.config  # use_deterministic_algorithms imports it: here once, instead of a second in each child

from app.contracts.problems import UserError
from app.contracts.specs.jobs import InspectJob
from app.contracts.wire.orders import ExitCode, Order
from app.contracts.wire.predictions import ORDER, Reply, SessionOrder
from workers.engine.common.files import is_disk_full
from workers.engine.common.onnx_session import give_memory_back
from workers.engine.common.progress import progress_while_alive, report_progress_to
from workers.engine.common.stop import Stopped
from workers.engine.evaluation.cost import peak_memory, probes
from workers.engine.run import execute
from workers.engine.serving.session import open_session
from workers.runtime.child.allowances import of_attempt, of_session
from workers.runtime.child.confined import confined_command
from workers.runtime.child.frames import Frames
from workers.runtime.child.helper import Helper
from workers.runtime.child.parent_death import never_die
from workers.runtime.child.sandbox import confine
from workers.runtime.child.supervisor_link import Control, Events, Heartbeat, failure, write_outcome


def _confine(order: Order) -> set[str]:
    """Enter the sandbox. It must come before the first thread: threads inherit confinement, they do not share it."""
    allowed = of_attempt(order)
    if not isinstance(order.spec, InspectJob):
        command = confined_command(replace(allowed, gpu=False))
        helper = Helper([sys.executable, "-P", "-m", probes.__name__, *command])
        peak_memory.measure_by(lambda pairs: helper.call(pairs) or [None] * len(pairs))
    return confine(allowed)


def _execute(order: Order, folder: Path, control: Control) -> ExitCode:
    events = Events(folder)
    report_progress_to(Heartbeat(events))
    try:
        outcome = execute(order, events.emit, control)
    except Stopped:
        return ExitCode.REQUEUE
    except UserError as error:
        write_outcome(folder, failure(error.code, "user", error.message))
        return ExitCode.USER_ERROR
    write_outcome(folder, outcome)
    return ExitCode.DONE


def _serve(folder: Path, channel: Frames) -> int:
    """Load a model, and answer requests until the supervisor closes the channel."""
    order = SessionOrder.model_validate_json((folder / ORDER).read_bytes(), extra="ignore")
    in_force = confine(of_session(order, folder))
    print("in force:", ", ".join(sorted(in_force)), flush=True)  # noqa: T201 (the session's log)
    torch.set_num_threads(order.threads)
    give_memory_back()
    opened = open_session(order, folder)
    if isinstance(opened, Reply):
        channel.write(opened.model_dump_json().encode())
        return ExitCode.USER_ERROR
    never_die()
    report_progress_to(Heartbeat(Events(folder)))
    with progress_while_alive():
        channel.write(Reply(status=200).model_dump_json().encode())
        while (request := channel.read()) is not None:
            reply, body = opened.answer(request[0].decode(), request[1])
            channel.write(reply.model_dump_json(exclude_defaults=True).encode(), body)
    return ExitCode.DONE


def main(directory: str, control: int) -> int:
    """Run what a directory has the order of, an attempt or a session; the exit status."""
    folder = Path(directory)
    if (folder / ORDER).exists():
        return _serve(folder, Frames(control))
    return _attempt(folder, control)


def _attempt(folder: Path, control: int) -> int:
    try:
        order = Order.model_validate_json((folder / "order.json").read_bytes(), extra="ignore")
        print("in force:", ", ".join(sorted(_confine(order))), flush=True)  # noqa: T201 (the attempt's log)
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
