"""The numbers behind the views: SplitMix64 written out, uniform and independent, tables that hold quantiles."""

import numpy as np
import pytest
import torch
from scipy import stats

from workers.engine.common.seeds import derived_seed
from workers.engine.data.augment import quantiles
from workers.engine.data.augment.draws import Draws, below, mix

CPU = torch.device("cpu")
MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


def splitmix(state: int) -> int:
    """The finaliser in whole numbers of any size."""
    z = state & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_the_finaliser_gives_the_published_first_numbers_of_splitmix64() -> None:
    """Started at 1234567, as in the generator's reference output."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    states = torch.tensor([(1234567 + (k + 1) * GAMMA) & MASK for k in range(4)], dtype=torch.uint64)
    found = mix(states.view(torch.int64))
    assert [word & MASK for word in found.tolist()] == published


def test_a_word_is_that_of_whole_numbers_without_bounds() -> None:
    rows = torch.tensor([0, 1, 7, 2**31, 2**40 + 3])
    found = Draws.of(rows, 11, "view", 4, 2).words(6)
    stream = derived_seed(11, "view", 4, 2)
    for i, row in enumerate(rows.tolist()):
        key = splitmix(stream + row * GAMMA)
        written = [splitmix(key + (k + 1) * GAMMA) for k in range(6)]
        assert [word & MASK for word in found[i].tolist()] == written


def test_more_words_begin_with_the_same_ones() -> None:
    draws = Draws.of(torch.arange(50), 0, "view", 0, 0)
    assert torch.equal(draws.words(9)[:, :3], draws.words(3))
    assert torch.equal(draws.shorts(33, CPU)[:, :10], draws.shorts(10, CPU))


def test_uniforms_are_uniform_over_rows_and_columns() -> None:
    found = torch.stack(Draws.of(torch.arange(20_000), 0, "view", 0, 0).uniforms(5), 1).numpy()
    assert found.dtype == np.float64
    assert found.min() >= 0.0
    assert found.max() < 1.0
    for column in found.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    for row in (0, 1, 19_999):
        long = torch.stack(Draws.of(torch.tensor([row]), 0, "view", 0, 0).uniforms(20_000), 1).numpy()[0]
        assert stats.kstest(long, "uniform").pvalue > 1e-4


def test_whole_numbers_below_a_bound_come_equally_often() -> None:
    (drawn,) = Draws.of(torch.arange(70_000), 3, "view", 1, 0).uniforms(1)
    counts = torch.bincount(below(drawn, 7), minlength=7)
    assert len(counts) == 7
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4
    assert int(below(torch.tensor([1.0 - 2.0**-53], dtype=torch.float64), 3)) == 2


def test_shorts_are_the_four_parts_of_a_word_and_come_equally_often() -> None:
    draws = Draws.of(torch.arange(2_000), 0, "view", 0, 0)
    found = draws.shorts(130, CPU)
    assert found.shape == (2_000, 130)
    words = draws.words(33)[5].tolist()
    parts = [(word >> (16 * part)) & 0xFFFF for word in words for part in range(4)][:130]
    assert [(number - 32768) & 0xFFFF for number in found[5].tolist()] == parts
    assert int(found.min()) >= 0
    assert int(found.max()) <= 65_535
    assert stats.chisquare(np.bincount(found.numpy().ravel() // 256, minlength=256)).pvalue > 1e-4


@pytest.mark.parametrize("other", ["row", "word", "epoch", "place", "seed", "stream"])
def test_draws_that_differ_in_one_thing_are_independent(other: str) -> None:
    """No correlation of the numbers, of their halves, nor in the table of 16 x 16 pairs."""
    rows, count = torch.arange(40_000), 40_000
    first, second = Draws.of(rows, 0, "view", 0, 0).uniforms(2)
    a, b = {
        "row": (first[:-1], first[1:]),
        "word": (first, second),
        "epoch": (first, Draws.of(rows, 0, "view", 1, 0).uniforms(1)[0]),
        "place": (first, Draws.of(rows, 0, "view", 0, 1).uniforms(1)[0]),
        "seed": (first, Draws.of(rows, 1, "view", 0, 0).uniforms(1)[0]),
        "stream": (first, Draws.of(rows, 0, "partner", 0, 0).uniforms(1)[0]),
    }[other]
    assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 5.0 / count**0.5
    pairs = torch.bincount(below(a, 16) * 16 + below(b, 16), minlength=256)
    assert stats.chisquare(pairs.numpy()).pvalue > 1e-4


def test_the_normal_table_is_standard_normal() -> None:
    table = quantiles.normal(torch.float64, CPU).numpy()
    assert len(table) == 65_536
    np.testing.assert_array_equal(table, -table[::-1])
    assert table.var() == pytest.approx(1.0, abs=1e-12)
    assert (table**4).mean() == pytest.approx(3.0, abs=2e-3)
    middles = (np.arange(65_536) + 0.5) / 65_536
    assert np.abs(stats.norm.cdf(table) - middles).max() < 2.0**-17


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.2, 0.5, 1.0, 2.0, 8.0, 100.0])
def test_the_beta_table_holds_the_quantiles_of_beta(alpha: float) -> None:
    table = quantiles.beta(alpha).numpy()
    middles = (np.arange(65_536) + 0.5) / 65_536
    np.testing.assert_allclose(table, stats.beta.ppf(middles, alpha, alpha), atol=3e-7)
    assert table.mean() == pytest.approx(0.5, abs=1e-12)
    assert table.var() == pytest.approx(1.0 / (4.0 * (2.0 * alpha + 1.0)), rel=1e-4)


def test_a_share_and_its_rest_are_exact_in_float32() -> None:
    table = quantiles.beta(0.3)
    narrow = table.to(torch.float32)
    assert torch.equal(narrow.to(torch.float64), table)
    assert torch.equal((1.0 - narrow).to(torch.float64), 1.0 - table)
