"""Outputs that depend on neighbours, on chance or on the size of the batch are refused by name."""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from app.contracts.problems import UserError
from workers.engine.teachers.consistency import QUANTIZED_OF_SPREAD, check_block, check_consistency, tolerance_of

ROWS = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
Rule = Callable[[Tensor], Tensor]


def linear(x: Tensor) -> Tensor:
    return x @ WEIGHT


def code_of(rule: Rule, rows: Tensor = ROWS, seconds: float = 1.0, of_spread: float = 1e-3) -> str | None:
    try:
        check_consistency(lambda x: {"y": rule(x)}, rows, of_spread, seconds)
    except UserError as error:
        return error.code
    return None


FAULTS: dict[str, tuple[Rule, str]] = {
    "normalised over the batch": (
        lambda x: linear((x - x.mean(0)) / (x.std(0, unbiased=False) + 1)),
        "depends_on_batch",
    ),
    "softmax over the rows": (lambda x: linear(x).softmax(0), "depends_on_batch"),
    "the row before": (lambda x: linear(x) + linear(x.roll(1, 0)) * 0.1, "depends_on_batch"),
    "the number of rows": (lambda x: linear(x) * len(x), "depends_on_batch"),
    "the place in the batch": (lambda x: linear(x) + torch.arange(len(x))[:, None], "depends_on_batch"),
    "dropout": (lambda x: linear(torch.dropout(x, 0.5, train=True)), "not_deterministic"),
    "noise": (lambda x: linear(x) + torch.randn(len(x), 3), "not_deterministic"),
}


@pytest.mark.parametrize("seconds", [1.0, 0.0], ids=["with time", "without time"])
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_also_where_a_row_is_slow(fault: str, seconds: float) -> None:
    rule, code = FAULTS[fault]
    assert code_of(rule, seconds=seconds) == code


@pytest.mark.parametrize("unit", [1e-3, 1e-9, 1e-20])
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_in_small_units_too(fault: str, unit: float) -> None:
    rule, code = FAULTS[fault]
    assert code_of(lambda x: rule(x) * unit) == code


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 64])
@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1.0, 1e6])
def test_a_function_of_the_row_passes(rows: int, scale: float) -> None:
    assert code_of(lambda x: linear(x) * scale, ROWS[:rows]) is None
    assert code_of(lambda x: (linear(x) * scale).softmax(1), ROWS[:rows], seconds=0.0) is None


def test_a_constant_and_numbers_that_are_not_finite_pass() -> None:
    """They are other checks' business."""
    assert code_of(lambda x: torch.zeros(len(x), 2)) is None
    assert code_of(lambda x: torch.full((len(x), 2), torch.nan)) is None
    assert code_of(lambda x: linear(x).log()) is None


def test_quantised_activations_may_differ_by_the_scale_of_the_batch_and_not_by_more() -> None:
    def quantised(x: Tensor) -> Tensor:
        step = x.abs().max() / 127
        return linear((x / step).round() * step)

    assert tolerance_of({"MatMulInteger", "DynamicQuantizeLinear"}) == QUANTIZED_OF_SPREAD
    assert code_of(quantised) == "depends_on_batch"
    assert code_of(quantised, of_spread=QUANTIZED_OF_SPREAD) is None
    assert code_of(lambda x: linear(x) * len(x), of_spread=QUANTIZED_OF_SPREAD) == "depends_on_batch"


def test_it_runs_no_more_rows_than_there_is_time_for() -> None:
    batches: list[int] = []

    def counted(x: Tensor) -> dict[str, Tensor]:
        batches.append(len(x))
        return {"y": linear(x)}

    check_consistency(counted, ROWS, seconds=0.0)
    assert batches == [3, 2]
    batches.clear()
    check_consistency(counted, ROWS, seconds=60.0)
    assert batches == [3, 64, 64, 1]


def test_a_first_call_that_is_slow_does_not_hide_what_larger_batches_show() -> None:
    """Kernels are loaded, and on a busy machine any call may wait: the second call tells what a row takes."""
    calls: list[int] = []

    def predict(x: Tensor) -> dict[str, Tensor]:
        calls.append(len(x))
        if len(calls) == 1:
            time.sleep(0.2)
        return {"y": linear(x) * (1.0 if len(x) <= 8 else -1.0)}

    with pytest.raises(UserError) as caught:
        check_consistency(predict, ROWS, seconds=0.2)
    assert caught.value.code == "depends_on_batch"


MANY = torch.randn(256, 5, generator=torch.Generator().manual_seed(2))
BLOCK_FAULTS: dict[str, Rule] = {
    "other outputs in large batches": lambda x: linear(x) + float(len(x) > 100),
    "other outputs far back in a batch": lambda x: linear(x) + (torch.arange(len(x)) > 100)[:, None].float(),
}


def check_whole(rule: Rule, rows: Tensor) -> None:
    def predict(x: Tensor) -> dict[str, Tensor]:
        return {"y": rule(x)}

    few = check_consistency(predict, rows[:64])
    check_block(predict, rows, predict(rows), few, 1e-3)


@pytest.mark.parametrize("fault", BLOCK_FAULTS)
def test_a_block_is_compared_with_its_rows_in_small_batches(fault: str) -> None:
    assert code_of(BLOCK_FAULTS[fault], MANY[:64]) is None, "64 rows do not show it"
    with pytest.raises(UserError) as caught:
        check_whole(BLOCK_FAULTS[fault], MANY)
    assert caught.value.code == "depends_on_batch"
    assert "in another batch" in caught.value.message


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 65, 256])
def test_a_block_of_a_function_of_the_row_passes(rows: int) -> None:
    check_whole(linear, MANY[:rows])
