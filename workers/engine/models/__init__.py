"""Student and teacher families, loading, preprocessing."""

from workers.engine.models.build import build
from workers.engine.models.initialise import initialise
from workers.engine.models.network import Network

__all__ = ["Network", "build", "initialise"]
