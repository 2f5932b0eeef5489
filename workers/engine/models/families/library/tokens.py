"""Networks of transformers that read tokens: how a row of ids becomes what a type's `forward` takes.

transformers makes masks from a row's tokens and looks at their values for it, which waits for the device, and is not
possible where nothing is computed (the meta device) or where a graph is traced. Masks are made here instead, with equal
outputs: of the form [N, 1, 1 or L, L] that every type takes as it is.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.contracts.specs.families.embeddings import Embedding
from app.contracts.specs.families.huggingface_configs import READS_NEIGHBOURS
from workers.engine.models.taps import compared_layer

_CAUSAL: Final = frozenset({"gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3"})
"""Types whose tokens see those before them alone; the last token of a row stands for the row."""
_BY_LAYER: Final = frozenset({"modernbert", "qwen2", "qwen3", "smollm3"})
"""Types that take a mask for each kind of their layers."""
_ALL_IN_WINDOW: Final = frozenset({"mistral"})
"""Types whose every layer sees `sliding_window` tokens."""
_OF_TOKENS: Final = frozenset({"deberta-v2"})
"""Types that take [N, L], and make their masks of it without looking at values."""


def features_of_tokens(network: Any, rows: Tensor, embedding: Embedding | None = None) -> Tensor:
    """What the head of a network reads: rows of ids [N, L] of any dtype -> features [N, F], or [N, L, F] of one with a
    head for each token. `embedding`: of an encoder, the pooled vectors of its last layer.

    A row's tokens go up to the last that is not padding, and do not depend on how much padding follows. Ids must be
    below the configuration's `vocab_size`. The second text of a pair has token type 1 where the configuration has
    `sep_token_id`: what follows the first separator. A separator within the first text would be taken for its end.
    """
    config, ids = network.config, rows.long()
    if config.model_type in READS_NEIGHBOURS:
        ids = functional.pad(ids, (0, 1), value=config.pad_token_id)
    given = {"attention_mask": _mask(network, ids)}
    types = _token_types(config, ids)
    if types is not None:
        given["token_type_ids"] = types
    if embedding is not None:
        hidden: Tensor = network(input_ids=ids, **given).last_hidden_state
        return compared_layer(hidden, embedding.pooling, is_token(rows.long(), config.pad_token_id))
    if getattr(config, "classifier_pooling", None) == "mean":
        return _mean_of_tokens(network, ids, given)
    found: Tensor = network(input_ids=ids, **given).logits
    return found if found.dim() < 3 else found[:, : rows.shape[1]]


def _mean_of_tokens(network: Any, ids: Tensor, given: dict[str, Any]) -> Tensor:
    """What ModernBERT's head makes of the mean over tokens, as its own `forward` does it with a mask [N, L]."""
    hidden = network.model(input_ids=ids, **given).last_hidden_state
    kept = is_token(ids, network.config.pad_token_id)[:, :, None]
    found: Tensor = network.classifier(network.drop(network.head((hidden * kept).sum(dim=1) / kept.sum(dim=1))))
    return found


def is_token(ids: Tensor, padding: int) -> Tensor:
    """Whether each of ids [N, L] is no padding at the end of its row; the first of each row is a token."""
    places = torch.arange(ids.shape[1], device=ids.device)
    last = (places * (ids != padding)).amax(dim=1, keepdim=True)
    return places <= last


def _token_types(config: Any, ids: Tensor) -> Tensor | None:
    """0 up to the first separator of each row and 1 behind it [N, L]; None for types and tokenizers without them."""
    separator = getattr(config, "sep_token_id", None)
    if separator is None or getattr(config, "type_vocab_size", 0) < 2:
        return None
    is_separator = (ids == separator).long()
    types: Tensor = (is_separator.cumsum(dim=1) - is_separator).clamp(max=1)
    return types


def _mask(network: nn.Module, ids: Tensor) -> Tensor | dict[str, Tensor]:
    """Which tokens see which, as the type takes it."""
    config: Any = network.config
    kind = config.model_type
    if kind in _OF_TOKENS:
        return is_token(ids, config.pad_token_id).long()
    places = torch.arange(ids.shape[1], device=ids.device)
    behind = (places[:, None] - places[None, :])[None, None]
    window = getattr(config, "sliding_window", None) or ids.shape[1]
    if kind in _CAUSAL:  # padding is behind all tokens, which do not see it
        full, near = behind >= 0, (behind >= 0) & (behind < window)
    else:
        full = is_token(ids, config.pad_token_id)[:, None, None, :]
        near = full & (behind.abs() <= window) | (behind == 0)  # no padding sees nothing at all, which is undefined
    full, near = _as_taken(network, full), _as_taken(network, near)
    if kind in _BY_LAYER:
        return {"full_attention": full, "sliding_attention": near}
    return near if kind in _ALL_IN_WINDOW else full


def _as_taken(network: Any, seen: Tensor) -> Tensor:
    """A mask as the network's attention takes it: truth values, or what is added to the scores before the softmax."""
    if network.config._attn_implementation == "sdpa":
        return seen
    numbers = torch.zeros(seen.shape, dtype=network.dtype, device=seen.device)
    return numbers.masked_fill(~seen, torch.finfo(network.dtype).min)
