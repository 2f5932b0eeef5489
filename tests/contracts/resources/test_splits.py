"""Splits in the names of files."""

import pytest
from pydantic import ValidationError

from app.contracts.resources.splits import FileSplits, split_in_name


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.csv", "train"),
        ("train-00000-of-00005.parquet", "train"),
        ("mnist_TRAIN_2.npz", "train"),
        ("data.validation.jsonl", "validation"),
        ("val2.csv", "validation"),
        ("dev-1.csv", "validation"),
        ("test-00001-of-00002.parquet", "test"),
        ("part-1.csv", None),
        ("trainer.csv", None),
        ("contest.csv", None),
        ("values.csv", None),
        ("train_test.csv", None),
        ("train-training.csv", "train"),
    ],
)
def test_the_split_of_a_name_is_a_word_of_it(name: str, split: str | None) -> None:
    assert split_in_name(name) == split


def test_files_without_training_rows_are_no_splits() -> None:
    with pytest.raises(ValidationError, match="training rows"):
        FileSplits(files={"a": "test", "b": "validation"})
