"""What every network of ours has: outputs, heads, and which outputs share which parameters."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from app.contracts.specs.architectures import Architecture
from workers.engine.common.memory_format import in_channels_last


@dataclass(frozen=True)
class SharedParameters:
    """Parameters on which several outputs depend, or could; `tower` is the output whose tower they are, if any."""

    parameters: tuple[nn.Parameter, ...]
    outputs: tuple[str, ...]
    tower: str | None = None


class Network(nn.Module, ABC):
    """Rows [N, *input_shape] (or of any shape with as many numbers a row) -> {output: [N, size]}; of a network that
    answers for each position [N, positions, size]: for each token, or each pixel of a map in C order.

    Either one trunk with its heads (`families`), or several trunks that share by a scheme (`sharing`).
    """

    feature_size: int
    """Number of features that a head reads."""
    channels_last = False
    """Whether images are brought into this order in memory, in which the network then computes."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        if architecture.input_shape is None or architecture.outputs is None:
            raise ValueError("a network needs a resolved architecture: `input_shape` and `outputs` are missing")
        self.architecture = architecture
        self.input_shape: tuple[int, ...] = architecture.input_shape
        self.output_sizes: dict[str, int] = dict(architecture.outputs)

    @abstractmethod
    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """Rows [N, *input_shape] -> {output: [N, size]}."""
        ...

    @abstractmethod
    def head(self, output: str) -> nn.Linear:
        """The head of one output. Raises KeyError."""
        ...

    @abstractmethod
    def head_name(self, output: str) -> str:
        """Prefix of the names of the head's parameters."""
        ...

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Rows [N, …] -> {output: [N, size]}."""
        x = self.in_shape(x)
        return self.outputs(in_channels_last(x) if self.channels_last else x)

    def in_shape(self, x: Tensor) -> Tensor:
        """Rows [N, …] -> [N, *input_shape]; rows of tokens may be narrower and stay as they are."""
        return x if x.shape[1:] == self.input_shape else x.reshape(x.shape[0], *self.input_shape)

    def is_token(self, x: Tensor) -> Tensor | None:
        """Which places of rows [N, …] are tokens and no padding, bool [N, T]; None where rows are numbers."""
        return None

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch's, whose own strict check splits names at dots and finds the head `size.cm` unexpected."""
        own = self.state_dict()
        differing = sorted(set(state_dict) ^ set(own))
        if strict and differing:
            raise RuntimeError(f"missing or unexpected in the state of a {type(self).__name__}: {differing[:10]}")
        own.update(
            state_dict
        )  # which keeps the versions of the modules: files have none, and some of torchvision need one
        return super().load_state_dict(own, strict=False, assign=assign)

    def load_known(self, weights: Mapping[str, Tensor]) -> None:
        """Load those of `weights` that the network has; the others stay as they are."""
        if weights:
            state = self.state_dict()
            self.load_state_dict({**state, **{name: value for name, value in weights.items() if name in state}})

    def head_parameters(self, output: str) -> list[nn.Parameter]:
        """The parameters of one output's head."""
        return list(self.head(output).parameters())

    def own_parameters(self, output: str) -> list[nn.Parameter]:
        """The parameters on which only this output depends."""
        return self.head_parameters(output)

    def trunk_parameters(self) -> list[nn.Parameter]:
        """The parameters that are no output's own."""
        own = {id(p) for name in self.output_sizes for p in self.own_parameters(name)}
        return [parameter for parameter in self.parameters() if id(parameter) not in own]

    def shared_parameters(self) -> tuple[SharedParameters, ...]:
        """What outputs share, set by set; with the outputs' own parameters these are all, each once."""
        return (SharedParameters(tuple(self.trunk_parameters()), tuple(self.output_sizes)),)

    def example(self, rows: int = 1) -> Tensor:
        """Zeros of the right shape, for tracing and counting."""
        device = next(self.parameters()).device
        return torch.zeros(rows, *self.input_shape, device=device)

    def file_name(self, name: str) -> str:
        """The name of a parameter or buffer in files."""
        return name

    @property
    def draws_noise(self) -> bool:
        """Whether a forward pass in training may draw random numbers."""
        return any(isinstance(module, nn.Dropout) and module.p > 0.0 for module in self.modules())

    @property
    def has_batch_norm(self) -> bool:
        """Whether rows of one batch depend on each other in training, so that micro-batches are not exact."""
        return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.modules())

    @property
    def row_size(self) -> int:
        """Numbers in one input row."""
        return prod(self.input_shape)
