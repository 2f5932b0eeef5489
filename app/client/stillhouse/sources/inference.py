"""What a manifest says of arrays and columns where the caller does not say it: kinds, shapes, classes."""

from collections.abc import Iterable, Sequence
from math import isnan
from typing import Any, Final

from stillhouse.errors import Unreadable
from stillhouse.sources.upload import JSON

SPLIT_WORDS: Final = frozenset(("train", "validation", "test"))
MOST_CATEGORIES: Final = 100
"""A column of texts with more different values is no category."""
MOST_CLASSES: Final = 1000
MOST_CHANNELS: Final = 4


def is_split(values: Iterable[Any]) -> bool:
    """Whether a column says the split of each row."""
    found = {str(each) for each in values}
    return "train" in found and found <= SPLIT_WORDS


def class_target(name: str, labels: Sequence[str]) -> JSON:
    """A target of classes by their names."""
    if not 2 <= len(labels) <= MOST_CLASSES:
        raise Unreadable(
            f"expected 2 to {MOST_CLASSES} classes in the target `{name}`, found {len(labels)}: name another target, "
            'or say its kind, such as targets={"' + name + '": {"kind": "value"}}'
        )
    return {"kind": "class", "classes": list(labels)}


def whole_number_target(smallest: int, largest: int, different: int) -> JSON:
    """A target of whole numbers: classes where every number from 0 on occurs (-1 is a missing label), else values."""
    labels = different - (1 if smallest == -1 else 0)
    if smallest >= -1 and labels == largest + 1 and 2 <= labels <= MOST_CLASSES:
        return {"kind": "class", "classes": labels}
    return {"kind": "value"}


def float_target(known: Any, missing: bool) -> JSON:
    """A target of floating-point numbers, of which `known` (an array) are not missing.

    Whole numbers become such numbers where some are missing: then the rule for whole numbers holds.
    """
    if missing and known.size and (abs(known) <= MOST_CLASSES).all() and (known == known.round()).all():
        return whole_number_target(int(known.min()), int(known.max()), len(set(known.tolist())))
    return {"kind": "value"}


def ordered(labels: Iterable[Any]) -> list[str]:
    """The names of classes in their order: numbers by their size, others as texts."""
    different = set(labels)
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in different)
    return [str(each) for each in sorted(different)] if numbers else sorted({str(each) for each in different})


def is_missing(value: object) -> bool:
    """Whether it stands for no value: None, NaN, and those of pandas."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and isnan(value))


def array_input(shape: Sequence[int], type_name: str) -> JSON:
    """An input of numbers by the shape of its rows and the type of its numbers. Bytes are pixels, scaled to 0 to 1."""
    found: JSON = {"kind": "array"}
    pixels = type_name == "uint8"
    if pixels:
        found["scale"] = 1 / 255
    if len(shape) == 3 and shape[-1] <= MOST_CHANNELS < min(shape[:2]):
        found |= {"shape": list(shape), "layout": "channels_last"}
    elif len(shape) == 2 and pixels:
        found["shape"] = [1, *shape]
    elif len(shape) > 1:
        found["shape"] = list(shape)
    return found


def text_input(name: str, values: Sequence[str]) -> JSON:
    """A column of texts: a category where few values come again and again, else texts."""
    different = set(values)
    if len(different) <= MOST_CATEGORIES and 2 * len(different) <= len(values):
        return {"kind": "category", "columns": [name]}
    return {"kind": "text", "columns": [name]}
