"""What tasks do to each other: their gradients' norms and cosines, and the relation R estimated from them."""

from workers.engine.training.affinity.observer import Observer

__all__ = ["Observer"]
