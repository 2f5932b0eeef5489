"""The spellings of a category that an exported graph knows are those that the reader takes for it."""

from hypothesis import given
from hypothesis import strategies as st

from workers.engine.data.tables.keys import boolean_keys, text_keys, whole_number_keys
from workers.engine.data.tables.text import canonical, spellings

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
    keys = text_keys(categories)
    assert {canonical(categories[place]) == canonical(text) for text, place in keys.items()} <= {True}
    assert {canonical(each) for each in categories} == {canonical(text) for text in keys}
    assert all(-(2**63) <= number < 2**63 for number in whole_number_keys(categories))


def test_numbers_and_booleans_name_categories_that_are_such() -> None:
    assert whole_number_keys(["red", "2", "01", "3.0", str(2**63)]) == {2: 1, 3: 3}
    assert boolean_keys(["True", "other"]) == {1: 0}
