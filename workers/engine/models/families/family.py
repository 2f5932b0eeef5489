"""The networks of the families: a trunk built from the family's description, and its heads."""

from abc import abstractmethod

from torch import Tensor, nn

from app.contracts.specs.architectures import Architecture
from workers.engine.models.modules import GroupModules, QuantizationPoint, add_parts
from workers.engine.models.named import NamedModules
from workers.engine.models.network import Network


class SingleTrunkNetwork(Network):
    """A trunk that all tasks share, and one head for each output.

    With a single output its head is the last of `layers`; with several they are `heads`; without any it is a bare
    trunk, a part of a network that shares otherwise (`sharing`).
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.layers = nn.ModuleList()  # first, so that the order of the parameters begins with it
        self.penultimate = nn.Identity()  # a name for what the heads see, to tap

    def add_heads(self, features: int) -> None:
        """Register the heads under their public names, after the layers of the trunk."""
        self.feature_size = features
        heads = {name: nn.Linear(self.head_inputs(name), size) for name, size in self.output_sizes.items()}
        if len(heads) == 1:
            self.layers.append(next(iter(heads.values())))
        elif heads:
            self.heads = NamedModules(heads)

    def head_inputs(self, output: str) -> int:
        """Number of features that the head of an output reads."""
        return self.feature_size

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """The trunk: rows [N, *input_shape] -> features [N, F]."""
        ...

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        features: Tensor = self.penultimate(self.features(x))
        return {name: self.head(name)(features) for name in self.output_sizes}

    def head(self, output: str) -> nn.Linear:
        if len(self.output_sizes) == 1 and output in self.output_sizes:
            head: nn.Module = self.layers[-1]
        else:
            head = self.heads.get(output)
        assert isinstance(head, nn.Linear)
        return head

    def head_name(self, output: str) -> str:
        return f"layers.{len(self.layers) - 1}" if len(self.output_sizes) == 1 else f"heads.{output}"


class FamilyNetwork(SingleTrunkNetwork):
    """A network that we build from the description of its trunk.

    A family calls `add_layers`, which registers the layers that its architecture describes, and implements `begin`,
    `stage` and `end`, which run them.
    """

    stage_count = 0
    """Stages of the trunk; sharing schemes come between them."""

    def add_layers(self, groups: GroupModules) -> None:
        """Register the layers of the trunk, then the heads."""
        trunk = self.architecture.trunk()
        add_parts(self, trunk.parts, groups)
        self.stage_count = len(trunk.stages)
        self.add_heads(trunk.features)

    def begin(self, x: Tensor) -> Tensor:
        """Rows [N, *input_shape] -> what the first stage takes."""
        return x

    @abstractmethod
    def stage(self, i: int, h: Tensor) -> Tensor:
        """The i-th of `stage_count` stages."""
        ...

    def end(self, h: Tensor) -> Tensor:
        """The output of the last stage -> features [N, F]."""
        return h

    def features(self, x: Tensor) -> Tensor:
        h = self.begin(x)
        for i in range(self.stage_count):
            h = self.stage(i, h)
        return self.end(h)


class ConvolutionalNetwork(FamilyNetwork):
    """A family whose first stages are groups of convolutional blocks, `stages`, as sharing by `mtan` needs it."""

    stages: nn.ModuleList
    activation: nn.Module

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.last_maps = QuantizationPoint()

    def averaged(self, maps: Tensor) -> Tensor:
        """The last maps [N, C, …] -> the mean of each channel [N, C]."""
        means: Tensor = self.last_maps(maps).mean(dim=tuple(range(2, maps.dim())))
        return means

    def downsample(self, maps: Tensor) -> Tensor:
        """Maps of a stage -> what the next one takes."""
        return maps
