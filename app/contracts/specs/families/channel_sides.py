"""Rows whose first side is read as the channels, and whose shape allows another reading."""

from collections.abc import Sequence
from typing import Literal

OtherReading = Literal["channels_last", "image"]
"""`channels_last`: the last side may count the channels; `image`: two equal sides may be a picture of one channel."""
_CHANNELS = (1, 3, 4)
"""Numbers of channels that images have: grey, RGB, RGBA."""
_LONG = 2
"""Sides of an image are at most so many times as long as each other; a series is at least so many times as long as it
has channels."""


def is_channels_last_suspected(shape: Sequence[int]) -> bool:
    """Whether rows [height, width, channels] may have been meant where [channels, height, width] is read, or a series
    [length, channels] where [channels, length] is.
    """
    if len(shape) < 2:
        return False
    if len(shape) == 2:
        return shape[0] >= _LONG * shape[1]
    first, *others, last = shape
    if others[-1] == last:
        return False  # square images behind their channels
    if len(shape) == 3 and last in _CHANNELS and first not in _CHANNELS:
        return True
    sides = (first, *others)
    return last < min(sides) and max(sides) <= _LONG * min(sides)


def other_reading(shape: Sequence[int]) -> OtherReading | None:
    """Another reading of rows that is as plausible as channels in front; None where there is none."""
    if is_channels_last_suspected(shape):
        return "channels_last"
    return "image" if len(shape) == 2 and shape[0] == shape[1] > 1 else None
