"""Word dropout: tokens of a text replaced by another, each by itself.

Masking with the mask token (Tang et al. 2019, "Distilling task-specific knowledge from BERT into simple neural
networks", p_mask) and word dropout with the unknown token (Bowman et al. 2016, "Generating sentences from a continuous
space") are the same but for the token. Deviation: tokens are replaced, of which a word may have several.
"""

from functools import lru_cache

import torch
from torch import Tensor

from app.contracts.specs.views import WordDropoutView
from workers.engine.data.augment.draws import Draws


def word_dropout(x: Tensor, draws: Draws, spec: WordDropoutView) -> Tensor:
    """Ids x [n, L] of any dtype, each replaced by `token` with the spec's probability unless it is one of `keep`.

    What is drawn for a token does not depend on the width of the rows. Raises ValueError where `token` is left out:
    a tokenizer says it.
    """
    if spec.token is None:
        raise ValueError("`word_dropout` needs `token`, the id that replaces others")
    dropped = draws.shorts(x.shape[1], x.device) < round(spec.probability * 2**16)
    return x.masked_fill(dropped & ~torch.isin(x, _ids(spec.keep, x.dtype, x.device)), spec.token)


@lru_cache(maxsize=8)
def _ids(ids: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Kept for all steps: copying ids to a device would wait for it."""
    return torch.tensor(ids, dtype=dtype, device=device)
