"""What a configuration of a type for sounds needs so that a network of it reads rows of this shape."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final

from app.contracts.problems import UserError
from app.contracts.specs.families.sounds import FIXED, settings_of_rows

OF_SOUNDS: Final = ("num_mel_bins", "max_length", "max_source_positions")
"""Keys that the shape of the rows decides."""
_WITHOUT_EFFECT: Final = (
    "vocab_size", "num_feat_extract_layers", "max_target_positions", "median_filter_width", "use_cache",
    "replace_prob", "diversity_loss_weight", "num_negatives", "num_clusters", "num_ctc_classes", "codevector_dim",
    "proj_codevector_dim", "contrastive_logits_temperature", "xvector_output_dim", "output_hidden_size",
    "feat_quantizer_dropout", "final_dropout", "suppress_tokens", "begin_suppress_tokens", "tie_word_embeddings",
    "scale_embedding", "forced_decoder_ids", "is_encoder_decoder",
)  # fmt: skip
"""Keys of other heads, of a decoder and of pretraining, which change no answer of a classifier."""
_OF_OTHERS: Final = ("mask_", "adapter_", "num_adapter", "tdnn_", "ctc_", "decoder_", "num_codevector")
"""What further such keys begin with."""
_OF_TOKENS: Final = "_token_id"


def without_effect(key: str) -> bool:
    """Whether a key of a type for sounds changes no answer of a classifier."""
    return key in _WITHOUT_EFFECT or key.startswith(_OF_OTHERS) or key.endswith(_OF_TOKENS)


def keys_of_sounds(own: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a type for sounds that describe a classifier, with their defaults."""
    return {
        key: value
        for key, value in own.items()
        if key not in FIXED and key not in OF_SOUNDS and not without_effect(key)
    }


def settings_of_sounds(name: str, given: Mapping[str, Any], input_shape: Sequence[int]) -> dict[str, Any]:
    """What a configuration has beside `given` for rows [1, samples] or [1, mels, frames].

    Raises UserError `unsupported_config`.
    """
    if len(input_shape) == 2:
        _check_convolutions(name, given, input_shape[1])
    return settings_of_rows(name, tuple(input_shape))


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples that the first output of convolutions one after another sees."""
    return 1 + sum((kernel - 1) * prod(strides[:i]) for i, kernel in enumerate(kernels))


def _check_convolutions(name: str, given: Mapping[str, Any], samples: int) -> None:
    """The convolutions at the front have a kernel and a stride each, and the rows are long enough for them."""
    sizes = [given.get(key) for key in ("conv_dim", "conv_kernel", "conv_stride")]
    lengths = {len(each) for each in sizes if isinstance(each, list | tuple)}
    if len(lengths) > 1 or (lengths and None in sizes and lengths != {7 if name != "sew" else 13}):
        raise _unsupported(
            name, "`conv_dim`, `conv_kernel` and `conv_stride` differ in length: give each layer one number in each"
        )
    kernels, strides = sizes[1], sizes[2]
    if not isinstance(kernels, list | tuple) or not isinstance(strides, list | tuple):
        return
    if not all(isinstance(each, int) and each >= 1 for each in (*kernels, *strides)):
        raise _unsupported(name, "`conv_kernel` and `conv_stride` have others than whole numbers from 1: correct them")
    needed = receptive_field(kernels, strides)
    if samples < needed:
        raise _unsupported(
            name,
            f"its convolutions need {needed} samples, and rows have {samples}: choose longer `seconds` of the dataset, "
            "or a larger `shape` in the manifest of a model",
        )


def _unsupported(name: str, detail: str) -> UserError:
    return UserError("unsupported_config", f"configuration of `{name}`: {detail}")
