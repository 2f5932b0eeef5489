"""Files of predictions that cannot be right are rejected by name at their inspection, before any job."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contracts.problems import Rejection
from app.contracts.resources.predictions import PredictionsManifest
from app.contracts.specs.jobs import InspectJob
from app.contracts.wire.orders import InspectionOutcome, PredictionsInput
from tests.engine.harness import DATASET, PREDICTED, Arrays, EngineHarness
from tests.engine.jobs.inspection.uploads import ignore_event, inspection
from workers.engine.common.files import sha256_of
from workers.engine.run import execute

ROWS, CLASSES = 60, 3
NAMES = ["cat", "dog", "fox"]
CLASS = {"kind": "class", "output": "probabilities"}
PAIRS = {"classes": ["c0", "c1"], "scores": ["s0", "s1"]}
Change = Callable[[dict[str, Any]], None]


def dataset(harness: EngineHarness, **changes: Any) -> None:
    arrays: Arrays = {
        "x": np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32),
        "label": np.arange(ROWS) % CLASSES,
        "size": np.arange(ROWS, dtype=np.float32),
        "id": np.array([f"r{i:03d}" for i in range(ROWS)]),
        "twice": np.array(["same", "same", *map(str, range(2, ROWS))]),
        "large": np.arange(ROWS) + 2.0**53,
    }
    targets = {"label": {"kind": "class", "classes": NAMES}, "size": {"kind": "value"}}
    harness.dataset(arrays, **{"targets": targets, **changes})


def columns() -> dict[str, Any]:
    """A file without a fault: dense probabilities and pairs for each row of the dataset."""
    p = np.random.default_rng(1).dirichlet(np.ones(CLASSES), size=ROWS)
    return {
        "id": np.array([f"r{i:03d}" for i in range(ROWS)]),
        "label": p,
        "size": np.arange(ROWS) * 1.0,
        "c0": np.zeros(ROWS, dtype=np.int64),
        "c1": np.ones(ROWS, dtype=np.int64),
        "s0": np.full(ROWS, 0.6),
        "s1": np.full(ROWS, 0.3),
        "twice": np.array(["same", *map(str, range(1, ROWS))]),
        "row": np.arange(ROWS),
    }


def inspected(harness: EngineHarness, path: Path, file_format: str = "npz", **manifest: Any) -> InspectionOutcome:
    assert harness.data is not None
    document = {
        "name": "elsewhere",
        "format": "predictions",
        "file_format": file_format,
        "of": DATASET,
        "id": "id",
        "outputs": {"label": {"predicts": CLASS}},
        **manifest,
    }
    parsed = PredictionsManifest.model_validate_json(json.dumps(document))
    order = inspection(harness.folder, harness.data).model_copy(
        update={
            "spec": InspectJob(dataset=PREDICTED, of=DATASET),
            "datasets": {DATASET: harness.data},
            "predictions": {
                PREDICTED: PredictionsInput(id=PREDICTED, manifest=parsed, path=str(path), sha256=sha256_of(path))
            },
        }
    )
    outcome = execute(order, ignore_event, lambda: None)  # type: ignore[arg-type]
    assert isinstance(outcome, InspectionOutcome)
    return outcome


def written(harness: EngineHarness, change: Change = lambda found: None) -> Path:
    found = columns()
    change(found)
    path = harness.folder / "predictions.npz"
    np.savez(path, **found)
    return path


def rejected(harness: EngineHarness, change: Change, **manifest: Any) -> Rejection:
    rejection = inspected(harness, written(harness, change), **manifest).rejection
    assert rejection is not None
    return rejection


def pairs(**changes: Any) -> dict[str, Any]:
    return {"outputs": {"label": {"top_k": PAIRS, "size": CLASSES, "predicts": CLASS, **changes}}}


def put(name: str, value: Any, at: Any = slice(None)) -> Change:
    """Set a column, or some of its rows."""

    def change(found: dict[str, Any]) -> None:
        if at == slice(None):
            found[name] = value
        else:
            found[name] = found[name].copy()
            found[name][at] = value

    return change


def doubled(found: dict[str, Any]) -> None:
    found.update({name: np.concatenate([values, values[:1]]) for name, values in found.items()})


def unknown(found: dict[str, Any]) -> None:
    found["id"][[4, 9]] = "r999"[:4], "r998"


def shorter(found: dict[str, Any]) -> None:
    found["label"] = found["label"][:-1]


def nothing(found: dict[str, Any]) -> None:
    """Leaves the file as it is."""


NOTHING: Change = nothing
DENSE: dict[str, Any] = {}
HOSTILE: dict[str, tuple[Change, dict[str, Any], str, str]] = {
    "an id twice": (doubled, DENSE, "duplicate_id", "found `r000` at rows 0 and 60"),
    "ids that the dataset lacks": (unknown, DENSE, "unknown_id", "2 of 60 ids"),
    "ids of something else": (put("id", np.arange(ROWS)), DENSE, "no_matching_id", "such as `r000`"),
    "a row without an id": (put("id", "", at=7), DENSE, "bad_id", "at row 7"),
    "several ids a row": (put("id", np.ones((ROWS, 2))), DENSE, "bad_id", "shape [2]"),
    "ids that floats round": (put("id", np.arange(ROWS) + 2.0**60), DENSE, "bad_id", "write ids as text"),
    "ids as long as essays": (put("id", np.array(["a" * 300] * ROWS)), DENSE, "bad_id", "255 at most"),
    "ids of the dataset that repeat": (NOTHING, {"id": "twice"}, "duplicate_id", "of the dataset"),
    "ids of the dataset that floats round": (NOTHING, {"of_column": "large"}, "bad_id", "of the dataset"),
    "a column that the dataset lacks": (NOTHING, {"of_column": "uid"}, "missing_column", "row_numbers"),
    "a column that the file lacks": (NOTHING, {"id": "uid"}, "missing_column", "no `uid`"),
    "a number behind the last row": (
        put("row", ROWS, at=3), {"id": "row", "row_numbers": True}, "unknown_id", "0 to 59, found `60`",
    ),
    "a number before the first row": (
        put("row", -1, at=3), {"id": "row", "row_numbers": True}, "unknown_id", "found `-1`",
    ),
    "a row number with a fraction": (
        put("row", np.arange(ROWS) + 0.5), {"id": "row", "row_numbers": True}, "unknown_id", "found `0.5`",
    ),
    "names where numbers of rows are declared": (NOTHING, {"row_numbers": True}, "unknown_id", "found `r000`"),
    "columns of different lengths": (shorter, DENSE, "ragged", "59"),
    "a NaN among probabilities": (put("label", np.nan, at=(5, 1)), DENSE, "not_finite", "row 5"),
    "an infinite number": (put("label", np.inf, at=(5, 1)), DENSE, "not_finite", "row 5"),
    "nothing but NaN": (put("label", np.full((ROWS, CLASSES), np.nan)), DENSE, "empty_dataset", "missing values alone"),
    "probabilities that sum to more than one": (put("label", 0.9, at=(5, 1)), DENSE, "wrong_output", "sum to"),
    "percent": (put("label", np.tile([80.0, 15.0, 5.0], (ROWS, 1))), DENSE, "wrong_output", "Divide them by 100"),
    "logits declared as probabilities": (
        put("label", np.random.default_rng(2).normal(size=(ROWS, CLASSES)) * 4), DENSE, "wrong_output", "logits",
    ),
    "probabilities declared as logits": (
        NOTHING,
        {"outputs": {"label": {"predicts": {"kind": "class", "output": "logits"}}}},
        "wrong_output",
        "probabilities",
    ),
    "a class too few": (
        put("label", np.tile([0.4, 0.6], (ROWS, 1))), DENSE, "size_mismatch", "has 3 numbers in each row, the output 2",
    ),
    "names for another number of classes": (
        NOTHING,
        {"outputs": {"label": {"predicts": {**CLASS, "classes": ["cat", "dog"]}}}},
        "shape_mismatch",
        "names 2",
    ),
    "other names of classes": (
        NOTHING,
        {"outputs": {"label": {"predicts": {**CLASS, "classes": ["cat", "dog", "cow"]}}}},
        "class_names_differ",
        "`fox`",
    ),
    "another kind than the target": (
        NOTHING, {"outputs": {"size": {"predicts": {"kind": "multilabel"}}}}, "kind_mismatch", "of kind value",
    ),
    "text for numbers": (put("label", np.array(["much"] * ROWS)), DENSE, "wrong_type", "holds text"),
    "a class that there is not in a pair": (put("c1", 3, at=5), pairs(), "label_out_of_range", "row 5"),
    "two pairs of one class": (put("c1", 0, at=5), pairs(), "duplicate_class", "row 5"),
    "a class without its score": (put("s1", np.nan, at=5), pairs(), "incomplete_pair", "row 5"),
    "a score without its class": (put("c1", -1, at=5), pairs(), "incomplete_pair", "row 5"),
    "pairs that sum to more than one": (put("s1", 0.7, at=5), pairs(), "wrong_output", "sum to 1.3 at row 5"),
    "pairs in percent": (put("s0", np.full(ROWS, 60.0)), pairs(), "wrong_output", "percent"),
    "pairs of log-probabilities declared as probabilities": (
        lambda found: found.update(s0=np.full(ROWS, -0.5), s1=np.full(ROWS, -1.2)), pairs(), "wrong_output",
        "log_probabilities",
    ),
    "pairs of probabilities declared as log-probabilities": (
        NOTHING, pairs(predicts={"kind": "class", "output": "log_probabilities"}), "wrong_output", "are they prob",
    ),
    "an infinite score of a pair": (put("s0", -np.inf, at=5), pairs(), "not_finite", "row 5"),
    "more scores than classes in a pair": (
        put("s0", np.full((ROWS, 2), 0.2)), pairs(), "shape_mismatch", "2 classes and 3 scores",
    ),
    "more pairs than classes": (
        lambda found: found.update(c0=np.zeros((ROWS, 3), np.int64), s0=np.zeros((ROWS, 3))), pairs(),
        "shape_mismatch", "4 pairs a row, and 3 classes",
    ),
    "every class named, and not all of the probability": (
        lambda found: found.update(c0=np.tile([0, 2], (ROWS, 1)), s0=np.full((ROWS, 2), 0.2)), pairs(),
        "wrong_output", "names every class at row 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_cannot_be_right_is_rejected_by_name(harness: EngineHarness, name: str) -> None:
    change, manifest, code, part = HOSTILE[name]
    dataset(harness)
    rejection = rejected(harness, change, **manifest)
    assert (rejection.code, part in rejection.message) == (code, True), rejection


@pytest.mark.parametrize("manifest", [DENSE, pairs()])
def test_the_file_without_these_faults_is_accepted(harness: EngineHarness, manifest: dict[str, Any]) -> None:
    dataset(harness)
    outcome = inspected(harness, written(harness), **manifest)
    assert outcome.rejection is None
    assert outcome.dataset is not None
    facts = outcome.dataset
    assert (facts.rows, facts.of, facts.inputs) == (ROWS, DATASET, {})
    assert facts.targets["label"].labelled == {"train": 42, "validation": 9, "test": 9}
    assert facts.warnings == ()
    type(facts).model_validate_json(facts.model_dump_json())


def test_names_of_classes_in_pairs_are_not_mixed_with_their_numbers(harness: EngineHarness) -> None:
    dataset(harness)

    def change(found: dict[str, Any]) -> None:
        found.update(c0=np.array(["cat"] * ROWS), c1=np.array(["1"] * ROWS))

    rejection = rejected(harness, change, **pairs(size=None, predicts={**CLASS, "classes": NAMES}))
    assert rejection.code == "label_out_of_range"
    assert "names in all" in rejection.message


def test_a_row_may_have_fewer_pairs_or_none(harness: EngineHarness) -> None:
    dataset(harness)

    def change(found: dict[str, Any]) -> None:
        put("c1", -1, at=5)(found)
        put("s1", np.nan, at=5)(found)
        for name, empty in (("c0", -1), ("c1", -1), ("s0", np.nan), ("s1", np.nan)):
            put(name, empty, at=6)(found)

    outcome = inspected(harness, written(harness, change), **pairs())
    assert outcome.dataset is not None
    assert sum(outcome.dataset.targets["label"].labelled.values()) == ROWS - 1


@pytest.mark.parametrize("splits", ["group", "stratify", "column", "order"])
def test_rows_without_an_output_are_counted_by_the_splits_of_the_dataset(harness: EngineHarness, splits: str) -> None:
    """However they are dealt, without reading the inputs again."""
    fractions = {"train": 0.5, "validation": 0.25, "test": 0.25}
    ways: dict[str, dict[str, Any]] = {
        "group": {"fractions": fractions, "group": "label2"},
        "stratify": {"fractions": fractions, "stratify": "label"},
        "column": {"column": "split"},
        "order": {"fractions": fractions, "shuffle": False},
    }
    arrays: Arrays = {
        "x": np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32),
        "label": np.arange(ROWS) % CLASSES,
        "label2": np.arange(ROWS) // 3,
        "id": np.array([f"r{i:03d}" for i in range(ROWS)]),
        "split": np.array(["train"] * 30 + ["validation"] * 15 + ["test"] * 15),
    }
    harness.dataset(arrays, targets={"label": {"kind": "class", "classes": CLASSES}}, splits=ways[splits])
    assert harness.data is not None
    assert harness.data.facts is not None

    def half(found: dict[str, Any]) -> None:
        found.update({name: values[: ROWS // 2] for name, values in found.items()})

    outcome = inspected(harness, written(harness, half))
    assert outcome.dataset is not None
    (warning,) = outcome.dataset.warnings
    assert sum(outcome.dataset.splits.values()) == ROWS // 2
    for split, rows in harness.data.facts.splits.items():
        lacking = rows - outcome.dataset.splits.get(split, 0)
        assert not lacking or f"{lacking} of {rows} {split}" in warning.message
    if splits in ("order", "column"):
        assert outcome.dataset.splits == {"train": 30, "validation": 0, "test": 0}


BYTES: dict[str, tuple[str, bytes]] = {
    "a csv without its columns": ("csv", b"a,b\n1,2\n"),
    "a csv with a heading alone": ("csv", b"id,label\n"),
    "JSON lines with NaN": ("jsonl", b'{"id": "r000", "label": [NaN, 0.5, 0.5]}\n'),
    "JSON lines with a list of names": ("jsonl", b'{"id": "r000", "label": ["cat", "dog", "fox"]}\n'),
    "JSON lines with an object": ("jsonl", b'{"id": {"a": 1}, "label": [0.2, 0.3, 0.5]}\n'),
    "lists of different lengths": (
        "jsonl", b'{"id": "r000", "label": [0.2, 0.3, 0.5]}\n{"id": "r001", "label": [0.5, 0.5]}\n',
    ),
    "bytes that are no text": ("csv", b"\xff\xfe\x00\x01"),
    "a parquet file that is cut": ("parquet", b"PAR1\x15\x04\x15\x00PAR1"),
    "an npz file that is cut": ("npz", b"PK\x03\x04\x14\x00\x00\x00"),
    "an empty file of lines": ("jsonl", b"\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", BYTES)
def test_a_broken_file_is_rejected_whatever_its_format(harness: EngineHarness, name: str) -> None:
    dataset(harness)
    file_format, content = BYTES[name]
    path = harness.folder / f"predictions.{file_format}"
    path.write_bytes(content)
    rejection = inspected(harness, path, file_format).rejection
    assert rejection is not None
    assert rejection.code in ("missing_column", "empty_dataset", "unreadable", "ragged", "wrong_type")


def test_predictions_of_predictions_are_rejected(harness: EngineHarness) -> None:
    dataset(harness)
    path = written(harness)
    rejection = inspected(harness, path, of="ds_01890a5d-ac96-774b-bcce-b302099a8051").rejection
    assert rejection is not None
    assert rejection.code == "not_a_dataset"
