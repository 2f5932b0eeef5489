"""What every network of ours is: a trunk that all tasks share, and one head for each output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from app.contracts.specs.architectures import Activation, Architecture
from workers.engine.models.named import Named

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


@dataclass(frozen=True)
class Reach:
    """Parameters that several outputs reach, or could; `tower` is the output whose tower they are, if any."""

    parameters: tuple[nn.Parameter, ...]
    outputs: tuple[str, ...]
    tower: str | None = None


class Network(nn.Module):
    """A trunk and its heads.

    `forward` maps rows [N, *input_shape] (or any shape with as many numbers a row) to {output: [N, size]}. A
    family implements `begin`, `stretch` and `end`. With one output its head is the last of `layers`; with several they
    are `heads`; without any it is a bare trunk, a part of a network that shares otherwise (`sharing`).
    """

    stretches = 0
    """Stages of the trunk: what other ways of sharing may come between."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        if architecture.input_shape is None or architecture.outputs is None:
            raise ValueError("a network needs a resolved architecture: `input_shape` and `outputs` are missing")
        self.architecture = architecture
        self.input_shape: tuple[int, ...] = architecture.input_shape
        self.output_sizes: dict[str, int] = dict(architecture.outputs)
        self.layers = nn.ModuleList()
        self.penultimate: nn.Module = nn.Identity()  # a name for what the heads see, to tap

    def _finish(self, hidden: Sequence[nn.Linear], features: int) -> None:
        """Register the trunk's fully connected layers, then the heads under their public names."""
        self.layers.extend(hidden)
        self.feature_size = features
        if len(self.output_sizes) == 1:
            self.layers.append(nn.Linear(features, next(iter(self.output_sizes.values()))))
        elif self.output_sizes:
            self.heads = Named({name: nn.Linear(features, size) for name, size in self.output_sizes.items()})

    def begin(self, x: Tensor) -> Tensor:
        """Rows [N, *input_shape] -> what the first stretch takes."""
        return x

    def stretch(self, i: int, h: Tensor) -> Tensor:
        """The i-th of `stretches`."""
        raise NotImplementedError

    def end(self, h: Tensor) -> Tensor:
        """What the last stretch hands on -> features [N, F]."""
        return h

    def features(self, x: Tensor) -> Tensor:
        """The trunk: rows [N, *input_shape] -> features [N, F]."""
        h = self.begin(x)
        for i in range(self.stretches):
            h = self.stretch(i, h)
        return self.end(h)

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

    def answers(self, x: Tensor) -> dict[str, Tensor]:
        """Rows [N, *input_shape] -> {output: [N, size]}."""
        features: Tensor = self.penultimate(self.features(x))
        return {name: self.head(name)(features) for name in self.output_sizes}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Rows [N, …] -> {output: [N, size]}."""
        return self.answers(x.reshape(x.shape[0], *self.input_shape))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch's, whose own strict check splits names at dots and finds the head `size.cm` unexpected."""
        differing = sorted(set(state_dict) ^ set(self.state_dict()))
        if strict and differing:
            raise RuntimeError(f"missing or unexpected in the state of a {type(self).__name__}: {differing[:10]}")
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def head_parameters(self, output: str) -> list[nn.Parameter]:
        """The parameters of one output's head."""
        return list(self.head(output).parameters())

    def own_parameters(self, output: str) -> list[nn.Parameter]:
        """The parameters that only this output reaches."""
        return self.head_parameters(output)

    def trunk_parameters(self) -> list[nn.Parameter]:
        """The parameters that are no output's own."""
        own = {id(p) for name in self.output_sizes for p in self.own_parameters(name)}
        return [parameter for parameter in self.parameters() if id(parameter) not in own]

    def shared_parameters(self) -> tuple[Reach, ...]:
        """What outputs share, set by set; with the outputs' own parameters these are all, each once."""
        return (Reach(tuple(self.trunk_parameters()), tuple(self.output_sizes)),)

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
