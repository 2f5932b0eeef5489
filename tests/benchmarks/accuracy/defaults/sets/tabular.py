"""Data sets of scikit-learn, and yeast of river: real measurements."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

from tests.benchmarks.accuracy.defaults.sets.data_set import LONG, SHORT, DataSet, with_splits
from tests.benchmarks.accuracy.defaults.sets.river import yeast

LARGER_TEST = {"train": 0.55, "validation": 0.15, "test": 0.3}
"""Of data sets with a few hundred rows."""
Rows = tuple[NDArray[np.float32], NDArray[Any]]


def _loaded(load: Callable[..., Any], **options: Any) -> Rows:
    x, y = load(return_X_y=True, **options)
    return x.astype(np.float32), y


def wine() -> DataSet:
    """178 wines of 3 growers, 13 measurements on scales from 0.1 to 1000."""
    x, y = _loaded(datasets.load_wine)
    return DataSet(
        "wine",
        with_splits(x, {"y": y}, LARGER_TEST),
        {"family": "mlp", "hidden": [4]},
        "accuracy",
        {"y": {"kind": "class", "classes": 3}},
        "sklearn, 178 rows, 13 columns",
        seeds=10,
        screening=LONG,
        standardizations=(False,),
    )


def cancer() -> DataSet:
    """569 tumours, benign or malignant, 30 measurements."""
    x, y = _loaded(datasets.load_breast_cancer)
    return DataSet(
        "breast cancer",
        with_splits(x, {"y": y}, LARGER_TEST),
        {"family": "mlp", "hidden": [8]},
        "accuracy",
        {"y": {"kind": "class", "classes": 2}},
        "sklearn, 569 rows, 30 columns",
        seeds=10,
        screening=LONG,
        standardizations=(False,),
    )


def diabetes() -> DataSet:
    """442 patients, 10 measurements, progression of the disease after a year."""
    x, y = _loaded(datasets.load_diabetes, scaled=False)
    return DataSet(
        "diabetes",
        with_splits(x, {"y": y.astype(np.float32)}, LARGER_TEST),
        {"family": "mlp", "hidden": [8]},
        "rmse",
        {"y": {"kind": "value"}},
        "sklearn, 442 rows, 10 columns",
        seeds=10,
        screening=LONG,
        standardizations=(False,),
    )


def _digits(name: str, student: dict[str, Any], shape: tuple[int, ...], scale: float, **more: Any) -> DataSet:
    x, y = _loaded(datasets.load_digits)
    return DataSet(
        name,
        with_splits((x * scale).reshape(-1, *shape).astype(np.float32), {"y": y.astype(np.int64)}),
        student,
        "accuracy",
        {"y": {"kind": "class", "classes": 10}},
        f"sklearn, 1797 images of 8x8, numbers from 0 to {16 * scale:g}",
        **more,
    )


def digits_raw() -> DataSet:
    """Digits as sklearn has them."""
    student = {"family": "mlp", "hidden": [16]}
    return _digits("digits, raw", student, (64,), 1.0, standardizations=(False, True), screening=LONG)


def digits_scaled() -> DataSet:
    """Digits with numbers from 0 to 1."""
    student = {"family": "mlp", "hidden": [16]}
    return _digits("digits, scaled", student, (64,), 1 / 16, standardizations=(False, True), screening=LONG)


def digits_resnet() -> DataSet:
    """Digits as images."""
    return _digits("digits, resnet8", {"family": "resnet", "depth": 8}, (1, 8, 8), 1.0, screening=SHORT)


def digits_transformer() -> DataSet:
    """Digits as sequences: each of the 8 rows of pixels is a token."""
    student = {"family": "transformer", "width": 32, "depth": 2, "heads": 4}
    return _digits("digits, transformer", student, (8, 8), 1.0)


def yeast_by_metric() -> DataSet:
    """The same by a metric that the spec names."""
    data = yeast_labels()
    return replace(data, name="yeast, select_by macro_f1", metric="macro_f1", training={"select_by": "macro_f1"})


def yeast_labels() -> DataSet:
    """Genes of yeast, each with some of 14 functions."""
    x, y = yeast()
    return DataSet(
        "yeast, multilabel",
        with_splits(x, {"y": y}),
        {"family": "mlp", "hidden": [32]},
        "accuracy",
        {"y": {"kind": "multilabel", "size": y.shape[1]}},
        "river, 2417 rows, 103 columns, 14 labels",
        seeds=10,
        screening=LONG,
    )
