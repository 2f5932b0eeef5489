"""Random numbers for dataset rows: each is a function of (seed, row, position in the row) alone.

A row is thus corrupted in the same way in every batch and order, and the numbers of all rows of a batch are drawn at
once. A generator (`workers.engine.common.seeds`) would have to be seeded again for each row.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_WORDS = 4
_BLOCKS_AT_ONCE = 1 << 16


def philox(counter: Sequence[Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

    `counter` is four tensors of 32-bit words, stored as int64, that broadcast; returns four tensors of words.
    """
    a, b, c, d = counter
    first, second = key
    for _ in range(_ROUNDS):
        high_a, low_a = _product(a, _MULTIPLIERS[0])
        high_c, low_c = _product(c, _MULTIPLIERS[1])
        a, b, c, d = high_c ^ b ^ first, low_c, high_a ^ d ^ second, low_a
        first, second = (first + _KEY_STEPS[0]) & _WORD, (second + _KEY_STEPS[1]) & _WORD
    return a, b, c, d


def _product(words: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """(high, low) word of a 64-bit product, computed by halves so that nothing overflows int64."""
    upper, lower = (words >> 16) * factor, (words & 0xFFFF) * factor
    middle = upper + (lower >> 16)
    return middle >> 16, ((middle & 0xFFFF) << 16) | (lower & 0xFFFF)


def row_words(seed: int, rows: Tensor, blocks: int) -> Tensor:
    """Uniform 32-bit words, int64 [n, 4 · blocks], for rows int64 [n]; the low 64 bits of `seed` are used."""
    block = torch.arange(blocks, device=rows.device)[None, :]
    zero = torch.zeros_like(block)
    words = philox((block, zero, (rows & _WORD)[:, None], (rows >> 32)[:, None]), (seed & _WORD, seed >> 32 & _WORD))
    return torch.stack(words, dim=-1).reshape(len(rows), blocks * _WORDS)


def row_normals(seed: int, rows: Tensor, count: int) -> Tensor:
    """Standard normal numbers, float32 [n, count], for rows int64 [n] (Box and Muller 1958; at most 6.8 in size)."""
    blocks = -(-count // _WORDS)
    if len(rows) == 0:
        return torch.empty(0, count, device=rows.device)
    parts = [_normals(row_words(seed, part, blocks))[:, :count] for part in _parts(rows, blocks)]
    return torch.cat(parts)


def _parts(rows: Tensor, blocks: int) -> Iterator[Tensor]:
    """Parts of the rows, for bounded memory."""
    yield from torch.split(rows, max(1, _BLOCKS_AT_ONCE // max(1, blocks)))


def _normals(words: Tensor) -> Tensor:
    """Two normal numbers from two words each: √(-2 ln u) times cosine and sine of 2πv, with u in (0, 1)."""
    unit = (words.double() + 0.5) / 2.0**32
    radius, angle = (-2.0 * unit[:, 0::2].log()).sqrt(), 2.0 * torch.pi * unit[:, 1::2]
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1).reshape(words.shape).float()
