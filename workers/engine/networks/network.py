"""What every network of ours is: a trunk that all tasks share, and one head for each output."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from app.contracts.architectures import Activation, Architecture

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class Heads(nn.Module):
    """Heads by output name. Unlike nn.ModuleDict it takes every name, also `size.cm` and `values`."""

    def __init__(self, features: int, sizes: dict[str, int]) -> None:
        super().__init__()
        self._places = {name: name for name in sizes}
        for name, size in sizes.items():
            self._modules[name] = nn.Linear(features, size)

    def make_plain(self) -> None:
        """Give heads that are no plain attributes (`size.cm`, `type`) names that are, for tracers, which look modules
        up as attributes. In place, for a copy that is exported and then dropped: the weights have other names after.
        """
        for i, name in enumerate(self._places):
            if "." in name or name in self.__dict__ or hasattr(type(self), name):
                self._places[name] = f"_{i}"
                self._modules[f"_{i}"] = self._modules.pop(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "training":  # the mode, also where a head has that name
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def of(self, output: str) -> nn.Module:
        """The head of one output; raises KeyError."""
        head = self._modules[self._places[output]]
        assert head is not None
        return head


class Network(nn.Module):
    """A trunk and its heads.

    `forward` maps rows [N, *input_shape] (or any shape with as many numbers a row) to {output: [N, size]}. A
    family implements `features`. With one output its head is the last of `layers`; with several they are `heads`.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        if architecture.input_shape is None or architecture.outputs is None:
            raise ValueError("a network needs a resolved architecture: `input_shape` and `outputs` are missing")
        self.architecture = architecture
        self.input_shape: tuple[int, ...] = architecture.input_shape
        self.output_sizes: dict[str, int] = dict(architecture.outputs)
        self.layers = nn.ModuleList()
        self.penultimate = nn.Identity()  # a name for what the heads see, to tap

    def _finish(self, hidden: Sequence[nn.Linear], features: int) -> None:
        """Register the trunk's fully connected layers, then the heads under their public names."""
        self.layers.extend(hidden)
        if len(self.output_sizes) == 1:
            self.layers.append(nn.Linear(features, next(iter(self.output_sizes.values()))))
        else:
            self.heads = Heads(features, self.output_sizes)

    def features(self, x: Tensor) -> Tensor:
        """The trunk: rows [N, *input_shape] -> features [N, F]."""
        raise NotImplementedError

    def head(self, output: str) -> nn.Linear:
        """The head of one output."""
        if len(self.output_sizes) == 1 and output in self.output_sizes:
            found: nn.Module = self.layers[-1]
        else:
            found = self.heads.of(output)
        assert isinstance(found, nn.Linear)
        return found

    def head_name(self, output: str) -> str:
        """How the head of one output is called among the parameters."""
        return f"layers.{len(self.layers) - 1}" if len(self.output_sizes) == 1 else f"heads.{output}"

    def answers(self, features: Tensor) -> dict[str, Tensor]:
        """The heads: features [N, F] -> {output: [N, size]}."""
        return {name: self.head(name)(features) for name in self.output_sizes}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Rows [N, …] -> {output: [N, size]}."""
        features: Tensor = self.penultimate(self.features(x.reshape(x.shape[0], *self.input_shape)))
        return self.answers(features)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch's, whose own strict check splits names at dots and finds the head `size.cm` unexpected."""
        differing = sorted(set(state_dict) ^ set(self.state_dict()))
        if strict and differing:
            raise RuntimeError(f"missing or unexpected in the state of a {type(self).__name__}: {differing[:10]}")
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def head_parameters(self, output: str) -> list[nn.Parameter]:
        """The parameters that only this output uses."""
        return list(self.head(output).parameters())

    def trunk_parameters(self) -> list[nn.Parameter]:
        """The parameters that all outputs share."""
        heads = {id(p) for name in self.output_sizes for p in self.head_parameters(name)}
        return [parameter for parameter in self.parameters() if id(parameter) not in heads]

    def example(self, rows: int = 1) -> Tensor:
        """Zeros of the right shape, for tracing and counting."""
        device = next(self.parameters()).device
        return torch.zeros(rows, *self.input_shape, device=device)

    @property
    def has_batch_norm(self) -> bool:
        """Whether rows of one batch see each other in training, so that micro-batches are not exact."""
        return any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in self.modules())

    @property
    def row_size(self) -> int:
        """Numbers in one input row."""
        return prod(self.input_shape)
