"""How wide rows of tokens are."""

_MULTIPLE = 8
"""Widths are multiples of this, as matrix units like them."""


def width_of(longest: int, most: int) -> int:
    """The width of rows whose longest has so many tokens: a multiple of 8, `most` at most."""
    return max(1, min(most, -(-longest // _MULTIPLE) * _MULTIPLE))
