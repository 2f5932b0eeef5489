"""Manifests of tables: options of a csv, inputs of categories, missing numbers, splits; what does not go together."""

import json
from typing import Any

import pytest

from app.contracts.base import canonical_json
from app.contracts.resources.facts import DATASET_FACTS, MODEL_FACTS
from app.contracts.resources.manifests import DatasetManifest, InputTransform

TABLE: dict[str, Any] = {"name": "t", "format": "csv", "inputs": {"x": {"kind": "array", "columns": ["a", "b"]}}}


def manifest(**changes: Any) -> DatasetManifest:
    return DatasetManifest.model_validate_json(json.dumps(TABLE | changes))


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ",", ":", "~"])
def test_a_delimiter_is_one_character_that_no_number_has(delimiter: str) -> None:
    options = manifest(csv={"delimiter": delimiter}).csv
    assert options is not None
    assert options.delimiter == delimiter


FRACTIONS = {"train": 0.8, "test": 0.2}
CATEGORY: dict[str, Any] = {"kind": "category", "columns": ["a", "b"]}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "csv options of another format": ({"format": "npz", "csv": {}}, "`format` is npz: leave it out"),
    "a delimiter of numbers": ({"csv": {"delimiter": "."}}, "one character such as"),
    "a delimiter of quotes": ({"csv": {"delimiter": '"'}}, "one character such as"),
    "a delimiter of two": ({"csv": {"delimiter": ";;"}}, "at most 1 character"),
    "names beside a header": ({"csv": {"columns": ["a", "b"]}}, 'add `"header": false`'),
    "a name twice": ({"csv": {"header": False, "columns": ["a", "a"]}}, "every column its own name"),
    "an encoding that is none": ({"csv": {"encoding": "zip"}}, "Input should be 'utf-8'"),
    "categories of another column": (
        {"inputs": {"x": {**CATEGORY, "categories": {"c": ["u"]}}}},
        "not among `columns`",
    ),
    "a category twice": ({"inputs": {"x": {**CATEGORY, "categories": {"a": ["u", "u"]}}}}, "more than once"),
    "indicators of images": (
        {"inputs": {"x": {"kind": "array", "shape": [1, 2, 2], "missing": "indicator"}}},
        "leave out `shape`",
    ),
    "groups and strata": (
        {
            "targets": {"y": {"kind": "class", "classes": 2}},
            "splits": {"fractions": FRACTIONS, "group": "g", "stratify": "y"},
        },
        "`group` and `stratify` cannot both hold",
    ),
    "groups in order": ({"splits": {"fractions": FRACTIONS, "group": "g", "shuffle": False}}, "leave out `group`"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_go_together_is_refused_with_the_way_out(what: str) -> None:
    changes, fragment = BAD[what]
    with pytest.raises(ValueError, match="1 validation error") as caught:
        manifest(**changes)
    assert fragment in str(caught.value)


def test_a_manifest_without_the_fields_of_tables_keeps_its_digest() -> None:
    """Trap: a new field in every document would change the keys of stored outputs and the files of students."""
    stored = (
        '{"format":"csv","inputs":{"x":{"columns":["a","b"],"kind":"array","scale":1.0,"shape":null,"standardize":null}}'
        ',"metadata":{},"name":"t","splits":{"fractions":{"test":0.15,"train":0.7,"validation":0.15},"seed":0,'
        '"stratify":null},"targets":{}}'
    )
    assert canonical_json(manifest()) == stored
    assert canonical_json(DatasetManifest.model_validate_json(stored)) == stored
    assert canonical_json(InputTransform()) == '{"mean":0.0,"scale":1.0,"std":1.0}'


def test_what_is_asked_for_is_in_the_digest() -> None:
    asks: list[dict[str, Any]] = [
        {"csv": {}},
        {"inputs": {"x": {"kind": "array", "columns": ["a", "b"], "missing": "mean"}}},
        {"splits": {"fractions": {"train": 1.0}, "group": "g"}},
        {"splits": {"fractions": {"train": 1.0}, "shuffle": False}},
    ]
    for changes in asks:
        asked = manifest(**changes)
        assert canonical_json(asked) != canonical_json(manifest(splits={"fractions": {"train": 1.0}}))
        assert DatasetManifest.model_validate_json(canonical_json(asked)) == asked


def test_facts_of_an_older_version_are_still_read() -> None:
    data = {"rows": 3, "splits": {"train": 3}, "inputs": {"x": {"shape": [2], "scale": 1.0}}, "targets": {}}
    assert DATASET_FACTS.validate_python(data, strict=False).inputs["x"].encoding is None
    model: dict[str, Any] = {
        "architecture": None,
        "input_shape": [2],
        "inputs": {"x": {}},
        "outputs": {},
        "parameters": 1,
    }
    assert MODEL_FACTS.validate_python(model, strict=False).inputs["x"].encoding is None
