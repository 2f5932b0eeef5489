"""The digits as a workshop's dataset, for benchmarks of the engine."""

from pathlib import Path

import numpy as np

from tests.demo.digits import write_digits
from tests.engine.workshop import Workshop


def digits(folder: Path, shape: tuple[int, ...] = (1, 28, 28)) -> Workshop:
    """A workshop with the 5000 digits, rows of `shape`; 3500 of them train."""
    workshop = Workshop(folder)
    write_digits(folder / "digits.npz")
    with np.load(folder / "digits.npz") as found:
        arrays = {"x": found["x"].reshape(-1, *shape), "digit": found["digit"]}
    workshop.dataset(
        arrays,
        inputs={"x": {"kind": "array", "scale": 1 / 255}},
        targets={"digit": {"kind": "class", "classes": 10}},
    )
    return workshop
