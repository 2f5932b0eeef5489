"""Which shapes a row of numbers may be brought into without a guess, and what to change where it may not.

Used for the `shape` of a dataset's manifest, for the input of teachers and for that of students, so that all refuse
and accept the same.
"""

from collections.abc import Sequence
from math import prod
from typing import Literal

from app.contracts.resources.manifests import InputTransform

_LARGE_OFFSET = 2.0**12
RowLayout = Literal["channels_last", "channels_first"]
_LAST = ': if the last side counts the channels, set `"layout": "channels_last"` beside it in the model\'s manifest'


def may_become(found: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether rows of shape `found` may be read as rows of shape `wanted`, number by number in C order.

    A flat row may take any shape of as many numbers, and any row may be flattened. Otherwise the shapes are equal side
    by side; sides of 1 do not count, as they change no number's place: [8, 8] and [8, 8, 1] may become [1, 8, 8].
    """
    if prod(found) != prod(wanted):
        return False
    return len(found) == 1 or len(wanted) == 1 or _without_ones(found) == _without_ones(wanted)


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [side for side in shape if side != 1]


def channels_first(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape with its last side moved to the front."""
    return (shape[-1], *shape[:-1])


def channels_behind(transform: InputTransform, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of rows of `shape` after a model's transform, which moves the channels of one that has them last."""
    return (*shape[1:], shape[0]) if transform.layout == "channels_last" else shape


def fed_shape(expected: Sequence[int | None], found: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape in which a graph whose rows are `expected` is fed rows of shape `found`: a dimension that it leaves
    open fits any. None where they do not fit.

    Leading sides of 1 that the graph does not have are left out, as they change no number's place: [1, n], one channel
    of samples, fits [any]. Flat rows take a shape without open dimensions, and rows of any shape a flat one.
    """
    fixed = tuple(side for side in expected if side is not None)
    if len(fixed) == len(expected) and prod(fixed) == prod(found) and 1 in (len(found), len(expected)):
        return fixed
    while len(found) > max(1, len(expected)) and found[0] == 1:
        found = found[1:]
    fits = len(found) == len(expected) and all(a is None or a == b for a, b in zip(expected, found, strict=True))
    return found if fits else None


def misfit(found: Sequence[int], wanted: Sequence[int]) -> Literal["shape_mismatch", "layout_mismatch"] | None:
    """`shape_mismatch` where rows have another number of numbers, `layout_mismatch` where they have as many in another
    layout; None where they fit.
    """
    if may_become(found, wanted):
        return None
    return "shape_mismatch" if prod(found) != prod(wanted) else "layout_mismatch"


def is_resized(transform: InputTransform, found: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether a model's transform brings images of shape `found` [C, H, W] to the height and width of `wanted`."""
    return transform.resize is not None and len(found) == len(wanted) == 3 and found[0] == wanted[0]


def rows_shape(transform: InputTransform, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the rows that a model's transform takes: that of its input, or with the channels in front."""
    return channels_first(input_shape) if transform.layout == "channels_last" else input_shape


def way_out(found: Sequence[int], wanted: Sequence[int], *, teacher: bool = False) -> str:
    """What to change about a dataset with rows of shape `found`, or a teacher, for a model that expects `wanted`."""
    if prod(found) != prod(wanted):
        return f"use a model for rows of {prod(found)} numbers, not {prod(wanted)}"
    if len(found) > 1 and may_become(channels_first(found), wanted):
        return (
            'set `"layout": "channels_last"` for the input in the dataset\'s manifest: the last side moves to the front'
        )
    if teacher and len(wanted) > 1 and may_become(found, channels_first(wanted)):
        return (
            'set `"layout": "channels_last"` for the input in the teacher\'s manifest, whose channels are its last side'
        )
    return f"upload the rows in shape {list(wanted)}, or as flat rows with `shape` in the dataset's manifest"


def has_two_orders(shape: Sequence[int]) -> bool:
    """Whether the numbers of an image of this shape may be listed channel by channel or pixel by pixel."""
    return len(shape) == 3 and all(side > 1 for side in shape)


def moved_grey_rows(layout: RowLayout | None, found: Sequence[int], wanted: Sequence[int]) -> str | None:
    """What is wrong where rows without a side for channels had their last side moved, and images are read from them."""
    if layout != "channels_last" or len(found) != 2 or len(wanted) != 3:
        return None
    height, width = found[1], found[0]
    return (
        f"the dataset's rows [{height}, {width}] have no side for channels, and `channels_last` moved their width to "
        f'the front: give the dataset\'s input `"shape": [{height}, {width}, 1]` beside it, or leave `layout` out'
    )


def assumed_order(found: Sequence[int], wanted: Sequence[int]) -> str | None:
    """What is assumed where flat rows are read as images of several channels, or such images as flat rows."""
    image = wanted if len(found) == 1 else found
    if len(found) == len(wanted) or not (len(found) == 1 or len(wanted) == 1) or not has_two_orders(image):
        return None
    return (
        f"rows of shape {list(found)} are read as {list(wanted)}, channel by channel ({image[0]} channels of "
        f"{image[1]} x {image[2]}): if the model's numbers stand pixel by pixel, give the dataset's input the `shape` "
        "[height, width, channels] and the layout of the model"
    )


def statistics_misfit(transform: InputTransform, shape: Sequence[int]) -> str | None:
    """What is wrong with the number of means or deviations for rows of `rows_shape`; None where they fit."""
    for field, statistic in (("mean", transform.mean), ("std", transform.std)):
        if isinstance(statistic, tuple) and len(statistic) not in (shape[0], prod(shape)):
            expected = f"1 or {shape[0]}" + (f" (or {prod(shape)}, one for each number)" if len(shape) > 1 else "")
            wrong = f"`{field}` has {len(statistic)} numbers, expected {expected} for rows of shape {list(shape)}"
            is_last = transform.layout is None and len(shape) > 1 and len(statistic) == shape[-1]
            return wrong + (_LAST if is_last else "")
    return None


def transform_for(transform: InputTransform, rows: Sequence[int], shape: Sequence[int]) -> InputTransform:
    """A transform of rows of shape `rows`, for the same rows in `shape`: statistics of the first side become one for
    each number of a row (C order) where the first sides differ.
    """
    if rows[0] == shape[0]:
        return transform

    def spread(statistic: float | tuple[float, ...]) -> float | tuple[float, ...]:
        if not isinstance(statistic, tuple) or len(statistic) == prod(shape):
            return statistic
        return tuple(number for number in statistic for _ in range(prod(rows[1:])))

    return transform.model_copy(update={"mean": spread(transform.mean), "std": spread(transform.std)})


def is_large_offset(mean: float | tuple[float, ...], std: float | tuple[float, ...]) -> bool:
    """Whether a mean is more than 4096 of its standard deviations: float32 would round the numbers by up to 2⁻¹² of
    their deviation before they are centred.
    """
    means, deviations = (each if isinstance(each, tuple) else (each,) for each in (mean, std))
    if len(deviations) < len(means):
        deviations *= len(means)
    if len(means) < len(deviations):
        means *= len(deviations)
    return any(abs(number) > _LARGE_OFFSET * deviation for number, deviation in zip(means, deviations, strict=True))
