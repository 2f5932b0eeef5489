"""The spellings of a category that an exported graph knows are those of its value, and none of another category."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.resources.raw_rows import Spellings
from workers.engine.data.formats.written import written_values
from workers.engine.data.rows.uploaded import Meanings
from workers.engine.data.tables import keys
from workers.engine.data.tables.keys import boolean_keys, meanings, places_of, read_keys, text_keys, whole_number_keys
from workers.engine.data.tables.text import canonical, label_text, spellings

WORDS = st.one_of(
    st.sampled_from(["red", "true", "FALSE", "0", "-0", "1", "1.0", "01", "-3", "0.50", "1e3", "NA", " a "]),
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.text(min_size=1, max_size=6),
)


@given(WORDS)
def test_every_spelling_of_a_value_is_read_as_that_value(text: str) -> None:
    assert text in spellings(text)
    assert {canonical(each) for each in spellings(text)} == {canonical(text)}


@given(st.lists(WORDS, min_size=1, max_size=8, unique=True))
def test_a_key_is_the_place_of_a_category_of_that_value(categories: list[str]) -> None:
    known = read_keys(categories)
    assert {canonical(categories[place]) == canonical(text) for text, place in known.items()} <= {True}
    assert {canonical(each) for each in categories} == {canonical(text) for text in known}
    assert all(-(2**63) <= number < 2**63 for number in whole_number_keys(categories))


@settings(max_examples=50)
@given(st.lists(WORDS, min_size=1, max_size=8, unique=True))
def test_further_keys_are_other_ways_to_write_that_number_and_take_none_from_a_category(categories: list[str]) -> None:
    """Also as a float32, which has fewer digits."""
    known, more = read_keys(categories), text_keys(categories)
    assert known.items() <= more.items()
    for text in more.keys() - known.keys():
        assert float(text) == pytest.approx(float(categories[more[text]]), rel=2.0**-24, abs=2.0**-150)


@settings(max_examples=50)
@given(st.one_of(st.floats(-1e190, 1e190), st.integers(-(2**60), 2**60)), st.floats(-(2.0**100), 2.0**100, width=32))
def test_a_number_is_a_key_as_python_and_numpy_write_it(number: float, single: float) -> None:
    assert text_keys([canonical(label_text(number))]).get(str(number)) == 0
    ways = [str(single), str(np.float32(single))]
    assert [text_keys([canonical(label_text(single))]).get(text) for text in ways] == [0, 0]


MOMENTS = {
    "2024-01-31 10:00:00.000000": ["2024-01-31 10:00:00", "2024-01-31T10:00:00"],
    "2024-01-31 10:00:00.500000": ["2024-01-31 10:00:00.500000", "2024-01-31T10:00:00.500000"],
    "2024-01-31 10:00:00Z": ["2024-01-31 10:00:00+00:00", "2024-01-31T10:00:00+00:00"],
    "2024-01-31": ["2024-01-31 00:00:00", "2024-01-31T00:00:00"],
    "2024-01-31 00:00:00": ["2024-01-31"],
}


@pytest.mark.parametrize("category", MOMENTS)
def test_a_moment_is_a_key_as_python_writes_it(category: str) -> None:
    assert {text_keys([category]).get(text) for text in MOMENTS[category]} == {0}


def test_a_spelling_of_two_categories_means_none() -> None:
    assert text_keys(["1e3", "1000"])["1000"] == 1
    assert "1000.0" not in text_keys(["1e3", "10e2"])
    assert text_keys(["1e3", "10e2"])["10e2"] == 1


def test_numbers_and_booleans_name_categories_that_are_such() -> None:
    assert whole_number_keys(["red", "2", "01", "3.0", str(2**63), "1e3"]) == {2: 1, 3: 3}
    assert boolean_keys(["True", "other"]) == {1: 0}


def meant(values: list[Any], read: list[str], categories: list[str]) -> tuple[Spellings, str | None]:
    """What the texts of a column mean, of which a reader made `read`."""
    found = meanings("c", written_values(values, [len(values)], "text"), places_of(read, categories), categories)
    return found.spelled, found.unclear


def test_a_text_of_the_file_means_what_the_reader_made_of_it() -> None:
    assert meant(["a", Decimal("1.500")], ["a", "1.5"], ["a", "1.5"]) == ({}, None)
    assert meant(["1,5", "a"], ["1.5", "a"], ["a", "1.5"]) == ({"1,5": "1.5"}, None)
    assert meant(["1e3", "1000.0"], ["1e3", "1000"], ["1e3"]) == ({"1000.0": None}, None)


def test_a_text_that_means_two_categories_is_refused_by_name() -> None:
    spelled, unclear = meant(["None", None, "red"], ["None", "", "red"], ["None", "red"])
    assert spelled == {}
    assert unclear is not None
    assert "the column `c` has rows that are written `None` and mean different categories, `None` and none" in unclear


def test_more_spellings_than_a_graph_should_hold_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [Meanings({"A": "a"}), Meanings({"B": "b", "C": None})]
    monkeypatch.setattr(keys, "MOST_SPELLINGS", 3)
    assert keys.too_many(columns) is None
    monkeypatch.setattr(keys, "MOST_SPELLINGS", 2)
    reason = keys.too_many(columns)
    assert reason is not None
    assert "its categories have 3 unusual spellings, 2 of 262144 characters together are kept, such as `A`" in reason
    monkeypatch.setattr(keys, "MOST_CHARACTERS", 1)
    assert keys.too_many([Meanings({"AB": "a"})]) is not None
