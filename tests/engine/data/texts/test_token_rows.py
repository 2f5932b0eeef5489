"""Lists of ids, words and labels become rows of one width in every format; invalid rows are refused by their number."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from app.contracts.problems import UserError
from app.contracts.resources.manifests import DatasetManifest
from tests.engine.jobs.texts.tags import MANIFEST, TAGS, VOCABULARY, tagged, written
from workers.engine.data.dataset import PADDING, Dataset
from workers.engine.data.reading import read_dataset

ROWS = tagged(40, longest=11)
WORDS: dict[str, Any] = {
    "inputs": {"words": {"kind": "text", "tokenizer": {"size": 300}}},
    "targets": {"tag": {"kind": "token_class", "classes": ["O", "B-PER"]}},
}
NAMES: list[dict[str, Any]] = [
    {"words": ["Ada", "Lovelace", "wrote"], "tag": ["B-PER", None, "O"]},
    {"words": ["nobody"], "tag": ["O"]},
    *[{"words": ["Grace", "counts", str(i)], "tag": ["B-PER", "O", "O"]} for i in range(20)],
]


def read(path: Path, **changes: Any) -> Dataset:
    return read_dataset(path, DatasetManifest.model_validate_json(json.dumps({**MANIFEST, **changes})))


def filled(rows: list[list[Any]], padding: Any) -> Any:
    width = max(map(len, rows))
    return np.array([[*row, *[padding] * (width - len(row))] for row in rows])


def test_every_format_has_the_same_rows_and_labels(tmp_path: Path) -> None:
    known = read(written(tmp_path, ROWS))
    ids, tags = [row["ids"] for row in ROWS], [row["tag"] for row in ROWS]
    for kind in (pa.list_(pa.int64()), pa.large_list(pa.int16())):
        pa.parquet.write_table(pa.table({"ids": pa.array(ids, kind), "tag": tags}), tmp_path / "rows.parquet")
        found = read(tmp_path / "rows.parquet", format="parquet")
        assert found.inputs["ids"].equal(known.inputs["ids"])
        assert found.targets["tag"].values.equal(known.targets["tag"].values)
    np.savez(tmp_path / "rows.npz", ids=filled(ids, 0), tag=filled(tags, ""))
    found = read(tmp_path / "rows.npz", format="npz")
    assert found.inputs["ids"].equal(known.inputs["ids"])
    assert found.targets["tag"].values.equal(known.targets["tag"].values)
    numbers = [[TAGS.index(each) for each in row] for row in tags]
    np.savez(tmp_path / "numbers.npz", ids=filled(ids, 0), tag=filled(numbers, -100))
    found = read(tmp_path / "numbers.npz", format="npz")
    assert found.targets["tag"].values.equal(known.targets["tag"].values), "numbers are the places of the names"


def test_rows_are_filled_up_and_labels_say_where_no_token_is(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"ids": [3, 4, 5], "tag": ["odd", -100, None]},
        {"ids": [7], "tag": None},
        {"ids": [1, 2], "tag": ["odd"] * 2},
    ]
    inputs = {"ids": {"kind": "tokens", "vocabulary": VOCABULARY, "padding": 9}}
    found = read(written(tmp_path, rows), inputs=inputs, splits={"fractions": {"train": 1.0}})
    assert found.inputs["ids"][:2].tolist() == [[3, 4, 5, *[9] * 5], [7, *[9] * 7]]
    assert found.targets["tag"].values[:2].tolist() == [[1, -1, -1, *[PADDING] * 5], [-1, *[PADDING] * 7]]
    assert found.targets["tag"].labelled.tolist() == [True, False, True]


def test_longer_rows_lose_their_end_with_its_labels(tmp_path: Path) -> None:
    inputs = {"ids": {"kind": "tokens", "vocabulary": VOCABULARY, "length": 2}}
    found = read(written(tmp_path, ROWS), inputs=inputs)
    assert found.inputs["ids"].shape[1] == found.targets["tag"].values.shape[1] == 2
    for row, ids, labels in zip(ROWS, found.inputs["ids"], found.targets["tag"].values, strict=True):
        assert ids.tolist() == [*row["ids"], 0][:2]
        assert labels[0] == TAGS.index(row["tag"][0])


def test_the_first_token_of_a_word_has_its_label_and_no_other(tmp_path: Path) -> None:
    found = read(written(tmp_path, NAMES), **WORDS)
    ids, labels = found.inputs["words"][0], found.targets["tag"].values[0]
    tokens = found.tokens["words"]
    assert tokens.words
    count = int((ids != tokens.padding).sum())
    assert count > 5, "[CLS], pieces of three words, [SEP]"
    assert labels[count:].eq(PADDING).all()
    assert labels[:count].ne(PADDING).all()
    assert labels[labels >= 0].tolist() == [1, 0], "the second word has no label"
    assert labels[0] == -1, "[CLS] is a token without a label"


def test_words_of_npz_are_those_of_jsonl(tmp_path: Path) -> None:
    known = read(written(tmp_path, NAMES), **WORDS)
    words, tags = [row["words"] for row in NAMES], [[each or "" for each in row["tag"]] for row in NAMES]
    np.savez(tmp_path / "rows.npz", words=filled(words, ""), tag=filled(tags, ""))
    found = read(tmp_path / "rows.npz", **WORDS, format="npz")
    assert found.inputs["words"].equal(known.inputs["words"])
    assert found.targets["tag"].values.equal(known.targets["tag"].values)


@pytest.mark.parametrize(
    ("change", "code", "found"),
    [
        ({"ids": [1, 12]}, "wrong_tokens", "the id 12"),
        ({"ids": [1, -1]}, "wrong_tokens", "the id -1"),
        ({"ids": [1, 1 << 70]}, "wrong_tokens", "the id 1180591620717411303424"),
        ({"ids": [1, 2.5]}, "wrong_tokens", "float '2.5'"),
        ({"ids": [1, 2.0]}, "wrong_tokens", "float '2.0'"),
        ({"ids": [1, True]}, "wrong_tokens", "bool 'True'"),
        ({"ids": [1, "2"]}, "wrong_tokens", "str '2'"),
        ({"ids": [1, [2]]}, "wrong_tokens", "list '[2]'"),
        ({"ids": [1, None]}, "wrong_tokens", "null in the list"),
        ({"ids": []}, "wrong_tokens", "an empty list"),
        ({"ids": None}, "wrong_tokens", "no list"),
        ({"ids": [0, 0]}, "wrong_tokens", "nothing but padding"),
        ({"ids": 3}, "wrong_type", "int at row 2"),
        ({"tag": ["odd"]}, "ragged", "1 labels at row 2, expected 2"),
        ({"tag": ["odd", "odd", "odd"]}, "ragged", "3 labels at row 2"),
        ({"tag": ["odd", "prime"]}, "label_out_of_range", "`prime` at row 2"),
        ({"tag": ["odd", 1]}, "label_out_of_range", "`1` at row 2"),
        ({"tag": ["odd", ["odd"]]}, "label_out_of_range", "a list at row 2"),
        ({"tag": "odd"}, "wrong_type", "str at row 2"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, change: dict[str, Any], code: str, found: str) -> None:
    bad = {"ids": [1, 2], "tag": ["odd", "even"], **change}
    with pytest.raises(UserError) as error:
        read(written(tmp_path, [*ROWS[:2], bad, *ROWS[2:]]))
    assert error.value.code == code
    assert found in error.value.message
    assert "row 2" in error.value.message


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"words": ["a", None]}, "wrong_tokens"),
        ({"words": ["a", 3]}, "wrong_tokens"),
        ({"words": []}, "wrong_tokens"),
        ({"words": ["", ""]}, "wrong_tokens"),
        ({"words": "a b"}, "wrong_type"),
        ({"tag": ["O"]}, "ragged"),
    ],
)
def test_a_bad_row_of_words_is_named(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    bad = {"words": ["a", "b"], "tag": ["O", "O"], **change}
    with pytest.raises(UserError) as error:
        read(written(tmp_path, [NAMES[0], bad, *NAMES[1:]]), **WORDS)
    assert error.value.code == code
    assert "row 1" in error.value.message


def test_formats_without_lists_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("ids,tag\n1 2,odd even\n")
    with pytest.raises(UserError, match="a list in each row"):
        read(tmp_path / "rows.csv", format="csv")


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": {"x": {"kind": "array"}}},
        {"inputs": {"a": {"kind": "tokens", "vocabulary": 9}, "b": {"kind": "tokens", "vocabulary": 9}}},
        {"inputs": {"words": {"kind": "text", "columns": ["a", "b"]}}},
        {"inputs": {"ids": {"kind": "tokens", "vocabulary": 9, "padding": 9}}},
        {"targets": {"tag": {"kind": "teacher", "predicts": {"kind": "token_class"}}}},
        {"splits": {"fractions": {"train": 0.5, "test": 0.5}, "stratify": "tag"}},
    ],
    ids=["no tokens", "two inputs", "pairs", "padding", "columns of a teacher", "stratified"],
)
def test_manifests_that_say_no_labels_of_tokens_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|labels|tokens|stratify"):
        DatasetManifest.model_validate_json(json.dumps({**MANIFEST, **changes}))
