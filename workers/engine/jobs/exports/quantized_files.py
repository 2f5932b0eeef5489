"""Quantized students as files, each checked on the rows as they were uploaded."""

from dataclasses import replace
from pathlib import Path

import torch

from app.contracts.reports.report import OnnxCheck
from app.contracts.specs.quantization import QuantizedFormat
from workers.engine.export.check import check_onnx
from workers.engine.export.graph_card import graph_metadata
from workers.engine.export.graph_outputs import GraphOutputs, answer_specs
from workers.engine.export.onnx import of_raw_rows
from workers.engine.export.raw_student import RawStudent
from workers.engine.jobs.exports.quantized_students import QuantizedStudent
from workers.engine.jobs.exports.student_graph import SampleRows
from workers.engine.models.quantization.copies import copied


def quantized_name(wanted: QuantizedFormat) -> str:
    """The name of a student's file beside `student.onnx`."""
    return f"student.{wanted}.onnx"


def write_quantized(
    path: Path, quantized: QuantizedStudent, student: RawStudent, sample: SampleRows, digest: str
) -> OnnxCheck:
    """Write the file and compare its answers for the sample rows with those of the graph that was measured.

    Its card has no part on training, which would be a share of so small a file; `digest` is that of the student's
    weights, whose card has it. Raises UserError `export_mismatch`.
    """
    origin = {"format": quantized.format, "method": quantized.method, "weights_sha256": digest}
    metadata = {**graph_metadata(student, brief=True), "quantization": origin}
    path.write_bytes(of_raw_rows(copied(quantized.model), student, metadata))
    outputs = GraphOutputs(quantized.model, student.outputs, sample.feeds, quantized.block)
    rows = replace(sample.rows, student=replace(student, outputs=answer_specs(student.outputs)))
    check = check_onnx(path, rows, outputs(torch.arange(sample.count)), block=quantized.block, kind=quantized.format)
    return check.model_copy(update={"unchecked_datasets": sample.unchecked})
