"""Answers as a client gets them: classes by name, probabilities, values in their own units."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import numpy as np

from app.contracts.resources.graph_names import answer_names
from app.contracts.resources.manifests import (
    ClassOutput,
    MapOutput,
    MultilabelOutput,
    OutputSpec,
    TokenClassOutput,
    ValueOutput,
    VectorOutput,
)
from workers.engine.data.formats.common import Array
from workers.engine.serving.rows.errors import at

MOST_NUMBERS = 1 << 22
"""Largest number of numbers of an answer."""
LIKELY = 0.5
"""Probability from which on a label is said to be there."""


def prediction(
    model: str, specs: Mapping[str, OutputSpec], found: Mapping[str, Array], tokens: Sequence[Sequence[int]] = ()
) -> bytes:
    """A `Prediction` in JSON, of answers [n, …] by the names that an exported graph gives them. `tokens`: the places of
    each row whose answers are given, of a model that answers for tokens. Raises RowErrors for a place of -1.

    Raises RowErrors `answer_not_finite`, `too_many_rows`.
    """
    for name, values in found.items():
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if bad.any():
            row = int(np.argmax(bad))
            detail = f"the answer `{name}` of row {row} is NaN or infinite: check the scale of the numbers in the row"
            raise at("", "answer_not_finite", detail)
    rows = len(next(iter(found.values())))
    size = sum(_numbers(spec, [found[name] for name in answer_names(task, spec)]) for task, spec in specs.items())
    if size > MOST_NUMBERS:
        detail = (
            f"expected at most {max(1, MOST_NUMBERS * rows // size)} rows for as many outputs, found {rows}: send fewer"
        )
        raise at("", "too_many_rows", detail)
    outputs = {
        task: _task(spec, [found[name] for name in answer_names(task, spec)], tokens) for task, spec in specs.items()
    }
    document = {"model": model, "rows": rows, "outputs": outputs}
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def _numbers(spec: OutputSpec, found: list[Array]) -> int:
    """How many numbers an answer has: of a map the class of each pixel, else all that the graph gives."""
    scores = found[0]
    return scores.size // scores.shape[1] if isinstance(spec, MapOutput) else sum(values.size for values in found)


def _check_places(tokens: Sequence[Sequence[int]]) -> None:
    """Raises RowErrors `words_cut` for a row with a word that has no token."""
    for i, places in enumerate(tokens):
        if -1 in places:
            detail = (
                f"expected a token for every word, found none for word {list(places).index(-1)} of row {i}, which is "
                "empty, or behind the end of the longest row that the model reads: leave it out, or split the row"
            )
            raise at("", "words_cut", detail)


def _task(spec: OutputSpec, found: list[Array], tokens: Sequence[Sequence[int]]) -> dict[str, Any]:
    match spec:
        case ClassOutput():
            scores, probabilities = found
            chosen = scores.argmax(axis=1).tolist()
            names = spec.classes
            return {
                "class": chosen if names is None else [names[place] for place in chosen],
                "probabilities": probabilities.tolist(),
                "logits": scores.tolist(),
            }
        case TokenClassOutput():
            scores, probabilities = found
            names = spec.classes
            _check_places(tokens)
            kept = [row[list(places)] for row, places in zip(scores, tokens, strict=True)]
            best = [row.argmax(axis=1).tolist() for row in kept]
            return {
                "class": best if names is None else [[names[place] for place in row] for row in best],
                "probabilities": [row[list(at)].tolist() for row, at in zip(probabilities, tokens, strict=True)],
                "logits": [row.tolist() for row in kept],
            }
        case MapOutput():
            scores, _ = found
            classes = scores.argmax(axis=1).tolist()
            return {"map": classes} if spec.classes is None else {"map": classes, "names": list(spec.classes)}
        case MultilabelOutput():
            scores, probabilities = found
            return {
                "labels": (probabilities >= LIKELY).astype(np.int64).tolist(),
                "probabilities": probabilities.tolist(),
                "logits": scores.tolist(),
            }
        case ValueOutput():
            return {"value": found[0].reshape(-1).tolist()}
        case VectorOutput():
            return {"vector": found[0].tolist()}
        case _:
            assert_never(spec)
