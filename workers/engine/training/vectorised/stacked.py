"""K networks of one architecture as one function of their stacked parameters [K, …].

The layers of an mlp are batched matrix products. Other families are mapped by `torch.func.vmap`, whose cost for each
operation is higher.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import layer_norm

from workers.engine.models import Network
from workers.engine.models.families.mlp import MlpNetwork


class StackedNetworks(Protocol):
    """K networks with one output."""

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters by the names that they have in each network: [K, …]."""
        ...

    def __call__(self, x: Tensor, *, own: bool) -> Tensor:
        """The outputs [K, n, size] for inputs that are each network's `own` [K, n, …], or the same for all [n, …]."""
        ...


def stacked(networks: Sequence[Network], device: torch.device) -> StackedNetworks:
    """The networks, which have one output and neither buffers nor dropout, with copies of their parameters."""
    first = networks[0]
    return StackedMlps(networks, device) if isinstance(first, MlpNetwork) else MappedNetworks(networks, device)


def _parameters(networks: Sequence[nn.Module], device: torch.device) -> dict[str, nn.Parameter]:
    values = stack_module_state(list(networks))[0]
    return {name: nn.Parameter(value.detach().to(device)) for name, value in values.items()}


class MappedNetworks:
    """Networks of any family, mapped by vmap."""

    def __init__(self, networks: Sequence[Network], device: torch.device) -> None:
        self.parameters = _parameters(networks, device)
        self._network = networks[0].to(device)
        self._network.channels_last = False  # vmap has no memory formats
        self._output = next(iter(self._network.output_sizes))

    def _one(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        output: Tensor = functional_call(self._network, dict(parameters), (x,))[self._output]
        return output

    def __call__(self, x: Tensor, *, own: bool) -> Tensor:
        outputs: Tensor = vmap(self._one, in_dims=(0, 0 if own else None))(self.parameters, x)
        return outputs


class StackedMlps:
    """Mlps, whose own stages run on [K, n, width] with each layer replaced by that of K networks."""

    def __init__(self, networks: Sequence[Network], device: torch.device) -> None:
        self.parameters = _parameters(networks, device)
        network = deepcopy(networks[0])
        assert isinstance(network, MlpNetwork)
        self._network = network
        for group in ("layers", "norms"):
            layers: nn.ModuleList = getattr(network, group, nn.ModuleList())  # a linear model has no `norms`
            for i, layer in enumerate(layers):
                own = {name: self.parameters[f"{group}.{i}.{name}"] for name, _ in layer.named_parameters()}
                if isinstance(layer, nn.Linear):
                    layers[i] = _Linears(**own)
                elif isinstance(layer, nn.LayerNorm):
                    layers[i] = _LayerNorms(layer.eps, **own)
        self._count = len(networks)

    def __call__(self, x: Tensor, *, own: bool) -> Tensor:
        h = x.flatten(2) if own else x.flatten(1).expand(self._count, -1, -1)
        for i in range(self._network.stage_count):
            h = self._network.stage(i, h)
        outputs: Tensor = self._network.layers[-1](h)
        return outputs


class _Linears(nn.Module):
    """K linear layers: weight [K, outputs, inputs], bias [K, outputs]."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, h: Tensor) -> Tensor:
        return torch.baddbmm(self.bias.unsqueeze(1), h, self.weight.transpose(1, 2))


class _LayerNorms(nn.Module):
    """K layer normalisations: weight and bias [K, width]."""

    def __init__(self, eps: float, weight: nn.Parameter, bias: nn.Parameter) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias
        self._eps = eps

    def forward(self, h: Tensor) -> Tensor:
        normalised = layer_norm(h, h.shape[-1:], eps=self._eps)
        return torch.addcmul(self.bias.unsqueeze(1), normalised, self.weight.unsqueeze(1))
