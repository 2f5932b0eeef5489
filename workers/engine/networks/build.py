"""From an architecture to a network."""

from app.contracts.architectures import Architecture, Convnet, Mlp, Transformer
from workers.engine.networks.convnet import ConvnetNetwork
from workers.engine.networks.mlp import MlpNetwork
from workers.engine.networks.network import Network
from workers.engine.networks.resnet import ResnetNetwork
from workers.engine.networks.transformer import TransformerNetwork


def build(architecture: Architecture) -> Network:
    """The network that a resolved architecture describes; its weights are whatever torch drew.

    Follow with `initialise` or `load_state_dict`. Raises ValueError where `input_shape` or `outputs` is missing.
    """
    if isinstance(architecture, Mlp):
        return MlpNetwork(architecture)
    if isinstance(architecture, Transformer):
        return TransformerNetwork(architecture)
    return ConvnetNetwork(architecture) if isinstance(architecture, Convnet) else ResnetNetwork(architecture)
