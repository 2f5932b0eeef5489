"""Noise: normal, of the deviation asked for, independent over numbers, rows and epochs."""

import numpy as np
import pytest
import torch
from scipy import stats

from tests.engine.data.augment.images import ROWS, SPLIT, look, views_of

VIEWS = views_of({"kind": "noise", "std": 0.3})


def noise_of(epoch: int, shape: tuple[int, ...] = (2, 8, 9)) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return look(torch.zeros(ROWS, *shape), SPLIT, VIEWS, epoch).x.numpy().astype(np.float64)


def test_noise_is_normal_with_the_deviation_asked_for() -> None:
    found = noise_of(0).ravel()
    assert stats.kstest(found, stats.norm(scale=0.3).cdf).pvalue > 1e-4
    assert found.mean() == pytest.approx(0.0, abs=5 * 0.3 / len(found) ** 0.5)
    assert found.std() == pytest.approx(0.3, rel=5 / (2 * len(found)) ** 0.5)


@pytest.mark.parametrize("between", ["numbers", "rows", "epochs"])
def test_noise_is_independent(between: str) -> None:
    flat, later = noise_of(0).reshape(len(SPLIT), -1), noise_of(1).reshape(len(SPLIT), -1)
    pairs = {"numbers": (flat[:, :-1], flat[:, 1:]), "rows": (flat[:-1], flat[1:]), "epochs": (flat, later)}[between]
    found = np.corrcoef(pairs[0].ravel(), pairs[1].ravel())[0, 1]
    assert abs(found) < 5.0 / pairs[0].size ** 0.5


def test_noise_is_added_to_the_input() -> None:
    data = torch.randn((ROWS, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alone = look(torch.zeros_like(data), SPLIT, VIEWS).x
    torch.testing.assert_close(look(data, SPLIT, VIEWS).x, data[SPLIT] + alone, rtol=0.0, atol=1e-15)
    assert float(alone.abs().min()) > 0.0
