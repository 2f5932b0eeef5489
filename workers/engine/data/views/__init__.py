"""Views of training rows as pure functions of (seed, epoch, row): one family of transforms, one file."""

from workers.engine.data.views.apply import Viewed, apply_views
from workers.engine.data.views.partners import Partners
from workers.engine.data.views.plan import plan_key

__all__ = ["Partners", "Viewed", "apply_views", "plan_key"]
