"""What sessions do in these tests: real processes that answer as the body of a request says.

They stand where `workers.child:main` stands, and import no torch.
"""

import json
import os
import time
from pathlib import Path

from app.contracts.wire.orders import ExitCode
from app.contracts.wire.predictions import ORDER, Reply, SessionOrder
from workers.engine.common.progress import progress_while_alive, report_progress_to
from workers.runtime.child.allowances import of_session
from workers.runtime.child.frames import Frames
from workers.runtime.child.parent_death import never_die
from workers.runtime.child.sandbox import confine
from workers.runtime.child.supervisor_link import Events, Heartbeat


def behave(directory: str, control: int) -> int:
    """`answer`: the model and this process; `slow`, `hang`, `die`, `lie`: what they say; `hang` shows that it lives."""
    folder = Path(directory)
    order = SessionOrder.model_validate_json((folder / ORDER).read_bytes())
    channel = Frames(control)
    if order.model.manifest.name == "unloadable":
        channel.write(
            Reply(status=409, code="export_mismatch", detail="it differs: use another").model_dump_json().encode()
        )
        return ExitCode.USER_ERROR
    in_force = confine(of_session(order, folder))
    never_die()
    report_progress_to(Heartbeat(Events(folder)))
    with progress_while_alive():
        return _serve(order, channel, control, in_force)


def _serve(order: SessionOrder, channel: Frames, control: int, in_force: set[str]) -> int:
    channel.write(Reply(status=200).model_dump_json().encode())
    while (request := channel.read()) is not None:
        word = request[1].decode()
        if word == "die":
            os._exit(7)
        if word == "hang":
            time.sleep(3600)
        if word == "lie":
            os.write(control, b"\xff" * 4096)
        if word == "slow":
            time.sleep(0.5)
        found = {
            "model": order.model.id,
            "pid": os.getpid(),
            "in_force": sorted(in_force),
            "format": request[0].decode(),
        }
        channel.write(Reply(status=200).model_dump_json().encode(), json.dumps(found).encode())
    return ExitCode.DONE
