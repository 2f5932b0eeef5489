"""Shapes are compared side by side: what may be read as what, and what to change where it may not."""

from typing import Literal

import pytest

from app.contracts.resources.manifests import InputTransform
from app.contracts.resources.row_layouts import (
    channels_first,
    fed_shape,
    may_become,
    misfit,
    statistics_misfit,
    transform_for,
    way_out,
)
from app.contracts.specs.families.channel_sides import is_channels_last_suspected

Shape = tuple[int, ...]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ((192,), (3, 8, 8)),
        ((3, 8, 8), (192,)),
        ((8, 8, 3), (192,)),
        ((3, 8, 8), (3, 8, 8)),
        ((8, 8), (1, 8, 8)),
        ((1, 8, 8), (8, 8)),
        ((8, 8, 1), (1, 8, 8)),
    ],
)
def test_rows_are_read_in_another_shape_where_every_number_keeps_its_place(found: Shape, wanted: Shape) -> None:
    assert may_become(found, wanted)
    assert misfit(found, wanted) is None


@pytest.mark.parametrize(
    ("found", "wanted"), [((8, 8, 3), (3, 8, 8)), ((4, 16), (8, 8)), ((2, 32), (2, 4, 8)), ((6, 4), (4, 6))]
)
def test_equal_products_of_other_sides_are_a_layout_mismatch(found: Shape, wanted: Shape) -> None:
    assert misfit(found, wanted) == "layout_mismatch"


@pytest.mark.parametrize(
    ("expected", "found", "fed"),
    [
        ((None,), (1, 64), (64,)),
        ((None,), (1, 1, 64), (64,)),
        ((None, None), (1, 8, 8), (8, 8)),
        ((1, None), (1, 64), (1, 64)),
        ((None,), (1,), (1,)),
        ((64,), (1, 64), (64,)),
        ((8, 8), (64,), (8, 8)),
        ((None,), (2, 64), None),
        ((None,), (64, 1), None),
        ((None, 32), (1, 64), None),
    ],
)
def test_an_open_side_takes_any_row_whose_further_sides_are_leading_ones(
    expected: tuple[int | None, ...], found: Shape, fed: Shape | None
) -> None:
    assert fed_shape(expected, found) == fed


def test_another_number_of_numbers_is_a_shape_mismatch() -> None:
    assert misfit((8, 8), (65,)) == "shape_mismatch"


def test_the_way_out_of_images_with_channels_last_is_the_layout() -> None:
    assert channels_first((8, 8, 3)) == (3, 8, 8)
    assert '"layout": "channels_last"' in way_out((8, 8, 3), (3, 8, 8))
    assert "the teacher's manifest" in way_out((3, 8, 8), (8, 8, 3), teacher=True)
    assert "flat rows with `shape`" in way_out((4, 16), (8, 8))


@pytest.mark.parametrize(
    ("shape", "suspected"),
    [((8, 8, 3), True), ((3, 8, 8), False), ((1, 8, 3), False), ((100, 3), True), ((3, 100), False), ((8, 8), False)],
)
def test_a_last_side_of_as_many_as_images_have_channels_is_suspected(shape: Shape, suspected: bool) -> None:
    assert is_channels_last_suspected(shape) is suspected


@pytest.mark.parametrize(("count", "shape"), [(3, (3, 8, 8)), (192, (3, 8, 8)), (192, (192,)), (1, (1, 8, 8))])
def test_statistics_are_one_for_each_element_of_the_first_side_or_one_for_each_number(count: int, shape: Shape) -> None:
    assert statistics_misfit(InputTransform(mean=(0.5,) * count, std=(2.0,) * count), shape) is None


def test_statistics_of_another_shape_are_named_with_what_was_expected() -> None:
    wrong = statistics_misfit(InputTransform(std=(1.0, 2.0, 3.0)), (8, 8, 3))
    assert wrong is not None
    assert "`std` has 3 numbers, expected 1 or 8" in wrong


@pytest.mark.parametrize(
    ("count", "layout", "named"), [(3, None, True), (5, None, False), (2, None, False), (3, "channels_last", False)]
)
def test_statistics_that_fit_the_last_side_name_the_layout(
    count: int, layout: Literal["channels_last"] | None, named: bool
) -> None:
    wrong = statistics_misfit(InputTransform(mean=(0.5,) * count, layout=layout), (4, 5, 3))
    assert wrong is not None
    assert ('"layout": "channels_last"' in wrong) is named


def test_statistics_of_channels_become_those_of_every_number_where_the_first_side_changes() -> None:
    transform = InputTransform(scale=2.0, mean=(1.0, 2.0), std=3.0)
    assert transform_for(transform, (2, 2), (4,)) == InputTransform(scale=2.0, mean=(1.0, 1.0, 2.0, 2.0), std=3.0)
    assert transform_for(transform, (2, 2), (2, 2)) is transform
