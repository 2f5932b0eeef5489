"""An attention of transformers that always uses its mask."""

from functools import cache
from typing import Any, Final

from workers.engine.models.families.library.packages import package

_NAME: Final = "always_masked"


@cache
def masked_attention() -> str:
    """The name of scaled dot product attention that has a mask even where a batch has no padding.

    transformers looks at the values of a mask and leaves it out of a batch without padding: each step would wait for
    the device, and the bits of a row depend on the other rows.
    """
    masks, attentions = package("transformers.masking_utils"), package("transformers.modeling_utils")

    def mask(*args: Any, **kwargs: Any) -> Any:
        return masks.sdpa_mask(*args, **{**kwargs, "allow_is_bidirectional_skip": False})

    masks.AttentionMaskInterface.register(_NAME, mask)
    attentions.AttentionInterface.register(_NAME, attentions.ALL_ATTENTION_FUNCTIONS["sdpa"])
    return _NAME
