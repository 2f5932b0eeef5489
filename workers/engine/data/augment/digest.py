"""The augmentation in the key of stored soft targets: a target belongs to a row as augmented in an epoch."""

import hashlib

from torch import Tensor

from app.contracts.base import digest_of
from app.contracts.specs.views import Views

REVISION = 1
"""Increase it when the same spec gives other augmented rows, so that targets stored before are not reused."""


def augmentation_key(views: Views, epoch: int, split: Tensor | None = None) -> str:
    """A digest of everything that a row's augmentation depends on besides the row and its preprocessed input.

    With mixing that includes the training split (int64 [N], in any order), which partners come from. Without mixing
    the split is left out, so that datasets with other splits share targets. Raises ValueError with mixing and no split.
    """
    if views.mixing is not None and split is None:
        raise ValueError(f"the augmentation of a row by `{views.mixing.kind}` needs `split`, the training rows")
    rows = split.sort().values.numpy().tobytes() if split is not None and views.mixing is not None else b""
    return digest_of(
        {
            "revision": REVISION,
            "views": views.model_dump(mode="json"),
            "epoch": epoch,
            "split": hashlib.sha256(rows).hexdigest(),
        }
    )
