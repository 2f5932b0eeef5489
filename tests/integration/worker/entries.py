"""What children do in these tests: real processes that behave as a job's labels (or an upload's name) say.

They stand where `workers.child:main` stands, import no torch, and use the runtime's own ends of pipe and spool.
"""

import ctypes
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts, OutputFacts, TargetFacts
from app.contracts.resources.manifests import ClassOutput, InputTransform, ModelManifest
from app.contracts.specs.architectures import Mlp
from app.contracts.specs.jobs import InspectJob
from app.contracts.wire.events import (
    CheckpointEvent,
    MetricPoint,
    MetricsEvent,
    PhaseEvent,
    ProgressEvent,
    WarningEvent,
)
from app.contracts.wire.orders import ExitCode, InspectionOutcome, Order, OutputFile, TrainingOutcome
from workers.runtime.child.allowances import of_attempt
from workers.runtime.child.sandbox import confine
from workers.runtime.child.supervisor_link import Control, Events, Heartbeat, failure, write_outcome

ARCHITECTURE = Mlp(family="mlp", input_shape=(4,), hidden=(3,), outputs={"digit": 2})
STUDENT = ModelManifest(
    name="student", format="safetensors", architecture=ARCHITECTURE, outputs={"digit": ClassOutput(kind="class")}
)
STUDENT_FACTS = ModelFacts(
    architecture=ARCHITECTURE,
    input_shape=(4,),
    inputs={"x": InputTransform()},
    outputs={"digit": OutputFacts(spec=ClassOutput(kind="class"), size=2)},
    parameters=23,
)
DATASET_FACTS = DatasetFacts(
    rows=100,
    splits={"train": 70, "validation": 15, "test": 15},
    inputs={"x": InputFacts(shape=(4,))},
    targets={"digit": TargetFacts(kind="class", size=2, labelled={"train": 70, "validation": 15, "test": 15})},
)


class Job:
    """One attempt, as its child sees it."""

    def __init__(self, order: Order, control: int) -> None:
        self.order = order
        self.folder = Path(order.attempt_dir)
        self.descriptor = control
        self.labels = {} if isinstance(order.spec, InspectJob) else dict(order.spec.labels)
        self.emit = Events(self.folder).emit

    def number(self, label: str, default: float) -> float:
        """A label's number."""
        return float(self.labels.get(label, default))

    def control(self) -> Control:
        """The pipe, being read from now on."""
        watcher = Control(self.descriptor)
        watcher.start()
        return watcher

    def say(self, code: str, message: object) -> None:
        """Something for the test to read, as a warning."""
        self.emit(WarningEvent(code=code, message=json.dumps(message)))

    def done(self, content: bytes) -> int:
        """Leave a student whose weights are these bytes."""
        (self.folder / "outputs").mkdir(exist_ok=True)
        (self.folder / "outputs" / "student.safetensors").write_bytes(content)
        file = OutputFile(
            role="student",
            path="student.safetensors",
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        outcome = TrainingOutcome(files=(file,), student=STUDENT_FACTS, student_manifest=STUDENT, report={"steps": 1})
        write_outcome(self.folder, outcome)
        return ExitCode.DONE


def _last_checkpoint(folder: Path) -> tuple[int, str]:
    found = sorted(folder.glob("step-*/state.json"))
    if not found:
        return 0, ""
    state = json.loads(found[-1].read_text())
    return state["step"], state["sum"]


def _save(job: Job, step: int, running: str) -> None:
    name = f"step-{step:08d}-a{job.order.attempt}"
    place = Path(job.order.checkpoints_dir) / name
    temporary = place.with_name("." + name)
    temporary.mkdir()
    (temporary / "state.json").write_text(json.dumps({"step": step, "sum": running}))
    temporary.rename(place)
    job.emit(CheckpointEvent(step=step, name=name, sha256=hashlib.sha256(running.encode()).hexdigest()))


def work(job: Job) -> int:
    """Count `steps` steps of `pause` seconds; a checkpoint every `every`. The student is a digest of all steps.

    The first attempt stays at step `hold` until it is asked to stop, or killed.
    """
    stop = job.control()
    steps, every, pause = int(job.number("steps", 3)), int(job.number("every", 1000)), job.number("pause", 0.0)
    step, running = _last_checkpoint(Path(job.order.checkpoints_dir))
    job.say("began", {"attempt": job.order.attempt, "step": step, "pid": os.getpid()})
    job.emit(PhaseEvent(phase="training"))
    while step < steps:
        if stop.requested() is not None:
            _save(job, step, running)
            return ExitCode.REQUEUE
        step += 1
        running = hashlib.sha256(f"{running}{step}".encode()).hexdigest()
        time.sleep(pause)
        job.emit(ProgressEvent(step=step, steps=steps))
        job.emit(MetricsEvent(points=(MetricPoint(series="train/loss", step=step, epoch=0, value=1.0 / step),)))
        if step % every == 0 and step < steps:
            _save(job, step, running)
        if job.order.attempt == 1 and step == job.number("die_at", -1):
            os.kill(os.getpid(), signal.SIGKILL)
        while job.order.attempt == 1 and step == job.number("hold", -1) and stop.requested() is None:
            time.sleep(0.01)
    return job.done(running.encode())


def segfault(job: Job) -> int:
    """Read address 0."""
    ctypes.string_at(0)
    return 0


def out_of_memory(job: Job) -> int:
    """What Python says then."""
    print("about to fail", flush=True)
    raise MemoryError("too large")


def refuse(job: Job) -> int:
    """The user's fault."""
    write_outcome(job.folder, failure("teacher_mismatch", "user", "expected 3 classes, found 2"))
    return ExitCode.USER_ERROR


def stubborn(job: Job) -> int:
    """Never follows; lives as long as its lease is renewed."""
    job.control()
    job.say("began", {"attempt": job.order.attempt, "pid": os.getpid()})
    while True:
        time.sleep(0.05)


def beating(job: Job) -> int:
    """Emits nothing for `seconds`, in which its engine moves."""
    job.control()
    beat, end = Heartbeat(Events(job.folder)), time.monotonic() + job.number("seconds", 1.0)
    while time.monotonic() < end:
        beat()
        time.sleep(0.01)
    return job.done(b"weights")


def deaf(job: Job) -> int:
    """Reads no pipe, handles nothing, and never lets go of the interpreter's lock but in C."""
    job.say("began", {"attempt": job.order.attempt, "pid": os.getpid()})
    while True:
        sum(range(100_000))


def silent(job: Job) -> int:
    """Says that it is done, and leaves nothing."""
    return ExitCode.DONE


def damaged(job: Job) -> int:
    """Its file is not what the outcome says."""
    status = job.done(b"weights")
    (job.folder / "outputs" / "student.safetensors").write_bytes(b"others!")
    return status


def escaping(job: Job) -> int:
    """Names a file outside its folder."""
    job.done(b"weights")
    outcome = json.loads((job.folder / "outcome.json").read_text())
    outcome["files"][0]["path"] = "../order.json"
    (job.folder / "outcome.json").write_text(json.dumps(outcome))
    return ExitCode.DONE


def look_around(job: Job) -> int:
    """Reports its surroundings."""
    job.say("environment", dict(os.environ))
    job.say("session", {"leader": os.getsid(0) == os.getpid(), "stdin": str(Path("/proc/self/fd/0").readlink())})
    ignored = [number.name for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) == signal.SIG_IGN]
    job.say("signals", {"ignored": ignored, "alarm": signal.getsignal(signal.SIGALRM) == signal.SIG_DFL})
    job.say("device", job.order.device)
    return job.done(b"weights")


def breed(job: Job) -> int:
    """Leaves a process behind that would hold the slot for ever."""
    if os.fork() == 0:
        while True:
            time.sleep(1)
    return job.done(b"weights")


def torn_events(job: Job) -> int:
    """Lines that are no events, between some that are."""
    job.emit(PhaseEvent(phase="loading"))
    with (job.folder / "events.jsonl").open("ab") as spool:
        spool.write(b'{"type": "state", "state": "succeeded"}\n\xff\xfe\n{"type": "progress", "step": "x"}\n')
    job.emit(PhaseEvent(phase="training"))
    with (job.folder / "events.jsonl").open("ab") as spool:
        spool.write(b'{"type": "phase", "ph')
    return job.done(b"weights")


def _inspection(job: Job) -> int:
    """Upload names: `slow` never ends, `confined` enters the sandbox first; the others are found whole."""
    name = next(iter(job.order.datasets.values())).manifest.name
    if name == "slow":
        return stubborn(job)
    if name == "confined":
        job.say("confined", sorted(confine(of_attempt(job.order))))
    job.control()
    write_outcome(job.folder, InspectionOutcome(dataset=DATASET_FACTS))
    return ExitCode.DONE


_BEHAVIOURS: dict[str, Callable[[Job], int]] = {
    function.__name__: function
    for function in (
        work,
        segfault,
        out_of_memory,
        refuse,
        stubborn,
        beating,
        deaf,
        silent,
        damaged,
        escaping,
        look_around,
        breed,
        torn_events,
    )
}


def behave(attempt_dir: str, control: int) -> int:
    """The entry."""
    order = Order.model_validate_json((Path(attempt_dir) / "order.json").read_bytes())
    job = Job(order, control)
    for warning in order.warnings:
        job.emit(WarningEvent(code=warning["code"], message=warning["message"]))
    if isinstance(order.spec, InspectJob):
        return _inspection(job)
    try:
        return _BEHAVIOURS[job.labels["behave"]](job)
    except MemoryError as error:
        write_outcome(job.folder, failure("crashed", "infrastructure", f"{type(error).__name__}: {error}"))
        return 1
