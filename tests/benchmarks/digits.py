"""The digits as a harness's dataset, for benchmarks of the engine."""

from pathlib import Path

import numpy as np

from tests.demo.digits import write_digits
from tests.engine.harness import EngineHarness


def digits(folder: Path, shape: tuple[int, ...] = (1, 28, 28)) -> EngineHarness:
    """A harness with the 5000 digits, rows of `shape`; 3500 of them train."""
    harness = EngineHarness(folder)
    write_digits(folder / "digits.npz")
    with np.load(folder / "digits.npz") as found:
        arrays = {"x": found["x"].reshape(-1, *shape), "digit": found["digit"]}
    harness.dataset(
        arrays,
        inputs={"x": {"kind": "array", "scale": 1 / 255}},
        targets={"digit": {"kind": "class", "classes": 10}},
    )
    return harness
