"""From an architecture to a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from app.contracts.layouts.summary import buffer_shapes, parameter_shapes
from app.contracts.specs.architectures import Architecture, LibraryFamily
from app.contracts.specs.families.library import LibraryArchitecture
from app.contracts.specs.sharing import (
    CgcSharing,
    CrossStitchSharing,
    MmoeSharing,
    MtanSharing,
    Scheme,
    TrunksSharing,
    scheme_of,
)
from workers.engine.common.memory_format import memory_format_of_new_networks
from workers.engine.models.families.convnet import ConvnetNetwork
from workers.engine.models.families.family import FamilyNetwork
from workers.engine.models.families.library.network import LibraryNetwork, is_constant
from workers.engine.models.families.library.trunks import on_meta
from workers.engine.models.families.mlp import MlpNetwork
from workers.engine.models.families.resnet import ResnetNetwork
from workers.engine.models.families.transformer import TransformerNetwork
from workers.engine.models.network import Network
from workers.engine.models.sharing.cross_stitch import CrossStitchNetwork
from workers.engine.models.sharing.experts import CgcNetwork, MmoeNetwork
from workers.engine.models.sharing.mtan import MtanNetwork
from workers.engine.models.sharing.trunks import TrunksNetwork

NETWORKS: dict[str, type[FamilyNetwork]] = {
    "mlp": MlpNetwork,
    "convnet": ConvnetNetwork,
    "resnet": ResnetNetwork,
    "transformer": TransformerNetwork,
}


def build(architecture: Architecture) -> Network:
    """The network that a resolved architecture describes; its weights are whatever torch drew.

    Those of images compute in the memory format of `networks_in`.
    Follow with `initialise` or `load_state_dict`. Raises ValueError where `input_shape` or `outputs` is missing, and
    UserError where a library does not build the network.
    """
    if isinstance(architecture, LibraryFamily):
        return LibraryNetwork(architecture)
    scheme = scheme_of(architecture.sharing)
    network = NETWORKS[architecture.family](architecture) if scheme is None else _shared(architecture, scheme)
    network.channels_last = architecture.maps_images and memory_format_of_new_networks() == "channels_last"
    return network


@dataclass(frozen=True)
class FileTensors:
    """What a file of a network's weights holds."""

    parameters: Mapping[str, tuple[int, ...]]
    """Shapes by name in files."""
    buffers: Mapping[str, tuple[int, ...]]
    names: Mapping[str, str]
    """Names in files -> names in the network, where they differ."""
    constants: frozenset[str] = frozenset()
    """Buffers of whole numbers, other than counters, which the network computes from its architecture."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all tensors."""
        return {**self.parameters, **self.buffers}


def file_tensors(architecture: Architecture) -> FileTensors:
    """The tensors in a file of this architecture's weights.

    Raises UserError where a library does not build the network.
    """
    if isinstance(architecture, LibraryFamily):
        return _of_library(architecture)
    return FileTensors(parameter_shapes(architecture), buffer_shapes(architecture), {})


def _of_library(architecture: LibraryArchitecture) -> FileTensors:
    network = on_meta(lambda: LibraryNetwork(architecture))
    parameters = {network.file_name(name): tuple(each.shape) for name, each in network.named_parameters()}
    state = {network.file_name(name): tuple(each.shape) for name, each in network.state_dict().items()}
    buffers = {name: shape for name, shape in state.items() if name not in parameters}
    constants = [name for name, each in network.state_dict().items() if is_constant(name, each)]
    names = {network.file_name(name): name for name in network.state_dict()}
    return FileTensors(parameters, buffers, names, frozenset(network.file_name(name) for name in constants))


def _shared(architecture: Architecture, scheme: Scheme) -> Network:
    without_heads = architecture.with_outputs({}).model_copy(update={"sharing": "hard"})

    def trunk() -> FamilyNetwork:
        return NETWORKS[architecture.family](without_heads)

    match scheme:
        case CrossStitchSharing():
            return CrossStitchNetwork(architecture, scheme, trunk)
        case MmoeSharing():
            return MmoeNetwork(architecture, scheme, trunk)
        case CgcSharing():
            return CgcNetwork(architecture, scheme, trunk)
        case TrunksSharing():
            return TrunksNetwork(architecture, scheme, trunk)
        case MtanSharing():
            return MtanNetwork(architecture, trunk)
        case _:
            assert_never(scheme)
