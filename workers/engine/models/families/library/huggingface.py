"""Networks for classification of Hugging Face's transformers, from a type and checked keys of a configuration.

No code and no file of a stranger is used: the type is one of a list, and a configuration has only keys of that type,
with values of the types of its defaults. transformers builds networks that neither `auto_map` nor a hub can change.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import torch
from torch import nn

from app.contracts.problems import UserError
from app.contracts.specs.families.huggingface_configs import BAND_TYPES, SAMPLE_TYPES, TEXT_TYPES, ConfigValue
from app.contracts.specs.families.library import HuggingFace
from workers.engine.models.families.library.attention import masked_attention
from workers.engine.models.families.library.packages import package
from workers.engine.models.families.library.sound_configs import keys_of_sounds, settings_of_sounds
from workers.engine.models.families.library.text_configs import keys_of_texts, settings_of_texts

OF_ROWS = ("image_size", "num_channels")
"""Keys that the shape of images decides."""
_MOST_LAYERS = 64
_POOLER = "add_pooling_layer"
"""Of encoders that have a layer for the vector of the first token, which classifiers read and embeddings do not."""
_REPEATED = ("layer", "depth", "blocks", "repeats", "group_num", "hidden_groups", "feedforward_networks")
"""Parts of the names of keys that count layers."""
_NOT_REPEATED = ("norm", "types")
"""Parts of the names of keys of layers that count none."""


def huggingface_network(architecture: HuggingFace, input_shape: Sequence[int], classes: int) -> nn.Module:
    """A network with this many classes for images of `input_shape` [C, H, W], rows of tokens [L], or of sounds
    [1, samples] or [1, mels, frames], with weights that transformers draws.

    Raises UserError `library_missing`, `unsupported_config`.
    """
    config = configuration(architecture, input_shape, classes)
    model, options = model_class(config, architecture)
    attentions = _attentions(architecture)
    for attention in attentions:
        try:
            network: nn.Module = model._from_config(
                config, attn_implementation=attention, dtype=torch.float32, **options
            )
            return network
        except MemoryError:
            raise
        except Exception as error:  # constructors fail in many ways on values that do not go together
            if attention == attentions[-1] or "scaled_dot_product_attention" not in str(error):
                raise _unsupported(architecture.name, f"{type(error).__name__}: {error}") from error
    raise AssertionError("one of the two attentions is built or refused")


def _attentions(architecture: HuggingFace) -> tuple[str, ...]:
    """Attentions that are tried in order."""
    reading = architecture.sample_reading
    return (masked_attention(),) if reading is not None and reading.mask else ("sdpa", "eager")


def configuration(architecture: HuggingFace, input_shape: Sequence[int], classes: int) -> Any:
    """The configuration of transformers. Raises UserError `library_missing`, `unsupported_config`."""
    transformers = package("transformers")
    kind = transformers.CONFIG_MAPPING[architecture.name]
    defaults = own_keys(architecture.name)
    for key, value in architecture.config.items():
        check_value(architecture.name, key, value, defaults)
    given = {key: plain(value) for key, value in architecture.config.items()}
    match architecture.reads:
        case "numbers" if architecture.sound_rows is not None:
            given |= settings_of_sounds(architecture.name, given, input_shape)
        case "numbers":
            given |= _of_images(input_shape, kind().to_dict())
        case "tokens":
            given |= settings_of_texts(architecture.name, given, kind().to_dict(), input_shape[0])
        case _:
            assert_never(architecture.reads)
    try:
        return kind.from_dict({**given, "num_labels": classes})
    except Exception as error:  # validators of transformers raise errors of their own
        raise _unsupported(architecture.name, str(error)) from error


def _of_images(input_shape: Sequence[int], known: Mapping[str, Any]) -> dict[str, Any]:
    channels, height, width = input_shape
    of_rows = {"image_size": height if height == width else [height, width], "num_channels": channels}
    return {key: value for key, value in of_rows.items() if key in known}


def plain(value: Any) -> Any:
    """A copy of a value as JSON has it: dictionaries, lists and scalars."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, tuple) else value


def own_keys(name: str) -> dict[str, Any]:
    """The keys of a type's configuration that describe the network, with their defaults."""
    transformers = package("transformers")
    common = set(transformers.PretrainedConfig().to_dict())
    own = transformers.CONFIG_MAPPING[name]().to_dict()
    own = {key: value for key, value in own.items() if key not in common}
    if name in TEXT_TYPES:
        return keys_of_texts(name, own)
    if name in SAMPLE_TYPES | BAND_TYPES:
        return keys_of_sounds(own)
    return {key: value for key, value in own.items() if key not in OF_ROWS}


def model_class(config: Any, architecture: HuggingFace) -> tuple[Any, Mapping[str, bool]]:
    """(the class of a network, what its constructor is called with beside the configuration): for classification, of
    each token where it answers so, the encoder alone with `embedding`. Of several classes the one with a single head.
    """
    transformers = package("transformers")
    if architecture.embedding is not None:
        listing = transformers.AutoModel
    elif architecture.answers == "tokens":
        listing = transformers.AutoModelForTokenClassification
    elif architecture.sound_rows is not None:
        listing = transformers.AutoModelForAudioClassification
    elif architecture.reads == "tokens":
        listing = transformers.AutoModelForSequenceClassification
    else:
        listing = transformers.AutoModelForImageClassification
    found = listing._model_mapping[type(config)]
    made = found[0] if isinstance(found, tuple) else found
    pools = architecture.embedding is not None and _POOLER in inspect.signature(made.__init__).parameters
    return made, {_POOLER: False} if pools else {}


def check_value(name: str, key: str, value: ConfigValue, defaults: Mapping[str, Any]) -> None:
    """Check a key and its value by the type's defaults. Raises UserError `unsupported_config`."""
    if key not in defaults:
        raise UserError(
            "unsupported_config",
            f"a configuration of `{name}` has no key `{key}` that describes the network: it has "
            f"{', '.join(f'`{each}`' for each in sorted(defaults))}",
        )
    if not _is_like(value, defaults[key]):
        raise UserError(
            "unsupported_config",
            f"`{key}` of `{name}` is {value!r}, expected a value like its default {defaults[key]!r}: correct it",
        )
    numbers = [each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, int | float)]
    counts = any(part in key for part in _REPEATED) and not any(part in key for part in _NOT_REPEATED)
    if counts and any(number > _MOST_LAYERS for number in numbers):
        raise UserError(
            "unsupported_config", f"`{key}` of `{name}` is {value!r}, {_MOST_LAYERS} at most: use a smaller network"
        )


def _is_like(value: ConfigValue, default: Any) -> bool:
    """Whether a value is of the type of a default; None says nothing, and a whole number may stand for a fraction."""
    if default is None:
        return not isinstance(value, dict)
    if isinstance(default, dict) or isinstance(value, dict):
        return isinstance(default, dict) and isinstance(value, dict)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, list | tuple):
        return isinstance(value, tuple)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return isinstance(value, type(default)) or (isinstance(default, int) and isinstance(value, tuple))


def _unsupported(name: str, detail: str) -> UserError:
    said = detail.strip().partition("\n")[0][:300]
    return UserError(
        "unsupported_config",
        f"transformers builds no network of type `{name}` with this configuration ({said}): correct `config`",
    )
