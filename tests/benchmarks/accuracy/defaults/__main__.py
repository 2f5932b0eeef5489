"""python -m tests.benchmarks.accuracy.defaults: the recipe beside the plain settings that were the defaults before it.

Five splits of each data set of scikit-learn, an mlp with one hidden layer; the seed of a job is that of its split.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

from tests.benchmarks.figures import say
from tests.engine.harness import EngineHarness, report_of

SEEDS = range(5)
Load = Callable[[], tuple[NDArray[Any], NDArray[Any]]]


def _rows(load: Callable[..., Any], **options: Any) -> Load:
    return lambda: load(return_X_y=True, **options)


DATA: dict[str, tuple[Load, int, str]] = {
    "wine": (_rows(datasets.load_wine), 4, "accuracy"),
    "breast cancer": (_rows(datasets.load_breast_cancer), 8, "accuracy"),
    "diabetes": (_rows(datasets.load_diabetes, scaled=False), 8, "rmse"),
    "digits": (_rows(datasets.load_digits), 16, "accuracy"),
}


def _figure(load: Load, hidden: int, metric: str, seed: int, *, recipe: bool) -> float:
    """The metric on the test split of one job."""
    x, y = load()
    target = {"kind": "class", "classes": int(y.max()) + 1} if metric == "accuracy" else {"kind": "value"}
    splits = {"fractions": {"train": 0.6, "validation": 0.2, "test": 0.2}, "seed": seed}
    inputs: dict[str, Any] = {"x": {"kind": "array", "standardize": None if recipe else False}}
    training: dict[str, Any] = {"seed": seed, "threads": 1} | ({"recipe": "default"} if recipe else {})
    with tempfile.TemporaryDirectory() as folder:
        harness = EngineHarness(Path(folder))
        labels = y.astype(np.int64 if metric == "accuracy" else np.float32)
        harness.dataset({"x": x.astype(np.float32), "y": labels}, inputs=inputs, targets={"y": target}, splits=splits)
        model = {"family": "mlp", "hidden": [hidden]}
        report = report_of(harness.run({"kind": "train", "target": "y", "model": model, "training": training}))
    found = report.student.tasks["y"][metric]
    assert found is not None
    return found


def main() -> None:
    """Print a line for each data set."""
    say("Plain settings (20 epochs at a rate of 0.001, raw inputs) and the recipe: mean, worst, seconds a job")
    for name, (load, hidden, metric) in DATA.items():
        parts = []
        for recipe in (False, True):
            began = time.monotonic()
            figures = [_figure(load, hidden, metric, seed, recipe=recipe) for seed in SEEDS]
            worst = min(figures) if metric == "accuracy" else max(figures)
            seconds = (time.monotonic() - began) / len(SEEDS)
            parts.append(f"{statistics.mean(figures):8.3f} {worst:8.3f} {seconds:5.1f} s")
        print(f"  {name:<16} {metric:<9} {'  |  '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
