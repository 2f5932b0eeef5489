"""The graph of a network that was trained with rounding computes what the network computes."""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from app.contracts.specs.architectures import Architecture
from tests.engine.export.raw_students import raw_student
from tests.engine.models.quantization.graphs import (
    integer_weights,
    operators,
    operators_run,
    outputs_of_graph,
    plain_answers,
    rounding_step,
    simulated_outputs,
    some_rows,
    trained_ranges,
)
from tests.engine.models.sharing.networks import FAMILIES, made, parsed
from tests.engine.models.sharing.networks import shared as shared_network
from tests.exhaustive import sample
from workers.engine.export.onnx import of_raw_rows
from workers.engine.export.quantized_graphs import aware_graph
from workers.engine.models import Network
from workers.engine.models.modules import QuantizationPoint
from workers.engine.models.quantization.compact import compact
from workers.engine.models.quantization.copies import copied
from workers.engine.models.quantization.layers import layers_of

ROWS = 64
OUTPUTS = {"left": 3, "size.cm": 1}
"""Tracing takes longer with every output."""
MOST_STEPS = 8
"""Rows of networks of many layers have several inputs at the edge of two steps, where float32 decides."""


def shared(family: str, scheme: str, **changes: Any) -> Architecture:
    return shared_network(family, scheme, OUTPUTS, **changes)


def linear_layers(network: Network) -> list[nn.Linear]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]


def equal_layers() -> Network:
    """Two layers with the same weights and other norms: exporters merge equal nodes."""
    network = made(parsed({**FAMILIES["mlp"], "hidden": [6, 6], "outputs": OUTPUTS}))
    first, second = linear_layers(network)[:2]
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    with torch.no_grad():
        second.weight.copy_(first.weight)
        for scale, norm in zip((0.5, -2.0), norms, strict=True):
            norm.weight.fill_(scale)
    return network


def odd_channels() -> Network:
    """BatchNorm that turns a channel round, one that is 0 but for its offset, and a channel without weights."""
    network = made(shared("convnet", "hard"))
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([-1.5, 0.0, 0.7]))
        norm.bias.copy_(torch.tensor([0.2, 0.6, -0.4]))
        last = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)][-1]
        last.weight[2] = 0.0
    return network


def dead_channel() -> Network:
    """Experts with LayerNorm, whose biases are rounded alone: a channel without weights is its bias."""
    network = made(shared("mlp", "mmoe", normalization="layer"))
    first = linear_layers(network)[0]
    assert first.bias is not None
    with torch.no_grad():
        first.weight[1] = 0.0
        first.bias[1] = 0.7
    return network


CASES = {
    "mlp of equal layers": equal_layers,
    "convnet of odd channels": odd_channels,
    "series": lambda: made(shared("series", "hard")),
    "resnet": lambda: made(shared("resnet", "hard", input_shape=[3, 5, 4], stem=8)),
    "transformer": lambda: made(shared("transformer", "hard", depth=1)),
    "experts with a dead channel": dead_channel,
}


KEPT = ["mlp of equal layers", "convnet of odd channels", "resnet", "transformer"]


@dataclass(frozen=True)
class Aware:
    network: Network
    ranges: dict[str, Tensor]
    x: Tensor
    model: onnx.ModelProto
    """Before it is made compact."""


@cache
def aware(case: str) -> Aware:
    network = CASES[case]()
    ranges = trained_ranges(network)
    return Aware(network, ranges, some_rows(network, ROWS), aware_graph(raw_student(network), ranges))


@pytest.mark.parametrize("case", sample(CASES, KEPT))
def test_the_graph_computes_what_the_network_with_rounding_computes(case: str) -> None:
    made = aware(case)
    expected = simulated_outputs(made.network, made.ranges, made.x)
    found = outputs_of_graph(made.model, made.network, made.x)
    assert list(found) == list(expected) == list(OUTPUTS)
    spread = []
    for name, values in expected.items():
        step, difference = rounding_step(made.network, made.ranges, name), (found[name] - values).abs()
        assert float(difference.max()) <= MOST_STEPS * step
        assert float(difference.median()) <= step
        if values.shape[1] > 1:
            best, second = values.topk(2, dim=1).values.unbind(1)
            decided = best - second > 2 * MOST_STEPS * step
            assert torch.equal(found[name].argmax(1)[decided], values.argmax(1)[decided])
        spread.append(float(values.std(dim=0).max()) / step)
    assert max(spread) > 1.0, "rows have different outputs"


@pytest.mark.parametrize("case", sample(CASES, KEPT))
def test_layers_are_integers_within_63_and_norms_are_part_of_them(case: str) -> None:
    """63, not 127: the saturation trap of processors whose kernels add two products in 16 bits."""
    model = aware(case).model
    weights = integer_weights(model)
    assert max(int(np.abs(each).max()) for each in weights) == 63
    assert "BatchNormalization" not in operators(model)
    assert len(weights) == sum(
        not isinstance(layer, QuantizationPoint) for layer in layers_of(aware(case).network).values()
    )


CONVOLUTIONAL = ["convnet of odd channels", "series", "resnet"]


@pytest.mark.parametrize("case", sample(CONVOLUTIONAL, ["convnet of odd channels", "resnet"]))
def test_onnx_runtime_runs_every_convolution_on_integers(case: str, tmp_path: Path) -> None:
    """It does so only where a convolution's output becomes integers, so the summands of a block are rounded too."""
    network, model = aware(case).network, aware(case).model
    convolutions = sum(isinstance(layer, nn.Conv1d | nn.Conv2d) for layer in layers_of(network).values())
    assert Counter(each for each in operators_run(model, tmp_path / "run.onnx") if "Conv" in each) == {
        "QLinearConv": convolutions
    }


@pytest.mark.parametrize("case", sample(CASES, KEPT))
def test_compact_keeps_every_bit_and_the_public_names(case: str) -> None:
    made = aware(case)
    smaller = copied(made.model)
    compact(smaller)
    assert smaller.ByteSize() < made.model.ByteSize()
    for before, after in (
        (made.model.graph.input, smaller.graph.input),
        (made.model.graph.output, smaller.graph.output),
    ):
        assert [each.name for each in before] == [each.name for each in after]
    for one, other in zip(plain_answers(made.model, made.x[:8]), plain_answers(smaller, made.x[:8]), strict=True):
        np.testing.assert_array_equal(one, other)
    onnx.checker.check_model(
        onnx.load_from_string(of_raw_rows(smaller, raw_student(made.network), {})), full_check=True
    )


def test_logits_are_not_rounded() -> None:
    """256 steps would give many rows equal logits."""
    made = aware("transformer")
    logits = outputs_of_graph(made.model, made.network, some_rows(made.network, 2000))["left"]
    assert len(torch.unique(logits[:, 0])) > 1500
