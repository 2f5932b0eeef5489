"""Every data set by name: those that defaults are measured on, and those that were not looked at while choosing."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from tests.benchmarks.accuracy.defaults.sets import images, river, tabular
from tests.benchmarks.accuracy.defaults.sets.data_set import LONG, DataSet, with_splits

MAKERS: Mapping[str, Callable[[], DataSet]] = {
    "wine": tabular.wine,
    "cancer": tabular.cancer,
    "diabetes": tabular.diabetes,
    "digits-raw": tabular.digits_raw,
    "digits-scaled": tabular.digits_scaled,
    "yeast": tabular.yeast_labels,
    "yeast-by-metric": tabular.yeast_by_metric,
    "positives": images.positives,
    "mnist-mlp": images.mnist_mlp,
    "classes-100": images.two_digit_numbers,
    "overlaid": images.overlaid_digits,
    "transformer": tabular.digits_transformer,
    "convnet-flatten": partial(images.mnist_convnet, "flatten"),
    "convnet-average": partial(images.mnist_convnet, "average"),
    "resnet8": tabular.digits_resnet,
}


def segments() -> DataSet:
    """Regions of outdoor images."""
    x, y = river.image_segments()
    return DataSet(
        "image segments",
        with_splits(x, {"y": y}),
        {"family": "mlp", "hidden": [16]},
        "accuracy",
        {"y": {"kind": "class", "classes": 7}},
        "river, 2310 rows, 18 columns",
        standardizations=(False,),
        screening=LONG,
    )


def bananas() -> DataSet:
    """Two columns and a curved border between the classes."""
    x, y = river.bananas()
    return DataSet(
        "bananas",
        with_splits(x, {"y": y}),
        {"family": "mlp", "hidden": [16, 16]},
        "accuracy",
        {"y": {"kind": "class", "classes": 2}},
        "river, 5300 rows, 2 columns",
        standardizations=(False,),
        screening=LONG,
    )


def approval() -> DataSet:
    """A value from polls, one column of which is a day's number far from zero."""
    x, y = river.approval()
    return DataSet(
        "approval",
        with_splits(x.astype(np.float64), {"y": y}),
        {"family": "mlp", "hidden": [8]},
        "rmse",
        {"y": {"kind": "value"}},
        "river, 1001 rows, 6 columns",
        seeds=10,
        standardizations=(False,),
        screening=LONG,
    )


UNSEEN: Mapping[str, Callable[[], DataSet]] = {"segments": segments, "bananas": bananas, "approval": approval}
"""Not used while rules were chosen; measured once, at the end."""
