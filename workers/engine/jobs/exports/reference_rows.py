"""A few rows with a model's answers, which go with its files: for trying them out where they will run."""

import copy
from pathlib import Path

import torch

from app.contracts.wire.orders import OutputFile
from workers.engine.data.rows.uploaded import REFERENCE_ROWS
from workers.engine.evaluation.parties import network_outputs
from workers.engine.export.raw_student import RawStudent
from workers.engine.export.reference import write_reference
from workers.engine.jobs.exports.invented_rows import invented_rows
from workers.engine.jobs.exports.output_files import output_file
from workers.engine.jobs.load import JobData

_FILE = "reference.npz"


def write_reference_rows(folder: Path, student: RawStudent, data: JobData) -> OutputFile:
    """Write rows of the test split as they stand in the dataset's file (of the training split without one), with the
    engine's predictions; invented rows where no file of several has rows that the student's graph takes.
    """
    uploaded = data.dataset.uploaded
    assert uploaded is not None, "rows of a job are read from a file"
    places = uploaded.rows[:REFERENCE_ROWS]
    if len(places) == 0:
        return write_invented_rows(folder, student)
    cpu = torch.device("cpu")
    outputs = network_outputs(copy.deepcopy(student.network).to(cpu), data.raw, data.transform, cpu)(places)
    rows = {public: uploaded.inputs[name].sample[: len(places)] for name, public in student.input_names.items()}
    write_reference(folder / _FILE, rows, outputs, student.outputs)
    return output_file("reference_rows", folder / _FILE)


def write_invented_rows(folder: Path, student: RawStudent) -> OutputFile:
    """Write invented rows, of a model whose dataset is not at hand, with the engine's predictions."""
    rows, outputs = invented_rows(student)
    rows = {name: values[:REFERENCE_ROWS] for name, values in rows.items()}
    outputs = {name: values[:REFERENCE_ROWS] for name, values in outputs.items()}
    write_reference(folder / _FILE, rows, outputs, student.outputs)
    return output_file("invented_rows", folder / _FILE)
