"""Measurements of the tasks' gradients, and the task relation R estimated from them."""

from workers.engine.training.affinity.observer import Observer

__all__ = ["Observer"]
