"""The key's part for views differs where a view may differ, and only there."""

from typing import Any

import pytest
import torch
from torch import Tensor

from app.contracts.resources.manifests import InputTransform
from app.contracts.specs.views import Views
from tests.engine.data.augment.images import SPLIT, views_of
from workers.engine.data.augment import augmentation_key
from workers.engine.data.augment.plan import AugmentationPlan
from workers.engine.data.rows.inputs import Inputs

SHIFT = views_of({"kind": "shift", "pixels": 2})
MIXUP = views_of({"kind": "mixup"})
FAR = 1.7e9


def test_the_key_is_that_of_the_views_and_the_epoch() -> None:
    again = Views.model_validate_json('{"transforms": [{"pixels": 2, "kind": "shift"}], "seed": 0}')
    assert augmentation_key(again, 4) == augmentation_key(SHIFT, 4)
    others = [
        augmentation_key(SHIFT, 5),
        augmentation_key(views_of({"kind": "shift", "pixels": 2}, seed=1), 4),
        augmentation_key(views_of({"kind": "shift", "pixels": 3}), 4),
        augmentation_key(views_of({"kind": "crop", "padding": 2}), 4),
        augmentation_key(views_of({"kind": "shift", "pixels": 2}, {"kind": "flip"}), 4),
        augmentation_key(views_of({"kind": "flip"}, {"kind": "shift", "pixels": 2}), 4),
    ]
    assert len({augmentation_key(SHIFT, 4), *others}) == 7


def test_a_default_that_is_written_out_gives_the_same_key() -> None:
    written = views_of({"kind": "flip", "direction": "horizontal", "probability": 0.5})
    assert augmentation_key(written, 0) == augmentation_key(views_of({"kind": "flip"}), 0)


def test_where_rows_are_mixed_the_training_split_belongs_to_the_key() -> None:
    assert augmentation_key(MIXUP, 0, SPLIT) == augmentation_key(MIXUP, 0, SPLIT.flip(0))
    assert augmentation_key(MIXUP, 0, SPLIT) != augmentation_key(MIXUP, 0, SPLIT[:-1])
    assert augmentation_key(SHIFT, 0, SPLIT) == augmentation_key(SHIFT, 0, SPLIT[:-1]) == augmentation_key(SHIFT, 0)
    with pytest.raises(ValueError, match="needs `split`"):
        augmentation_key(MIXUP, 0)


def test_the_key_is_a_digest() -> None:
    key = augmentation_key(MIXUP, 0, torch.tensor([1, 2]))
    assert len(key) == 64
    assert set(key) <= set("0123456789abcdef")


@pytest.mark.parametrize("view", [{"kind": "noise", "std": 0.5}, {"kind": "mixup"}], ids=["noise", "mixup"])
def test_teachers_take_augmented_rows_far_from_zero_as_exactly_as_others(view: dict[str, Any]) -> None:
    """Also where nothing centres them: a graph of doubles may do it itself."""
    near, rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double(), torch.arange(6)

    def augmented(raw: Tensor) -> Tensor:
        inputs = Inputs.prepare(raw, InputTransform(), torch.device("cpu"))
        return next(AugmentationPlan.of(views_of(view), inputs, rows, (4,), InputTransform(), raw).raw([rows], 0))

    assert augmented(near).dtype == torch.float64
    torch.testing.assert_close(augmented(near + FAR) - FAR, augmented(near), rtol=0, atol=1e-6)
    assert augmented(near.float()).dtype == torch.float32
