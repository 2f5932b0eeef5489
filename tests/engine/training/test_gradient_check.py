"""Whether every number is finite, wherever the one that is not may stand."""

import pytest
import torch

from workers.engine.training.gradient_check import are_finite


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_one_number_that_is_not_finite_is_found(value: float, dtype: torch.dtype) -> None:
    for at in (0, 70_001, 99_999):
        numbers = torch.linspace(-1.0, 1.0, 100_000).to(dtype)
        numbers[at] = value
        assert not are_finite([torch.ones(3), numbers, torch.tensor([1])])


def test_finite_numbers_of_every_size_whole_numbers_and_nothing_are_finite() -> None:
    largest = torch.full((100_000,), torch.finfo(torch.float32).max)
    assert are_finite([largest, -largest, torch.tensor(0.0, dtype=torch.float64), torch.tensor([7]), torch.zeros(0, 4)])
    assert are_finite([])
