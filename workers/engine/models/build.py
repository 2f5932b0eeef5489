"""From an architecture to a network."""

from typing import assert_never

from app.contracts.specs.architectures import Architecture
from app.contracts.specs.sharing import (
    CgcSharing,
    CrossStitchSharing,
    MmoeSharing,
    MtanSharing,
    Scheme,
    TrunksSharing,
    scheme_of,
)
from workers.engine.models.families.convnet import ConvnetNetwork
from workers.engine.models.families.family import FamilyNetwork
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

    Follow with `initialise` or `load_state_dict`. Raises ValueError where `input_shape` or `outputs` is missing.
    """
    scheme = scheme_of(architecture.sharing)
    return NETWORKS[architecture.family](architecture) if scheme is None else _shared(architecture, scheme)


def _shared(architecture: Architecture, scheme: Scheme) -> Network:
    without_heads = architecture.model_copy(update={"outputs": {}, "sharing": "hard"})

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
