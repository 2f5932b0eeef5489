"""Batches of rows from several datasets, in fixed proportions.

Every batch has B rows: a quota from each dataset, by its weight (largest remainders, see `proportions`). Each dataset
is an endless stream: its rows in one random order after another. Each batch takes the next rows of every stream, across
the ends of epochs, so that no row of a dataset repeats before all of its rows were used once; a small dataset repeats
more often than a large one.

An epoch has as many batches as all rows together fill. The position of a stream at the start of an epoch follows from
the epoch's number: batches are a function of (rows, seed, epoch), and there is no state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.reports.report import DatasetUse
from app.contracts.resolving.data.proportions import quotas
from app.contracts.wire.orders import Order
from workers.engine.common.seeds import generator
from workers.engine.data.dataset import Dataset, Source


@dataclass(frozen=True)
class Mixture:
    """Two or more datasets, and the rows of each (int64) that are trained on."""

    sources: tuple[Source, ...]
    rows: tuple[Tensor, ...]

    @classmethod
    def of(cls, sources: Sequence[Source], rows: Tensor) -> "Mixture | None":
        """The mixture of the sources that have some of `rows`; None where all rows are of one source, whose batches
        are those of a job on that dataset alone.
        """
        pairs = [(source, part) for source in sources if len(part := source.select(rows))]
        return cls(tuple(source for source, _ in pairs), tuple(part for _, part in pairs)) if len(pairs) > 1 else None

    def quotas(self, size: int) -> tuple[int, ...]:
        """Number of rows of each dataset in a batch of `size`."""
        return quotas(size, [source.weight for source in self.sources])

    def epoch(self, size: int, batches: int, seed: int, number: int) -> list[Tensor]:
        """The batches of epoch `number` (from 0), `size` rows each, as row numbers.

        Within a batch the datasets alternate evenly, so that micro-batches have its proportions too, to within a row.
        """
        parts, positions = [], []
        for stream, (rows, quota) in enumerate(zip(self.rows, self.quotas(size), strict=True)):
            begin, count = number * batches * quota, batches * quota
            parts.append(_stream_rows(rows, seed, stream, begin, count).reshape(batches, quota))
            positions.append((torch.arange(quota, dtype=torch.float64) + 0.5) / quota)
        order = torch.cat(positions).argsort(stable=True)
        return list(torch.cat(parts, dim=1)[:, order])


def dataset_uses(order: Order, dataset: Dataset, learned: Tensor, size: int) -> list[DatasetUse]:
    """The share of each dataset of a job in batches of `size` rows; `learned` (int64) are the training rows from which
    at least one task learns.
    """
    mixture = Mixture.of(dataset.sources, learned)
    by_id: dict[str, int] = {}
    if mixture is not None:
        by_id = dict(zip((source.id for source in mixture.sources), mixture.quotas(size), strict=True))
    return [
        DatasetUse(
            dataset=source.id,
            name=order.datasets[source.id].manifest.name,
            weight=source.weight,
            batch=by_id.get(source.id, 0) if mixture is not None else None,
            rows={name: len(source.select(rows)) for name, rows in dataset.splits.items()},
            learned=len(source.select(learned)),
        )
        for source in dataset.sources
    ]


def _stream_rows(rows: Tensor, seed: int, stream: int, first: int, count: int) -> Tensor:
    """`count` rows of an endless stream from position `first` on: `rows` in one random order after another."""
    size = len(rows)
    start = first // size
    rounds = range(start, -(-(first + count) // size))
    order = torch.cat([torch.randperm(size, generator=generator(seed, "mixture", stream, each)) for each in rounds])
    return rows[order[first - start * size :][:count]]
