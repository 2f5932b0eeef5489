"""What a configuration of a type for texts needs so that a network of it reads rows of so many tokens."""

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from app.contracts.problems import UserError
from app.contracts.specs.families.huggingface_configs import positions_key, positions_offset

PARTS: Final[Mapping[str, Any]] = {"sep_token_id": None}
"""Keys that every type for texts takes here beside its own, with their defaults."""
_FURTHER: Final[Mapping[str, Mapping[str, Any]]] = {
    "deberta-v2": {
        "position_buckets": -1,
        "norm_rel_ebd": "none",
        "share_att_key": False,
        "conv_kernel_size": 0,
        "conv_act": "tanh",
        "conv_groups": 1,
        "attention_head_size": None,
    }
}
"""Keys that a type reads and that its defaults do not list."""
FIXED: Final[Mapping[str, bool]] = {"use_cache": False, "is_decoder": False, "add_cross_attention": False}
"""Keys that have one value here."""
_ROPES: Final = ("default", "linear", "llama3", "yarn")
"""Rotary positions that are a function of the place alone, not of the width of a batch."""


def keys_of_texts(name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a type for texts, with their defaults: its own, without those that have one value here."""
    given = {**own, **PARTS, **_FURTHER.get(name, {})}
    return {key: value for key, value in given.items() if key not in FIXED}


def settings_of_texts(name: str, given: Mapping[str, Any], defaults: Mapping[str, Any], length: int) -> dict[str, Any]:
    """What a configuration has beside `given` for rows of up to `length` tokens.

    Raises UserError `unsupported_config`.
    """
    padding, vocabulary = _ids(name, {**defaults, **given})
    _check_positive(name, given, defaults)
    _check_rope(name, given.get("rope_parameters"))
    needed = length + positions_offset(name, padding)
    key = positions_key(name)
    found = given.get(key)
    if found is not None and found < needed:
        raise _unsupported(
            name,
            f"`{key}` is {found}, expected {needed} or more for rows of {length} tokens: leave it out, or choose a "
            "smaller `length` of the dataset's texts",
        )
    settings: dict[str, Any] = {each: value for each, value in FIXED.items() if each in defaults}
    if found is None:
        settings[key] = max(needed, defaults[key]) if "rope_parameters" in defaults else needed
    for each, value in defaults.items():  # special tokens of the type's own vocabulary, which this one has not
        if each.endswith("_token_id") and each not in given and isinstance(value, int) and value >= vocabulary:
            settings[each] = None
    return settings


def _ids(name: str, config: Mapping[str, Any]) -> tuple[int, int]:
    """(padding, vocabulary)."""
    vocabulary, padding = config["vocab_size"], config.get("pad_token_id")
    if not is_whole(vocabulary) or vocabulary < 1:
        raise _unsupported(name, f"`vocab_size` is {vocabulary!r}, expected 1 or more: correct it")
    if not is_whole(padding) or padding >= vocabulary:
        raise _unsupported(
            name,
            f"`pad_token_id` is {padding!r}, expected the id below {vocabulary} that fills rows up: set it to that of "
            "the tokenizer's padding, or of its end of text where it has none",
        )
    return padding, vocabulary


def _check_positive(name: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Sizes, and numbers of layers and heads, are 1 or more where the type's own are."""
    for key, value in given.items():
        own = defaults.get(key)
        if is_whole(own) and own > 0 and is_whole(value) and value < 1 and not key.endswith("_id"):
            raise _unsupported(name, f"`{key}` is {value}, expected 1 or more: correct it, or leave it out")
        if key.endswith("_eps") and isinstance(value, int | float) and value <= 0:
            raise _unsupported(name, f"`{key}` is {value}, expected a number above 0: correct it, or leave it out")


def _check_rope(name: str, rope: Any) -> None:
    if rope is None:
        return
    if not isinstance(rope, dict):
        raise _unsupported(name, f"`rope_parameters` is {rope!r}, expected a table: correct it")
    tables = [each for each in rope.values() if isinstance(each, dict)] or [rope]
    for table in tables:
        if table.get("rope_type", "default") not in _ROPES:
            raise _unsupported(
                name,
                f"`rope_type` is {table['rope_type']!r}, expected one of {', '.join(_ROPES)}, whose positions do not "
                "depend on the other rows: use another network",
            )


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether it is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def _unsupported(name: str, detail: str) -> UserError:
    return UserError("unsupported_config", f"configuration of `{name}`: {detail}")
