"""Rows of several datasets as one graph takes them, and what no graph takes."""

from itertools import product
from typing import Any, get_args

import numpy as np
import pytest

from app.contracts.resources.joined_rows import InputPart, fits, joined_form
from app.contracts.resources.raw_rows import RawInput, RawType
from app.contracts.resources.tables import InputEncoding

NUMBERS = [each for each in get_args(RawType) if each != "string"]
WORDS = InputEncoding(columns=("c",), encoding="one_hot", categories=(("1.5", "NA"),))


def part(dataset: str, encoding: InputEncoding | None = None, has_gaps: bool = False, **form: Any) -> InputPart:
    document = {"dtype": "float32", "shape": (2,), "arranged": (2,), "rows": "float32", **form}
    return InputPart(dataset, RawInput.model_validate(document), encoding, has_gaps)


def test_a_graph_takes_the_smallest_type_that_holds_the_numbers_of_both() -> None:
    """As numpy chooses it, which the API does not import."""
    pairs = list(product(NUMBERS, NUMBERS))
    found = {(one, two): joined_form([part("a", dtype=one), part("b", dtype=two)]).dtype for one, two in pairs}
    assert found == {(one, two): np.result_type(np.dtype(one), np.dtype(two)).name for one, two in pairs}


@pytest.mark.parametrize("types", [("bool", "int64"), ("string", "bool"), ("int64", "string")])
def test_categories_of_several_types_are_text(types: tuple[str, str]) -> None:
    found = joined_form([part("a", WORDS, dtype=types[0]), part("b", WORDS, dtype=types[1])])
    assert (found.dtype, found.refused) == ("string", None)


def test_rows_of_another_shape_or_precision_are_none_of_the_graph() -> None:
    parts = [part("a"), part("b", dtype="uint8"), part("c", shape=(1, 2)), part("d", rows="float64")]
    assert [fits(each.form, joined_form(parts[:3])) for each in parts] == [True, True, False, False]
    assert [fits(each.form, joined_form(parts)) for each in parts] == [False, False, False, True]


def test_sounds_of_several_datasets_have_a_form_where_it_is_that_of_all() -> None:
    one, other = ({"seconds": 1.0, "keep": keep} for keep in ("start", "centre"))
    parts = [part("a", audio=one), part("b", audio=one), part("c", audio=other)]
    assert joined_form(parts[:2]).audio == parts[0].form.audio is not None
    assert joined_form(parts).audio is None
    assert all(fits(each.form, joined_form(parts)) for each in parts)


FILLS = [InputEncoding(columns=("c",), missing="mean", fill=(number,)) for number in (1.0, 2.0)]
REFUSED: dict[str, tuple[list[InputPart], str]] = {
    "gaps that are filled with other numbers": (
        [part("a", FILLS[0]), part("b", FILLS[1], has_gaps=True)],
        "missing numbers of b are filled from its own training rows, and a graph fills them as those of a",
    ),
    "what one of them refuses": ([part("a"), part("b", refused="its words are unclear")], "b: its words are unclear"),
    "a text with two meanings": (
        [part("a", WORDS, spellings=[{"1,5": "1.5"}]), part("b", WORDS, spellings=[{"1,5": "NA"}])],
        "`1,5` in the column `c` means another category in b than in a",
    ),
    "a category that means none in one of them": (
        [part("a", WORDS), part("b", WORDS, spellings=[{"NA": None}])],
        "`NA` in the column `c` means another category in b than in a",
    ),
    "the name of another category": (
        [part("a", WORDS, spellings=[{"NA": "1.5"}]), part("b", WORDS)],
        "`NA` in the column `c` means another category in b than in a",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_one_graph_cannot_take_is_refused_by_name(case: str) -> None:
    parts, expected = REFUSED[case]
    refused = joined_form(parts).refused
    assert refused is not None
    assert expected in refused


def test_fills_of_rows_without_a_gap_and_spellings_of_one_meaning_are_joined() -> None:
    assert joined_form([part("a", FILLS[0], has_gaps=True), part("b", FILLS[1])]).refused is None
    both = [part("a", WORDS, spellings=[{"1,5": "1.5"}]), part("b", WORDS, spellings=[{"1,5": "1.5", "+1.5": "1.5"}])]
    found = joined_form(both)
    assert (found.spellings, found.refused) == (({"1,5": "1.5", "+1.5": "1.5"},), None)
