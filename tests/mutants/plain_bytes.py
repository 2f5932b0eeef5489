"""Changes of bytes that know nothing of a format: (content, draw) -> content."""

import struct
from collections.abc import Callable
from random import Random

Change = Callable[[bytes, Random], bytes]
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
"""Sizes and lengths where readers go wrong."""


def _place(content: bytes, draw: Random) -> int:
    """A place, more often near the ends, where headers and directories are."""
    last = max(0, len(content) - 1)
    return draw.choice((draw.randint(0, last), draw.randint(0, min(last, 200)), draw.randint(max(0, last - 400), last)))


def flipped(content: bytes, draw: Random) -> bytes:
    """One to eight bits are flipped."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 8) if changed else 0):
        changed[_place(content, draw)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def truncated(content: bytes, draw: Random) -> bytes:
    """The end is missing."""
    return content[: _place(content, draw)]


def lengthened(content: bytes, draw: Random) -> bytes:
    """Something follows the end, or comes before the beginning."""
    more = draw.choice((draw.randbytes(draw.randint(1, 64)), bytes(draw.randint(1, 512)), content[:100]))
    return draw.choice((content + more, more + content))


def _chunk(content: bytes, draw: Random) -> tuple[int, int]:
    start = _place(content, draw)
    return start, min(len(content), start + draw.choice((1, 2, 4, 8, 16, 64, 512)))


def removed(content: bytes, draw: Random) -> bytes:
    """A chunk is missing."""
    start, end = _chunk(content, draw)
    return content[:start] + content[end:]


def doubled(content: bytes, draw: Random) -> bytes:
    """A chunk is there twice."""
    start, end = _chunk(content, draw)
    return content[:end] + content[start:]


def overwritten(content: bytes, draw: Random) -> bytes:
    """A chunk is zeros, ones, noise, or another chunk."""
    start, end = _chunk(content, draw)
    size = end - start
    other = draw.randint(0, max(0, len(content) - size))
    new = draw.choice((bytes(size), b"\xff" * size, draw.randbytes(size), content[other : other + size]))
    return content[:start] + new + content[end:]


def swapped(content: bytes, draw: Random) -> bytes:
    """Two chunks change places."""
    first, second = sorted(_place(content, draw) for _ in range(2))
    size = min(second - first, len(content) - second, draw.choice((1, 4, 16, 64)))
    one, two = content[first : first + size], content[second : second + size]
    return content[:first] + two + content[first + size : second] + one + content[second + size :]


def renumbered(content: bytes, draw: Random) -> bytes:
    """A field of 2, 4 or 8 bytes is another number: a false length."""
    start, form = _place(content, draw), draw.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    number = draw.choice((*NUMBERS, len(content), len(content) + 1)) & ((1 << (8 * size)) - 1)
    return content[:start] + struct.pack(form, number) + content[start + size :]


PLAIN: tuple[Change, ...] = (
    flipped,
    truncated,
    lengthened,
    removed,
    doubled,
    overwritten,
    swapped,
    renumbered,
)


def changed_bytes(content: bytes, draw: Random) -> bytes:
    """Any of the changes."""
    return draw.choice(PLAIN)(content, draw)
