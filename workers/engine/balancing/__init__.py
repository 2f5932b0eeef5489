"""How several losses become one update: by the losses' values, or by their gradients."""

from workers.engine.balancing.balancer import Balancer, Losses, Parameters, Shared
from workers.engine.balancing.make import check_available, make_balancer
from workers.engine.balancing.term_sum import TermSum
from workers.engine.balancing.towers import TowerRows

__all__ = ["Balancer", "Losses", "Parameters", "Shared", "TermSum", "TowerRows", "check_available", "make_balancer"]
