"""From an architecture to a network."""

from app.contracts.specs.architectures import Architecture, Convnet, Mlp, Transformer
from app.contracts.specs.sharing import CgcSharing, CrossStitchSharing, MmoeSharing, Scheme, TrunksSharing, scheme_of
from workers.engine.models.families.convnet import ConvnetNetwork
from workers.engine.models.families.mlp import MlpNetwork
from workers.engine.models.families.resnet import ResnetNetwork
from workers.engine.models.families.transformer import TransformerNetwork
from workers.engine.models.network import Network
from workers.engine.models.sharing.cross_stitch import CrossStitchNetwork
from workers.engine.models.sharing.experts import CgcNetwork, MmoeNetwork
from workers.engine.models.sharing.mtan import MtanNetwork
from workers.engine.models.sharing.trunks import TrunksNetwork


def build(architecture: Architecture) -> Network:
    """The network that a resolved architecture describes; its weights are whatever torch drew.

    Follow with `initialise` or `load_state_dict`. Raises ValueError where `input_shape` or `outputs` is missing.
    """
    scheme = scheme_of(architecture.sharing)
    return _family(architecture) if scheme is None else _shared(architecture, scheme)


def _family(architecture: Architecture) -> Network:
    if isinstance(architecture, Mlp):
        return MlpNetwork(architecture)
    if isinstance(architecture, Transformer):
        return TransformerNetwork(architecture)
    return ConvnetNetwork(architecture) if isinstance(architecture, Convnet) else ResnetNetwork(architecture)


def _shared(architecture: Architecture, scheme: Scheme) -> Network:
    bare = architecture.model_copy(update={"outputs": {}, "sharing": "hard"})

    def trunk() -> Network:
        return _family(bare)

    if isinstance(scheme, CrossStitchSharing):
        return CrossStitchNetwork(architecture, scheme, trunk)
    if isinstance(scheme, MmoeSharing):
        return MmoeNetwork(architecture, scheme, trunk)
    if isinstance(scheme, CgcSharing):
        return CgcNetwork(architecture, scheme, trunk)
    if isinstance(scheme, TrunksSharing):
        return TrunksNetwork(architecture, scheme, trunk)
    return MtanNetwork(architecture, trunk)
