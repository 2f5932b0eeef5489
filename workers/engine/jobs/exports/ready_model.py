"""The `export` job: a ready model of a known architecture in another format, compared with torch."""

import json
from pathlib import Path

from safetensors import safe_open

from app.contracts.layouts.cut_files import METADATA_KEY
from app.contracts.problems import UserError
from app.contracts.resources.facts import ModelFacts
from app.contracts.specs.jobs import ExportJob
from app.contracts.wire.events import PhaseEvent
from app.contracts.wire.orders import ExportOutcome, ModelInput, Order
from workers.engine.export.model_card import training_part
from workers.engine.export.raw_student import RawStudent
from workers.engine.jobs.exports.output_files import output_file
from workers.engine.jobs.exports.ready_quantized import export_quantized
from workers.engine.jobs.exports.student_graph import REFERENCE_FILE, SampleRows, write_graph
from workers.engine.models import Network, build
from workers.engine.models.loading import load_weights
from workers.engine.training.interface import Emit

_FILE = "model.onnx"


def export_model(order: Order, emit: Emit) -> ExportOutcome:
    """Export the model of an order as ONNX, or quantized, with the transform that its manifest or its training gave it.

    Raises UserError `no_architecture`, `export_too_large`, `export_mismatch`, and as `export_quantized` does.
    """
    emit(PhaseEvent(phase="exporting"))
    model = next(iter(order.models.values()))
    student = raw_student(model)
    spec = order.spec
    assert isinstance(spec, ExportJob)
    if spec.format != "onnx":
        return export_quantized(order, spec, spec.format, student)
    path = Path(order.attempt_dir) / "outputs" / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    sample = SampleRows.made_for(student)
    write_graph(path, student, sample, _training(model, student))
    reference = path.with_name(REFERENCE_FILE)
    sample.write_reference(reference, student)
    return ExportOutcome(files=(output_file("onnx", path), output_file(sample.role, reference)))


def raw_student(model: ModelInput) -> RawStudent:
    """A ready model of a family with its weights. Raises UserError `no_architecture`, `export_mismatch`."""
    facts = model.facts
    if facts is None or facts.architecture is None:
        raise UserError("no_architecture", "only a model of a family can be exported: a graph is its own export")
    if facts.export_refused is not None:
        raise UserError("export_mismatch", facts.export_refused)
    network = build(facts.architecture)
    network.load_state_dict(load_weights(Path(model.path), model.manifest, facts.architecture))
    return raw_student_of(network.eval(), facts)


def raw_student_of(network: Network, facts: ModelFacts) -> RawStudent:
    """The network of a ready model, with what its facts say stands before and behind it."""
    outputs = {name: output.spec for name, output in facts.outputs.items()}
    return RawStudent.of(network, facts.inputs, _shapes(facts), outputs, facts.raw_inputs)


def _shapes(facts: ModelFacts) -> dict[str, tuple[int, ...]]:
    """The shapes of rows by input; a network fixes them."""
    return {
        name: tuple(side for side in shape if side is not None)
        for name, shape in facts.input_shapes.items()
        if len(facts.inputs) > 1
    }


def _training(model: ModelInput, student: RawStudent) -> str:
    """What the card of a file that Stillhouse wrote says of the training; nothing for others."""
    with safe_open(model.path, framework="pt") as file:
        written = (file.metadata() or {}).get(METADATA_KEY)
    try:
        document = json.loads(written or "null")
    except ValueError:
        return ""
    architecture = student.network.architecture.model_dump(mode="json")
    if not isinstance(document, dict) or document.get("architecture") != architecture:
        return ""
    return training_part(str(document.get("card", "")))
