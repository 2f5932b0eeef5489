"""A trained student as an ONNX file, and its check on the rows as they were uploaded."""

import copy
from pathlib import Path

import torch

from app.contracts.reports.report import OnnxCheck
from workers.engine.evaluation.parties import network_outputs
from workers.engine.export.check import check_onnx
from workers.engine.export.graph_card import graph_metadata
from workers.engine.export.onnx import export_onnx
from workers.engine.export.raw_student import RawStudent
from workers.engine.jobs.exports.invented_rows import check_on_invented_rows
from workers.engine.jobs.load import JobData


def write_graph(path: Path, student: RawStudent, data: JobData, training: str) -> OnnxCheck:
    """Write the file and compare its answers for the sample rows of the dataset's files with the engine's predictions;
    for invented rows where no file of several has rows that the graph takes.

    `training`: what the model card says of the training. Raises UserError `export_too_large`, `export_mismatch`.
    """
    export_onnx(student, path, graph_metadata(student, training))
    uploaded = data.dataset.uploaded
    assert uploaded is not None, "rows of a job are read from a file"
    if len(uploaded.rows) == 0:
        return check_on_invented_rows(path, student)
    # On the CPU, as the file: the rounding of another device is none of its faults.
    cpu = torch.device("cpu")
    network = copy.deepcopy(student.network).to(cpu)
    outputs = network_outputs(network, data.raw, data.transform, cpu)(uploaded.rows)
    rows = {public: uploaded.inputs[name].sample for name, public in student.input_names.items()}
    return check_onnx(path, rows, outputs, student.outputs)
