"""A trained student as an ONNX file, and what it is checked and delivered with: rows as they were uploaded, and the
engine's predictions for them.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import onnx
import torch
from torch import Tensor

from app.contracts.reports.report import OnnxCheck
from app.contracts.resources.inputs.texts import reads_same_tokens
from app.contracts.resources.raw_rows import RawInput
from app.contracts.wire.orders import ReferenceRole
from workers.engine.data.dataset import Dataset
from workers.engine.data.formats.common import Array
from workers.engine.data.rows.uploaded import REFERENCE_ROWS
from workers.engine.evaluation.parties import network_outputs
from workers.engine.export.causes import CheckedRows
from workers.engine.export.check import check_onnx
from workers.engine.export.graph_card import graph_metadata
from workers.engine.export.graph_outputs import GraphOutputs
from workers.engine.export.onnx import RowsGraph, export_onnx
from workers.engine.export.raw_student import RawStudent
from workers.engine.export.reference import write_reference
from workers.engine.export.row_nodes import rows_name
from workers.engine.jobs.exports.invented_rows import engine_outputs, invented_rows
from workers.engine.jobs.load import JobData

REFERENCE_FILE = "reference.npz"


class BlockGraph(Protocol):
    """A graph from the dataset's rows to the answers, and how many rows it is run with at once."""

    @property
    def model(self) -> onnx.ModelProto: ...

    @property
    def block(self) -> int: ...


@dataclass(frozen=True)
class SampleRows:
    """Rows as a person sends them (n >= 1), and the engine's outputs for them ([n, size] by task, on the CPU).

    `invented`: whether they are none of the dataset's; `unchecked`: the datasets that have no such rows.
    """

    rows: CheckedRows
    outputs: dict[str, Tensor]
    invented: bool
    unchecked: tuple[str, ...] = ()

    @classmethod
    def of(cls, student: RawStudent, data: JobData) -> "SampleRows":
        """The sample rows of the dataset's files; invented ones where no file of several has such rows."""
        uploaded = data.dataset.uploaded
        assert uploaded is not None, "rows of a job are read from a file"
        if len(uploaded.rows) == 0:
            return replace(cls.made_for(student), unchecked=uploaded.unchecked)
        # On the CPU, as the file: the rounding of another device is none of its faults.
        cpu = torch.device("cpu")
        network = copy.deepcopy(student.network).to(cpu)
        outputs = network_outputs(network, data.raw, data.transform, cpu)(uploaded.rows)
        rows = CheckedRows(
            student,
            raw={name: uploaded.inputs[name].sample for name in student.inputs},
            read={name: data.dataset.rows_of[name][uploaded.rows].numpy() for name in student.inputs},
            place=lambda row: _place(int(uploaded.rows[row]), data),
        )
        return cls(rows, dict(outputs), invented=False, unchecked=uploaded.unchecked)

    @classmethod
    def of_dataset(cls, student: RawStudent, dataset: Dataset, sources: Mapping[str, str]) -> "SampleRows":
        """Rows of a dataset for a student of other datasets, whose inputs are those of the dataset that `sources`
        names; invented ones where the rows stand in another form in its file than the student's graph takes.
        """
        uploaded = dataset.uploaded
        assert uploaded is not None, "rows of a job are read from a file"
        parts = {name: uploaded.inputs[source] for name, source in sources.items()}
        if not len(uploaded.rows) or not all(_takes(student.forms[name], part.form) for name, part in parts.items()):
            return replace(cls.made_for(student), unchecked=tuple(source.id for source in dataset.sources))
        read = {name: student.as_rows(name, dataset.rows_of[source][uploaded.rows]) for name, source in sources.items()}
        raw = {name: part.sample.astype(_array_type(student.forms[name])) for name, part in parts.items()}
        rows = CheckedRows(
            student,
            raw=raw,
            read={name: each.numpy() for name, each in read.items()},
            place=lambda row: f"row {int(uploaded.rows[row])}",
        )
        return cls(rows, engine_outputs(student, read), invented=False)

    @classmethod
    def made_for(cls, student: RawStudent) -> "SampleRows":
        """Invented rows."""
        return cls(*invented_rows(student), invented=True)

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(next(iter(self.rows.read.values())))

    def feeds(self, chosen: Tensor) -> dict[str, Array]:
        """Some of the rows (int64 [n]) as the engine reads them, for a `RowsGraph` of the student."""
        student = self.rows.student
        return {
            rows_name(public): self.rows.read[name][chosen.numpy()].astype(student.forms[name].rows)
            for name, public in student.input_names.items()
        }

    @property
    def role(self) -> ReferenceRole:
        """The role of a file of them."""
        return "invented_rows" if self.invented else "reference_rows"

    def write_reference(
        self, path: Path, student: RawStudent, quantized: Mapping[str, BlockGraph] | None = None
    ) -> None:
        """Write the first rows with their answers, and those of quantized files by name, run in their own blocks."""
        rows = {name: values[:REFERENCE_ROWS] for name, values in self.rows.feeds.items()}
        outputs = {name: values[:REFERENCE_ROWS] for name, values in self.outputs.items()}
        first = torch.arange(min(REFERENCE_ROWS, self.count))
        others = {
            name: GraphOutputs(each.model, student.outputs, self.feeds, each.block)(first)
            for name, each in (quantized or {}).items()
        }
        write_reference(path, rows, outputs, student.outputs, others)


def write_graph(
    path: Path, student: RawStudent, sample: SampleRows, training: str, graph: RowsGraph | None = None
) -> OnnxCheck:
    """Write the file and compare its answers for the sample rows with the engine's predictions.

    `training`: what the model card says of the training. Raises UserError `rows_not_exportable`, `export_too_large`,
    `export_mismatch`.
    """
    export_onnx(student, path, graph_metadata(student, training), graph)
    return _checked(path, sample)


def check_graph(graph: RowsGraph, student: RawStudent, sample: SampleRows, folder: Path) -> OnnxCheck:
    """Compare the graph's answers for the sample rows with the engine's predictions, before other files are made of it.

    `folder`: where a file of it is written for this. Raises UserError `export_mismatch`.
    """
    with TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "graph.onnx"
        export_onnx(student, path, {}, graph)
        return _checked(path, sample)


def _checked(path: Path, sample: SampleRows) -> OnnxCheck:
    check = check_onnx(path, sample.rows, sample.outputs)
    return check.model_copy(update={"unchecked_datasets": sample.unchecked})


def _takes(form: RawInput, other: RawInput) -> bool:
    """Whether a graph for rows of the form takes rows of another file, and they mean the same there. Numbers are
    rounded to the type of its rows in any case, so that floats may stand in a wider type.
    """
    if form.tokens is not None and other.tokens is not None:
        return reads_same_tokens(form.tokens, other.tokens)
    floats = other.dtype.startswith("float") and form.dtype in (form.rows, "float64")
    same = {"columns": form.columns, **({"dtype": form.dtype} if floats else {})}
    return other.model_copy(update=same) == form


def _array_type(form: RawInput) -> str:
    return "object" if form.dtype == "string" else form.dtype


def _place(row: int, data: JobData) -> str:
    """A row of the dataset, as a message names it."""
    sources = data.dataset.sources
    if len(sources) < 2:
        return f"row {row}"
    source = next(each for each in reversed(sources) if each.first <= row)
    return f"row {row - source.first} of {source.id}"
