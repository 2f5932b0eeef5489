"""Networks as ONNX, by torch's own exporter, compared with torch before anyone gets the file.

The graph takes the network's input after the transform in `inputs` (as the safetensors weights do), any number of rows
at a time, and gives one output for each output of the network, by name.
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
    """A network whose outputs are a tuple in a fixed order: graph outputs have positions."""

    def __init__(self, network: nn.Module, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.outputs = outputs

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        answers = self.network(x)
        return tuple(answers[name] for name in self.outputs)


def export_onnx(network: Network, path: Path, metadata: Mapping[str, object], input_name: str = "x") -> None:
    """Write `network` to `path` as ONNX of opset 18.

    The graph's input is called `input_name` (`<input_name>_input` where an output has that name) and has shape
    [batch, *input_shape]. `metadata` goes into the model's property `stillhouse`. Raises UserError `export_too_large`
    above the 2 GB that one protobuf file may have.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if size > _LARGEST_BYTES:
        raise UserError(
            "export_too_large",
            f"ONNX files hold at most {_LARGEST_BYTES} bytes of weights and this network has {size}: leave `onnx` out "
            "of `exports` and use the safetensors file",
        )
    model = _exported(copy.deepcopy(network).cpu(), input_name)
    _forget_the_machine(model)
    onnx.helper.set_model_props(model, {METADATA_KEY: canonical_json(dict(metadata))})
    path.write_bytes(model.SerializeToString(deterministic=True))


def check_onnx(path: Path, network: Network, rows: Tensor, tolerance: float = TOLERANCE) -> OnnxCheck:
    """Run the file through ONNX Runtime on `rows` ([n, …] after the transform, n >= 1) and compare.

    One row alone, then blocks: a graph that froze its batch size fails here. The tolerance is that of the largest
    absolute difference, for outputs up to 1; above, it grows with the largest output. Raises UserError
    `export_mismatch` above it, or where a number is not finite.
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
    taken = input_name if input_name not in outputs else f"{input_name}_input"
    public = {"_input": taken} | {f"_output_{i}": name for i, name in enumerate(outputs)}
    batch = torch.export.Dim("batch", min=1)
    for named in [module for module in network.modules() if isinstance(module, NamedModules)]:
        named.make_plain()
    with _quiet():
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
    _make_public(model.graph, public)
    return model


def _make_public(graph: onnx.GraphProto, public: Mapping[str, str]) -> None:
    """Give input and outputs their names; a value inside that the exporter happened to call so (`linear`) gives way."""
    inner = {name: f"_inner_{name}" for name in public.values()}
    names = {**inner, **public}
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names.get(value, value) for value in node.output]
    for part in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.name = names.get(part.name, part.name)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks of torchvision's absence and of its own deprecations; neither concerns a user's job."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _forget_the_machine(model: onnx.ModelProto) -> None:
    """The exporter notes source files and lines at every node: they are paths of this machine, so they go."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def _session(path: Path) -> "onnxruntime.InferenceSession":
    import onnxruntime  # here, as it starts a thread: the fork server must have none

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _compared(session: "onnxruntime.InferenceSession", network: Network, block: Tensor) -> tuple[float, float]:
    """(largest absolute difference, largest absolute output) on a block."""
    expected = network(block)
    found = session.run(list(expected), {session.get_inputs()[0].name: block.numpy()})
    worst, largest = 0.0, 0.0
    for ours, theirs in zip(expected.values(), found, strict=True):
        worst = _worse(worst, float((ours - torch.from_numpy(theirs)).abs().max()))
        largest = max(largest, float(ours.abs().max()))
    return worst, largest


def _worse(one: float, other: float) -> float:
    """The larger; a NaN wins, as no comparison may hide it."""
    return other if other > one or other != other else one


def _opset(path: Path) -> int:
    model = onnx.load(path, load_external_data=False)
    return max(int(entry.version) for entry in model.opset_import if entry.domain == "")
