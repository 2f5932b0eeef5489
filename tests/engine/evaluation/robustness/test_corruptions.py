"""Disturbed inputs against their definitions, and the same row disturbed in the same way everywhere."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from tests.engine.evaluation.cases import seeded
from workers.engine.evaluation.robustness.corruptions import (
    SEVERITIES,
    corrupted,
    corruptions_of,
    value_range,
)

IMAGES = ("gaussian_noise", "gaussian_blur", "shift")


def images(n: int = 6, side: int = 32, channels: int = 3) -> Tensor:
    return torch.randint(256, (n, channels, side, side), generator=seeded(0), dtype=torch.uint8)


def disturbed(raw: Tensor, name: str, severity: int = 2, seed: int = 0, rows: Tensor | None = None) -> Tensor:
    return corrupted(raw, name, severity, seed, torch.arange(len(raw)) if rows is None else rows, 0.0, 255.0)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_row_is_disturbed_alike_in_any_batch(name: str, severity: int) -> None:
    raw, rows = images(), torch.tensor([40, 7, 11, 3, 2**33, 0])
    whole = disturbed(raw, name, severity, rows=rows)
    for k in range(6):
        assert torch.equal(disturbed(raw[k : k + 1], name, severity, rows=rows[k : k + 1])[0], whole[k])
    assert torch.equal(disturbed(raw.flip(0), name, severity, rows=rows.flip(0)), whole.flip(0))


@pytest.mark.parametrize("name", IMAGES)
def test_the_input_stays_and_the_output_is_float(name: str) -> None:
    raw = images()
    before = raw.clone()
    found = disturbed(raw, name)
    assert torch.equal(raw, before)
    assert (found.dtype, found.shape) == (torch.float32, raw.shape)
    assert disturbed(raw.double(), name).dtype == torch.float64
    assert disturbed(raw.half(), name).dtype == torch.float32


@pytest.mark.parametrize("name", IMAGES)
def test_a_higher_severity_is_further_from_the_original(name: str) -> None:
    smooth = torch.nn.functional.avg_pool2d(images(8, 36).float(), 5, stride=1)
    distances = [float((disturbed(smooth, name, severity) - smooth).square().mean()) for severity in SEVERITIES]
    assert 0.0 < distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize("name", IMAGES)
def test_nothing_leaves_the_range(name: str) -> None:
    found = disturbed(images(), name, 3)
    assert float(found.min()) >= 0.0
    assert float(found.max()) <= 255.0 + 1e-3


@pytest.mark.parametrize(("severity", "share"), [(1, 0.04), (2, 0.08), (3, 0.10)])
def test_noise_has_the_named_share_of_the_range(severity: int, share: float) -> None:
    grey = torch.full((40, 1, 28, 28), 5.0)
    noise = corrupted(grey, "gaussian_noise", severity, 0, torch.arange(40), -5.0, 15.0) - grey
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(noise.std()) == pytest.approx(20.0 * share, rel=0.02)


def test_severities_are_one_noise_at_three_sizes() -> None:
    grey = torch.full((2, 1, 8, 8), 0.5, dtype=torch.float64)
    mild, strong = (corrupted(grey, "gaussian_noise", s, 0, torch.arange(2), 0.0, 1.0) - grey for s in (1, 2))
    torch.testing.assert_close(2.0 * mild, strong)


def test_another_seed_or_row_has_other_noise() -> None:
    grey = torch.full((1, 1, 8, 8), 128.0)
    first = disturbed(grey, "gaussian_noise", rows=torch.tensor([0]))
    assert not torch.equal(first, disturbed(grey, "gaussian_noise", rows=torch.tensor([1])))
    assert not torch.equal(first, disturbed(grey, "gaussian_noise", seed=1))


@pytest.mark.parametrize(("side", "severity", "sigma"), [(32, 1, 0.4), (32, 3, 1.0), (8, 2, 0.7), (64, 2, 1.4)])
def test_blur_is_scipys_gaussian_with_repeated_edges(side: int, severity: int, sigma: float) -> None:
    raw = images(2, side).double()
    radius = max(1, round(4 * sigma))
    expected = ndimage.gaussian_filter(raw.numpy(), (0, 0, sigma, sigma), mode="nearest", radius=(0, 0, radius, radius))
    np.testing.assert_allclose(disturbed(raw, "gaussian_blur", severity).numpy(), expected, rtol=1e-9)


def test_the_shorter_side_sets_the_blur() -> None:
    """64 x 128 pixels: σ = 0.4 x 64 / 32."""
    raw = torch.rand(1, 1, 64, 128, generator=seeded(1), dtype=torch.float64)
    expected = ndimage.gaussian_filter(raw[0, 0].numpy(), 0.8, mode="nearest", radius=3)
    np.testing.assert_allclose(disturbed(raw, "gaussian_blur", 1)[0, 0].numpy(), expected, rtol=1e-9)


def test_blur_leaves_a_plain_image() -> None:
    plain = torch.full((1, 3, 5, 5), 7.0, dtype=torch.float64)
    torch.testing.assert_close(disturbed(plain, "gaussian_blur", 3), plain)


def moved(image: Tensor, down: int, across: int) -> Tensor:
    """An image [C, H, W] moved pixel by pixel, its edge repeated."""
    result = torch.empty_like(image)
    height, width = image.shape[1:]
    for i in range(height):
        for j in range(width):
            result[:, i, j] = image[:, min(max(i - down, 0), height - 1), min(max(j - across, 0), width - 1)]
    return result


@pytest.mark.parametrize(("shape", "severity", "down", "across"), [
    ((8, 8), 1, 1, 1), ((8, 8), 3, 3, 3), ((32, 16), 2, 4, 2), ((32, 16), 3, 6, 3)
])  # fmt: skip
def test_a_shift_is_one_of_eight_moves(shape: tuple[int, int], severity: int, down: int, across: int) -> None:
    raw = torch.rand(24, 2, *shape, generator=seeded(2))
    found = disturbed(raw, "shift", severity)
    seen = set()
    for k in range(24):
        moves = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if torch.equal(
            moved(raw[k], a * down, b * across), found[k])]  # fmt: skip
        assert len(moves) == 1
        seen.add(moves[0])
    assert (0, 0) not in seen
    assert len(seen) >= 6


def test_all_directions_are_as_frequent() -> None:
    ramp = (10.0 * torch.arange(16)[:, None] + torch.arange(16)).expand(4000, 1, 16, 16)
    middles = disturbed(ramp, "shift", 1)[:, 0, 8, 8]
    counts = torch.bincount(middles.long())
    counts = counts[counts > 0]
    assert len(counts) == 8
    assert float(counts.min()) > 500 - 4 * math.sqrt(4000 * 1 / 8 * 7 / 8)


def test_an_image_of_one_pixel_stays() -> None:
    pixel = torch.full((3, 1, 1, 1), 9.0)
    torch.testing.assert_close(disturbed(pixel, "shift", 3), pixel)
    torch.testing.assert_close(disturbed(pixel, "gaussian_blur", 3), pixel)


def test_arrays_get_noise_alone() -> None:
    table = torch.rand(5, 7, generator=seeded(3))
    assert corruptions_of(table) == ("gaussian_noise",)
    assert corruptions_of(images()) == IMAGES
    with pytest.raises(ValueError, match=r"expected one of gaussian_noise at severity 1 to 3 .* found shift at 1"):
        disturbed(table, "shift", 1)


@pytest.mark.parametrize(("name", "severity"), [("fog", 1), ("shift", 0), ("shift", 4)])
def test_unknown_corruptions_are_refused(name: str, severity: int) -> None:
    with pytest.raises(ValueError, match="expected one of gaussian_noise, gaussian_blur, shift"):
        disturbed(images(), name, severity)


def test_columns_of_a_table_have_ranges_of_their_own() -> None:
    """Metres and grams: each column's noise has its own size, and a constant column none."""
    table = torch.rand(500, 3, generator=seeded(4), dtype=torch.float64) * torch.tensor([1.0, 1000.0, 0.0])
    low, high = value_range(table)
    torch.testing.assert_close(low, table.min(dim=0).values)
    torch.testing.assert_close(high, table.max(dim=0).values)
    middle = ((low + high) / 2).expand(500, 3)
    noise = corrupted(middle, "gaussian_noise", 1, 0, torch.arange(500), low, high) - middle
    expected = 0.04 * (high - low)
    torch.testing.assert_close(noise.std(dim=0), expected, rtol=0.15, atol=0.0)
    assert bool((noise[:, 2] == 0.0).all())


def test_images_have_one_range() -> None:
    low, high = value_range(images())
    assert (low.shape, low.dtype) == ((), torch.float32)
    assert (float(low), float(high)) == (0.0, 255.0)


def test_no_rows_stay_no_rows() -> None:
    for name in IMAGES:
        assert disturbed(images()[:0], name).shape == (0, 3, 32, 32)
