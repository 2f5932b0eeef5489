"""The sample of a product of parameters: every case stays, and those that are not kept are marked."""

import pytest

from tests.exhaustive import sample


def test_every_case_stays_and_those_outside_the_sample_are_marked() -> None:
    found = sample(["a", "b", "c"], keep=["b"])
    assert [each.values for each in found] == [("a",), ("b",), ("c",)]
    assert [[mark.name for mark in each.marks] for each in found] == [["exhaustive"], [], ["exhaustive"]]


def test_a_tuple_is_a_value_for_each_argument() -> None:
    first, second = sample([("a", 1), ("a", 2)], keep=[("a", 2)])
    assert (first.values, second.values) == (("a", 1), ("a", 2))
    assert first.marks
    assert not second.marks


@pytest.mark.parametrize("keep", [[], ["d"], ["a", "d"]])
def test_a_sample_of_nothing_or_of_what_is_no_case_is_refused(keep: list[str]) -> None:
    with pytest.raises(ValueError, match="expected some of"):
        sample(["a", "b"], keep=keep)
