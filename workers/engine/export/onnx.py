"""Export to ONNX by torch's exporter, and the comparison of the file with torch.

The graph's input is the network's, after the transform in `inputs`, with any number of rows; its outputs are those of
the network, by name.
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import torch
from torch import Tensor, nn

from app.contracts.base import canonical_json
from app.contracts.layouts.cut_files import METADATA_KEY
from app.contracts.problems import UserError
from app.contracts.reports.report import OnnxCheck
from workers.engine.common.eval_mode import evaluating
from workers.engine.models import Network
from workers.engine.models.named import NamedModules

if TYPE_CHECKING:
    import onnxruntime

OPSET = 18
TOLERANCE = 1e-4
_LARGEST_BYTES = 2_000_000_000
_BLOCK = 1024


class _InOrder(nn.Module):
    """A network with a tuple of outputs in a fixed order, as the outputs of a graph are ordered."""

    def __init__(self, network: nn.Module, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.outputs = outputs

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(x)
        return tuple(outputs[name] for name in self.outputs)


def export_onnx(network: Network, path: Path, metadata: Mapping[str, object], input_name: str = "x") -> None:
    """Write `network` to `path` as ONNX of opset 18.

    The graph's input is named `input_name` (`<input_name>_input` if an output has that name) and has shape
    [batch, *input_shape]. `metadata` becomes the model's property `stillhouse`. Raises UserError `export_too_large`
    above 2 GB, the limit of a protobuf file.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if size > _LARGEST_BYTES:
        raise UserError(
            "export_too_large",
            f"ONNX files hold at most {_LARGEST_BYTES} bytes of weights and this network has {size}: leave `onnx` out "
            "of `exports` and use the safetensors file",
        )
    model = _exported(copy.deepcopy(network).cpu(), input_name)
    _remove_source_paths(model)
    onnx.helper.set_model_props(model, {METADATA_KEY: canonical_json(dict(metadata))})
    path.write_bytes(model.SerializeToString(deterministic=True))


def check_onnx(path: Path, network: Network, rows: Tensor, tolerance: float = TOLERANCE) -> OnnxCheck:
    """Run the file in ONNX Runtime on `rows` ([n, …] after the transform, n >= 1) and compare it with torch.

    The first row is run alone, then blocks, so that a graph with a fixed batch size fails. `tolerance` bounds the
    largest absolute difference, multiplied by the largest absolute output if that is above 1. Raises UserError
    `export_mismatch` above it, or if an output is not finite.
    """
    session = _session(path)
    reference = copy.deepcopy(network).cpu()
    worst, largest = 0.0, 0.0
    shaped = rows.detach().float().cpu().reshape(len(rows), *network.input_shape)
    with evaluating(reference):
        for block in (shaped[:1], *torch.split(shaped[1:], _BLOCK)):
            if len(block):
                difference, magnitude = _compared(session, reference, block)
                worst, largest = _worse(worst, difference), max(largest, magnitude)
    allowed = tolerance * max(1.0, largest)
    if not worst <= allowed:
        raise UserError(
            "export_mismatch",
            f"the ONNX graph's outputs differ from torch's by up to {worst:.3g} on {len(rows)} rows, and {allowed:.3g} "
            "is allowed: leave `onnx` out of `exports`, or report this architecture",
        )
    return OnnxCheck(max_abs_difference=worst, tolerance=allowed, rows=len(rows), opset=_opset(path))


def _exported(network: Network, input_name: str) -> onnx.ModelProto:
    outputs = tuple(network.output_sizes)
    public_input = input_name if input_name not in outputs else f"{input_name}_input"
    public = {"_input": public_input} | {f"_output_{i}": name for i, name in enumerate(outputs)}
    batch = torch.export.Dim("batch", min=1)
    for named in [module for module in network.modules() if isinstance(module, NamedModules)]:
        named.make_plain()
    with _no_exporter_warnings():
        program = torch.onnx.export(
            _InOrder(network, outputs).eval(),
            (network.example(rows=2),),
            input_names=["_input"],
            output_names=list(public)[1:],
            opset_version=OPSET,
            dynamic_shapes=({0: batch},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _rename(model.graph, public)
    return model


def _rename(graph: onnx.GraphProto, public: Mapping[str, str]) -> None:
    """Give input and outputs their public names; internal values with such a name (as `linear`) get another."""
    inner = {name: f"_inner_{name}" for name in public.values()}
    names = {**inner, **public}
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names.get(value, value) for value in node.output]
    for part in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.name = names.get(part.name, part.name)


@contextmanager
def _no_exporter_warnings() -> Iterator[None]:
    """Suppress the exporter's warnings, about torchvision and its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _remove_source_paths(model: onnx.ModelProto) -> None:
    """Remove the paths of source files that the exporter records at every node."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def _session(path: Path) -> "onnxruntime.InferenceSession":
    import onnxruntime  # starts a thread, which the fork server must not have

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _compared(session: "onnxruntime.InferenceSession", network: Network, block: Tensor) -> tuple[float, float]:
    """(largest absolute difference, largest absolute output) on a block."""
    expected = network(block)
    outputs = session.run(list(expected), {session.get_inputs()[0].name: block.numpy()})
    worst, largest = 0.0, 0.0
    for reference, output in zip(expected.values(), outputs, strict=True):
        worst = _worse(worst, float((reference - torch.from_numpy(output)).abs().max()))
        largest = max(largest, float(reference.abs().max()))
    return worst, largest


def _worse(one: float, other: float) -> float:
    """The larger number; NaN if one is NaN."""
    return other if other > one or other != other else one


def _opset(path: Path) -> int:
    model = onnx.load(path, load_external_data=False)
    return max(int(entry.version) for entry in model.opset_import if entry.domain == "")
