"""What declared outputs must look like: the one check of models, passes over real rows, and teacher columns."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter

from app.contracts.problems import UserError
from app.contracts.resources.manifests import OutputSpec
from tests.engine.data.test_reading import written
from tests.engine.jobs.inspection.uploads import read
from workers.engine.data.quality.meaning import check_meaning

SPEC: TypeAdapter[OutputSpec] = TypeAdapter(OutputSpec)
Numbers = NDArray[np.float64]
N = 200
DRAW = np.random.default_rng(0)
Y = (DRAW.normal(size=N) > 0).astype(float)
LOGITS = DRAW.normal(size=(N, 3)) * 4.0


def softmax(scores: Numbers) -> Numbers:
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    total: Numbers = p / p.sum(axis=1, keepdims=True)
    return total


P = softmax(LOGITS)
SIGMOID = 1.0 / (1.0 + np.exp(-LOGITS))


def spec(kind: str, output: str | None = None, **more: Any) -> OutputSpec:
    return SPEC.validate_json(json.dumps({"kind": kind, **({} if output is None else {"output": output}), **more}))


def message(declared: OutputSpec, values: NDArray[Any], code: str = "wrong_output") -> str:
    with pytest.raises(UserError) as caught:
        check_meaning("s", declared, values)
    assert caught.value.code == code
    return caught.value.message


WRONG: dict[str, tuple[str, Numbers, str]] = {
    "negative": ("probabilities", np.stack([-3 * Y, 3 * Y], 1), "declare"),
    "percent": ("probabilities", np.stack([100 - 90 * Y, 10 + 80 * Y], 1), "percent"),
    "other sums": ("probabilities", np.stack([0.5 - 0.4 * Y, 0.1 * Y], 1), "sum"),
    "logits": ("probabilities", LOGITS, "logits"),
    "probabilities of two values": ("logits", np.stack([0.9 - 0.8 * Y, 0.1 + 0.8 * Y], 1), "softmax would be applied"),
    "probabilities": ("logits", P, "softmax would be applied"),
    "rounded probabilities": ("logits", P.round(2), "softmax would be applied"),
    "probabilities as energies": ("energies", P, "softmax would be applied"),
    "log-probabilities": ("probabilities", np.log(P), "log_probabilities"),
    "plain probabilities": ("log_probabilities", P, "declare"),
    "logits as log-probabilities": ("log_probabilities", LOGITS, "logits"),
}


@pytest.mark.parametrize("case", WRONG)
def test_numbers_that_cannot_be_what_is_declared_are_refused(case: str) -> None:
    declared, values, way_out = WRONG[case]
    told = message(spec("class", declared), values)
    assert "expected" in told
    assert way_out.lower() in told.lower()


@pytest.mark.parametrize("kind", ["npz", "parquet", "csv", "jsonl"])
@pytest.mark.parametrize("case", WRONG)
def test_columns_of_kind_teacher_are_refused_for_the_same_numbers(case: str, kind: str, tmp_path: Path) -> None:
    declared, values, _ = WRONG[case]
    names = [f"s{i}" for i in range(values.shape[1])]
    columns = {"a": DRAW.normal(size=N), "b": DRAW.normal(size=N), **dict(zip(names, values.T, strict=True))}
    predicts = {"kind": "class", "output": declared}
    targets = {"s": {"kind": "teacher", "columns": names, "predicts": predicts}}
    with pytest.raises(UserError) as caught:
        read(written(columns, kind, tmp_path), format=kind, targets=targets)
    assert caught.value.code == "wrong_output"


RIGHT: dict[str, tuple[OutputSpec, Numbers]] = {
    "logits": (spec("class", "logits"), LOGITS),
    "logits above zero": (spec("class", "logits"), np.abs(LOGITS)),
    "constant logits": (spec("class", "logits"), np.full((N, 2), 0.5)),
    "log-probabilities are logits too": (spec("class", "logits"), np.log(P)),
    "energies": (spec("class", "energies"), -LOGITS),
    "probabilities": (spec("class", "probabilities"), P),
    "float16": (spec("class", "probabilities"), P.astype(np.float16).astype(np.float64)),
    "rounded to two decimals": (spec("class", "probabilities"), P.round(2)),
    "one-hot": (spec("class", "probabilities"), np.eye(3)[DRAW.integers(0, 3, N)]),
    "log-probabilities": (spec("class", "log_probabilities"), np.log(P)),
    "labels": (spec("multilabel", "probabilities"), SIGMOID),
    "label logits": (spec("multilabel", "logits"), LOGITS),
    "small label logits": (spec("multilabel", "logits"), 0.3 + 0.01 * np.abs(LOGITS)),
    "values": (spec("value", mean=5.0, std=2.0), LOGITS[:, :1]),
    "vectors": (spec("vector"), LOGITS),
    "missing rows": (spec("class", "probabilities"), np.where(Y[:, None] > 0, P, np.nan)),
    "no row": (spec("class", "probabilities"), np.full((N, 3), np.nan)),
    "three rows say nothing": (spec("class", "logits"), P[:3]),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_may_be_what_is_declared_passes(case: str) -> None:
    check_meaning("s", *RIGHT[case])


@pytest.mark.parametrize(
    ("declared", "values", "code", "way_out"),
    [
        (spec("multilabel", "probabilities"), LOGITS, "wrong_output", "logits"),
        (spec("multilabel", "probabilities"), 100.0 * SIGMOID, "wrong_output", "percent"),
        (spec("multilabel", "logits"), SIGMOID, "wrong_output", "sigmoid would be applied"),
        (spec("multilabel", "logits"), 0.6 * SIGMOID, "wrong_output", "sigmoid would be applied"),
        (spec("class", "logits"), np.stack([0 * SIGMOID[:, 0], SIGMOID[:, 0]], 1), "wrong_output", "probabilities"),
        (spec("value", std=1e30), LOGITS[:, :1] * 10, "wrong_output", "larger units"),
        (spec("vector"), LOGITS.astype(np.float64) * 1e30, "wrong_output", "larger units"),
        (spec("vector"), np.where(LOGITS > 1, np.inf, LOGITS), "not_finite", "clip"),
    ],
)
def test_labels_values_and_vectors_are_checked_too(
    declared: OutputSpec, values: Numbers, code: str, way_out: str
) -> None:
    assert way_out in message(declared, values, code)


def test_a_wrong_row_among_many_is_found() -> None:
    values = np.full((3_000_000, 2), 0.5, dtype=np.float32)
    values[2_345_678] = [0.5, 0.9]
    assert "1.4" in message(spec("class", "probabilities"), values)
