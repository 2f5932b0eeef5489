"""Counter-based draws for all rows of a batch at once: SplitMix64 (Steele, Lea, Flood 2014) on int64 tensors.

    key(row)     = mix(stream + row · γ)             γ = 2⁶⁴ / golden ratio, all modulo 2⁶⁴
    word(row, k) = mix(key(row) + (k + 1) · γ)       the k-th output of SplitMix64 started at the row's key

`stream` is the SHA-256 seed of (views.seed, stream's name, epoch, index of the transform). A word depends on these, the
row and k alone: not on the batch, its order or size, the device, or earlier draws. Integers are exact on every device,
and so is what is derived from them here (a multiple of 2⁻⁵³, an entry of a table). No draw uses log, cos or exp: their
last bit can depend on a number's position in the tensor.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.engine.common.seeds import derived_seed


def _signed(word: int) -> int:
    """The int64 with the bits of a 64-bit word."""
    return word - (1 << 64) if word >> 63 else word


_GAMMA = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def _shifted(words: Tensor, by: int) -> Tensor:
    """Logical right shift; torch's `>>` is arithmetic."""
    return (words >> by).bitwise_and_((1 << (64 - by)) - 1)


def mix(words: Tensor) -> Tensor:
    """SplitMix64's finalizer for int64 of any shape; products wrap around."""
    words = (words ^ _shifted(words, 30)).mul_(_FIRST)
    words = (words ^ _shifted(words, 27)).mul_(_SECOND)
    return words ^ _shifted(words, 31)


def below(uniforms: Tensor, bound: int) -> Tensor:
    """Uniform numbers in [0, 1) as integers from 0 to bound − 1 (int64)."""
    return (uniforms * bound).to(torch.int64)


@dataclass(frozen=True)
class Draws:
    """The random words of one stream, a sequence for each row. `keys`: int64 [n] on the host."""

    keys: Tensor

    @classmethod
    def of(cls, rows: Tensor, seed: int, stream: str, *counters: int) -> "Draws":
        """For these dataset rows (int64 [n], host)."""
        return cls(mix(rows * _GAMMA + derived_seed(seed, stream, *counters)))

    def words(self, count: int, device: torch.device | None = None) -> Tensor:
        """The first `count` words of each row, int64 [n, count], computed on `device` (default: host)."""
        keys = self.keys if device is None else self.keys.to(device, non_blocking=True)
        return mix(keys[:, None] + torch.arange(1, count + 1, device=keys.device) * _GAMMA)

    def uniforms(self, count: int) -> tuple[Tensor, ...]:
        """`count` uniform numbers in [0, 1) for each row: float64 [n] each, on the host, from the upper 53 bits."""
        return (_shifted(self.words(count), 11).to(torch.float64) * 2.0**-53).unbind(1)

    def shorts(self, count: int, device: torch.device) -> Tensor:
        """`count` integers from 0 to 65,535 for each row, int32 [n, count], computed on `device`, four per word."""
        words = self.words(-(-count // 4), device)
        return words.view(torch.int16)[:, :count].to(torch.int32).add_(1 << 15)
