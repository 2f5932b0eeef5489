"""Student and teacher families, loading, preprocessing."""

from workers.engine.networks.build import build
from workers.engine.networks.initialise import initialise
from workers.engine.networks.network import Network

__all__ = ["Network", "build", "initialise"]
