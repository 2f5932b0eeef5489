"""Columns of texts of every format become the same rows of tokens."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from app.contracts.problems import UserError
from app.contracts.resources.inputs.texts import TokenizerTraining
from app.contracts.resources.manifests import DatasetManifest
from tests.engine.jobs.texts.sentences import MANIFEST, sentences, written
from workers.engine.common.row_storage import RowStorage
from workers.engine.data.dataset import Dataset
from workers.engine.data.facts import facts_of
from workers.engine.data.reading import read_dataset
from workers.engine.data.texts.reading import TextReading
from workers.engine.data.texts.training import trained_tokenizer

ROWS = [*sentences(60), {"text": 'a "quoted", text;\nof two lines', "label": "bad"}, {"text": "", "label": "good"}]


def manifest(**changes: Any) -> DatasetManifest:
    return DatasetManifest.model_validate_json(json.dumps({**MANIFEST, **changes}))


def as_csv(path: Path) -> None:
    lines = ["text,label", *('"{}",{}'.format(row["text"].replace('"', '""'), row["label"]) for row in ROWS)]
    path.write_text("\n".join(lines), encoding="utf-8")


def as_parquet(path: Path, kind: pa.DataType) -> None:
    texts = pa.array([row["text"] for row in ROWS], pa.string()).cast(kind)
    pa.parquet.write_table(pa.table({"text": texts, "label": [row["label"] for row in ROWS]}), path)


def as_npz(path: Path) -> None:
    np.savez(path, text=np.array([row["text"] for row in ROWS]), label=np.array([row["label"] for row in ROWS]))


def read(path: Path, **changes: Any) -> Dataset:
    return read_dataset(path, manifest(**changes))


def test_every_format_has_the_same_rows(tmp_path: Path) -> None:
    known = read(written(tmp_path, ROWS))
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "rows.jsonl").read_bytes()))
    as_csv(tmp_path / "rows.csv")
    as_npz(tmp_path / "rows.npz")
    as_parquet(tmp_path / "plain.parquet", pa.string())
    as_parquet(tmp_path / "large.parquet", pa.large_string())
    as_parquet(tmp_path / "dictionary.parquet", pa.dictionary(pa.int32(), pa.string()))
    for name in ("rows.jsonl.gz", "rows.csv", "rows.npz", "plain.parquet", "large.parquet", "dictionary.parquet"):
        form = name.split(".")[1]
        found = read(tmp_path / name, format=form)
        assert found.tokenizers == known.tokenizers, name
        assert found.inputs["text"].equal(known.inputs["text"]), name


def test_texts_longer_than_a_category_are_whole(tmp_path: Path) -> None:
    """Names and categories are cut at 256 characters; texts are not."""
    rows = [{"text": "word " * 200 + str(i), "label": "good"} for i in range(10)]
    inputs = {"text": {"kind": "text", "length": 1024, "tokenizer": {"size": 300}}}
    found = read(written(tmp_path, rows), inputs=inputs)
    assert found.inputs["text"].shape[1] > 200


def test_rows_are_as_wide_as_the_longest_text_in_multiples_of_8_and_filled_up(tmp_path: Path) -> None:
    found = read(written(tmp_path, [{"text": "a", "label": "bad"}, *ROWS]))
    rows, tokens = found.inputs["text"], found.tokens["text"]
    assert rows.shape[1] % 8 == 0
    assert rows.shape[1] == tokens.length
    assert int((rows != tokens.padding).sum(dim=1).max()) > rows.shape[1] - 8
    assert int(rows.max()) < tokens.vocabulary


def test_stored_rows_are_those_in_memory(tmp_path: Path) -> None:
    path = written(tmp_path, ROWS)
    storage = RowStorage("0" * 64, tmp_path / "shared", tmp_path / "own", 1 << 30)
    stored = read_dataset(path, manifest(), storage=storage)
    again = read_dataset(path, manifest(), storage=storage)
    known = read_dataset(path, manifest())
    assert stored.is_mapped
    assert stored.inputs["text"].equal(known.inputs["text"])
    assert again.inputs["text"].equal(known.inputs["text"])
    assert facts_of(stored, manifest()) == facts_of(known, manifest())


def test_stored_rows_are_those_of_the_file_as_it_is_read(tmp_path: Path) -> None:
    """The same bytes are other texts in another encoding; a tokenizer from elsewhere is the same for both."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"text,label\n" + "".join(f"caf\xe9 {i},bad\n" for i in range(20)).encode("latin-1"))
    storage = RowStorage("0" * 64, tmp_path / "shared", tmp_path / "own", 1 << 30)
    tokenizer = trained_tokenizer(TokenizerTraining(size=300), [("caf\xe9",)] * 4)
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.content)
    encoding = tokenizer.encoding(32)
    reading = TextReading({tokenizer.sha256: str(tmp_path / "tokenizer.json")}, {"text": encoding})
    found = []
    for name in ("windows-1252", "windows-1251"):
        read_as = manifest(format="csv", csv={"encoding": name})
        found.append(read_dataset(path, read_as, storage=storage, reading=reading).inputs["text"])
    assert found[0].shape != found[1].shape or not found[0].equal(found[1])


def test_ids_are_no_quantities_for_the_checks_of_a_dataset(tmp_path: Path) -> None:
    """They would find constant places, sentinel values and numbers of another size."""
    codes = {warning.code for warning in facts_of(read(written(tmp_path, ROWS)), manifest()).warnings}
    assert not codes & {"constant_inputs", "sentinel_values", "unscaled_inputs", "large_offset", "constant_input"}


def test_the_same_text_in_two_splits_is_told(tmp_path: Path) -> None:
    """All of them: words that every text has make no text likely."""
    places = [*(("train", i) for i in range(80)), *(("test", i) for i in range(40))]
    rows = [{"text": f"{'ab'[i % 2]} {i // 2 % 40}", "label": "good", "split": split} for split, i in places]
    found = read(written(tmp_path, rows), splits={"column": "split"})
    (warning,) = (each for each in facts_of(found, manifest()).warnings if each.code == "duplicate_rows")
    assert warning.message.startswith("40 of 40 rows of the test split (100.0%) have the same inputs")
    assert "independent columns" not in warning.message


def test_texts_that_are_cut_or_empty_are_told(tmp_path: Path) -> None:
    path = written(tmp_path, ROWS)
    inputs = {"text": {"kind": "text", "length": 8, "tokenizer": {"size": 400}}}
    found = {each.code: each.message for each in facts_of(read(path, inputs=inputs), manifest(inputs=inputs)).warnings}
    assert "have 8 tokens or more" in found["texts_cut"]
    assert found["empty_texts"].startswith("1 of 62 texts of `text` are empty")
    assert "texts_cut" not in {each.code for each in facts_of(read(path), manifest()).warnings}


def test_half_a_character_is_refused_by_its_row(tmp_path: Path) -> None:
    path = written(tmp_path, ROWS)
    path.write_text(path.read_text() + '{"text": "x\\ud800y", "label": "bad"}\n')
    with pytest.raises(UserError, match=f"the text at row {len(ROWS)} has half of a character") as error:
        read(path)
    assert error.value.code == "wrong_type"


def test_missing_values_of_a_csv_are_no_texts_and_usual_ones_are_words(tmp_path: Path) -> None:
    rows = ["text,label", *(f"{word},bad" for word in ("?", "NA", "river", "") * 10)]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    read_as = {"format": "csv", "csv": {"null_values": ["?"]}}
    found = read(tmp_path / "rows.csv", **read_as)
    lengths = (found.inputs["text"] != 0).sum(dim=1)[:4].tolist()
    assert lengths[0] == lengths[3] == 2, "the two special tokens alone"
    assert min(lengths[1], lengths[2]) > 2


def test_texts_that_are_all_the_same_are_told(tmp_path: Path) -> None:
    path = written(tmp_path, [{"text": "the river", "label": label} for label in ("bad", "good") * 10])
    assert "constant_input" in {warning.code for warning in facts_of(read(path), manifest()).warnings}


def test_the_tokenizer_knows_the_training_texts_alone(tmp_path: Path) -> None:
    rows = [
        {"text": f"{'zebra' if split == 'test' else 'river'} {i}", "label": "good", "split": split}
        for i in range(40)
        for split in ("train", "test")
    ]
    path = written(tmp_path, rows)
    found = read_dataset(path, manifest(splits={"column": "split"}, inputs={"text": {"kind": "text"}}))
    vocabulary = json.loads(found.tokenizers["text"])["model"]["vocab"]
    assert any("river" in token for token in vocabulary)
    assert not any("zebra" in token for token in vocabulary)


@pytest.mark.parametrize(
    ("rows", "changes", "code"),
    [
        ([{"text": 3, "label": "bad"}], {}, "wrong_type"),
        ([{"text": ["a"], "label": "bad"}], {}, "wrong_type"),
        ([{"words": "a", "label": "bad"}], {}, "missing_column"),
        ([{"text": None, "label": "bad"}], {}, "no_text"),
        ([{"text": "a", "label": "bad"}], {"inputs": {"x": {"kind": "array", "columns": ["text"]}}}, "wrong_type"),
        ([{"text": "a", "label": "bad"}], {"targets": {"text": {"kind": "value"}}}, "wrong_type"),
    ],
)
def test_what_is_no_text_is_refused_by_name(
    tmp_path: Path, rows: list[dict[str, Any]], changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(UserError) as error:
        read(written(tmp_path, rows * 20), **changes)
    assert error.value.code == code


@pytest.mark.parametrize("kind", [pa.int64(), pa.binary(), pa.list_(pa.string())])
def test_columns_of_parquet_that_are_no_texts_are_refused_by_name(tmp_path: Path, kind: pa.DataType) -> None:
    value: Any = {pa.int64(): 1, pa.binary(): b"a", pa.list_(pa.string()): ["a"]}[kind]
    pa.parquet.write_table(pa.table({"text": pa.array([value] * 20, kind), "label": ["bad"] * 20}), tmp_path / "f")
    with pytest.raises(UserError, match="expected texts") as error:
        read(tmp_path / "f", format="parquet")
    assert error.value.code == "wrong_type"


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    for form, content in (("csv", b"text,label\n\xff\xfe,bad\n"), ("jsonl", b'{"text": "\xff", "label": "bad"}\n')):
        path = tmp_path / f"rows.{form}"
        path.write_bytes(content)
        with pytest.raises(UserError, match="UTF-8") as error:
            read(path, format=form)
        assert error.value.code == "unreadable"
