"""What of the views belongs into the key of stored soft targets: a cached target is that of a sample and a view."""

import hashlib

from torch import Tensor

from app.contracts.base import digest_of
from app.contracts.specs.views import Views

REVISION = 1
"""Raised by whoever changes what the same views look like: targets stored before are then not found again."""


def plan_key(views: Views, epoch: int, split: Tensor | None = None) -> str:
    """The digest of all that a row's view depends on besides the row and its preprocessed input.

    Where rows are mixed that is the training split too (int64 [N], in any order), as partners come from it: without
    it ValueError is raised. Where they are not it plays no part, so that datasets dealt otherwise share targets.
    """
    if views.mixing is not None and split is None:
        raise ValueError(f"the view of a row under `{views.mixing.kind}` depends on the training split: give `split`")
    rows = split.sort().values.numpy().tobytes() if split is not None and views.mixing is not None else b""
    return digest_of(
        {
            "revision": REVISION,
            "views": views.model_dump(mode="json"),
            "epoch": epoch,
            "split": hashlib.sha256(rows).hexdigest(),
        }
    )
