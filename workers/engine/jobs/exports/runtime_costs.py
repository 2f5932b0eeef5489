"""What student and teachers of a job cost where they will run."""

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from app.contracts.problems import UserError
from workers.engine.common.eval_mode import evaluating
from workers.engine.data.transform import apply
from workers.engine.evaluation.cost.measured import MeasuredFile, MeasuredNetwork
from workers.engine.evaluation.cost.runtime import Costs, fault_of, measure
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


def measure_runtimes(trained: Trained, files: Sequence[MeasuredFile]) -> RuntimeCosts:
    """Measure the files of the student beside its teachers, which are written as ONNX for it; nothing where the student
    has no file.
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
    not_measured: dict[str, str] = {}
    with TemporaryDirectory(dir=trained.job.order.attempt_dir) as folder, ExitStack() as modes:
        measured = [*files]
        for i, key in enumerate(trained.teachers.uses):
            trained.job.check_stop()
            file = _teacher_file(trained, key, Path(folder) / f"teacher-{i}.onnx")
            why_not = file if isinstance(file, str) else fault_of(file)
            if isinstance(file, MeasuredFile) and why_not is None:
                measured.append(file)
            else:
                not_measured[f"runtime/teacher/{key}"] = str(why_not)
        costs = measure(measured, _networks(trained, modes), trained.job.check_stop)
    for file in measured:
        if costs[file.party]["onnxruntime"].peak_memory_bytes is None:
            not_measured[f"runtime/{file.party}/peak_memory_bytes"] = _NO_MEMORY
    return RuntimeCosts(costs, not_measured)


def _networks(trained: Trained, modes: ExitStack) -> list[MeasuredNetwork]:
    """Student and teachers in torch, as far as these are networks of at most MOST_BYTES, in evaluation mode."""
    rows = apply(trained.data.raw[:_ROWS], trained.data.transform)
    networks = [_network(STUDENT, trained.student.network, rows, modes)]
    for key in trained.teachers.uses:
        teacher = trained.teachers.opened.get(key)
        if teacher is not None and teacher.network is not None and teacher.bytes <= MOST_BYTES:
            prepared = teacher.prepare(trained.teachers.first_rows(key, _ROWS))
            networks.append(_network(key, teacher.network, prepared, modes))
    return networks


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
