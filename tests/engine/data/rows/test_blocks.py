"""Passes over many rows in blocks find what one pass over all of them finds."""

import numpy as np
import pytest
import torch

from app.contracts.resources.manifests import InputTransform
from workers.engine.data.rows import blocks
from workers.engine.data.rows.blocks import row_blocks, statistics
from workers.engine.data.rows.inputs import Inputs
from workers.engine.data.rows.standardization import chosen
from workers.engine.data.transform import apply
from workers.engine.evaluation.robustness.corruptions import value_range
from workers.engine.jobs.load import digest_of_rows

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (50, 3, 4, 5)).astype(np.uint8))
TABLE = torch.from_numpy(np.random.default_rng(1).normal(size=(50, 7)) * 10.0 ** np.arange(7))
ROWS = torch.arange(1, 50, 2)


@pytest.fixture(params=[1, 1000])
def small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one row, and of several."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", request.param)


@pytest.mark.parametrize("raw", [IMAGES, TABLE], ids=["images", "table"])
@pytest.mark.parametrize("each", [True, False])
def test_statistics_in_blocks_are_those_of_all_rows_at_once(
    raw: torch.Tensor, each: bool, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = statistics(raw, ROWS, 0.5, each=each)
    monkeypatch.setattr(blocks, "WHOLE_BYTES", 0)
    in_blocks = statistics(raw, ROWS, 0.5, each=each)
    numbers = raw[ROWS].double().numpy() * 0.5
    axes = (0, *range(2, raw.dim())) if each else None
    for one, other, expected in zip(whole, in_blocks, (numbers.mean(axes), numbers.std(axes)), strict=True):
        assert one.shape == other.shape == ((raw.shape[1],) if each else (1,))
        torch.testing.assert_close(one, other, rtol=1e-13, atol=0.0)
        np.testing.assert_allclose(one.numpy(), np.atleast_1d(expected), rtol=1e-12)


@pytest.mark.parametrize("raw", [IMAGES, TABLE], ids=["images", "table"])
def test_statistics_of_few_rows_have_the_bits_of_one_sum(raw: torch.Tensor) -> None:
    """Models were trained with these bits, and are trained again."""
    rows = raw[ROWS].double() * 0.3
    axes = [0, *range(2, raw.dim())]
    mean = rows.mean(dim=axes)
    deviation = (rows - mean.reshape(1, -1, *[1] * (raw.dim() - 2))).square().mean(dim=axes).sqrt()
    assert torch.equal(torch.stack(statistics(raw, ROWS, 0.3, each=True)), torch.stack([mean, deviation]))
    flat = raw[ROWS].flatten(1).reshape(-1, 1).double() * 0.3
    mean = flat.mean(dim=[0])
    deviation = (flat - mean.reshape(1, -1)).square().mean(dim=[0]).sqrt()
    assert torch.equal(torch.stack(statistics(raw, ROWS, 0.3, each=False)), torch.stack([mean, deviation]))


@pytest.mark.parametrize("raw", [IMAGES, TABLE], ids=["images", "table"])
def test_ends_choices_and_digests_do_not_depend_on_blocks(
    raw: torch.Tensor, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    transform = InputTransform(mean=0.25, std=3.0)

    def found() -> tuple[object, ...]:
        low, high = value_range(raw, ROWS)
        rows = Inputs.prepare(raw, transform, torch.device("cpu")).column.values
        return chosen(raw, ROWS), low.tolist(), high.tolist(), digest_of_rows(raw, ROWS), rows[:].tolist()

    assert len(row_blocks(raw)) > 1
    in_blocks = found()
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 30)
    assert found() == in_blocks
    assert in_blocks[-1] == apply(raw, transform).tolist()
