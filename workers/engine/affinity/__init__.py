"""What tasks do to each other: their gradients' norms and cosines, and the relation R estimated from them."""

from workers.engine.affinity.observer import Observer

__all__ = ["Observer"]
