"""What student and teachers of a job cost where they will run."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from app.contracts.problems import UserError
from workers.engine.data.transform import apply
from workers.engine.evaluation.cost.measured import MeasuredFile, MeasuredNetwork
from workers.engine.evaluation.cost.runtime import Costs, measure
from workers.engine.export.onnx import export_onnx
from workers.engine.jobs.exports.invented_rows import invented_rows
from workers.engine.jobs.exports.ready_model import raw_student_of
from workers.engine.jobs.trained import Trained
from workers.engine.models import Network
from workers.engine.teachers.teacher import OnnxTeacher, Teacher

STUDENT = "student"
MOST_BYTES = 200_000_000
"""Largest teacher that is written as ONNX for this alone."""
_ROWS = 64
_COLUMNS = "its outputs are columns of the dataset: there is no network to run"


@dataclass
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
        why = "the student has no ONNX file, see `warnings`" if exports else "add `onnx` to `exports` of the job"
        return RuntimeCosts(not_measured={"runtime": why})
    found = RuntimeCosts()
    rows = apply(trained.data.raw[:_ROWS], trained.data.transform)
    networks = [_network(STUDENT, trained.student.network, rows)]
    with TemporaryDirectory(dir=trained.job.order.attempt_dir) as folder:
        measured = [*files]
        for i, key in enumerate(trained.teachers.uses):
            trained.job.check_stop()
            teacher = trained.teachers.opened.get(key)
            path = Path(folder) / f"teacher-{i}.onnx"
            found_file = _COLUMNS if teacher is None else _teacher_file(trained, key, teacher, path)
            if isinstance(found_file, str):
                found.not_measured[f"runtime/teacher/{key}"] = found_file
            else:
                measured.append(found_file)
            if teacher is not None and teacher.network is not None:
                prepared = teacher.prepare(trained.data.dataset.raw[:_ROWS])
                networks.append(_network(key, teacher.network, prepared))
        found.costs = measure(measured, networks)
    return found


def _network(party: str, network: Network, rows: Tensor) -> MeasuredNetwork:
    """On the CPU, whatever the device of the job."""
    return MeasuredNetwork(party, copy.deepcopy(network).cpu().eval(), rows.cpu())


def _teacher_file(trained: Trained, key: str, teacher: Teacher, path: Path) -> MeasuredFile | str:
    """The teacher as an ONNX file with rows, or why there is none."""
    model = trained.job.order.models[key]
    if isinstance(teacher, OnnxTeacher):
        fed = teacher.fed(trained.data.dataset.raw[:_ROWS])
        if fed is None:
            return "its graph has a fixed batch size, or inputs that do not grow with the batch"
        return MeasuredFile(key, Path(model.path), fed)
    if teacher.bytes > MOST_BYTES:
        return f"it has {teacher.bytes} bytes, more than the {MOST_BYTES} up to which a teacher is written as ONNX"
    assert teacher.network is not None
    assert model.facts is not None
    try:
        student = raw_student_of(teacher.network, model.facts)
        export_onnx(student, path, {})
    except UserError as error:
        return error.message
    return MeasuredFile(key, path, invented_rows(student)[0].feeds)
