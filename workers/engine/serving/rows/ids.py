"""Ids of tokens that a client sends instead of texts."""

import numpy as np

from app.contracts.resources.inputs.texts import TokenEncoding
from workers.engine.data.formats.common import Array
from workers.engine.serving.rows.errors import at, pointer
from workers.engine.serving.rows.forms import InputForm


def check_ids(form: InputForm, tokens: TokenEncoding, ids: Array) -> Array:
    """Ids [n, width] that a client sends instead of texts, int64. Raises RowErrors."""
    if ids.dtype.kind not in "iu" or ids.ndim != 2 or not 1 <= ids.shape[1] <= tokens.length:
        expected = f"{form.described}, or ids int64 [rows, 1 to {tokens.length}]"
        detail = f"expected {expected} for `{form.name}`, found {ids.dtype} {list(ids.shape)}: send one of them"
        raise at(pointer(form.name), "wrong_type", detail)
    outside = (ids < 0) | (ids >= tokens.vocabulary)
    if outside.any():
        row = int(np.argmax(outside.any(axis=1)))
        detail = f"expected ids from 0 to {tokens.vocabulary - 1}, found another: use the model's tokenizer"
        raise at(pointer(form.name, row), "out_of_range", detail)
    return ids.astype(np.int64)
