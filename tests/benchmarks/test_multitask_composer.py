"""MultiMNIST as the multi-task table uses it: no digit in two splits, the same bytes each time."""

import numpy as np
import pytest

from tests.benchmarks.accuracy.multitask.composer import DIGITS, composites, few_labels, overlaid
from tests.engine.harness import Arrays


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return composites()


def corners(arrays: Arrays, split: str) -> set[bytes]:
    """The strips of each composite that one digit alone has drawn: rows 0 to 7 and 28 to 35."""
    x = arrays["x"][arrays["split"] == split, 0]
    return {image[:8, :28].tobytes() for image in x} | {image[-8:, 8:].tobytes() for image in x}


def test_the_digits_are_dealt_before_they_are_composed(arrays: Arrays) -> None:
    """A digit in two splits would show its upper or lower strip in both."""
    empty = {bytes(8 * 28)}
    seen = [corners(arrays, split) - empty for split in DIGITS]
    assert all(len(strips) > 400 for strips in seen)
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_the_splits_have_their_sizes_and_every_class(arrays: Arrays) -> None:
    sizes = {split: int((arrays["split"] == split).sum()) for split in DIGITS}
    assert sizes == {"train": 3500, "validation": 500, "test": 2000}
    for split in DIGITS:
        for target in ("left", "right"):
            assert set(arrays[target][arrays["split"] == split]) == set(range(10))


def test_a_composite_is_the_pixelwise_maximum_of_two_corners() -> None:
    one, other = np.full((1, 28, 28), 7, np.uint8), np.full((1, 28, 28), 9, np.uint8)
    (image,) = overlaid(one, other)
    assert image.shape == (36, 36)
    assert (image[8:28, 8:28] == 9).all()
    assert (image[:8, :28] == 7).all()
    assert (image[28:, 8:] == 9).all()
    assert (image[:8, 28:] == 0).all()


def test_the_recipe_gives_the_same_rows_each_time(arrays: Arrays) -> None:
    again = composites()
    assert all(np.array_equal(arrays[name], again[name]) for name in arrays)
    assert not np.array_equal(composites(seed=1)["x"], arrays["x"])


def test_few_labels_are_missing_in_the_training_split_alone(arrays: Arrays) -> None:
    few = few_labels(arrays)
    train = arrays["split"] == "train"
    for target in ("left", "right"):
        assert int((few[target][train] >= 0).sum()) == 500
        assert np.array_equal(few[target][~train], arrays[target][~train])
    assert np.array_equal(few["x"], arrays["x"])
