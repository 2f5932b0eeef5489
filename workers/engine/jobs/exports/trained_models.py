"""Export of a trained job: weights, ONNX, facts and manifests of the models."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from app.contracts.layouts.summary import layers, parameter_count
from app.contracts.problems import UserError
from app.contracts.reports.report import OnnxCheck
from app.contracts.resolving.data.exports import unchecked_message
from app.contracts.resources.facts import Examples, ModelFacts, OutputFacts
from app.contracts.resources.manifests import ModelInputSpec, ModelManifest
from app.contracts.resources.raw_rows import RawFile
from app.contracts.specs.architectures import Architecture
from app.contracts.wire.events import WarningEvent
from app.contracts.wire.orders import PEER_ROLES, PREDICTIONS_ROLES, OutputFile, OutputRole, PeerModel
from workers.engine.data.rows.joined import InputLayout
from workers.engine.evaluation.cost.measured import MeasuredFile
from workers.engine.evaluation.evaluate import Evaluation
from workers.engine.evaluation.examples import RawModel, network_examples, outputs_as_in_files
from workers.engine.evaluation.report import QuantizedPart
from workers.engine.export.graph_card import graph_metadata
from workers.engine.export.model_card import Provenance, training_part
from workers.engine.export.model_card import metadata as model_metadata
from workers.engine.export.onnx import export_onnx, of_raw_rows
from workers.engine.export.raw_student import RawStudent
from workers.engine.export.safetensors import export_safetensors
from workers.engine.jobs.evaluate import Evaluated
from workers.engine.jobs.exports.errors import export_error
from workers.engine.jobs.exports.output_files import output_file
from workers.engine.jobs.exports.quantized_files import quantized_name, write_quantized
from workers.engine.jobs.exports.quantized_students import QuantizedStudent, QuantizedStudents
from workers.engine.jobs.exports.raw_students import forms_of, input_shapes_of, inputs_of, raw_student
from workers.engine.jobs.exports.runtime_costs import STUDENT
from workers.engine.jobs.exports.student_graph import REFERENCE_FILE, SampleRows, write_graph
from workers.engine.jobs.runs.results import TrainedModel
from workers.engine.jobs.trained import Trained
from workers.engine.models import Network
from workers.engine.models.quantization.copies import copied
from workers.engine.tasks.supervision import losses_on_labels

_GRAPH = "student.onnx"
_FORMATS: Mapping[OutputRole, str] = {"student": "safetensors", "onnx": "onnx", "int8": "int8", "fp16": "fp16"}
"""The files of a student by role."""


@dataclass(frozen=True)
class Exported:
    """The output files of a job without its report, in the order of their publication."""

    files: list[OutputFile]
    student: OutputFile
    control: OutputFile | None
    peers: tuple[PeerModel, ...]
    checks: dict[str, OnnxCheck]
    quantized: list[QuantizedPart]
    facts: ModelFacts
    """The facts of the student; `manifest` is its manifest."""
    manifest: ModelManifest
    measured: tuple[MeasuredFile, ...] = ()
    """The student's files for ONNX Runtime, with rows."""

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of the student's files by format."""
        return {_FORMATS[file.role]: file.bytes for file in self.files if file.role in _FORMATS}


def export_trained(trained: Trained, evaluated: Evaluated, quantized: QuantizedStudents) -> Exported:
    """Write every model, the student as ONNX and quantized where the spec says so, and rows with its answers."""
    exporter = _Exporter(trained, evaluated.evaluation, quantized)
    roles = [PREDICTIONS_ROLES[split] for split in evaluated.predictions]
    predictions = [output_file(role, trained.job.outputs / f"{role}.npz") for role in roles]
    student = exporter.weights("student", trained.student)
    control = exporter.weights("control", trained.control) if trained.control is not None else None
    peers = [exporter.weights(PEER_ROLES[i], peer) for i, peer in enumerate(trained.peers)]
    graphs, checks = exporter.graphs()
    smaller = [found for each in quantized.students if (found := exporter.quantized(each, student)) is not None]
    names = [part.format for _, _, part in smaller]
    reference = exporter.reference([each for each in quantized.students if each.format in names])
    return Exported(
        files=[
            *predictions,
            student,
            *([control] if control else ()),
            *peers,
            *graphs,
            *(file for file, _, _ in smaller),
            reference,
            *exporter.tokenizers(),
        ],
        student=student,
        control=control,
        peers=tuple(exporter.peer(i, peer) for i, peer in enumerate(trained.peers)),
        checks=checks | {part.format: check for _, check, part in smaller},
        quantized=[part for _, _, part in smaller],
        facts=exporter.student_facts,
        manifest=exporter.manifest(trained.run_spec.architecture),
        measured=exporter.measured([part for _, _, part in smaller]),
    )


class _Exporter:
    """Writes the models of one job."""

    def __init__(self, trained: Trained, evaluation: Evaluation, quantized: QuantizedStudents) -> None:
        self._trained = trained
        self._evaluation = evaluation
        self._graph = quantized.graph
        """The student's graph in float32, if it was traced."""
        self._check = quantized.check
        """The comparison of this graph with the engine."""
        self._checked_sample = quantized.sample
        self._folder = trained.job.outputs
        self._refused = _no_file(quantized.refused) if quantized.refused is not None else None
        """Why the student has no ONNX file, if its export failed."""

    def weights(self, role: OutputRole, model: TrainedModel) -> OutputFile:
        """A model as safetensors."""
        path = self._folder / f"{role}.safetensors"
        metadata = self._metadata(model.network.architecture, model.steps, control=role == "control")
        export_safetensors(model.network, path, metadata)
        return output_file(role, path)

    def tokenizers(self) -> list[OutputFile]:
        """The student's tokenizer, where it reads texts."""
        transforms = inputs_of(self._trained, self._trained.run_spec.architecture).values()
        return [
            _copied(self._trained.job.order.tokenizers[each.tokens.tokenizer], self._folder / "tokenizer.json")
            for each in transforms
            if each.tokens is not None and not each.tokens.ids
        ]

    def graphs(self) -> tuple[list[OutputFile], dict[str, OnnxCheck]]:
        """(the student as ONNX, its comparison with the engine); empty unless the spec exports ONNX.

        A file that cannot be written, or gives other answers, is left out, with a warning: the student is kept.
        """
        trained = self._trained
        if "onnx" not in trained.job.spec.exports:
            return [], {}
        path = self._folder / _GRAPH
        try:
            check = self._written(path) if self._refused is None else None
        except Exception as error:
            path.unlink(missing_ok=True)
            self._refused = _no_file(export_error(error))
        if self._refused is not None:
            trained.job.emit(WarningEvent(code="export_failed", message=self._refused))
            return [], {}
        assert check is not None
        if check.unchecked_datasets:
            self._warn_of_unchecked(unchecked_message(check.unchecked_datasets))
        return [output_file("onnx", path)], {"onnx": check}

    def _written(self, path: Path) -> OnnxCheck:
        """Write the student's graph, and check it where no quantized file had to be made of it. Raises UserError."""
        if self._check is None:
            return write_graph(path, self._student, self.sample, self._training)
        export_onnx(self._student, path, graph_metadata(self._student, self._training), self._graph)
        return self._check

    def quantized(
        self, each: QuantizedStudent, weights: OutputFile
    ) -> tuple[OutputFile, OnnxCheck, QuantizedPart] | None:
        """A quantized file of the student, with its comparison; None, with a warning, where it gives other answers."""
        path = self._folder / quantized_name(each.format)
        try:
            check = write_quantized(path, each, self._student, self.sample, weights.sha256)
        except Exception as error:
            path.unlink(missing_ok=True)
            refused = export_error(error)
            message = f"the student has no {each.format} file ({refused.code}): {refused.message}"
            self._trained.job.emit(WarningEvent(code="export_failed", message=message))
            return None
        file = output_file(each.format, path)
        part = QuantizedPart(
            party=each.party,
            format=each.format,
            method=each.method,
            bytes=file.bytes,
            digest=file.sha256,
            ratio=file.bytes / self._float_bytes,
            candidates=each.candidates,
        )
        return file, check, part

    @cached_property
    def _float_bytes(self) -> int:
        """Size of the student's ONNX file in float32, whether it is exported or not."""
        assert self._graph is not None
        metadata = graph_metadata(self._student, self._training)
        return len(of_raw_rows(copied(self._graph.model), self._student, metadata))

    @cached_property
    def _training(self) -> str:
        """What the cards of all formats say of the training."""
        student = self._trained.student
        document = self._metadata(student.network.architecture, student.steps, control=False)
        return training_part(str(document["card"]))

    def measured(self, parts: Sequence[QuantizedPart]) -> tuple[MeasuredFile, ...]:
        """The student's graphs with rows as a person sends them: that in float32 also where only quantized ones are
        exported, which are compared with it.
        """
        paths = {part.party: self._folder / quantized_name(part.format) for part in parts}
        whole = self._folder / _GRAPH
        if not whole.exists() and parts:
            whole = Path(self._trained.job.order.attempt_dir) / _GRAPH
            export_onnx(self._student, whole, {}, self._graph)
        if whole.exists():
            paths = {STUDENT: whole, **paths}
        return tuple(MeasuredFile(party, path, self.sample.rows.feeds) for party, path in paths.items())

    def reference(self, quantized: Sequence[QuantizedStudent]) -> OutputFile:
        """Some rows with the student's answers, and those of its quantized files."""
        path = self._folder / REFERENCE_FILE
        files = {quantized_name(each.format): each for each in quantized}
        self.sample.write_reference(path, self._student, files)
        return output_file(self.sample.role, path)

    def _warn_of_unchecked(self, message: str) -> None:
        """Where the resolution of the spec could not: older inspections do not know the rows of the file."""
        job = self._trained.job
        if message not in {warning["message"] for warning in job.order.warnings}:
            job.emit(WarningEvent(code="rows_not_checked", message=message))

    @cached_property
    def sample(self) -> SampleRows:
        """Rows as they were uploaded, and the student's outputs for them."""
        return self._checked_sample or SampleRows.of(self._student, self._trained.data)

    @cached_property
    def _student(self) -> RawStudent:
        return raw_student(self._trained)

    def _raw_file(self) -> RawFile:
        manifest = self._trained.dataset_inputs[0].manifest
        return RawFile(format=manifest.format, csv=manifest.csv)

    def _metadata(self, architecture: Architecture, steps: int, *, control: bool) -> dict[str, object]:
        trained, evaluation = self._trained, self._evaluation
        provenance = Provenance(
            kind=trained.job.spec.kind,
            datasets=tuple(each.sha256 for each in trained.dataset_inputs),
            teachers=tuple(sorted({teacher.sha256 for teacher in trained.teachers.opened.values()})),
            control=control,
            steps=steps,
            seed=trained.seed_of(control=control),
            losses=losses_on_labels(trained.run_spec.tasks),
            metrics=evaluation.control if control else evaluation.student,
            not_measured=evaluation.not_measured,
        )
        outputs = {each.student.name: each.student.spec for each in trained.tasks}
        return model_metadata(architecture, inputs_of(self._trained, architecture), outputs, provenance)

    def _input_specs(self, architecture: Architecture) -> dict[str, ModelInputSpec]:
        """As in a manifest: several inputs say their shapes."""
        shapes = self._trained.data.layout.shapes
        return {
            name: ModelInputSpec(**dict(transform), shape=shapes[name] if len(shapes) > 1 else None)
            for name, transform in inputs_of(self._trained, architecture).items()
        }

    @property
    def student_facts(self) -> ModelFacts:
        """Those of the student, which say why it has no ONNX file if its export failed."""
        return self.facts(self._trained.student).model_copy(update={"export_refused": self._refused})

    def facts(self, model: TrainedModel) -> ModelFacts:
        """The facts of an exported model, as an inspection would find them."""
        architecture = model.network.architecture
        sizes = architecture.outputs or {}
        return ModelFacts(
            architecture=architecture,
            input_shape=architecture.input_shape,
            inputs=inputs_of(self._trained, architecture),
            input_shapes={**input_shapes_of(self._trained, architecture)},
            raw_inputs=forms_of(self._trained),
            raw_file=self._raw_file(),
            outputs={
                each.student.name: OutputFacts(spec=each.student.spec, size=sizes[each.student.name])
                for each in self._trained.tasks
            },
            parameters=parameter_count(architecture),
            layers=layers(architecture),
            examples=self._examples(model.network),
        )

    def _examples(self, network: Network) -> Examples:
        layout = InputLayout(input_shapes_of(self._trained, network.architecture))
        return network_examples(
            RawModel(layout, inputs_of(self._trained, network.architecture), partial(outputs_as_in_files, network))
        )

    def peer(self, index: int, model: TrainedModel) -> PeerModel:
        """A peer as the outcome names it."""
        manifest = self.manifest(model.network.architecture)
        return PeerModel(role=PEER_ROLES[index], facts=self.facts(model), manifest=manifest)

    def manifest(self, architecture: Architecture) -> ModelManifest:
        """The manifest of an exported model, as for an upload."""
        spec = self._trained.job.spec
        return ModelManifest(
            name=spec.name or f"{spec.kind} student",
            format="safetensors",
            architecture=architecture,
            inputs=self._input_specs(architecture),
            outputs={each.student.name: each.student.spec for each in self._trained.tasks},
            licence=spec.licence,
        )


def _copied(source: str, target: Path) -> OutputFile:
    shutil.copyfile(source, target)
    return output_file("tokenizer", target)


def _no_file(error: UserError) -> str:
    return f"the student has no ONNX file ({error.code}): {error.message}"
