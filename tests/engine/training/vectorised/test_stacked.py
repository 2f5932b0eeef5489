"""K networks as one function of their stacked parameters give the outputs and gradients of each."""

import json
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from app.contracts.specs.architectures import Architecture
from workers.engine.models import build, initialise
from workers.engine.training.vectorised.stacked import MappedNetworks, StackedMlps, StackedNetworks, stacked

ROWS, MEMBERS = 5, 3
MLP: dict[str, Any] = {"family": "mlp", "input_shape": [2, 3]}
NETWORKS: dict[str, dict[str, Any]] = {
    "linear": MLP | {"hidden": []},
    "two layers": MLP | {"hidden": [7, 4], "activation": "tanh"},
    "normalised": MLP | {"hidden": [7, 4], "normalization": "layer", "activation": "gelu"},
    "convnet": {"family": "convnet", "channels": [3], "normalization": "none", "input_shape": [1, 6, 6]},
    "transformer": {"family": "transformer", "width": 8, "depth": 1, "heads": 2, "input_shape": [4, 3]},
}


@pytest.mark.parametrize("own", [True, False], ids=["own rows", "the same rows"])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_and_gradients_are_those_of_each_network(name: str, own: bool) -> None:
    architecture: Architecture = TypeAdapter(Architecture).validate_json(
        json.dumps(NETWORKS[name] | {"outputs": {"y": 2}})
    )
    networks = [build(architecture) for _ in range(MEMBERS)]
    for seed, network in enumerate(networks):
        initialise(network, seed)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.rand(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    together: StackedNetworks = stacked(networks, torch.device("cpu"))
    assert isinstance(together, StackedMlps if architecture.family == "mlp" else MappedNetworks)
    shape = (*((MEMBERS,) if own else ()), ROWS, *networks[0].input_shape)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(9))
    outputs = together(x, own=own)
    torch.autograd.backward(outputs.square().sum())
    for k, network in enumerate(networks):
        alone = network(x[k] if own else x)["y"]
        torch.testing.assert_close(outputs[k], alone)
        alone.square().sum().backward()
        for place, value in network.named_parameters():
            found = together.parameters[place].grad
            assert found is not None
            torch.testing.assert_close(found[k], value.grad, rtol=1e-4, atol=1e-5)
