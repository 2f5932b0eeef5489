"""Networks with plain rows as exports take them, and their files beside the engine's outputs."""

from pathlib import Path

from torch import Tensor

from app.contracts.reports.report import OnnxCheck
from app.contracts.resources.manifests import ClassOutput, InputTransform, OutputSpec, ValueOutput
from workers.engine.common.eval_mode import evaluating
from workers.engine.export.causes import CheckedRows
from workers.engine.export.check import check_onnx
from workers.engine.export.onnx import export_onnx
from workers.engine.export.raw_student import RawStudent
from workers.engine.models import Network


def specs_of(network: Network) -> dict[str, OutputSpec]:
    """Outputs of one number are values, others classes."""
    return {
        name: ClassOutput(kind="class") if size > 1 else ValueOutput(kind="value")
        for name, size in network.output_sizes.items()
    }


def raw_student(network: Network, input_name: str = "x") -> RawStudent:
    """Without a transform."""
    return RawStudent.of(network, {input_name: InputTransform()}, {}, specs_of(network))


def checked(path: Path, network: Network, rows: Tensor, input_name: str = "x") -> OnnxCheck:
    """A file of `raw_student` beside torch's outputs for rows [n, *input_shape]."""
    with evaluating(network):
        outputs = network(rows)
    same = {input_name: rows.numpy()}
    return check_onnx(path, CheckedRows(raw_student(network, input_name), same, same), outputs)


def exported_and_checked(network: Network, path: Path, rows: Tensor) -> OnnxCheck:
    """Export and check."""
    export_onnx(raw_student(network), path, {"card": "c"})
    return checked(path, network, rows)
