"""What student and teachers of a job cost where they will run."""

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.reports.report import RuntimeCost, RuntimeName
from workers.engine.common.eval_mode import evaluating
from workers.engine.data.transform import apply
from workers.engine.evaluation.cost.measured import MeasuredFile, MeasuredNetwork
from workers.engine.evaluation.cost.runtime import Costs, Fault, all_threads, fault_of, measure
from workers.engine.export.onnx import export_onnx
from workers.engine.jobs.exports.errors import export_error, named
from workers.engine.jobs.exports.invented_rows import invented_rows
from workers.engine.jobs.exports.ready_model import raw_student_of
from workers.engine.jobs.trained import Trained
from workers.engine.models import Network
from workers.engine.teachers.teacher import OnnxTeacher

STUDENT = "student"
MOST_BYTES = 200_000_000
"""Largest teacher that is written as ONNX, and copied to the CPU, for this alone."""
_ROWS = 64
_CPU = torch.device("cpu")
_NO_MEMORY = "the process that loads the file for it failed, or took too long"
_NO_EXPORT = "the job exports no ONNX file: add `onnx` to `exports`"
_COLUMNS = "its outputs are columns of the dataset: there is no network to run"


@dataclass(frozen=True)
class RuntimeCosts:
    """The costs by party and runtime; teachers by their keys. `not_measured`: why a party has none."""

    costs: Costs = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _TeacherCosts:
    """Those of a teacher, whatever key a job knows it by, and why it has none, or no peak memory."""

    runtimes: dict[RuntimeName, RuntimeCost]
    why_none: str | None
    why_no_peak: str | None
    is_lasting: bool
    """Whether later jobs would find the same."""


_TEACHER_COSTS = TypeAdapter(_TeacherCosts)


def measure_runtimes(trained: Trained, files: Sequence[MeasuredFile]) -> RuntimeCosts:
    """Measure the files of the student, and its teachers, as far as no earlier job has; nothing where the student has
    no file.
    """
    if not files:
        exports = trained.job.spec.formats
        why = "the student has no ONNX file, see `warnings`" if exports else _NO_EXPORT
        return RuntimeCosts(not_measured={"runtime": why})
    try:
        return _measured(trained, files)
    except Exception as error:
        export_error(error)  # raises a stop, and what ends the job
        return RuntimeCosts(not_measured={"runtime": f"the measurement failed ({named(error)})"})


def _measured(trained: Trained, files: Sequence[MeasuredFile]) -> RuntimeCosts:
    rows = apply(trained.data.raw[:_ROWS], trained.data.transform)
    with ExitStack() as modes:
        network = _network(STUDENT, trained.student.network, rows, modes)
        found = _with_memory(measure(files, [network], trained.job.check_stop), files)
    for key in trained.teachers.uses:
        trained.job.check_stop()
        facts = trained.facts_of_teacher(key, "runtime", threads=all_threads())
        document = trained.figures.measured(facts, partial(_document_of_teacher, trained, key), _is_lasting)
        of_teacher = _TEACHER_COSTS.validate_python(document)
        reasons = {f"teacher/{key}": of_teacher.why_none, f"{key}/peak_memory_bytes": of_teacher.why_no_peak}
        missing = {f"runtime/{name}": reason for name, reason in reasons.items() if reason is not None}
        costs = {key: of_teacher.runtimes} if of_teacher.runtimes else {}
        found = RuntimeCosts({**found.costs, **costs}, {**found.not_measured, **missing})
    return found


def _document_of_teacher(trained: Trained, key: str) -> Any:
    """The costs of a teacher, which is written as ONNX for it, as JSON."""
    with TemporaryDirectory(dir=trained.job.order.attempt_dir) as folder, ExitStack() as modes:
        file = _teacher_file(trained, key, Path(folder) / "teacher.onnx")
        fault = Fault(file, is_lasting=True) if isinstance(file, str) else fault_of(file)
        files = [file] if isinstance(file, MeasuredFile) and fault is None else []
        found = _with_memory(measure(files, _teacher_network(trained, key, modes), trained.job.check_stop), files)
    why_no_peak = next(iter(found.not_measured.values()), None)
    is_lasting = (fault is None or fault.is_lasting) and why_no_peak is None
    costs = _TeacherCosts(found.costs.get(key, {}), fault.message if fault else None, why_no_peak, is_lasting)
    return _TEACHER_COSTS.dump_python(costs, mode="json")


def _with_memory(costs: Costs, files: Sequence[MeasuredFile]) -> RuntimeCosts:
    """The costs, and which files have no peak memory."""
    unknown = [each.party for each in files if costs[each.party]["onnxruntime"].peak_memory_bytes is None]
    return RuntimeCosts(costs, {f"runtime/{party}/peak_memory_bytes": _NO_MEMORY for party in unknown})


def _is_lasting(document: dict[str, Any]) -> bool:
    """Whether later jobs would find the same, and the machine was quiet enough for them to compare with its times."""
    latencies = (latency for each in document["runtimes"].values() for latency in each["latency"].values())
    return document["is_lasting"] and all(time["steady"] for each in latencies for time in each.values())


def _teacher_network(trained: Trained, key: str, modes: ExitStack) -> list[MeasuredNetwork]:
    """A teacher in torch, where it is a network of at most MOST_BYTES, in evaluation mode."""
    teacher = trained.teachers.opened.get(key)
    if teacher is None or teacher.network is None or teacher.bytes > MOST_BYTES:
        return []
    return [_network(key, teacher.network, teacher.prepare(trained.teachers.first_rows(key, _ROWS)), modes)]


def _network(party: str, network: Network, rows: Tensor, modes: ExitStack) -> MeasuredNetwork:
    """On the CPU, whatever the device of the job: a copy where it is on another."""
    if any(each.device != _CPU for each in network.parameters()):
        network = copy.deepcopy(network).cpu()
    modes.enter_context(evaluating(network))
    return MeasuredNetwork(party, network, rows.cpu())


def _teacher_file(trained: Trained, key: str, path: Path) -> MeasuredFile | str:
    """A teacher as an ONNX file with rows, or why there is none."""
    teacher = trained.teachers.opened.get(key)
    if teacher is None:
        return _COLUMNS
    model = trained.job.order.models[key]
    if isinstance(teacher, OnnxTeacher):
        fed = teacher.fed(trained.teachers.first_rows(key, _ROWS))
        if fed is None:
            return "its graph has a fixed batch size, or inputs that do not grow with the batch"
        return MeasuredFile(key, Path(model.path), fed)
    if teacher.bytes > MOST_BYTES:
        return f"it has {teacher.bytes} bytes, more than the {MOST_BYTES} up to which a teacher is measured"
    assert teacher.network is not None
    assert model.facts is not None
    student = raw_student_of(teacher.network, model.facts)
    try:
        export_onnx(student, path, {})
    except UserError as error:
        return error.message
    except Exception as error:
        export_error(error)  # raises what ends the job
        return f"it could not be written as ONNX ({type(error).__name__})"
    return MeasuredFile(key, path, invented_rows(student)[0].feeds)
