"""Export of a trained job: weights, ONNX, facts and manifests of the models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from app.contracts.layouts.summary import layers, parameter_count
from app.contracts.problems import UserError
from app.contracts.reports.report import OnnxCheck
from app.contracts.resources.facts import Examples, ModelFacts, OutputFacts
from app.contracts.resources.manifests import InputTransform, ModelInputSpec, ModelManifest
from app.contracts.resources.raw_rows import RawFile, RawInput
from app.contracts.resources.row_layouts import transform_for
from app.contracts.specs.architectures import Architecture
from app.contracts.wire.events import WarningEvent
from app.contracts.wire.orders import PEER_ROLES, PREDICTIONS_ROLES, OutputFile, OutputRole, PeerModel
from workers.engine.data.rows.joined import InputLayout
from workers.engine.evaluation.cost.measured import MeasuredFile
from workers.engine.evaluation.evaluate import Evaluation
from workers.engine.evaluation.examples import RawModel, network_examples, network_outputs
from workers.engine.export.model_card import Provenance, training_part
from workers.engine.export.model_card import metadata as model_metadata
from workers.engine.export.raw_student import RawStudent
from workers.engine.export.safetensors import export_safetensors
from workers.engine.jobs.evaluate import Evaluated, outputs_folder
from workers.engine.jobs.exports.invented_rows import invented_rows
from workers.engine.jobs.exports.output_files import output_file
from workers.engine.jobs.exports.reference_rows import write_reference_rows
from workers.engine.jobs.exports.runtime_costs import STUDENT
from workers.engine.jobs.exports.student_graph import write_graph
from workers.engine.jobs.runs.results import TrainedModel
from workers.engine.jobs.trained import Trained
from workers.engine.models import Network
from workers.engine.tasks.supervision import losses_on_labels

_FORMATS: Mapping[OutputRole, str] = {"student": "safetensors", "onnx": "onnx"}
"""The files of a student by role."""


@dataclass(frozen=True)
class Exported:
    """The output files of a job without its report, in the order of their publication."""

    files: list[OutputFile]
    student: OutputFile
    control: OutputFile | None
    peers: tuple[PeerModel, ...]
    checks: dict[str, OnnxCheck]
    facts: ModelFacts
    """The facts of the student; `manifest` is its manifest."""
    manifest: ModelManifest
    measured: tuple[MeasuredFile, ...] = ()
    """The student's files for ONNX Runtime, with rows."""

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of the student's files by format."""
        return {_FORMATS[file.role]: file.bytes for file in self.files if file.role in _FORMATS}


def export_trained(trained: Trained, evaluated: Evaluated) -> Exported:
    """Write every model, the student as ONNX where the spec says so, and rows with its answers."""
    exporter = _Exporter(trained, evaluated.evaluation)
    roles = [PREDICTIONS_ROLES[split] for split in evaluated.predictions]
    predictions = [output_file(role, outputs_folder(trained.job) / f"{role}.npz") for role in roles]
    student = exporter.weights("student", trained.student)
    control = exporter.weights("control", trained.control) if trained.control is not None else None
    peers = [exporter.weights(PEER_ROLES[i], peer) for i, peer in enumerate(trained.peers)]
    graphs, checks = exporter.graphs()
    reference = exporter.reference()
    return Exported(
        files=[*predictions, student, *([control] if control else ()), *peers, *graphs, reference],
        student=student,
        control=control,
        peers=tuple(exporter.peer(i, peer) for i, peer in enumerate(trained.peers)),
        checks=checks,
        facts=exporter.student_facts,
        manifest=exporter.manifest(trained.run_spec.architecture),
        measured=exporter.measured(graphs),
    )


class _Exporter:
    """Writes the models of one job."""

    def __init__(self, trained: Trained, evaluation: Evaluation) -> None:
        self._trained = trained
        self._evaluation = evaluation
        self._folder = outputs_folder(trained.job)
        self._refused: str | None = None
        """Why the student has no ONNX file, if its export failed."""

    def weights(self, role: OutputRole, model: TrainedModel) -> OutputFile:
        """A model as safetensors."""
        path = self._folder / f"{role}.safetensors"
        metadata = self._metadata(model.network.architecture, model.steps, control=role == "control")
        export_safetensors(model.network, path, metadata)
        return output_file(role, path)

    def graphs(self) -> tuple[list[OutputFile], dict[str, OnnxCheck]]:
        """(the student as ONNX, its comparison with the engine); empty unless the spec exports ONNX.

        A file that cannot be written, or gives other answers, is left out, with a warning: the student is kept.
        """
        trained = self._trained
        if "onnx" not in trained.job.spec.exports:
            return [], {}
        path, steps = self._folder / "student.onnx", trained.student.steps
        architecture = trained.student.network.architecture
        try:
            training = training_part(str(self._metadata(architecture, steps, control=False)["card"]))
            check = write_graph(path, self.raw_student(trained.student.network), trained.data, training)
        except UserError as error:
            path.unlink(missing_ok=True)
            self._refused = f"the student has no ONNX file ({error.code}): {error.message}"
            trained.job.emit(WarningEvent(code="export_failed", message=self._refused))
            return [], {}
        return [output_file("onnx", path)], {"onnx": check}

    def measured(self, graphs: Sequence[OutputFile]) -> tuple[MeasuredFile, ...]:
        """The student's graphs with rows as they were uploaded, or invented ones where no file of several has such."""
        if not graphs:
            return ()
        student, uploaded = self.raw_student(self._trained.student.network), self._trained.data.dataset.uploaded
        assert uploaded is not None, "rows of a job are read from a file"
        rows = {public: uploaded.inputs[name].sample for name, public in student.input_names.items()}
        if len(uploaded.rows) == 0:
            rows = invented_rows(student)[0]
        return tuple(MeasuredFile(STUDENT, self._folder / graph.path, rows) for graph in graphs)

    def reference(self) -> OutputFile:
        """A few rows with the student's answers."""
        student = self.raw_student(self._trained.student.network)
        return write_reference_rows(self._folder, student, self._trained.data)

    def raw_student(self, network: Network) -> RawStudent:
        """A network of the student's architecture, with what stands before and behind it."""
        architecture = network.architecture
        outputs = {each.student.name: each.student.spec for each in self._trained.tasks}
        inputs, shapes = self._inputs(architecture), self._input_shapes(architecture)
        return RawStudent.of(network, inputs, shapes, outputs, self._forms())

    def _forms(self) -> dict[str, RawInput]:
        """How the inputs that the student reads stand in the files of the job."""
        data = self._trained.data
        uploaded = data.dataset.uploaded
        return {name: uploaded.inputs[name].form for name in data.names} if uploaded is not None else {}

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
        return model_metadata(architecture, self._inputs(architecture), outputs, provenance)

    def _inputs(self, architecture: Architecture) -> dict[str, InputTransform]:
        """The dataset's transforms; that of a single input is for rows in the network's input shape."""
        data = self._trained.data
        transforms, shapes = data.dataset.transforms, data.layout.shapes
        if len(shapes) > 1:
            return {name: transforms[name] for name in shapes}
        ((name, rows),) = shapes.items()
        return {name: transform_for(transforms[name], rows, architecture.input_shape or rows)}

    def _input_specs(self, architecture: Architecture) -> dict[str, ModelInputSpec]:
        """As in a manifest: several inputs say their shapes."""
        shapes = self._trained.data.layout.shapes
        return {
            name: ModelInputSpec(**dict(transform), shape=shapes[name] if len(shapes) > 1 else None)
            for name, transform in self._inputs(architecture).items()
        }

    def _input_shapes(self, architecture: Architecture) -> dict[str, tuple[int, ...]]:
        """The shape of each input; that of a single one is the network's."""
        shapes = dict(self._trained.data.layout.shapes)
        if len(shapes) == 1 and architecture.input_shape is not None:
            return dict.fromkeys(shapes, architecture.input_shape)
        return shapes

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
            inputs=self._inputs(architecture),
            input_shapes={**self._input_shapes(architecture)},
            raw_inputs=self._forms(),
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
        layout = InputLayout(self._input_shapes(network.architecture))
        return network_examples(RawModel(layout, self._inputs(network.architecture), partial(network_outputs, network)))

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
