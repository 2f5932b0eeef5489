"""Rows of the training split that occur again in another split.

Rows are compared by a 64-bit hash of up to MAX_HASHED evenly spaced numbers of each, and those of equal hash number by
number. Discrete inputs repeat by themselves: rows that would be expected twice, from how often each of their numbers
occurs, are not counted, and the message says how many they are. The tokens of a text do not repeat by themselves: of
rows with texts every copy is counted.
"""

from collections.abc import Iterator
from math import log

import numpy as np
from numpy.typing import NDArray

from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.splits import SplitName
from app.contracts.resources.statistics import DataWarning
from workers.engine.data.dataset import Dataset
from workers.engine.data.quality.columns import evenly, sample_note

MAX_HASHED = 128
MAX_ROWS = 500_000
MAX_COMPARED = 20_000
MAX_SAMPLE = 10_000
MAX_EXPECTED = 0.01
MIN_ROWS = 3
MIN_SHARE = 0.01
_CHUNK = 1 << 20
_OTHERS: tuple[SplitName, ...] = ("validation", "test")

Rows = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Numbers = NDArray[np.generic]


def duplicates(dataset: Dataset, manifest: DatasetManifest) -> Iterator[DataWarning]:
    """`duplicate_rows` for validation and test splits of which MIN_SHARE or more is in the training split."""
    others = [name for name in _OTHERS if name in dataset.splits]
    if not others:
        return
    inputs = [tensor.reshape(len(tensor), -1).numpy() for tensor in dataset.inputs.values()]
    train = evenly(dataset.splits["train"].numpy(), MAX_ROWS)
    hashes = _hashes(inputs, train)
    order = np.argsort(hashes)
    train, hashes = train[order], hashes[order]
    for name in others:
        every = dataset.splits[name].numpy()
        rows = evenly(every, MAX_COMPARED)
        copies, least = _copies(inputs, rows, train, hashes), max(MIN_ROWS, MIN_SHARE * len(rows))
        count = len(copies)
        if count >= least and not dataset.tokens:
            count = int(_unexpected(inputs, copies, dataset.rows).sum())
        if count < least:
            continue
        note = sample_note(len(rows), len(every)) + sample_note(len(train), len(dataset.splits["train"]))
        chance = len(copies) - count
        rest = f", beside {chance} that independent columns would repeat too" if chance else ""
        yield DataWarning(
            code="duplicate_rows",
            message=f"{count} of {len(rows)} rows of the {name} split ({count / len(rows):.1%}) have the same inputs "
            f"as a row of the training split{note}{rest}, expected none: what is measured on them is memory. Remove "
            "the copies, or keep copies in one split by `splits.column`",
        )


def _copies(inputs: list[Numbers], rows: Rows, train: Rows, hashes: Hashes) -> Rows:
    """Those of `rows` with an equal row in `train`, whose `hashes` are sorted."""
    own = _hashes(inputs, rows)
    places = np.minimum(np.searchsorted(hashes, own), len(hashes) - 1)
    same = hashes[places] == own
    pairs = zip(rows[same].tolist(), train[places[same]].tolist(), strict=True)
    return np.array([a for a, b in pairs if all(bool((each[a] == each[b]).all()) for each in inputs)], dtype=np.int64)


def _hashes(inputs: list[Numbers], rows: Rows) -> Hashes:
    total = np.zeros(len(rows), np.uint64)
    random = np.random.default_rng(0)
    for each in inputs:
        chosen = evenly(np.arange(each.shape[1]), MAX_HASHED)
        factors = random.integers(0, 1 << 63, len(chosen), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        step = max(1, _CHUNK // len(chosen))
        for start in range(0, len(rows), step):
            block = each[rows[start : start + step, None], chosen]
            total[start : start + step] += (_mixed(_words(block)) * factors).sum(axis=1, dtype=np.uint64)
    return total


def _words(block: Numbers) -> Hashes:
    if block.dtype.kind != "f":
        return block.astype(np.uint64)
    numbers = block.astype(np.float32) + np.float32(0.0)  # -0.0 becomes 0.0, which it equals
    return np.ascontiguousarray(numbers).view(np.uint32).astype(np.uint64)


def _mixed(words: Hashes) -> Hashes:
    """A bijection that spreads every bit over all: small integers differ in few bits of a float (splitmix64)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _unexpected(inputs: list[Numbers], rows: Rows, total: int) -> NDArray[np.bool_]:
    """Bool [n]: whether `rows` would hardly occur twice among `total` rows whose columns were independent."""
    expected = np.full(len(rows), log(total))
    sample = evenly(np.arange(total), MAX_SAMPLE)
    for each in inputs:
        for column in evenly(np.arange(each.shape[1]), MAX_HASHED):
            values, counts = np.unique(each[sample, column], return_counts=True)
            places = np.minimum(np.searchsorted(values, each[rows, column]), len(values) - 1)
            seen = np.where(values[places] == each[rows, column], counts[places], 1)
            expected += np.log(seen / len(sample))
    return np.asarray(expected < log(MAX_EXPECTED), dtype=bool)
