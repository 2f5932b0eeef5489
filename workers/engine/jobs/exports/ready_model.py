"""The `export` job: a ready model of a known architecture in another format, compared with torch."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from app.contracts.layouts.cut_files import METADATA_KEY
from app.contracts.problems import UserError
from app.contracts.resources.facts import ModelFacts
from app.contracts.wire.events import PhaseEvent
from app.contracts.wire.orders import ExportOutcome, ModelInput, Order, OutputFile
from workers.engine.common.files import sha256_of
from workers.engine.export.model_card import METADATA_VERSION, input_order
from workers.engine.export.onnx import check_onnx, export_onnx
from workers.engine.models import Network, build
from workers.engine.models.loading import load_weights
from workers.engine.training.interface import Emit

CHECKED_ROWS = 64
"""Rows of normal numbers on which the file is compared with torch: an export has no dataset."""
_FILE = "model.onnx"


def export_model(order: Order, emit: Emit) -> ExportOutcome:
    """Export the model of an order as ONNX.

    Raises UserError `no_architecture`, `export_too_large`, `export_mismatch`.
    """
    emit(PhaseEvent(phase="exporting"))
    model = next(iter(order.models.values()))
    facts = model.facts
    if facts is None or facts.architecture is None:
        raise UserError("no_architecture", "only a model of a family can be exported: a graph is its own export")
    network = build(facts.architecture)
    network.load_state_dict(load_weights(Path(model.path), model.manifest, facts.architecture))
    path = Path(order.attempt_dir) / "outputs" / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    export_onnx(
        network, path, _metadata(model, facts), next(iter(facts.inputs), "x") if len(facts.inputs) < 2 else "inputs"
    )
    check_onnx(path, network, _rows(network))
    file = OutputFile(role="onnx", path=_FILE, bytes=path.stat().st_size, sha256=sha256_of(path))
    return ExportOutcome(files=(file,))


def _rows(network: Network) -> torch.Tensor:
    return torch.randn(CHECKED_ROWS, *network.input_shape, generator=torch.Generator().manual_seed(0))


def _metadata(model: ModelInput, facts: ModelFacts) -> dict[str, Any]:
    """That of a file that Stillhouse wrote, with its model card; else architecture, inputs and outputs."""
    assert facts.architecture is not None
    architecture = facts.architecture.model_dump(mode="json")
    with safe_open(model.path, framework="pt") as file:
        written = (file.metadata() or {}).get(METADATA_KEY)
    try:
        document = json.loads(written or "null")
    except ValueError:
        document = None
    if isinstance(document, dict) and document.get("architecture") == architecture:
        return document
    return {
        "version": METADATA_VERSION,
        "architecture": architecture,
        "inputs": {name: transform.model_dump(mode="json") for name, transform in sorted(facts.inputs.items())},
        **input_order(facts.inputs),
        "outputs": {name: output.spec.model_dump(mode="json") for name, output in sorted(facts.outputs.items())},
    }
