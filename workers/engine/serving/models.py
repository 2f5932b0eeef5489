"""Models that answer: raw rows in, answers out, by ONNX Runtime wherever the model is a graph or can be one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from app.contracts.layouts.cut_files import METADATA_KEY
from app.contracts.problems import UserError, listed
from app.contracts.resolving.data.texts import tokens_of
from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.graph_names import VERSION_TEXT, answer_names
from app.contracts.resources.inputs.forms import row_of
from app.contracts.resources.inputs.images import ImageForm
from app.contracts.resources.manifests import DatasetManifest, ExclusiveOutput, OutputSpec
from app.contracts.wire.orders import ModelInput
from app.contracts.wire.predictions import TaughtOutput
from workers.engine.common.onnx_session import onnx_session
from workers.engine.data.formats.common import Array
from workers.engine.data.rows.joined import InputLayout, joined
from workers.engine.export.answers import answers
from workers.engine.export.graph_card import graph_metadata
from workers.engine.export.onnx import export_onnx
from workers.engine.jobs.exports.ready_model import raw_student
from workers.engine.models.onnx_graph import OnnxGraph
from workers.engine.serving.row_graph import RowGraph
from workers.engine.serving.rows.forms import form_of_teacher
from workers.engine.teachers.class_selection import ClassSelection
from workers.engine.teachers.teacher import OnnxTeacher, Teacher, open_teacher

if TYPE_CHECKING:
    import onnxruntime

_CPU = torch.device("cpu")
Rows = Mapping[str, Array]
"""Rows [n, …] by the model's names of its inputs, in the types of their forms."""


class AnsweringModel(Protocol):
    """A loaded model."""

    @property
    def outputs(self) -> Mapping[str, OutputSpec]:
        """What it answers."""
        ...

    def answer(self, rows: Rows) -> dict[str, Array]:
        """Answers [n, …] by the names that an exported graph gives them."""
        ...


class ExportedModel:
    """A graph of this service, which takes raw rows and puts out answers."""

    def __init__(self, session: "onnxruntime.InferenceSession", facts: ModelFacts) -> None:
        self._session = session
        self.outputs = {name: output.spec for name, output in facts.outputs.items()}
        self._inputs = [source.name for source in self._session.get_inputs()]
        self._names = [name for task, spec in self.outputs.items() for name in answer_names(task, spec)]

    def answer(self, rows: Rows) -> dict[str, Array]:
        """The graph's own answers; its inputs stand in the order of the model's."""
        fed = dict(zip(self._inputs, rows.values(), strict=True))
        return dict(zip(self._names, self._session.run(self._names, fed), strict=True))

    @property
    def is_current(self) -> bool:
        """Whether the graph takes raw rows: those of earlier versions do not."""
        written = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "")
        return VERSION_TEXT in written


def exported(model: ModelInput, graph: str | None, folder: Path, threads: int) -> ExportedModel:
    """A model of a family as a graph: its own exported file, or one that is made now.

    Raises UserError where it cannot be exported.
    """
    assert model.facts is not None
    if graph is not None:
        found = ExportedModel(onnx_session(Path(graph), threads), model.facts)
        if found.is_current:
            return found
        del found  # its memory, before another graph is made
    student = raw_student(model)
    path = folder / "model.onnx"
    export_onnx(student, path, graph_metadata(student))
    return ExportedModel(onnx_session(path, threads), model.facts)


class UploadedGraph:
    """An uploaded graph, with what its manifest says around it. Rows stand in the graph's own shapes."""

    def __init__(self, model: ModelInput, threads: int) -> None:
        assert model.facts is not None
        self._model, self._threads = model, threads
        inputs = model.facts.inputs.items()
        self._last = {
            name for name, each in inputs if each.layout == "channels_last" or isinstance(each.form, ImageForm)
        }
        self.outputs = {name: output.spec for name, output in model.facts.outputs.items()}
        self._graph = OnnxGraph(Path(model.path), threads)

    def answer(self, rows: Rows) -> dict[str, Array]:
        """Through the teacher that a job would make of the graph."""
        tensors = {name: torch.from_numpy(values) for name, values in rows.items()}
        # A job's rows have their channels in front, and so has what the transform takes.
        tensors = {name: each.movedim(-1, 1) if name in self._last else each for name, each in tensors.items()}
        teacher = OnnxTeacher(self._model, _CPU, self._threads, InputLayout.of(tensors), self._graph)
        x = teacher.prepare(joined([each.contiguous() for each in tensors.values()]))
        found = answers(self.outputs, teacher.forward(x))
        return {name: values.numpy() for name, values in found.items()}


class Taught:
    """A teacher on the rows of its student: what it taught, by names that the question gives."""

    def __init__(
        self,
        model: ModelInput,
        student: ModelFacts,
        taught: Mapping[str, TaughtOutput],
        dataset: DatasetManifest | None,
        threads: int,
    ) -> None:
        """Raises UserError where the teacher reads an input that the student does not."""
        assert model.facts is not None
        self._form = form_of_teacher(model.facts, student, taught)
        self._rows = _rows_of(model, student, threads) if self._form is None else None
        layout = InputLayout({"x": row_of(self._form)}) if self._form is not None else None
        if self._rows is not None:
            _check_inputs(model, student, dataset, tuple(self._rows.shapes))
            layout = InputLayout(self._rows.shapes)
        self._teacher: Teacher = open_teacher(model, _CPU, threads, layout)
        self._taught = taught
        self._selections = {
            key: ClassSelection.of_columns(each.classes, self._teacher.outputs[each.output].spec)
            for key, each in taught.items()
        }
        self.outputs = {key: self._spec(key, student) for key in taught}

    def _spec(self, key: str, student: ModelFacts) -> OutputSpec:
        """That of what was taught, with the student's names of the classes."""
        taught, selection = self._taught[key], self._selections[key]
        spec = self._teacher.outputs[taught.output].spec if selection is None else selection.selected_spec
        own = student.outputs[taught.task].spec
        if isinstance(spec, ExclusiveOutput) and isinstance(own, ExclusiveOutput):
            return spec.model_copy(update={"classes": own.classes})
        return spec

    def answer(self, rows: Rows) -> dict[str, Array]:
        """As a job has computed its soft targets."""
        made = rows if self._rows is None else self._rows.run(rows)
        raw = joined([torch.from_numpy(values) for values in made.values()])
        raw = raw.movedim(-1, 1).contiguous() if isinstance(self._form, ImageForm) else raw
        found = self._teacher.forward(self._teacher.prepare(raw))
        taught = {}
        for key, each in self._taught.items():
            values, selection = found[each.output], self._selections[key]
            taught[key] = values if selection is None else selection.select(values)
        return {name: values.numpy() for name, values in answers(self.outputs, taught).items()}


def _rows_of(model: ModelInput, student: ModelFacts, threads: int) -> RowGraph | None:
    """The nodes before a student's network; None for a teacher of texts, whose rows are made by its own tokenizer.

    Raises UserError `input_mismatch`.
    """
    assert model.facts is not None
    if tokens_of(model.facts) is None:
        return RowGraph(student, threads)
    if tokens_of(student) is None or len(student.inputs) > 1:
        raise UserError(
            "input_mismatch",
            "the teacher reads texts, and this student other rows: the predictions of the job have its answers",
        )
    return None


def _check_inputs(
    model: ModelInput, student: ModelFacts, dataset: DatasetManifest | None, sent: tuple[str, ...]
) -> None:
    """Of a dataset with a single input a teacher reads it whatever it is called; else by name, or all of them.

    Raises UserError `input_mismatch`.
    """
    assert model.facts is not None
    known = tuple(dataset.inputs) if dataset is not None else sent
    selects = student.architecture is not None and student.architecture.inputs is not None
    if len(known) < 2 and not selects:
        return
    named = tuple(model.facts.inputs) or tuple(model.facts.graph_inputs) or known
    missing = [name for name in named if name not in sent]
    if missing:
        raise UserError(
            "input_mismatch",
            f"the teacher reads {listed(named)} of the dataset, the rows of this student have {listed(sent)}: the "
            "predictions of the job have the teacher's answers",
        )
