"""ONNX files as versions before 2 of the metadata wrote them: a network after its transform, with its own outputs."""

import copy
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from app.contracts.base import canonical_json
from workers.engine.models import Network
from workers.engine.models.named import NamedModules


class _InOrder(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(x).values())


def export_plain(network: Network, path: Path, metadata: Mapping[str, object], input_name: str = "x") -> None:
    """The network's own input and outputs by name, any number of rows; `<input_name>_input` if an output has it."""
    plain = copy.deepcopy(network).cpu().eval()
    names = list(plain.output_sizes)
    for named in [module for module in plain.modules() if isinstance(module, NamedModules)]:
        named.make_plain()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _InOrder(plain),
            (plain.example(rows=2),),
            input_names=["_input"],
            output_names=[f"_output_{i}" for i in range(len(names))],
            opset_version=18,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    public = input_name if input_name not in names else f"{input_name}_input"
    _rename(model.graph, {"_input": public, **{f"_output_{i}": name for i, name in enumerate(names)}})
    onnx.helper.set_model_props(model, {"stillhouse": canonical_json(dict(metadata))})
    path.write_bytes(model.SerializeToString())


def _rename(graph: onnx.GraphProto, public: Mapping[str, str]) -> None:
    names = {**{name: f"_inner_{name}" for name in public.values()}, **public}
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names.get(value, value) for value in node.output]
    for part in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.name = names.get(part.name, part.name)
