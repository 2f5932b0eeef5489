"""Views of training rows as pure functions of (seed, epoch, row): one family of transforms, one file."""

from workers.engine.data.augment.apply import Viewed, apply_views
from workers.engine.data.augment.digest import plan_key
from workers.engine.data.augment.partners import Partners

__all__ = ["Partners", "Viewed", "apply_views", "plan_key"]
