"""Pairs of a class and its probability, a few in each row, as probabilities of all classes."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from app.contracts.problems import UserError
from app.contracts.resources.manifests import ClassOutput, ClassTarget
from app.contracts.resources.predictions import PredictedOutput, TopKPairs
from workers.engine.data.formats.common import Array
from workers.engine.data.labels.columns import MISSING, class_column
from workers.engine.data.quality.meaning import ROUNDING_SLACK, SLACK
from workers.engine.data.tables.text import as_numbers

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]


def expanded(name: str, output: PredictedOutput, arrays: Mapping[str, Array]) -> NDArray[np.float32]:
    """The probabilities [n, classes] of an output with `top_k`; NaN in rows without any pair.

    What a row's pairs lack to 1 is spread evenly over its other classes. Raises UserError.
    """
    pairs, predicts = output.top_k, output.predicts
    assert pairs is not None
    assert isinstance(predicts, ClassOutput)
    classes = predicts.classes or output.size
    assert classes is not None
    size = classes if isinstance(classes, int) else len(classes)
    places = _places(name, pairs, ClassTarget(kind="class", classes=classes), arrays)
    scores = _scores(name, pairs, arrays)
    _check_pairs(name, places, scores, size)
    p = np.exp(scores) if predicts.output == "log_probabilities" else scores
    _check_probabilities(name, predicts.output, p, scores)
    return _spread(name, places, p, size)


def _places(name: str, pairs: TopKPairs, target: ClassTarget, arrays: Mapping[str, Array]) -> Places:
    """The class of each pair, int64 [n, k], -1 where there is none."""
    parts = [class_column(column, target, part) for column in pairs.classes for part in _columns(arrays[column])]
    ways = {part.by_name for part in parts if bool(part.labelled.any())}
    if len(ways) > 1:
        raise UserError(
            "label_out_of_range",
            f"expected the classes of `{name}` by their names or by their numbers, found names in some columns and "
            "numbers in others: write names in all",
        )
    return np.stack([part.values.numpy() for part in parts], axis=1)


def _scores(name: str, pairs: TopKPairs, arrays: Mapping[str, Array]) -> Numbers:
    columns = as_numbers(name, pairs.scores, [arrays[column] for column in pairs.scores], "category")
    return np.stack([part for column in columns for part in _columns(column)], axis=1).astype(np.float64)


def _columns(array: Array) -> list[Array]:
    """The columns of [n, k], or of [n] itself."""
    flat = array.reshape(len(array), -1)
    return [flat[:, i] for i in range(flat.shape[1])]


def _check_pairs(name: str, places: Places, scores: Numbers, size: int) -> None:
    if places.shape != scores.shape:
        raise UserError(
            "shape_mismatch",
            f"`{name}` has {places.shape[1]} classes and {scores.shape[1]} scores a row: name the two of each pair",
        )
    if places.shape[1] > size:
        raise UserError(
            "shape_mismatch", f"`{name}` has {places.shape[1]} pairs a row, and {size} classes: leave the others out"
        )
    infinite = np.asarray(np.isinf(scores).any(axis=1))
    if infinite.any():
        raise UserError(
            "not_finite",
            f"`{name}` is infinite at row {_first(infinite)}, expected finite numbers: leave out pairs of "
            "probability 0",
            _first(infinite),
        )
    halves = ((places == MISSING) != np.isnan(scores)).any(axis=1)
    if halves.any():
        raise UserError(
            "incomplete_pair",
            f"`{name}` has a class without a score, or a score without a class, at row {_first(halves)} "
            f"({int(halves.sum())} such rows in all): write both, or null in both where a row has fewer pairs",
            _first(halves),
        )
    ordered = np.sort(places, axis=1)
    doubled = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != MISSING)).any(axis=1)
    if doubled.any():
        raise UserError(
            "duplicate_class",
            f"`{name}` has two pairs of one class at row {_first(doubled)} ({int(doubled.sum())} such rows in all): "
            "add their probabilities, such as of tokens that mean one class",
            _first(doubled),
        )


def _check_probabilities(name: str, declared: str, p: Numbers, scores: Numbers) -> None:
    wrong = (p < -SLACK) | (p > 1.0 + SLACK)
    if wrong.any():
        low, high = float(np.nanmin(scores)), float(np.nanmax(scores))
        raise UserError(
            "wrong_output",
            f"`{name}` is declared as {declared}, expected "
            f"{'numbers from 0 to 1' if declared == 'probabilities' else 'numbers of 0 or less'}, found {low:.4g} to "
            f"{high:.4g}: {_guess(declared, low, high)}",
        )
    sums = np.nansum(p, axis=1)
    if sums.max() > 1.0 + ROUNDING_SLACK:
        raise UserError(
            "wrong_output",
            f"`{name}` has pairs whose probabilities sum to {sums.max():.4g} at row {int(sums.argmax())}, expected 1 "
            "at most: normalise over all classes before the largest are chosen",
            int(sums.argmax()),
        )


def _guess(declared: str, low: float, high: float) -> str:
    if declared == "probabilities" and high <= 0.0:
        return 'are they log-probabilities? Declare `"output": "log_probabilities"`'
    if declared == "log_probabilities" and low >= 0.0 and high <= 1.0 + SLACK:
        return 'are they probabilities? Declare `"output": "probabilities"`'
    if low >= 0.0 and 10.0 < high <= 100.0:
        return "are they percent? Divide them by 100"
    return "apply softmax over all classes before the largest are chosen"


def _spread(name: str, places: Places, p: Numbers, size: int) -> NDArray[np.float32]:
    there = places != MISSING
    left, rest = size - there.sum(axis=1), 1.0 - np.nansum(p, axis=1)
    short = (left == 0) & (rest > ROUNDING_SLACK)
    if short.any():
        row = _first(short)
        raise UserError(
            "wrong_output",
            f"`{name}` names every class at row {row}, and their probabilities sum to {1.0 - rest[row]:.4g}, expected "
            "1: normalise them over these classes",
            row,
        )
    full = np.empty((len(places), size), dtype=np.float32)
    full[:] = (np.clip(rest, 0.0, None) / np.maximum(left, 1))[:, None]
    rows, columns = np.nonzero(there)
    full[rows, places[rows, columns]] = np.clip(p[rows, columns], 0.0, 1.0)
    full[~there.any(axis=1)] = np.nan
    return full


def _first(mask: NDArray[np.bool_]) -> int:
    return int(np.flatnonzero(mask)[0])
