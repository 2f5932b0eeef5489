"""Quotas of a batch: whole, exact, in proportion, and never none from `least_batch` on."""

from itertools import combinations

import pytest

from app.contracts.resolving.data.proportions import least_batch, quotas


@pytest.mark.parametrize(
    ("batch", "weights", "expected"),
    [
        (64, (1.0, 1.0), (32, 32)),
        (32, (2.0, 1.0), (21, 11)),
        (32, (1.0, 2.0), (11, 21)),
        (10, (1.0, 1.0, 1.0), (4, 3, 3)),
        (10, (0.1, 0.2, 0.7), (1, 2, 7)),
        (8, (1e4, 1e-3), (8, 0)),
        (3, (5.0,), (3,)),
    ],
)
def test_quotas_are_the_largest_remainders(batch: int, weights: tuple[float, ...], expected: tuple[int, ...]) -> None:
    assert quotas(batch, weights) == expected


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.1, 0.2, 0.7), (3.0, 0.5, 11.0, 0.7), (1.0,) * 8])
def test_from_the_least_batch_on_every_dataset_has_a_row_whoever_is_left_out(weights: tuple[float, ...]) -> None:
    least = least_batch(weights)
    for batch in range(least, least + 40):
        whole = quotas(batch, weights)
        assert sum(whole) == batch
        assert all(abs(q - batch * w / sum(weights)) < 1.0 for q, w in zip(whole, weights, strict=True))
        for count in range(1, len(weights) + 1):
            for part in combinations(weights, count):
                assert min(quotas(batch, part)) >= 1


def test_weights_are_read_as_they_are_written() -> None:
    """0.1 + 0.2 + 0.7 is no 1.0 in binary: ten rows are enough all the same."""
    assert least_batch((0.1, 0.2, 0.7)) == 10
