"""Types of transformers, and the values that a configuration of one may have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args

from pydantic import Field, StringConstraints

MOST_TOKENS: Final = 2048
"""Largest number of tokens of a row."""
MOST_IDS: Final = 1 << 20
"""Largest vocabulary."""
ImageType = Literal[
    "beit", "bit", "convnext", "convnextv2", "deit", "dinov2", "efficientnet", "focalnet", "mobilenet_v1",
    "mobilenet_v2", "mobilevit", "mobilevitv2", "poolformer", "pvt", "pvt_v2", "regnet", "resnet", "segformer", "swin",
    "swinv2", "vit", "vit_msn",
]  # fmt: skip
TextType = Literal[
    "albert", "bert", "camembert", "data2vec-text", "deberta-v2", "distilbert", "electra", "ernie", "gpt2",
    "llama", "megatron-bert", "mistral", "mobilebert", "modernbert", "mpnet", "qwen2", "qwen3", "rembert", "roberta",
    "roberta-prelayernorm", "smollm3", "squeezebert", "xlm-roberta",
]  # fmt: skip
SampleType = Literal["data2vec-audio", "hubert", "sew", "unispeech", "unispeech-sat", "wav2vec2", "wavlm"]
BandType = Literal["audio-spectrogram-transformer", "whisper"]
ModelType = Literal[ImageType, TextType, SampleType, BandType]
SAMPLE_TYPES: Final[frozenset[str]] = frozenset(get_args(SampleType))
"""Types that read the samples of a sound."""
BAND_TYPES: Final[frozenset[str]] = frozenset(get_args(BandType))
"""Types that read features of the bands of a sound."""
TAGGING_TYPES: Final[frozenset[str]] = frozenset(get_args(TextType)) - {
    "gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3",
}  # fmt: skip
"""Types with a head for each token: those whose tokens see the ones before and behind them."""
TEXT_TYPES: Final[frozenset[str]] = frozenset(get_args(TextType))
ConfigKey = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
ConfigInteger = Annotated[int, Field(ge=0, le=MOST_IDS)]
ConfigFloat = Annotated[float, Field(ge=-1e9, le=1e9)]
ConfigWord = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_|]{0,31}$")]
ConfigScalar = bool | ConfigInteger | ConfigFloat | ConfigWord
ConfigList = Annotated[tuple[ConfigScalar, ...], Field(max_length=64)]
ConfigTable = Annotated[dict[ConfigKey, ConfigScalar | ConfigList], Field(max_length=16)]
ConfigValue = (
    ConfigScalar
    | ConfigList
    | Annotated[dict[ConfigKey, ConfigScalar | ConfigList | ConfigTable], Field(max_length=16)]
)
"""A number, a word, several of them, or a table, such as `rope_parameters`."""
_MOST = 16_384
"""Largest whole number under keys that say a size of the network."""
_WIDE: Final = frozenset({"vocab_size", "max_position_embeddings", "sliding_window"})
_WIDE_SUFFIX: Final = "_token_id"


def is_wide(key: str) -> bool:
    """Whether a key counts tokens or names one, which may be a number above those of a network's sizes."""
    return key in _WIDE or key.endswith(_WIDE_SUFFIX)


def too_large(config: Mapping[str, ConfigValue]) -> str | None:
    """A key with a whole number above what it may have; None where there is none."""
    for key, value in config.items():
        found = value if isinstance(value, tuple) else (value,)
        if not is_wide(key) and any(isinstance(each, int) and each > _MOST for each in found):
            return f"`{key}` is {value!r}, {_MOST} at most: use a smaller network"
    return None


_AFTER_PADDING: Final = frozenset({"camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta"})
"""Types whose first position is the one after the id of the padding."""
_BY_DISTANCE: Final = frozenset({"llama", "mistral", "modernbert", "qwen2", "qwen3", "smollm3"})
"""Types whose positions count as distances between tokens alone."""
_READS_LAST: Final = frozenset({"gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3"})
"""Types that classify by the last token of a row."""
READS_NEIGHBOURS: Final = frozenset({"mobilebert"})
"""Types whose embedding of a token reads the next one: a row ends in padding, whatever its width."""


def classifies_by_first(name: str, config: Mapping[str, ConfigValue]) -> bool:
    """Whether the classifier of a type reads the first place of a row."""
    return name not in _READS_LAST and config.get("classifier_pooling") != "mean"


def is_alike_padded_before(name: str, *, reads_first: bool) -> bool:
    """Whether padding before a row's tokens changes nothing that is made of them, where their mask alone says what is
    padding. `reads_first`: whether it is made of the first place, where the padding then is.
    """
    return name in _BY_DISTANCE | _AFTER_PADDING and not reads_first


def positions_key(name: str) -> str:
    """The key of the number of positions."""
    return "n_positions" if name == "gpt2" else "max_position_embeddings"


def positions_offset(name: str, padding: int) -> int:
    """Positions that a type needs beside one for each token of a row."""
    if name in _AFTER_PADDING:
        return padding + 1
    if name == "mpnet":  # its positions begin at 2, whatever its padding is
        return 2
    return 1 if name in READS_NEIGHBOURS else 0


_LAYERS_KEYS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("bert", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert", "mpnet", "rembert", "roberta",
         "roberta-prelayernorm", "xlm-roberta"),
        "num_hidden_layers",
    ),
    **dict.fromkeys(("llama", "mistral"), "num_hidden_layers"),
    **dict.fromkeys(("beit", "deit", "dinov2", "vit", "vit_msn"), "num_hidden_layers"),
    **dict.fromkeys(
        ("audio-spectrogram-transformer", "data2vec-audio", "hubert", "unispeech", "unispeech-sat", "wav2vec2"),
        "num_hidden_layers",
    ),
    "whisper": "encoder_layers",
    "distilbert": "n_layers",
    "gpt2": "n_layer",
}  # fmt: skip
_OF_PLACES: Final = ("scale_attn_by_inverse_layer_idx",)
"""Keys by which blocks compute something that depends on their place."""
NAMED_BY_LAYERS: Final = frozenset({"out_features", "out_indices", "stage_names"})
"""Keys that list the layers of a backbone, which a network for classification is not."""


def layers_key(name: str) -> str | None:
    """The key of the number of blocks, of types whose blocks have equal form and may be left out; else None."""
    return _LAYERS_KEYS.get(name)


def by_place(config: Mapping[str, ConfigValue]) -> str | None:
    """A key by which blocks depend on their place, or that lists something for each; None where there is none."""
    return next((key for key in (*_OF_PLACES, "layer_types") if config.get(key)), None)


@dataclass(frozen=True)
class WidthKeys:
    """The keys of a type's widths; their defaults are 768, 3072 and 12."""

    hidden: str
    intermediate: str
    heads: str

    def values(self, config: Mapping[str, ConfigValue]) -> tuple[int, int, int] | None:
        """(hidden, intermediate, heads) of a configuration; None where one is no whole number."""
        defaults = {self.hidden: 768, self.intermediate: 3072, self.heads: 12}
        found = [config.get(key, default) for key, default in defaults.items()]
        hidden, intermediate, heads = (each if type(each) is int else 0 for each in found)
        return (hidden, intermediate, heads) if hidden and intermediate and heads else None


_OF_BERT: Final = WidthKeys("hidden_size", "intermediate_size", "num_attention_heads")
WIDTH_KEYS: Final[Mapping[str, WidthKeys]] = {
    "bert": _OF_BERT,
    "distilbert": WidthKeys("dim", "hidden_dim", "n_heads"),
    "roberta": _OF_BERT,
    "vit": _OF_BERT,
}
"""Types whose tensors can be sliced: each dimension of each follows from these keys, heads after heads."""
