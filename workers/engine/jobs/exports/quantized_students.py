"""The student of a job in 8 or 16 bits: of several ways the one that is best on rows of the validation split, or of the
training split without one.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import onnx
import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.reports.quantized import ComparedSplit, QuantizationMethod, QuantizedCandidate
from app.contracts.reports.report import OnnxCheck
from app.contracts.resources.manifests import PositionOutput
from app.contracts.specs.quantization import QUANTIZED, QuantizedFormat
from app.contracts.wire.events import WarningEvent
from workers.engine.evaluation.metrics.fidelity import positions_of
from workers.engine.evaluation.metrics.task_metrics import headline, score, task_metrics
from workers.engine.evaluation.parties import EvaluatedTask, Outputs, QuantizedOutputs, network_outputs
from workers.engine.export.graph_outputs import BLOCK, Feeds, GraphOutputs, feeds_of
from workers.engine.export.onnx import RowsGraph, of_raw_rows, trace
from workers.engine.export.quantized_graphs import Quantization
from workers.engine.export.raw_student import RawStudent
from workers.engine.jobs.exports.errors import export_error
from workers.engine.jobs.exports.raw_students import raw_student
from workers.engine.jobs.exports.student_graph import SampleRows, check_graph
from workers.engine.jobs.trained import Trained
from workers.engine.models.quantization.compact import compact
from workers.engine.models.quantization.copies import copied
from workers.engine.models.quantization.fake import simulated

CALIBRATION_ROWS = 1024
"""Training rows by which the ranges of inputs are measured, at most."""
_SMALLEST_ERROR = 1e-300
_CLEARLY = 0.001
"""Difference of scores (accuracy, R²) above which a candidate is better."""
_CLEARLY_CLOSER = 0.5
"""Ratio of deviations below which a candidate is better where no row has a label."""
COMPARED_ROWS = 4096
"""Rows of the validation split on which the candidates are compared, at most; those of the calibration without one."""


def block_of(method: QuantizationMethod) -> int:
    """Rows at once: one where the ranges of inputs are those of the batch, on which answers then depend."""
    return 1 if method == "dynamic" else BLOCK


@dataclass(frozen=True)
class QuantizedStudent:
    """A quantized file of a student before it is written: a graph from the dataset's rows to the answers."""

    format: QuantizedFormat
    method: QuantizationMethod
    model: onnx.ModelProto
    outputs: Outputs
    candidates: tuple[QuantizedCandidate, ...]

    @property
    def block(self) -> int:
        """How many rows it is run with at once."""
        return block_of(self.method)

    @property
    def party(self) -> str:
        """Its name in the report and in predictions files."""
        return f"student_{self.format}"


@dataclass(frozen=True)
class Comparison:
    """How candidates are compared: by their score on rows with labels, then by their deviation from the student."""

    tasks: Sequence[EvaluatedTask]
    rows: Tensor
    student: Outputs
    split: ComparedSplit = "validation"
    """That of the rows."""

    def of(self, method: QuantizationMethod, outputs: Outputs, size: int) -> QuantizedCandidate:
        """A candidate, measured."""
        found, theirs = outputs(self.rows), self.student(self.rows)
        differences = [self._differences(task, found[task.name] - theirs[task.name]) for task in self.tasks]
        deviation = float(torch.stack([each.double().square().mean() for each in differences]).mean())
        pairs = ((task, found[task.name], theirs[task.name]) for task in self.tasks)
        scores = [each for pair in pairs if (each := self._score(*pair)) is not None]
        mean = sum(scores) / len(scores) if scores else None
        return QuantizedCandidate(
            method=method,
            score=mean if mean is not None and isfinite(mean) else None,
            deviation=deviation if isfinite(deviation) else None,
            bytes=size,
            split=self.split,
        )

    def _differences(self, task: EvaluatedTask, differences: Tensor) -> Tensor:
        """Those that count: of tokens, without padding."""
        if not isinstance(task.spec, PositionOutput) or task.target is None:
            return differences
        return differences[positions_of(task.target, self.rows)]

    def _score(self, task: EvaluatedTask, outputs: Tensor, student: Tensor) -> float | None:
        """An error in the units of the labels is relative to that of the student, so that tasks can be averaged."""
        target, kind = task.target, task.spec.kind
        if target is None or not bool(target.labelled[self.rows].any()):
            return None
        measured, theirs = (
            task_metrics(each, task.spec, target, self.rows, ranking=False) for each in (outputs, student)
        )
        if headline(measured, kind) != "rmse":
            return score(measured, kind)
        return score(measured, kind) / max(-score(theirs, kind), _SMALLEST_ERROR)


def best(candidates: Sequence[QuantizedCandidate]) -> QuantizedCandidate:
    """The first candidate, unless another is clearly better: by its score, or without scores by its deviation.

    The first is that whose answers do not depend on other rows of the batch, which a difference within the noise of the
    validation rows is not worth.
    """
    chosen = candidates[0]
    for each in candidates[1:]:
        chosen = each if _is_clearly_better(each, chosen) else chosen
    return chosen


def _is_clearly_better(one: QuantizedCandidate, other: QuantizedCandidate) -> bool:
    if one.score is not None or other.score is not None:
        return one.score is not None and (other.score is None or one.score > other.score + _CLEARLY)
    if one.deviation is None or other.deviation is None:
        return one.deviation is not None
    return one.deviation < _CLEARLY_CLOSER * other.deviation


def quantize(
    wanted: Sequence[QuantizedFormat],
    quantization: Quantization,
    feeds: Feeds,
    comparison: Comparison,
    refuse: Callable[[QuantizedFormat, UserError], None],
) -> list[QuantizedStudent]:
    """The quantized files of these formats. `refuse` is called for a format that makes no sense for the student, or
    whose file cannot be made.
    """
    found = []
    for each in wanted:
        try:
            found.append(quantized_student(each, quantization, feeds, comparison))
        except Exception as error:
            refuse(each, export_error(error))
    return found


def quantized_student(
    wanted: QuantizedFormat, quantization: Quantization, feeds: Feeds, comparison: Comparison
) -> QuantizedStudent:
    """The best quantized file of a format. Raises UserError `nothing_to_quantize`, and `not_smaller` where it is not
    smaller than one in float32 would be in the same compact form: a tiny network gains by short names alone.
    """
    student, graphs = quantization.student, quantization.graphs(wanted)
    outputs = {
        method: GraphOutputs(model, student.outputs, feeds, block_of(method)) for method, model in graphs.items()
    }
    candidates = [comparison.of(method, outputs[method], _size(model, student)) for method, model in graphs.items()]
    chosen = best(candidates)
    whole = copied(quantization.graph.model)
    compact(whole)
    float_bytes = _size(whole, student)
    if chosen.bytes >= float_bytes:
        raise UserError(
            "not_smaller",
            f"the {wanted} file would have {chosen.bytes:,} bytes and one in float32 of the same form {float_bytes:,}: "
            "the network is too small to gain by it; leave it out",
        )
    method = chosen.method
    return QuantizedStudent(wanted, method, graphs[method], outputs[method], tuple(candidates))


def _size(model: onnx.ModelProto, student: RawStudent) -> int:
    return len(of_raw_rows(copied(model), student, {}))


@dataclass(frozen=True)
class QuantizedStudents:
    """The quantized files of a job, the graph in float32 that they are made of, and the student with the rounding that
    it was trained with, if it was.
    """

    students: tuple[QuantizedStudent, ...] = ()
    graph: RowsGraph | None = None
    simulated: Outputs | None = None
    sample: SampleRows | None = None
    """The rows with which the graph was checked."""
    check: OnnxCheck | None = None
    refused: UserError | None = None
    """Why there is no graph: no file of a format of ONNX is written."""

    @property
    def outputs(self) -> QuantizedOutputs:
        """What an evaluation measures."""
        outputs = {each.party: each.outputs for each in self.students}
        aware = [each.party for each in self.students if each.method == "aware"]
        simulated = self.simulated
        return QuantizedOutputs(outputs, {} if simulated is None else dict.fromkeys(aware, simulated))


_DYNAMIC = (
    "the int8 file is quantized dynamically: its answers depend on the other rows of a batch, and rows far from the "
    "data change those of others. Its figures are those of one row at a time: run it so, as `predict.py` of the bundle "
    'does, or train with `"quantization": {"aware": true}`, whose file answers alike in any batch'
)


def quantize_student(trained: Trained) -> QuantizedStudents:
    """The quantized files that a spec asks for. One that makes no sense is left out, with the warning `not_quantized`,
    and so are all where the graph in float32 has other answers than the student: what they lose would not be that of
    their rounding.
    """
    job, data = trained.job, trained.data
    wanted = [each for each in QUANTIZED if each in job.spec.formats]
    if not wanted:
        return QuantizedStudents()
    student = raw_student(trained)
    feeds = feeds_of(student, data.raw, data.layout)
    calibration = spread(data.split("train"), CALIBRATION_ROWS)
    validation = spread(data.split("validation"), COMPARED_ROWS)
    comparison = Comparison(
        [each.evaluated for each in trained.tasks],
        validation if len(validation) else calibration,
        trained.outputs_of(trained.student),
        "validation" if len(validation) else "train",
    )
    batches = [feeds(part) for part in torch.split(calibration, BLOCK)]

    def refuse(each: QuantizedFormat, error: UserError) -> None:
        message = f"the student has no {each} file ({error.code}): {error.message}"
        job.emit(WarningEvent(code="not_quantized", message=message))

    ranges = trained.student.input_ranges
    try:
        graph, sample = trace(student), SampleRows.of(student, data)
        check = check_graph(graph, student, sample, job.outputs.parent)
    except Exception as error:
        refused = export_error(error)
        for each in wanted:
            refuse(each, refused)
        return QuantizedStudents(refused=refused)
    quantization = Quantization(student, graph, batches, ranges)
    found = tuple(quantize(wanted, quantization, feeds, comparison, refuse))
    if any(each.method == "dynamic" for each in found):
        job.emit(WarningEvent(code="answers_depend_on_batch", message=_DYNAMIC))
    return QuantizedStudents(found, graph, _simulated(trained), sample, check)


def _simulated(trained: Trained) -> Outputs | None:
    ranges = trained.student.input_ranges
    if not ranges:
        return None
    network = copy.deepcopy(trained.student.network).cpu()
    simulated(network, ranges)
    return network_outputs(network, trained.data.raw, trained.data.transform, torch.device("cpu"))


def spread(rows: Tensor, most: int) -> Tensor:
    """At most so many of the rows, evenly spaced."""
    return rows if len(rows) <= most else rows[torch.arange(most) * len(rows) // most]
