"""What the child of a preflight does in these tests: as its label `behave` says."""

import hashlib
import os
import signal
import time
from pathlib import Path

from app.contracts.specs.jobs import PreflightJob
from app.contracts.wire.orders import ExitCode, Order, OutputFile, ReportOutcome
from tests.integration.worker.entries import Job, stubborn
from workers.runtime.child.supervisor_link import write_outcome

REPORT = b'{"kind": "preflight"}'


def look(job: Job) -> int:
    """Leave a report."""
    (job.folder / "outputs").mkdir(exist_ok=True)
    (job.folder / "outputs" / "report.json").write_bytes(REPORT)
    digest = hashlib.sha256(REPORT).hexdigest()
    file = OutputFile(role="report", path="report.json", bytes=len(REPORT), sha256=digest)
    write_outcome(job.folder, ReportOutcome(files=(file,), report={"kind": "preflight"}))
    return ExitCode.DONE


def damaged(job: Job) -> int:
    """The report is not what the outcome says."""
    status = look(job)
    (job.folder / "outputs" / "report.json").write_bytes(REPORT[::-1])
    return status


def killed(job: Job) -> int:
    """By the kernel, say."""
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def told_to_stop(job: Job) -> int:
    """The first attempt waits for its orders, and leaves no checkpoint; later ones look."""
    control = job.control()
    job.say("began", {"attempt": job.order.attempt, "pid": os.getpid()})
    while job.order.attempt == 1 and control.requested() is None:
        time.sleep(0.01)
    return ExitCode.REQUEUE if job.order.attempt == 1 else look(job)


_BEHAVIOURS = {function.__name__: function for function in (look, damaged, killed, told_to_stop, stubborn)}


def behave(attempt_dir: str, control: int) -> int:
    """The entry."""
    order = Order.model_validate_json((Path(attempt_dir) / "order.json").read_bytes())
    assert isinstance(order.spec, PreflightJob)
    assert order.spec.job.training.threads == order.threads
    job = Job(order, control)
    return _BEHAVIOURS[job.labels["behave"]](job)
