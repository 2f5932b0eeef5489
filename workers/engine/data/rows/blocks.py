"""Passes over the rows of a dataset block by block, so that no pass copies all of them into memory."""

from functools import partial
from math import prod

import torch
from torch import Tensor

from workers.engine.data.formats.files.encoded import RawRows, parts_of, remembered
from workers.engine.data.rows.deviation import divisor

BLOCK_BYTES = 1 << 20
"""Of the rows of a block."""
WHOLE_BYTES = 512 << 20
"""Statistics of numbers that take less in float64 are computed at once: sums of blocks differ in their last bits."""


def row_blocks(raw: RawRows, rows: Tensor | None = None, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
    """Row numbers (int64 [n]; None: all) in parts whose rows of `raw` [N, …] take BLOCK_BYTES at most, as `dtype`."""
    rows = torch.arange(len(raw)) if rows is None else rows
    return torch.split(rows, max(1, BLOCK_BYTES // max(1, prod(raw.shape[1:]) * (dtype or raw.dtype).itemsize)))


def statistics(raw: RawRows, rows: Tensor, scale: float, *, each: bool) -> tuple[Tensor, Tensor]:
    """(mean, deviation) float64 of scaled rows of `raw` [N, k, …] for each of k, or of all numbers [1]; deviation 1
    where constant.
    """
    numbers = raw.shape[1] if each else 1
    name = f"mean and deviation {'of each' if each else 'of all'}, scaled by {scale!r},"
    found = remembered(raw, name, rows, 2 * numbers, partial(_statistics, raw, rows, scale, each=each))
    mean, deviation = found.reshape(2, -1)
    return mean, divisor(deviation, mean, raw.dtype)


def _statistics(raw: RawRows, rows: Tensor, scale: float, *, each: bool) -> Tensor:
    """(mean, deviation) as `statistics`, one after another."""

    def scaled(block: Tensor) -> Tensor:
        chosen = block if each else block.flatten(1).reshape(-1, 1)
        return chosen.double().mul_(scale)

    def squares(block: Tensor, mean: Tensor) -> Tensor:
        values = scaled(block)
        return values.sub_(mean.reshape(1, -1, *[1] * (values.dim() - 2))).square_()

    axes = [0, *range(2, raw.dim())] if each else [0]
    if len(rows) * prod(raw.shape[1:]) * 8 <= WHOLE_BYTES:
        mean = scaled(raw[rows]).mean(dim=axes)
        return torch.cat([mean, squares(raw[rows], mean).mean(dim=axes).sqrt()])
    parts = row_blocks(raw, rows, torch.float64)
    count = len(rows) * prod(raw.shape[1:]) // (raw.shape[1] if each else 1)
    total, squared = torch.zeros(2, raw.shape[1] if each else 1, dtype=torch.float64)
    for block in parts_of(raw, parts):
        total += scaled(block).sum(dim=axes)
    mean = total / count
    for block in parts_of(raw, parts):
        squared += squares(block, mean).sum(dim=axes)
    return torch.cat([mean, (squared / count).sqrt()])
