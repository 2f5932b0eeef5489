"""Classes that one dataset names and another numbers are matched, and the job says how."""

from itertools import permutations

import pytest

from app.contracts.resolving.data.class_names import places_of_numbers
from app.contracts.resolving.findings import Findings
from tests.contracts.resolving.data.test_joining import DIGIT, facts, joined

TWO = DIGIT.model_copy(update={"size": 2})


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (("yes", "no"), (0, 1)),
        (("0", "1"), (0, 1)),
        (("1", "0"), (1, 0)),
        (("2", "0", "1"), (1, 2, 0)),
        (("1.0", "0.0"), (1, 0)),
        (("1", "2"), (0, 1)),
        (("-1", "1"), (0, 1)),
        (("01", "00"), (0, 1)),
        (("0", "0.0"), (0, 1)),
    ],
)
def test_a_number_is_the_name_that_it_is_where_all_names_are_numbers_from_0(
    names: tuple[str, ...], places: tuple[int, ...]
) -> None:
    assert places_of_numbers(names) == places


def warned(*classes: tuple[str, ...] | None) -> Findings:
    _, findings = joined(*(facts(digit=TWO.model_copy(update={"classes": names})) for names in classes))
    return findings


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_numbers_that_were_read_as_names_are_told_in_any_order_of_the_datasets(order: tuple[int, ...]) -> None:
    """Trap: 1 = yes in one file is `no`, the second name, in the other."""
    each: list[tuple[str, ...] | None] = [("yes", "no"), None, ("yes", "no")]
    (warning,) = warned(*(each[i] for i in order)).warnings
    assert warning["code"] == "classes_matched_by_place"
    assert "0 as `yes`, 1 as `no`" in warning["message"]


def test_names_that_are_the_numbers_need_no_warning_and_their_order_is_told() -> None:
    assert warned(("0", "1"), None).warnings == warned(None, None).warnings == []
    (warning,) = warned(None, ("1", "0")).warnings
    assert warning["code"] == "classes_matched_by_name"
    assert "0 as `0`, 1 as `1`" in warning["message"]


def test_names_in_another_order_are_refused_behind_a_dataset_that_numbers_them() -> None:
    """Trap: only the first dataset was compared with the others."""
    (problem,) = warned(None, ("a", "b"), ("b", "a")).problems
    assert (problem.pointer, problem.code) == ("/datasets/2", "target_mismatch")
