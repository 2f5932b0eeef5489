"""Training rows as they are seen in an epoch: the plan of a job's views, for the students and for its teachers."""

from dataclasses import dataclass

from torch import Tensor

from app.contracts.resources.manifests import InputTransform
from app.contracts.specs.views import Views
from workers.engine.data.augment import Partners, apply_views, plan_key
from workers.engine.data.columns import Rows, View
from workers.engine.data.inputs import Inputs
from workers.engine.data.transform import undo


@dataclass(frozen=True)
class AugmentationPlan:
    """Views of the training split's rows, which the student sees in `shape`."""

    views: Views
    inputs: Inputs
    split: Tensor
    shape: tuple[int, ...]
    transform: InputTransform
    partners: Partners

    @classmethod
    def of(
        cls, views: Views, inputs: Inputs, split: Tensor, shape: tuple[int, ...], transform: InputTransform
    ) -> "AugmentationPlan":
        """`split`: the training rows, int64 on the host; `transform`: what `inputs` did to raw rows."""

        def take(rows: Tensor) -> Tensor:
            return inputs.take(Rows.on(inputs.column.device, rows)).reshape(len(rows), *shape)

        return cls(views, inputs, split.sort().values, shape, transform, Partners(split, take))

    def see(self, rows: Rows, epoch: int) -> tuple[Tensor, Rows]:
        """(x [n, *shape] as seen in `epoch` (from 0), the rows with their view)."""
        x = self.inputs.take(rows).reshape(len(rows), *self.shape)
        seen = apply_views(x, rows.host, epoch, self.views, self.partners)
        partner = Rows.on(rows.device.device, seen.partner) if seen.partner is not None else None
        return seen.x, Rows(rows.host, rows.device, View(epoch, partner, seen.share))

    def raw(self, rows: Tensor, epoch: int) -> Tensor:
        """The same as raw rows, before any transform: what a teacher is shown."""
        x, _ = self.see(Rows.on(self.inputs.column.device, rows), epoch)
        return undo(x, self.transform)

    def key(self, epoch: int) -> str:
        """Everything that the views of an epoch depend on besides the raw rows."""
        return plan_key(self.views, epoch, self.split) + repr(self.transform.model_dump(mode="json"))
