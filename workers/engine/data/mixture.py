"""Batches of rows from several datasets, in fixed proportions.

Every batch has B rows: a quota of each dataset, by its weight (largest remainders, see `proportions`).
Each dataset has a stream of its own: its rows in a random order, then in another, without end. Batch b of epoch e
takes the next rows of each stream, so a small dataset goes round many times while a large one goes on where it was,
over the ends of epochs, and no row of either is met twice before all have been met once.

An epoch is as many batches as it takes for as many rows to pass as there are in all datasets together. Where a stream
stands at its beginning follows from its number: the order is a function of (rows, seed, epoch), and nothing is kept.
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
    """Of two datasets or more: which they are, and the rows of each (int64) that are learned from."""

    sources: tuple[Source, ...]
    rows: tuple[Tensor, ...]

    @classmethod
    def of(cls, sources: Sequence[Source], rows: Tensor) -> "Mixture | None":
        """For `rows` of these datasets; those without any have no part in it. None where all rows are of one dataset:
        its batches need no mixing, and are those of a job on it alone.
        """
        pairs = [(source, own) for source in sources if len(own := source.among(rows))]
        return cls(tuple(source for source, _ in pairs), tuple(own for _, own in pairs)) if len(pairs) > 1 else None

    def quotas(self, size: int) -> tuple[int, ...]:
        """Rows of each dataset in a batch of `size`."""
        return quotas(size, [source.weight for source in self.sources])

    def epoch(self, size: int, batches: int, seed: int, number: int) -> list[Tensor]:
        """The batches of epoch `number` (from 0), `size` rows each, as row numbers.

        Within a batch the datasets alternate evenly, so that micro-batches have its proportions too, to within a row.
        """
        taken, places = [], []
        for stream, (rows, quota) in enumerate(zip(self.rows, self.quotas(size), strict=True)):
            begin, count = number * batches * quota, batches * quota
            taken.append(_taken(rows, seed, stream, begin, count).reshape(batches, quota))
            places.append((torch.arange(quota, dtype=torch.float64) + 0.5) / quota)
        order = torch.cat(places).argsort(stable=True)
        return list(torch.cat(taken, dim=1)[:, order])


def uses_of(order: Order, dataset: Dataset, learned: Tensor, size: int) -> list[DatasetUse]:
    """What each dataset of a job gives to batches of `size` rows; `learned` are the training rows that some task learns
    from (int64).
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
            rows={name: len(source.among(rows)) for name, rows in dataset.splits.items()},
            learned=len(source.among(learned)),
        )
        for source in dataset.sources
    ]


def _taken(rows: Tensor, seed: int, stream: int, first: int, count: int) -> Tensor:
    """`count` rows of an endless stream, from place `first` on: `rows` in one random order after the other."""
    begun, whole = first // len(rows), len(rows)
    rounds = range(begun, -(-(first + count) // whole))
    order = torch.cat([torch.randperm(whole, generator=generator(seed, "mixture", stream, each)) for each in rounds])
    return rows[order[first - begun * whole :][:count]]
